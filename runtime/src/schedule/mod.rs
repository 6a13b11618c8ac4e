//! How a proof is made, which is in no digest and changes no byte of it: checkpoints of long proofs.

pub mod checkpoint;
pub mod journal;
