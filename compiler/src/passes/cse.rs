//! Common subexpression elimination.
//!
//! **Invariant**: no two nodes of a region, or of a region and one around it, compute the same operation on the same
//! operands (operations with effects excepted); no value changes.

use std::collections::BTreeMap;

use mlc_ir::{Module, Op, ValueId};

use super::PassError;
use super::rewrite::{Rewrite, rewrite};

/// Merges equal nodes.
pub fn cse(mut module: Module) -> Result<Module, PassError> {
    let mut seen: BTreeMap<(usize, String, Vec<ValueId>), ValueId> = BTreeMap::new();
    let mut entry = 0usize;
    let mut last: Option<ValueId> = None;
    rewrite(&mut module, &mut |rewriter, node| {
        // A new entry starts where values count from the beginning again.
        if rewriter.definitions.is_empty() && last.is_some() {
            entry += 1;
            seen.clear();
            last = None;
        }
        let Some(result) = node.results.first().copied() else {
            return Ok(Rewrite::Keep(node));
        };
        last = Some(result);
        if node.op.has_effect() || matches!(node.op, Op::Repeat(_)) {
            return Ok(Rewrite::Keep(node));
        }
        // Equal text of the operation is equality; regions around this one are part of the key by visibility below.
        let scope: String = rewriter.stack.iter().map(|a| format!("{}/", a.index)).collect();
        for depth in 0..=rewriter.stack.len() {
            let prefix: String = rewriter.stack[..depth]
                .iter()
                .map(|a| format!("{}/", a.index))
                .collect();
            let key = (entry, format!("{prefix}{:?}", node.op), node.operands.clone());
            if let Some(known) = seen.get(&key)
                && rewriter.visible(*known)
            {
                return Ok(Rewrite::Replace(*known));
            }
        }
        seen.insert((entry, format!("{scope}{:?}", node.op), node.operands.clone()), result);
        Ok(Rewrite::Keep(node))
    })?;
    Ok(module)
}
