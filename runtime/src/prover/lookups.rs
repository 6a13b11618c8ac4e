//! Moves 4 to 6, proving side. Mirrors `mlc_verifier::lookups`; used by inference and by setup.

use mlc_circuit::{Channel as TableChannel, ChannelKind, Instance, SiteRef, Source, bits_for};
use mlc_verifier::cells::{Fingerprint, claim_powers, mask_keys};
use mlc_verifier::commitment::TreeShape;
use mlc_verifier::field::{M31, QM31, eq_table, m31, powers};
use mlc_verifier::functional::{dense, mass};
use mlc_verifier::relations::ReadClaim;
use mlc_verifier::security::Grinding;
use num_traits::{One, Zero};

use super::cells;
use super::channel::ProverChannel;
use super::inference::label;
use super::logup;
use super::sumcheck::{self, Axis, Grind, Rounds, Summand};
use super::vector::CommittedVector;
use crate::backend::{Backend, Operand};

/// What the lookups run over.
pub struct Lookups<'a, 'c, B: Backend> {
    /// The device.
    pub backend: &'a B,
    /// Sites, tables and channels.
    pub instance: &'a Instance<'c>,
    /// Nonce bits.
    pub grinding: &'a Grinding,
    /// The channels' tree.
    pub shape: TreeShape,
    /// A site's keys as executed, row-major.
    pub keys: &'a (dyn Fn(SiteRef) -> &'a [i32] + Sync),
    /// A site's keys as the committed cells have them, row-major.
    pub committed_keys: &'a (dyn Fn(SiteRef) -> Vec<M31> + Sync),
    /// The statement's inputs, for masks.
    pub inputs: &'a [Vec<i32>],
    /// Per segment, what is added to a cell to make its key; empty for none.
    pub shifts: &'a [i32],
}

/// Where the lookups end.
pub struct LookupEnd<B: Backend> {
    /// The committed channels.
    pub channels: CommittedVector<B>,
    /// The challenges of move 5.
    pub fingerprint: Fingerprint,
    /// Point of the leaves.
    pub zeta: Vec<QM31>,
    /// `eq(ζ, ·)` over the leaves.
    pub eq_zeta: Vec<QM31>,
    /// The claim on the cells that hold keys.
    pub keys: QM31,
    /// Point of the table sumcheck.
    pub xi: Vec<QM31>,
}

/// Weights of the claims on the lookups of a site, by column.
type SiteWeights = Vec<((SiteRef, u8), Vec<QM31>)>;

impl<B: Backend> Lookups<'_, '_, B> {
    fn grind(&self, bits: u32) -> Grind<'_> {
        Grind {
            bits,
            grinder: self.backend,
        }
    }

    /// Proves moves 4 (γ) to 6 for the claims with lookups.
    pub fn prove(&self, channel: &mut ProverChannel<'_>, reads: &[ReadClaim<'_>]) -> LookupEnd<B> {
        let (instance, backend, grind) = (self.instance, self.backend, self.grinding);
        channel.send_nonce("source claim batching", grind.sources, backend);
        let gamma = channel.transcript().draw();
        let gammas = claim_powers(gamma, reads.len());

        // Move 5.
        let span = tracing::info_span!("pushforward").entered();
        let weights = self.site_weights(reads, &gammas);
        let mut cells = vec![M31::zero(); instance.channel_cells];
        for c in &instance.channels {
            let values = self.pushforward(c, &weights);
            let used = if c.kind == ChannelKind::Multiplicity { 1 } else { 4 };
            for (v, value) in values.iter().enumerate() {
                for (j, &l) in value.to_m31_array().iter().take(used).enumerate() {
                    cells[c.cells_offset + j * values.len() + v] = l;
                }
            }
        }
        channel.tamper().base(label::CHANNEL_CELLS, &mut cells);
        let pushed = channels_of(instance, &cells);
        drop(span);
        let channels = CommittedVector::new(backend, cells, self.shape);
        channel.send_hash(label::CHANNELS_ROOT, channels.root());
        channel.send_nonce("lookup fingerprint", grind.lookups, backend);
        let drawn = channel.transcript().draw_many(3);
        let fingerprint = Fingerprint {
            alpha: drawn[0],
            eta: drawn[1],
            theta: drawn[2],
        };

        // Move 6: fractions.
        let span = tracing::info_span!("leaves").entered();
        let den = cells::denominators(instance, &fingerprint, self.committed_keys);
        let table_leaves = cells::table_leaves(instance, &fingerprint, &pushed);
        let num = self.numerators(&fingerprint, &weights, &table_leaves);
        drop(weights);
        drop(span);
        let leaf = {
            let _span = tracing::info_span!("logup", leaves = instance.leaves).entered();
            logup::prove(
                backend,
                channel,
                backend.ext(num),
                backend.ext(den),
                self.grind(grind.fractions),
            )
        };
        let span = tracing::info_span!("leaf claims").entered();
        let zeta = leaf.point;
        let eq_zeta = eq_table(&zeta, instance.leaves);
        let mut keys = QM31::zero();
        for s in &instance.sites {
            for (p, key) in s.layout.positions().into_iter().zip((self.committed_keys)(s.site)) {
                keys += eq_zeta[p] * key;
            }
        }
        keys -= mask_keys(instance, self.inputs, &zeta);
        for (s, &k) in instance.segments.iter().zip(self.shifts) {
            keys -= mass(s, &zeta) * m31(k.into());
        }
        let table_numerators =
            instance
                .tables
                .iter()
                .zip(&table_leaves)
                .fold(QM31::zero(), |acc, (&(_, offset), leaves)| {
                    acc + leaves
                        .iter()
                        .zip(&eq_zeta[offset..])
                        .fold(QM31::zero(), |a, (&l, &e)| a + l * e)
                });
        channel.send_ext(label::LEAF_CLAIMS, &[keys, table_numerators]);
        drop(span);

        let xi = self.tables(channel, &pushed);
        LookupEnd {
            channels,
            fingerprint,
            zeta,
            eq_zeta,
            keys,
            xi,
        }
    }

    /// Move 6: pushforwards against the public tables. Without columns there is nothing to sum.
    fn tables(&self, channel: &mut ProverChannel<'_>, pushed: &[Vec<QM31>]) -> Vec<QM31> {
        let (instance, backend) = (self.instance, self.backend);
        if instance.column_cells == 0 {
            return Vec::new();
        }
        let _span = tracing::info_span!("tables").entered();
        let mut columns = vec![QM31::zero(); instance.column_cells];
        let mut values = vec![M31::zero(); instance.column_cells];
        for (c, pushed) in instance.channels.iter().zip(pushed) {
            if let ChannelKind::Column(column) = c.kind {
                let table = &instance.table(c.table).columns[column as usize];
                columns[c.column_offset..c.column_offset + pushed.len()].copy_from_slice(pushed);
                values[c.column_offset..]
                    .iter_mut()
                    .zip(table)
                    .for_each(|(v, &t)| *v = m31(t.into()));
            }
        }
        let summand = Summand {
            coefficient: QM31::one(),
            axes: vec![Axis::of(instance.column_cells)],
            eq: Vec::new(),
            a: Operand::ext(backend.ext(columns)),
            b: Some(Operand::base(backend.base(values))),
            sum: None,
        };
        let rounds = Rounds {
            rounds: bits_for(instance.column_cells),
            degree: 2,
        };
        let run = sumcheck::prove_rounds(
            backend,
            channel,
            label::TABLE_ROUND,
            vec![summand],
            rounds,
            self.grind(self.grinding.tables),
        );
        channel.send_ext(label::COLUMN_CLAIM, &[run.finals[0].0]);
        run.point
    }

    /// Per (site, column): `Σ_i γ^i` times the claims' weights, row-major.
    fn site_weights(&self, reads: &[ReadClaim<'_>], gammas: &[QM31]) -> SiteWeights {
        let mut weights: SiteWeights = Vec::new();
        for (claim, &g) in reads.iter().zip(gammas) {
            for t in &claim.terms {
                let Source::Lookup { site, column } = t.source else {
                    continue;
                };
                let Some(s) = self.instance.site(site) else { continue };
                let scale = g * m31(t.coefficient.into());
                let part = dense(t.access, &t.weighting, &s.layout.shape);
                match weights.iter_mut().find(|w| w.0 == (site, column)) {
                    Some((_, acc)) => acc.iter_mut().zip(part).for_each(|(a, p)| *a += scale * p),
                    None => weights.push(((site, column), part.into_iter().map(|p| scale * p).collect())),
                }
            }
        }
        weights
    }

    /// The vector that a channel commits.
    fn pushforward(&self, channel: &TableChannel, weights: &SiteWeights) -> Vec<QM31> {
        let rows = self.instance.table(channel.table).rows();
        let mut out = vec![QM31::zero(); rows];
        let mut counts = vec![0u32; rows];
        for s in self.instance.sites.iter().filter(|s| s.table == channel.table) {
            let keys = (self.keys)(s.site);
            match channel.kind {
                ChannelKind::Multiplicity if s.ranged => {
                    for &k in keys {
                        if let Some(c) = counts.get_mut(k as usize) {
                            *c += 1;
                        }
                    }
                }
                ChannelKind::Multiplicity => {}
                ChannelKind::Column(column) => {
                    if let Some((_, w)) = weights.iter().find(|w| w.0 == (s.site, column)) {
                        for (&k, &w) in keys.iter().zip(w) {
                            if let Some(o) = out.get_mut(k as usize) {
                                *o += w;
                            }
                        }
                    }
                }
            }
        }
        if channel.kind == ChannelKind::Multiplicity {
            out.iter_mut().zip(counts).for_each(|(o, c)| *o = M31::from(c).into());
        }
        out
    }

    /// The leaves' numerators.
    fn numerators(&self, f: &Fingerprint, weights: &SiteWeights, table_leaves: &[Vec<QM31>]) -> Vec<QM31> {
        let instance = self.instance;
        let thetas = powers(f.theta, 16);
        let mut out = vec![QM31::zero(); instance.leaves];
        for s in &instance.sites {
            let positions = s.layout.positions();
            for ((_, column), w) in weights.iter().filter(|w| w.0.0 == s.site) {
                if let Some(c) = instance.channel(s.table, ChannelKind::Column(*column)) {
                    let theta = thetas[c.theta as usize];
                    positions.iter().zip(w).for_each(|(&p, &w)| out[p] += theta * w);
                }
            }
            if s.ranged
                && let Some(c) = instance.channel(s.table, ChannelKind::Multiplicity)
            {
                positions.iter().for_each(|&p| out[p] += thetas[c.theta as usize]);
            }
        }
        for (&(_, offset), leaves) in instance.tables.iter().zip(table_leaves) {
            out[offset..].iter_mut().zip(leaves).for_each(|(o, &l)| *o = -l);
        }
        out
    }
}

/// The channels' vectors as committed.
fn channels_of(instance: &Instance<'_>, cells: &[M31]) -> Vec<Vec<QM31>> {
    instance
        .channels
        .iter()
        .map(|c| {
            let rows = instance.table(c.table).rows();
            let at = |j: usize, v: usize| cells[c.cells_offset + j * rows + v];
            (0..rows)
                .map(|v| match c.kind {
                    ChannelKind::Multiplicity => at(0, v).into(),
                    ChannelKind::Column(_) => QM31::from_m31(at(0, v), at(1, v), at(2, v), at(3, v)),
                })
                .collect()
        })
        .collect()
}
