//! Backends: device buffers and the primitives that the prover is written against.
//!
//! `naive` is plain loops and the oracle; `cpu` is SIMD (chosen at run time) and rayon. Swapping one for another
//! changes no byte of a proof.

pub mod code;
pub mod cpu;
pub mod fractions;
pub mod integers;
pub mod naive;
pub mod products;
pub mod vectors;

use mlc_verifier::field::{M31, QM31};

pub use fractions::{FractionOps, Halves};
pub use integers::IntegerOps;
pub use products::{Operand, ProductOps};
pub use vectors::VectorOps;

/// Device buffers of field elements.
pub trait Columns: Sync {
    /// A vector of base field elements on the device.
    type Base: Send + Sync;
    /// A vector of extension elements on the device.
    type Ext: Send + Sync;

    /// Uploads a base vector.
    fn base(&self, values: Vec<M31>) -> Self::Base;
    /// Uploads an extension vector.
    fn ext(&self, values: Vec<QM31>) -> Self::Ext;
    /// Downloads a base vector.
    fn host_base(&self, values: &Self::Base) -> Vec<M31>;
    /// Downloads an extension vector.
    fn host_ext(&self, values: &Self::Ext) -> Vec<QM31>;
    /// Length of a base vector.
    fn base_len(&self, values: &Self::Base) -> usize;
    /// Length of an extension vector.
    fn ext_len(&self, values: &Self::Ext) -> usize;
    /// Embeds a base vector in the extension.
    fn lift(&self, values: &Self::Base) -> Self::Ext;
}

/// The vertex of the current variable at which a round polynomial is summed; the other one follows from the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vertex {
    /// X = 0.
    Zero,
    /// X = 1.
    One,
}

/// What a sumcheck round computes from a quadratic h(X): `h` at the chosen vertex, and the coefficient of X².
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RoundSums {
    /// h(0) or h(1).
    pub at: QM31,
    /// The coefficient of X².
    pub leading: QM31,
}

/// The weight of each pair of a round, pairs counted from 0: eq over the variables that are still free.
pub enum Weights<'a, C: Columns + ?Sized> {
    /// Pair j weighs `values[j / unit]`.
    Units {
        /// Pairs per value; at least 1.
        unit: usize,
        /// One weight per unit.
        values: &'a [QM31],
    },
    /// Pair j weighs `outer[j / inner.len()] * inner[j % inner.len()]`.
    Rows {
        /// One factor per row.
        outer: &'a [QM31],
        /// One factor per position in a row.
        inner: &'a C::Ext,
    },
}

impl<C: Columns + ?Sized> Clone for Weights<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<C: Columns + ?Sized> Copy for Weights<'_, C> {}

/// Everything that the prover needs of a device.
pub trait Backend: ProductOps + FractionOps + IntegerOps + VectorOps + code::Code {}
impl<T: ProductOps + FractionOps + IntegerOps + VectorOps + code::Code> Backend for T {}
