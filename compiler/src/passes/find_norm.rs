//! Row norms that exporters spell out, found again.
//!
//! **Invariant**: `c / sqrt(mean(c²) + eps)` over the last axis, by whatever operations it was written (a quotient, or a
//! product with a reciprocal; a power, or a product with itself; the root and the sum in one function or two), is one RMSNorm
//! without parameters. So is the second half of a LayerNorm, whose `c` is `x - mean(x)`; gains and biases stay the products and sums
//! that they are. Values change by rounding only. Written out, a norm would be a quotient of two values, and the squares of all
//! elements would be looked up.

use mlc_ir::{BinaryOp, Formula, Module, Node, Op, ReduceKind, Stage, ValueId};

use super::PassError;
use super::lookup_fuse::back;
use super::rewrite::{Rewrite, Rewriter, rewrite};

/// Where functions are compared: two that agree at all of these are the same.
const SAMPLES: [f64; 6] = [0.01, 0.5, 1.0, 2.5, 7.0, 300.0];

/// Replaces norms that are written out.
pub fn find_norm(mut module: Module) -> Result<Module, PassError> {
    if module.stage == Stage::Quantised {
        return Ok(module);
    }
    rewrite(&mut module, &mut |rewriter, node| {
        let Some((c, eps)) = norm(rewriter, &node) else {
            return Ok(Rewrite::Keep(node));
        };
        let found = Node {
            op: Op::RmsNorm { eps },
            operands: vec![c],
            ..node
        };
        Ok(Rewrite::Keep(found))
    })?;
    Ok(module)
}

/// What a node normalises, and by which `eps`.
fn norm(rewriter: &Rewriter<'_>, node: &Node) -> Option<(ValueId, f64)> {
    let (a, b) = (*node.operands.first()?, *node.operands.get(1)?);
    let result = *node.results.first()?;
    let pairs: &[(ValueId, ValueId, bool)] = match node.op {
        Op::Binary(BinaryOp::Div) => &[(a, b, false)],
        Op::Binary(BinaryOp::Mul) => &[(a, b, true), (b, a, true)],
        _ => return None,
    };
    pairs.iter().find_map(|&(c, divisor, inverse)| {
        let (function, mean, _) = back(rewriter, unviewed(rewriter, divisor));
        let mean = unviewed(rewriter, mean);
        let eps = eps_of(&function, inverse)?;
        let squares = mean_of_rows(rewriter, mean, c)?;
        let same = is_square(rewriter, squares, c) && rewriter.entry.ty(c) == rewriter.entry.ty(result);
        same.then_some((c, eps))
    })
}

/// A value before reshapes and broadcasts: what stands once a row stays that.
fn unviewed(rewriter: &Rewriter<'_>, mut id: ValueId) -> ValueId {
    while let Some(node) = rewriter.definition(id)
        && matches!(node.op, Op::Reshape(_) | Op::Broadcast(_))
    {
        id = node.operands[0];
    }
    id
}

/// `eps`, where the function is `sqrt(v + eps)` or its inverse.
fn eps_of(function: &Formula, inverse: bool) -> Option<f64> {
    let root = |v: f64| {
        if inverse {
            1.0 / function.eval(v)
        } else {
            function.eval(v)
        }
    };
    let eps = root(0.0) * root(0.0);
    let near = |v: f64| {
        let expected = libm::sqrt(v + eps);
        libm::fabs(root(v) - expected) <= 1e-6 * expected
    };
    (eps.is_finite() && SAMPLES.iter().all(|v| near(*v))).then_some(eps)
}

/// The elements of which `mean` is the mean over the last axis; they have the shape of `c`.
fn mean_of_rows(rewriter: &Rewriter<'_>, mean: ValueId, c: ValueId) -> Option<ValueId> {
    let node = rewriter.definition(mean)?;
    let Op::Reduce {
        kind: ReduceKind::Mean,
        axes,
        ..
    } = &node.op
    else {
        return None;
    };
    let squares = *node.operands.first()?;
    let shape = &rewriter.entry.ty(squares).shape;
    let over_rows = axes[..] == [shape.rank().checked_sub(1)?] && *shape == rewriter.entry.ty(c).shape;
    over_rows.then_some(squares)
}

/// Whether a value is another's square.
fn is_square(rewriter: &Rewriter<'_>, squares: ValueId, c: ValueId) -> bool {
    let Some(node) = rewriter.definition(squares) else {
        return false;
    };
    match &node.op {
        Op::Binary(BinaryOp::Mul) => node.operands == [c, c],
        Op::Table { formula, .. } => {
            let near = |v: f64| libm::fabs(formula.eval(v) - v * v) <= 1e-9 * v * v;
            node.operands == [c] && SAMPLES.iter().all(|v| near(*v) && near(-v))
        }
        _ => false,
    }
}
