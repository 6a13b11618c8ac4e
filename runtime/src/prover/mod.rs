//! The prover: one orchestration over a backend's primitives. Each file mirrors the verifier file of the same name.

pub mod cells;
pub mod channel;
pub mod commitment;
mod eq_weights;
pub mod forms;
pub mod inference;
pub mod logup;
pub mod lookups;
pub mod relations;
pub mod setup;
pub mod sumcheck;
pub mod tensor;
pub mod vector;
