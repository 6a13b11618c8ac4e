//! Softmax over the last axis in integers.
//!
//! Scores `t` are the accumulator with bits dropped and nothing else, so that the distance `m - t` to the row's maximum is
//! one of table indices; `e = exp(m - t)` is the lookup that proves the maximum, too ([`Op::MaxDistance`]), 0 where the mask
//! hides a position. The greatest `e` of a row is exactly `one`, the integer that stands for 1, so `one ≤ Σ e ≤ n·one`
//! bounds the inverse of the sum.
//!
//! **Normalising.** Where the softmax only weighs values of at most [`FEW`] positions (attention), these are summed
//! with the numerators and the sum is multiplied by the inverse: no share is ever committed. Else `p = e · (1 / Σ e)` is,
//! with [`SHARE_BITS`](super::precision::SHARE_BITS).

use mlc_ir::table::{MAX_TABLE_BITS, requant_input};
use mlc_ir::{BinaryOp, Einsum, Formula, MaxDistance, Node, Op, ReduceKind, Requant, Table, Template, ValueId};

use super::super::PassError;
use super::table::Target;
use super::{Place, Q, Quantiser, precision};

/// The integer that stands for 1 in numerators, where sums leave room for it.
const ONE: i64 = 4096;

/// The integer that stands for 1 in inverses of sums that are multiplied by numerators, and by sums of values.
const INVERSE_ONE: [i64; 2] = [32767, 8191];

/// Greatest number of positions whose mean is normalised after it is summed: the sum has to be requantised for all row
/// sums between 1 and this many times 1, and loses as many steps.
const FEW: u64 = 128;

/// The integer that stands for 1 in numerators over so many positions: as great as `Σ e·v` and `Σ e` leave room for, with
/// values of at least 8 bits.
fn one(positions: u64) -> i64 {
    let room = mlc_ir::INT_LIMIT / 2 / 128;
    let room = (room / i64::try_from(positions).unwrap_or(i64::MAX)).max(1);
    ONE.min(1 << room.ilog2())
}

/// Greatest integer of a softmax as an operand: its numerators, or its shares where it is over many positions.
pub(super) fn greatest(positions: u64) -> i64 {
    if positions <= FEW {
        one(positions)
    } else {
        (1 << (precision::SHARE_BITS - 1)) - 1
    }
}

impl Quantiser<'_, '_> {
    /// Softmax of the first operand, masked by the second.
    pub(super) fn softmax(&mut self, node: &Node, place: &Place) -> Result<Q, PassError> {
        let x = node.operands[0];
        let mask = node.operands.get(1).map(|id| self.value(*id, place)).transpose()?;
        let value = self.value(x, place)?;
        let axis = self.g.ty(value).shape.rank() - 1;
        let positions = self
            .g
            .ty(value)
            .shape
            .0
            .last()
            .map_or(1, |d| precision::most(self.module, d));
        let name = &place.layer;
        let range = self.ranges.get(&x).copied();
        let most = range.map_or(1.0, |r| r.lo.abs().max(r.hi.abs()));
        let step = 2.0 * most / libm::ldexp(1.0, self.plan.config.softmax_bits as i32);
        // Every mask adds twice the range of a score to the index of what it hides.
        let masks = node.operands.get(1).map_or(0, |id| self.masks(*id));
        let room_for_masks = (1 + 2 * masks).next_power_of_two().trailing_zeros();
        let t = self.dropped(
            value,
            step,
            (MAX_TABLE_BITS - 1).min(MAX_TABLE_BITS - room_for_masks),
            &format!("{name}.scores"),
            place,
        )?;
        let int = self.int(t, place)?;

        let one = one(positions);
        if one < 256 {
            return Err(place.fail(format!(
                "a softmax over {positions} positions leaves less than 8 bits to each; declare a smaller maximum"
            )));
        }
        let bits = u64::BITS - (int.hi - int.lo).unsigned_abs().leading_zeros();
        let exp = |d: i64| libm::rint(one as f64 * libm::exp(-(d as f64) * int.scale)) as i32;
        let table = Table::tabulate(bits.max(1), 0, exp);
        let table = table.ok_or_else(|| place.fail("its scores have more than 16 bits"))?;
        let lookup = MaxDistance {
            table: Template::literal(self.table(table, "exp")),
            scale: 1.0 / one as f64,
        };
        let e = self.g.named(format!("{name}.exp")).max_distance(lookup, t, mask)?;
        self.looked_up.insert(e);
        let sum = self
            .g
            .named(format!("{name}.sum"))
            .reduce(ReduceKind::Sum, &[axis], true, e)?;
        let few = positions <= FEW;
        let greatest = INVERSE_ONE[usize::from(few)];
        let unit = Target {
            scale: 1.0 / (greatest + 1) as f64,
            lo: 0,
            hi: greatest,
        };
        let reciprocal = 1.0 / Formula::x().max(1.0);
        let inverse = self.requantise(
            sum,
            None,
            Some(&reciprocal),
            unit,
            &format!("{name}.inverse"),
            "inverse",
            place,
        )?;
        Ok(Q::Shares { numerators: e, inverse })
    }

    /// Number of masks that are joined in `id`.
    fn masks(&self, id: ValueId) -> u32 {
        let nodes = self.entry.all_nodes();
        let defined = nodes.iter().find(|n| n.results.contains(&id));
        match defined.map(|n| (&n.op, &n.operands)) {
            Some((Op::Binary(BinaryOp::And), operands)) => operands.iter().map(|id| self.masks(*id)).sum(),
            Some((Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Slice { .. }, operands)) => {
                self.masks(operands[0])
            }
            _ => 1,
        }
    }

    /// `value >> s` for the greatest `s` with buckets no wider than `step`, or the least for which at most `bits` bits
    /// are left: every integer within its bounds, unchanged but for the bits dropped.
    pub(super) fn dropped(
        &mut self,
        value: ValueId,
        step: f64,
        bits: u32,
        name: &str,
        place: &Place,
    ) -> Result<ValueId, PassError> {
        let int = self.int(value, place)?;
        self.bounded(value, place)?;
        // Circuits bound products symmetrically.
        let bound = int.max_abs();
        let span = |s: u32| requant_input(bound, s) - requant_input(-bound, s);
        let fits = |s: u32| span(s) < 1 << bits;
        let least = (0..30).find(|s| fits(*s)).unwrap_or(29);
        let shift = (least..30)
            .rev()
            .find(|s| libm::ldexp(int.scale, *s as i32) <= step && span(*s) >= 2)
            .unwrap_or(least);
        let bits = (u64::BITS - span(shift).unsigned_abs().leading_zeros()).max(1);
        let (lo, hi) = (requant_input(-bound, shift), requant_input(bound, shift));
        let table = Table::tabulate(bits, -lo, |v| v.clamp(lo, hi) as i32);
        let table = table.ok_or_else(|| place.fail("a value of more than 16 bits"))?;
        let requant = Requant {
            shift,
            table: Template::literal(self.table(table, "id")),
            scale: libm::ldexp(int.scale, shift as i32),
            partial: false,
        };
        let out = self.g.named(name).requant(requant, value)?;
        self.looked_up.insert(out);
        Ok(out)
    }

    /// The contraction of a softmax with values over its last axis, normalised afterwards: `(Σ e·v) · (1 / Σ e)`.
    pub(super) fn mean_by_shares(
        &mut self,
        node: &Node,
        einsum: &Einsum,
        place: &Place,
    ) -> Result<Option<ValueId>, PassError> {
        let sides = [einsum.lhs(), einsum.rhs()];
        for i in 0..2 {
            let Some(Q::Shares { numerators, inverse }) = self.map.get(&node.operands[i]).cloned() else {
                continue;
            };
            let (labels, others) = (sides[i], sides[1 - i]);
            let rows = labels.char_indices().next_back().map_or("", |(at, _)| &labels[..at]);
            let last = self.g.ty(numerators).shape.0.last();
            let few = last.is_some_and(|d| precision::most(self.module, d) <= FEW);
            let is_mean =
                einsum.contracted().eq(labels.chars().next_back()) && rows.chars().all(|c| einsum.out().contains(c));
            if !few || !is_mean || matches!(self.map.get(&node.operands[1 - i]), Some(Q::Shares { .. })) {
                continue;
            }
            let values = self.product_operand(node.operands[1 - i], &[], place)?;
            let fail = |e: mlc_ir::EinsumError| place.fail(e.to_string());
            let sum = Einsum::parse(&format!("{labels},{others}->{}", einsum.out())).map_err(fail)?;
            let name = &place.layer;
            let sum = self
                .g
                .named(format!("{name}.weighted"))
                .push(Op::Contract(sum), &[numerators, values])?;
            let sum = self.dropped(sum, 0.0, MAX_TABLE_BITS, &format!("{name}.weighted.q"), place)?;
            let shape = self.g.ty(inverse).shape.0.clone();
            let rows_of = mlc_ir::Shape(shape[..shape.len() - 1].to_vec());
            let inverse = self.g.reshape(inverse, rows_of)?;
            let out = einsum.out();
            let scale = Einsum::parse(&format!("{out},{rows}->{out}")).map_err(fail)?;
            let mean = self.g.named(name.clone()).push(Op::Contract(scale), &[sum, inverse])?;
            self.accumulators.insert(mean);
            self.bounded(mean, place)?;
            return Ok(Some(mean));
        }
        Ok(None)
    }
}
