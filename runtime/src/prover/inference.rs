//! The proof of an inference, proving side. Mirrors `mlc_verifier::inference` move by move.

use mlc_circuit::{
    BlockLayout, ChannelKind, Equation, InputKind, Instance, Left, Operand as Factor, SiteRef, SiteShape, Source,
    bits_for,
};
use mlc_verifier::commitment::{Claim, EqPoint, TreeShape};
use mlc_verifier::field::{M31, QM31, eq_table, m31, powers};
use mlc_verifier::functional::split_point;
use mlc_verifier::relations::{
    BoundProduct, ProductShape, ReadClaim, Side, WeightClaim, alignment, free_mass, linear_claim, output_bits,
};
use mlc_verifier::security::Schedule;
use mlc_verifier::statement::Statement;
use mlc_verifier::transcript::Hash;
use num_traits::{One, Zero};
use rayon::prelude::*;

use super::cells;
use super::channel::{ProverChannel, Tamper};
use super::commitment::{self, OpenTree, TreeStore};
use super::lookups::{LookupEnd, Lookups, leaf_keys};
use super::relations::{Sources, factor};
use super::sumcheck::{self, Axis, Grind, Rounds, Summand};
use super::tensor::{Order, Weights};
use super::vector::CommittedVector;
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
#[allow(clippy::too_many_arguments)]
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
        tables: Tables::new(instance, statement, execution),
        statement,
        constant_shapes: (0..instance.circuit.constants.len())
            .map(|k| instance.source_shape(Source::Constant(k as u16)))
            .collect(),
        execution,
    };
    run.prove(&mut channel);
    channel.into_proof()
}

/// Values of the sources, looked up once.
struct Tables {
    /// Per (site, column): the looked-up values, row-major.
    lookups: Vec<((SiteRef, u8), Vec<M31>)>,
    /// The public inputs.
    inputs: Vec<Vec<M31>>,
    /// The circuit's constants.
    constants: Vec<Vec<M31>>,
}

impl Tables {
    fn new(instance: &Instance<'_>, statement: &Statement, execution: &Execution) -> Self {
        let mut lookups = Vec::new();
        for s in &instance.sites {
            let table = instance.table(s.table);
            let keys = keys(execution, s.site);
            for c in instance.channels.iter().filter(|c| c.table == s.table) {
                if let ChannelKind::Column(column) = c.kind {
                    let column_values: Vec<M31> =
                        table.columns[column as usize].iter().map(|&v| m31(v.into())).collect();
                    let values = keys
                        .par_iter()
                        .map(|&k| column_values.get(k as usize).copied().unwrap_or_default());
                    lookups.push(((s.site, column), values.collect()));
                }
            }
        }
        let field = |values: &Vec<i32>| values.iter().map(|&v| m31(v.into())).collect();
        let inputs = statement.inputs.iter().map(field).collect();
        let constants = instance.circuit.constants.iter().map(|c| field(&c.values)).collect();
        Self {
            lookups,
            inputs,
            constants,
        }
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
    constant_shapes: Vec<Vec<usize>>,
}

impl<B: Backend> Sources for Run<'_, '_, B> {
    fn values(&self, source: Source) -> (&[M31], &[usize]) {
        match source {
            Source::Input(i) => (&self.tables.inputs[i as usize], &self.instance.inputs[i as usize]),
            Source::Constant(k) => (&self.tables.constants[k as usize], &self.constant_shapes[k as usize]),
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

impl<'c, B: Backend> Run<'_, 'c, B> {
    fn grind(&self, bits: u32) -> Grind<'_> {
        Grind {
            bits,
            grinder: self.backend,
        }
    }

    fn prove(&mut self, channel: &mut ProverChannel<'_>) {
        let (instance, schedule, backend) = (self.instance, self.schedule, self.backend);
        let grind = &schedule.grinding;
        let equations = &instance.entry.equations;

        // Move 1.
        let mut executed = None;
        let witness = schedule.witness.map(|shape| {
            let mut cells = vec![M31::zero(); instance.cells];
            for (layout, values) in instance.segments.iter().zip(&self.execution.segments) {
                let values = Order::of(layout).arrange(values);
                cells[layout.offset..][..values.len()]
                    .iter_mut()
                    .zip(values.iter())
                    .for_each(|(c, &v)| *c = m31(v.into()));
            }
            executed = Some(backend.base(cells.clone()));
            channel.tamper().base(label::WITNESS_CELLS, &mut cells);
            let committed = CommittedVector::new(backend, cells, shape);
            channel.send_hash(label::WITNESS_ROOT, committed.root());
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
            if matches!(e.left, Left::Cells(_))
                && let Some(executed) = &executed
            {
                let value = cells::left_value(backend, instance, e, rho, executed);
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
        drop(executed);
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
                let a = factor(backend, instance, e, p, Side::A, rho, self).map(upload);
                let b_side = factor(backend, instance, e, p, Side::B, rho, self).map(upload);
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
                            if let Some(claim) = bound.weight_claim(side, &schedule.weights, &self.statement.inputs) {
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
        let merged: Vec<Opened<B>> = match (witness, schedule.channels) {
            (Some(witness), Some(shape)) => {
                let end = self.lookups(channel, &witness, shape, &reads);
                self.merge(channel, witness, end, &rho_all, &cell_claims).into()
            }
            _ => Vec::new(),
        };

        // Move 8.
        let Some(plan) = &schedule.opening else { return };
        let _span = tracing::info_span!("opening").entered();
        let functionals: Vec<EqPoint> = merged.iter().map(|m| m.vector.functional(&m.point)).collect();
        let mut trees: Vec<OpenTree<'_, B>> = merged
            .iter()
            .zip(&functionals)
            .map(|(m, f)| m.vector.open(backend, &m.point, f, m.value))
            .collect();
        if let (Some(tree), Some(cells)) = (self.weights.tree, self.weights.cells) {
            let coeffs = eq_table(row_point, tree.shape().rows);
            let claims = weight_claims
                .iter()
                .map(|(f, value)| Claim {
                    functional: f,
                    value: *value,
                })
                .collect();
            let _span = tracing::info_span!("fold weights").entered();
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
            let values = self.backend.base(values.to_vec());
            let weights = Weights::new(t.access, &t.weighting, shape);
            acc + weights.apply(self.backend, &Order::row_major(shape), &values, 0) * m31(t.coefficient.into())
        })
    }

    /// Moves 4 to 6.
    fn lookups(
        &self,
        channel: &mut ProverChannel<'_>,
        witness: &CommittedVector<B>,
        shape: TreeShape,
        reads: &[ReadClaim<'_>],
    ) -> LookupEnd<B> {
        let execution = self.execution;
        let committed_keys = leaf_keys(self.instance, |s, out| self.committed_keys(&witness.cells, s, out));
        let committed_keys = self.backend.base(committed_keys);
        Lookups {
            backend: self.backend,
            instance: self.instance,
            grinding: &self.schedule.grinding,
            shape,
            keys: &|site| keys(execution, site),
            committed_keys: &committed_keys,
            inputs: &self.statement.inputs,
            shifts: &[],
        }
        .prove(channel, reads)
    }

    /// Move 7: for the witness and for the channels, the committed vector, its point and its value there.
    fn merge(
        &self,
        channel: &mut ProverChannel<'_>,
        witness: CommittedVector<B>,
        end: LookupEnd<B>,
        rho_all: &[QM31],
        cell_claims: &[&Equation],
    ) -> [Opened<B>; 2] {
        let _span = tracing::info_span!("merge").entered();
        let (instance, backend, grind) = (self.instance, self.backend, &self.schedule.grinding);
        channel.send_nonce("cell claim batching", grind.merge, backend);
        let delta = channel.transcript().draw();
        let deltas = powers(delta, cell_claims.len() + 3);
        let (own, shared) = deltas.split_at(cell_claims.len());
        let mut phi = backend.constant(QM31::zero(), instance.cells);
        cells::add_keys(backend, instance, &end.zeta, shared[0], &mut phi);
        for (e, &d) in cell_claims.iter().zip(own) {
            cells::add_left(backend, instance, e, &rho_all[..output_bits(instance, e)], d, &mut phi);
        }
        let mut psi = vec![QM31::zero(); instance.channel_cells];
        cells::add_channels(
            instance,
            &end.fingerprint,
            &end.zeta,
            &end.xi,
            (shared[1], shared[2]),
            &mut psi,
        );
        let (witness_bits, channel_bits) = (bits_for(instance.cells), bits_for(instance.channel_cells));
        let rounds = Rounds {
            rounds: witness_bits.max(channel_bits),
            degree: 2,
        };
        let summands = vec![
            merge_summand(backend, &witness, phi),
            merge_summand(backend, &end.channels, backend.ext(psi)),
        ];
        let merged = sumcheck::prove_rounds(
            backend,
            channel,
            label::MERGE_ROUND,
            summands,
            rounds,
            self.grind(grind.merge),
        );
        let values = [merged.finals[0].0, merged.finals[1].0];
        channel.send_ext(label::MERGED_CELLS, &values);
        let last = |bits: usize| merged.point[rounds.rounds - bits..].to_vec();
        [
            Opened {
                vector: witness,
                point: last(witness_bits),
                value: values[0],
            },
            Opened {
                vector: end.channels,
                point: last(channel_bits),
                value: values[1],
            },
        ]
    }

    /// The keys of a site as the committed witness has them, in the order of its leaves.
    fn committed_keys(&self, witness: &[M31], s: &SiteShape, out: &mut [M31]) {
        let cells = |layout: &BlockLayout| &witness[layout.offset..layout.offset + layout.len()];
        match s.site {
            // A segment's cells are its keys, at the same positions.
            SiteRef::Segment(_) => out.copy_from_slice(cells(&s.layout)),
            SiteRef::Virtual(v) => {
                let terms = &self.instance.entry.sites[v as usize].index;
                let keys = super::forms::evaluate(self.instance, terms, &s.layout.shape, &self.statement.inputs, |s| {
                    let layout = &self.instance.segments[s as usize];
                    Order::of(layout).row_major_of(cells(layout))
                });
                out.copy_from_slice(&Order::of(&s.layout).arrange(&keys));
            }
        }
    }
}

/// A committed vector to be opened at one point.
struct Opened<B: Backend> {
    vector: CommittedVector<B>,
    point: Vec<QM31>,
    value: QM31,
}

/// `Σ_pos cells[pos] · functional[pos]`.
pub(super) fn merge_summand<B: Backend>(backend: &B, vector: &CommittedVector<B>, functional: B::Ext) -> Summand<B> {
    Summand {
        coefficient: QM31::one(),
        axes: vec![Axis::of(vector.cells.len())],
        eq: Vec::new(),
        a: Operand::base(backend.base(vector.cells.clone())),
        b: Some(Operand::ext(functional)),
        sum: None,
    }
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
