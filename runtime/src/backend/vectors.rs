//! Linear algebra on long vectors: what the passes around the sumchecks need (weights of claims, fractions of lookups,
//! values of claims). A weight vector over a tensor is an outer product, so it is described by its factors and formed
//! where it is needed.

use mlc_verifier::field::{M31, QM31};

use super::Columns;
use super::fractions::Numerators;

/// Primitives on vectors of extension elements.
pub trait VectorOps: Columns {
    /// `len` times the same element.
    fn constant(&self, value: QM31, len: usize) -> Self::Ext;

    /// `out[at + o · inner.len() + i] += outer[o] · inner[i]`.
    fn add_outer(&self, out: &mut Self::Ext, at: usize, outer: &[QM31], inner: &Self::Ext);

    /// `out[at + i] += scale · values[i]`.
    fn add_scaled(&self, out: &mut Self::Ext, at: usize, scale: QM31, values: &Self::Ext);

    /// `Σ outer[o] · inner[i] · values[at + o · inner.len() + i]`.
    fn inner_product(&self, values: &Self::Base, at: usize, outer: &[QM31], inner: &Self::Ext) -> QM31;

    /// `out[k] = Σ_{i: keys[i] = k} weights[i]` for `k < rows`; keys outside of the range count nowhere.
    fn push_forward(&self, keys: &[i32], weights: &Self::Ext, rows: usize) -> Vec<QM31>;

    /// [`Self::push_forward`] along the keys `cells[at + i] + shift`, `i < len`, with the weights of a term of numerators
    /// that covers them; `size` is (len, rows).
    fn push_cells(
        &self,
        cells: &Self::Base,
        at: usize,
        shift: u32,
        weights: &Numerators<'_, Self>,
        size: (usize, usize),
    ) -> Vec<QM31>;

    /// [`Self::histogram`] of the keys `cells[at + i] + shift`, `i < len`; `range` is (at, len).
    fn count_cells(&self, cells: &Self::Base, range: (usize, usize), shift: u32, rows: usize) -> Vec<u32>;

    /// `out[i] = Σ_(start, c) in rows c · values[start + i]` for `i < len`.
    fn combine_rows(&self, values: &[M31], rows: &[(usize, QM31)], len: usize) -> Vec<QM31>;

    /// How often each `k < rows` occurs; keys outside of the range count nowhere. At most `2^32 - 1` keys.
    fn histogram(&self, keys: &[i32], rows: usize) -> Vec<u32>;
}
