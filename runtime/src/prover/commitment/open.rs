//! Opens committed matrices: the mirror of `mlc_verifier::commitment::verify`.

use mlc_verifier::commitment::code::Domain;
use mlc_verifier::commitment::{Claim, EqPoint, Functional, Plan, PlannedLevel};
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

/// An [`OpenTree`] after its folded vector has become part of the first level's.
struct Claimed<'a> {
    tree: &'a dyn TreeStore,
    claims: Vec<Claim<'a>>,
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
    drop(parts);
    let trees: Vec<Claimed<'_>> = trees
        .into_iter()
        .map(|t| Claimed {
            tree: t.tree,
            claims: t.claims,
        })
        .collect();
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
        let (z, mut host) = prove_product(backend, channel, vector, functional, l);
        let col = &z[l.log_rows() as usize..];
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
    trees: &[Claimed<'_>],
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

/// The sumcheck of `Σ_x v(x) f(x)`; returns its point, and `v` with its rows bound to the first part of it: the next vector.
fn prove_product<B: Code>(
    backend: &B,
    channel: &mut ProverChannel<'_>,
    v: B::Ext,
    f: B::Ext,
    level: &PlannedLevel,
) -> (Vec<QM31>, Vec<QM31>) {
    let mut point = Vec::with_capacity(level.log_len as usize);
    let (mut v, mut f) = (v, f);
    let mut folded = Vec::new();
    for left in (0..=level.log_len).rev() {
        if left == level.shape.log_cols {
            folded = backend.host_ext(&v);
            folded.resize(level.shape.cols(), QM31::zero());
        }
        if left == 0 {
            break;
        }
        channel.send_ext("opening round", &backend.opening_round(&v, &f, left));
        channel.send_nonce("sumcheck round", level.round_pow_bits, backend);
        let r = channel.transcript().draw();
        v = backend.bind_top_variable(v, left, r);
        f = backend.bind_top_variable(f, left, r);
        point.push(r);
    }
    (point, folded)
}
