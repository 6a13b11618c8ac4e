//! The circle code, as far as a verifier meets it: a codeword position is a tensor functional of the message.
//!
//! The domain of log size d is stwo's `CanonicCoset::new(d).circle_domain()` in bit-reversed order, and a message of
//! length `2^n`, `n <= d`, is used directly as FFT coefficients. With (x, y) the point at position q,
//!
//! ```text
//! Enc(m)[q] = Σ_j m_j · Π_t f_t^(bit t of j),   f = (y, x, 2x² - 1, 2(2x² - 1)² - 1, …)
//! ```

use alloc::vec::Vec;

use stwo::core::circle::{CirclePoint, M31_CIRCLE_GEN, M31_CIRCLE_LOG_ORDER};
use stwo::core::poly::circle::{CanonicCoset, CircleDomain};
use stwo::core::utils::bit_reverse_index;

use crate::field::{M31, QM31};

/// The largest domain, as a power of two (the circle group of M31 has 2^31 points, a canonic coset half of them).
pub const MAX_LOG_DOMAIN: u32 = 30;

/// The domain of one log size (1..=30).
pub struct Domain {
    log_size: u32,
    domain: CircleDomain,
    /// `2^k` times the generator of the circle group.
    doublings: Vec<CirclePoint<M31>>,
}

impl Domain {
    /// Of log size `log_size`.
    pub fn new(log_size: u32) -> Self {
        let doublings = core::iter::successors(Some(M31_CIRCLE_GEN), |p| Some(p.double()));
        Self {
            log_size,
            domain: CanonicCoset::new(log_size).circle_domain(),
            doublings: doublings.take(M31_CIRCLE_LOG_ORDER as usize).collect(),
        }
    }

    /// The point at bit-reversed `position`.
    pub fn point(&self, position: usize) -> CirclePoint<M31> {
        let index = self.domain.index_at(bit_reverse_index(position, self.log_size)).0;
        let bits = self.doublings.iter().enumerate().filter(|(k, _)| (index >> k) & 1 == 1);
        bits.fold(CirclePoint::zero(), |sum, (_, &p)| sum + p)
    }

    /// The factors `f_0, …, f_(n-1)` of a position: `f_t` belongs to bit t of the message index.
    pub fn position_factors(&self, position: usize, n: u32) -> Vec<M31> {
        let point = self.point(position);
        let mut out = Vec::with_capacity(n as usize);
        let mut x = point.x;
        for t in 0..n {
            if t == 0 {
                out.push(point.y);
            } else {
                out.push(x);
                x = CirclePoint::double_x(x);
            }
        }
        out
    }
}

/// `Σ_j v_j · Π_t f_t^(bit t of j)` for a vector of length `2^factors.len()`: one position of the encoding of `v`.
pub fn encode_at(factors: &[M31], v: &[QM31]) -> QM31 {
    debug_assert_eq!(v.len(), 1 << factors.len());
    let mut v = v.to_vec();
    for &f in factors {
        v = v.chunks_exact(2).map(|c| c[0] + c[1] * f).collect();
    }
    v[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_those_of_the_domain() {
        for log_size in 1..=12 {
            let domain = Domain::new(log_size);
            let circle = CanonicCoset::new(log_size).circle_domain();
            for position in 0..1 << log_size {
                assert_eq!(domain.point(position), circle.at(bit_reverse_index(position, log_size)));
            }
        }
        let (domain, circle) = (Domain::new(30), CanonicCoset::new(30).circle_domain());
        for position in [0, 1, (1 << 30) - 1, 0x2bad_cafe, 1 << 29] {
            assert_eq!(domain.point(position), circle.at(bit_reverse_index(position, 30)));
        }
    }
}
