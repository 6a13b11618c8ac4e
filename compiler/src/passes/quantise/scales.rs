//! Scales of activations.
//!
//! Values that meet in a sum, a maximum, a concatenation or a carried value of a region must have one scale: they form a
//! group, and the scale of a group is its greatest |range| over the greatest integer. So a residual stream has one scale in
//! all its blocks.

use std::collections::BTreeMap;

use mlc_ir::{BinaryOp, Elem, Entry, Op, PoolKind, ReduceKind, Region, ValueId};

use super::power_above;
use super::precision::{PRODUCT_LIMIT, Precision, Product, WeightName, Wish, square_limit};
use crate::plan::{QuantPlan, ValueRange};

/// A sum that may be this many times greater than what its group was measured to be is squared without a commitment of its
/// own: one bit of precision for one lookup per element.
const VIRTUAL_SLACK: f64 = 2.5;

/// Steps by which the rounded bounds of the terms of a sum may exceed the real ones.
const SQUARE_ROUNDING: i64 = 8;

/// No product takes more precision than this from a value.
const LEAST_PRODUCT: f64 = 31.0;

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
    for squared in precision.squared.iter().filter(|s| !s.renormalises()) {
        let bound = precision.uncommitted(squared.id);
        let group = groups.find(squared.id);
        if bound <= VIRTUAL_SLACK * most[group] {
            least[group] = least[group].max(bound / (square_limit(squared.count) - SQUARE_ROUNDING) as f64);
        }
    }
    let magnitude = |group: usize| if most[group] > 0.0 { most[group] } else { 1.0 };
    let mut steps: Vec<f64> = (0..entry.values.len())
        .map(|group| {
            let greatest = (1i64 << (wishes[group].bits - 1)) - 1;
            power_above((magnitude(group) / (greatest + 1) as f64).max(least[group]))
        })
        .collect();
    for product in &precision.products {
        if !product.operands.iter().any(|id| fixed(*id)) {
            make_room(product, precision, &wishes, &mut groups, &mut steps);
        }
    }
    (0..entry.values.len())
        .map(|i| {
            let group = groups.find(ValueId(i as u32));
            let greatest = (1i64 << (wishes[group].bits - 1)) - 1;
            let scale = steps[group];
            let needed = power_above(magnitude(group) / scale) as i64 - 1;
            Scale {
                scale,
                greatest: needed.clamp(1, greatest),
            }
        })
        .collect()
}

/// Coarsens the scales of two values whose product would pass its limit, the finer one first; scales that an
/// annotation asks for stay.
fn make_room(product: &Product, precision: &Precision<'_>, wishes: &[Wish], groups: &mut Groups, steps: &mut [f64]) {
    let of = product.operands.map(|id| groups.find(id));
    let shares = product.operands.map(|id| precision.numerators(id, product.count));
    let range = product.operands.map(|id| precision.uncommitted(id));
    let free = [0, 1].map(|i| shares[i].is_none() && !wishes[of[i]].asked);
    // More than any two scales have to give.
    for _ in 0..32 {
        let integer = [0, 1].map(|i| shares[i].map_or_else(|| range[i] / steps[of[i]] + 1.0, |one| one as f64));
        if integer[0] * integer[1] * product.count as f64 <= product.limit {
            return;
        }
        let finer = usize::from(integer[1] > integer[0]);
        match [finer, 1 - finer]
            .into_iter()
            .find(|i| free[*i] && integer[*i] > LEAST_PRODUCT)
        {
            Some(i) => steps[of[i]] *= 2.0,
            None => return,
        }
    }
}

/// The least scale of every weight at which no sum of its products passes [`PRODUCT_LIMIT`], for weights of which calibration
/// bounds the sums. `names`: weights and views of them.
pub(super) fn weight_floors(
    names: &BTreeMap<ValueId, WeightName<'_>>,
    precision: &Precision<'_>,
    scales: &[Scale],
    plan: &QuantPlan,
    out: &mut BTreeMap<String, f64>,
) {
    for product in &precision.products {
        for (weight, other) in [(0, 1), (1, 0)] {
            let (Some(of), other) = (names.get(&product.operands[weight]), product.operands[other]) else {
                continue;
            };
            if names.contains_key(&other) {
                continue;
            }
            let integer = precision.uncommitted(other) / scales[other.index()].scale + 1.0;
            let (stats, count) = (plan.weight(of.name), product.count as f64);
            let by_greatest = stats.max_abs * count * integer / PRODUCT_LIMIT;
            let room = PRODUCT_LIMIT / integer - count / 2.0;
            let bounded = of.upright && stats.axes == product.summed[weight] && room > 0.0;
            let by_sums = stats.column_sum.filter(|_| bounded);
            let floor = by_sums.map_or(by_greatest, |sum| by_greatest.min(sum / room));
            let slot = out.entry(of.name.to_owned()).or_insert(floor);
            *slot = slot.max(floor);
        }
    }
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
            Op::Reshape(_)
            | Op::Transpose(_)
            | Op::Slice { .. }
            | Op::Broadcast(_)
            | Op::Pad { .. }
            | Op::StateAppend(_) => {
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
