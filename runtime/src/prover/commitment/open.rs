//! Opens committed matrices: the mirror of `mlc_verifier::commitment::verify`.

use mlc_verifier::commitment::code::Domain;
use mlc_verifier::commitment::{Claim, EqPoint, Functional, Plan};
use mlc_verifier::field::{QM31, eq_table, powers};
use num_traits::Zero;

use super::tree::{Committed, TreeStore, commit};
use crate::backend::code::{Code, PositionTerm};
use crate::prover::channel::ProverChannel;

/// A level-0 tree with its folded vector and the claims on it.
pub struct OpenTree<'a, B: Code> {
    /// The committed tree.
    pub tree: &'a dyn TreeStore,
    /// `v[j] = Σ_row c[row] · M[row][j]`; entries behind its end are zero.
    pub folded: B::Ext,
    /// The same claims that the verifier checks. Their values do not enter the proof.
    pub claims: Vec<Claim<'a>>,
}

/// The positions opened in one tree, and where they act.
struct Opened {
    log_domain: u32,
    log_cols: u32,
    offset: usize,
    positions: Vec<usize>,
}

/// Proves that the claims hold of the committed matrices. `trees` are those that `plan` was made for, in its order,
/// and their roots have been sent.
pub fn open<B: Code>(backend: &B, channel: &mut ProverChannel<'_>, plan: &Plan, trees: Vec<OpenTree<'_, B>>) {
    let parts: Vec<(usize, &B::Ext)> = trees
        .iter()
        .zip(&plan.trees)
        .map(|(t, p)| (p.offset, &t.folded))
        .collect();
    let mut vector = backend.concatenate(&parts, plan.len);
    let mut below: Option<Committed> = None;
    // The claim that the previous level leaves on this level's vector.
    let mut point: Option<EqPoint> = None;

    for (level, l) in plan.levels.iter().enumerate() {
        let span = tracing::info_span!("commit folded vector", len = 1u64 << l.log_len).entered();
        let tree = commit(backend, &backend.matrix(&vector, l.rows, l.shape.log_cols), l.shape);
        drop(span);
        channel.send_hash("folded root", tree.root());
        let opened = open_level(backend, channel, plan, level, &trees, below.as_ref());

        // All claims in one functional, weighted by powers of one challenge: the given ones first, then the opened
        // columns.
        let given: Vec<(usize, usize, &dyn Functional)> = match &point {
            None => trees
                .iter()
                .zip(&plan.trees)
                .flat_map(|(t, p)| {
                    t.claims
                        .iter()
                        .map(move |c| (p.offset, t.tree.shape().cols(), c.functional))
                })
                .collect(),
            Some(p) => vec![(0, 1 << l.log_len, p as &dyn Functional)],
        };
        let count = given.len() + opened.iter().map(|o| o.positions.len()).sum::<usize>();
        channel.send_nonce("opening batch", plan.batch_pow_bits(count), backend);
        let span = tracing::info_span!("opening functional", claims = count).entered();
        let mut weights = powers(channel.transcript().draw(), count).into_iter();
        let mut dense = vec![QM31::zero(); plan.vector_len(level)];
        for ((offset, len, f), w) in given.into_iter().zip(weights.by_ref()) {
            f.accumulate(w, &mut dense[offset..offset + len]);
        }
        let mut functional = backend.ext(dense);
        for o in &opened {
            let domain = Domain::new(o.log_domain);
            let terms: Vec<PositionTerm> = o
                .positions
                .iter()
                .zip(weights.by_ref())
                .map(|(&q, weight)| PositionTerm {
                    factors: domain.position_factors(q, o.log_cols),
                    weight,
                })
                .collect();
            backend.add_positions(&terms, o.offset, &mut functional);
        }

        drop(span);
        let _span = tracing::info_span!("opening sumcheck").entered();
        let z = prove_product(backend, channel, &vector, functional, l.log_len, l.round_pow_bits);
        let (row, col) = z.split_at(l.log_rows() as usize);
        vector = backend.fold_vector(&vector, &eq_table(row, l.rows), l.shape.log_cols);
        let mut host = backend.host_ext(&vector);
        let table = eq_table(col, host.len());
        let value = host.iter().zip(&table).fold(QM31::zero(), |acc, (&v, &e)| acc + v * e);
        channel.send_ext("folded evaluation", &[value]);
        channel.tamper().ext("folded vector", &mut host);
        vector = backend.ext(host);
        point = Some(EqPoint(col.to_vec()));
        below = Some(tree);
    }

    channel.send_ext("clear vector", &backend.host_ext(&vector));
    open_level(backend, channel, plan, plan.levels.len(), &trees, below.as_ref());
}

/// Draws and opens the columns of the trees that vector `level` was folded from.
fn open_level<B: Code>(
    backend: &B,
    channel: &mut ProverChannel<'_>,
    plan: &Plan,
    level: usize,
    trees: &[OpenTree<'_, B>],
    below: Option<&Committed>,
) -> Vec<Opened> {
    let stores: Vec<&dyn TreeStore> = match below {
        Some(tree) => vec![tree],
        None => trees.iter().map(|t| t.tree).collect(),
    };
    stores
        .into_iter()
        .zip(plan.opened_at(level))
        .map(|(tree, planned)| {
            let _span = tracing::info_span!("opening positions", bits = planned.queries.pow_bits).entered();
            channel.send_nonce("opening positions", planned.queries.pow_bits, backend);
            let positions = planned.queries.positions(&planned.shape, channel.transcript());
            channel.send_opened("opened columns", &tree.columns(&positions));
            channel.send_opened("authentication path", &tree.path(&positions));
            Opened {
                log_domain: planned.shape.log_domain(),
                log_cols: planned.shape.log_cols,
                offset: planned.offset,
                positions,
            }
        })
        .collect()
}

/// The sumcheck of `Σ_x v(x) f(x)`; returns its point.
fn prove_product<B: Code>(
    backend: &B,
    channel: &mut ProverChannel<'_>,
    v: &B::Ext,
    f: B::Ext,
    log_len: u32,
    pow_bits: u32,
) -> Vec<QM31> {
    let mut point = Vec::with_capacity(log_len as usize);
    let mut bound: Option<B::Ext> = None;
    let mut f = f;
    for left in (1..=log_len).rev() {
        let a = bound.as_ref().unwrap_or(v);
        channel.send_ext("opening round", &backend.opening_round(a, &f, left));
        channel.send_nonce("sumcheck round", pow_bits, backend);
        let r = channel.transcript().draw();
        bound = Some(backend.bind_top_variable(a, left, r));
        f = backend.bind_top_variable(&f, left, r);
        point.push(r);
    }
    point
}
