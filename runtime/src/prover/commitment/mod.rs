//! The matrix commitment, proving side: mirrors `mlc_verifier::commitment`. Protocol: docs/protocol/commitment.md.

mod open;
#[cfg(test)]
mod tests;
mod tree;

pub use open::{OpenTree, open};
pub use tree::{Committed, TreeStore, commit, commit_to};
