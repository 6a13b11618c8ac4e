//! Carried values that are only added to: `next = carried + f + g`.

use mlc_ir::{BinaryOp, Op, Region, ValueId};

/// What the body adds to carried value number `index` in every iteration, where its next value is nothing but sums with
/// the parameter; `None` otherwise.
pub(crate) fn increments(body: &Region, index: usize) -> Option<Vec<ValueId>> {
    let (param, mut at) = (*body.params.get(index)?, *body.results.get(index)?);
    let mut out = Vec::new();
    while at != param {
        let node = body.nodes.iter().find(|n| n.results.contains(&at))?;
        let (Op::Binary(BinaryOp::Add), [a, b]) = (&node.op, &node.operands[..]) else {
            return None;
        };
        let (next, added) = if reaches(body, *a, param) { (*a, *b) } else { (*b, *a) };
        if next != param && !reaches(body, next, param) {
            return None;
        }
        out.push(added);
        at = next;
    }
    Some(out)
}

/// True where `value` is the parameter, or a chain of sums that leads to it.
fn reaches(body: &Region, value: ValueId, param: ValueId) -> bool {
    if value == param {
        return true;
    }
    body.nodes.iter().any(|n| {
        n.results.contains(&value)
            && n.op == Op::Binary(BinaryOp::Add)
            && n.operands.iter().any(|id| reaches(body, *id, param))
    })
}
