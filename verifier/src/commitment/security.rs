//! The error terms of an opening, in bits. Sources and proofs: docs/protocol/commitment.md.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::plan::{FIELD_BITS, Plan, PlannedTree, missing_bits, rounds_bits};
use crate::field::bits_for;

/// One way in which a false statement can pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The step of the protocol.
    pub name: String,
    /// `-log2` of its error over all its challenges, before proof of work.
    pub bits: f64,
    /// Proof-of-work bits before each of its challenges (already in `bits` for none).
    pub pow_bits: u32,
}

impl Term {
    /// Bits with the proof of work.
    pub fn total(&self) -> f64 {
        self.bits + f64::from(self.pow_bits)
    }
}

impl Plan {
    /// Bits of the row fold of a level-0 tree: `log2(rows) · D / |F|`.
    fn fold_bits(tree: &PlannedTree) -> f64 {
        let rounds = bits_for(tree.shape.rows) as f64;
        FIELD_BITS - libm::log2(rounds * tree.shape.domain() as f64)
    }

    /// Proof-of-work bits that the *caller* must put before each challenge that enters the row coefficients of tree
    /// `tree`; 0 for domains below about 2^17.
    pub fn fold_pow_bits(&self, tree: usize) -> u32 {
        self.trees
            .get(tree)
            .filter(|t| t.shape.rows > 1)
            .map_or(0, |t| missing_bits(Self::fold_bits(t), self.target.term_bits))
    }

    /// Proof-of-work bits before the challenge that batches `claims` claims.
    pub fn batch_pow_bits(&self, claims: usize) -> u32 {
        missing_bits(batch_bits(claims), self.target.term_bits)
    }

    /// Every error term of the opening when the caller has `claims` claims of its own.
    pub fn security_terms(&self, claims: usize) -> Vec<Term> {
        let mut terms = Vec::new();
        for (i, t) in self.trees.iter().enumerate().filter(|(_, t)| t.shape.rows > 1) {
            terms.push(Term {
                name: format!("row fold of tree {i}"),
                bits: Self::fold_bits(t),
                pow_bits: self.fold_pow_bits(i),
            });
        }
        for level in 0..=self.levels.len() {
            let opened = self.opened_at(level);
            let queried: usize = opened.iter().map(|t| t.queries.count).sum();
            for (i, t) in opened
                .iter()
                .enumerate()
                .filter(|(_, t)| !t.queries.opens_all(&t.shape))
            {
                terms.push(Term {
                    name: match level {
                        0 => format!("queries of tree {i}"),
                        _ => format!("queries of level {level}"),
                    },
                    bits: t.queries.count as f64 * t.shape.bits_per_query(),
                    pow_bits: t.queries.pow_bits,
                });
            }
            if let Some(l) = self.levels.get(level) {
                let batched = queried + if level == 0 { claims } else { 1 };
                terms.push(Term {
                    name: format!("claim batching of level {}", level + 1),
                    bits: batch_bits(batched),
                    pow_bits: self.batch_pow_bits(batched),
                });
                terms.push(Term {
                    name: format!("sumcheck and row fold of level {}", level + 1),
                    bits: rounds_bits(l.log_len, &l.shape),
                    pow_bits: l.round_pow_bits,
                });
            }
        }
        terms
    }
}

/// Bits of a batch by powers: `(claims - 1) / |F|`.
fn batch_bits(claims: usize) -> f64 {
    FIELD_BITS - libm::log2(claims.saturating_sub(1).max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commitment::{Target, TreeShape};

    #[test]
    fn every_term_reaches_the_target() {
        for log_cols in [0, 3, 7, 12, 17, 22] {
            for rows in [1, 3, 256, 1024] {
                let shape = |log_inv_rate| TreeShape {
                    rows,
                    log_cols,
                    log_inv_rate,
                };
                let plan = Plan::new(&[shape(3), shape(2)], Target::default()).unwrap();
                let terms = plan.security_terms(50);
                assert!(terms.iter().all(|t| t.total() >= 104.0), "{terms:#?}");
                let sum: f64 = terms.iter().map(|t| libm::exp2(-t.total())).sum();
                assert!(-libm::log2(sum) >= 100.0 || terms.is_empty(), "{terms:#?}");
            }
        }
    }
}
