//! Product sumcheck, plain loops.

use mlc_verifier::field::QM31;
use num_traits::{One, Zero};

use super::Naive;
use crate::backend::{Operand, ProductOps, RoundSums, Vertex, Weights};

/// The weight of pair j.
pub(super) fn weight(weights: &Weights<'_, Naive>, j: usize) -> QM31 {
    match weights {
        Weights::Units { unit, values } => values[j / unit],
        Weights::Rows { outer, inner } => outer[j / inner.len()] * inner[j % inner.len()],
    }
}

fn get(v: &Operand<Naive>, j: usize) -> QM31 {
    match v {
        Operand::Base(v) => v.get(j).map_or(QM31::zero(), |&x| x.into()),
        Operand::Ext(v) => v.get(j).copied().unwrap_or(QM31::zero()),
    }
}

impl ProductOps for Naive {
    fn product_round(
        &self,
        a: &Operand<Self>,
        b: Option<&Operand<Self>>,
        half: usize,
        at: Vertex,
        weights: Weights<'_, Self>,
    ) -> RoundSums {
        let mut sums = RoundSums {
            at: QM31::zero(),
            leading: QM31::zero(),
        };
        for j in 0..a.len(self).min(half) {
            let (a0, a1) = (get(a, j), get(a, j + half));
            let (b0, b1) = b.map_or((QM31::one(), QM31::one()), |b| (get(b, j), get(b, j + half)));
            let w = weight(&weights, j);
            sums.at += w * match at {
                Vertex::Zero => a0 * b0,
                Vertex::One => a1 * b1,
            };
            sums.leading += w * (a1 - a0) * (b1 - b0);
        }
        sums
    }

    fn product_sum(&self, a: &Operand<Self>, b: Option<&Operand<Self>>, weights: Weights<'_, Self>) -> QM31 {
        (0..a.len(self)).fold(QM31::zero(), |sum, j| {
            sum + weight(&weights, j) * get(a, j) * b.map_or(QM31::one(), |b| get(b, j))
        })
    }

    fn fold(&self, v: &mut Operand<Self>, half: usize, r: QM31) {
        let folded = (0..v.len(self).min(half))
            .map(|j| get(v, j) + r * (get(v, j + half) - get(v, j)))
            .collect();
        *v = Operand::ext(folded);
    }
}
