//! The commitment's primitives on SIMD and threads.

mod blake2s;
mod fft;
mod fold;

use mlc_verifier::commitment::TreeShape;
use mlc_verifier::field::{M31, QM31};
use mlc_verifier::transcript::{Hash, Transcript};
use rayon::prelude::*;

use super::{Cpu, ExtVec, words};
use crate::backend::code::{Code, PositionTerm};
use crate::prover::channel::Grinder;

impl Grinder for Cpu {
    fn grind(&self, transcript: &Transcript, bits: u32) -> u64 {
        blake2s::grind(transcript, bits)
    }
}

impl Code for Cpu {
    fn encode(&self, cells: &Vec<M31>, shape: &TreeShape) -> Vec<M31> {
        fft::encode(cells, shape, 0..1 << shape.log_inv_rate).0
    }

    fn hash_columns(&self, columns: &[M31], rows: usize) -> Vec<Hash> {
        let mut out = vec![[0; 32]; columns.len() / rows];
        let task = (1 << 15) / rows.next_multiple_of(16) + 1;
        out.par_chunks_mut(task)
            .zip(words(columns).par_chunks(task * rows))
            .for_each(|(out, columns)| blake2s::leaves(columns, rows, out));
        out
    }

    fn encode_and_hash(&self, cells: &Vec<M31>, shape: &TreeShape) -> (Vec<M31>, Vec<Hash>) {
        fft::encode(cells, shape, 0..1 << shape.log_inv_rate)
    }

    fn encode_block(&self, cells: &Vec<M31>, shape: &TreeShape, block: usize) -> (Vec<M31>, Vec<Hash>) {
        fft::encode(cells, shape, block..block + 1)
    }

    fn hash_layer(&self, below: &[Hash]) -> Vec<Hash> {
        blake2s::parents(below)
    }

    fn fold_rows(&self, cells: &Vec<M31>, coeffs: &[QM31]) -> ExtVec {
        fold::fold_rows(cells, coeffs)
    }

    fn concatenate(&self, parts: &[(usize, &ExtVec)], len: usize) -> ExtVec {
        fold::concatenate(parts, len)
    }

    fn matrix(&self, v: &ExtVec, rows: usize, log_cols: u32) -> Vec<M31> {
        fold::matrix(v, rows, log_cols)
    }

    fn add_positions(&self, terms: &[PositionTerm], offset: usize, out: &mut ExtVec) {
        fold::add_positions(terms, offset, out);
    }

    fn opening_round(&self, a: &ExtVec, b: &ExtVec, log_len: u32) -> [QM31; 2] {
        fold::opening_round(a, b, log_len)
    }

    fn bind_top_variable(&self, v: ExtVec, log_len: u32, r: QM31) -> ExtVec {
        fold::bind_top_variable(v, log_len, r)
    }
}
