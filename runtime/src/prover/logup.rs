//! LogUp-GKR, proving side: Σ_i num_i / den_i = 0, up to a claim on the leaves. Mirrors the verifier's `logup`.
//!
//! The layers of the fraction tree are computed first, bottom up, then proved top down; a layer is dropped once its
//! sumcheck has cut it into halves. The leaves and the layers that are too large to be stored are formed from the
//! leaves' description wherever a round needs them, until enough variables are bound. With λ drawn, a layer's sum is over eq(ρ, x)·((n0 + λ d0)·d1 + n1·d0)(x): two
//! products per point. eq is factored out of each round (Gruen 2024): the message is the slope and the leading
//! coefficient of the quadratic that is left.

use mlc_verifier::field::{QM31, bits_for, mle};
use mlc_verifier::logup::{CLEAR_BITS, padding_weight};
use mlc_verifier::sumcheck::evaluate_eq_round;
use num_traits::Zero;

use super::channel::ProverChannel;
use super::eq_weights::EqWeights;
use super::sumcheck::{Axis, Grind, complete, vertex};
use crate::backend::fractions::{Leaves, NextRound};
use crate::backend::{FractionOps, Halves, RoundSums};

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

/// Nodes of the largest layer that is stored, 32 bytes each. Layers of more are formed from the leaves, as often as
/// needed, until their sumcheck has folded them below it. A bound on memory: no byte of a proof depends on it.
const STORED: usize = 1 << 25;

/// Proves that the fractions of `leaves` (at least one) add up to zero.
pub fn prove<B: FractionOps>(
    backend: &B,
    channel: &mut ProverChannel<'_>,
    leaves: &Leaves<'_, B>,
    grind: Grind<'_>,
) -> LeafClaim {
    prove_within(backend, channel, leaves, grind, STORED)
}

/// [`prove`] with layers of at most `stored` nodes in memory.
fn prove_within<B: FractionOps>(
    backend: &B,
    channel: &mut ProverChannel<'_>,
    leaves: &Leaves<'_, B>,
    grind: Grind<'_>,
    stored: usize,
) -> LeafClaim {
    let bits = bits_for(leaves.len);
    let clear = bits.min(CLEAR_BITS);
    // The lowest layer that is stored: never the leaves, unless they are sent.
    let lowest = (1..bits - clear)
        .find(|k| 1 << (bits - k) <= stored)
        .unwrap_or(bits - clear);
    let mut layers = {
        let _span = tracing::info_span!("lowest layer", level = lowest).entered();
        vec![backend.leaf_layer(leaves, lowest as u32)]
    };
    for _ in clear..bits - lowest {
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
        claim = prove_layer(backend, channel, claim, Layer::Whole(num, den), grind, stored);
    }
    for level in (0..lowest as u32).rev() {
        let _span = tracing::info_span!("layer from leaves", level).entered();
        let layer = Layer::Formed {
            leaves,
            level,
            bound: Vec::new(),
        };
        claim = prove_layer(backend, channel, claim, layer, grind, stored);
    }
    claim
}

/// From a claim on a layer (of [`CLEAR_BITS`] variables or more) to a claim on the layer below, which is given.
fn prove_layer<B: FractionOps>(
    backend: &B,
    channel: &mut ProverChannel<'_>,
    claim: LeafClaim,
    layer: Layer<'_, B>,
    grind: Grind<'_>,
    stored: usize,
) -> LeafClaim {
    let rho = claim.point;
    let variables = rho.len();
    let lambda = channel.transcript().draw();
    let mut value = claim.numerator + lambda * claim.denominator;
    let mut point = Vec::with_capacity(variables + 1);
    let mut weights = EqWeights::new();

    // Round k sums over the variables after k, weighed by eq(ρ[k + 1..], ·).
    let mut layer = layer;
    let mut sums = layer.sums(backend, lambda, next_round(backend, &mut weights, &rho, 0));
    let halves = loop {
        let k = point.len();
        let (slope, _) = complete(value, rho[k], sums.at);
        let message = [slope, sums.leading];
        channel.send_ext(label::ROUND, &message);
        channel.send_nonce(label::ROUND, grind.bits, grind.grinder);
        let r = channel.transcript().draw();
        value = evaluate_eq_round(value, &message, rho[k], r);
        point.push(r);
        if k + 1 == variables {
            break layer.finish(backend, lambda, r);
        }
        let next = next_round(backend, &mut weights, &rho, k + 1);
        let fits = 2 << (variables - k - 1) <= stored;
        (layer, sums) = layer.fold(backend, lambda, r, next, fits);
    };

    // Every variable is bound; λ d0 is absorbed in n0.
    let (num, den) = (backend.host_ext(&halves.num), backend.host_ext(&halves.den));
    let [n0, n1, d0, d1] = [num[0] - lambda * den[0], num[1], den[0], den[1]];
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

/// The layer below the claim.
enum Layer<'a, B: FractionOps> {
    /// As stored.
    Whole(B::Ext, B::Ext),
    /// Formed from the leaves, its top variables bound.
    Formed {
        leaves: &'a Leaves<'a, B>,
        level: u32,
        bound: Vec<QM31>,
    },
    /// Cut and folded.
    Cut(Halves<B>),
}

impl<B: FractionOps> Layer<'_, B> {
    /// The sums of the first round.
    fn sums(&self, backend: &B, lambda: QM31, next: NextRound<'_, B>) -> RoundSums {
        match self {
            // λ is absorbed where a layer is cut.
            Self::Whole(num, den) => backend.fraction_round(num, den, lambda, next),
            Self::Cut(Halves { num, den }) => backend.fraction_round(num, den, QM31::zero(), next),
            Self::Formed { leaves, level, bound } => backend.leaf_round(leaves, *level, lambda, bound, next),
        }
    }

    /// Binds the top variable and sums the next round; `fits` says whether what is left may be stored.
    fn fold(self, backend: &B, lambda: QM31, r: QM31, next: NextRound<'_, B>, fits: bool) -> (Self, RoundSums) {
        match self {
            Self::Formed {
                leaves,
                level,
                mut bound,
            } if !fits => {
                bound.push(r);
                let sums = backend.leaf_round(leaves, level, lambda, &bound, next);
                (Self::Formed { leaves, level, bound }, sums)
            }
            layer => {
                let (halves, sums) = layer.cut(backend, lambda, r, Some(next));
                (Self::Cut(halves), sums.unwrap_or_default())
            }
        }
    }

    /// Binds the last variable.
    fn finish(self, backend: &B, lambda: QM31, r: QM31) -> Halves<B> {
        self.cut(backend, lambda, r, None).0
    }

    fn cut(self, backend: &B, lambda: QM31, r: QM31, next: Option<NextRound<'_, B>>) -> (Halves<B>, Option<RoundSums>) {
        match self {
            Self::Whole(num, den) => backend.fraction_split(num, den, lambda, r, next),
            Self::Formed {
                leaves,
                level,
                mut bound,
            } => {
                bound.push(r);
                backend.leaf_split(leaves, level, lambda, &bound, next)
            }
            Self::Cut(mut halves) => {
                let sums = backend.fraction_fold(&mut halves, r, next);
                (halves, sums)
            }
        }
    }
}

#[cfg(test)]
mod tests;
