//! Passes over the IR, one file each; [`crate::pipeline`] says in which order they run and why.

pub mod balance;
pub mod block_detect;
pub mod canonicalise;
pub mod commitment_placement;
pub mod constant_fold;
pub mod cse;
pub mod dce;
mod error;
pub mod expand_norm;
pub mod find_groups;
pub mod find_norm;
pub mod fold_norm;
pub mod layering;
pub mod lookup_fuse;
pub mod quantise;
pub mod range_analysis;
mod rewrite;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod transformer_tests;

pub use error::PassError;

/// The value of a constant whose elements are all equal.
pub(crate) fn uniform(tensor: &mlc_ir::TensorF32) -> Option<f64> {
    let first = *tensor.data.first()?;
    tensor.data.iter().all(|v| *v == first).then(|| f64::from(first))
}
