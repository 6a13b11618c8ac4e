//! Steps: what lies between two places of an entry where a single value is alive.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use mlc_ir::{Entry, Module, Node, Op, ValueId};

/// Weights, constants and what follows from indices alone: they have no operands, and belong to what uses them.
pub(crate) fn is_source(op: &Op) -> bool {
    matches!(
        op,
        Op::Weight(_) | Op::Const(_) | Op::CausalMask { .. } | Op::Iota { .. }
    )
}

/// Nodes (sources left out) from the value `input` to the value `output`.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) input: ValueId,
    pub(crate) output: ValueId,
    pub(crate) nodes: Vec<Node>,
}

/// Cuts the body of an entry into steps; what comes before the first cut is left out.
pub(crate) fn steps(entry: &Entry) -> Vec<Step> {
    let nodes: Vec<&Node> = entry.body.nodes.iter().filter(|n| !is_source(&n.op)).collect();
    let sources: BTreeSet<ValueId> = entry
        .body
        .nodes
        .iter()
        .filter(|n| is_source(&n.op))
        .flat_map(|n| n.results.iter().copied())
        .collect();
    // The last node that uses each value; outputs use theirs after all.
    let mut last_use: BTreeMap<ValueId, usize> = BTreeMap::new();
    for (at, node) in nodes.iter().enumerate() {
        let mut used = node.operands.clone();
        if let Op::Repeat(repeat) = &node.op {
            used.extend(&repeat.body.results);
            used.extend(repeat.body.all_nodes().iter().flat_map(|n| n.operands.clone()));
        }
        for id in used {
            last_use.insert(id, at);
        }
    }
    for id in &entry.body.results {
        last_use.insert(*id, nodes.len());
    }
    let mut alive: BTreeSet<ValueId> = entry.body.params.iter().copied().collect();
    alive.retain(|id| last_use.contains_key(id));
    let single = |alive: &BTreeSet<ValueId>| if alive.len() == 1 { alive.first().copied() } else { None };
    let mut from = single(&alive);
    let mut open: Vec<Node> = Vec::new();
    let mut out = Vec::new();
    for (at, node) in nodes.into_iter().enumerate() {
        open.push(node.clone());
        alive.extend(node.results.iter().filter(|id| last_use.contains_key(id)));
        alive.retain(|id| last_use.get(id).is_some_and(|last| *last > at) && !sources.contains(id));
        if let Some(to) = single(&alive) {
            if to == node.results.first().copied().unwrap_or(to)
                && let Some(input) = from
                && input != to
            {
                out.push(Step {
                    input,
                    output: to,
                    nodes: std::mem::take(&mut open),
                });
            }
            open.clear();
            from = Some(to);
        }
    }
    out
}

impl Step {
    /// Equal for isomorphic steps. Regions are like nothing else.
    pub(crate) fn key(&self, module: &Module, entry: &Entry) -> String {
        let mut key = String::new();
        let mut local: BTreeMap<ValueId, usize> = BTreeMap::from([(self.input, 0)]);
        for node in &self.nodes {
            match &node.op {
                Op::Repeat(_) => {
                    let _ = write!(key, "region {:?};", node.results);
                }
                op => {
                    let _ = write!(key, "{op:?}");
                }
            }
            for id in &node.operands {
                let _ = match local.get(id) {
                    Some(n) => write!(key, " {n}"),
                    None => write!(key, " {}", source_key(module, entry, *id)),
                };
            }
            for id in &node.results {
                let _ = write!(key, " -> {};", entry.ty(*id));
                local.insert(*id, local.len());
            }
        }
        let _ = write!(key, "out {:?}", local.get(&self.output));
        key
    }

    /// True where it uses a weight.
    pub(crate) fn has_weight(&self, module: &Module, entry: &Entry) -> bool {
        let mut operands = self.nodes.iter().flat_map(|n| &n.operands);
        operands.any(|id| source_key(module, entry, *id).starts_with("weight"))
    }
}

/// A weight by its type, another source by its contents, anything else by itself.
fn source_key(module: &Module, entry: &Entry, id: ValueId) -> String {
    let node = entry.body.nodes.iter().find(|n| n.results.contains(&id));
    match node.map(|n| &n.op) {
        Some(Op::Weight(name)) => match module.weights.get(name) {
            Some(w) if w.stack.is_empty() => format!("weight {} {}", w.ty, w.visibility),
            _ => format!("stacked {name}"),
        },
        Some(op) if is_source(op) => format!("const {op:?}"),
        _ => format!("value {}", id.0),
    }
}
