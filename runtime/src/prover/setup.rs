//! The setup proof of a key, proving side. Mirrors `mlc_verifier::setup`.

use mlc_circuit::setup::{SetupCircuit, Sum, cell_layout};
use mlc_circuit::{Circuit, Instance, InstanceError, SiteRef, WeightLayout, bits_for};
use mlc_verifier::commitment::Claim;
use mlc_verifier::field::{M31, QM31, eq_table, m31, powers};
use mlc_verifier::relations::{linear_claim, output_bits, point_bits};
use mlc_verifier::security::{Parameters, ScheduleError};
use mlc_verifier::setup::{SetupSchedule, keys_functional, transcript};
use mlc_verifier::transcript::Hash;
use num_traits::{One, Zero};
use rayon::prelude::*;

use super::cells;
use super::channel::{ProverChannel, Tamper};
use super::commitment::{self, OpenTree, TreeStore};
use super::inference::merge_summand;
use super::lookups::{Lookups, leaf_keys};
use super::sumcheck::{self, Grind, Rounds};
use super::tensor::Order;
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

/// Proves that committed weights keep their bits and column sums. `cells` and `tree` are their commitment.
#[allow(clippy::too_many_arguments)]
pub fn prove<B: Backend>(
    backend: &B,
    circuit: &Circuit,
    digest: &Hash,
    params: &Parameters,
    integers: &IntWeights,
    cells: &B::Base,
    tree: &dyn TreeStore,
    tamper: &mut dyn Tamper,
) -> Result<Vec<u8>, SetupProofError> {
    let layout = WeightLayout::new(circuit);
    let setup = SetupCircuit::new(circuit, &layout);
    let instance = setup.circuit.instantiate(0, &[])?;
    let schedule = SetupSchedule::new(&instance, &layout, params)?;
    let mut channel = ProverChannel::new(transcript(digest, &tree.root(), &schedule, params), tamper);
    run(
        backend,
        circuit,
        &setup,
        &instance,
        &layout,
        &schedule,
        integers,
        cells,
        tree,
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
    integers: &IntWeights,
    cells: &B::Base,
    tree: &dyn TreeStore,
    channel: &mut ProverChannel<'_>,
) {
    let grind = &schedule.grinding;
    for what in &setup.sums {
        // The padding's sums are zero and not sent.
        let Sum::Column { weight } = *what else { continue };
        let row = circuit.weights[weight].row_len as usize;
        let sum = |row: &[i16]| row.iter().map(|v| u64::from(v.unsigned_abs())).sum::<u64>();
        let sums: Vec<M31> = integers.tensors()[weight]
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

    // Keys: weights shifted by half their range, the padding of the contraction axis included.
    let keys: Vec<Vec<i32>> = (0..circuit.weights.len())
        .map(|w| {
            let row_len = circuit.weights[w].row_len as usize;
            let padded = row_len.next_multiple_of(1 << layout.row_bits);
            let shift = setup.shifts[w];
            let mut out = vec![shift; integers.tensors()[w].len() / row_len * padded];
            for (to, from) in out
                .chunks_exact_mut(padded)
                .zip(integers.tensors()[w].chunks_exact(row_len))
            {
                to.iter_mut().zip(from).for_each(|(t, &f)| *t += i32::from(f));
            }
            out
        })
        .collect();
    let key = |site: SiteRef| -> &[i32] {
        match site {
            SiteRef::Segment(s) => &keys[s as usize],
            SiteRef::Virtual(_) => &[],
        }
    };
    let leaf_keys = leaf_keys(instance, |s, out| {
        let keys = Order::of(&s.layout).arrange(key(s.site));
        out.par_iter_mut().zip(&keys[..]).for_each(|(o, &k)| *o = m31(k.into()));
    });
    let leaf_keys = backend.base(leaf_keys);
    let end = Lookups {
        backend,
        instance,
        grinding: grind,
        shape: schedule.channels,
        keys: &key,
        committed_keys: &leaf_keys,
        inputs: &[],
        shifts: &setup.shifts,
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
            tree,
            folded: backend.fold_rows(cells, &eq_table(rows, schedule.weights.rows)),
            claims: vec![Claim {
                functional: &columns,
                value: end.keys,
            }],
        },
    ];
    commitment::open(backend, channel, &schedule.opening, trees);
}
