//! Linear algebra on long vectors, plain loops.

use mlc_verifier::field::{M31, QM31};
use num_traits::Zero;

use super::Naive;
use crate::backend::VectorOps;

impl VectorOps for Naive {
    fn constant(&self, value: QM31, len: usize) -> Vec<QM31> {
        vec![value; len]
    }

    fn add_outer(&self, out: &mut Vec<QM31>, at: usize, outer: &[QM31], inner: &Vec<QM31>) {
        let products = outer.iter().flat_map(|&o| inner.iter().map(move |&i| o * i));
        out[at..].iter_mut().zip(products).for_each(|(x, p)| *x += p);
    }

    fn add_scaled(&self, out: &mut Vec<QM31>, at: usize, scale: QM31, values: &Vec<QM31>) {
        out[at..].iter_mut().zip(values).for_each(|(x, &v)| *x += scale * v);
    }

    fn add_constant(&self, out: &mut Vec<QM31>, at: usize, len: usize, value: QM31) {
        out[at..at + len].iter_mut().for_each(|x| *x += value);
    }

    fn set(&self, out: &mut Vec<QM31>, at: usize, values: &[QM31]) {
        out[at..at + values.len()].copy_from_slice(values);
    }

    fn set_differences(
        &self,
        out: &mut Vec<QM31>,
        at: usize,
        constant: QM31,
        keys: &Vec<M31>,
        from: usize,
        len: usize,
    ) {
        out[at..at + len]
            .iter_mut()
            .zip(&keys[from..from + len])
            .for_each(|(x, &k)| *x = constant - k);
    }

    fn inner_product(&self, values: &Vec<M31>, at: usize, outer: &[QM31], inner: &Vec<QM31>) -> QM31 {
        let weights = outer.iter().flat_map(|&o| inner.iter().map(move |&i| o * i));
        weights
            .zip(&values[at..])
            .fold(QM31::zero(), |sum, (w, &v)| sum + w * v)
    }

    fn push_forward(&self, keys: &[i32], weights: &Vec<QM31>, rows: usize) -> Vec<QM31> {
        let mut out = vec![QM31::zero(); rows];
        for (&k, &w) in keys.iter().zip(weights) {
            if let Some(o) = usize::try_from(k).ok().and_then(|k| out.get_mut(k)) {
                *o += w;
            }
        }
        out
    }

    fn combine_rows(&self, values: &[M31], rows: &[(usize, QM31)], len: usize) -> Vec<QM31> {
        (0..len)
            .map(|i| {
                rows.iter()
                    .fold(QM31::zero(), |sum, &(start, c)| sum + c * values[start + i])
            })
            .collect()
    }

    fn histogram(&self, keys: &[i32], rows: usize) -> Vec<u32> {
        let mut out = vec![0; rows];
        for &k in keys {
            if let Some(o) = usize::try_from(k).ok().and_then(|k| out.get_mut(k)) {
                *o += 1;
            }
        }
        out
    }
}
