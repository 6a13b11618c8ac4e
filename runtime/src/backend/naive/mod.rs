//! The oracle: every primitive as the plainest loop over host vectors. Slow, and what the others must agree with.

mod fractions;
mod products;
mod vectors;

mod code;

use mlc_verifier::field::{M31, QM31};

use super::Columns;

/// Plain loops.
#[derive(Debug, Clone, Copy, Default)]
pub struct Naive;

impl Columns for Naive {
    type Base = Vec<M31>;
    type Ext = Vec<QM31>;

    fn base(&self, values: Vec<M31>) -> Vec<M31> {
        values
    }
    fn ext(&self, values: Vec<QM31>) -> Vec<QM31> {
        values
    }
    fn host_base(&self, values: &Vec<M31>) -> Vec<M31> {
        values.clone()
    }
    fn host_ext(&self, values: &Vec<QM31>) -> Vec<QM31> {
        values.clone()
    }
    fn base_len(&self, values: &Vec<M31>) -> usize {
        values.len()
    }
    fn ext_len(&self, values: &Vec<QM31>) -> usize {
        values.len()
    }
    fn lift(&self, values: &Vec<M31>) -> Vec<QM31> {
        values.iter().map(|&v| v.into()).collect()
    }
}
