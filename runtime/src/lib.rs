//! Executes circuits on integers and proves executions.
//!
//! `prover/` mirrors the verifier crate file by file and is written once against the primitives of `backend/`.

pub mod backend;
pub mod calibrate;
mod codeword;
pub mod exec;
pub mod inputs;
pub mod prove;
pub mod prover;
pub mod schedule;
pub mod setup;
pub mod testing;
pub mod weights;
