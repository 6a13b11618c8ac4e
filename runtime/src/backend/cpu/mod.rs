//! The CPU backend: SIMD chosen at run time, rayon across cores.

mod code;
mod ext_vec;
mod fractions;
mod leaves;
mod products;
#[cfg(test)]
mod samples;
pub mod simd;
mod split;
mod sums;
mod vectors;

use mlc_verifier::field::{M31, QM31};

pub use ext_vec::{ExtVec, words};

use super::Columns;

/// SIMD and threads on host memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu;

impl Columns for Cpu {
    type Base = Vec<M31>;
    type Ext = ExtVec;

    fn base(&self, values: Vec<M31>) -> Vec<M31> {
        values
    }
    fn ext(&self, values: Vec<QM31>) -> ExtVec {
        ExtVec::from_values(&values)
    }
    fn host_base(&self, values: &Vec<M31>) -> Vec<M31> {
        values.clone()
    }
    fn host_ext(&self, values: &ExtVec) -> Vec<QM31> {
        values.to_values()
    }
    fn base_len(&self, values: &Vec<M31>) -> usize {
        values.len()
    }
    fn ext_len(&self, values: &ExtVec) -> usize {
        values.len()
    }
    fn lift(&self, values: &Vec<M31>) -> ExtVec {
        ExtVec::from_base(values)
    }
}
