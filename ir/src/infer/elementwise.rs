//! Elementwise operations, row norms and softmax.

use super::{Inferred, Operand, constant, interval, last_axis, mask, number, real, same, stretch};
use crate::formula::Formula;
use crate::infer::{InferErrorKind, axis_of, rank};
use crate::op::{BinaryOp, Rope};
use crate::types::{Elem, IntType, Type};

/// The hull of two integer types of one scale, or the common kind of two other elements.
pub(super) fn join(a: &Elem, b: &Elem) -> Result<Elem, InferErrorKind> {
    match (a, b) {
        (Elem::Int(a), Elem::Int(b)) => {
            same_scale(*a, *b)?;
            Ok(Elem::Int(IntType {
                scale: a.scale,
                lo: a.lo.min(b.lo),
                hi: a.hi.max(b.hi),
            }))
        }
        (Elem::Index(a), Elem::Index(b)) => Ok(Elem::Index(*a.max(b))),
        (a, b) if a == b => Ok(*a),
        (a, b) => Err(InferErrorKind::Kinds { left: *a, right: *b }),
    }
}

fn same_scale(a: IntType, b: IntType) -> Result<(), InferErrorKind> {
    if a.scale == b.scale {
        return Ok(());
    }
    Err(InferErrorKind::Scales {
        left: a.scale,
        right: b.scale,
    })
}

pub(super) fn binary(op: BinaryOp, a: &Type, b: &Type) -> Inferred {
    let shape = stretch(&a.shape, &b.shape)?;
    let elem = match (op, a.elem, b.elem) {
        (BinaryOp::And, ..) => {
            mask(0, a)?;
            mask(1, b)?;
            Elem::Mask
        }
        (_, Elem::Real, Elem::Real) => Elem::Real,
        (_, Elem::Int(x), Elem::Int(y)) => integers(op, x, y)?,
        _ => {
            number(0, a)?;
            number(1, b)?;
            return Err(InferErrorKind::Kinds {
                left: a.elem,
                right: b.elem,
            });
        }
    };
    Ok(Type { elem, shape })
}

fn integers(op: BinaryOp, x: IntType, y: IntType) -> Result<Elem, InferErrorKind> {
    if op != BinaryOp::Mul {
        same_scale(x, y)?;
    }
    let wide = |v: i64| i128::from(v);
    let (lo, hi) = match op {
        BinaryOp::Add => (wide(x.lo) + wide(y.lo), wide(x.hi) + wide(y.hi)),
        BinaryOp::Sub => (wide(x.lo) - wide(y.hi), wide(x.hi) - wide(y.lo)),
        BinaryOp::Max => (wide(x.lo.max(y.lo)), wide(x.hi.max(y.hi))),
        BinaryOp::Min => (wide(x.lo.min(y.lo)), wide(x.hi.min(y.hi))),
        BinaryOp::Mul => {
            let (lo, hi) = interval::product(x, y);
            return Ok(interval::int(x.scale * y.scale, lo, hi));
        }
        BinaryOp::Div | BinaryOp::And => {
            return Err(InferErrorKind::Elem {
                operand: 0,
                expected: "real",
                found: Elem::Int(x),
            });
        }
    };
    Ok(interval::int(x.scale, lo, hi))
}

pub(super) fn table(formula: &Formula, x: &Type) -> Inferred {
    real(0, x)?;
    if formula.arity() > 1 {
        return Err(InferErrorKind::Attribute("the formula of a table has one variable"));
    }
    Ok(x.clone())
}

pub(super) fn softmax(operands: &[Operand<'_>]) -> Inferred {
    let x = operands[0].ty;
    real(0, x)?;
    last_axis(x)?;
    if let Some(m) = operands.get(1) {
        mask(1, m.ty)?;
        if !m.ty.shape.broadcasts_to(&x.shape) {
            return Err(InferErrorKind::Broadcast {
                left: x.shape.clone(),
                right: m.ty.shape.clone(),
            });
        }
    }
    Ok(x.clone())
}

pub(super) fn choose(m: &Type, a: &Type, b: &Type) -> Inferred {
    mask(0, m)?;
    let shape = stretch(&m.shape, &stretch(&a.shape, &b.shape)?)?;
    Ok(Type {
        elem: join(&a.elem, &b.elem)?,
        shape,
    })
}

pub(super) fn batch_norm(operands: &[Operand<'_>]) -> Inferred {
    let x = operands[0].ty;
    real(0, x)?;
    let channels = axis_of(x, 1)?;
    for (i, operand) in operands.iter().enumerate().skip(1) {
        real(i, operand.ty)?;
        rank(i, operand.ty, 1)?;
        same("channels", channels, &operand.ty.shape.0[0])?;
    }
    Ok(x.clone())
}

pub(super) fn row_norm(operands: &[Operand<'_>]) -> Inferred {
    let x = operands[0].ty;
    real(0, x)?;
    let width = last_axis(x)?;
    for (i, operand) in operands.iter().enumerate().skip(1) {
        real(i, operand.ty)?;
        rank(i, operand.ty, 1)?;
        same("width of the row", width, &operand.ty.shape.0[0])?;
    }
    Ok(x.clone())
}

pub(super) fn rope(rope: &Rope, x: &Type) -> Inferred {
    number(0, x)?;
    axis_of(x, rope.axis)?;
    let width = constant("the width of a rotary embedding", last_axis(x)?)?;
    if rope.axis + 1 == x.shape.rank() {
        return Err(InferErrorKind::Attribute("positions are not on the last axis"));
    }
    if rope.rotary % 2 == 1 || rope.rotary > width {
        return Err(InferErrorKind::Attribute("`rotary` is even and at most the width"));
    }
    if rope.freq.arity() > 1 {
        return Err(InferErrorKind::Attribute("the formula of frequencies has one variable"));
    }
    if rope.bits > 30 {
        return Err(InferErrorKind::Attribute("`bits` is at most 30"));
    }
    let Elem::Int(int) = x.elem else {
        return Ok(x.clone());
    };
    // One coordinate becomes c·a - s·b with c, s ≤ round(2^bits·scale): at most twice that times the bound.
    let one = libm::ldexp(1.0, rope.bits as i32);
    let turn = libm::ceil(one * libm::fabs(rope.scale)).max(one) as i128 * 2;
    let bound = i128::from(int.max_abs()).saturating_mul(turn);
    Ok(Type {
        elem: interval::int(int.scale / one, -bound, bound),
        shape: x.shape.clone(),
    })
}
