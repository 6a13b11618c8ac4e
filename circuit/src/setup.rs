//! The setup circuit: what a key proves about its weights, once.
//!
//! Range analysis rests on two facts about committed weights: every cell lies in `[-2^(bits-1), 2^(bits-1))`, and, where
//! a weight declares a column sum below what the bits already imply, `Σ_k |w| <= column_sum` for every outer index.
//! And a third: cells in the padding of a contraction axis are zero. Inference binds the rows of all weights by the same
//! challenges; where a weight has fewer rows than the matrix, those challenges are also the weight's own outer point,
//! and garbage in the padding would add to the weight it stands beside.
//!
//! All are lookups: each cell is a key of the table of its bits, whose column is the magnitude, and the column sums
//! are the reads of that column summed over the contraction axis. So the facts are an ordinary [`Instance`](crate::Instance) whose only
//! segments are the weights, laid out exactly as they are committed, and whose outputs are the column sums.
//!
//! A cell holds the signed weight w, the table's key is `w + 2^(bits-1)`: [`SetupCircuit::shifts`].

use alloc::{collections::BTreeSet, format, vec::Vec};

use crate::{
    Access, AxisMap, BlockLayout, Circuit, Entry, Equation, Label, Left, Len, PublicOutput, Read, Reads, Segment,
    SiteRef, Source, Table, Weight, WeightLayout,
};

impl Weight {
    /// The magnitude that its bits allow.
    pub fn magnitude(&self) -> u64 {
        1 << (self.bits - 1)
    }

    /// Whether the declared column sum says more than the bits do (up to the one value `-2^(bits-1)`), so that setup
    /// proves it.
    pub fn proves_column_sum(&self) -> bool {
        self.column_sum < u64::from(self.row_len) * (self.magnitude() - 1)
    }

    /// The bound on column sums that a valid setup proof establishes.
    pub fn column_bound(&self) -> u64 {
        if self.proves_column_sum() {
            self.column_sum
        } else {
            u64::from(self.row_len) * self.magnitude()
        }
    }
}

/// A sum of magnitudes over part of each column of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// All cells: the column sums, sent by the prover and compared with the declared bound.
    Column {
        /// The weight.
        weight: usize,
    },
    /// The cells beyond the contraction axis: known to be zero.
    Padding {
        /// The weight.
        weight: usize,
    },
}

/// The weights of a circuit as the segments of another.
#[derive(Debug, Clone)]
pub struct SetupCircuit {
    /// One entry without inputs and run-time dimensions; output i is the sums of `sums[i]`.
    pub circuit: Circuit,
    /// Per segment (weight), what is added to a cell to make its key.
    pub shifts: Vec<i32>,
    /// What each equation sums.
    pub sums: Vec<Sum>,
}

impl SetupCircuit {
    /// The setup circuit of a circuit's weights in their committed layout.
    pub fn new(circuit: &Circuit, layout: &WeightLayout) -> Self {
        let widths: BTreeSet<u8> = circuit.weights.iter().map(|w| w.bits).collect();
        let widths: Vec<u8> = widths.into_iter().collect();
        let tables = widths
            .iter()
            .map(|&bits| {
                let half = 1i32 << (bits - 1);
                Table {
                    name: format!("magnitude{bits}"),
                    log_rows: bits,
                    columns: alloc::vec![(0..2 * half).map(|v| (v - half).abs()).collect()],
                }
            })
            .collect();
        let (mut segments, mut shifts, mut sums, mut equations, mut outputs) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let rows = 1usize << layout.row_bits;
        for (i, (w, columns)) in circuit.weights.iter().zip(&layout.columns).enumerate() {
            let axes: Vec<Len> = columns
                .shape
                .iter()
                .map(|&n| Len::fixed(n))
                .chain([Len::fixed(rows)])
                .collect();
            let table = widths.iter().position(|&b| b == w.bits).map(|t| t as u16);
            segments.push(Segment {
                grows: None,
                name: w.name.clone(),
                axes: axes.clone(),
                table,
                ranged: true,
            });
            shifts.push(1 << (w.bits - 1));
            let outer = w.outer.len() as u8;
            let out: Vec<Len> = axes[..outer.into()].to_vec();
            let mut sum = |what: Sum, reduce: Vec<Len>, last: [AxisMap; 2]| {
                outputs.push(PublicOutput {
                    name: w.name.clone(),
                    axes: out.clone(),
                    scale: 1.0,
                    label: Label::None,
                });
                let access = Access {
                    axes: (0..outer).map(AxisMap::iter).chain(last).collect(),
                    gates: Vec::new(),
                };
                let source = Source::Lookup {
                    site: SiteRef::Segment(i as u16),
                    column: 0,
                };
                equations.push(Equation {
                    name: w.name.clone(),
                    out: out.clone(),
                    left: Left::Output(sums.len() as u16),
                    partial: false,
                    constant: 0,
                    reads: alloc::vec![Reads {
                        reduce,
                        read: Read {
                            coefficient: 1,
                            source,
                            access
                        }
                    }],
                    products: Vec::new(),
                });
                sums.push(what);
            };
            if w.proves_column_sum() {
                sum(
                    Sum::Column { weight: i },
                    axes[outer.into()..].to_vec(),
                    [AxisMap::iter(outer), AxisMap::iter(outer + 1)],
                );
            }
            // The last chunk of the contraction axis, from its first cell beyond the axis.
            let (chunk, used) = (w.row_len as usize / rows, w.row_len as usize % rows);
            if used != 0 {
                let beyond = AxisMap::Affine {
                    offset: used as i32,
                    parts: alloc::vec![(outer, 1)],
                };
                sum(
                    Sum::Padding { weight: i },
                    alloc::vec![Len::fixed(rows - used)],
                    [AxisMap::constant(chunk as i32), beyond],
                );
            }
        }
        let entry = Entry {
            name: "setup".into(),
            inputs: Vec::new(),
            outputs,
            segments,
            sites: Vec::new(),
            equations,
            steps: Vec::new(),
        };
        let circuit = Circuit {
            name: circuit.name.clone(),
            dims: Vec::new(),
            tables,
            weights: Vec::new(),
            constants: Vec::new(),
            entries: alloc::vec![entry],
        };
        Self { circuit, shifts, sums }
    }
}

/// The committed position of every cell of a weight is `column position · 2^row_bits + row`: the layout of
/// `columns.shape ++ [2^row_bits]`, blocks placed in the same order.
pub fn cell_layout(columns: &BlockLayout, row_bits: u32) -> BlockLayout {
    let mut shape = columns.shape.clone();
    shape.push(1 << row_bits);
    let mut l = BlockLayout::new(shape);
    l.offset = columns.offset << row_bits;
    l
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn segments_lie_where_the_weights_are_committed() {
        let w = |outer: Vec<u32>, row_len, bits, column_sum| Weight {
            name: "w".into(),
            outer,
            row_len,
            bits,
            column_sum,
        };
        let c = Circuit {
            name: "m".into(),
            dims: vec![],
            tables: vec![],
            weights: vec![
                w(vec![10], 64, 8, 100),
                w(vec![], 10, 12, 1 << 20),
                w(vec![3, 8], 70, 8, 9000),
            ],
            constants: Vec::new(),
            entries: vec![],
        };
        let layout = WeightLayout::new(&c);
        let setup = SetupCircuit::new(&c, &layout);
        let columns: Vec<usize> = setup
            .sums
            .iter()
            .filter_map(|s| {
                if let Sum::Column { weight } = s {
                    Some(*weight)
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(columns, [0]);
        // Every weight whose length is no multiple of the rows has a padding sum.
        let rows = 1u32 << layout.row_bits;
        let padded = c.weights.iter().filter(|w| w.row_len % rows != 0).count();
        assert_eq!(setup.sums.len(), 1 + padded);
        let instance = setup.circuit.instantiate(0, &[]).unwrap();
        for (segment, columns) in instance.segments.iter().zip(&layout.columns) {
            assert_eq!(*segment, cell_layout(columns, layout.row_bits));
        }
        assert_eq!(instance.cells(), layout.used_columns << layout.row_bits);
    }
}
