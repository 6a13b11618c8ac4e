//! Bounds that intervals cannot see, because the operands depend on one another.
//!
//! Inference remembers how some values were made ([`Origin`]), and knows that a maximum is at least what it is the maximum
//! of: `max(x) - x ≥ 0`.

use std::collections::BTreeMap;

use super::Operand;
use crate::graph::ValueId;
use crate::op::{BinaryOp, Op, ReduceKind};
use crate::types::{Elem, Type};

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
}

/// The origins of the values defined so far. A value without one is bounded by its type alone.
pub type Origins = BTreeMap<ValueId, Origin>;

impl Origin {
    /// The origin of the result of `op` on `operands`.
    pub fn of(op: &Op, operands: &[ValueId]) -> Option<Origin> {
        match op {
            Op::Weight(name) => Some(Origin::Weight(name.clone())),
            Op::Reduce {
                kind: ReduceKind::Max,
                keepdims: true,
                ..
            } => operands.first().map(|of| Origin::Max { of: *of }),
            _ => None,
        }
    }
}

/// The type of `op(a, b)`, whose interval is that of `ty`, with what the origins prove.
pub(super) fn sharpen(op: BinaryOp, a: Operand<'_>, b: Operand<'_>, origins: &Origins, mut ty: Type) -> Type {
    if let (BinaryOp::Sub, Elem::Int(int), Some(Origin::Max { of })) = (op, &mut ty.elem, origins.get(&a.id))
        && *of == b.id
    {
        int.lo = int.lo.max(0);
    }
    ty
}
