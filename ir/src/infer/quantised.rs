//! Operations of the quantised stage.

use super::{InferErrorKind, Inferred, Operand, Scope, interval, last_axis, mask};
use crate::op::{MaxDistance, Requant};
use crate::shape::Dim;
use crate::table::requant_input;
use crate::types::{IntType, Type};

/// Greatest number of bits of shifts and fixed-point precisions.
const MAX_BITS: u32 = 30;

fn integer(x: &Type) -> Result<IntType, InferErrorKind> {
    x.elem.int().ok_or(InferErrorKind::Elem {
        operand: 0,
        expected: "an integer",
        found: x.elem,
    })
}

fn bits_in_range(bits: u32) -> Result<(), InferErrorKind> {
    if bits > MAX_BITS {
        return Err(InferErrorKind::Attribute("shifts and precisions are at most 30 bits"));
    }
    Ok(())
}

pub(super) fn requant(scope: Scope<'_>, requant: &Requant, x: &Type) -> Inferred {
    let int = integer(x)?;
    bits_in_range(requant.shift)?;
    let (from, to) = (
        requant_input(int.lo, requant.shift),
        requant_input(int.hi, requant.shift),
    );
    let mut hull: Option<(i64, i64)> = None;
    for name in super::source::expansions(scope, &requant.table)? {
        let table = scope.module.tables.get(&name);
        let table = table.ok_or_else(|| InferErrorKind::Unknown {
            what: "table",
            name: name.clone(),
        })?;
        if table.bits() + requant.shift > MAX_BITS {
            return Err(InferErrorKind::Attribute(
                "index bits and shift are 30 together at most",
            ));
        }
        let (lo, hi) = table.domain();
        if !requant.partial && (from < lo || to > hi) {
            return Err(InferErrorKind::Coverage {
                table: name,
                lo,
                hi,
                from,
                to,
            });
        }
        let (min, max) = (i64::from(table.min()), i64::from(table.max()));
        hull = Some(hull.map_or((min, max), |(a, b)| (a.min(min), b.max(max))));
    }
    let (lo, hi) = hull.unwrap_or((0, 0));
    Ok(Type {
        elem: interval::int(requant.scale, lo.into(), hi.into()),
        shape: x.shape.clone(),
    })
}

pub(super) fn max_distance(scope: Scope<'_>, lookup: &MaxDistance, operands: &[Operand<'_>]) -> Inferred {
    let x = operands[0].ty;
    let int = integer(x)?;
    last_axis(x)?;
    if let Some(keep) = operands.get(1) {
        mask(1, keep.ty)?;
        if !keep.ty.shape.broadcasts_to(&x.shape) {
            return Err(InferErrorKind::Broadcast {
                left: x.shape.clone(),
                right: keep.ty.shape.clone(),
            });
        }
    }
    let most = int.hi.saturating_sub(int.lo);
    // What is masked out is 0.
    let mut hull = operands.get(1).map(|_| (0, 0));
    for name in super::source::expansions(scope, &lookup.table)? {
        let table = scope.module.tables.get(&name);
        let table = table.ok_or_else(|| InferErrorKind::Unknown {
            what: "table",
            name: name.clone(),
        })?;
        let (lo, hi) = table.domain();
        if lo > 0 || hi < most {
            return Err(InferErrorKind::Coverage {
                table: name,
                lo,
                hi,
                from: 0,
                to: most,
            });
        }
        let (min, max) = (i64::from(table.min()), i64::from(table.max()));
        hull = Some(hull.map_or((min, max), |(a, b)| (a.min(min), b.max(max))));
    }
    let (lo, hi) = hull.unwrap_or((0, 0));
    Ok(Type {
        elem: interval::int(lookup.scale, lo.into(), hi.into()),
        shape: x.shape.clone(),
    })
}

pub(super) fn recip(bits: u32, x: &Type) -> Inferred {
    let int = integer(x)?;
    bits_in_range(bits)?;
    if int.lo < 0 {
        return Err(InferErrorKind::Attribute(
            "a reciprocal is of integers that are not negative",
        ));
    }
    let one = 1i128 << bits;
    let scale = 1.0 / (int.scale * one as f64);
    let (lo, hi) = (one / i128::from(int.hi.max(1)), one / i128::from(int.lo.max(1)));
    Ok(Type {
        elem: interval::int(scale, lo, hi),
        shape: x.shape.clone(),
    })
}

pub(super) fn inv_norm(bits: u32, eps: i64, x: &Type) -> Inferred {
    let int = integer(x)?;
    bits_in_range(bits)?;
    last_axis(x)?;
    if eps < 1 {
        return Err(InferErrorKind::Attribute(
            "`eps` is at least 1, so that a row of zeros has a norm",
        ));
    }
    let one = 1i128 << bits;
    // r is greatest where S = 0: r² · eps ≤ 2^(2·bits).
    let greatest = ((one * one) / i128::from(eps)).isqrt();
    let mut shape = x.shape.clone();
    if let Some(last) = shape.0.last_mut() {
        *last = Dim::fixed(1);
    }
    Ok(Type {
        elem: interval::int(1.0 / (int.scale * one as f64), 0, greatest),
        shape,
    })
}
