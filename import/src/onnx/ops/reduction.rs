//! Reductions.

use mlc_ir::{Dim, Formula, Op, ReduceKind};

use super::super::context::Context;
use super::super::node::{Node, axes};
use super::super::value::{Ints, Value};
use super::Outputs;
use crate::error::{NodeError, malformed, unsupported};

/// Any reduction, over axes given as attribute (older sets) or input.
pub(super) fn reduce(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let rank = ctx.shape(&x)?.rank();
    let list = match (node.ints("axes")?, ctx.optional(node, 1)) {
        (Some(list), _) => Some(list.to_vec()),
        (None, Some(value)) => Some(ctx.known_ints("axes", &value)?),
        (None, None) => None,
    };
    let over: Vec<usize> = match list.filter(|l| !l.is_empty()) {
        Some(list) => {
            let mut over = axes(&list, rank)?;
            over.sort_unstable();
            over
        }
        None if node.flag("noop_with_empty_axes", false)? => return Ok(vec![x]),
        None => (0..rank).collect(),
    };
    let keepdims = node.flag("keepdims", true)?;
    if over.is_empty() {
        return Ok(vec![x]);
    }
    let operator = node.proto.op_type.as_str();
    if let ("ReduceProd", Value::Ints(ints)) = (operator, &x) {
        return product(ints, keepdims).map(|v| vec![v]);
    }
    let (before, kind, after) = match operator {
        "ReduceMean" => (None, ReduceKind::Mean, None),
        "ReduceSum" => (None, ReduceKind::Sum, None),
        "ReduceMax" => (None, ReduceKind::Max, None),
        "ReduceMin" => (Some(-Formula::x()), ReduceKind::Max, Some(-Formula::x())),
        "ReduceSumSquare" => (Some(Formula::x() * Formula::x()), ReduceKind::Sum, None),
        "ReduceL2" => (
            Some(Formula::x() * Formula::x()),
            ReduceKind::Sum,
            Some(Formula::x().sqrt()),
        ),
        other => {
            return unsupported(
                other,
                "ReduceSum, ReduceMean and ReduceMax work; a product is Exp of a sum of Logs",
            );
        }
    };
    let x = match before {
        Some(formula) => ctx.formula(&formula, &x)?,
        None => x,
    };
    let x = ctx.graph(&x)?;
    let y = ctx.apply(
        Op::Reduce {
            kind,
            axes: over,
            keepdims,
        },
        &[x],
    )?;
    Ok(vec![match after {
        Some(formula) => ctx.formula(&formula, &y)?,
        None => y,
    }])
}

/// The product of a known shape.
fn product(ints: &Ints, keepdims: bool) -> Result<Value, NodeError> {
    let all = ints.data.iter().try_fold(Dim::fixed(1), |p, d| p.try_mul(d));
    let Some(all) = all.filter(|_| ints.shape.len() <= 1) else {
        return malformed("a product of run-time dimensions is no length");
    };
    Ok(Value::Ints(Ints {
        shape: if keepdims {
            vec![1; ints.shape.len()]
        } else {
            Vec::new()
        },
        data: vec![all],
        constant: None,
    }))
}
