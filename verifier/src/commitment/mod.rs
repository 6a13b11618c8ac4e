//! The matrix commitment, verifying side: shapes, plan, security terms, and the check of a recursive opening.
//!
//! Rows of a matrix are encoded by a Reed-Solomon code on the circle, columns of the codewords are hashed into a
//! Merkle tree. An opening sends (the commitment of) a combination of the rows and a few columns, and opens that
//! vector in the same way, until it is short enough to send. Unique decoding only: docs/protocol/commitment.md.

pub mod blake2s;
pub mod code;
pub mod functional;
pub mod merkle;
pub mod plan;
pub mod security;
pub mod shape;
pub mod verify;

pub use functional::{Claim, Dense, EqPoint, Functional, Position};
pub use plan::{Plan, PlannedLevel, PlannedTree, Target};
pub use security::Term;
pub use shape::{Queries, TreeShape};
pub use verify::{OpenTree, OpeningError, verify_opening};
