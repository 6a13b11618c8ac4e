//! The setup proof of a key, proving side. Mirrors `mlc_verifier::setup`.

use mlc_circuit::setup::{SetupCircuit, Sum, cell_layout};
use mlc_circuit::{Circuit, Instance, InstanceError, WeightLayout, bits_for};
use mlc_verifier::commitment::Claim;
use mlc_verifier::field::{M31, QM31, eq_table, m31, powers};
use mlc_verifier::relations::{linear_claim, output_bits, point_bits};
use mlc_verifier::security::{Parameters, ScheduleError};
use mlc_verifier::setup::{SetupSchedule, keys_functional, transcript};
use mlc_verifier::transcript::Hash;
use num_traits::{One, Zero};

use super::cells;
use super::channel::{ProverChannel, Tamper};
use super::commitment::{self, OpenTree, TreeStore};
use super::inference::merge_summand;
use super::lookups::{Keys, Lookups};
use super::sumcheck::{self, Grind, Rounds};
use crate::backend::Backend;
use crate::weights::IntWeights;

/// Labels of the messages that only a setup proof has.
pub mod label {
    /// The column sums of the weights that declare them.
    pub const COLUMN_SUMS: &str = "column sums";
    /// A round of the merge of channel claims.
    pub const MERGE_ROUND: &str = "setup merge round";
    /// The channels' value at its end.
    pub const MERGED_CHANNELS: &str = "merged channels";
}

/// Why there is no setup proof for a circuit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SetupProofError {
    /// The weights are too large.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The parameters are refused.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

/// What a setup proof is about.
pub struct SetupWeights<'a, B: Backend> {
    /// The weights, for their column sums.
    pub integers: &'a IntWeights,
    /// The cells whose keys are looked up: the committed ones, but for a cheating prover.
    pub keys: &'a B::Base,
    /// The committed cells.
    pub cells: &'a B::Base,
    /// Their tree.
    pub tree: &'a dyn TreeStore,
}

/// Proves that committed weights keep their bits and column sums.
pub fn prove<B: Backend>(
    backend: &B,
    circuit: &Circuit,
    digest: &Hash,
    params: &Parameters,
    weights: &SetupWeights<'_, B>,
    tamper: &mut dyn Tamper,
) -> Result<Vec<u8>, SetupProofError> {
    let layout = WeightLayout::new(circuit);
    let setup = SetupCircuit::new(circuit, &layout);
    let instance = setup.circuit.instantiate(0, &[])?;
    let schedule = SetupSchedule::new(&instance, &layout, params)?;
    let mut channel = ProverChannel::new(transcript(digest, &weights.tree.root(), &schedule, params), tamper);
    run(
        backend,
        circuit,
        &setup,
        &instance,
        &layout,
        &schedule,
        weights,
        &mut channel,
    );
    Ok(channel.into_proof())
}

#[allow(clippy::too_many_arguments)]
fn run<B: Backend>(
    backend: &B,
    circuit: &Circuit,
    setup: &SetupCircuit,
    instance: &Instance<'_>,
    layout: &WeightLayout,
    schedule: &SetupSchedule,
    weights: &SetupWeights<'_, B>,
    channel: &mut ProverChannel<'_>,
) {
    let grind = &schedule.grinding;
    for what in &setup.sums {
        // The padding's sums are zero and not sent.
        let Sum::Column { weight } = *what else { continue };
        let row = circuit.weights[weight].row_len as usize;
        let sum = |row: &[i16]| row.iter().map(|v| u64::from(v.unsigned_abs())).sum::<u64>();
        let sums: Vec<M31> = weights
            .integers
            .tensor(weight)
            .chunks_exact(row)
            .map(|r| m31(sum(r) as i64))
            .collect();
        channel.send_base(label::COLUMN_SUMS, &sums);
    }
    channel.send_nonce("column point", grind.output, backend);
    let rho = channel.transcript().draw_many(point_bits(instance));
    let reads: Vec<_> = instance
        .entry
        .equations
        .iter()
        .filter_map(|e| linear_claim(instance, e, &rho[..output_bits(instance, e)]))
        .collect();

    // The committed cells are the keys but for half their range: the padding of the contraction axis is the key of 0.
    let end = Lookups {
        backend,
        instance,
        grinding: grind,
        shape: schedule.channels,
        keys: Keys::Committed(&setup.shifts),
        committed_keys: weights.keys,
        inputs: &[],
    }
    .prove(channel, &reads);
    debug_assert!(
        layout
            .columns
            .iter()
            .zip(&instance.segments)
            .all(|(c, s)| cell_layout(c, layout.row_bits) == *s)
    );

    channel.send_nonce("channel claim batching", grind.merge, backend);
    let delta = channel.transcript().draw();
    let deltas = powers(delta, 2);
    let mut psi = vec![QM31::zero(); instance.channel_cells];
    cells::add_channels(
        instance,
        &end.fingerprint,
        &end.zeta,
        &end.xi,
        (deltas[0], deltas[1]),
        &mut psi,
    );
    let rounds = Rounds {
        rounds: bits_for(instance.channel_cells),
        degree: 2,
    };
    let summands = vec![merge_summand(backend, &end.channels, backend.ext(psi), QM31::one())];
    let merged = sumcheck::prove_rounds(
        backend,
        channel,
        label::MERGE_ROUND,
        summands,
        rounds,
        Grind {
            bits: grind.merge,
            grinder: backend,
        },
    );
    let value = merged.finals[0].0;
    channel.send_ext(label::MERGED_CHANNELS, &[value]);

    let point = end.channels.functional(&merged.point);
    let (columns, rows) = keys_functional(layout, &end.zeta);
    let trees = vec![
        end.channels.open(backend, &merged.point, &point, value),
        OpenTree {
            tree: weights.tree,
            folded: backend.fold_rows(weights.cells, &eq_table(rows, schedule.weights.rows)),
            claims: vec![Claim {
                functional: &columns,
                value: end.keys,
            }],
        },
    ];
    commitment::open(backend, channel, &schedule.opening, trees);
}
