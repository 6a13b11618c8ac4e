//! Canonical forms, so that later passes see one spelling of each thing.
//!
//! **Invariant**: weights and constants are right operands of commutative operations; no view leaves its operand as it is;
//! views of one kind do not follow one another; adding 0, multiplying by 1 and the identity table do not occur. No value
//! changes (bit for bit, in both stages).

use mlc_ir::{BinaryOp, Entry, Formula, Literal, Module, Node, Op, ValueId};

use super::PassError;
use super::rewrite::{Rewrite, Rewriter, rewrite};

/// Brings every node to its canonical form.
pub fn canonicalise(mut module: Module) -> Result<Module, PassError> {
    rewrite(&mut module, &mut |rewriter, node| Ok(canonical(rewriter, node)))?;
    Ok(module)
}

fn canonical(rewriter: &Rewriter<'_>, mut node: Node) -> Rewrite {
    let Some(result) = node.results.first().copied() else {
        return Rewrite::Keep(node);
    };
    if let Op::Binary(BinaryOp::Add | BinaryOp::Mul | BinaryOp::Max | BinaryOp::Min) = node.op
        && is_fixed(rewriter, node.operands[0])
        && !is_fixed(rewriter, node.operands[1])
    {
        node.operands.swap(0, 1);
    }
    let producer = node.operands.first().and_then(|id| rewriter.definition(*id)).cloned();
    if let Some(producer) = producer {
        match (&mut node.op, &producer.op) {
            (Op::Reshape(_), Op::Reshape(_)) => node.operands = producer.operands,
            (Op::Transpose(outer), Op::Transpose(inner)) => {
                *outer = outer.iter().map(|a| inner[*a]).collect();
                node.operands = producer.operands;
            }
            (Op::Broadcast(_), Op::Broadcast(_)) => node.operands = producer.operands,
            _ => {}
        }
    }
    if is_identity(rewriter, &node, result) {
        return Rewrite::Replace(node.operands[0]);
    }
    Rewrite::Keep(node)
}

fn is_fixed(rewriter: &Rewriter<'_>, id: ValueId) -> bool {
    let Some(node) = rewriter.definition(id) else {
        return false;
    };
    match node.op {
        Op::Weight(_) | Op::Const(_) => true,
        Op::Reshape(_) | Op::Transpose(_) | Op::Slice { .. } | Op::Broadcast(_) => is_fixed(rewriter, node.operands[0]),
        _ => false,
    }
}

fn same_type(entry: &Entry, a: ValueId, b: ValueId) -> bool {
    entry.ty(a) == entry.ty(b)
}

fn is_identity(rewriter: &Rewriter<'_>, node: &Node, result: ValueId) -> bool {
    let entry = &rewriter.entry;
    let Some(x) = node.operands.first().copied() else {
        return false;
    };
    let scalar = |id: &ValueId| match &rewriter.definition(*id)?.op {
        Op::Const(Literal::Real(t)) => super::uniform(t),
        _ => None,
    };
    same_type(entry, x, result)
        && match &node.op {
            Op::Reshape(_) | Op::Broadcast(_) => true,
            Op::Transpose(perm) => perm.iter().copied().eq(0..perm.len()),
            Op::Concat { .. } => node.operands.len() == 1,
            Op::Pad { lo, hi, .. } => lo.iter().chain(hi).all(|p| *p == 0),
            Op::Slice { start, step, .. } => *step == 1 && start.as_const() == Some(0),
            Op::Table { formula, .. } => *formula == Formula::x(),
            Op::Binary(BinaryOp::Add | BinaryOp::Sub) => scalar(&node.operands[1]) == Some(0.0),
            Op::Binary(BinaryOp::Mul | BinaryOp::Div) => scalar(&node.operands[1]) == Some(1.0),
            _ => false,
        }
}
