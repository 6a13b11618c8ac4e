//! Bounds that intervals cannot see, because the operands depend on one another.
//!
//! Inference remembers how some values were made ([`Origin`]), and knows four facts about integers:
//!
//! - a maximum is at least what it is the maximum of: `max(x) - x ≥ 0`;
//! - a norm bounds its row: `|x · r| ≤ 2^bits` for `r = inv_norm(x)`, since `r²·x² ≤ r²·(Σx² + eps) ≤ 2^(2·bits)`;
//! - shares sum to at most one: `e · r ≤ 2^bits` for `e ≥ 0` and `r = recip(sum(e))`, since `r · max(Σe, 1) ≤ 2^bits`;
//! - so a mean is no greater than what it is the mean of: `|r · Σ e·v| ≤ 2^bits · max|v|` (softmax, normalised after the
//!   product with the values).

use std::collections::BTreeMap;

use super::Operand;
use crate::graph::ValueId;
use crate::op::{BinaryOp, Einsum, Op, ReduceKind};
use crate::types::{Elem, IntType, Type};

/// How a value was made, where a rule needs it.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// The module's weight of that name.
    Weight(String),
    /// The maximum of a value, axes kept.
    Max {
        /// The value.
        of: ValueId,
    },
    /// The sum of a value over axes, which are kept.
    Sum {
        /// The value.
        of: ValueId,
        /// The axes.
        axes: Vec<usize>,
    },
    /// A reciprocal.
    Recip {
        /// Of this value.
        of: ValueId,
        /// Bits of the numerator.
        bits: u32,
    },
    /// An inverse norm, not centred.
    InvNorm {
        /// Of this value.
        of: ValueId,
        /// Its precision.
        bits: u32,
    },
    /// A contraction.
    Contract {
        /// Its labels.
        einsum: Einsum,
        /// Left operand.
        lhs: ValueId,
        /// Right operand.
        rhs: ValueId,
    },
}

/// The origins of the values defined so far. A value without one is bounded by its type alone.
pub type Origins = BTreeMap<ValueId, Origin>;

impl Origin {
    /// The origin of the result of `op` on `operands`.
    pub fn of(op: &Op, operands: &[ValueId]) -> Option<Origin> {
        let operand = |i: usize| operands.get(i).copied();
        Some(match op {
            Op::Weight(name) => Origin::Weight(name.clone()),
            Op::Reduce {
                kind: ReduceKind::Max,
                keepdims: true,
                ..
            } => Origin::Max { of: operand(0)? },
            Op::Reduce {
                kind: ReduceKind::Sum,
                axes,
                keepdims: true,
            } => Origin::Sum {
                of: operand(0)?,
                axes: axes.clone(),
            },
            Op::Recip { bits } => Origin::Recip {
                of: operand(0)?,
                bits: *bits,
            },
            Op::InvNorm {
                bits, centred: false, ..
            } => Origin::InvNorm {
                of: operand(0)?,
                bits: *bits,
            },
            Op::Contract(einsum) => Origin::Contract {
                einsum: einsum.clone(),
                lhs: operand(0)?,
                rhs: operand(1)?,
            },
            _ => return None,
        })
    }
}

/// The type of `op(a, b)`, whose interval is that of `ty`, with what the origins prove.
pub(super) fn sharpen(
    op: BinaryOp,
    a: Operand<'_>,
    b: Operand<'_>,
    origins: &Origins,
    types: &dyn Fn(ValueId) -> Option<IntType>,
    mut ty: Type,
) -> Type {
    let Elem::Int(int) = &mut ty.elem else {
        return ty;
    };
    let mut meet = |lo: i64, hi: i64| {
        int.lo = int.lo.max(lo);
        int.hi = int.hi.min(hi);
    };
    match op {
        BinaryOp::Sub => {
            if let Some(Origin::Max { of }) = origins.get(&a.id)
                && *of == b.id
            {
                meet(0, i64::MAX);
            }
        }
        BinaryOp::Mul => {
            for (x, r) in [(a, b), (b, a)] {
                if let Some((lo, hi)) = normalised(x, r, origins, types) {
                    meet(lo, hi);
                }
            }
        }
        _ => {}
    }
    ty
}

/// Bounds of `x · r` where `r` normalises `x`.
fn normalised(
    x: Operand<'_>,
    r: Operand<'_>,
    origins: &Origins,
    types: &dyn Fn(ValueId) -> Option<IntType>,
) -> Option<(i64, i64)> {
    match origins.get(&r.id)? {
        Origin::InvNorm { of, bits } if *of == x.id => Some((-(1 << bits), 1 << bits)),
        Origin::Recip { of, bits } => {
            let one = 1i64 << bits;
            let Origin::Sum { of: shares, axes } = origins.get(of)? else {
                return None;
            };
            if types(*shares)?.lo < 0 {
                return None;
            }
            if *shares == x.id {
                return Some((0, one));
            }
            let Origin::Contract { einsum, lhs, rhs } = origins.get(&x.id)? else {
                return None;
            };
            let averages = lhs == shares && *axes == [einsum.lhs().len().checked_sub(1)?] && is_row_mean(einsum);
            let values = types(*rhs).filter(|_| averages)?;
            Some((
                values.lo.min(0).saturating_mul(one),
                values.hi.max(0).saturating_mul(one),
            ))
        }
        _ => None,
    }
}

/// True where the last axis of the left operand is contracted, and the last of the result is the right operand's alone:
/// row `i` of the result is then row `i` of the left operand times a matrix, and the row's sum broadcasts to it.
fn is_row_mean(einsum: &Einsum) -> bool {
    let (Some((rows, summed)), Some((out_rows, free))) = (split_last(einsum.lhs()), split_last(einsum.out())) else {
        return false;
    };
    let free_is_the_rights = einsum.rhs().contains(free) && !einsum.lhs().contains(free);
    rows == out_rows && einsum.contracted().eq([summed]) && free_is_the_rights
}

fn split_last(labels: &str) -> Option<(&str, char)> {
    let last = labels.chars().next_back()?;
    Some((&labels[..labels.len() - last.len_utf8()], last))
}
