//! What a proof will take, before it is made: from shapes alone.

use mlc_circuit::Circuit;
use mlc_compiler::lower;
use mlc_verifier::commitment::TreeShape;
use mlc_verifier::security::{Parameters, Schedule};
use serde_json::{Value, json};

use crate::error::CliError;

/// Predicted cost of a proof.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    /// Witness and channel cells.
    pub(crate) committed_cells: u64,
    /// Lookups.
    pub(crate) lookups: u64,
    /// Integer weights.
    pub(crate) weights: u64,
    /// Seconds to prove.
    pub(crate) prove_s: f64,
    /// Size of the proof.
    pub(crate) proof_bytes: u64,
    /// Memory at the peak.
    pub(crate) memory_bytes: u64,
    /// Bits of the soundness sum.
    pub(crate) security_bits: f64,
}

/// Bytes of the process before it does anything.
const BASE_BYTES: u64 = 24 << 20;

/// The cost of one proof of an entry at given dimensions.
pub(crate) fn predict(circuit: &Circuit, entry: usize, dims: &[u32]) -> Result<Cost, CliError> {
    let counts = lower::predict(circuit, entry, dims)?;
    let instance = circuit.instantiate(entry, dims)?;
    let schedule = Schedule::new(&instance, &Parameters::default()).map_err(CliError::refused)?;
    let cells = (counts.committed_cells + counts.channel_cells) as u64;
    let leaves = instance.leaves as u64;
    let weights = (schedule.weights.used_columns as u64) << schedule.weights.row_bits;
    let blow_up = |tree: &TreeShape| {
        // Message, codeword, and two 32-byte nodes for each column.
        (tree.rows as u64) * (1u64 << tree.log_cols) * 4 * (1 + (1u64 << tree.log_inv_rate))
            + (64u64 << (tree.log_cols + tree.log_inv_rate))
    };
    let witness: u64 = [schedule.witness, schedule.channels]
        .iter()
        .flatten()
        .map(blow_up)
        .sum();
    // The fraction tree keeps two extension elements for each leaf, and as much again above it; weights are held as
    // 16-bit integers and as field elements.
    let memory_bytes = BASE_BYTES + witness + leaves * 64 + cells * 8 + weights * 6;
    let grinding = schedule
        .terms
        .iter()
        .map(|t| (1u64 << t.pow_bits.min(40)) as f64)
        .sum::<f64>();
    // Beside the opening: rounds of the fraction tree, one more for each of its layers, and of the other sumchecks.
    let depth = u64::from(leaves.max(2).ilog2()) + 1;
    let rounds = depth * (depth + 1) / 2 + schedule.product_rounds as u64 + 2 * u64::from(cells.max(2).ilog2());
    let opening = schedule.opening.as_ref().map_or(0, |p| p.expected_bytes() as u64);
    Ok(Cost {
        committed_cells: cells,
        lookups: counts.lookups as u64,
        weights: counts.weight_values,
        // About 200 ns per cell and leaf, 1 ns per weight, 60 ns per hash of the proof of work.
        prove_s: (cells + leaves) as f64 * 200e-9 + weights as f64 * 1e-9 + grinding * 60e-9 + 2e-3,
        proof_bytes: opening + 48 * rounds + 64 * depth,
        memory_bytes,
        security_bits: schedule.total_bits(),
    })
}

impl Cost {
    /// As in `inspect`.
    pub(crate) fn json(&self) -> Value {
        json!({
            "committed_cells": self.committed_cells,
            "lookups": self.lookups,
            "weights": self.weights,
            "prove_s": self.prove_s,
            "proof_bytes": self.proof_bytes,
            "memory_bytes": self.memory_bytes,
            "security_bits": self.security_bits,
        })
    }
}
