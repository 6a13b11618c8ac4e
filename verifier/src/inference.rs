//! The proof of an inference, verifying side: the moves of docs/protocol/overview.md in order.
//!
//! | move | received | drawn after |
//! |---|---|---|
//! | 0 | the statement is absorbed | |
//! | 1 | root of the witness (those of a cache are in the statement) | ρ, β |
//! | 2 | cell claims and linear read claims at ρ | |
//! | 3 | one batch of product sumchecks | κ, τ round by round |
//! | 4 | operand claims | γ |
//! | 5 | root of pushforwards and multiplicities | α, η, θ |
//! | 6 | fraction tree; keys and channels at ζ; table sumcheck, column value at ξ | δ |
//! | 7 | one batch of two sumchecks that merges claims on cells, the cells at its end | |
//! | 8 | the opening of witness, pushforwards and weights | |

use alloc::{string::String, vec::Vec};

use mlc_circuit::{CellTree, Circuit, Equation, Instance, InstanceError, Left, Operand, bits_for};
use num_traits::{One, Zero};

use crate::cells;
use crate::commitment::{Claim, EqPoint, OpenTree, OpeningError, TreeShape, verify_opening};
use crate::field::{QM31, eq_table, m31, pow2, powers};
use crate::logup::LogUpError;
use crate::lookups::{self, LookupEnd};
use crate::relations::{
    self, BoundProduct, ProductShape, ReadClaim, Side, WeightClaim, alignment, evaluate_tensor, linear_claim,
    output_bits, output_mass,
};
use crate::security::{Parameters, Schedule, ScheduleError, merge_bits};
use crate::statement::{Statement, StatementError};
use crate::sumcheck;
use crate::transcript::{Channel, Hash, Message, ReadError};

/// Why a proof is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VerifyError {
    /// The circuit has no such instance.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The statement does not fit the circuit.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The parameters are refused.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The key's weight root is missing, or given for a circuit without weights.
    #[error("the circuit and the key disagree on whether there are committed weights")]
    Weights,
    /// The proof's bytes cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An equation without products does not hold at the output point.
    #[error("'{equation}' does not hold at the output point")]
    Equation {
        /// The equation.
        equation: String,
    },
    /// The products do not end at the claimed operands.
    #[error("the batch of products does not match its operands")]
    Products,
    /// The fraction tree is refused.
    #[error(transparent)]
    Lookup(#[from] LogUpError),
    /// Numerators at the leaves do not follow from the claims.
    #[error("the lookup numerators do not match the source claims")]
    Numerator,
    /// Denominators at the leaves do not follow from keys and tables.
    #[error("the lookup denominators do not match the committed cells")]
    Denominator,
    /// The source claims are not the tables' values at the looked-up keys.
    #[error("the source claims do not match the tables")]
    Tables,
    /// The cell claims do not follow from the committed cells.
    #[error("the cell claims do not match the committed cells")]
    Merge,
    /// The opening is refused.
    #[error(transparent)]
    Opening(#[from] OpeningError),
}

/// A linear read claim's value: sent, implied by an equation without products, or public.
struct PendingReads<'c> {
    claim: ReadClaim<'c>,
    value: QM31,
}

/// Verifies `proof` for `statement`. `digest` is the circuit's digest (computed once when a key is loaded).
pub fn verify(
    circuit: &Circuit,
    digest: &Hash,
    weights_root: Option<&Hash>,
    params: &Parameters,
    statement: &Statement,
    proof: &[u8],
) -> Result<(), VerifyError> {
    receive(circuit, digest, weights_root, params, statement, proof, None)
}

/// [`verify`], and where each message of the proof stands.
pub fn messages(
    circuit: &Circuit,
    digest: &Hash,
    weights_root: Option<&Hash>,
    params: &Parameters,
    statement: &Statement,
    proof: &[u8],
) -> Result<Vec<Message>, VerifyError> {
    let mut log = Vec::new();
    receive(circuit, digest, weights_root, params, statement, proof, Some(&mut log))?;
    Ok(log)
}

fn receive(
    circuit: &Circuit,
    digest: &Hash,
    weights_root: Option<&Hash>,
    params: &Parameters,
    statement: &Statement,
    proof: &[u8],
    log: Option<&mut Vec<Message>>,
) -> Result<(), VerifyError> {
    let instance = circuit.instantiate_link(statement.entry as usize, &statement.dims, &statement.links())?;
    statement.check(&instance)?;
    let schedule = Schedule::new(&instance, params)?;
    if weights_root.is_some() != schedule.weights_tree.is_some() {
        return Err(VerifyError::Weights);
    }
    let mut channel = Channel::new(statement.transcript(digest, weights_root, &schedule), proof);
    if let Some(log) = log {
        channel.keep_log(log);
    }
    run(&instance, &schedule, weights_root, statement, &mut channel)?;
    Ok(channel.finish()?)
}

fn run(
    instance: &Instance<'_>,
    schedule: &Schedule,
    weights_root: Option<&Hash>,
    statement: &Statement,
    channel: &mut Channel<'_>,
) -> Result<(), VerifyError> {
    let equations = &instance.entry.equations;
    let grind = &schedule.grinding;
    let inputs = &statement.inputs;

    // Move 1.
    channel.step(1);
    let mut roots = Vec::with_capacity(instance.vectors.len());
    for v in &instance.vectors {
        roots.push(match (v.tree, &statement.cache) {
            (CellTree::Witness, _) => channel.recv_hash()?,
            (CellTree::Appended, Some(cache)) => cache.appended,
            (CellTree::Earlier(link), Some(cache)) if usize::from(link) < cache.read.len() => {
                cache.read[usize::from(link)].root
            }
            _ => return Err(StatementError::Cache.into()),
        });
    }
    channel.recv_nonce("output point", grind.output)?;
    let rho_all = channel.transcript().draw_many(schedule.point_bits);

    // Move 2.
    channel.step(2);
    let mut cell_claims: Vec<(&Equation, QM31)> = Vec::new();
    let mut reads: Vec<PendingReads<'_>> = Vec::new();
    let mut sums: Vec<QM31> = Vec::with_capacity(equations.len());
    for e in equations {
        let rho = &rho_all[..output_bits(instance, e)];
        let left = match e.left {
            Left::Cells(_) => {
                let value = channel.recv_ext(1)?[0];
                cell_claims.push((e, value));
                value
            }
            Left::Output(o) => evaluate_tensor(&statement.outputs[o as usize], &instance.outputs[o as usize], rho),
        };
        let mut sum = left - m31(e.constant) * output_mass(instance, e, rho);
        if let Some(claim) = linear_claim(instance, e, rho) {
            let value = match (claim.looked_up(), e.products.is_empty()) {
                (true, true) => sum,
                (true, false) => channel.recv_ext(1)?[0],
                (false, _) => claim.public_part(instance, statement),
            };
            sum -= value;
            if claim.looked_up() {
                reads.push(PendingReads { claim, value });
            }
        }
        if e.products.is_empty() && !sum.is_zero() {
            return Err(VerifyError::Equation {
                equation: e.name.clone(),
            });
        }
        sums.push(sum);
    }

    // Move 3.
    channel.step(3);
    channel.recv_nonce("equation batching", grind.output)?;
    let beta = channel.transcript().draw();
    let betas = powers(beta, equations.len());
    let rounds = schedule.product_rounds;
    let total = sums.iter().zip(&betas).fold(QM31::zero(), |a, (&s, &b)| a + s * b) * pow2(rounds as u32);
    let reduced = sumcheck::verify(channel, total, rounds, schedule.product_degree, grind.products)?;
    let row_point = &reduced.point[rounds - rounds.min(schedule.weights.row_bits as usize)..];

    // Move 4.
    channel.step(4);
    let mut weight_claims: Vec<(WeightClaim, QM31)> = Vec::new();
    let mut expected = QM31::zero();
    for (e, &b) in equations.iter().zip(&betas) {
        let rho = &rho_all[..output_bits(instance, e)];
        for p in &e.products {
            let bits = ProductShape::new(instance, e, p).bits();
            let bound = BoundProduct {
                instance,
                equation: e,
                product: p,
                rho,
                tau: &reduced.point[rounds - bits..],
            };
            let mut value =
                b * alignment(p.coefficient, bits) * relations::free_mass(instance, e, p, rho) * bound.shared_eq();
            for side in [Side::A, Side::B] {
                value *= match side.of(p) {
                    Operand::One => QM31::one(),
                    Operand::Reads(_) => {
                        let Some(claim) = bound.operand_claim(side) else {
                            return Err(VerifyError::Products);
                        };
                        if claim.looked_up() {
                            let value = channel.recv_ext(1)?[0];
                            reads.push(PendingReads { claim, value });
                            value
                        } else {
                            claim.public_part(instance, statement)
                        }
                    }
                    Operand::Weight { .. } => {
                        let Some(claim) = bound.weight_claim(side, &schedule.weights, statement) else {
                            return Err(VerifyError::Products);
                        };
                        let value = channel.recv_ext(1)?[0];
                        let folded = claim.folded_value(value, row_point);
                        weight_claims.push((claim, folded));
                        value
                    }
                };
            }
            expected += value;
        }
    }
    if expected != reduced.value {
        return Err(VerifyError::Products);
    }

    // Moves 5 to 7.
    let merged = match roots.is_empty() {
        false => {
            let claims = reads.into_iter().map(|r| {
                let looked_up = r.value - r.claim.public_part(instance, statement);
                (r.claim, looked_up)
            });
            let end = lookups::verify(channel, instance, grind, claims.collect(), inputs, &[])?;
            merge(instance, schedule, &rho_all, &cell_claims, &end, &roots, channel)?
        }
        true => Vec::new(),
    };

    // Move 8.
    channel.step(8);
    let Some(plan) = &schedule.opening else { return Ok(()) };
    let shapes: Vec<TreeShape> = schedule.cells.iter().copied().chain(schedule.channels).collect();
    let functionals: Vec<EqPoint> = merged
        .iter()
        .zip(&shapes)
        .map(|(m, s)| EqPoint(m.point[m.point.len() - s.log_cols as usize..].to_vec()))
        .collect();
    let mut trees = Vec::new();
    for ((m, &shape), functional) in merged.iter().zip(&shapes).zip(&functionals) {
        let row_coeffs = eq_table(&m.point[..m.point.len() - shape.log_cols as usize], shape.rows);
        trees.push(OpenTree {
            root: m.root,
            shape,
            row_coeffs,
            claims: alloc::vec![Claim {
                functional,
                value: m.value
            }],
        });
    }
    if let (Some(root), Some(shape)) = (weights_root, schedule.weights_tree) {
        let claims = weight_claims
            .iter()
            .map(|(f, value)| Claim {
                functional: f,
                value: *value,
            })
            .collect();
        trees.push(OpenTree {
            root: *root,
            shape,
            row_coeffs: eq_table(row_point, shape.rows),
            claims,
        });
    }
    verify_opening(channel, plan, &trees)?;
    Ok(())
}

/// A commitment opened at one point: root, point and value.
struct Opened {
    root: Hash,
    point: Vec<QM31>,
    value: QM31,
}

/// Move 7: every vector of cells and the channels, each opened at the end of its sumcheck.
fn merge(
    instance: &Instance<'_>,
    schedule: &Schedule,
    rho: &[QM31],
    cell_claims: &[(&Equation, QM31)],
    end: &LookupEnd,
    roots: &[Hash],
    channel: &mut Channel<'_>,
) -> Result<Vec<Opened>, VerifyError> {
    channel.step(7);
    channel.recv_nonce("cell claim batching", schedule.grinding.merge)?;
    let delta = channel.transcript().draw();
    let deltas = powers(delta, cell_claims.len() + 3);
    let (cell_bits, channel_bits) = (merge_bits(instance), bits_for(instance.channel_cells));
    let rounds = cell_bits.max(channel_bits);
    let (own, shared) = deltas.split_at(cell_claims.len());
    let on_cells = cell_claims
        .iter()
        .zip(own)
        .fold(shared[0] * end.keys, |a, ((_, v), &d)| a + d * *v);
    let on_channels = shared[1] * end.table_numerators + shared[2] * end.column;
    // Aligned at the last variable, the shorter sum counts 2^(difference) times.
    let total = on_cells * pow2((rounds - cell_bits) as u32) + on_channels * pow2((rounds - channel_bits) as u32);
    let reduced = sumcheck::verify(channel, total, rounds, 2, schedule.grinding.merge)?;
    let values = channel.recv_ext(instance.vectors.len() + 1)?;
    let (&on_channels, on_vectors) = values.split_last().ok_or(VerifyError::Merge)?;
    let point = |bits: usize| &reduced.point[rounds - bits..];
    let psi = cells::channel_functional(instance, end, (shared[1], shared[2]), point(channel_bits));
    let mut expected = on_channels * psi;
    let mut opened = Vec::with_capacity(values.len());
    for (at, ((vector, &root), &value)) in instance.vectors.iter().zip(roots).zip(on_vectors).enumerate() {
        let bits = bits_for(vector.cells);
        let z = point(bits);
        let mut phi = shared[0] * cells::keys(instance, at, &end.zeta, z);
        for ((e, _), &d) in cell_claims.iter().zip(own) {
            phi += d * cells::left_cells(instance, at, e, &rho[..output_bits(instance, e)], z);
        }
        // A claim may touch several vectors, and all of them count as often as the longest.
        expected += value * phi * pow2((cell_bits - bits) as u32).inverse();
        opened.push(Opened {
            root,
            point: z.to_vec(),
            value,
        });
    }
    if expected != reduced.value {
        return Err(VerifyError::Merge);
    }
    opened.push(Opened {
        root: end.root,
        point: point(channel_bits).to_vec(),
        value: on_channels,
    });
    Ok(opened)
}
