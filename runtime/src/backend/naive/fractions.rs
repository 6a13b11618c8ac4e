//! LogUp-GKR, plain loops.

use mlc_verifier::field::QM31;
use num_traits::{One, Zero};

use super::Naive;
use super::products::weight;
use crate::backend::fractions::NextRound;
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

impl FractionOps for Naive {
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
