//! Operations that move elements and compute nothing.

use super::{InferErrorKind, Inferred, axis_of, elementwise, same};
use crate::shape::{Dim, Shape};
use crate::types::{Elem, Type};

pub(super) fn reshape(x: &Type, shape: &Shape) -> Inferred {
    if !x.shape.same_numel(shape) {
        return Err(InferErrorKind::Numel {
            from: x.shape.clone(),
            to: shape.clone(),
        });
    }
    Ok(x.with_shape(shape.clone()))
}

pub(super) fn transpose(x: &Type, perm: &[usize]) -> Inferred {
    let rank = x.shape.rank();
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        return Err(InferErrorKind::Permutation {
            perm: perm.to_vec(),
            rank,
        });
    }
    Ok(x.with_shape(Shape(perm.iter().map(|a| x.shape.0[*a].clone()).collect())))
}

pub(super) fn concat(axis: usize, operands: &[&Type]) -> Inferred {
    let first = operands[0];
    axis_of(first, axis)?;
    let mut out = first.clone();
    for (i, operand) in operands.iter().enumerate().skip(1) {
        super::rank(i, operand, first.shape.rank())?;
        for (a, (left, right)) in first.shape.0.iter().zip(&operand.shape.0).enumerate() {
            if a != axis {
                same("the other axes of a concatenation", left, right)?;
            }
        }
        out.elem = elementwise::join(&out.elem, &operand.elem)?;
        out.shape.0[axis] = out.shape.0[axis].plus(&operand.shape.0[axis]);
    }
    Ok(out)
}

pub(super) fn slice(x: &Type, axis: usize, start: &Dim, end: &Dim, step: u64) -> Inferred {
    let extent = axis_of(x, axis)?;
    let length = end.minus(start);
    let out_of_range = |d: &Dim| d.as_const().is_some_and(|v| v < 0);
    if out_of_range(start) || out_of_range(&length) || out_of_range(&extent.minus(end)) {
        return Err(InferErrorKind::Attribute("a slice lies within its axis"));
    }
    let length = match (step, length.as_const()) {
        (0, _) => return Err(InferErrorKind::Attribute("the step of a slice is at least 1")),
        (1, _) => length,
        (_, Some(n)) => Dim::fixed(n.unsigned_abs().div_ceil(step) as i64),
        (_, None) => {
            return Err(InferErrorKind::NotConst {
                what: "the length of a slice with a step",
                dim: length,
            });
        }
    };
    let mut shape = x.shape.clone();
    shape.0[axis] = length;
    Ok(x.with_shape(shape))
}

pub(super) fn pad(x: &Type, lo: &[u64], hi: &[u64], value: f64) -> Inferred {
    let rank = x.shape.rank();
    if lo.len() != rank || hi.len() != rank {
        return Err(InferErrorKind::Attribute(
            "there is a padding before and after every axis",
        ));
    }
    let mut out = x.clone();
    match &mut out.elem {
        Elem::Real => {}
        Elem::Int(int) => {
            if libm::trunc(value) != value || libm::fabs(value) > 1e15 {
                return Err(InferErrorKind::Attribute("integers are padded with an integer"));
            }
            int.lo = int.lo.min(value as i64);
            int.hi = int.hi.max(value as i64);
        }
        elem => {
            return Err(InferErrorKind::Elem {
                operand: 0,
                expected: "a number",
                found: *elem,
            });
        }
    }
    for (dim, (lo, hi)) in out.shape.0.iter_mut().zip(lo.iter().zip(hi)) {
        let more = i64::try_from(lo.saturating_add(*hi)).unwrap_or(i64::MAX);
        *dim = dim.plus_const(more);
    }
    Ok(out)
}

pub(super) fn broadcast(x: &Type, shape: &Shape) -> Inferred {
    if !x.shape.broadcasts_to(shape) {
        return Err(InferErrorKind::Broadcast {
            left: x.shape.clone(),
            right: shape.clone(),
        });
    }
    Ok(x.with_shape(shape.clone()))
}
