//! LogUp-GKR, plain loops.

use mlc_verifier::field::QM31;
use num_traits::{One, Zero};

use super::Naive;
use super::products::weight;
use crate::backend::fractions::{Denominators, Leaves, NextRound, Numerators};
use crate::backend::{FractionOps, Halves, RoundSums, Vertex};

/// A layer with its padding written out: (n0, n1, d0, d1), each of `half` values.
fn halves_of(num: &[QM31], den: &[QM31]) -> [Vec<QM31>; 4] {
    let half = num.len().next_power_of_two() / 2;
    let pad = |v: &[QM31], with: QM31| {
        let mut v = v.to_vec();
        v.resize(2 * half, with);
        v
    };
    let (mut n0, mut d0) = (pad(num, QM31::zero()), pad(den, QM31::one()));
    let (n1, d1) = (n0.split_off(half), d0.split_off(half));
    [n0, n1, d0, d1]
}

fn cut(num: &[QM31], den: &[QM31], lambda: QM31) -> Halves<Naive> {
    let [n0, n1, d0, d1] = halves_of(num, den);
    let mixed: Vec<QM31> = n0.iter().zip(&d0).map(|(&n, &d)| n + lambda * d).collect();
    Halves {
        num: [mixed, n1].concat(),
        den: [d0, d1].concat(),
    }
}

fn round(halves: &Halves<Naive>, next: &NextRound<'_, Naive>) -> RoundSums {
    let len = halves.den.len() / 2;
    let half = len / 2;
    let ((mixed, n1), (d0, d1)) = (halves.num.split_at(len), halves.den.split_at(len));
    let mut sums = RoundSums {
        at: QM31::zero(),
        leading: QM31::zero(),
    };
    for j in 0..half {
        let w = weight(&next.weights, j);
        let at = match next.at {
            Vertex::Zero => j,
            Vertex::One => j + half,
        };
        sums.at += w * (mixed[at] * d1[at] + n1[at] * d0[at]);
        let slope = |v: &[QM31]| v[j + half] - v[j];
        sums.leading += w * (slope(mixed) * slope(d1) + slope(n1) * slope(d0));
    }
    sums
}

/// All leaves, numerators and denominators.
fn write_out(leaves: &Leaves<'_, Naive>) -> (Vec<QM31>, Vec<QM31>) {
    let (mut num, mut den) = (vec![QM31::zero(); leaves.len], vec![QM31::one(); leaves.len]);
    for run in &leaves.runs {
        let (num, den) = (&mut num[run.at..run.at + run.len], &mut den[run.at..run.at + run.len]);
        for (i, d) in den.iter_mut().enumerate() {
            *d = match &run.den {
                Denominators::Keys { constant, keys, from } => *constant - keys[from + i],
                Denominators::Given(values) => values[i],
            };
        }
        for term in &run.num {
            match term {
                Numerators::Constant(value) => num.iter_mut().for_each(|n| *n += *value),
                Numerators::Scaled { scale, values, from } => {
                    num.iter_mut()
                        .zip(&values[*from..])
                        .for_each(|(n, &v)| *n += *scale * v);
                }
                Numerators::Outer { outer, inner } => {
                    for (n, &o) in num.chunks_mut(inner.len()).zip(outer) {
                        n.iter_mut().zip(*inner).for_each(|(n, &i)| *n += o * i);
                    }
                }
                Numerators::Units { unit, values } => {
                    for (n, &v) in num.chunks_mut(*unit).zip(values) {
                        n.iter_mut().for_each(|n| *n += v);
                    }
                }
            }
        }
    }
    (num, den)
}

/// The layer cut and folded.
fn folded(leaves: &Leaves<'_, Naive>, level: u32, lambda: QM31, bound: &[QM31]) -> Halves<Naive> {
    let (num, den) = Naive.leaf_layer(leaves, level);
    let mut halves = cut(&num, &den, lambda);
    for &r in bound {
        Naive.fraction_fold(&mut halves, r, None);
    }
    halves
}

impl FractionOps for Naive {
    fn leaf_layer(&self, leaves: &Leaves<'_, Self>, level: u32) -> (Vec<QM31>, Vec<QM31>) {
        (0..level).fold(write_out(leaves), |(num, den), _| self.fraction_sums(&num, &den))
    }

    fn leaf_round(
        &self,
        leaves: &Leaves<'_, Self>,
        level: u32,
        lambda: QM31,
        bound: &[QM31],
        next: NextRound<'_, Self>,
    ) -> RoundSums {
        round(&folded(leaves, level, lambda, bound), &next)
    }

    fn leaf_split(
        &self,
        leaves: &Leaves<'_, Self>,
        level: u32,
        lambda: QM31,
        bound: &[QM31],
        next: Option<NextRound<'_, Self>>,
    ) -> (Halves<Self>, Option<RoundSums>) {
        let halves = folded(leaves, level, lambda, bound);
        let sums = next.map(|next| round(&halves, &next));
        (halves, sums)
    }

    fn fraction_sums(&self, num: &Vec<QM31>, den: &Vec<QM31>) -> (Vec<QM31>, Vec<QM31>) {
        let [n0, n1, d0, d1] = halves_of(num, den);
        (0..n0.len())
            .map(|i| (n0[i] * d1[i] + n1[i] * d0[i], d0[i] * d1[i]))
            .unzip()
    }

    fn fraction_round(&self, num: &Vec<QM31>, den: &Vec<QM31>, lambda: QM31, next: NextRound<'_, Self>) -> RoundSums {
        round(&cut(num, den, lambda), &next)
    }

    fn fraction_split(
        &self,
        num: Vec<QM31>,
        den: Vec<QM31>,
        lambda: QM31,
        r: QM31,
        next: Option<NextRound<'_, Self>>,
    ) -> (Halves<Self>, Option<RoundSums>) {
        let mut halves = cut(&num, &den, lambda);
        let sums = self.fraction_fold(&mut halves, r, next);
        (halves, sums)
    }

    fn fraction_fold(
        &self,
        halves: &mut Halves<Self>,
        r: QM31,
        next: Option<NextRound<'_, Self>>,
    ) -> Option<RoundSums> {
        for v in [&mut halves.num, &mut halves.den] {
            let folded = v.chunks(v.len() / 2).flat_map(|part| {
                let (lo, hi) = part.split_at(part.len() / 2);
                lo.iter().zip(hi).map(|(&lo, &hi)| lo + r * (hi - lo))
            });
            *v = folded.collect();
        }
        next.map(|next| round(halves, &next))
    }
}
