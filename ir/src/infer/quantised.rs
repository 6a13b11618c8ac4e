//! Operations of the quantised stage.

use super::{InferErrorKind, Inferred, Operand, Scope, interval, last_axis, mask};
use crate::op::{MaxDistance, Requant};
use crate::recipe::Template;
use crate::table::requant_input;
use crate::types::{IntType, Type};

/// Greatest number of bits of shifts, and of shifts and indices together.
const MAX_BITS: u32 = 30;

fn integer(x: &Type) -> Result<IntType, InferErrorKind> {
    x.elem.int().ok_or(InferErrorKind::Elem {
        operand: 0,
        expected: "an integer",
        found: x.elem,
    })
}

/// Least and greatest of `start`, where there is one, and of what the tables that `template` names hold. Each of them has
/// to cover `covered`, unless it is partial.
fn looked_up(
    scope: Scope<'_>,
    template: &Template,
    shift: u32,
    covered: Option<(i64, i64)>,
    start: Option<(i64, i64)>,
) -> Result<(i64, i64), InferErrorKind> {
    let mut hull = start;
    for name in super::source::expansions(scope, template)? {
        let table = scope.module.tables.get(&name);
        let table = table.ok_or_else(|| InferErrorKind::Unknown {
            what: "table",
            name: name.clone(),
        })?;
        if table.bits() + shift > MAX_BITS {
            return Err(InferErrorKind::Attribute(
                "index bits and shift are 30 together at most",
            ));
        }
        let (lo, hi) = table.domain();
        if let Some((from, to)) = covered
            && (from < lo || to > hi)
        {
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
    Ok(hull.unwrap_or((0, 0)))
}

pub(super) fn requant(scope: Scope<'_>, requant: &Requant, x: &Type) -> Inferred {
    let int = integer(x)?;
    if requant.shift > MAX_BITS {
        return Err(InferErrorKind::Attribute("shifts are at most 30 bits"));
    }
    let indices = (
        requant_input(int.lo, requant.shift),
        requant_input(int.hi, requant.shift),
    );
    let (lo, hi) = looked_up(
        scope,
        &requant.table,
        requant.shift,
        (!requant.partial).then_some(indices),
        None,
    )?;
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
    // What is masked out is 0.
    let hidden = operands.get(1).map(|_| (0, 0));
    let distances = (0, int.hi.saturating_sub(int.lo));
    let (lo, hi) = looked_up(scope, &lookup.table, 0, Some(distances), hidden)?;
    Ok(Type {
        elem: interval::int(lookup.scale, lo.into(), hi.into()),
        shape: x.shape.clone(),
    })
}
