//! LayeredCircuit: the integer program, its tables and statement, shared by compiler, prover and verifier.
#![no_std]
extern crate alloc;
