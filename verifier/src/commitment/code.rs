//! The circle code, as far as a verifier meets it: a codeword position is a tensor functional of the message.
//!
//! The domain of log size d is stwo's `CanonicCoset::new(d).circle_domain()` in bit-reversed order, and a message of
//! length `2^n`, `n <= d`, is used directly as FFT coefficients. With (x, y) the point at position q,
//!
//! ```text
//! Enc(m)[q] = Σ_j m_j · Π_t f_t^(bit t of j),   f = (y, x, 2x² - 1, 2(2x² - 1)² - 1, …)
//! ```

use alloc::vec::Vec;

use stwo::core::circle::CirclePoint;
use stwo::core::poly::circle::CanonicCoset;
use stwo::core::utils::bit_reverse_index;

use crate::field::{M31, QM31};

/// The largest domain, as a power of two (the circle group of M31 has 2^31 points, a canonic coset half of them).
pub const MAX_LOG_DOMAIN: u32 = 30;

/// The point of the domain of log size `log_domain` (1..=30) at bit-reversed `position`.
pub fn domain_point(log_domain: u32, position: usize) -> CirclePoint<M31> {
    CanonicCoset::new(log_domain)
        .circle_domain()
        .at(bit_reverse_index(position, log_domain))
}

/// The factors `f_0, …, f_(n-1)` of a position: `f_t` belongs to bit t of the message index.
pub fn position_factors(log_domain: u32, position: usize, n: u32) -> Vec<M31> {
    let point = domain_point(log_domain, position);
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

/// `Σ_j v_j · Π_t f_t^(bit t of j)` for a vector of length `2^factors.len()`: one position of the encoding of `v`.
pub fn encode_at(factors: &[M31], v: &[QM31]) -> QM31 {
    debug_assert_eq!(v.len(), 1 << factors.len());
    let mut v = v.to_vec();
    for &f in factors {
        v = v.chunks_exact(2).map(|c| c[0] + c[1] * f).collect();
    }
    v[0]
}
