//! Verifies mlc proofs: transcript, sumcheck, LogUp, commitment opening, security sum.
//!
//! `no_std` + `alloc`, no prover code, no panics on hostile bytes: every size comes from circuit, key and
//! dimensions, never from the proof.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod bytes;
pub mod cells;
pub mod chain;
pub mod commitment;
pub mod field;
pub mod functional;
pub mod generation;
pub mod inference;
pub mod key;
pub mod logup;
pub mod lookups;
pub mod proof_file;
pub mod relations;
pub mod security;
pub mod setup;
pub mod statement;
pub mod sumcheck;
pub mod transcript;
