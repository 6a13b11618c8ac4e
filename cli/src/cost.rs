//! What a proof will take, before it is made: an estimate from shapes alone.
//!
//! Cells, lookups, weights and security are exact. Bytes, seconds and memory are counts times the constants below. To
//! calibrate them again after a change of the prover: `mlc bench` (a release build on a machine with nothing else to do)
//! prints each measured figure with the predicted one beside it; change the constant of the stage that changed until the
//! ratios are near 1 for the smallest and the largest model alike. Nothing but what is shown depends on them.

use mlc_circuit::setup::SetupCircuit;
use mlc_circuit::{Circuit, Instance, WeightLayout};
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
    /// Memory at the peak, once there is a key.
    pub(crate) memory_bytes: u64,
    /// The same where weights stay in their file, each in memory while it is worked on.
    pub(crate) mapped_bytes: u64,
    /// Memory at the peak of making the key.
    pub(crate) setup_memory_bytes: u64,
    /// Bits of the soundness sum.
    pub(crate) security_bits: f64,
}

/// Bytes of the process before it does anything.
const BASE_BYTES: u64 = 22 << 20;
/// Held for each leaf of the fraction tree: two extension elements, and as much again above it.
const BYTES_PER_LEAF: u64 = 64;
/// Held for each committed cell beside its tree: the integer, its key, and its place in the merged claims.
const BYTES_PER_CELL: u64 = 8;
/// Held for each weight while proving: the 16-bit integer, the field element, and the pages of the weight file, which is
/// read through a map; of the codeword only the opened columns are.
const BYTES_PER_WEIGHT: u64 = 11;
/// Held for each weight while a key is made: the 16-bit integer and the field element.
const SETUP_BYTES_PER_WEIGHT: u64 = 6;
/// Nodes of the largest layer of the fraction tree that is stored, and what all layers take for each.
const STORED_NODES: u64 = 1 << 25;
/// See [`STORED_NODES`]: two extension elements, half of them above the largest layer.
const SETUP_BYTES_PER_NODE: u64 = 32;
/// Held for each column of the committed weights while proving from their file: the opening's vector, its codeword and tree,
/// and its functional twice.
const BYTES_PER_COLUMN: u64 = 112;
/// What is at work of the weights and read ahead, laid out, and folded; pages of the codeword; what the allocator keeps.
const TILE_BYTES: u64 = 10 << 20;
/// Held for each cell of the channels while proving: pushforwards as they are summed, committed and summed against the tables.
const BYTES_PER_CHANNEL_CELL: u64 = 70;
/// The same where memory goes back to the system at once.
const MAPPED_BYTES_PER_CHANNEL_CELL: u64 = 12;
/// Held while a key is made beside what is counted: the model's files and what reads them, while weights become integers.
const SETUP_SHARE: u64 = 5;
/// See [`SETUP_SHARE`]; of a small model, too.
const SETUP_LEAST: u64 = 128 << 20;
/// Time for each committed cell, and for each leaf: about four passes over extension elements, encoding, hashing.
const SECONDS_PER_CELL: f64 = 100e-9;
/// Time for each weight: two folds from memory.
const SECONDS_PER_WEIGHT: f64 = 1e-9;
/// Time for each hash of the proof of work.
const SECONDS_PER_HASH: f64 = 60e-9;
/// Time for what every proof has.
const SECONDS_PER_PROOF: f64 = 4e-3;
/// A round of a sumcheck of degree 3: three extension elements.
const BYTES_PER_ROUND: u64 = 48;
/// The end of a layer of the fraction tree: four extension elements.
const BYTES_PER_LAYER: u64 = 64;

/// The cost of one proof of an entry at given dimensions.
pub(crate) fn predict(circuit: &Circuit, entry: usize, dims: &[u32]) -> Result<Cost, CliError> {
    of(&circuit.instantiate(entry, dims)?)
}

/// The cost of the next link of a chain, of which the lengths of the earlier ones are given.
pub(crate) fn predict_link(circuit: &Circuit, entry: usize, dims: &[u32], links: &[u32]) -> Result<Cost, CliError> {
    of(&circuit.instantiate_link(entry, &circuit.dims_after(dims, links), links)?)
}

fn of(instance: &Instance<'_>) -> Result<Cost, CliError> {
    let circuit = instance.circuit;
    let counts = lower::predict(circuit, instance.entry_index, &instance.dims)?;
    let schedule = Schedule::new(instance, &Parameters::of(circuit)).map_err(CliError::refused)?;
    let cells = (counts.committed_cells + counts.channel_cells) as u64;
    let leaves = instance.leaves as u64;
    let weights = (schedule.weights.used_columns as u64) << schedule.weights.row_bits;
    let blow_up = |tree: &TreeShape| {
        // Message, codeword, and two 32-byte nodes for each column.
        (tree.rows as u64) * (1u64 << tree.log_cols) * 4 * (1 + (1u64 << tree.log_inv_rate))
            + (64u64 << (tree.log_cols + tree.log_inv_rate))
    };
    let witness: u64 = schedule.cells.iter().chain(&schedule.channels).map(blow_up).sum();
    let without_weights = BASE_BYTES + witness + leaves * BYTES_PER_LEAF + cells * BYTES_PER_CELL;
    let pushed = counts.channel_cells as u64 * BYTES_PER_CHANNEL_CELL;
    let memory_bytes = without_weights + pushed + weights * BYTES_PER_WEIGHT;
    // Memory goes back to the system: what the lookups took is there again for the opening.
    let columns = schedule.weights.used_columns as u64 * BYTES_PER_COLUMN;
    let at_once = (leaves * BYTES_PER_LEAF).max(columns);
    let back = counts.channel_cells as u64 * MAPPED_BYTES_PER_CHANNEL_CELL;
    let held = BASE_BYTES + witness + cells * BYTES_PER_CELL + back;
    let mapped_bytes = (held + at_once + TILE_BYTES).min(memory_bytes);
    let setup_memory_bytes = match &schedule.weights_tree {
        Some(tree) => {
            let setup = SetupCircuit::new(circuit, &WeightLayout::new(circuit)).circuit;
            let leaves = setup.instantiate(0, &[])?.leaves as u64;
            // One block of the codeword and the tree; later the layers that are stored, and a vector per column.
            let block = (4 * tree.rows as u64) << tree.log_cols;
            let nodes = 64u64 << (tree.log_cols + tree.log_inv_rate);
            let layers = leaves.next_power_of_two().min(2 * STORED_NODES) * SETUP_BYTES_PER_NODE;
            let counted = BASE_BYTES + weights * SETUP_BYTES_PER_WEIGHT + nodes + block.max(layers);
            counted + (counted / SETUP_SHARE).max(SETUP_LEAST)
        }
        None => BASE_BYTES,
    };
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
        prove_s: (cells + leaves) as f64 * SECONDS_PER_CELL
            + weights as f64 * SECONDS_PER_WEIGHT
            + grinding * SECONDS_PER_HASH
            + SECONDS_PER_PROOF,
        proof_bytes: opening + BYTES_PER_ROUND * rounds + BYTES_PER_LAYER * depth,
        memory_bytes,
        mapped_bytes,
        setup_memory_bytes,
        security_bits: schedule.total_bits(),
    })
}

impl Cost {
    /// This cost with the memory of whichever takes more.
    pub(crate) fn at_most(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            mapped_bytes: self.mapped_bytes.max(other.mapped_bytes),
            ..self
        }
    }

    /// As in `inspect`.
    pub(crate) fn json(&self) -> Value {
        json!({
            "committed_cells": self.committed_cells,
            "lookups": self.lookups,
            "weights": self.weights,
            "prove_s": self.prove_s,
            "proof_bytes": self.proof_bytes,
            "memory_bytes": self.memory_bytes,
            "setup_memory_bytes": self.setup_memory_bytes,
            "security_bits": self.security_bits,
        })
    }
}
