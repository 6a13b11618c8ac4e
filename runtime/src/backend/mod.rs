//! Backends: device buffers and the primitives that the prover is written against.
//!
//! `naive` is plain loops and the oracle; `cpu` is SIMD (chosen at run time) and rayon. Swapping one for another
//! changes no byte of a proof.

pub mod code;
pub mod cpu;
pub mod naive;

use mlc_verifier::field::{M31, QM31};

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
