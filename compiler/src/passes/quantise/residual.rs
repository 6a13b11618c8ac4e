//! Carried values that are only added to: `next = carried + f + g`.

use std::collections::BTreeSet;

use mlc_ir::{BinaryOp, Op, Region, ValueId};

/// What the body adds to carried value number `index` in every iteration, where its next value is nothing but sums with
/// the parameter; `None` otherwise.
pub(crate) fn increments(body: &Region, index: usize) -> Option<Vec<ValueId>> {
    let (param, mut at) = (*body.params.get(index)?, *body.results.get(index)?);
    let mut sums = BTreeSet::from([param]);
    for node in &body.nodes {
        if node.op == Op::Binary(BinaryOp::Add) && node.operands.iter().any(|id| sums.contains(id)) {
            sums.extend(&node.results);
        }
    }
    let mut out = Vec::new();
    while at != param {
        let node = body.nodes.iter().find(|n| n.results.contains(&at))?;
        let (Op::Binary(BinaryOp::Add), [a, b]) = (&node.op, &node.operands[..]) else {
            return None;
        };
        let (next, added) = if sums.contains(a) { (*a, *b) } else { (*b, *a) };
        if !sums.contains(&next) || sums.contains(&added) {
            return None;
        }
        out.push(added);
        at = next;
    }
    Some(out)
}
