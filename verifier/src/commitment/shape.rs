//! Shapes of committed matrices, and how many of a tree's columns an opening looks at.

use super::code::MAX_LOG_DOMAIN;

/// A committed matrix of base field elements: `rows` x `2^log_cols`, every row encoded at rate `2^-log_inv_rate`.
/// A leaf of its tree is one column of the codewords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeShape {
    /// Rows, 1 to 2^12.
    pub rows: usize,
    /// The message length of each row, as a power of two.
    pub log_cols: u32,
    /// The code's rate is `2^-log_inv_rate`; at least 1.
    pub log_inv_rate: u32,
}

impl TreeShape {
    /// Message columns.
    pub fn cols(&self) -> usize {
        1 << self.log_cols
    }

    /// Codeword length as a power of two: the depth of the tree.
    pub fn log_domain(&self) -> u32 {
        self.log_cols + self.log_inv_rate
    }

    /// Codeword length.
    pub fn domain(&self) -> usize {
        1 << self.log_domain()
    }

    /// Cells of the codewords.
    pub fn cells(&self) -> u64 {
        (self.rows as u64) << self.log_domain()
    }

    /// Bytes of a leaf.
    pub fn leaf_bytes(&self) -> usize {
        4 * self.rows
    }

    /// Whether the shape is one that the code exists for.
    pub fn is_valid(&self) -> bool {
        (1..=1 << 12).contains(&self.rows)
            && self.log_inv_rate >= 1
            && self
                .log_cols
                .checked_add(self.log_inv_rate)
                .is_some_and(|d| d <= MAX_LOG_DOMAIN)
    }

    /// One more than the decoding radius `e = floor((D - n - 1) / 2)`, with D the domain size and n the message
    /// length: a word that is not what it is claimed to be differs from it in at least this many positions.
    pub fn missed(&self) -> usize {
        (self.domain() - self.cols() - 1) / 2 + 1
    }

    /// Bits of soundness of one uniformly drawn position: `-log2(1 - (e + 1) / D)`.
    pub fn bits_per_query(&self) -> f64 {
        -libm::log2(1.0 - self.missed() as f64 / self.domain() as f64)
    }

    /// How to reach `bits` with a proof of work of `pow_bits` before the positions are drawn. A tree with no more
    /// positions than that would take is opened whole.
    pub fn queries(&self, bits: u32, pow_bits: u32) -> Queries {
        let count = libm::ceil(f64::from(bits.saturating_sub(pow_bits)) / self.bits_per_query()) as usize;
        if count >= self.domain() {
            Queries {
                count: self.domain(),
                pow_bits: 0,
            }
        } else {
            Queries {
                count: count.max(1),
                pow_bits,
            }
        }
    }
}

/// How many positions of a tree are drawn. `count` equal to the domain size means that every position is opened and
/// nothing is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queries {
    /// Draws, with replacement; sorted and deduplicated before they are opened.
    pub count: usize,
    /// Proof-of-work bits before the draw.
    pub pow_bits: u32,
}

impl Queries {
    /// Whether every position of a tree of this shape is opened.
    pub fn opens_all(&self, shape: &TreeShape) -> bool {
        self.count >= shape.domain()
    }

    /// The positions to open, drawn after the nonce.
    pub fn positions(
        &self,
        shape: &TreeShape,
        transcript: &mut crate::transcript::Transcript,
    ) -> alloc::vec::Vec<usize> {
        if self.opens_all(shape) {
            (0..shape.domain()).collect()
        } else {
            transcript.draw_positions(self.count, shape.log_domain())
        }
    }

    /// Bits of soundness, the proof of work included; infinite where everything is opened.
    pub fn bits(&self, shape: &TreeShape) -> f64 {
        if self.opens_all(shape) {
            f64::INFINITY
        } else {
            self.count as f64 * shape.bits_per_query() + f64::from(self.pow_bits)
        }
    }

    /// The expected bytes of the opened columns and their multi-proof.
    pub fn expected_bytes(&self, shape: &TreeShape) -> f64 {
        let known = |log: u32| {
            let nodes = libm::exp2(f64::from(log));
            if self.opens_all(shape) {
                nodes
            } else {
                nodes * (1.0 - libm::pow(1.0 - 1.0 / nodes, self.count as f64))
            }
        };
        let depth = shape.log_domain();
        let mut here = known(0);
        let siblings: f64 = (0..depth)
            .map(|above| {
                let parents = core::mem::replace(&mut here, known(above + 1));
                2.0 * parents - here
            })
            .sum();
        here * shape.leaf_bytes() as f64 + 32.0 * siblings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_counts_are_the_known_ones() {
        let count = |log_inv_rate| {
            TreeShape {
                rows: 1,
                log_cols: 20,
                log_inv_rate,
            }
            .queries(104, 20)
            .count
        };
        assert_eq!([count(1), count(2), count(3)], [203, 124, 102]);
    }

    #[test]
    fn small_trees_are_opened_whole() {
        for log_cols in 0..5 {
            for log_inv_rate in 1..4 {
                let shape = TreeShape {
                    rows: 3,
                    log_cols,
                    log_inv_rate,
                };
                let q = shape.queries(104, 10);
                assert!(q.bits(&shape) >= 104.0);
                assert!(2 * (shape.missed() - 1) < shape.domain() - shape.cols());
                if shape.domain() <= 94 {
                    assert!(q.opens_all(&shape));
                }
            }
        }
    }
}
