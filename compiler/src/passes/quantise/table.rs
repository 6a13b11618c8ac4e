//! The table of a requantisation: how many bits to drop, and what the rest maps to.
//!
//! `y = clamp(round(f(t · 2^s · scale_in) / scale_out))`, where `t = (acc + 2^(s-1)) >> s` stands for the middle of its
//! bucket. Dropping more bits makes a smaller table and coarser buckets; the most are dropped for which neighbouring
//! entries differ by at most half a step before rounding (so that the bucket's width costs at most a quarter of a step),
//! unless the table would pass the configured size. Values come from `f64` arithmetic and `libm` alone.
//!
//! **Partial tables.** What the bounds of a sum of many products allow is often a hundred times what it comes to. Where a
//! table that covers the bounds would be too coarse, or have more than 2^[`WHOLE_BITS`] rows, one is made of at least
//! [`HEADROOM`] times what was measured instead; an accumulator beyond it has no value. Rows cost prover and verifier
//! the same whether they are looked up or not.

use mlc_ir::table::{MAX_TABLE_BITS, requant_input};
use mlc_ir::{Formula, IntType, Table};

/// The result of a requantisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Target {
    /// Scale of the result.
    pub(crate) scale: f64,
    /// Least result; the table saturates.
    pub(crate) lo: i64,
    /// Greatest result.
    pub(crate) hi: i64,
}

/// A shift with its table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Requantisation {
    pub(crate) shift: u32,
    pub(crate) table: Table,
    /// The table does not cover all of the operand's bounds.
    pub(crate) partial: bool,
}

/// How many times the greatest magnitude that was measured a partial table covers at least.
pub(crate) const HEADROOM: f64 = 2.0;

/// Greatest number of index bits of a table that covers bounds far beyond what was measured.
const WHOLE_BITS: u32 = 12;

/// Neighbouring entries differ by at most this many steps, before rounding; results of more than [`FINE`] steps do with
/// whole ones.
const BUCKET: [f64; 2] = [0.5, 1.0];

/// Steps of a result whose last bit is finer than what follows needs.
const FINE: i64 = 1024;

/// Greatest number of bits dropped.
const MAX_SHIFT: u32 = 24;

fn index_bits(x: IntType, shift: u32) -> u32 {
    let span = requant_input(x.hi, shift) - requant_input(x.lo, shift);
    (u64::BITS - span.unsigned_abs().leading_zeros()).max(1)
}

/// `x` within [`HEADROOM`] times a measured magnitude in real units.
pub(crate) fn within(x: IntType, measured: f64) -> IntType {
    let most = libm::ceil((measured * HEADROOM / x.scale).min(1e18)).max(1.0) as i64;
    IntType {
        lo: x.lo.max(-most),
        hi: x.hi.min(most - 1),
        ..x
    }
}

/// Chooses shift and table for `f` (the identity where `None`) on integers of type `x`; `None` where even the greatest
/// shift leaves more than `table_bits` index bits, or the function is nowhere finite. `measured` is the greatest magnitude
/// that calibration saw of the operand, in real units.
pub(crate) fn requantise(
    x: IntType,
    measured: Option<f64>,
    f: Option<&Formula>,
    to: Target,
    table_bits: u32,
) -> Option<Requantisation> {
    // Circuits bound every read by an interval that contains 0.
    let x = IntType {
        lo: x.lo.min(0),
        hi: x.hi.max(0),
        ..x
    };
    let bound = x.max_abs();
    let whole = covering(x, false, bound, f, to, table_bits);
    // A clamp covers twice what it keeps, so that it is one table for all values of as many bits.
    let kept = f.map_or((to.hi + 1) as f64 * to.scale, |_| 0.0);
    let narrow = measured.map(|m| within(x, m.max(kept))).filter(|n| *n != x);
    let enough = whole
        .as_ref()
        .is_some_and(|(r, smooth)| *smooth && r.table.bits() <= WHOLE_BITS);
    match narrow
        .filter(|_| !enough)
        .and_then(|n| covering(n, true, bound, f, to, table_bits))
    {
        Some((r, _)) => Some(r),
        None => whole.map(|(r, _)| r),
    }
}

/// As [`requantise`] for all of `x`, part of what may be up to `bound`, and whether buckets are as narrow as they should be.
fn covering(
    x: IntType,
    partial: bool,
    bound: i64,
    f: Option<&Formula>,
    to: Target,
    table_bits: u32,
) -> Option<(Requantisation, bool)> {
    // They bound products symmetrically too, and the table has to fit that as well.
    let symmetric = IntType {
        lo: -x.max_abs(),
        hi: x.max_abs(),
        ..x
    };
    let fits = |s: u32| index_bits(x, s) <= table_bits && (partial || index_bits(symmetric, s) <= MAX_TABLE_BITS);
    // Index and digits of the remainder are 30 bits together at most, and so is what they stand for: the operand, from the
    // table's first bucket on. Wide buckets move that down.
    let room = |s: u32| {
        let first = (-requant_input(symmetric.lo, s))
            .max(1)
            .unsigned_abs()
            .next_power_of_two() as i64;
        index_bits(x, s) + s <= 30 && (first << s) + bound + (1 << s) / 2 < mlc_ir::INT_LIMIT
    };
    let least = (0..=MAX_SHIFT).find(|s| fits(*s))?;
    let real = |t: i64, shift: u32| {
        let v = libm::ldexp(t as f64, shift as i32) * x.scale;
        f.map_or(v, |f| f.eval(v)) / to.scale
    };
    let (lo, hi) = (to.lo as f64, to.hi as f64);
    // A shift alone makes the scale: rounding is exact, and the table a bare clamp.
    let exact = (least..=MAX_SHIFT).find(|s| f.is_none() && libm::ldexp(x.scale, *s as i32) == to.scale);
    let bucket = BUCKET[usize::from(to.hi.max(-to.lo) >= FINE)];
    let smooth = |shift: u32| {
        let (from, to) = (requant_input(x.lo, shift), requant_input(x.hi, shift));
        let value = |t: i64| real(t, shift).clamp(lo - 0.5, hi + 0.5);
        (from..to).all(|t| {
            let step = value(t + 1) - value(t);
            step.is_nan() || libm::fabs(step) <= bucket
        })
    };
    let most = || {
        (least..=MAX_SHIFT)
            .rev()
            .find(|s| room(*s) && index_bits(x, *s) >= 2 && smooth(*s))
    };
    let most = exact.or_else(most);
    let shift = most.unwrap_or(least);
    let (from, mut end) = (requant_input(x.lo, shift), requant_input(x.hi, shift));
    if partial && from < 0 {
        end = end.min(-from - 1);
    }
    // Symmetric where it need not be longer for that, so that layers share it.
    let bits = (u64::BITS - (end - from).unsigned_abs().leading_zeros()).max(1);
    let symmetric = from.unsigned_abs().max(end.unsigned_abs() + 1).next_power_of_two();
    let (start, bits) = match from < 0 && symmetric.trailing_zeros() < bits {
        true => (-(symmetric as i64), 1 + symmetric.trailing_zeros()),
        false => (from, bits),
    };
    let mut finite = false;
    let table = Table::tabulate(bits, -start, |t| {
        let v = real(t, shift);
        finite |= v.is_finite();
        saturate(v, to)
    })?;
    finite.then_some((Requantisation { shift, table, partial }, most.is_some()))
}

/// `v` rounded to the nearest integer, halves to even, within the target; NaN is 0 or the nearest to it.
fn saturate(v: f64, to: Target) -> i32 {
    let v = if v.is_nan() { 0.0 } else { v };
    libm::rint(v).clamp(to.lo as f64, to.hi as f64) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTE: Target = Target {
        scale: 0.5,
        lo: -127,
        hi: 127,
    };

    fn acc(scale: f64, bound: i64) -> IntType {
        IntType {
            scale,
            lo: -bound,
            hi: bound,
        }
    }

    #[test]
    fn a_plain_requantisation_keeps_two_bits_below_the_step() {
        // acc · 0.0009 in steps of 1/2: buckets of 2^8 are a little less than half a step wide.
        let r = requantise(acc(0.0009, 1 << 20), None, None, BYTE, 16).unwrap();
        assert_eq!((r.shift, r.table.bits()), (8, 14));
        let at = |acc: i64| r.table.get(requant_input(acc, r.shift)).unwrap();
        assert_eq!((at(0), at(1111), at(-1111), at(1 << 20)), (0, 2, -2, 127));
        assert_eq!(at(-(1 << 20)), -127);
    }

    #[test]
    fn a_small_budget_makes_wide_buckets() {
        let r = requantise(acc(1.0 / 1024.0, 1 << 20), None, None, BYTE, 6).unwrap();
        assert!(r.table.bits() <= 6);
    }

    /// A sum of products of factors in [-1300, 1478] is in [-1478², 1478²] for a circuit.
    #[test]
    fn a_lopsided_range_leaves_room_for_a_symmetric_one() {
        let bound = 16 * 1478 * 1478;
        let x = IntType {
            lo: -16 * 1478 * 1300,
            ..acc(0.5, bound)
        };
        let r = requantise(x, None, None, BYTE, 16).unwrap();
        assert_eq!((r.shift, r.table.bits()), (11, 15));
        assert!(index_bits(acc(0.5, bound), r.shift) <= MAX_TABLE_BITS);
    }

    #[test]
    fn what_was_measured_bounds_a_table_that_would_be_too_coarse() {
        // Bounds of 2^28 leave buckets of 2^13 to a table of 16 bits; a value of 3.0 is 3 · 2^10.
        let r = requantise(acc(1.0 / 1024.0, 1 << 28), Some(3.0), None, BYTE, 16).unwrap();
        assert!(r.partial);
        assert_eq!((r.shift, r.table.bits()), (9, 9));
        // A bare clamp of twice what it keeps, ±127 steps of 1/2.
        let at = |acc: i64| r.table.get(requant_input(acc, r.shift));
        assert_eq!(
            (at(1024), at(100 * 1024), at(-100 * 1024)),
            (Some(2), Some(127), Some(-127))
        );
        assert_eq!((at(200 * 1024), at(-200 * 1024)), (None, None));
        // A function covers twice what was measured.
        let relu = Formula::x().max(0.0);
        let r = requantise(acc(1.0 / 1024.0, 1 << 28), Some(3.0), Some(&relu), BYTE, 16).unwrap();
        let at = |acc: i64| r.table.get(requant_input(acc, r.shift));
        assert_eq!(
            (at(6 * 1024 - 512), at(-6 * 1024), at(9 * 1024)),
            (Some(11), Some(0), None)
        );
        // A table that is fine enough covers all that may be.
        assert!(
            !requantise(acc(1.0 / 1024.0, 1 << 18), Some(3.0), None, BYTE, 16)
                .unwrap()
                .partial
        );
    }

    /// A function that hardly changes over bounds near 2^29 would do with few, wide buckets.
    #[test]
    fn index_and_remainder_have_30_bits_together() {
        for bound in [1 << 20, (1 << 28) + 5, (1 << 29) - 1] {
            let flat = 1.0 / (Formula::x() + 1e12).sqrt();
            let of_squares = IntType {
                lo: 0,
                ..acc(1.0, bound)
            };
            let r = requantise(of_squares, None, Some(&flat), BYTE, 14).unwrap();
            assert!(
                r.shift + r.table.bits() <= 30,
                "{bound}: {} and {}",
                r.shift,
                r.table.bits()
            );
        }
    }

    #[test]
    fn functions_saturate_and_are_exact_at_shift_zero() {
        let relu = Formula::x().max(0.0);
        let r = requantise(acc(0.5, 300), None, Some(&relu), BYTE, 12).unwrap();
        assert_eq!(r.shift, 0);
        assert_eq!(r.table.get(-5), Some(0));
        assert_eq!(r.table.get(5), Some(5));
        assert_eq!(r.table.get(200), Some(127));
    }
}
