//! LogUp-GKR, verifying side: Σ_i num_i / den_i = 0 over N leaves, all denominators nonzero.
//!
//! The leaves are the bottom of a binary tree of fractions, added projectively: (n0, d0) + (n1, d1) =
//! (n0 d1 + n1 d0, d0 d1). Node i of a layer of `half` nodes is the sum of nodes i and i + half below it; leaves
//! from N up to the power of two are the fraction 0/1, which nobody stores. The prover sends the layer of at most
//! `2^CLEAR_BITS` nodes; the verifier adds those up itself: the root's numerator must be 0, its denominator not. A
//! zero denominator anywhere makes the root's denominator zero, so the second check covers every leaf and rules out
//! the projective (0, 0), which would make any sum look right.
//!
//! Below that, claims n̂(r) and d̂(r) on a layer become claims on the next: with λ drawn,
//! n̂(r) + λ d̂(r) = Σ_x eq(r, x)·(n0 d1 + n1 d0 + λ d0 d1)(x), where v0, v1 are the halves of the layer below; a
//! sumcheck leads to a point x, the prover sends n0, n1, d0, d1 there, and μ picks a point between the halves.
//!
//! Error terms over N <= 2^n leaves: min(n, 3) for the clear layer and, per layer with k variables, 2k for its rounds
//! and 2 for λ and μ, all over |F|. Source: Papini and Haböck, "Improving logarithmic derivative lookups using GKR" (2023).
//! See `docs/protocol/logup.md`.

use alloc::vec::Vec;

use num_traits::{One, Zero};

use crate::field::{QM31, bits_for, eq_table};
use crate::sumcheck;
use crate::transcript::{Channel, ReadError};

/// The first layer sent has at most this many index bits: sending eight fractions costs less than proving them.
pub const CLEAR_BITS: usize = 3;

/// What remains to be checked about the leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafClaim {
    /// A point over `bits_for(leaves)` variables, the top index bit first.
    pub point: Vec<QM31>,
    /// The value there of the numerators' extension (padding is 0).
    pub numerator: QM31,
    /// The value there of the denominators' extension, in which the padding is 1: the true leaves contribute this
    /// minus [`padding_weight`].
    pub denominator: QM31,
}

/// Why a fraction sum is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LogUpError {
    /// A message could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There is no leaf to sum.
    #[error("a fraction sum needs at least one leaf")]
    NoLeaves,
    /// The fractions do not add up to zero.
    #[error("the lookup fractions do not add up to zero")]
    NonZeroSum,
    /// Some denominator is zero.
    #[error("a lookup denominator vanishes")]
    ZeroDenominator,
    /// The values that a layer's sumcheck ends at do not satisfy its relation.
    #[error("layer {layer} of the fraction tree does not follow from the layer below")]
    Layer {
        /// Index bits of the layer whose claim fails.
        layer: usize,
    },
}

/// Verifies that `leaves` fractions add up to zero with nonzero denominators, up to the returned claim.
/// `grind_bits` is the number of proof-of-work bits before each challenge.
pub fn verify(channel: &mut Channel<'_>, leaves: usize, grind_bits: u32) -> Result<LeafClaim, LogUpError> {
    if leaves == 0 {
        return Err(LogUpError::NoLeaves);
    }
    let bits = bits_for(leaves);
    let clear = bits.min(CLEAR_BITS);
    let nodes = if bits == clear { leaves } else { 1 << clear };
    let sent = channel.recv_ext(2 * nodes)?;
    let (numerators, denominators) = sent.split_at(nodes);
    let (n, d) = sum(numerators, denominators);
    if d.is_zero() {
        return Err(LogUpError::ZeroDenominator);
    }
    if !n.is_zero() {
        return Err(LogUpError::NonZeroSum);
    }

    channel.recv_nonce("logup layer", grind_bits)?;
    let mut point = channel.transcript().draw_many(clear);
    let eq = eq_table(&point, nodes);
    let at_point = |v: &[QM31]| v.iter().zip(&eq).fold(QM31::zero(), |acc, (&v, &e)| acc + v * e);
    let mut numerator = at_point(numerators);
    let mut denominator = at_point(denominators) + padding_weight(&point, nodes);

    for layer in clear..bits {
        let lambda = channel.transcript().draw();
        let reduced = sumcheck::verify_eq(channel, numerator + lambda * denominator, &point, grind_bits)?;
        let values = channel.recv_ext(4)?;
        let (n0, n1, d0, d1) = (values[0], values[1], values[2], values[3]);
        if reduced.value != n0 * d1 + n1 * d0 + lambda * d0 * d1 {
            return Err(LogUpError::Layer { layer });
        }
        channel.recv_nonce("logup layer", grind_bits)?;
        let mu = channel.transcript().draw();
        numerator = n0 + mu * (n1 - n0);
        denominator = d0 + mu * (d1 - d0);
        point.clear();
        point.push(mu);
        point.extend(reduced.point);
    }
    Ok(LeafClaim {
        point,
        numerator,
        denominator,
    })
}

/// The projective sum of fractions.
fn sum(numerators: &[QM31], denominators: &[QM31]) -> (QM31, QM31) {
    numerators
        .iter()
        .zip(denominators)
        .fold((QM31::zero(), QM31::one()), |(n, d), (&m, &e)| (n * e + m * d, d * e))
}

/// Σ eq(point, i) over the padding `i >= leaves`: what the padded denominators (all 1) contribute to their extension.
pub fn padding_weight(point: &[QM31], leaves: usize) -> QM31 {
    QM31::one() - prefix_weight(point, leaves)
}

/// Σ_{i < len} eq(point, i), in one step per variable; `len <= 2^point.len()`.
pub fn prefix_weight(point: &[QM31], len: usize) -> QM31 {
    let n = point.len();
    if len >> n != 0 {
        return QM31::one();
    }
    // Walks down the path of `len`; at each 1 bit the whole 0 subtree lies below it.
    let mut path = QM31::one();
    let mut below = QM31::zero();
    for (k, &r) in point.iter().enumerate() {
        let zero = path * (QM31::one() - r);
        if (len >> (n - 1 - k)) & 1 == 1 {
            below += zero;
            path *= r;
        } else {
            path = zero;
        }
    }
    below
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::field::{eq_index, qm31};
    use crate::transcript::{Transcript, encode_ext};

    fn run(values: &[QM31], leaves: usize) -> Result<LeafClaim, LogUpError> {
        verify(
            &mut Channel::new(Transcript::new(b"logup"), &encode_ext(values)),
            leaves,
            0,
        )
    }

    #[test]
    fn prefix_weight_is_the_sum_of_its_indices() {
        for n in 0..5usize {
            let point: Vec<QM31> = (0..n as u32)
                .map(|i| QM31::from_u32_unchecked(i + 3, 5, 7 * i, 2))
                .collect();
            for len in 0..=1 << n {
                let want = (0..len).fold(qm31(0), |s, i| s + eq_index(&point, i));
                assert_eq!(prefix_weight(&point, len), want, "{n} variables, {len}");
                assert_eq!(padding_weight(&point, len), qm31(1) - want);
            }
        }
    }

    #[test]
    fn clear_trees_are_summed_by_the_verifier() {
        let ok = run(&[qm31(1), qm31(-1), qm31(5), qm31(5)], 2).unwrap();
        assert_eq!(ok.denominator, qm31(5));
        assert_eq!(run(&[qm31(0), qm31(7)], 1).unwrap().point, vec![]);
        assert_eq!(
            run(&[qm31(1), qm31(1), qm31(5), qm31(5)], 2),
            Err(LogUpError::NonZeroSum)
        );
        assert_eq!(run(&[qm31(0), qm31(0)], 1), Err(LogUpError::ZeroDenominator));
        // 1/0 + 1/0 has numerator 0: the projective sum alone would accept it.
        assert_eq!(
            run(&[qm31(1), qm31(1), qm31(0), qm31(0)], 2),
            Err(LogUpError::ZeroDenominator)
        );
        assert_eq!(run(&[], 0), Err(LogUpError::NoLeaves));
        assert_eq!(
            run(&[qm31(0)], 1),
            Err(LogUpError::Read(ReadError::Truncated { at: 16 }))
        );
    }
}
