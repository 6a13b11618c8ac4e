//! Dead code elimination.
//!
//! **Invariant**: every node that is left contributes to an output or a state, every weight, state and table is used, and
//! no output changes.

use std::collections::BTreeSet;

use mlc_ir::{Module, Op};

use super::PassError;
use super::rewrite::forget_unused;

/// Removes nodes, weights, states and tables that nothing uses.
pub fn dce(mut module: Module) -> Result<Module, PassError> {
    for entry in module.entries.values_mut() {
        entry.remove_dead();
    }
    forget_unused(&mut module);
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut templated = false;
    for entry in module.entries.values() {
        for node in entry.all_nodes() {
            let table = match &node.op {
                Op::Requant(requant) => &requant.table,
                Op::MaxDistance(lookup) => &lookup.table,
                _ => continue,
            };
            templated |= !table.indices().is_empty();
            used.extend(table.expand(&mlc_ir::Bindings::new()));
        }
    }
    // Names with holes stand for many tables; they keep all.
    if !templated {
        module.tables.retain(|name, _| used.contains(name));
    }
    Ok(module)
}
