//! The soundness sum: every error term of a proof, and the proof of work that lifts short ones.
//!
//! Prover, verifier and command line call [`Schedule::new`]: it derives from instance and parameters the shape of all
//! commitments, the nonce bits before each challenge, and the list of terms. An error term of b bits gets
//! `max(0, target - b)` bits of proof of work before its challenge, so that each term reaches the target, and the sum
//! of all terms is at least [`FLOOR_BITS`]. All bounds are proved ones (unique decoding, random oracle).

use alloc::{string::String, vec::Vec};

use mlc_circuit::{Circuit, Instance, WeightLayout, bits_for};
use serde::{Deserialize, Serialize};

use crate::commitment::plan::FIELD_BITS;
use crate::commitment::{Plan, Target, Term, TreeShape};
use crate::relations::{output_bits, point_bits, product_degree, product_rounds};

/// The verifier refuses parameters whose total is below this.
pub const FLOOR_BITS: f64 = 100.0;

/// Parameters of the proof system, fixed in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters {
    /// Bits that every error term reaches, proof of work included.
    pub term_bits: u32,
    /// Rate `2^-k` of the committed weights (paid once).
    pub weights_log_inv_rate: u32,
    /// Rate `2^-k` of what a proof commits.
    pub witness_log_inv_rate: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            term_bits: 105,
            weights_log_inv_rate: 3,
            witness_log_inv_rate: 2,
        }
    }
}

/// Codewords of weights have at most this many cells where a lower rate would give them more: 2 GiB.
const WEIGHT_CODEWORD: u64 = 1 << 29;

impl Parameters {
    /// The default parameters for a circuit: weights are encoded at rate 1/8, which is paid once and saves opened columns,
    /// but no rate below 1/2 may take the codeword, which a prover keeps, beyond [`WEIGHT_CODEWORD`] cells.
    pub fn of(circuit: &Circuit) -> Self {
        let layout = WeightLayout::new(circuit);
        let message = 1u64 << (layout.row_bits + layout.log_columns());
        let default = Self::default();
        let fits = |&k: &u32| message << k <= WEIGHT_CODEWORD;
        Self {
            weights_log_inv_rate: (1..=default.weights_log_inv_rate).rev().find(fits).unwrap_or(1),
            ..default
        }
    }
}

/// Why parameters are refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// The total is below the floor.
    #[error("the parameters give {bits:.1} bits of security, below the floor of {FLOOR_BITS}")]
    Floor {
        /// The total.
        bits: f64,
    },
    /// A parameter is out of range.
    #[error(
        "the parameters are out of range: term bits {term_bits} (at most 128), rates 2^-{weights} and 2^-{witness} (2^-1 to 2^-16)"
    )]
    Parameters {
        /// Bits per term.
        term_bits: u32,
        /// Rate of the weights.
        weights: u32,
        /// Rate of the witness.
        witness: u32,
    },
    /// A commitment has no code of its size.
    #[error("a commitment of {cells} cells is too large for the code")]
    Shape {
        /// Its cells.
        cells: usize,
    },
}

/// The matrix in which a flat vector of `cells` base elements is committed: index = row · 2^log_cols + column.
/// Weighs opened columns (4 bytes per row and query) against the folded vector and the encoding.
pub fn vector_shape(cells: usize, log_inv_rate: u32) -> Result<TreeShape, ScheduleError> {
    let top = bits_for(cells) as u32;
    (top.saturating_sub(10)..=top)
        .filter(|&log_cols| log_cols + log_inv_rate >= 1)
        .map(|log_cols| TreeShape {
            rows: cells.div_ceil(1 << log_cols),
            log_cols,
            log_inv_rate,
        })
        .filter(TreeShape::is_valid)
        .min_by_key(|s| 440 * s.rows as u64 + (1760u64 << s.log_cols.div_ceil(3)))
        .ok_or(ScheduleError::Shape { cells })
}

/// What every term of a link has to reach beyond the target of an inference on its own, so that a chain reaches the floor.
fn chain_bits(instance: &Instance<'_>) -> u32 {
    if instance.entry.grows() {
        1 + bits_for(instance.links.len() + 1) as u32
    } else {
        0
    }
}

/// Variables of the largest vector of cells.
pub fn merge_bits(instance: &Instance<'_>) -> usize {
    instance.vectors.iter().map(|v| bits_for(v.cells)).max().unwrap_or(0)
}

/// The shape in which a circuit's weights are committed.
pub fn weights_shape(layout: &WeightLayout, params: &Parameters) -> Option<TreeShape> {
    let shape = TreeShape {
        rows: 1 << layout.row_bits,
        log_cols: layout.log_columns(),
        log_inv_rate: params.weights_log_inv_rate,
    };
    (!layout.columns.is_empty()).then_some(shape)
}

/// Proof-of-work bits before each kind of challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grinding {
    /// Before the output point and the batching of equations.
    pub output: u32,
    /// Before each round of the batch of products.
    pub products: u32,
    /// Before the batching of source claims.
    pub sources: u32,
    /// Before the LogUp challenges.
    pub lookups: u32,
    /// Before each challenge inside the fraction tree.
    pub fractions: u32,
    /// Before each round of the table sumcheck.
    pub tables: u32,
    /// Before the batching of cell claims and each round of the merge.
    pub merge: u32,
}

/// Everything about a run that instance and parameters determine.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The parameters.
    pub params: Parameters,
    /// Layout of the weights.
    pub weights: WeightLayout,
    /// Variables of the output point.
    pub point_bits: usize,
    /// Rounds of the batch of products.
    pub product_rounds: usize,
    /// Its degree.
    pub product_degree: usize,
    /// Shapes of the commitments to cells, one for each of the instance's vectors: the witness, and in a chain what this
    /// link and each earlier one appends.
    pub cells: Vec<TreeShape>,
    /// Shape of the pushforward commitment; `None` without lookups.
    pub channels: Option<TreeShape>,
    /// Shape of the weight commitment; `None` without weights.
    pub weights_tree: Option<TreeShape>,
    /// The opening of all of them, in the order cells, channels, weights.
    pub opening: Option<Plan>,
    /// Nonce bits.
    pub grinding: Grinding,
    /// Every error term.
    pub terms: Vec<Term>,
}

impl Parameters {
    /// Refuses values that no commitment has.
    pub fn check(&self) -> Result<(), ScheduleError> {
        let rate = |k: u32| (1..=16).contains(&k);
        if self.term_bits <= 128 && rate(self.weights_log_inv_rate) && rate(self.witness_log_inv_rate) {
            return Ok(());
        }
        Err(ScheduleError::Parameters {
            term_bits: self.term_bits,
            weights: self.weights_log_inv_rate,
            witness: self.witness_log_inv_rate,
        })
    }
}

impl Schedule {
    /// Derives the schedule; refuses parameters below the floor.
    pub fn new(instance: &Instance<'_>, params: &Parameters) -> Result<Self, ScheduleError> {
        params.check()?;
        let weights = WeightLayout::new(instance.circuit);
        let shape = |cells: usize| vector_shape(cells, params.witness_log_inv_rate);
        let cells = instance
            .vectors
            .iter()
            .map(|v| shape(v.cells))
            .collect::<Result<Vec<_>, _>>()?;
        let channels = match instance.channel_cells {
            0 => None,
            n => Some(shape(n)?),
        };
        let weights_tree = weights_shape(&weights, params);
        let trees: Vec<TreeShape> = cells.iter().copied().chain(channels).chain(weights_tree).collect();
        // Links add up, and so do the trees of one link (docs/protocol/cache.md).
        let term_bits = params.term_bits + chain_bits(instance);
        let target = Target {
            term_bits: term_bits + bits_for(cells.len()) as u32,
            pow_bits: None,
        };
        let opening = if trees.is_empty() {
            None
        } else {
            let cells = weights.used_columns << weights.row_bits;
            Some(Plan::new(&trees, target).ok_or(ScheduleError::Shape { cells })?)
        };

        // The challenges of the first three are charged twice: for the equation that they test, and for the pole of a key
        // outside its table, whose weight is a polynomial in them.
        let mut terms = Vec::new();
        let mut term = |name: &str, error: f64, floor: u32| -> u32 {
            let bits = FIELD_BITS - libm::log2(error.max(1.0));
            let pow_bits = (libm::ceil(f64::from(term_bits) - bits).max(0.0) as u32).max(floor);
            terms.push(Term {
                name: String::from(name),
                bits,
                pow_bits,
            });
            pow_bits
        };
        let equations = &instance.entry.equations;
        let rounds = product_rounds(instance, &weights);
        let degree = product_degree(instance);
        let most = equations.iter().map(|e| output_bits(instance, e)).max().unwrap_or(0);
        let claims: usize = equations.iter().map(|e| 1 + 2 * e.products.len()).sum();
        let fold = |tree: usize| opening.as_ref().map_or(0, |p| p.fold_pow_bits(tree));
        let committed = cells.len() + usize::from(channels.is_some());
        let merge_rounds = merge_bits(instance).max(bits_for(instance.channel_cells));
        let leaf_bits = bits_for(instance.leaves.max(1));
        let mut grinding = Grinding {
            output: term(
                "output point and equation batching",
                2.0 * (most + equations.len()) as f64,
                0,
            ),
            products: term(
                "batch of products",
                2.0 * (rounds * degree) as f64,
                if weights_tree.is_some() { fold(committed) } else { 0 },
            ),
            ..Grinding::default()
        };
        if instance.leaves > 0 {
            grinding.sources = term("source claim batching", 2.0 * claims as f64, 0);
            // Poles: as many as leaves and table keys; channels and tags are separated by two more challenges.
            grinding.lookups = term("lookup fingerprints", 4.0 * instance.leaves as f64, 0);
            grinding.fractions = term("fraction tree", (2 * leaf_bits * (leaf_bits + 3)) as f64 * 2.0, 0);
            grinding.tables = term("table sumcheck", 2.0 * bits_for(instance.column_cells) as f64, 0);
            grinding.merge = term(
                "merge of cell claims",
                (equations.len() + 3 + 2 * merge_rounds) as f64,
                (0..committed).map(fold).max().unwrap_or(0),
            );
        }
        if let Some(p) = &opening {
            let weight_claims = equations.iter().map(|e| e.products.len()).sum::<usize>();
            terms.extend(p.security_terms(weight_claims + 2));
        }
        let schedule = Self {
            params: *params,
            point_bits: point_bits(instance),
            product_rounds: rounds,
            product_degree: degree,
            weights,
            cells,
            channels,
            weights_tree,
            opening,
            grinding,
            terms,
        };
        let bits = schedule.total_bits();
        if bits < FLOOR_BITS {
            Err(ScheduleError::Floor { bits })
        } else {
            Ok(schedule)
        }
    }

    /// Bits of the sum of all error terms.
    pub fn total_bits(&self) -> f64 {
        -libm::log2(self.terms.iter().map(|t| libm::exp2(-t.total())).sum::<f64>())
    }
}
