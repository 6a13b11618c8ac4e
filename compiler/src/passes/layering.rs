//! Layering: the order in which cells are committed.
//!
//! **Invariant**: within every region nodes are ordered by layer, where the layer of a value is the greatest number of
//! lookups on a way to it; nodes of one layer keep their order. So the circuit does not depend on the order in which a
//! front-end or an importer lists independent branches, and every equation follows those that it reads.

use std::collections::BTreeMap;

use mlc_ir::{Module, Node, Op, PoolKind, ReduceKind, Region, ValueId};

use super::PassError;

/// Orders nodes by layer.
pub fn layering(mut module: Module) -> Result<Module, PassError> {
    for entry in module.entries.values_mut() {
        let mut layers = BTreeMap::new();
        order(&mut entry.body, &mut layers);
        entry.compact();
    }
    Ok(module)
}

/// True where the node's result is committed.
fn commits(op: &Op) -> bool {
    match op {
        Op::Requant(_) | Op::MaxDistance(_) | Op::Repeat(_) => true,
        Op::Pool(pool) => pool.kind == PoolKind::Max,
        Op::Reduce { kind, .. } => *kind == ReduceKind::Max,
        _ => false,
    }
}

fn order(region: &mut Region, layers: &mut BTreeMap<ValueId, u32>) {
    for param in &region.params {
        layers.entry(*param).or_insert(0);
    }
    let mut keyed: Vec<(u32, Node)> = Vec::with_capacity(region.nodes.len());
    for mut node in std::mem::take(&mut region.nodes) {
        let of = |layers: &BTreeMap<ValueId, u32>, id: &ValueId| layers.get(id).copied().unwrap_or(0);
        let mut layer = node.operands.iter().map(|id| of(layers, id)).max().unwrap_or(0);
        if let Op::Repeat(repeat) = &mut node.op {
            // Values from outside that the body uses come before the region.
            let outside: Vec<ValueId> = repeat
                .body
                .all_nodes()
                .iter()
                .flat_map(|n| n.operands.clone())
                .collect();
            layer = outside.iter().map(|id| of(layers, id)).max().unwrap_or(0).max(layer);
            order(&mut repeat.body, layers);
        }
        let after = layer + u32::from(commits(&node.op));
        for id in &node.results {
            layers.insert(*id, after);
        }
        // Sources go where they are first used: before everything of layer 0 is always right.
        keyed.push((after, node));
    }
    keyed.sort_by_key(|(layer, _)| *layer);
    region.nodes = keyed.into_iter().map(|(_, node)| node).collect();
}
