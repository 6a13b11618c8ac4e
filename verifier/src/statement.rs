//! What a proof is about, and how it enters the transcript.
//!
//! Move 0 absorbs, before any challenge: protocol version, parameters, circuit digest (tables with contents), weight
//! root with its shape, entry and run-time dimensions, and all public values with their lengths.

use alloc::vec::Vec;

use mlc_circuit::{InputKind, Instance, Label};
use serde::{Deserialize, Serialize};

use crate::security::{Parameters, Schedule};
use crate::transcript::{Hash, Transcript};

/// Name and version of the protocol.
pub const PROTOCOL: &[u8] = b"mlc proof v1";

/// The public part of an inference.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Index of the entry.
    pub entry: u32,
    /// Values of the run-time dimensions.
    pub dims: Vec<u32>,
    /// Row-major integers of each input, in the circuit's order; empty for private inputs.
    pub inputs: Vec<Vec<i32>>,
    /// Row-major integers of each output.
    pub outputs: Vec<Vec<i32>>,
    /// What the cache is, for an entry with one.
    pub cache: Option<Cache>,
}

/// The commitments to the cache that one link of a chain reads and extends (docs/protocol/cache.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// What earlier links have appended, in their order.
    pub read: Vec<Piece>,
    /// The root of what this link appends.
    pub appended: Hash,
}

/// What one link has appended to the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its number of indices on the growing axes.
    pub len: u32,
    /// The root of their cells.
    pub root: Hash,
}

/// Why a statement does not fit its circuit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// A tensor has another number of values.
    #[error("{what} {index} has {found} values, the circuit has {expected} at these dimensions")]
    Length {
        /// "input" or "output".
        what: &'static str,
        /// Which.
        index: usize,
        /// In the statement.
        found: usize,
        /// In the circuit.
        expected: usize,
    },
    /// The number of tensors differs.
    #[error("the statement has {found} {what} tensors, the circuit has {expected}")]
    Count {
        /// "input" or "output".
        what: &'static str,
        /// In the statement.
        found: usize,
        /// In the circuit.
        expected: usize,
    },
    /// A cache is missing, or given to an entry that has none.
    #[error("the entry and the statement disagree on whether there is a cache")]
    Cache,
    /// A value is outside the range for which bounds are proved.
    #[error("{what} {index} has value {value} at position {at}, outside [{lo}, {hi}]")]
    Range {
        /// "input" or "output".
        what: &'static str,
        /// Which.
        index: usize,
        /// Position in the tensor.
        at: usize,
        /// The value.
        value: i32,
        /// Smallest allowed.
        lo: i32,
        /// Largest allowed.
        hi: i32,
    },
}

fn range(what: &'static str, index: usize, values: &[i32], lo: i32, hi: i32) -> Result<(), StatementError> {
    match values.iter().position(|v| !(lo..=hi).contains(v)) {
        Some(at) => Err(StatementError::Range {
            what,
            index,
            at,
            value: values[at],
            lo,
            hi,
        }),
        None => Ok(()),
    }
}

impl Statement {
    /// Lengths of the earlier links of the chain.
    pub fn links(&self) -> Vec<u32> {
        let read = self.cache.as_ref().map_or(&[][..], |c| &c.read);
        read.iter().map(|p| p.len).collect()
    }

    /// Checks lengths and ranges against an instance.
    pub fn check(&self, instance: &Instance<'_>) -> Result<(), StatementError> {
        let entry = &instance.entry;
        if self.cache.is_some() != instance.entry.grows() {
            return Err(StatementError::Cache);
        }
        let count = |what, found: usize, expected: usize| {
            if found == expected {
                Ok(())
            } else {
                Err(StatementError::Count { what, found, expected })
            }
        };
        count("input", self.inputs.len(), entry.inputs.len())?;
        count("output", self.outputs.len(), entry.outputs.len())?;
        let length = |what, index, found: usize, expected: usize| {
            if found == expected {
                Ok(())
            } else {
                Err(StatementError::Length {
                    what,
                    index,
                    found,
                    expected,
                })
            }
        };
        for (i, (values, input)) in self.inputs.iter().zip(&entry.inputs).enumerate() {
            let public = input.kind == InputKind::Public;
            length(
                "input",
                i,
                values.len(),
                if public { instance.inputs[i].iter().product() } else { 0 },
            )?;
            range("input", i, values, input.lo, input.hi)?;
        }
        for (i, values) in self.outputs.iter().enumerate() {
            length("output", i, values.len(), instance.outputs[i].iter().product())?;
            let (lo, hi) = match entry.outputs[i].label {
                Label::Index(scores) => (0, i32::try_from(scores).unwrap_or(i32::MAX).saturating_sub(1)),
                Label::None | Label::ArgMax => (1 - (1 << 30), (1 << 30) - 1),
            };
            range("output", i, values, lo, hi)?;
        }
        Ok(())
    }

    /// The transcript after move 0.
    pub fn transcript(&self, circuit_digest: &Hash, weights_root: Option<&Hash>, schedule: &Schedule) -> Transcript {
        let mut t = Transcript::new(PROTOCOL);
        let Parameters {
            term_bits,
            weights_log_inv_rate,
            witness_log_inv_rate,
        } = schedule.params;
        let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        t.absorb(&words(&[term_bits, weights_log_inv_rate, witness_log_inv_rate]));
        t.absorb(circuit_digest);
        match (weights_root, schedule.weights_tree) {
            (Some(root), Some(shape)) => {
                t.absorb(root);
                t.absorb(&words(&[shape.rows as u32, shape.log_cols, shape.log_inv_rate]));
            }
            _ => t.absorb(b"no weights"),
        }
        t.absorb(&words(&[self.entry]));
        t.absorb(&words(&self.dims));
        // Whether there is one is the entry's choice, and so part of the circuit's digest.
        if let Some(cache) = &self.cache {
            t.absorb(&words(&[cache.read.len() as u32]));
            for piece in &cache.read {
                t.absorb(&words(&[piece.len]));
                t.absorb(&piece.root);
            }
            t.absorb(&cache.appended);
        }
        for values in self.inputs.iter().chain(&self.outputs) {
            t.absorb(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        }
        t
    }
}
