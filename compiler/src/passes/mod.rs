//! Passes over the IR, one file each; [`crate::pipeline`] says in which order they run and why.

mod error;
pub mod quantise;
pub mod range_analysis;

pub use error::PassError;
