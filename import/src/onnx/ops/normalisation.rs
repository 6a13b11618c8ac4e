//! Normalisations, softmax and argmax.

use mlc_ir::{Dim, Formula, Op, Shape};

use super::super::context::Context;
use super::super::mask;
use super::super::node::{Node, axis};
use super::super::value::Value;
use super::Outputs;
use crate::error::{NodeError, malformed, unsupported};

/// `BatchNormalization` with given statistics.
pub(super) fn batch_norm(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    if node.flag("training_mode", false)? || (1..node.outputs()).any(|i| node.wants(i)) {
        return unsupported(
            "batch normalisation in training mode",
            "export the model in `eval()` mode",
        );
    }
    let x = ctx.input(node, 0)?;
    let mut operands = vec![ctx.graph(&x)?];
    for i in 1..5 {
        let parameter = ctx.input(node, i)?;
        let constant = ctx.constant(&parameter)?;
        // A single channel stays a vector of one.
        operands.push(ctx.graph(&Value::Constant(constant))?);
    }
    let eps = node.float_or("epsilon", 1e-5)?;
    Ok(vec![ctx.apply(Op::BatchNorm { eps }, &operands)?])
}

/// `LayerNormalization` over the last axis.
pub(super) fn layer_norm(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let rank = ctx.shape(&x)?.rank();
    if axis(node.int_or("axis", -1)?, rank)? + 1 != rank {
        return unsupported(
            "layer normalisation over several axes",
            "the last axis works: flatten before",
        );
    }
    if (1..node.outputs()).any(|i| node.wants(i)) {
        return unsupported("the mean and deviation as outputs", "the first output works");
    }
    let mut operands = vec![ctx.graph(&x)?];
    for i in 1..3 {
        if let Some(parameter) = ctx.optional(node, i) {
            operands.push(ctx.graph(&parameter)?);
        }
    }
    let eps = node.float_or("epsilon", 1e-5)?;
    Ok(vec![ctx.apply(Op::LayerNorm { eps }, &operands)?])
}

/// `Softmax` over any axis; before set 13 over all axes from one on.
pub(super) fn softmax(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let shape = ctx.shape(&x)?;
    let rank = shape.rank();
    let old = node.opset < 13;
    let at = axis(node.int_or("axis", if old { 1 } else { -1 })?, rank)?;
    if old && at + 1 < rank {
        let mut dims = shape.0[..at].to_vec();
        let row = shape.0[at..].iter().try_fold(Dim::fixed(1), |n, d| n.try_mul(d));
        let Some(row) = row else {
            return unsupported(
                "softmax over a product of run-time lengths",
                "export with one of them fixed",
            );
        };
        dims.push(row);
        let flat = ctx.reshaped(&x, Shape(dims))?;
        let flat = ctx.graph(&flat)?;
        let y = ctx.apply(Op::Softmax, &[flat])?;
        return Ok(vec![ctx.reshaped(&y, shape)?]);
    }
    Ok(vec![over_last(ctx, &x, at, Op::Softmax)?])
}

/// `LogSoftmax`: the logarithm of the softmax.
pub(super) fn log_softmax(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let y = softmax(ctx, node)?;
    let mut out = Vec::new();
    for value in y {
        out.push(ctx.formula(&Formula::x().log(), &value)?);
    }
    Ok(out)
}

/// `op`, which works on the last axis and keeps the shape, along `axis`.
fn over_last(ctx: &mut Context<'_, '_>, x: &Value, axis: usize, op: Op) -> Result<Value, NodeError> {
    let mut perm: Vec<usize> = (0..ctx.shape(x)?.rank()).collect();
    let last = perm.len() - 1;
    perm.swap(axis, last);
    let turned = ctx.transposed(x, &perm)?;
    let turned = ctx.graph(&turned)?;
    let operands = match op {
        Op::Softmax => mask::found(ctx, turned)?,
        _ => vec![turned],
    };
    let y = ctx.apply(op, &operands)?;
    ctx.transposed(&y, &perm)
}

/// `ArgMax`: ties to the lowest index.
pub(super) fn argmax(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    if node.flag("select_last_index", false)? {
        return unsupported("`select_last_index`", "ties go to the lowest index");
    }
    let x = ctx.input(node, 0)?;
    let shape = ctx.shape(&x)?;
    let rank = shape.rank();
    if rank == 0 {
        return malformed("argmax of a single number");
    }
    let at = axis(node.int_or("axis", 0)?, rank)?;
    let mut perm: Vec<usize> = (0..rank).filter(|i| *i != at).collect();
    perm.push(at);
    let turned = ctx.transposed(&x, &perm)?;
    let turned = ctx.graph(&turned)?;
    let y = ctx.apply(Op::ArgMax, &[turned])?;
    if !node.flag("keepdims", true)? {
        return Ok(vec![y]);
    }
    let mut dims = shape.0;
    dims[at] = Dim::fixed(1);
    Ok(vec![ctx.reshaped(&y, Shape(dims))?])
}
