//! LogUp-GKR, proving side: Σ_i num_i / den_i = 0, up to a claim on the leaves. Mirrors the verifier's `logup`.
//!
//! All layers of the fraction tree are computed first, bottom up, then proved top down; a layer is dropped once its
//! sumcheck has cut it into halves. With λ drawn, a layer's sum is over eq(ρ, x)·((n0 + λ d0)·d1 + n1·d0)(x): two
//! products per point. eq is factored out of each round (Gruen 2024): the message is the slope and the leading
//! coefficient of the quadratic that is left.

use mlc_verifier::field::{QM31, bits_for, mle};
use mlc_verifier::logup::{CLEAR_BITS, padding_weight};
use mlc_verifier::sumcheck::evaluate_eq_round;
use num_traits::Zero;

use super::channel::ProverChannel;
use super::eq_weights::EqWeights;
use super::sumcheck::{Axis, Grind, complete, vertex};
use crate::backend::fractions::NextRound;
use crate::backend::{FractionOps, Halves};

pub use mlc_verifier::logup::LeafClaim;

/// Message labels, for soundness tests.
pub mod label {
    /// The layer of at most 2^CLEAR_BITS fractions: numerators, then denominators.
    pub const CLEAR: &str = "logup clear layer";
    /// A round: slope, leading coefficient.
    pub const ROUND: &str = "logup round";
    /// The four values n0, n1, d0, d1 at the end of a layer.
    pub const LAYER: &str = "logup layer";
}

/// Proves that the fractions `num[i] / den[i]` add up to zero (at least one leaf, equal lengths).
pub fn prove<B: FractionOps>(
    backend: &B,
    channel: &mut ProverChannel<'_>,
    num: B::Ext,
    den: B::Ext,
    grind: Grind<'_>,
) -> LeafClaim {
    let leaves = backend.ext_len(&den);
    let bits = bits_for(leaves);
    let clear = bits.min(CLEAR_BITS);
    let mut layers = vec![(num, den)];
    for _ in clear..bits {
        let (num, den) = &layers[layers.len() - 1];
        layers.push(backend.fraction_sums(num, den));
    }

    // The clear layer. With few leaves it is the leaves themselves.
    let mut claim = {
        let (num, den) = layers.pop().map_or_else(Default::default, |(num, den)| {
            (backend.host_ext(&num), backend.host_ext(&den))
        });
        channel.send_ext(label::CLEAR, &[&num[..], &den[..]].concat());
        channel.send_nonce(label::LAYER, grind.bits, grind.grinder);
        let point = channel.transcript().draw_many(clear);
        LeafClaim {
            numerator: mle(&num, &point),
            denominator: mle(&den, &point) + padding_weight(&point, num.len()),
            point,
        }
    };
    while let Some((num, den)) = layers.pop() {
        claim = prove_layer(backend, channel, claim, num, den, grind);
    }
    claim
}

/// From a claim on a layer to a claim on the layer below, `(num, den)`.
fn prove_layer<B: FractionOps>(
    backend: &B,
    channel: &mut ProverChannel<'_>,
    claim: LeafClaim,
    num: B::Ext,
    den: B::Ext,
    grind: Grind<'_>,
) -> LeafClaim {
    let rho = claim.point;
    let variables = rho.len();
    let lambda = channel.transcript().draw();
    let mut value = claim.numerator + lambda * claim.denominator;
    let mut point = Vec::with_capacity(variables + 1);
    let mut weights = EqWeights::new();

    // Round k sums over the variables after k, weighed by eq(ρ[k + 1..], ·).
    let mut sums = backend.fraction_round(&num, &den, lambda, next_round(backend, &mut weights, &rho, 0));
    let mut layer = Layer::Whole(num, den);
    for k in 0..variables {
        let (slope, _) = complete(value, rho[k], sums.at);
        let message = [slope, sums.leading];
        channel.send_ext(label::ROUND, &message);
        channel.send_nonce(label::ROUND, grind.bits, grind.grinder);
        let r = channel.transcript().draw();
        value = evaluate_eq_round(value, &message, rho[k], r);
        point.push(r);
        let next = (k + 1 < variables).then(|| next_round(backend, &mut weights, &rho, k + 1));
        let (halves, next_sums) = match layer {
            Layer::Whole(num, den) => backend.fraction_split(num, den, lambda, r, next),
            Layer::Cut(mut halves) => {
                let sums = backend.fraction_fold(&mut halves, r, next);
                (halves, sums)
            }
        };
        layer = Layer::Cut(halves);
        sums = next_sums.unwrap_or(sums);
    }

    let [n0, n1, d0, d1] = layer.values(backend, lambda);
    channel.send_ext(label::LAYER, &[n0, n1, d0, d1]);
    channel.send_nonce(label::LAYER, grind.bits, grind.grinder);
    let mu = channel.transcript().draw();
    point.insert(0, mu);
    LeafClaim {
        point,
        numerator: n0 + mu * (n1 - n0),
        denominator: d0 + mu * (d1 - d0),
    }
}

fn next_round<'a, B: FractionOps>(
    backend: &B,
    weights: &'a mut EqWeights<B>,
    rho: &[QM31],
    k: usize,
) -> NextRound<'a, B> {
    let bits = rho.len() - k - 1;
    NextRound {
        at: vertex(rho[k]),
        weights: weights.update(backend, &[Axis { len: 1 << bits, bits }], &rho[k + 1..]),
    }
}

/// The layer below the claim: as stored, then cut and folded.
enum Layer<B: FractionOps> {
    Whole(B::Ext, B::Ext),
    Cut(Halves<B>),
}

impl<B: FractionOps> Layer<B> {
    /// n0, n1, d0, d1 once every variable is bound.
    fn values(&self, backend: &B, lambda: QM31) -> [QM31; 4] {
        let (num, den) = match self {
            Self::Whole(num, den) | Self::Cut(Halves { num, den }) => (backend.host_ext(num), backend.host_ext(den)),
        };
        let absorbed = match self {
            Self::Whole(..) => QM31::zero(),
            Self::Cut(_) => lambda * den[0],
        };
        [num[0] - absorbed, num[1], den[0], den[1]]
    }
}

#[cfg(test)]
mod tests;
