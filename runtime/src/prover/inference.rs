//! The proof of an inference, proving side. Mirrors `mlc_verifier::inference` move by move.

use mlc_circuit::{
    CellTree, CellVector, ChannelKind, Equation, InputKind, Instance, Left, Operand as Factor, Outer, Product, SiteRef,
    SiteShape, Source, bits_for,
};
use mlc_verifier::commitment::{Claim, EqPoint, TreeShape};
use mlc_verifier::field::{M31, QM31, eq_table, m31, pow2, powers};
use mlc_verifier::functional::split_point;
use mlc_verifier::relations::{
    BoundProduct, ProductShape, ReadClaim, Side, WeightClaim, alignment, free_mass, linear_claim, output_bits,
};
use mlc_verifier::security::{Schedule, merge_bits};
use mlc_verifier::statement::{Cache, Piece, Statement};
use mlc_verifier::transcript::Hash;
use num_traits::{One, Zero};
use rayon::prelude::*;

use super::cells;
use super::channel::{ProverChannel, Tamper};
use super::commitment::{self, OpenTree, TreeStore};
use super::lookups::{Keys, LookupEnd, Lookups, leaf_keys};
use super::relations::{Sources, factor, fold_weights};
use super::sumcheck::{self, Axis, Grind, Rounds, Summand};
use super::tensor::{Order, Weights};
use super::vector::CommittedVector;
use crate::backend::{Backend, Operand};
use crate::exec::Execution;
use crate::schedule::journal::{Journal, Kept};
use crate::weights::{IntWeights, Piece as WeightPiece};

/// Labels of the prover's messages, for soundness tests.
pub mod label {
    /// The witness cells before their commitment.
    pub const WITNESS_CELLS: &str = "witness cells";
    /// The cells that a link appends to the cache, before their commitment.
    pub const APPENDED_CELLS: &str = "appended cells";
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
    /// The committed cells, column-major; absent for a circuit without weights, and where they are formed from the integers a
    /// tile at a time.
    pub cells: Option<&'a B::Base>,
    /// Their tree.
    pub tree: Option<&'a dyn TreeStore>,
}

/// The committed cells of a cache: what this link appends, and what earlier ones have.
pub struct CommittedCache<'a, B: Backend> {
    /// Of this link; `None` for an entry without a cache.
    pub appended: Option<&'a CommittedVector<B>>,
    /// Of the earlier links, in their order.
    pub earlier: &'a [CommittedVector<B>],
}

impl<B: Backend> CommittedCache<'_, B> {
    /// Of an entry without a cache.
    pub fn none() -> Self {
        Self {
            appended: None,
            earlier: &[],
        }
    }

    /// What the statement says of it.
    pub fn statement(&self, instance: &Instance<'_>) -> Option<Cache> {
        let pieces = self.earlier.iter().zip(&instance.links);
        Some(Cache {
            read: pieces.map(|(v, &len)| Piece { len, root: v.root() }).collect(),
            appended: self.appended?.root(),
        })
    }
}

/// Commits what a run appends to the cache; `None` for an entry without one.
pub fn commit_appended<B: Backend>(
    backend: &B,
    instance: &Instance<'_>,
    schedule: &Schedule,
    execution: &Execution,
    tamper: &mut dyn Tamper,
) -> Option<CommittedVector<B>> {
    let at = instance.vectors.iter().position(|v| v.tree == CellTree::Appended)?;
    let mut cells = vector_cells(instance, at, execution);
    tamper.base(label::APPENDED_CELLS, &mut cells);
    Some(CommittedVector::new(backend, cells, schedule.cells[at]))
}

/// The cells of one vector as executed, by position.
fn vector_cells(instance: &Instance<'_>, vector: usize, execution: &Execution) -> Vec<M31> {
    let mut cells = vec![M31::zero(); instance.vectors[vector].cells];
    let segments = instance.segments.iter().zip(&execution.segments);
    for ((layout, values), _) in segments.zip(&instance.vector_of).filter(|(_, v)| **v == vector) {
        let values = Order::of(layout).arrange(values);
        cells[layout.offset..][..values.len()]
            .iter_mut()
            .zip(values.iter())
            .for_each(|(c, &v)| *c = m31(v.into()));
    }
    cells
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
    cache: &CommittedCache<'_, B>,
    statement: &Statement,
    execution: &Execution,
    tamper: &mut dyn Tamper,
    journal: Option<&mut dyn Journal>,
) -> Vec<u8> {
    let root = weights.tree.map(|t| t.root());
    let mut channel = ProverChannel::new(statement.transcript(digest, root.as_ref(), schedule), tamper);
    if let Some(journal) = journal {
        channel.keep(journal);
    }
    let mut run = Run {
        backend,
        instance,
        schedule,
        weights,
        cache,
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
    cache: &'r CommittedCache<'r, B>,
    statement: &'r Statement,
    execution: &'r Execution,
    tables: Tables,
    constant_shapes: Vec<Vec<usize>>,
}

/// What a factor reads, with the piece of the weights that comes after it.
struct Before<'a, 'r, 'c, B: Backend> {
    run: &'a Run<'r, 'c, B>,
    then: Option<WeightPiece>,
}

impl<B: Backend> Sources for Before<'_, '_, '_, B> {
    fn values(&self, source: Source) -> (&[M31], &[usize]) {
        self.run.values(source)
    }

    fn found(&self, output: u16) -> &[i32] {
        &self.run.statement.outputs[output as usize]
    }

    fn weight(&self, weight: u16) -> &[i16] {
        self.weights().tensor(weight.into())
    }

    fn weights(&self) -> &IntWeights {
        self.run.weights.integers
    }

    fn then(&self) -> Option<WeightPiece> {
        self.then.clone()
    }
}

impl<B: Backend> Run<'_, '_, B> {
    fn values(&self, source: Source) -> (&[M31], &[usize]) {
        match source {
            Source::Input(i) => (&self.tables.inputs[i as usize], &self.instance.inputs[i as usize]),
            Source::Constant(k) => (&self.tables.constants[k as usize], &self.constant_shapes[k as usize]),
            // The verifier sums it by itself, and no factor reads it.
            Source::Below(_) => (&[], &[]),
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
        let mut executed: Vec<B::Base> = Vec::with_capacity(instance.vectors.len());
        let mut witness = None;
        for (at, (vector, &shape)) in instance.vectors.iter().zip(&schedule.cells).enumerate() {
            let mut cells = vector_cells(instance, at, self.execution);
            executed.push(backend.base(cells.clone()));
            if vector.tree == CellTree::Witness {
                channel.tamper().base(label::WITNESS_CELLS, &mut cells);
                let committed = CommittedVector::new(backend, cells, shape);
                channel.send_hash(label::WITNESS_ROOT, committed.root());
                witness = Some(committed);
            }
        }
        let committed = |tree: CellTree| match tree {
            CellTree::Witness => witness.as_ref(),
            CellTree::Appended => self.cache.appended,
            CellTree::Earlier(link) => self.cache.earlier.get(usize::from(link)),
        };
        // All of them are there where the cache is the instance's.
        let committed: Vec<&CommittedVector<B>> = instance.vectors.iter().filter_map(|v| committed(v.tree)).collect();
        assert_eq!(committed.len(), instance.vectors.len(), "the cache is of another link");
        channel.send_nonce("output point", grind.output, backend);
        let rho_all = channel.transcript().draw_many(schedule.point_bits);

        // Move 2.
        let claims_span = tracing::info_span!("claims").entered();
        let mut cell_claims: Vec<&Equation> = Vec::new();
        let mut reads: Vec<ReadClaim<'_>> = Vec::new();
        for e in equations {
            let rho = &rho_all[..output_bits(instance, e)];
            if matches!(e.left, Left::Cells(_)) {
                let value = cells::left_value(backend, instance, e, rho, &executed);
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
        let rounds = schedule.product_rounds;
        let (point, finals) = channel.stage("products", |channel| self.products(channel, &rho_all, &betas));
        let proved = sumcheck::Proved { point, finals };
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
                            if let Some(claim) = bound.weight_claim(side, &schedule.weights, self.statement) {
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
        let mut merged: Vec<Opened> = Vec::new();
        let mut vectors = committed;
        let end;
        if let Some(shape) = schedule.channels.filter(|_| !vectors.is_empty()) {
            end = channel.stage_by(
                "lookups",
                |channel| self.lookups(channel, &vectors, shape, &reads),
                LookupEnd::keep,
                |kept| LookupEnd::restore(backend, kept, shape),
            );
            let opened = channel.stage("merge", |channel| {
                self.merge(channel, &vectors, &end, &rho_all, &cell_claims)
            });
            merged = opened
                .into_iter()
                .map(|(point, value)| Opened { point, value })
                .collect();
            vectors.push(&end.channels);
        }

        // Move 8.
        let Some(plan) = &schedule.opening else { return };
        let _span = tracing::info_span!("opening").entered();
        let opened = || merged.iter().zip(&vectors);
        let functionals: Vec<EqPoint> = opened().map(|(m, v)| v.functional(&m.point)).collect();
        let mut trees: Vec<OpenTree<'_, B>> = opened()
            .zip(&functionals)
            .map(|((m, v), f)| v.open(backend, &m.point, f, m.value))
            .collect();
        if let Some(tree) = self.weights.tree {
            let coeffs = eq_table(row_point, tree.shape().rows);
            let claims = weight_claims
                .iter()
                .map(|(f, value)| Claim {
                    functional: f,
                    value: *value,
                })
                .collect();
            let _span = tracing::info_span!("fold weights").entered();
            let folded = channel.stage_by(
                "folded weights",
                |_| self.fold_weights(&coeffs),
                |folded, out| backend.host_ext(folded).write(out),
                |kept: Vec<QM31>| backend.ext(kept),
            );
            trees.push(OpenTree { tree, folded, claims });
        }
        commitment::open(backend, channel, plan, trees);
    }

    /// Move 3: every weight and every factor that is read is folded, and the products are summed; the challenges, and both
    /// factors of each product at its point.
    fn products(
        &self,
        channel: &mut ProverChannel<'_>,
        rho_all: &[QM31],
        betas: &[QM31],
    ) -> (Vec<QM31>, Vec<(QM31, QM31)>) {
        let (instance, schedule, backend) = (self.instance, self.schedule, self.backend);
        let equations = &instance.entry.equations;
        let grind = &schedule.grinding;
        let factors_span = tracing::info_span!("factors").entered();
        let mut summands = Vec::new();
        let integers = self.weights.integers;
        let mut left = equations.iter().flat_map(|e| &e.products);
        for (e, &b) in equations.iter().zip(betas) {
            let rho = &rho_all[..output_bits(instance, e)];
            let points = split_point(rho, &instance.out(e))
                .into_iter()
                .map(<[QM31]>::to_vec)
                .collect::<Vec<_>>();
            for p in &e.products {
                left.next();
                let then = left.clone().find_map(|p| first_piece(integers, p));
                let sources = Before { run: self, then };
                let shape = ProductShape::new(instance, e, p);
                let upload = |v: Vec<QM31>| Operand::ext(backend.ext(v));
                let a = factor(backend, instance, e, p, Side::A, rho, &sources).map(upload);
                let b_side = factor(backend, instance, e, p, Side::B, rho, &sources).map(upload);
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
        (proved.point, proved.finals)
    }

    /// The committed weights folded over their rows.
    fn fold_weights(&self, coeffs: &[QM31]) -> B::Ext {
        if let Some(cells) = self.weights.cells {
            return self.backend.fold_rows(cells, coeffs);
        }
        let lens: Vec<usize> = (self.instance.circuit.weights.iter())
            .map(|w| w.row_len as usize)
            .collect();
        let integers = self.weights.integers;
        self.backend.ext(fold_weights(
            self.backend,
            &self.schedule.weights,
            &lens,
            integers,
            coeffs,
        ))
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
        vectors: &[&CommittedVector<B>],
        shape: TreeShape,
        reads: &[ReadClaim<'_>],
    ) -> LookupEnd<B> {
        let execution = self.execution;
        let committed_keys = leaf_keys(self.instance, |s, out| self.committed_keys(vectors, s, out));
        let committed_keys = self.backend.base(committed_keys);
        Lookups {
            backend: self.backend,
            instance: self.instance,
            grinding: &self.schedule.grinding,
            shape,
            keys: Keys::Executed(&|site| keys(execution, site)),
            committed_keys: &committed_keys,
            inputs: &self.statement.inputs,
        }
        .prove(channel, reads)
    }

    /// Move 7: the point and the value of every vector of cells, then of the channels.
    fn merge(
        &self,
        channel: &mut ProverChannel<'_>,
        vectors: &[&CommittedVector<B>],
        end: &LookupEnd<B>,
        rho_all: &[QM31],
        cell_claims: &[&Equation],
    ) -> Vec<(Vec<QM31>, QM31)> {
        let _span = tracing::info_span!("merge").entered();
        let (instance, backend, grind) = (self.instance, self.backend, &self.schedule.grinding);
        channel.send_nonce("cell claim batching", grind.merge, backend);
        let delta = channel.transcript().draw();
        let deltas = powers(delta, cell_claims.len() + 3);
        let (own, shared) = deltas.split_at(cell_claims.len());
        let zeros = |v: &CellVector| backend.constant(QM31::zero(), v.cells);
        let mut phi: Vec<B::Ext> = instance.vectors.iter().map(zeros).collect();
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
        let (cell_bits, channel_bits) = (merge_bits(instance), bits_for(instance.channel_cells));
        let rounds = Rounds {
            rounds: cell_bits.max(channel_bits),
            degree: 2,
        };
        // A claim may touch several vectors: all of them count as often as the longest.
        let summand = |(v, phi): (&&CommittedVector<B>, B::Ext)| {
            let short = cell_bits - bits_for(v.cells.len());
            merge_summand(backend, v, phi, pow2(short as u32).inverse())
        };
        let mut summands: Vec<Summand<B>> = vectors.iter().zip(phi).map(summand).collect();
        summands.push(merge_summand(backend, &end.channels, backend.ext(psi), QM31::one()));
        let merged = sumcheck::prove_rounds(
            backend,
            channel,
            label::MERGE_ROUND,
            summands,
            rounds,
            self.grind(grind.merge),
        );
        let values: Vec<QM31> = merged.finals.iter().map(|f| f.0).collect();
        channel.send_ext(label::MERGED_CELLS, &values);
        let bits = vectors.iter().map(|v| bits_for(v.cells.len())).chain([channel_bits]);
        bits.zip(values)
            .map(|(bits, value)| (merged.point[rounds.rounds - bits..].to_vec(), value))
            .collect()
    }

    /// The keys of a site as the committed cells have them, in the order of its leaves.
    fn committed_keys(&self, vectors: &[&CommittedVector<B>], s: &SiteShape, out: &mut [M31]) {
        let cells = |segment: u16| {
            let segment = usize::from(segment);
            let layout = &self.instance.segments[segment];
            let vector = &vectors[self.instance.vector_of[segment]].cells;
            (layout, &vector[layout.offset..layout.offset + layout.len()])
        };
        match s.site {
            // A segment's cells are its keys, in the same order.
            SiteRef::Segment(id) => out.copy_from_slice(cells(id).1),
            SiteRef::Virtual(v) => {
                let terms = &self.instance.entry.sites[v as usize].index;
                let keys = super::forms::evaluate(self.instance, terms, &s.layout.shape, &self.statement.inputs, |s| {
                    let (layout, cells) = cells(s);
                    Order::of(layout).row_major_of(cells)
                });
                out.copy_from_slice(&Order::of(&s.layout).arrange(&keys));
            }
        }
    }
}

/// What is read first of the weight among a product's factors, unless its rows are selected.
fn first_piece(weights: &IntWeights, product: &Product) -> Option<WeightPiece> {
    [&product.a, &product.b].into_iter().find_map(|factor| match factor {
        Factor::Weight { weight, outer } if outer.iter().all(|o| matches!(o, Outer::Axis { .. })) => {
            Some(weights.first_piece(usize::from(*weight)))
        }
        _ => None,
    })
}

/// A committed vector's opening: its point, and its value there.
struct Opened {
    point: Vec<QM31>,
    value: QM31,
}

/// `coefficient · Σ_pos cells[pos] · functional[pos]`.
pub(super) fn merge_summand<B: Backend>(
    backend: &B,
    vector: &CommittedVector<B>,
    functional: B::Ext,
    coefficient: QM31,
) -> Summand<B> {
    Summand {
        coefficient,
        axes: vec![Axis::of(vector.cells.len())],
        eq: Vec::new(),
        a: Operand::base(backend.base(vector.cells.clone())),
        b: Some(Operand::ext(functional)),
        sum: None,
    }
}

/// The public part of an execution: private inputs stay out, and of a cache all but its commitments.
pub fn statement(
    instance: &Instance<'_>,
    inputs: &[Vec<i32>],
    execution: &Execution,
    cache: Option<Cache>,
) -> Statement {
    let public = |(i, values): (usize, &Vec<i32>)| match instance.entry.inputs[i].kind {
        InputKind::Public => values.clone(),
        InputKind::Private { .. } => Vec::new(),
    };
    Statement {
        entry: instance.entry_index as u32,
        dims: instance.dims.clone(),
        inputs: inputs.iter().enumerate().map(public).collect(),
        outputs: execution.outputs.clone(),
        cache,
    }
}
