//! The proof of an inference, proving side. Mirrors `mlc_verifier::inference` move by move.

use std::sync::Arc;

use mlc_circuit::{
    Channel as TableChannel, ChannelKind, Equation, InputKind, Instance, Left, Operand as Factor, SiteRef, Source,
    bits_for,
};
use mlc_verifier::cells::{Fingerprint, claim_powers};
use mlc_verifier::commitment::{Claim, EqPoint};
use mlc_verifier::field::{M31, QM31, eq_table, m31, powers};
use mlc_verifier::functional::{dense, split_point};
use mlc_verifier::relations::{
    BoundProduct, ProductShape, ReadClaim, Side, WeightClaim, alignment, free_mass, linear_claim, output_bits,
};
use mlc_verifier::security::Schedule;
use mlc_verifier::statement::Statement;
use mlc_verifier::transcript::Hash;
use num_traits::{One, Zero};

use super::cells;
use super::channel::{ProverChannel, Tamper};
use super::commitment::{self, OpenTree, TreeStore};
use super::logup;
use super::relations::{Sources, factor};
use super::sumcheck::{self, Axis, Grind, Rounds, Summand};
use crate::backend::{Backend, Operand};
use crate::exec::Execution;
use crate::weights::IntWeights;

/// Labels of the prover's messages, for soundness tests.
pub mod label {
    /// The witness cells before their commitment.
    pub const WITNESS_CELLS: &str = "witness cells";
    /// Move 1.
    pub const WITNESS_ROOT: &str = "witness root";
    /// Move 2: the value of an equation's left side at the output point.
    pub const CELL_CLAIM: &str = "cell claim";
    /// Move 2: the value of an equation's linear reads at the output point.
    pub const READ_CLAIM: &str = "read claim";
    /// Move 3.
    pub const PRODUCT_ROUND: &str = "product round";
    /// Move 4: the value of a factor that is read.
    pub const OPERAND_CLAIM: &str = "operand claim";
    /// Move 4: the value of a weight.
    pub const WEIGHT_CLAIM: &str = "weight claim";
    /// The pushforward cells before their commitment.
    pub const CHANNEL_CELLS: &str = "channel cells";
    /// Move 5.
    pub const CHANNELS_ROOT: &str = "channels root";
    /// Move 6: keys and table numerators at the leaves' point.
    pub const LEAF_CLAIMS: &str = "leaf claims";
    /// Move 6.
    pub const TABLE_ROUND: &str = "table round";
    /// Move 6: the columns' value at the end of the table sumcheck.
    pub const COLUMN_CLAIM: &str = "column claim";
    /// Move 7.
    pub const MERGE_ROUND: &str = "merge round";
    /// Move 7: the cells' values at its end.
    pub const MERGED_CELLS: &str = "merged cells";
}

/// The committed weights, as a prover holds them.
pub struct CommittedWeights<'a, B: Backend> {
    /// The integers.
    pub integers: &'a IntWeights,
    /// The committed cells, column-major; absent for a circuit without weights.
    pub cells: Option<&'a B::Base>,
    /// Their tree.
    pub tree: Option<&'a dyn TreeStore>,
}

/// Proves that `execution` is the run of `statement`. Everything is checked by the verifier; a wrong execution gives a
/// proof that is refused.
pub fn prove<B: Backend>(
    backend: &B,
    instance: &Instance<'_>,
    schedule: &Schedule,
    digest: &Hash,
    weights: &CommittedWeights<'_, B>,
    statement: &Statement,
    execution: &Execution,
    tamper: &mut dyn Tamper,
) -> Vec<u8> {
    let root = weights.tree.map(|t| t.root());
    let mut channel = ProverChannel::new(statement.transcript(digest, root.as_ref(), schedule), tamper);
    let mut run = Run {
        backend,
        instance,
        schedule,
        weights,
        statement,
        tables: Tables::new(instance, execution),
        execution,
    };
    run.prove(&mut channel);
    channel.into_proof()
}

/// Values of the sources, looked up once.
struct Tables {
    /// Per (site, column): the looked-up values, row-major.
    lookups: Vec<((SiteRef, u8), Vec<i32>)>,
}

impl Tables {
    fn new(instance: &Instance<'_>, execution: &Execution) -> Self {
        let mut lookups = Vec::new();
        for s in &instance.sites {
            let table = instance.table(s.table);
            let keys = keys(execution, s.site);
            for c in instance.channels.iter().filter(|c| c.table == s.table) {
                if let ChannelKind::Column(column) = c.kind {
                    let values = keys
                        .iter()
                        .map(|&k| table.columns[column as usize].get(k as usize).copied().unwrap_or(0));
                    lookups.push(((s.site, column), values.collect()));
                }
            }
        }
        Self { lookups }
    }
}

fn keys(execution: &Execution, site: SiteRef) -> &[i32] {
    match site {
        SiteRef::Segment(s) => &execution.segments[s as usize],
        SiteRef::Virtual(s) => &execution.virtual_sites[s as usize],
    }
}

struct Run<'r, 'c, B: Backend> {
    backend: &'r B,
    instance: &'r Instance<'c>,
    schedule: &'r Schedule,
    weights: &'r CommittedWeights<'r, B>,
    statement: &'r Statement,
    execution: &'r Execution,
    tables: Tables,
}

impl<B: Backend> Sources for Run<'_, '_, B> {
    fn values(&self, source: Source) -> (&[i32], &[usize]) {
        match source {
            Source::Input(i) => (&self.statement.inputs[i as usize], &self.instance.inputs[i as usize]),
            Source::Lookup { site, column } => {
                let values = self
                    .tables
                    .lookups
                    .iter()
                    .find(|l| l.0 == (site, column))
                    .map_or(&[][..], |l| &l.1);
                (values, self.instance.site(site).map_or(&[][..], |s| &s.layout.shape))
            }
        }
    }

    fn weight(&self, weight: u16) -> &[i16] {
        &self.weights.integers.tensors()[weight as usize]
    }
}

/// A committed vector with its tree.
struct Committed<B: Backend> {
    cells: Vec<M31>,
    tree: commitment::Committed,
    matrix: B::Base,
}

impl<'c, B: Backend> Run<'_, 'c, B> {
    fn grind(&self, bits: u32) -> Grind<'_> {
        Grind {
            bits,
            grinder: self.backend,
        }
    }

    /// Commits a flat vector as the matrix with entry (row, col) = cells[row · 2^log_cols + col].
    fn commit(&self, cells: Vec<M31>, shape: mlc_verifier::commitment::TreeShape) -> Committed<B> {
        let _span = tracing::info_span!("commit", cells = cells.len()).entered();
        let (rows, cols) = (shape.rows, shape.cols());
        let mut matrix = vec![M31::zero(); rows * cols];
        for (row, part) in cells.chunks(cols).enumerate() {
            for (col, &c) in part.iter().enumerate() {
                matrix[col * rows + row] = c;
            }
        }
        let matrix = self.backend.base(matrix);
        let tree = commitment::commit(self.backend, &matrix, shape);
        Committed { cells, tree, matrix }
    }

    fn prove(&mut self, channel: &mut ProverChannel<'_>) {
        let (instance, schedule, backend) = (self.instance, self.schedule, self.backend);
        let grind = &schedule.grinding;
        let equations = &instance.entry.equations;

        // Move 1.
        let witness = schedule.witness.map(|shape| {
            let mut cells = vec![M31::zero(); instance.cells];
            for (layout, values) in instance.segments.iter().zip(&self.execution.segments) {
                for (p, &v) in layout.positions().into_iter().zip(values) {
                    cells[p] = m31(v.into());
                }
            }
            channel.tamper().base(label::WITNESS_CELLS, &mut cells);
            let committed = self.commit(cells, shape);
            channel.send_hash(label::WITNESS_ROOT, committed.tree.root());
            committed
        });
        channel.send_nonce("output point", grind.output, backend);
        let rho_all = channel.transcript().draw_many(schedule.point_bits);

        // Move 2.
        let claims_span = tracing::info_span!("claims").entered();
        let mut cell_claims: Vec<&'c Equation> = Vec::new();
        let mut reads: Vec<ReadClaim<'c>> = Vec::new();
        for e in equations {
            let rho = &rho_all[..output_bits(instance, e)];
            if let Left::Cells(cells) = &e.left {
                let weights = cells::output_weights(instance, e, rho);
                let value = cells.iter().fold(QM31::zero(), |acc, (k, s)| {
                    acc + inner(&weights, &self.execution.segments[*s as usize]) * m31(*k)
                });
                channel.send_ext(label::CELL_CLAIM, &[value]);
                cell_claims.push(e);
            }
            if let Some(claim) = linear_claim(instance, e, rho)
                && claim.looked_up()
            {
                if !e.products.is_empty() {
                    channel.send_ext(label::READ_CLAIM, &[self.claim_value(&claim)]);
                }
                reads.push(claim);
            }
        }
        drop(claims_span);

        // Move 3.
        channel.send_nonce("equation batching", grind.output, backend);
        let beta = channel.transcript().draw();
        let betas = powers(beta, equations.len());
        let factors_span = tracing::info_span!("factors").entered();
        let mut summands = Vec::new();
        for (e, &b) in equations.iter().zip(&betas) {
            let rho = &rho_all[..output_bits(instance, e)];
            let points = split_point(rho, &instance.out(e))
                .into_iter()
                .map(<[QM31]>::to_vec)
                .collect::<Vec<_>>();
            for p in &e.products {
                let shape = ProductShape::new(instance, e, p);
                let upload = |v: Vec<QM31>| Operand::ext(backend.ext(v));
                let a = factor(instance, e, p, Side::A, rho, self).map(upload);
                let b_side = factor(instance, e, p, Side::B, rho, self).map(upload);
                let ones = || {
                    upload(vec![
                        QM31::one();
                        shape.shared.iter().product::<usize>() * shape.contraction()
                    ])
                };
                let (a, b_side) = match (a, b_side) {
                    (Some(a), b) => (a, b),
                    (None, Some(b)) => (b, None),
                    (None, None) => (ones(), None),
                };
                let axes = shape
                    .shared
                    .iter()
                    .copied()
                    .chain([shape.contraction()])
                    .map(Axis::of)
                    .collect();
                summands.push(Summand {
                    coefficient: b * alignment(p.coefficient, shape.bits()) * free_mass(instance, e, p, rho),
                    axes,
                    eq: p
                        .shared
                        .iter()
                        .flat_map(|&s| points[s as usize].iter().copied())
                        .collect(),
                    a,
                    b: b_side,
                    sum: None,
                });
            }
        }
        drop(factors_span);
        let rounds = schedule.product_rounds;
        let proved = {
            let _span = tracing::info_span!("products").entered();
            let shape = Rounds {
                rounds,
                degree: schedule.product_degree,
            };
            sumcheck::prove_rounds(
                backend,
                channel,
                label::PRODUCT_ROUND,
                summands,
                shape,
                self.grind(grind.products),
            )
        };
        let row_point = &proved.point[rounds - rounds.min(schedule.weights.row_bits as usize)..];

        // Move 4.
        let mut weight_claims: Vec<(WeightClaim, QM31)> = Vec::new();
        let mut finals = proved.finals.iter();
        for e in equations {
            let rho = &rho_all[..output_bits(instance, e)];
            for p in &e.products {
                let bits = ProductShape::new(instance, e, p).bits();
                let bound = BoundProduct {
                    instance,
                    equation: e,
                    product: p,
                    rho,
                    tau: &proved.point[rounds - bits..],
                };
                let Some(&(first, second)) = finals.next() else {
                    continue;
                };
                for side in [Side::A, Side::B] {
                    // Where A is the constant 1, the sumcheck's first vector is B.
                    let value = match (side, &p.a) {
                        (Side::B, Factor::One) | (Side::A, _) => first,
                        (Side::B, _) => second,
                    };
                    match side.of(p) {
                        Factor::One => {}
                        Factor::Reads(_) => {
                            if let Some(claim) = bound.operand_claim(side)
                                && claim.looked_up()
                            {
                                channel.send_ext(label::OPERAND_CLAIM, &[value]);
                                reads.push(claim);
                            }
                        }
                        Factor::Weight { .. } => {
                            if let Some(claim) = bound.weight_claim(side, &schedule.weights) {
                                channel.send_ext(label::WEIGHT_CLAIM, &[value]);
                                let folded = claim.folded_value(value, row_point);
                                weight_claims.push((claim, folded));
                            }
                        }
                    }
                }
            }
        }

        // Moves 5 to 7.
        let merged = match (witness, schedule.channels) {
            (Some(witness), Some(shape)) => Some(self.lookups(channel, witness, shape, &rho_all, &cell_claims, &reads)),
            _ => None,
        };

        // Move 8.
        let Some(plan) = &schedule.opening else { return };
        let _span = tracing::info_span!("opening").entered();
        let points: Vec<(&Committed<B>, &[QM31], QM31)> = merged
            .iter()
            .flat_map(|m| m.iter().map(|(c, p, v)| (c, &p[..], *v)))
            .collect();
        let functionals: Vec<EqPoint> = points
            .iter()
            .map(|(c, p, _)| EqPoint(p[p.len() - c.tree.shape().log_cols as usize..].to_vec()))
            .collect();
        let mut trees = Vec::new();
        for ((committed, point, value), functional) in points.iter().zip(&functionals) {
            let shape = committed.tree.shape();
            let coeffs = eq_table(&point[..point.len() - shape.log_cols as usize], shape.rows);
            trees.push(OpenTree {
                tree: &committed.tree,
                folded: backend.fold_rows(&committed.matrix, &coeffs),
                claims: vec![Claim {
                    functional,
                    value: *value,
                }],
            });
        }
        if let (Some(tree), Some(cells)) = (self.weights.tree, self.weights.cells) {
            let coeffs = eq_table(row_point, tree.shape().rows);
            let claims = weight_claims
                .iter()
                .map(|(f, value)| Claim {
                    functional: f,
                    value: *value,
                })
                .collect();
            trees.push(OpenTree {
                tree,
                folded: backend.fold_rows(cells, &coeffs),
                claims,
            });
        }
        commitment::open(backend, channel, plan, trees);
    }

    /// The value of a read claim.
    fn claim_value(&self, claim: &ReadClaim<'_>) -> QM31 {
        claim.terms.iter().fold(QM31::zero(), |acc, t| {
            let (values, shape) = self.values(t.source);
            acc + inner(&dense(t.access, &t.weighting, shape), values) * m31(t.coefficient.into())
        })
    }

    /// Moves 5 to 7: for the witness and for the pushforwards, the committed vector, its point and its value there.
    fn lookups(
        &self,
        channel: &mut ProverChannel<'_>,
        witness: Committed<B>,
        shape: mlc_verifier::commitment::TreeShape,
        rho_all: &[QM31],
        cell_claims: &[&Equation],
        reads: &[ReadClaim<'_>],
    ) -> [(Committed<B>, Vec<QM31>, QM31); 2] {
        let (instance, backend, schedule) = (self.instance, self.backend, self.schedule);
        let grind = &schedule.grinding;
        channel.send_nonce("source claim batching", grind.sources, backend);
        let gamma = channel.transcript().draw();
        let gammas = claim_powers(gamma, reads.len());

        // Move 5.
        let push_span = tracing::info_span!("pushforward").entered();
        // Per (site, column channel): the claims' weights on its lookups, row-major.
        let mut weights: Vec<((SiteRef, u8), Vec<QM31>)> = Vec::new();
        for (claim, &g) in reads.iter().zip(&gammas) {
            for t in &claim.terms {
                let Source::Lookup { site, column } = t.source else {
                    continue;
                };
                let Some(s) = instance.site(site) else { continue };
                let scale = g * m31(t.coefficient.into());
                let part = dense(t.access, &t.weighting, &s.layout.shape);
                match weights.iter_mut().find(|w| w.0 == (site, column)) {
                    Some((_, acc)) => acc.iter_mut().zip(part).for_each(|(a, p)| *a += scale * p),
                    None => weights.push(((site, column), part.into_iter().map(|p| scale * p).collect())),
                }
            }
        }
        let channels: Vec<Vec<QM31>> = instance
            .channels
            .iter()
            .map(|c| self.pushforward(c, &weights))
            .collect();
        let mut cells = vec![M31::zero(); instance.channel_cells];
        for (c, values) in instance.channels.iter().zip(&channels) {
            let rows = values.len();
            for (v, value) in values.iter().enumerate() {
                let limbs = value.to_m31_array();
                let used = if c.kind == ChannelKind::Multiplicity { 1 } else { 4 };
                for (j, &l) in limbs.iter().take(used).enumerate() {
                    cells[c.cells_offset + j * rows + v] = l;
                }
            }
        }
        drop(push_span);
        channel.tamper().base(label::CHANNEL_CELLS, &mut cells);
        let pushed = self.commit(cells, shape);
        let channels = channels_of(instance, &pushed.cells);
        channel.send_hash(label::CHANNELS_ROOT, pushed.tree.root());
        channel.send_nonce("lookup fingerprint", grind.lookups, backend);
        let drawn = channel.transcript().draw_many(3);
        let f = Fingerprint {
            alpha: drawn[0],
            eta: drawn[1],
            theta: drawn[2],
        };

        // Move 6: fractions.
        let leaves_span = tracing::info_span!("leaves").entered();
        let committed_keys = |site: SiteRef| self.committed_keys(&witness.cells, site);
        let den = cells::denominators(instance, &f, committed_keys);
        let table_leaves = cells::table_leaves(instance, &f, &channels);
        let num = self.numerators(&f, &weights, &table_leaves);
        drop(leaves_span);
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
        let zeta = &leaf.point;
        let eq_zeta = eq_table(zeta, instance.leaves);
        let mut keys_functional = vec![QM31::zero(); instance.cells];
        cells::add_keys(instance, zeta, &eq_zeta, QM31::one(), &mut keys_functional);
        let keys = witness
            .cells
            .iter()
            .zip(&keys_functional)
            .fold(QM31::zero(), |a, (&c, &w)| a + w * c);
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

        // Move 6: tables.
        let mut columns = vec![QM31::zero(); instance.column_cells];
        let mut values = vec![M31::zero(); instance.column_cells];
        for (c, pushed) in instance.channels.iter().zip(&channels) {
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
        let shape = Rounds {
            rounds: bits_for(instance.column_cells),
            degree: 2,
        };
        let table_run = {
            let _span = tracing::info_span!("tables").entered();
            sumcheck::prove_rounds(
                backend,
                channel,
                label::TABLE_ROUND,
                vec![summand],
                shape,
                self.grind(grind.tables),
            )
        };
        channel.send_ext(label::COLUMN_CLAIM, &[table_run.finals[0].0]);

        // Move 7.
        let _span = tracing::info_span!("merge").entered();
        channel.send_nonce("cell claim batching", grind.merge, backend);
        let delta = channel.transcript().draw();
        let deltas = powers(delta, cell_claims.len() + 3);
        let (own, shared) = deltas.split_at(cell_claims.len());
        let mut phi = keys_functional;
        phi.iter_mut().for_each(|p| *p *= shared[0]);
        for (e, &d) in cell_claims.iter().zip(own) {
            cells::add_left(instance, e, &rho_all[..output_bits(instance, e)], d, &mut phi);
        }
        let mut psi = vec![QM31::zero(); instance.channel_cells];
        cells::add_channels(
            instance,
            &f,
            &eq_zeta,
            &table_run.point,
            (shared[1], shared[2]),
            &mut psi,
        );
        let summand = |cells: &[M31], functional: Vec<QM31>| Summand {
            coefficient: QM31::one(),
            axes: vec![Axis::of(cells.len())],
            eq: Vec::new(),
            a: Operand::Base(Arc::new(backend.base(cells.to_vec()))),
            b: Some(Operand::ext(backend.ext(functional))),
            sum: None,
        };
        let (witness_bits, channel_bits) = (bits_for(instance.cells), bits_for(instance.channel_cells));
        let rounds = witness_bits.max(channel_bits);
        let summands = vec![summand(&witness.cells, phi), summand(&pushed.cells, psi)];
        let merged = sumcheck::prove_rounds(
            backend,
            channel,
            label::MERGE_ROUND,
            summands,
            Rounds { rounds, degree: 2 },
            self.grind(grind.merge),
        );
        let values = [merged.finals[0].0, merged.finals[1].0];
        channel.send_ext(label::MERGED_CELLS, &values);
        [
            (witness, merged.point[rounds - witness_bits..].to_vec(), values[0]),
            (pushed, merged.point[rounds - channel_bits..].to_vec(), values[1]),
        ]
    }

    /// The vector that a channel commits.
    fn pushforward(&self, channel: &TableChannel, weights: &[((SiteRef, u8), Vec<QM31>)]) -> Vec<QM31> {
        let mut out = vec![QM31::zero(); self.instance.table(channel.table).rows()];
        for s in self.instance.sites.iter().filter(|s| s.table == channel.table) {
            let keys = keys(self.execution, s.site);
            match channel.kind {
                ChannelKind::Multiplicity if s.ranged => {
                    for &k in keys {
                        if let Some(o) = out.get_mut(k as usize) {
                            *o += QM31::one();
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
        out
    }

    /// The keys of a site as the committed witness has them.
    fn committed_keys(&self, witness: &[M31], site: SiteRef) -> Vec<M31> {
        let segment = |s: u16| -> Vec<M31> {
            self.instance.segments[s as usize]
                .positions()
                .into_iter()
                .map(|p| witness[p])
                .collect()
        };
        match site {
            SiteRef::Segment(s) => segment(s),
            SiteRef::Virtual(v) => {
                let Some(shape) = self.instance.site(site).map(|s| s.layout.shape.clone()) else {
                    return Vec::new();
                };
                super::forms::evaluate(&self.instance.entry.sites[v as usize].index, &shape, |s| {
                    (segment(s), self.instance.segments[s as usize].shape.clone())
                })
            }
        }
    }

    /// The leaves' numerators.
    fn numerators(
        &self,
        f: &Fingerprint,
        weights: &[((SiteRef, u8), Vec<QM31>)],
        table_leaves: &[Vec<QM31>],
    ) -> Vec<QM31> {
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

/// `Σ weights · values`.
fn inner(weights: &[QM31], values: &[i32]) -> QM31 {
    weights
        .iter()
        .zip(values)
        .fold(QM31::zero(), |a, (&w, &v)| a + w * m31(v.into()))
}

/// The public part of an execution: private inputs stay out.
pub fn statement(instance: &Instance<'_>, inputs: &[Vec<i32>], execution: &Execution) -> Statement {
    let public = |(i, values): (usize, &Vec<i32>)| match instance.entry.inputs[i].kind {
        InputKind::Public => values.clone(),
        InputKind::Private { .. } => Vec::new(),
    };
    Statement {
        entry: instance.entry_index as u32,
        dims: instance.dims.clone(),
        inputs: inputs.iter().enumerate().map(public).collect(),
        outputs: execution.outputs.clone(),
    }
}
