//! The commitment's primitives as plain loops.

use mlc_verifier::commitment::TreeShape;
use mlc_verifier::commitment::blake2s::{hash_leaf, hash_node};
use mlc_verifier::field::{M31, QM31};
use mlc_verifier::transcript::{Hash, Transcript};
use num_traits::{One, Zero};

use super::Naive;
use crate::backend::code::{Code, PositionTerm, twiddles};
use crate::prover::channel::Grinder;

impl Grinder for Naive {
    fn grind(&self, transcript: &Transcript, bits: u32) -> u64 {
        let mut nonce = 0;
        while !transcript.nonce_works(bits, nonce) {
            nonce += 1;
        }
        nonce
    }
}

impl Code for Naive {
    fn encode(&self, cells: &Vec<M31>, shape: &TreeShape) -> Vec<M31> {
        let rows = shape.rows;
        let mut code = cells.clone();
        code.resize(rows << shape.log_domain(), M31::zero());
        let n = shape.log_domain();
        for (t, layer) in twiddles(n, n).iter().enumerate().rev() {
            let half = 1 << t;
            for (h, &w) in layer.iter().enumerate() {
                for l in 0..half {
                    for i in 0..rows {
                        let a = ((h << (t + 1)) + l) * rows + i;
                        let b = a + half * rows;
                        let product = code[b] * w;
                        (code[a], code[b]) = (code[a] + product, code[a] - product);
                    }
                }
            }
        }
        code
    }

    fn hash_columns(&self, columns: &[M31], rows: usize) -> Vec<Hash> {
        columns.chunks_exact(rows).map(hash_leaf).collect()
    }

    fn hash_layer(&self, below: &[Hash]) -> Vec<Hash> {
        below.chunks_exact(2).map(|c| hash_node(&c[0], &c[1])).collect()
    }

    fn fold_rows(&self, cells: &Vec<M31>, coeffs: &[QM31]) -> Vec<QM31> {
        cells
            .chunks_exact(coeffs.len())
            .map(|column| {
                let terms = column.iter().zip(coeffs);
                terms.fold(QM31::zero(), |acc, (&x, &c)| acc + c * x)
            })
            .collect()
    }

    fn concatenate(&self, parts: &[(usize, &Vec<QM31>)], len: usize) -> Vec<QM31> {
        let mut out = vec![QM31::zero(); len];
        for (offset, part) in parts {
            out[*offset..offset + part.len()].copy_from_slice(part);
        }
        out
    }

    fn matrix(&self, v: &Vec<QM31>, rows: usize, log_cols: u32) -> Vec<M31> {
        let mut out = Vec::with_capacity((4 * rows) << log_cols);
        for col in 0..1 << log_cols {
            for row in 0..rows {
                let entry = v.get((row << log_cols) + col).copied().unwrap_or(QM31::zero());
                out.extend(entry.to_m31_array());
            }
        }
        out
    }

    fn add_positions(&self, terms: &[PositionTerm], offset: usize, out: &mut Vec<QM31>) {
        for term in terms {
            for j in 0..1usize << term.factors.len() {
                let mut product = M31::one();
                for (t, &f) in term.factors.iter().enumerate() {
                    if j >> t & 1 == 1 {
                        product *= f;
                    }
                }
                out[offset + j] += term.weight * product;
            }
        }
    }

    fn opening_round(&self, a: &Vec<QM31>, b: &Vec<QM31>, log_len: u32) -> [QM31; 2] {
        let half = 1usize << (log_len - 1);
        let at = |v: &Vec<QM31>, i: usize| v.get(i).copied().unwrap_or(QM31::zero());
        let mut out = [QM31::zero(); 2];
        for i in 0..half {
            let (a0, a1, b0, b1) = (at(a, i), at(a, half + i), at(b, i), at(b, half + i));
            out[0] += a0 * b0;
            out[1] += (a1 + a1 - a0) * (b1 + b1 - b0);
        }
        out
    }

    fn bind_top_variable(&self, v: Vec<QM31>, log_len: u32, r: QM31) -> Vec<QM31> {
        let half = 1usize << (log_len - 1);
        let at = |i: usize| v.get(i).copied().unwrap_or(QM31::zero());
        (0..half.min(v.len()))
            .map(|i| at(i) + r * (at(half + i) - at(i)))
            .collect()
    }
}
