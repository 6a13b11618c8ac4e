//! Arbitrary field elements, for the tests that compare with the naive backend.

use mlc_verifier::field::{M31, QM31};
use mlc_verifier::transcript::Transcript;

/// `n` extension elements, others for each seed.
pub(in crate::backend::cpu) fn ext(n: usize, seed: u8) -> Vec<QM31> {
    Transcript::new(&[seed]).draw_many(n)
}

/// `n` base elements.
pub(in crate::backend::cpu) fn base(n: usize) -> Vec<M31> {
    let elements = ext(n.div_ceil(4), 9);
    elements.iter().flat_map(|q| q.to_m31_array()).take(n).collect()
}
