//! What a circuit costs, before it is run: committed cells, lookups, table rows.
//!
//! The counts are exact at the given dimensions; times and sizes follow from them in `mlc inspect`.

use mlc_circuit::{Circuit, InstanceError};
use serde::Serialize;

/// Costs of one entry at given run-time dimensions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Cells of the witness tree, gaps of its layout included.
    pub committed_cells: usize,
    /// Lookups: cells with a table, and virtual ones.
    pub lookups: usize,
    /// Rows of all tables used.
    pub table_rows: usize,
    /// Base field cells committed after the claims: multiplicities and pushforwards.
    pub channel_cells: usize,
    /// Integer multiplications of products with weights and between values.
    pub multiplications: u64,
    /// Values of committed weights.
    pub weight_values: u64,
}

/// Costs of entry number `entry` at run-time dimensions `dims`.
pub fn predict(circuit: &Circuit, entry: usize, dims: &[u32]) -> Result<Cost, InstanceError> {
    let instance = circuit.instantiate(entry, dims)?;
    let size = |axes: &[mlc_circuit::Len]| instance.lens(axes).iter().map(|n| *n as u64).product::<u64>();
    let multiplications = instance
        .entry
        .equations
        .iter()
        .map(|q| size(&q.out) * q.products.iter().map(|p| size(&p.group)).sum::<u64>())
        .sum();
    let weight_values = circuit
        .weights
        .iter()
        .map(|w| w.outer.iter().map(|n| u64::from(*n)).product::<u64>() * u64::from(w.row_len))
        .sum();
    Ok(Cost {
        committed_cells: instance.cells(),
        lookups: instance.lookups(),
        table_rows: instance
            .tables
            .iter()
            .map(|(t, _)| circuit.tables[*t as usize].rows())
            .sum(),
        channel_cells: instance.channel_cells,
        multiplications,
        weight_values,
    })
}
