//! Linear algebra on long vectors, plain loops.

use mlc_verifier::field::{M31, QM31};
use num_traits::Zero;

use super::Naive;
use crate::backend::VectorOps;
use crate::backend::fractions::Numerators;

fn keys(cells: &[M31], shift: u32) -> Vec<i32> {
    cells.iter().map(|&c| (c + M31(shift)).0 as i32).collect()
}

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

    fn push_cells(
        &self,
        cells: &Vec<M31>,
        at: usize,
        shift: u32,
        weights: &Numerators<'_, Self>,
        (len, rows): (usize, usize),
    ) -> Vec<QM31> {
        let weight = |i: usize| match weights {
            Numerators::Constant(value) => *value,
            Numerators::Scaled { scale, values, from } => *scale * values[from + i],
            Numerators::Outer { outer, inner } => outer[i / inner.len()] * inner[i % inner.len()],
            Numerators::Units { unit, values } => values[i / unit],
        };
        let weights: Vec<QM31> = (0..len).map(weight).collect();
        self.push_forward(&keys(&cells[at..at + len], shift), &weights, rows)
    }

    fn count_cells(&self, cells: &Vec<M31>, (at, len): (usize, usize), shift: u32, rows: usize) -> Vec<u32> {
        self.histogram(&keys(&cells[at..at + len], shift), rows)
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
