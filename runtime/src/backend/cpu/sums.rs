//! The inner loop of every sumcheck round: Σ_j w_j · x_j for two quantities x that are computed on the fly.
//!
//! The products x_j arrive unreduced. Where pairs share a weight they are added up first and weighed once; where each
//! has its own, they are reduced and multiplied by the inner table. Both sums stay in 64 bits: a folded value is below
//! 2^34, so 2^30 of them can be added.

use mlc_verifier::field::QM31;

use super::Cpu;
use super::simd::{Lanes, Packed, Scalar, WideQm31};
use crate::backend::{RoundSums, Weights};

/// The two quantities that a round sums, pair by pair.
pub(super) trait Pairs {
    /// The quantities of pairs `j..j + L::N`, as sums that have not wrapped. Called once per pair, in order.
    fn get<L: Lanes>(&mut self, j: usize) -> [WideQm31<L>; 2];
    /// Some `k > j` such that a register may not reach from below `k` to above it.
    fn boundary(&self, j: usize) -> usize;
}

/// Σ over pairs `0..len` of a piece that starts at pair `offset`.
#[inline(always)]
pub(super) fn weighted<L: Lanes>(
    mut pairs: impl Pairs,
    offset: usize,
    len: usize,
    weights: Weights<'_, Cpu>,
) -> RoundSums {
    let mut totals = [Packed::<L>::zero(); 2];
    let mut rests = [Packed::<Scalar>::zero(); 2];
    let mut j = 0;
    while j < len {
        let at = offset + j;
        let (end, weight, inner, base) = match weights {
            Weights::Units { unit, values } => (at - at % unit + unit, values[at / unit], None, 0),
            Weights::Rows { outer, inner } => {
                let row = inner.len();
                // Column of pair k of the piece: k + base, modulo 2^64.
                let base = (at % row).wrapping_sub(j);
                (at - at % row + row, outer[at / row], Some(inner.columns()), base)
            }
        };
        let end = (end - offset).min(len);
        let mut sums = [WideQm31::<L>::zero(); 2];
        let mut tails = [WideQm31::<Scalar>::zero(); 2];
        while j < end {
            let stop = pairs.boundary(j).min(end);
            while j + L::N <= stop {
                accumulate(&mut sums, &mut pairs, j, &inner, base);
                j += L::N;
            }
            while j < stop {
                accumulate(&mut tails, &mut pairs, j, &inner, base);
                j += 1;
            }
        }
        for i in 0..2 {
            totals[i] = totals[i].add(sums[i].reduce().mul(Packed::splat(weight)));
            rests[i] = rests[i].add(tails[i].reduce().mul(Packed::splat(weight)));
        }
    }
    RoundSums {
        at: totals[0].sum() + rests[0].sum(),
        leading: totals[1].sum() + rests[1].sum(),
    }
}

#[inline(always)]
fn accumulate<L: Lanes>(
    sums: &mut [WideQm31<L>; 2],
    pairs: &mut impl Pairs,
    j: usize,
    inner: &Option<[&[u32]; 4]>,
    base: usize,
) {
    let [x, y] = pairs.get::<L>(j);
    let [x, y] = match inner {
        None => [x, y],
        Some(inner) => {
            let w = Packed::load(inner, j.wrapping_add(base));
            [w.mul_wide(x.reduce()), w.mul_wide(y.reduce())]
        }
    };
    sums[0] = sums[0].add(x.fold());
    sums[1] = sums[1].add(y.fold());
}

/// Sums of two pieces.
pub(super) fn add(a: RoundSums, b: RoundSums) -> RoundSums {
    RoundSums {
        at: a.at + b.at,
        leading: a.leading + b.leading,
    }
}

/// `lo + r (hi - lo)`.
#[inline(always)]
pub(super) fn lerp<L: Lanes>(lo: Packed<L>, hi: Packed<L>, r: QM31) -> Packed<L> {
    lo.add(hi.sub(lo).mul(Packed::splat(r)))
}
