//! Choosing positions: `Gather` with constant indices, or of a weight with the input's indices; `Slice`, `Split`.

use mlc_ir::{Dim, Elem, Op, Shape};

use super::super::context::Context;
use super::super::layout::{MAX_PIECES, known};
use super::super::node::{Node, axis};
use super::super::value::{Ints, Value};
use super::Outputs;
use crate::error::{NodeError, malformed, unsupported};

/// `Gather`.
pub(super) fn gather(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let (x, indices) = (ctx.input(node, 0)?, ctx.input(node, 1)?);
    let shape = ctx.shape(&x)?;
    let at = axis(node.int_or("axis", 0)?, shape.rank())?;
    if let Value::Lazy(lazy) = &indices {
        if !matches!(ctx.ty(lazy.base).elem, Elem::Index(_)) || at != 0 {
            return unsupported(
                "indices that are computed",
                "constant indices work, and an input of indices into the rows (axis 0) of a weight",
            );
        }
        let rows = ctx.graph(&x)?;
        return Ok(vec![ctx.apply(Op::Embedding, &[rows, lazy.base])?]);
    }
    if let (Value::Ints(list), Value::Ints(indices)) = (&x, &indices)
        && list.shape.len() == 1
    {
        let positions = positions(indices, &Dim::fixed(list.data.len() as i64))?;
        let data = positions
            .iter()
            .filter_map(|i| list.data.get(*i as usize).cloned())
            .collect();
        return Ok(vec![Value::Ints(Ints {
            shape: indices.shape.clone(),
            data,
            constant: None,
        })]);
    }
    let indices = ctx.ints("indices", &indices)?;
    let positions = positions(&indices, &shape.0[at])?;
    let picked = ctx.picked(&x, at, &positions)?;
    // The axis is replaced by the axes of the indices.
    let mut dims = shape.0.clone();
    dims.splice(at..=at, indices.shape.iter().map(|d| Dim::from(*d)));
    Ok(vec![ctx.reshaped(&picked, Shape(dims))?])
}

/// `GatherElements` of integers that are known: element `i` of the result is that of `x` at the same place, but for its
/// position on one axis.
pub(super) fn gather_elements(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let (x, indices) = (ctx.input(node, 0)?, ctx.input(node, 1)?);
    let (Value::Ints(x), Value::Ints(indices)) = (&x, &indices) else {
        return unsupported(
            "GatherElements of computed values",
            "Gather with constant indices, or of a weight with the input's tokens, works",
        );
    };
    let at = axis(node.int_or("axis", 0)?, x.shape.len())?;
    let positions = positions(indices, &Dim::from(x.shape[at]))?;
    let within = (0..x.shape.len()).all(|i| i == at || indices.shape.get(i).is_some_and(|d| *d <= x.shape[i]));
    if indices.shape.len() != x.shape.len() || !within {
        return malformed("the indices have other axes than what they choose from");
    }
    let mut data = Vec::new();
    for (i, position) in positions.iter().enumerate() {
        // The place of element i of the indices, axis by axis from the last.
        let (mut rest, mut from, mut stride) = (i, 0, 1);
        for axis in (0..x.shape.len()).rev() {
            let place = rest % indices.shape[axis];
            rest /= indices.shape[axis];
            from += stride * if axis == at { *position as usize } else { place };
            stride *= x.shape[axis];
        }
        data.extend(x.data.get(from).cloned());
    }
    Ok(vec![Value::Ints(Ints {
        shape: indices.shape.clone(),
        data,
        constant: None,
    })])
}

/// Constant indices from 0, negative ones counted from the end of an axis of `length`.
fn positions(indices: &Ints, length: &Dim) -> Result<Vec<i64>, NodeError> {
    let Some(list) = indices.as_const() else {
        return unsupported("indices that are run-time lengths", "constant indices work");
    };
    let length = known(length)? as i64;
    let mut out = Vec::new();
    for i in list {
        let from_start = if i < 0 { i.saturating_add(length) } else { i };
        if !(0..length).contains(&from_start) {
            return malformed(format!("index {i} is outside of an axis of {length}"));
        }
        out.push(from_start);
    }
    Ok(out)
}

/// `Slice`, with bounds as attributes (before set 10) or inputs.
pub(super) fn slice(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let mut x = ctx.input(node, 0)?;
    let rank = ctx.shape(&x)?.rank();
    let mut lists = [None, None, None, None];
    for (i, (slot, name)) in lists.iter_mut().zip(["starts", "ends", "axes", "steps"]).enumerate() {
        *slot = match (node.ints(name)?, ctx.optional(node, i + 1)) {
            (Some(list), _) => Some(list.iter().map(|v| Dim::fixed(*v)).collect()),
            (None, Some(value)) => Some(ctx.ints(name, &value)?.data),
            (None, None) => None,
        };
    }
    let [Some(starts), Some(ends), axes, steps] = lists else {
        return malformed("`starts` or `ends` is missing");
    };
    let axes: Vec<Dim> = axes.unwrap_or_else(|| (0..starts.len()).map(Dim::from).collect());
    let steps = steps.unwrap_or_else(|| vec![Dim::fixed(1); starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return malformed("`starts`, `ends`, `axes` and `steps` have different lengths");
    }
    for i in 0..starts.len() {
        let (Some(a), Some(step)) = (axes[i].as_const(), steps[i].as_const()) else {
            return unsupported("an axis or a step that is a run-time length", "constant ones work");
        };
        let at = axis(a, rank)?;
        x = cut(ctx, &x, at, &starts[i], &ends[i], step)?;
    }
    Ok(vec![x])
}

fn cut(
    ctx: &mut Context<'_, '_>,
    x: &Value,
    axis: usize,
    start: &Dim,
    end: &Dim,
    step: i64,
) -> Result<Value, NodeError> {
    let length = ctx.shape(x)?.0[axis].clone();
    let Some(extent) = length.as_const() else {
        return symbolic(ctx, x, axis, start, end, step, &length);
    };
    let (Some(start), Some(end)) = (start.as_const(), end.as_const()) else {
        return unsupported(
            "bounds that are run-time lengths on a constant axis",
            "constant bounds work",
        );
    };
    let wrap = |v: i64| if v < 0 { v.saturating_add(extent) } else { v };
    match step {
        0 => malformed("a step is 0"),
        1.. => {
            let (start, end) = (wrap(start).clamp(0, extent), wrap(end).clamp(0, extent));
            if end <= start {
                return malformed("a slice is empty");
            }
            let count = (end - start).unsigned_abs().div_ceil(step.unsigned_abs());
            ctx.sliced(
                x,
                axis,
                &Dim::fixed(start),
                &Dim::fixed(count as i64),
                step.unsigned_abs(),
            )
        }
        _ => {
            let (start, end) = (wrap(start).clamp(-1, extent - 1), wrap(end).clamp(-1, extent - 1));
            let count = start.saturating_sub(end).unsigned_abs().div_ceil(step.unsigned_abs());
            if start > end && count > MAX_PIECES as u64 {
                return unsupported(
                    format!("a reversed slice of {count} positions"),
                    format!("up to {MAX_PIECES} work; a fixed permutation can be folded into the weights"),
                );
            }
            let mut positions = Vec::new();
            let mut at = start;
            while at > end {
                positions.push(at);
                at = at.saturating_add(step);
            }
            ctx.picked(x, axis, &positions)
        }
    }
}

/// A slice of an axis of run-time length: bounds are affine in it, steps are 1.
fn symbolic(
    ctx: &mut Context<'_, '_>,
    x: &Value,
    axis: usize,
    start: &Dim,
    end: &Dim,
    step: i64,
    length: &Dim,
) -> Result<Value, NodeError> {
    if step != 1 {
        return unsupported(
            format!("a step of {step} over the run-time length {length}"),
            "steps of 1 work, or export with that dimension fixed",
        );
    }
    let bound = |v: &Dim| match v.as_const() {
        // Exporters write the greatest number for "to the end".
        Some(c) if c >= i64::from(i32::MAX) => length.clone(),
        Some(c) if c < 0 => length.plus_const(c),
        _ => v.clone(),
    };
    let (start, end) = (bound(start), bound(end));
    ctx.sliced(x, axis, &start, &end.minus(&start), 1)
}

/// `Split` into equal or given lengths.
pub(super) fn split(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let shape = ctx.shape(&x)?;
    let at = axis(node.int_or("axis", 0)?, shape.rank())?;
    let length = known(&shape.0[at])? as i64;
    let given = match (node.ints("split")?, ctx.optional(node, 1)) {
        (Some(list), _) => Some(list.to_vec()),
        (None, Some(value)) => Some(ctx.known_ints("split", &value)?),
        (None, None) => None,
    };
    let parts = node.outputs().max(1) as i64;
    let lengths = given.unwrap_or_else(|| {
        // All of one length; the last may be shorter.
        let each = (length + parts - 1) / parts;
        (0..parts).map(|i| each.min(length - i * each)).collect()
    });
    let total = lengths.iter().fold(0i64, |n, l| n.saturating_add(*l));
    if total != length || lengths.iter().any(|l| *l < 1) || lengths.len() as i64 != parts {
        return malformed(format!("an axis of {length} is split into {lengths:?}"));
    }
    let mut start = 0;
    let mut out = Vec::new();
    for len in lengths {
        out.push(ctx.sliced(&x, at, &Dim::fixed(start), &Dim::fixed(len), 1)?);
        start += len;
    }
    Ok(out)
}
