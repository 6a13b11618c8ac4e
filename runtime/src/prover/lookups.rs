//! Moves 4 to 6, proving side. Mirrors `mlc_verifier::lookups`; used by inference and by setup.

use std::ops::Range;

use mlc_circuit::{Channel as TableChannel, ChannelKind, Instance, SiteRef, SiteShape, Source, bits_for};
use mlc_verifier::cells::{Fingerprint, claim_powers, mask_keys, tag};
use mlc_verifier::commitment::TreeShape;
use mlc_verifier::field::{M31, QM31, m31, powers};
use mlc_verifier::functional::eq_range;
use mlc_verifier::relations::ReadClaim;
use mlc_verifier::security::Grinding;
use num_traits::{One, Zero};

use super::cells;
use super::channel::ProverChannel;
use super::inference::label;
use super::logup;
use super::sumcheck::{self, Axis, Grind, Rounds, Summand};
use super::tensor::{Blocks, Order, Weights};
use super::vector::CommittedVector;
use crate::backend::fractions::{Denominators, LeafRun, Leaves, Numerators};
use crate::backend::{Backend, Operand};
use crate::schedule::journal::Kept;

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
    /// The keys that are counted and pushed forward.
    pub keys: Keys<'a>,
    /// The keys of all sites' leaves as the committed cells have them, by position: see [`leaf_keys`].
    pub committed_keys: &'a B::Base,
    /// The statement's inputs, for masks.
    pub inputs: &'a [Vec<i32>],
}

/// Where the keys of sites come from.
pub enum Keys<'a> {
    /// From an execution: per site, row-major.
    Executed(&'a (dyn Fn(SiteRef) -> &'a [i32] + Sync)),
    /// They are the committed ones; what is added to a cell of each segment to make its key.
    Committed(&'a [i32]),
}

impl Keys<'_> {
    /// What is added to a committed cell of a site to make its key.
    fn shift(&self, site: SiteRef) -> i32 {
        match (self, site) {
            (Self::Committed(shifts), SiteRef::Segment(s)) => shifts[s as usize],
            _ => 0,
        }
    }
}

/// Where the lookups end.
pub struct LookupEnd<B: Backend> {
    /// The committed channels.
    pub channels: CommittedVector<B>,
    /// The challenges of move 5.
    pub fingerprint: Fingerprint,
    /// Point of the leaves.
    pub zeta: Vec<QM31>,
    /// The claim on the cells that hold keys.
    pub keys: QM31,
    /// Point of the table sumcheck.
    pub xi: Vec<QM31>,
}

/// The parts of a [`LookupEnd`] as they are kept: the committed cells; α, η, θ and the keys' claim; ζ and ξ.
type KeptEnd = (Vec<M31>, (Vec<QM31>, (Vec<QM31>, Vec<QM31>)));

impl<B: Backend> LookupEnd<B> {
    /// Writes what a journal keeps of it.
    pub fn keep(&self, out: &mut Vec<u8>) {
        let Fingerprint { alpha, eta, theta } = self.fingerprint;
        self.channels.cells.write(out);
        vec![alpha, eta, theta, self.keys].write(out);
        self.zeta.write(out);
        self.xi.write(out);
    }

    /// The same from what was kept; the channels are committed again.
    pub fn restore(backend: &B, (cells, (scalars, (zeta, xi))): KeptEnd, shape: TreeShape) -> Self {
        let scalar = |i: usize| scalars.get(i).copied().unwrap_or_default();
        Self {
            channels: CommittedVector::new(backend, cells, shape),
            fingerprint: Fingerprint {
                alpha: scalar(0),
                eta: scalar(1),
                theta: scalar(2),
            },
            zeta,
            keys: scalar(3),
            xi,
        }
    }
}

/// Weights of the claims on the lookups of a site, by column, in the order of the site's leaves.
type SiteWeights<B> = Vec<((SiteRef, u8), ColumnWeights<B>)>;

enum ColumnWeights<B: Backend> {
    /// One per leaf: where there are many claims.
    Dense(B::Ext),
    /// Not written out.
    Blocks(Blocks<B>),
}

/// Up to this many claims on a site are kept as products.
const FEW_CLAIMS: usize = 2;

/// Leaves that are pushed forward at once: many times what a table has of rows, for which each push starts from zeros.
const PUSHED: usize = 1 << 18;

/// The keys of all sites by position, zero between them; `fill` writes a site's, in the order of its leaves.
pub fn leaf_keys(instance: &Instance<'_>, mut fill: impl FnMut(&SiteShape, &mut [M31])) -> Vec<M31> {
    let end = instance.sites.iter().map(|s| s.layout.offset + s.layout.len()).max();
    let mut out = vec![M31::zero(); end.unwrap_or(0)];
    for s in &instance.sites {
        fill(s, &mut out[s.layout.offset..s.layout.offset + s.layout.len()]);
    }
    out
}

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
        let table_leaves = cells::table_leaves(instance, &fingerprint, &pushed);
        let most_rows = instance.tables.iter().map(|&(t, _)| instance.table(t).rows()).max();
        let rows = backend.base((0..most_rows.unwrap_or(0) as u32).map(M31::from).collect());
        let negated: Vec<B::Ext> = table_leaves
            .iter()
            .map(|leaves| backend.ext(leaves.iter().map(|&l| -l).collect()))
            .collect();
        let leaves = self.leaves(&fingerprint, &weights, &rows, &negated);
        drop(span);
        let leaf = {
            let _span = tracing::info_span!("logup", leaves = instance.leaves).entered();
            logup::prove(backend, channel, &leaves, self.grind(grind.fractions))
        };
        drop(leaves);
        drop(weights);
        let span = tracing::info_span!("leaf claims").entered();
        let zeta = leaf.point;
        let mut keys = cells::inner_eq(backend, &zeta, self.committed_keys);
        keys -= mask_keys(instance, self.inputs, &zeta);
        let table_numerators =
            instance
                .tables
                .iter()
                .zip(&table_leaves)
                .fold(QM31::zero(), |acc, (&(_, offset), leaves)| {
                    acc + eq_range(&zeta, offset, leaves.len())
                        .iter()
                        .zip(leaves)
                        .fold(QM31::zero(), |a, (&e, &l)| a + l * e)
                });
        channel.send_ext(label::LEAF_CLAIMS, &[keys, table_numerators]);
        drop(span);

        let xi = self.tables(channel, &pushed);
        LookupEnd {
            channels,
            fingerprint,
            zeta,
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

    /// Terms of claims on the lookups of a site.
    fn claims_on(reads: &[ReadClaim<'_>], site: SiteRef) -> usize {
        let on = |s: &Source| matches!(s, Source::Lookup { site: on, .. } if *on == site);
        reads.iter().flat_map(|r| &r.terms).filter(|t| on(&t.source)).count()
    }

    /// Per (site, column): `Σ_i γ^i` times the claims' weights.
    fn site_weights(&self, reads: &[ReadClaim<'_>], gammas: &[QM31]) -> SiteWeights<B> {
        let backend = self.backend;
        let mut weights: SiteWeights<B> = Vec::new();
        for (claim, &g) in reads.iter().zip(gammas) {
            for t in &claim.terms {
                let Source::Lookup { site, column } = t.source else {
                    continue;
                };
                let Some(s) = self.instance.site(site) else { continue };
                let order = Order::of(&s.layout);
                let at = weights.iter().position(|w| w.0 == (site, column)).unwrap_or_else(|| {
                    let own = if Self::claims_on(reads, site) <= FEW_CLAIMS {
                        ColumnWeights::Blocks(Blocks::new(&order))
                    } else {
                        ColumnWeights::Dense(backend.constant(QM31::zero(), s.layout.len()))
                    };
                    weights.push(((site, column), own));
                    weights.len() - 1
                });
                let factor = g * m31(t.coefficient.into());
                let claim = Weights::new(t.access, &t.weighting, &s.layout.shape);
                let own = &mut weights[at].1;
                if let ColumnWeights::Blocks(blocks) = own
                    && !blocks.add(backend, &claim, factor, &order)
                {
                    *own = ColumnWeights::Dense(self.dense(blocks, 0..blocks.blocks.len()));
                }
                if let ColumnWeights::Dense(dense) = own {
                    claim.add_to(backend, factor, &order, dense, 0);
                }
            }
        }
        weights
    }

    /// The weights of some blocks written out, one per leaf.
    fn dense(&self, blocks: &Blocks<B>, range: Range<usize>) -> B::Ext {
        let mut out = self.backend.constant(QM31::zero(), blocks.len * range.len());
        for block in range.clone() {
            for term in blocks.numerators(block, QM31::one()) {
                let ones;
                let (outer, inner) = match &term {
                    Numerators::Outer { outer, inner } => (outer, *inner),
                    Numerators::Units { unit, values } => {
                        ones = self.backend.constant(QM31::one(), *unit);
                        (values, &ones)
                    }
                    Numerators::Constant(_) | Numerators::Scaled { .. } => continue,
                };
                self.backend
                    .add_outer(&mut out, (block - range.start) * blocks.len, outer, inner);
            }
        }
        out
    }

    /// The vector that a channel commits.
    fn pushforward(&self, channel: &TableChannel, weights: &SiteWeights<B>) -> Vec<QM31> {
        let rows = self.instance.table(channel.table).rows();
        let sites = self.instance.sites.iter().filter(|s| s.table == channel.table);
        match channel.kind {
            ChannelKind::Multiplicity => {
                let mut counts = vec![0u32; rows];
                for s in sites.filter(|s| s.ranged) {
                    let own = match &self.keys {
                        Keys::Executed(keys) => self.backend.histogram(keys(s.site), rows),
                        Keys::Committed(_) => {
                            let range = (s.layout.offset, s.layout.len());
                            let shift = self.keys.shift(s.site) as u32;
                            self.backend.count_cells(self.committed_keys, range, shift, rows)
                        }
                    };
                    counts.iter_mut().zip(own).for_each(|(c, n)| *c += n);
                }
                counts.into_iter().map(|c| M31::from(c).into()).collect()
            }
            ChannelKind::Column(column) => {
                let mut out = vec![QM31::zero(); rows];
                for s in sites {
                    let Some((_, w)) = weights.iter().find(|w| w.0 == (s.site, column)) else {
                        continue;
                    };
                    self.push(s, w, rows, &mut |pushed| {
                        out.iter_mut().zip(pushed).for_each(|(o, p)| *o += p);
                    });
                }
                out
            }
        }
    }

    /// Hands over the pushforwards whose sum is that of a site's weights, one after another: a tensor with an odd axis has
    /// thousands of blocks, and each pushforward is as long as the table.
    fn push(&self, s: &SiteShape, weights: &ColumnWeights<B>, rows: usize, add: &mut dyn FnMut(Vec<QM31>)) {
        let backend = self.backend;
        match (&self.keys, weights) {
            (Keys::Executed(keys), weights) => {
                let written;
                let weights = match weights {
                    ColumnWeights::Dense(weights) => weights,
                    ColumnWeights::Blocks(blocks) => {
                        written = self.dense(blocks, 0..blocks.blocks.len());
                        &written
                    }
                };
                add(backend.push_forward(&Order::of(&s.layout).arrange(keys(s.site)), weights, rows));
            }
            (Keys::Committed(_), weights) => {
                let shift = self.keys.shift(s.site) as u32;
                let push = |at: usize, len: usize, term: &Numerators<'_, B>| {
                    backend.push_cells(self.committed_keys, s.layout.offset + at, shift, term, (len, rows))
                };
                match weights {
                    ColumnWeights::Dense(values) => {
                        let scale = QM31::one();
                        add(push(0, s.layout.len(), &Numerators::Scaled { scale, values, from: 0 }));
                    }
                    // Small blocks are pushed together, their weights written out.
                    ColumnWeights::Blocks(blocks) if blocks.len < PUSHED => {
                        let count = blocks.blocks.len();
                        for first in (0..count).step_by(PUSHED / blocks.len) {
                            let range = first..count.min(first + PUSHED / blocks.len);
                            let values = &self.dense(blocks, range.clone());
                            let scale = QM31::one();
                            let len = blocks.len * range.len();
                            add(push(
                                first * blocks.len,
                                len,
                                &Numerators::Scaled { scale, values, from: 0 },
                            ));
                        }
                    }
                    ColumnWeights::Blocks(blocks) => {
                        for b in 0..blocks.blocks.len() {
                            for term in blocks.numerators(b, QM31::one()) {
                                add(push(b * blocks.len, blocks.len, &term));
                            }
                        }
                    }
                }
            }
        }
    }

    /// The leaves: `Σ θ^channel · weight / (α - key - η · tag)` for lookups, minus what is pushed forward over the same for
    /// the rows of tables. `rows` holds 0, 1, …, as many as the largest table has.
    fn leaves<'l>(
        &'l self,
        f: &Fingerprint,
        weights: &'l SiteWeights<B>,
        rows: &'l B::Base,
        table_leaves: &'l [B::Ext],
    ) -> Leaves<'l, B> {
        let instance = self.instance;
        let thetas = powers(f.theta, 16);
        let mut runs = Vec::new();
        for s in &instance.sites {
            let constant = f.alpha - f.eta * tag(s.table) - m31(self.keys.shift(s.site).into());
            let own: Vec<(QM31, &ColumnWeights<B>)> = (weights.iter().filter(|w| w.0.0 == s.site))
                .filter_map(|((_, column), w)| {
                    let channel = instance.channel(s.table, ChannelKind::Column(*column))?;
                    Some((thetas[channel.theta as usize], w))
                })
                .collect();
            let counted = instance
                .channel(s.table, ChannelKind::Multiplicity)
                .filter(|_| s.ranged)
                .map(|c| thetas[c.theta as usize]);
            // A run for each block, or one where no weights come in blocks.
            let len = own.iter().find_map(|(_, w)| match w {
                ColumnWeights::Blocks(blocks) => Some(blocks.len),
                ColumnWeights::Dense(_) => None,
            });
            let len = len.unwrap_or(s.layout.len());
            for block in 0..s.layout.len() / len {
                let mut num: Vec<Numerators<'_, B>> = counted.map(Numerators::Constant).into_iter().collect();
                for &(theta, w) in &own {
                    match w {
                        ColumnWeights::Dense(values) => num.push(Numerators::Scaled {
                            scale: theta,
                            values,
                            from: block * len,
                        }),
                        ColumnWeights::Blocks(blocks) => num.extend(blocks.numerators(block, theta)),
                    }
                }
                let at = s.layout.offset + block * len;
                runs.push(LeafRun {
                    at,
                    len,
                    den: Denominators::Keys {
                        constant,
                        keys: self.committed_keys,
                        from: at,
                    },
                    num,
                });
            }
        }
        for (&(table, at), values) in instance.tables.iter().zip(table_leaves) {
            runs.push(LeafRun {
                at,
                len: instance.table(table).rows(),
                den: Denominators::Keys {
                    constant: f.alpha - f.eta * tag(table),
                    keys: rows,
                    from: 0,
                },
                num: vec![Numerators::Scaled {
                    scale: QM31::one(),
                    values,
                    from: 0,
                }],
            });
        }
        runs.sort_by_key(|r| r.at);
        Leaves {
            len: instance.leaves,
            runs,
        }
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
