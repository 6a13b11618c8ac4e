//! Norms of rows as products and one function per row.
//!
//! **Invariant**: there is no RMSNorm and no LayerNorm. `x / sqrt(mean(x²) + eps)` is `c · r`, with `c = x` (or
//! `x - mean(x)`), the row's sum of squares `S = Σ c²` a contraction of `c` with itself, and `r = 1 / sqrt(S / d + eps)` a
//! table of one element per row; gain and bias are a product and a sum, which fold-norm takes further. So a norm needs no
//! relation of its own, calibration measures `S` and `r` like any other value, and values change by rounding only.

use mlc_ir::{BinaryOp, Dim, Einsum, Formula, Module, Node, Op, ReduceKind, Shape, Stage, ValueId};

use super::PassError;
use super::rewrite::{Rewrite, Rewriter, rewrite};

/// Name of the table of inverse roots: what later passes know a norm by.
pub(crate) const INVERSE_ROOT: &str = "inv_root";

/// Expands row norms.
pub fn expand_norm(mut module: Module) -> Result<Module, PassError> {
    if module.stage == Stage::Quantised {
        return Ok(module);
    }
    rewrite(&mut module, &mut |rewriter, node| match node.op {
        Op::RmsNorm { eps } => Ok(Rewrite::Replace(expand(rewriter, &node, eps, false)?)),
        Op::LayerNorm { eps } => Ok(Rewrite::Replace(expand(rewriter, &node, eps, true)?)),
        _ => Ok(Rewrite::Keep(node)),
    })?;
    Ok(module)
}

fn expand(rewriter: &mut Rewriter<'_>, node: &Node, eps: f64, centred: bool) -> Result<ValueId, PassError> {
    let name = node
        .results
        .first()
        .map_or("", |id| &rewriter.entry.value(*id).name)
        .to_owned();
    let x = node.operands[0];
    let shape = rewriter.entry.ty(x).shape.clone();
    let width = shape.0.last().and_then(Dim::as_const).filter(|d| *d > 0);
    let labels: String = ('a'..='z').take(shape.rank()).collect();
    let (Some(width), Some((rows, _))) = (width, labels.char_indices().next_back().map(|(i, c)| (&labels[..i], c)))
    else {
        return Err(PassError::Unsupported {
            layer: name,
            op: node.op.name(),
            why: "the last axis of a norm has a length that is known when the model is compiled".into(),
            span: node.span.clone(),
        });
    };
    let last = shape.rank() - 1;
    let mut emit = |op: Op, operands: &[ValueId], part: &str| {
        rewriter.emit(op, operands, &format!("{name}{part}"), node.span.clone())
    };
    let mut c = x;
    if centred {
        let mean = Op::Reduce {
            kind: ReduceKind::Mean,
            axes: vec![last],
            keepdims: true,
        };
        let mean = emit(mean, &[x], ".mean")?;
        c = emit(Op::Binary(BinaryOp::Sub), &[x, mean], ".centred")?;
    }
    let squares = Einsum::parse(&format!("{labels},{labels}->{rows}")).map_err(|e| PassError::Unsupported {
        layer: name.clone(),
        op: node.op.name(),
        why: e.to_string(),
        span: node.span.clone(),
    })?;
    let squares = emit(Op::Contract(squares), &[c, c], ".squares")?;
    let root = Op::Table {
        name: INVERSE_ROOT.to_owned(),
        formula: 1.0 / (Formula::x() / width as f64 + eps).sqrt(),
    };
    let inverse = emit(root, &[squares], ".inverse")?;
    let mut kept = shape.0.clone();
    kept[last] = Dim::fixed(1);
    let inverse = emit(Op::Reshape(Shape(kept)), &[inverse], ".inverse")?;
    let mut y = emit(Op::Binary(BinaryOp::Mul), &[c, inverse], ".normal")?;
    for (op, parameter) in [BinaryOp::Mul, BinaryOp::Add].into_iter().zip(&node.operands[1..]) {
        y = emit(Op::Binary(op), &[y, *parameter], "")?;
    }
    Ok(y)
}
