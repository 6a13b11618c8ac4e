//! The integers of a circuit's weights.

use std::iter::Peekable;
use std::ops::Range;

use mlc_circuit::{Circuit, Weight};
use rayon::prelude::*;

use super::mapped::MappedIntegers;

/// One tensor per weight of a circuit, row-major over `outer.., row_len`, within the circuit's bounds: in memory, or in a
/// file that is mapped and of which only the piece at work and the next one are resident ([`IntWeights::pieces`],
/// [`IntWeights::release`]).
#[derive(Debug, Clone)]
pub struct IntWeights {
    tensors: Tensors,
}

/// Integers of a mapped file that are worked on at once: 1 MiB.
const TILE: usize = 1 << 19;

/// A part of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The weight of the circuit.
    pub weight: usize,
    /// Its integers, row-major.
    pub part: Range<usize>,
}

#[derive(Debug, Clone)]
enum Tensors {
    Owned(Vec<Vec<i16>>),
    Mapped(MappedIntegers),
}

impl PartialEq for IntWeights {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for IntWeights {}

/// Why integers are not the weights of a circuit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// The number of weights differs.
    #[error("the circuit has {expected} weights, {given} were given")]
    Count {
        /// Of the circuit.
        expected: usize,
        /// Given.
        given: usize,
    },
    /// A weight has another number of values than its shape.
    #[error("weight '{name}' has {expected} values, {given} were given")]
    Len {
        /// The weight.
        name: String,
        /// Product of its axes.
        expected: usize,
        /// Number of values given.
        given: usize,
    },
    /// A value does not fit the declared bits.
    #[error("weight '{name}' is {value} at position {position}, beyond the {max} that {bits} bits allow")]
    Magnitude {
        /// The weight.
        name: String,
        /// Row-major position.
        position: usize,
        /// The integer.
        value: i64,
        /// Largest magnitude.
        max: i64,
        /// Declared bits.
        bits: u8,
    },
    /// A column's sum of magnitudes passes the declared bound.
    #[error("weight '{name}': the magnitudes of column {column} sum to {sum}, the bound is {bound}")]
    ColumnSum {
        /// The weight.
        name: String,
        /// Row-major position over the outer axes.
        column: usize,
        /// The sum.
        sum: u64,
        /// The declared bound.
        bound: u64,
    },
}

/// Number of values of a weight.
pub(crate) fn weight_len(w: &Weight) -> usize {
    w.outer.iter().map(|&n| n as usize).product::<usize>() * w.row_len as usize
}

fn check(w: &Weight, values: &[i16]) -> Result<(), WeightsError> {
    if values.len() != weight_len(w) {
        return Err(WeightsError::Len {
            name: w.name.clone(),
            expected: weight_len(w),
            given: values.len(),
        });
    }
    let max = (1i32 << (w.bits - 1)) - 1;
    let row = w.row_len as usize;
    // The first failure in order, whatever the threads do.
    let failure = values
        .par_chunks_exact(row)
        .enumerate()
        .find_map_first(|(column, values)| {
            if let Some(k) = values.iter().position(|&v| i32::from(v).abs() > max) {
                return Some(WeightsError::Magnitude {
                    name: w.name.clone(),
                    position: column * row + k,
                    value: values[k].into(),
                    max: max.into(),
                    bits: w.bits,
                });
            }
            let sum = values.iter().map(|v| u64::from(v.unsigned_abs())).sum::<u64>();
            (sum > w.column_sum).then(|| WeightsError::ColumnSum {
                name: w.name.clone(),
                column,
                sum,
                bound: w.column_sum,
            })
        });
    failure.map_or(Ok(()), Err)
}

impl IntWeights {
    /// Weights for a circuit: every magnitude and column sum within its bound.
    pub fn new(circuit: &Circuit, tensors: Vec<Vec<i16>>) -> Result<Self, WeightsError> {
        if tensors.len() != circuit.weights.len() {
            return Err(WeightsError::Count {
                expected: circuit.weights.len(),
                given: tensors.len(),
            });
        }
        for (w, values) in circuit.weights.iter().zip(&tensors) {
            check(w, values)?;
        }
        Ok(Self::unchecked(tensors))
    }

    /// Weights that are not checked, for provers that lie.
    pub fn unchecked(tensors: Vec<Vec<i16>>) -> Self {
        Self {
            tensors: Tensors::Owned(tensors),
        }
    }

    /// Weights in a mapped file, which holds what was checked when it was written.
    pub fn mapped(integers: MappedIntegers) -> Self {
        Self {
            tensors: Tensors::Mapped(integers),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.tensors {
            Tensors::Owned(t) => t.len(),
            Tensors::Mapped(m) => m.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row-major tensor of one weight of the circuit.
    pub fn tensor(&self, weight: usize) -> &[i16] {
        match &self.tensors {
            Tensors::Owned(t) => &t[weight],
            Tensors::Mapped(m) => m.tensor(weight),
        }
    }

    /// All tensors, in the circuit's order.
    pub fn iter(&self) -> impl Iterator<Item = &[i16]> {
        (0..self.len()).map(|w| self.tensor(w))
    }

    /// A copy of all tensors.
    pub fn to_vec(&self) -> Vec<Vec<i16>> {
        self.iter().map(<[i16]>::to_vec).collect()
    }

    /// How many rows of `row` integers to work on before they are released: all of them, where they are in memory anyway.
    pub fn tile(&self, row: usize) -> usize {
        match &self.tensors {
            Tensors::Owned(_) => usize::MAX,
            Tensors::Mapped(_) => (TILE / row.max(1)).max(1),
        }
    }

    /// Goes through pieces in their order: of a file, the next is read in the background while one is worked on, and that one is
    /// released when the next is asked for. `then` is the piece that is worked on after all of them.
    pub fn pieces<I: Iterator<Item = Piece>>(&self, pieces: I, then: Option<Piece>) -> Pieces<'_, I> {
        Pieces {
            weights: self,
            left: pieces.peekable(),
            then,
            at_work: None,
        }
    }

    /// Has a piece read in the background, of a file, when the piece asked for before is there.
    pub fn read_ahead(&self, next: Option<&Piece>) {
        if let Tensors::Mapped(m) = &self.tensors {
            match next {
                Some(p) => m.read_ahead(p.weight, p.part.clone()),
                None if m.is_empty() => {}
                None => m.read_ahead(0, 0..0),
            }
        }
    }

    /// Says that a piece is not needed for a while: of a file, it takes no memory until it is read again.
    pub fn release(&self, piece: &Piece) {
        if let Tensors::Mapped(m) = &self.tensors {
            m.release(piece.weight, piece.part.clone());
        }
    }

    /// As much of a weight as is worked on at once.
    pub fn first_piece(&self, weight: usize) -> Piece {
        let part = 0..self.tensor(weight).len().min(TILE);
        Piece { weight, part }
    }

    /// The whole of a weight.
    pub fn whole(&self, weight: usize) -> Piece {
        let part = 0..self.tensor(weight).len();
        Piece { weight, part }
    }
}

/// See [`IntWeights::pieces`].
#[derive(Debug)]
pub struct Pieces<'a, I: Iterator<Item = Piece>> {
    weights: &'a IntWeights,
    left: Peekable<I>,
    then: Option<Piece>,
    at_work: Option<Piece>,
}

impl<I: Iterator<Item = Piece>> Iterator for Pieces<'_, I> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if let Some(done) = self.at_work.take() {
            self.weights.release(&done);
        }
        let piece = self.left.next()?;
        self.weights.read_ahead(self.left.peek().or(self.then.as_ref()));
        self.at_work = Some(piece.clone());
        Some(piece)
    }
}

impl<I: Iterator<Item = Piece>> Drop for Pieces<'_, I> {
    fn drop(&mut self) {
        if let Some(done) = &self.at_work {
            self.weights.release(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit() -> Circuit {
        Circuit {
            name: "c".into(),
            dims: vec![],
            tables: vec![],
            weights: vec![Weight {
                name: "w".into(),
                outer: vec![2],
                row_len: 3,
                bits: 4,
                column_sum: 12,
            }],
            constants: Vec::new(),
            entries: vec![],
        }
    }

    #[test]
    fn bounds_are_checked_in_order() {
        let c = circuit();
        assert!(IntWeights::new(&c, vec![vec![7, -5, 0, 4, 4, -4]]).is_ok());
        let error = |values: Vec<i16>| IntWeights::new(&c, vec![values]).unwrap_err();
        assert!(matches!(error(vec![1, 2]), WeightsError::Len { given: 2, .. }));
        assert!(matches!(
            error(vec![0, 0, 0, 0, -8, 9]),
            WeightsError::Magnitude {
                position: 4,
                value: -8,
                max: 7,
                ..
            }
        ));
        assert!(matches!(
            error(vec![0, 0, 0, 5, 5, 3]),
            WeightsError::ColumnSum { column: 1, sum: 13, .. }
        ));
        assert!(matches!(IntWeights::new(&c, vec![]), Err(WeightsError::Count { .. })));
    }
}
