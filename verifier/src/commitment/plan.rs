//! The shape of an opening: which matrices the folded vectors are committed as, at which rates, how many columns of
//! each tree are opened, and the bits of every proof of work. A pure function of the level-0 shapes and the target.
//!
//! The vectors folded from the level-0 trees are laid out one after the other, longest first, which keeps each one
//! aligned to its length. Each level then writes its vector as a matrix, commits to it, and folds the rows: lengths
//! fall until the vector is short enough to send. A dynamic program over the length chooses matrix and rate of every
//! level, by the expected proof bytes plus a price for every codeword cell to be encoded and hashed.

use alloc::vec;
use alloc::vec::Vec;

use super::shape::{Queries, TreeShape};
use crate::field::bits_for;

/// log2 of the size of the extension field, rounded down.
pub const FIELD_BITS: f64 = 123.999_999;

/// A clear vector has at most this many variables.
const MAX_LOG_CLEAR: u32 = 8;

/// The first vector has at most this many entries: a power of two that a 32-bit `usize` holds.
const MAX_LEN: usize = 1 << 31;

/// What encoding and hashing one codeword cell is worth in proof bytes.
const BYTES_PER_CELL: f64 = 1.0 / 64.0;

/// The security to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Bits that each error term must have, its proof of work included.
    pub term_bits: u32,
    /// Proof-of-work bits before positions are drawn; `None` chooses by size.
    pub pow_bits: Option<u32>,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            term_bits: 104,
            pow_bits: None,
        }
    }
}

/// A level-0 tree within an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedTree {
    /// The committed matrix.
    pub shape: TreeShape,
    /// Its opened columns.
    pub queries: Queries,
    /// Where its folded vector starts in the first vector; a multiple of its length.
    pub offset: usize,
}

/// One folded vector that is committed rather than sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedLevel {
    /// Variables of the vector: its sumcheck has this many rounds.
    pub log_len: u32,
    /// Rows of extension elements; entry `row · 2^log_cols + col` of the vector is cell (row, col).
    pub rows: usize,
    /// The tree: four base rows for each extension row.
    pub shape: TreeShape,
    /// Its opened columns.
    pub queries: Queries,
    /// Proof-of-work bits before each sumcheck challenge.
    pub round_pow_bits: u32,
}

impl PlannedLevel {
    /// Variables that index rows.
    pub fn log_rows(&self) -> u32 {
        self.log_len - self.shape.log_cols
    }
}

/// The whole opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The security aimed at.
    pub target: Target,
    /// The level-0 trees, in the caller's order.
    pub trees: Vec<PlannedTree>,
    /// Entries of the first vector that belong to a tree; those behind are absent.
    pub len: usize,
    /// The committed vectors, the longest first; none where the first vector is sent in clear.
    pub levels: Vec<PlannedLevel>,
}

impl Plan {
    /// Plans the opening of `trees`; `None` where there is no tree, one has an invalid shape, or they are too many.
    pub fn new(trees: &[TreeShape], target: Target) -> Option<Self> {
        if trees.is_empty() || trees.iter().any(|t| !t.is_valid()) {
            return None;
        }
        let cells = trees.iter().try_fold(0u64, |sum, t| sum.checked_add(t.cells()))?;
        // A nonce should cost little beside encoding and hashing the codewords: 2^14 hashes are a quarter of a
        // millisecond of one core, 2^20 fifteen.
        let pow_bits = target
            .pow_bits
            .unwrap_or(match cells.checked_next_power_of_two()?.trailing_zeros() {
                0..=18 => 14,
                19..=21 => 16,
                22..=24 => 18,
                _ => 20,
            });
        let target = Target {
            pow_bits: Some(pow_bits),
            ..target
        };

        let mut order: Vec<usize> = (0..trees.len()).collect();
        order.sort_by_key(|&i| (core::cmp::Reverse(trees[i].log_cols), i));
        let mut offsets = vec![0; trees.len()];
        let mut len = 0usize;
        for i in order {
            offsets[i] = len;
            len = trees[i].cols().checked_add(len).filter(|&len| len <= MAX_LEN)?;
        }
        let planned = trees
            .iter()
            .zip(&offsets)
            .map(|(&shape, &offset)| PlannedTree {
                shape,
                queries: shape.queries(target.term_bits, pow_bits),
                offset,
            })
            .collect();
        Some(Self {
            target,
            trees: planned,
            len,
            levels: plan_levels(len, target.term_bits, pow_bits),
        })
    }

    /// Variables of the first vector.
    pub fn log_len(&self) -> u32 {
        bits_for(self.len) as u32
    }

    /// Entries of vector `level` (0: the first).
    pub fn vector_len(&self, level: usize) -> usize {
        match level.checked_sub(1).and_then(|l| self.levels.get(l)) {
            None => self.len,
            Some(l) => l.shape.cols(),
        }
    }

    /// Elements of the vector that is sent in clear.
    pub fn clear_len(&self) -> usize {
        self.vector_len(self.levels.len())
    }

    /// Variables of the vector that is sent in clear.
    pub fn clear_log_len(&self) -> u32 {
        self.levels.last().map_or(self.log_len(), |l| l.shape.log_cols)
    }

    /// The trees whose columns are opened against vector `level` (0: the first): for each its shape, its queries, and
    /// where its folded vector lies.
    pub fn opened_at(&self, level: usize) -> Vec<PlannedTree> {
        match level.checked_sub(1).and_then(|l| self.levels.get(l)) {
            None => self.trees.clone(),
            Some(l) => vec![PlannedTree {
                shape: l.shape,
                queries: l.queries,
                offset: 0,
            }],
        }
    }

    /// The expected size of an opening in bytes.
    pub fn expected_bytes(&self) -> usize {
        let trees: f64 = self
            .trees
            .iter()
            .map(|t| t.queries.expected_bytes(&t.shape) + 8.0)
            .sum();
        let levels: f64 = self
            .levels
            .iter()
            .map(|l| l.queries.expected_bytes(&l.shape) + level_messages(l.log_len))
            .sum();
        (trees + levels) as usize + 16 * self.clear_len()
    }
}

/// Root, nonce, rounds and evaluation of a level.
fn level_messages(log_len: u32) -> f64 {
    32.0 + 8.0 + 32.0 * f64::from(log_len) + 16.0
}

/// Proof-of-work bits that lift a term of `bits` to `target`.
pub(super) fn missing_bits(bits: f64, target: u32) -> u32 {
    libm::ceil(f64::from(target) - bits).max(0.0) as u32
}

/// Bits of the sumcheck of a level, whose first challenges are also its row tensor: `(2 m + log2(R) · D) / |F|`.
pub(super) fn rounds_bits(log_len: u32, shape: &TreeShape) -> f64 {
    let folds = f64::from(log_len - shape.log_cols) * shape.domain() as f64;
    FIELD_BITS - libm::log2(2.0 * f64::from(log_len) + folds)
}

/// The cheapest way to bring a vector of `len` entries to a clear one.
fn plan_levels(len: usize, bits: u32, pow_bits: u32) -> Vec<PlannedLevel> {
    struct Best {
        cost: f64,
        level: Option<PlannedLevel>,
    }
    let mut best: Vec<Best> = Vec::new();
    let top = bits_for(len) as u32;
    for log_len in 0..=top {
        let entries = if log_len == top { len } else { 1 << log_len };
        let mut here = Best {
            cost: if log_len <= MAX_LOG_CLEAR {
                16.0 * entries as f64
            } else {
                f64::INFINITY
            },
            level: None,
        };
        for log_cols in log_len.saturating_sub(8)..log_len {
            for log_inv_rate in 1..=6 {
                let rows = entries.div_ceil(1 << log_cols);
                let shape = TreeShape {
                    rows: 4 * rows,
                    log_cols,
                    log_inv_rate,
                };
                if !shape.is_valid() {
                    continue;
                }
                // What it costs before a column is opened: enough to leave most shapes out, as rounding is monotone.
                let unopened =
                    level_messages(log_len) + BYTES_PER_CELL * shape.cells() as f64 + best[log_cols as usize].cost;
                if unopened >= here.cost {
                    continue;
                }
                let queries = shape.queries(bits, pow_bits);
                let cost = queries.expected_bytes(&shape)
                    + level_messages(log_len)
                    + BYTES_PER_CELL * shape.cells() as f64
                    + best[log_cols as usize].cost;
                if cost < here.cost {
                    here = Best {
                        cost,
                        level: Some(PlannedLevel {
                            log_len,
                            rows,
                            shape,
                            queries,
                            round_pow_bits: missing_bits(rounds_bits(log_len, &shape), bits),
                        }),
                    };
                }
            }
        }
        best.push(here);
    }
    let mut levels = Vec::new();
    let mut at = top as usize;
    while let Some(level) = best[at].level {
        at = level.shape.log_cols as usize;
        levels.push(level);
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(rows: usize, log_cols: u32, log_inv_rate: u32) -> TreeShape {
        TreeShape {
            rows,
            log_cols,
            log_inv_rate,
        }
    }

    #[test]
    fn vectors_are_aligned_and_shrink_to_a_clear_one() {
        for shapes in [
            &[tree(1, 0, 1)][..],
            &[tree(256, 5, 3), tree(17, 6, 2)],
            &[tree(256, 3, 3), tree(40, 9, 2), tree(9, 9, 1)],
            &[tree(256, 17, 3), tree(256, 15, 2), tree(64, 15, 2)],
            &[tree(1024, 21, 3)],
        ] {
            let plan = Plan::new(shapes, Target::default()).unwrap();
            for t in &plan.trees {
                assert_eq!(t.offset % t.shape.cols(), 0);
                assert!(t.queries.bits(&t.shape) >= 104.0);
            }
            let mut log_len = plan.log_len();
            for l in &plan.levels {
                assert_eq!(l.log_len, log_len);
                assert!(l.rows <= 1 << l.log_rows() && l.rows << l.shape.log_cols >= 1);
                assert!(l.queries.bits(&l.shape) >= 104.0);
                log_len = l.shape.log_cols;
            }
            assert_eq!(log_len, plan.clear_log_len());
            assert!(plan.clear_len() <= 1 << MAX_LOG_CLEAR);
            assert_eq!(plan, Plan::new(shapes, Target::default()).unwrap());
        }
    }

    #[test]
    fn a_large_opening_stays_small() {
        let plan = Plan::new(&[tree(256, 17, 3), tree(256, 15, 2)], Target::default()).unwrap();
        assert!(plan.expected_bytes() < 450_000, "{}", plan.expected_bytes());
    }

    #[test]
    fn impossible_shapes_have_no_plan() {
        assert!(Plan::new(&[], Target::default()).is_none());
        for bad in [
            tree(0, 4, 1),
            tree(1, 4, 0),
            tree(1, 30, 1),
            tree(1, u32::MAX, 1),
            tree(5000, 4, 1),
        ] {
            assert!(Plan::new(&[bad], Target::default()).is_none());
        }
        // Together too long.
        assert!(Plan::new(&[tree(1, 29, 1); 4], Target::default()).is_some());
        assert!(Plan::new(&[tree(1, 29, 1); 5], Target::default()).is_none());
    }
}
