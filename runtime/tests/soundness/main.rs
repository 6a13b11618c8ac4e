//! Soundness, by provers that lie.
//!
//! A lie is one change: to a message just before it is sent, to the committed cells, to the execution, to the weights, to
//! the circuit that the prover runs, or to the statement. Challenges, hashes and everything after the change are
//! recomputed by the ordinary prover, so that one relation is violated and nothing else. Every lie names the error it
//! must end in; a lie that is accepted, or refused by another check than its own, fails.
//!
//! | module | lies about |
//! |---|---|
//! | `messages` | each message of an inference proof, at its first, middle and last occurrence |
//! | `cells` | each committed tensor, and consistent executions of something else |
//! | `claims` | claims whose errors cancel in the checks before the one that counts |
//! | `statements` | inputs, outputs, dimensions; other circuits, roots and parameters; malformed bytes |
//! | `weights` | the setup proof: each message, values out of range, column sums |
//! | `keys` | keys: bytes, roots, parameters |
//! | `circuits` | each rule that a circuit must keep |
//! | `attention` | tokens, positions, constants and masks: lies, and the rules that a circuit must keep |
//! | `block` | the relations of a transformer block: norms, rotation, shared heads, softmax, stream, gates, head |
//!
//! `scripts/mutation/run.py` disables the checks of the verifier one by one and runs these tests: the results are in
//! docs/protocol/mutation.md.

#![allow(clippy::unwrap_used, clippy::panic)]

mod attention;
mod block;
mod cells;
mod circuits;
mod claims;
mod greatest;
mod keys;
mod liar;
mod messages;
mod statements;
mod weights;
mod world;
