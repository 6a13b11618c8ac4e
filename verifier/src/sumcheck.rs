//! Sumcheck, verifying side.
//!
//! For a sum over the hypercube of a polynomial of degree at most `d` in each variable, the prover sends in round k
//! the univariate `s_k` as its evaluations at 0, 2, …, d; `s_k(1)` is implied by `s_k(0) + s_k(1) = claim`. So a
//! round message is `d` extension elements, and a wrong sum survives with probability at most d/|F| per round
//! (Lund, Fortnow, Karloff, Nisan 1992). The caller checks the final claim against the polynomial itself.
//!
//! Sums of different numbers of variables are batched by aligning them at the *last* variable: a summand over
//! `m < n` variables is constant in the first `n - m`, which multiplies its sum by `2^(n-m)`.

use alloc::vec::Vec;

use num_traits::{One, Zero};

use crate::field::{M31, QM31};
use crate::transcript::{Channel, ReadError};

/// What is left of a sumcheck: the point, and the value the summed polynomial must have there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduced {
    /// One challenge per variable, the top index bit first.
    pub point: Vec<QM31>,
    /// The value that the caller must check.
    pub value: QM31,
}

/// Runs `rounds` rounds for a polynomial of degree at most `degree` (2 or 3) per variable.
/// `grind_bits` is the number of proof-of-work bits before each round's challenge.
pub fn verify(
    channel: &mut Channel<'_>,
    claim: QM31,
    rounds: usize,
    degree: usize,
    grind_bits: u32,
) -> Result<Reduced, ReadError> {
    let mut value = claim;
    let mut point = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let message = channel.recv_ext(degree)?;
        channel.recv_nonce("sumcheck round", grind_bits)?;
        let r = channel.transcript().draw();
        value = evaluate_round(value, &message, r);
        point.push(r);
    }
    Ok(Reduced { point, value })
}

/// Runs the rounds of Σ_x eq(ρ, x)·g(x) for `g` of degree at most 2 per variable, with Gruen's factoring: round k has
/// s(X) = eq(ρ_k, X)·h(X) up to factors already fixed, the running claim is (1 - ρ_k)h(0) + ρ_k h(1), and the prover
/// sends only the slope δ = h(1) - h(0) and the leading coefficient c of h. Then h(X) = claim + δ(X - ρ_k) + cX(X - 1),
/// which meets the claim by construction: nothing is divided, nothing is left to check. Error: 2/|F| per round.
/// The value returned is what `g` must have at the point (without the eq factor).
pub fn verify_eq(channel: &mut Channel<'_>, claim: QM31, rho: &[QM31], grind_bits: u32) -> Result<Reduced, ReadError> {
    let mut value = claim;
    let mut point = Vec::with_capacity(rho.len());
    for &rho in rho {
        let message = channel.recv_ext(2)?;
        channel.recv_nonce("sumcheck round", grind_bits)?;
        let r = channel.transcript().draw();
        value = evaluate_eq_round(value, &message, rho, r);
        point.push(r);
    }
    Ok(Reduced { point, value })
}

/// `h(r)` from the claim `(1 - ρ)h(0) + ρh(1)` and the message `[h(1) - h(0), leading coefficient]`.
pub fn evaluate_eq_round(claim: QM31, message: &[QM31], rho: QM31, r: QM31) -> QM31 {
    claim + message[0] * (r - rho) + message[1] * r * (r - QM31::one())
}

/// `s(r)` from the round message `[s(0), s(2), …, s(d)]` and the claim `s(0) + s(1)`.
pub fn evaluate_round(claim: QM31, message: &[QM31], r: QM31) -> QM31 {
    let mut evals = Vec::with_capacity(message.len() + 1);
    evals.push(message[0]);
    evals.push(claim - message[0]);
    evals.extend_from_slice(&message[1..]);
    interpolate(&evals, r)
}

/// The value at `r` of the polynomial of degree below `evals.len()` through `(i, evals[i])`.
pub fn interpolate(evals: &[QM31], r: QM31) -> QM31 {
    let n = evals.len();
    let mut acc = QM31::zero();
    for (i, &e) in evals.iter().enumerate() {
        let mut num = QM31::one();
        let mut den = M31::one();
        for j in 0..n {
            if j != i {
                num *= r - QM31::from(M31::from(j));
                den *= M31::from(i) - M31::from(j);
            }
        }
        acc += e * num * den.inverse();
    }
    acc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::qm31;
    use alloc::vec;

    #[test]
    fn interpolation_reproduces_a_cubic() {
        let f = |x: QM31| qm31(5) * x * x * x - qm31(3) * x + qm31(11);
        let evals: Vec<QM31> = (0..4).map(|i| f(qm31(i))).collect();
        let r = QM31::from_u32_unchecked(1, 2, 3, 4);
        assert_eq!(interpolate(&evals, r), f(r));
        assert_eq!(
            evaluate_round(evals[0] + evals[1], &[evals[0], evals[2], evals[3]], r),
            f(r)
        );
    }

    #[test]
    fn a_round_with_eq_factored_out_reproduces_a_quadratic() {
        let h = |x: QM31| qm31(5) * x * x - qm31(3) * x + qm31(11);
        let (rho, r) = (
            QM31::from_u32_unchecked(9, 8, 7, 6),
            QM31::from_u32_unchecked(1, 2, 3, 4),
        );
        let claim = (qm31(1) - rho) * h(qm31(0)) + rho * h(qm31(1));
        let message = [h(qm31(1)) - h(qm31(0)), qm31(5)];
        assert_eq!(evaluate_eq_round(claim, &message, rho, r), h(r));
    }

    #[test]
    fn a_truncated_round_is_refused() {
        let mut c = Channel::new(crate::transcript::Transcript::new(b"t"), &[0; 31]);
        assert_eq!(verify(&mut c, qm31(0), 1, 2, 0), Err(ReadError::Truncated { at: 31 }));
    }

    #[test]
    fn zero_rounds_leave_the_claim() {
        let bytes = vec![];
        let mut c = Channel::new(crate::transcript::Transcript::new(b"t"), &bytes);
        let r = verify(&mut c, qm31(9), 0, 2, 0).unwrap();
        assert_eq!((r.point.len(), r.value), (0, qm31(9)));
    }
}
