//! The primitives of the matrix commitment: encoding, hashing, folding, the opening's sumcheck, grinding.
//!
//! Matrices are column-major: `cells[j · rows + i]` is row i of column j, so that a butterfly of the encoding acts on
//! contiguous vectors and a leaf is contiguous. Vectors of extension elements may be shorter than the power of two
//! that their variables span; the entries behind the end are zero.

use mlc_verifier::commitment::TreeShape;
use mlc_verifier::commitment::code::Domain;
use mlc_verifier::field::{M31, QM31};
use mlc_verifier::transcript::Hash;

use super::Columns;
use crate::prover::channel::Grinder;

/// One opened position on a folded vector: `weight · Π_t factors[t]^(bit t of j)` at entry j.
#[derive(Debug, Clone)]
pub struct PositionTerm {
    /// The factors of the domain point.
    pub factors: Vec<M31>,
    /// The power of the batching challenge.
    pub weight: QM31,
}

/// The commitment's primitives on a backend's buffers.
pub trait Code: Columns + Grinder {
    /// Encodes every row: `rows · 2^log_domain` cells, column-major, positions in bit-reversed order. `cells` holds
    /// whole columns and may end before the last one.
    fn encode(&self, cells: &Self::Base, shape: &TreeShape) -> Vec<M31>;

    /// The leaf of each column of `rows` cells.
    fn hash_columns(&self, columns: &[M31], rows: usize) -> Vec<Hash>;

    /// [`Self::encode`] and the leaves of the result, for backends that hash columns while they are in the cache.
    fn encode_and_hash(&self, cells: &Self::Base, shape: &TreeShape) -> (Vec<M31>, Vec<Hash>) {
        let code = self.encode(cells, shape);
        let leaves = self.hash_columns(&code, shape.rows);
        (code, leaves)
    }

    /// Positions `block · 2^log_cols ..` of [`Self::encode_and_hash`], `2^log_cols` of them: all that is held of a codeword
    /// that is larger than memory.
    fn encode_block(&self, cells: &Self::Base, shape: &TreeShape, block: usize) -> (Vec<M31>, Vec<Hash>) {
        let (code, leaves) = self.encode_and_hash(cells, shape);
        let (words, columns) = (shape.rows << shape.log_cols, 1 << shape.log_cols);
        (
            code[block * words..(block + 1) * words].to_vec(),
            leaves[block * columns..(block + 1) * columns].to_vec(),
        )
    }

    /// The parents of a layer of at least two nodes.
    fn hash_layer(&self, below: &[Hash]) -> Vec<Hash>;

    /// `v[j] = Σ_i coeffs[i] · cells[j · rows + i]` with `rows = coeffs.len()`, for the columns that exist.
    fn fold_rows(&self, cells: &Self::Base, coeffs: &[QM31]) -> Self::Ext;

    /// A vector of `len` entries that holds each part at its offset, and zeros elsewhere.
    fn concatenate(&self, parts: &[(usize, &Self::Ext)], len: usize) -> Self::Ext;

    /// The vector as a matrix of `rows` x `2^log_cols` extension elements, entry `row · 2^log_cols + col`, laid out
    /// as `4 · rows` base rows (the limbs of a row side by side).
    fn matrix(&self, v: &Self::Ext, rows: usize, log_cols: u32) -> Self::Base;

    /// Adds the terms, each on `2^factors.len()` entries, to `out` from `offset`. All terms have equally many factors.
    fn add_positions(&self, terms: &[PositionTerm], offset: usize, out: &mut Self::Ext);

    /// The round polynomial of `Σ_x a(x) b(x)` over `log_len >= 1` variables in the top variable, at 0 and 2. Both
    /// vectors have the same length, above 0.
    fn opening_round(&self, a: &Self::Ext, b: &Self::Ext, log_len: u32) -> [QM31; 2];

    /// Sets the top one of `log_len` variables to `r`, in place where it can.
    fn bind_top_variable(&self, v: Self::Ext, log_len: u32, r: QM31) -> Self::Ext;
}

/// The twiddles of the encoding over a domain: `twiddles[t][h]` is the factor `f_t` of every position whose bits above
/// t are h (and whose bit t is 0; where it is 1, the factor is the negative).
pub fn twiddles(log_domain: u32, layers: u32) -> Vec<Vec<M31>> {
    let bit_reversed = |values: &[M31], log: u32| -> Vec<M31> {
        (0..1usize << log)
            .map(|h| values[stwo::core::utils::bit_reverse_index(h, log)])
            .collect()
    };
    let mut out = Vec::with_capacity(layers as usize);
    if layers == 0 {
        return out;
    }
    // Position 2h is point bitrev(h) of the half coset; the first quarter of the domain carries all x up to sign.
    let first = Domain::new(log_domain).point(0);
    let step = stwo::core::poly::circle::CanonicCoset::new(log_domain)
        .half_coset()
        .step;
    let mut point = first;
    let half = 1usize << (log_domain - 1);
    let mut ys = Vec::with_capacity(half);
    let mut xs = Vec::with_capacity(half / 2);
    for k in 0..half {
        ys.push(point.y);
        if k < half / 2 {
            xs.push(point.x);
        }
        point = point + step;
    }
    out.push(bit_reversed(&ys, log_domain - 1));
    for t in 1..layers {
        let log = log_domain - 1 - t;
        out.push(bit_reversed(&xs, log));
        xs.truncate((1 << log) / 2);
        for x in &mut xs {
            *x = stwo::core::circle::CirclePoint::double_x(*x);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twiddles_are_the_factors_of_positions() {
        for log_domain in 1..8u32 {
            let (t, domain) = (twiddles(log_domain, log_domain), Domain::new(log_domain));
            for q in 0..1usize << log_domain {
                for (k, &f) in domain.position_factors(q, log_domain).iter().enumerate() {
                    let w = t[k][q >> (k + 1)];
                    assert_eq!(f, if q >> k & 1 == 0 { w } else { -w });
                }
            }
        }
    }
}
