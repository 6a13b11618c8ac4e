//! The prover: one orchestration over a backend's primitives. Each file mirrors the verifier file of the same name.

pub mod channel;
pub mod commitment;
mod eq_weights;
pub mod logup;
pub mod sumcheck;
