//! Products of matrices.
//!
//! A constant matrix is brought to the layout `[outputs, inputs]` by its recipe, so that a linear layer looks the same
//! whichever exporter wrote it.

use mlc_ir::formula::Binary;
use mlc_ir::{BinaryOp, Dim, Einsum, Formula, Op, Recipe, Shape};

use super::super::context::Context;
use super::super::layout::sizes;
use super::super::node::Node;
use super::super::value::{Constant, Cost, Value};
use super::Outputs;
use super::arithmetic::binary;
use crate::error::{NodeError, malformed, unsupported};

/// `Gemm`: `alpha · A' · B' + beta · C`.
pub(super) fn gemm(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let (a, b) = (ctx.input(node, 0)?, ctx.input(node, 1)?);
    for x in [&a, &b] {
        let rank = ctx.shape(x)?.rank();
        if rank != 2 {
            return malformed(format!("a matrix has 2 axes, not {rank}"));
        }
    }
    let turned = |ctx: &mut Context<'_, '_>, x: Value, flag: &str| match node.flag(flag, false)? {
        true => ctx.transposed(&x, &[1, 0]),
        false => Ok(x),
    };
    let (a, b) = (turned(ctx, a, "transA")?, turned(ctx, b, "transB")?);
    let (alpha, beta) = (node.float_or("alpha", 1.0)?, node.float_or("beta", 1.0)?);
    // The factor goes into the weight.
    let factor = Formula::x() * alpha;
    let (mut a, mut b) = (a, b);
    if alpha != 1.0 {
        match b {
            Value::Lazy(_) => a = ctx.formula(&factor, &a)?,
            _ => b = ctx.formula(&factor, &b)?,
        }
    }
    let mut y = product(ctx, &a, &b)?;
    if let Some(c) = ctx.optional(node, 2) {
        let c = match beta {
            1.0 => c,
            _ => ctx.formula(&(Formula::x() * beta), &c)?,
        };
        let c = row(ctx, c)?;
        y = binary(ctx, Binary::Add, &y, &c)?;
    }
    Ok(vec![y])
}

/// A bias `[1, n]` as `[n]`.
fn row(ctx: &mut Context<'_, '_>, c: Value) -> Result<Value, NodeError> {
    let shape = ctx.shape(&c)?;
    match shape.0.as_slice() {
        [one, n] if *one == Dim::fixed(1) && !matches!(c, Value::Lazy(_)) => {
            let n = n.clone();
            ctx.reshaped(&c, Shape(vec![n]))
        }
        _ => Ok(c),
    }
}

/// `MatMul`, with the broadcasting of numpy.
pub(super) fn matmul(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let (a, b) = (ctx.input(node, 0)?, ctx.input(node, 1)?);
    let ((a, by_a), (b, by_b)) = match (&a, &b) {
        (Value::Lazy(_), Value::Lazy(_)) => (factor(ctx, &a), factor(ctx, &b)),
        _ => ((a, 1.0), (b, 1.0)),
    };
    let y = product(ctx, &a, &b)?;
    match by_a * by_b {
        1.0 => Ok(vec![y]),
        factor => Ok(vec![ctx.formula(&(Formula::x() * factor), &y)?]),
    }
}

/// A value and the number that it is multiplied by: attention is written with half of its scale on queries, half on keys.
fn factor(ctx: &Context<'_, '_>, x: &Value) -> (Value, f64) {
    if let Value::Lazy(lazy) = x
        && let Some((BinaryOp::Mul, number)) = super::super::formula::scaling(&lazy.formula)
    {
        return (ctx.tensor(lazy.base), number);
    }
    (x.clone(), 1.0)
}

/// Labels of batch axes, innermost last; `i`, `k`, `o` are kept for rows, contraction and columns.
const BATCH: &str = "abcdefgh";

fn product(ctx: &mut Context<'_, '_>, a: &Value, b: &Value) -> Result<Value, NodeError> {
    let (shape_a, shape_b) = (ctx.shape(a)?, ctx.shape(b)?);
    let (rank_a, rank_b) = (shape_a.rank(), shape_b.rank());
    if rank_a == 0 || rank_b == 0 {
        return malformed("a matrix product of a single number");
    }
    // Batch axes that are 1 on one side and not on the other are dropped there: the label is free on the other side.
    let batch_a = &shape_a.0[..rank_a.saturating_sub(2)];
    let batch_b = &shape_b.0[..rank_b.saturating_sub(2)];
    let batch = batch_a.len().max(batch_b.len());
    if batch > BATCH.len() {
        return unsupported(
            format!("a matrix product over {batch} batch axes"),
            format!("up to {} work; join some by Reshape", BATCH.len()),
        );
    }
    let labels: Vec<char> = BATCH.chars().take(batch).collect();
    let one = Dim::fixed(1);
    let side = |own: &[Dim], other: &[Dim]| -> (String, Vec<Dim>) {
        let mut text = String::new();
        let mut kept = Vec::new();
        for (i, dim) in own.iter().enumerate() {
            let position = batch - own.len() + i;
            let facing = (position + other.len()).checked_sub(batch).map(|j| &other[j]);
            if *dim != one || facing.is_none_or(|d| *d == one) {
                text.push(labels[position]);
                kept.push(dim.clone());
            }
        }
        (text, kept)
    };
    let ((mut text_a, mut dims_a), (mut text_b, mut dims_b)) = (side(batch_a, batch_b), side(batch_b, batch_a));
    let mut out: String = labels
        .iter()
        .filter(|l| text_a.contains(**l) || text_b.contains(**l))
        .collect();
    if rank_a > 1 {
        text_a.push('i');
        out.push('i');
    }
    text_a.push('k');
    dims_a.extend(shape_a.0[rank_a - rank_a.min(2)..].iter().cloned());
    dims_b.extend(shape_b.0[rank_b - rank_b.min(2)..].iter().cloned());
    let a = ctx.reshaped(a, Shape(dims_a))?;
    let mut b = ctx.reshaped(b, Shape(dims_b))?;
    match (rank_b, &b) {
        (1, _) => text_b.push('k'),
        (_, Value::Lazy(_)) => text_b.push_str("ko"),
        _ => {
            let rank = text_b.len() + 2;
            let mut perm: Vec<usize> = (0..rank).collect();
            perm.swap(rank - 1, rank - 2);
            b = ctx.transposed(&b, &perm)?;
            text_b.push_str("ok");
        }
    }
    if rank_b > 1 {
        out.push('o');
    }
    let einsum = format!("{text_a},{text_b}->{out}");
    let einsum = Einsum::parse(&einsum).or_else(|e| malformed(e.to_string()))?;
    if matches!(a, Value::Lazy(_)) || matches!(b, Value::Lazy(_)) {
        let operands = [ctx.graph(&a)?, ctx.graph(&b)?];
        return ctx.apply(Op::Contract(einsum), &operands);
    }
    constants(ctx, einsum, &a, &b)
}

/// The product of two weights, as a recipe.
fn constants(ctx: &Context<'_, '_>, einsum: Einsum, a: &Value, b: &Value) -> Result<Value, NodeError> {
    let (a, b) = (ctx.constant(a)?, ctx.constant(b)?);
    let length = |labels: &str, shape: &[u64], label: char| labels.find(label).map(|i| shape[i]);
    for label in einsum.lhs().chars() {
        let (x, y) = (
            length(einsum.lhs(), &a.shape, label),
            length(einsum.rhs(), &b.shape, label),
        );
        if let (Some(x), Some(y)) = (x, y)
            && x != y
        {
            return malformed(format!("matrices {:?} and {:?} do not fit", a.shape, b.shape));
        }
    }
    let of = |label: char| length(einsum.lhs(), &a.shape, label).or(length(einsum.rhs(), &b.shape, label));
    let shape = Shape(
        einsum
            .out()
            .chars()
            .filter_map(of)
            .map(|d| Dim::fixed(d as i64))
            .collect(),
    );
    let shape = sizes(&shape)?;
    ctx.checked(Constant {
        name: ctx.here().to_owned(),
        cost: Cost::step(&shape, [a.cost, b.cost]),
        shape,
        recipe: Recipe::Contract {
            einsum,
            lhs: Box::new(a.recipe),
            rhs: Box::new(b.recipe),
        },
    })
}
