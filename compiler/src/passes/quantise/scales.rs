//! Scales of activations.
//!
//! Values that meet in a sum, a maximum, a concatenation or a carried value of a region must have one scale: they form a
//! group, and the scale of a group is its greatest |range| over the greatest integer. So a residual stream has one scale in
//! all its blocks.

use std::collections::BTreeMap;

use mlc_ir::{BinaryOp, Elem, Entry, Op, PoolKind, ReduceKind, Region, ValueId};

use super::precision::{Precision, Wish, square_limit};
use crate::plan::ValueRange;

/// A sum that may be this many times greater than what its group was measured to be is squared without a commitment of its
/// own: one bit of precision for one lookup per element.
const VIRTUAL_SLACK: f64 = 2.5;

/// Steps by which the rounded bounds of the terms of a sum may exceed the real ones.
const SQUARE_ROUNDING: i64 = 8;

/// Union-find over values.
struct Groups(Vec<u32>);

impl Groups {
    fn find(&mut self, id: ValueId) -> usize {
        let mut at = id.index();
        while self.0[at] as usize != at {
            self.0[at] = self.0[self.0[at] as usize];
            at = self.0[at] as usize;
        }
        at
    }

    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.find(a), self.find(b));
        // The smaller index leads, so that the result does not depend on the order of joins.
        self.0[a.max(b)] = a.min(b) as u32;
    }
}

/// Scale of a value, and the greatest integer of an activation at it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    pub(super) scale: f64,
    pub(super) greatest: i64,
}

/// The scale of every real value of an entry. `fixed`: weights and constants, which take the scale of what they meet.
pub(super) fn scales(
    entry: &Entry,
    ranges: &BTreeMap<ValueId, ValueRange>,
    fixed: &dyn Fn(ValueId) -> bool,
    precision: &Precision<'_>,
    bits: u32,
) -> Vec<Scale> {
    let mut groups = Groups((0..entry.values.len() as u32).collect());
    join_region(&entry.body, &mut groups, fixed);
    let mut most = vec![0f64; entry.values.len()];
    for (i, value) in entry.values.iter().enumerate() {
        let id = ValueId(i as u32);
        if value.ty.elem != Elem::Real || fixed(id) {
            continue;
        }
        if let Some(r) = ranges.get(&id) {
            let group = groups.find(id);
            most[group] = most[group].max(r.lo.abs()).max(r.hi.abs());
        }
    }
    let mut wishes = vec![Wish { asked: false, bits }; entry.values.len()];
    for (id, wish) in &precision.wishes {
        let group = groups.find(*id);
        wishes[group] = wishes[group].max(*wish);
    }
    // Where a sum is squared as it is, its terms leave room for the sum of squares; a sum far wider than what was measured
    // of it is committed for that instead, and leaves the group alone.
    let mut least = vec![0f64; entry.values.len()];
    for (id, count) in &precision.squared {
        let bound = precision.uncommitted(*id);
        let group = groups.find(*id);
        if bound <= VIRTUAL_SLACK * most[group] {
            least[group] = least[group].max(bound / (square_limit(*count) - SQUARE_ROUNDING) as f64);
        }
    }
    (0..entry.values.len())
        .map(|i| {
            let group = groups.find(ValueId(i as u32));
            let m = if most[group] > 0.0 { most[group] } else { 1.0 };
            let greatest = (1i64 << (wishes[group].bits - 1)) - 1;
            let scale = (m / greatest as f64).max(least[group]);
            let greatest = (libm::ceil(m / scale) as i64).clamp(1, greatest);
            Scale { scale, greatest }
        })
        .collect()
}

fn join_region(region: &Region, groups: &mut Groups, fixed: &dyn Fn(ValueId) -> bool) {
    for node in &region.nodes {
        let mut all = |ids: &[ValueId]| {
            let free: Vec<ValueId> = ids.iter().copied().filter(|id| !fixed(*id)).collect();
            for pair in free.windows(2) {
                groups.join(pair[0], pair[1]);
            }
        };
        match &node.op {
            Op::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Max | BinaryOp::Min)
                if !node.operands.iter().any(|id| fixed(*id)) =>
            {
                all(&[node.operands[0], node.operands[1], node.results[0]]);
            }
            Op::Concat { .. } => {
                all(&node.operands);
                all(&[node.operands[0], node.results[0]]);
            }
            Op::Reshape(_) | Op::Transpose(_) | Op::Slice { .. } | Op::Broadcast(_) | Op::Pad { .. } => {
                all(&[node.operands[0], node.results[0]]);
            }
            Op::Pool(pool) if pool.kind == PoolKind::Max => all(&[node.operands[0], node.results[0]]),
            Op::Reduce {
                kind: ReduceKind::Max, ..
            } => all(&[node.operands[0], node.results[0]]),
            Op::Repeat(repeat) => {
                for i in 0..repeat.body.params.len() {
                    let mut ids = vec![node.operands[i], repeat.body.params[i]];
                    if i < repeat.carried {
                        ids.extend([repeat.body.results[i], node.results[i]]);
                    }
                    all(&ids);
                }
                for (result, inner) in node.results.iter().zip(&repeat.body.results).skip(repeat.carried) {
                    all(&[*inner, *result]);
                }
                join_region(&repeat.body, groups, fixed);
            }
            _ => {}
        }
    }
}
