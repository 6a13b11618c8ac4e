//! The proof of an inference, verifying side: the moves of docs/protocol/overview.md in order.
//!
//! | move | received | drawn after |
//! |---|---|---|
//! | 0 | the statement is absorbed | |
//! | 1 | root of the witness | ρ, β |
//! | 2 | cell claims and linear read claims at ρ | |
//! | 3 | one batch of product sumchecks | κ, τ round by round |
//! | 4 | operand claims | γ |
//! | 5 | root of pushforwards and multiplicities | α, η, θ |
//! | 6 | fraction tree; keys and channels at ζ; table sumcheck, column value at ξ | δ |
//! | 7 | one batch of two sumchecks that merges claims on cells, the cells at its end | |
//! | 8 | the opening of witness, pushforwards and weights | |

use alloc::{string::String, vec::Vec};

use mlc_circuit::{Circuit, Equation, Instance, InstanceError, Left, Operand, bits_for};
use num_traits::{One, Zero};

use crate::cells::{self, Fingerprint};
use crate::commitment::{Claim, EqPoint, OpenTree, OpeningError, verify_opening};
use crate::field::{QM31, eq_table, m31, pow2, powers};
use crate::logup::{self, LogUpError};
use crate::relations::{
    self, BoundProduct, ProductShape, ReadClaim, Side, WeightClaim, alignment, evaluate_tensor, linear_claim,
    output_bits, output_mass,
};
use crate::security::{Parameters, Schedule, ScheduleError};
use crate::statement::{Statement, StatementError};
use crate::sumcheck;
use crate::transcript::{Channel, Hash, ReadError};

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
    let instance = circuit.instantiate(statement.entry as usize, &statement.dims)?;
    statement.check(&instance)?;
    let schedule = Schedule::new(&instance, params)?;
    if weights_root.is_some() != schedule.weights_tree.is_some() {
        return Err(VerifyError::Weights);
    }
    let mut channel = Channel::new(statement.transcript(digest, weights_root, &schedule), proof);
    run(&instance, &schedule, weights_root, statement, &mut channel)?;
    channel.finish()?;
    Ok(())
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
    let witness_root = if schedule.witness.is_some() {
        Some(channel.recv_hash()?)
    } else {
        None
    };
    channel.recv_nonce("output point", grind.output)?;
    let rho_all = channel.transcript().draw_many(schedule.point_bits);

    // Move 2.
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
                (false, _) => claim.public_part(instance, inputs),
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
    channel.recv_nonce("equation batching", grind.output)?;
    let beta = channel.transcript().draw();
    let betas = powers(beta, equations.len());
    let rounds = schedule.product_rounds;
    let total = sums.iter().zip(&betas).fold(QM31::zero(), |a, (&s, &b)| a + s * b) * pow2(rounds as u32);
    let reduced = sumcheck::verify(channel, total, rounds, schedule.product_degree, grind.products)?;
    let row_point = &reduced.point[rounds - rounds.min(schedule.weights.row_bits as usize)..];

    // Move 4.
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
                            claim.public_part(instance, inputs)
                        }
                    }
                    Operand::Weight { .. } => {
                        let Some(claim) = bound.weight_claim(side, &schedule.weights) else {
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
    let merged = match (schedule.witness, schedule.channels, witness_root) {
        (Some(_), Some(_), Some(root)) => Some(lookups(
            instance,
            schedule,
            inputs,
            &rho_all,
            &cell_claims,
            reads,
            root,
            channel,
        )?),
        _ => None,
    };

    // Move 8.
    let Some(plan) = &schedule.opening else { return Ok(()) };
    let mut points = Vec::new();
    if let Some(m) = &merged {
        points.push((m.witness_root, schedule.witness, &m.witness_point, m.witness_value));
        points.push((m.channels_root, schedule.channels, &m.channels_point, m.channels_value));
    }
    let functionals: Vec<EqPoint> = points
        .iter()
        .map(|(_, shape, point, _)| EqPoint(point[point.len() - shape.map_or(0, |s| s.log_cols as usize)..].to_vec()))
        .collect();
    let mut trees = Vec::new();
    for ((root, shape, point, value), functional) in points.iter().zip(&functionals) {
        let Some(shape) = *shape else { continue };
        let row_coeffs = eq_table(&point[..point.len() - shape.log_cols as usize], shape.rows);
        trees.push(OpenTree {
            root: *root,
            shape,
            row_coeffs,
            claims: alloc::vec![Claim {
                functional,
                value: *value
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

/// Where the merge of cell claims ended.
struct Merged {
    witness_root: Hash,
    witness_point: Vec<QM31>,
    witness_value: QM31,
    channels_root: Hash,
    channels_point: Vec<QM31>,
    channels_value: QM31,
}

/// Moves 5 to 7.
#[allow(clippy::too_many_arguments)]
fn lookups(
    instance: &Instance<'_>,
    schedule: &Schedule,
    inputs: &[Vec<i32>],
    rho_all: &[QM31],
    cell_claims: &[(&Equation, QM31)],
    reads: Vec<PendingReads<'_>>,
    witness_root: Hash,
    channel: &mut Channel<'_>,
) -> Result<Merged, VerifyError> {
    let grind = &schedule.grinding;
    channel.recv_nonce("source claim batching", grind.sources)?;
    let gamma = channel.transcript().draw();
    let gammas = cells::claim_powers(gamma, reads.len());

    // Move 5.
    let channels_root = channel.recv_hash()?;
    channel.recv_nonce("lookup fingerprint", grind.lookups)?;
    let drawn = channel.transcript().draw_many(3);
    let fingerprint = Fingerprint {
        alpha: drawn[0],
        eta: drawn[1],
        theta: drawn[2],
    };

    // Move 6: fractions.
    let leaf = logup::verify(channel, instance.leaves, grind.fractions)?;
    let zeta = &leaf.point;
    let sent = channel.recv_ext(2)?;
    let (keys, table_numerators) = (sent[0], sent[1]);
    // What the tables must give; fixed before any challenge of the table sumcheck.
    let mut total = QM31::zero();
    let mut claims = Vec::with_capacity(reads.len());
    for (r, &g) in reads.into_iter().zip(&gammas) {
        total += g * (r.value - r.claim.public_part(instance, inputs));
        claims.push(r.claim);
    }
    if cells::numerator(instance, &fingerprint, zeta, &claims, &gammas) - table_numerators != leaf.numerator {
        return Err(VerifyError::Numerator);
    }
    if cells::denominator(instance, &fingerprint, zeta, keys) != leaf.denominator {
        return Err(VerifyError::Denominator);
    }

    // Move 6: tables.
    let reduced = sumcheck::verify(channel, total, bits_for(instance.column_cells), 2, grind.tables)?;
    let column = channel.recv_ext(1)?[0];
    if column * cells::table_values(instance, &reduced.point) != reduced.value {
        return Err(VerifyError::Tables);
    }

    // Move 7.
    let claims = MergeClaims {
        cells: cell_claims,
        rho: rho_all,
        zeta,
        keys,
        table_numerators,
        xi: &reduced.point,
        column,
    };
    let (witness, channels) = merge(instance, schedule, &fingerprint, &claims, channel)?;
    Ok(Merged {
        witness_root,
        channels_root,
        witness_point: witness.0,
        witness_value: witness.1,
        channels_point: channels.0,
        channels_value: channels.1,
    })
}

/// What move 7 merges.
struct MergeClaims<'a> {
    cells: &'a [(&'a Equation, QM31)],
    rho: &'a [QM31],
    zeta: &'a [QM31],
    keys: QM31,
    table_numerators: QM31,
    xi: &'a [QM31],
    column: QM31,
}

type PointValue = (Vec<QM31>, QM31);

/// Move 7: the cells' values at the ends of two sumchecks, for the witness and for the pushforwards.
fn merge(
    instance: &Instance<'_>,
    schedule: &Schedule,
    fingerprint: &Fingerprint,
    claims: &MergeClaims<'_>,
    channel: &mut Channel<'_>,
) -> Result<(PointValue, PointValue), VerifyError> {
    channel.recv_nonce("cell claim batching", schedule.grinding.merge)?;
    let delta = channel.transcript().draw();
    let deltas = powers(delta, claims.cells.len() + 3);
    let (witness_bits, channel_bits) = (bits_for(instance.cells), bits_for(instance.channel_cells));
    let rounds = witness_bits.max(channel_bits);
    let (own, shared) = deltas.split_at(claims.cells.len());
    let on_witness = claims
        .cells
        .iter()
        .zip(own)
        .fold(shared[0] * claims.keys, |a, ((_, v), &d)| a + d * *v);
    let on_channels = shared[1] * claims.table_numerators + shared[2] * claims.column;
    let (lift_witness, lift_channels) = (
        pow2((rounds - witness_bits) as u32),
        pow2((rounds - channel_bits) as u32),
    );
    let total = on_witness * lift_witness + on_channels * lift_channels;
    let reduced = sumcheck::verify(channel, total, rounds, 2, schedule.grinding.merge)?;
    let values = channel.recv_ext(2)?;
    let witness_point = reduced.point[rounds - witness_bits..].to_vec();
    let channels_point = reduced.point[rounds - channel_bits..].to_vec();
    let mut phi = shared[0] * cells::keys(instance, claims.zeta, &witness_point);
    for ((e, _), &d) in claims.cells.iter().zip(own) {
        phi += d * cells::left_cells(instance, e, &claims.rho[..output_bits(instance, e)], &witness_point);
    }
    let psi = shared[1] * cells::table_numerators(instance, fingerprint, claims.zeta, &channels_point)
        + shared[2] * cells::column_values(instance, claims.xi, &channels_point);
    if values[0] * phi + values[1] * psi != reduced.value {
        return Err(VerifyError::Merge);
    }
    Ok(((witness_point, values[0]), (channels_point, values[1])))
}
