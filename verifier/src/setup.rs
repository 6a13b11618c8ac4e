//! The setup proof of a key, verifying side: committed weights are in range, their column sums within bounds, their
//! padding zero.
//!
//! The facts are the lookups of the setup circuit (`mlc_circuit::setup`) over the committed weights themselves: moves 4
//! to 6 of an inference with the weights' root in place of a witness, the sums of magnitudes in place of outputs. The claim on
//! keys at ζ is opened directly: the row challenges are ζ's low bits, the columns' functional is eq at its next bits.
//! See docs/protocol/setup.md.

use alloc::{string::String, vec::Vec};

use mlc_circuit::setup::{SetupCircuit, Sum};
use mlc_circuit::{Circuit, Instance, WeightLayout, bits_for};
use num_traits::One;

use crate::cells;
use crate::commitment::plan::FIELD_BITS;
use crate::commitment::{Claim, EqPoint, Functional, OpenTree, Plan, Target, Term, TreeShape, verify_opening};
use crate::field::{P, QM31, eq_table, powers};
use crate::functional::prefix_joint_mass;
use crate::inference::VerifyError;
use crate::lookups;
use crate::relations::{evaluate_tensor, linear_claim, output_bits, point_bits};
use crate::security::{FLOOR_BITS, Grinding, Parameters, ScheduleError, vector_shape, weights_shape};
use crate::sumcheck;
use crate::transcript::{Channel, Hash, Transcript};

/// Name and version of the setup protocol.
pub const PROTOCOL: &[u8] = b"mlc setup v1";

/// Why a setup proof is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SetupError {
    /// A step of the proof fails.
    #[error("setup proof: {0}")]
    Proof(#[from] VerifyError),
    /// A column's sum of magnitudes is beyond its declared bound.
    #[error("weight '{name}': column {column} sums to {sum}, the bound is {bound}")]
    ColumnSum {
        /// The weight.
        name: String,
        /// Row-major index over the outer axes.
        column: usize,
        /// The proved sum.
        sum: u32,
        /// The declared bound.
        bound: u64,
    },
    /// Column sums of this weight could wrap in M31.
    #[error("weight '{name}' is too long for a column sum in M31")]
    Wrap {
        /// The weight.
        name: String,
    },
}

/// What circuit and parameters determine about a setup proof.
pub struct SetupSchedule {
    /// The weights' tree.
    pub weights: TreeShape,
    /// The channels' tree.
    pub channels: TreeShape,
    /// The opening of channels and weights, in this order.
    pub opening: Plan,
    /// Nonce bits.
    pub grinding: Grinding,
    /// Error terms.
    pub terms: Vec<Term>,
}

impl SetupSchedule {
    /// Derives the schedule of a setup instance.
    pub fn new(instance: &Instance<'_>, layout: &WeightLayout, params: &Parameters) -> Result<Self, ScheduleError> {
        params.check()?;
        let cells = instance.cells();
        let weights = weights_shape(layout, params).ok_or(ScheduleError::Shape { cells })?;
        let channels = vector_shape(instance.channel_cells, params.witness_log_inv_rate)?;
        let target = Target {
            term_bits: params.term_bits,
            pow_bits: None,
        };
        let opening = Plan::new(&[channels, weights], target).ok_or(ScheduleError::Shape { cells })?;
        let mut terms = Vec::new();
        let mut term = |name: &str, error: f64, floor: u32| -> u32 {
            let bits = FIELD_BITS - libm::log2(error.max(1.0));
            let pow_bits = (libm::ceil(f64::from(params.term_bits) - bits).max(0.0) as u32).max(floor);
            terms.push(Term {
                name: name.into(),
                bits,
                pow_bits,
            });
            pow_bits
        };
        let claims = instance.entry.equations.len();
        let leaf_bits = bits_for(instance.leaves) as f64;
        let rows_floor = opening.fold_pow_bits(1);
        let grinding = Grinding {
            output: term("column point", point_bits(instance) as f64, 0),
            sources: term("column claim batching", claims as f64, 0),
            lookups: term("lookup fingerprints", 4.0 * instance.leaves as f64, 0),
            // ζ's low bits are the row challenges of the weights.
            fractions: term("fraction tree", 4.0 * leaf_bits * (leaf_bits + 3.0), rows_floor),
            tables: term("table sumcheck", 2.0 * bits_for(instance.column_cells) as f64, 0),
            merge: term(
                "merge of channel claims",
                2.0 + 2.0 * bits_for(instance.channel_cells) as f64,
                opening.fold_pow_bits(0),
            ),
            products: 0,
        };
        terms.extend(opening.security_terms(2));
        let bits = -libm::log2(terms.iter().map(|t| libm::exp2(-t.total())).sum::<f64>());
        if bits < FLOOR_BITS {
            return Err(ScheduleError::Floor { bits });
        }
        Ok(Self {
            weights,
            channels,
            opening,
            grinding,
            terms,
        })
    }
}

/// The transcript after the statement of a setup proof.
pub fn transcript(digest: &Hash, root: &Hash, schedule: &SetupSchedule, params: &Parameters) -> Transcript {
    let mut t = Transcript::new(PROTOCOL);
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    t.absorb(&words(&[
        params.term_bits,
        params.weights_log_inv_rate,
        params.witness_log_inv_rate,
    ]));
    t.absorb(digest);
    t.absorb(root);
    t.absorb(&words(&[
        schedule.weights.rows as u32,
        schedule.weights.log_cols,
        schedule.weights.log_inv_rate,
    ]));
    t
}

/// `scale · eq(point, i)` for `i < len`, 0 beyond: the columns in use.
pub struct PrefixEq {
    /// The point.
    pub point: Vec<QM31>,
    /// Entries in use.
    pub len: usize,
    /// Factor.
    pub scale: QM31,
}

impl Functional for PrefixEq {
    fn eval(&self, z: &[QM31]) -> QM31 {
        self.scale * prefix_joint_mass(&self.point, z, self.len)
    }

    fn accumulate(&self, scale: QM31, out: &mut [QM31]) {
        let s = scale * self.scale;
        for (o, e) in out.iter_mut().zip(eq_table(&self.point, self.len)) {
            *o += s * e;
        }
    }
}

/// The functional of the weights' folded vector whose value is the keys' claim at ζ, and the row challenges.
pub fn keys_functional<'z>(layout: &WeightLayout, zeta: &'z [QM31]) -> (PrefixEq, &'z [QM31]) {
    let (rest, rows) = zeta.split_at(zeta.len() - layout.row_bits as usize);
    let (top, columns) = rest.split_at(rest.len() - layout.log_columns() as usize);
    let scale = top.iter().fold(QM31::one(), |a, &t| a * (QM31::one() - t));
    (
        PrefixEq {
            point: columns.to_vec(),
            len: layout.used_columns,
            scale,
        },
        rows,
    )
}

/// Verifies the setup proof of a circuit with weights.
pub fn verify(
    circuit: &Circuit,
    digest: &Hash,
    root: &Hash,
    params: &Parameters,
    proof: &[u8],
) -> Result<(), SetupError> {
    let layout = WeightLayout::new(circuit);
    let setup = SetupCircuit::new(circuit, &layout);
    for w in &circuit.weights {
        let padded = u64::from(w.row_len).next_multiple_of(1 << layout.row_bits);
        if w.proves_column_sum() && padded * w.magnitude() >= u64::from(P) {
            return Err(SetupError::Wrap { name: w.name.clone() });
        }
    }
    let instance = setup.circuit.instantiate(0, &[]).map_err(VerifyError::from)?;
    let schedule = SetupSchedule::new(&instance, &layout, params).map_err(VerifyError::from)?;
    let mut channel = Channel::new(transcript(digest, root, &schedule, params), proof);
    let sums = run(&instance, &setup, &layout, &schedule, root, &mut channel)?;
    channel.finish().map_err(VerifyError::from)?;
    for (what, sums) in setup.sums.iter().zip(&sums) {
        let Sum::Column { weight } = what else { continue };
        let w = &circuit.weights[*weight];
        if let Some(column) = sums.iter().position(|&s| u64::from(s.unsigned_abs()) > w.column_sum) {
            let sum = sums[column].unsigned_abs();
            return Err(SetupError::ColumnSum {
                name: w.name.clone(),
                column,
                sum,
                bound: w.column_sum,
            });
        }
    }
    Ok(())
}

fn run(
    instance: &Instance<'_>,
    setup: &SetupCircuit,
    layout: &WeightLayout,
    schedule: &SetupSchedule,
    root: &Hash,
    channel: &mut Channel<'_>,
) -> Result<Vec<Vec<i32>>, VerifyError> {
    let grind = &schedule.grinding;
    let mut sums: Vec<Vec<i32>> = Vec::new();
    for (what, shape) in setup.sums.iter().zip(&instance.outputs) {
        let len = shape.iter().product();
        sums.push(match what {
            // Canonical elements are below 2^31 - 1.
            Sum::Column { .. } => channel.recv_base(len)?.iter().map(|v| v.0 as i32).collect(),
            Sum::Padding { .. } => alloc::vec![0; len],
        });
    }
    channel.recv_nonce("column point", grind.output)?;
    let rho = channel.transcript().draw_many(point_bits(instance));
    let mut claims = Vec::new();
    for ((e, sums), shape) in instance.entry.equations.iter().zip(&sums).zip(&instance.outputs) {
        let rho = &rho[..output_bits(instance, e)];
        if let Some(claim) = linear_claim(instance, e, rho) {
            claims.push((claim, evaluate_tensor(sums, shape, rho)));
        }
    }
    let end = lookups::verify(channel, instance, grind, claims, &[], &setup.shifts)?;

    channel.recv_nonce("channel claim batching", grind.merge)?;
    let delta = channel.transcript().draw();
    let deltas = powers(delta, 2);
    let total = deltas[0] * end.table_numerators + deltas[1] * end.column;
    let reduced = sumcheck::verify(channel, total, bits_for(instance.channel_cells), 2, grind.merge)?;
    let value = channel.recv_ext(1)?[0];
    if value * cells::channel_functional(instance, &end, (deltas[0], deltas[1]), &reduced.point) != reduced.value {
        return Err(VerifyError::Merge);
    }

    let log_cols = schedule.channels.log_cols as usize;
    let (high, low) = reduced.point.split_at(reduced.point.len() - log_cols);
    let point = EqPoint(low.to_vec());
    let (columns, rows) = keys_functional(layout, &end.zeta);
    let trees = [
        OpenTree {
            root: end.root,
            shape: schedule.channels,
            row_coeffs: eq_table(high, schedule.channels.rows),
            claims: alloc::vec![Claim {
                functional: &point,
                value
            }],
        },
        OpenTree {
            root: *root,
            shape: schedule.weights,
            row_coeffs: eq_table(rows, schedule.weights.rows),
            claims: alloc::vec![Claim {
                functional: &columns,
                value: end.keys
            }],
        },
    ];
    verify_opening(channel, &schedule.opening, &trees)?;
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::mle;

    #[test]
    fn a_prefix_of_eq_agrees_with_its_coefficients() {
        let point = |s: u32| -> Vec<QM31> {
            (0..4)
                .map(|i| QM31::from_u32_unchecked(s + i, i * i + 3, 7, s))
                .collect()
        };
        for len in 0..=16 {
            let f = PrefixEq {
                point: point(5),
                len,
                scale: QM31::from_u32_unchecked(3, 1, 4, 1),
            };
            assert_eq!(f.eval(&point(90)), mle(&f.coefficients(4), &point(90)));
        }
    }
}
