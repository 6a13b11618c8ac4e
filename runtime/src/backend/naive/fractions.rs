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
    let mixed = n0.iter().zip(&d0).map(|(&n, &d)| n + lambda * d).collect();
    Halves { mixed, d0, n1, d1 }
}

fn round(halves: &Halves<Naive>, next: &NextRound<'_, Naive>) -> RoundSums {
    let half = halves.d0.len() / 2;
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
        sums.at += w * (halves.mixed[at] * halves.d1[at] + halves.n1[at] * halves.d0[at]);
        let slope = |v: &[QM31]| v[j + half] - v[j];
        sums.leading += w * (slope(&halves.mixed) * slope(&halves.d1) + slope(&halves.n1) * slope(&halves.d0));
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
        let half = halves.d0.len() / 2;
        for v in [&mut halves.mixed, &mut halves.n1, &mut halves.d0, &mut halves.d1] {
            for j in 0..half {
                v[j] = v[j] + r * (v[j + half] - v[j]);
            }
            v.truncate(half);
        }
        next.map(|next| round(halves, &next))
    }
}
