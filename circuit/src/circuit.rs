//! The circuit family: tables, weights, and per entry its cells, equations, public values and execution plan.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{Access, Len, RuntimeDim, Table};

/// A circuit family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Circuit {
    /// The model's name.
    pub name: String,
    /// Run-time dimensions, named in the statement.
    pub dims: Vec<RuntimeDim>,
    /// Lookup tables, shared by all entries.
    pub tables: Vec<Table>,
    /// Committed weights, shared by all entries.
    pub weights: Vec<Weight>,
    /// Public tensors that are part of the circuit, shared by all entries.
    pub constants: Vec<Constant>,
    /// Ways to run the model (for most models one, `main`).
    pub entries: Vec<Entry>,
}

/// A committed integer weight tensor: `outer` axes, then the contraction axis of `row_len`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// The name shown to users.
    pub name: String,
    /// Lengths of the axes that select a column (repeated block, output channel, …).
    pub outer: Vec<u32>,
    /// Length of the contraction axis (flattened).
    pub row_len: u32,
    /// Values lie in `[-(2^(bits-1) - 1), 2^(bits-1) - 1]`; at most 16. Setup proves `[-2^(bits-1), 2^(bits-1))`, and
    /// bounds count with that.
    pub bits: u8,
    /// For each outer index, Σ_k |w| is at most this; proved at setup where it says more than `bits` does.
    pub column_sum: u64,
}

/// A public integer tensor, covered by the circuit's digest (the cosines of a rotary embedding).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constant {
    /// The name shown to users.
    pub name: String,
    /// Lengths of the axes.
    pub axes: Vec<u32>,
    /// Row-major values (`|value| < 2^30`).
    pub values: Vec<i32>,
}

/// One way to run the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Inputs, in the order of the statement.
    pub inputs: Vec<PublicInput>,
    /// Outputs, in the order of the statement.
    pub outputs: Vec<PublicOutput>,
    /// Committed tensors.
    pub segments: Vec<Segment>,
    /// Lookups whose index is a linear form of committed cells.
    pub sites: Vec<VirtualSite>,
    /// The relations.
    pub equations: Vec<Equation>,
    /// How to compute the committed cells and outputs, in order. The proof does not rest on it.
    pub steps: Vec<Step>,
}

/// Whether an input is in the statement or committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InputKind {
    /// In the statement.
    Public,
    /// Committed as the index cells of this segment, whose table maps index to value; not in the statement.
    Private {
        /// The segment.
        segment: u16,
    },
}

/// An integer input tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublicInput {
    /// Its name.
    pub name: String,
    /// Axes.
    pub axes: Vec<Len>,
    /// Real value = integer · scale.
    pub scale: f64,
    /// Smallest integer accepted.
    pub lo: i32,
    /// Largest integer accepted.
    pub hi: i32,
    /// Public or committed.
    pub kind: InputKind,
    /// Whether values outside `[lo, hi]` are clamped when an input is quantised, rather than refused.
    pub clamp: bool,
}

/// What the entries of an output mean to a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Label {
    /// Numbers.
    None,
    /// Scores over the last axis: report the index of the largest (ties to the lowest).
    ArgMax,
    /// Natural numbers below this one: of how many scores each is the index of the greatest (see [`Source::Below`]).
    Index(u32),
}

/// An integer output tensor of the statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PublicOutput {
    /// Its name.
    pub name: String,
    /// Axes.
    pub axes: Vec<Len>,
    /// Real value = integer · scale.
    pub scale: f64,
    /// How to report it.
    pub label: Label,
}

/// A committed tensor of cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The name shown to users.
    pub name: String,
    /// Axes.
    pub axes: Vec<Len>,
    /// The table whose keys its cells must be; `None` for cells that only occur in virtual lookup indices.
    pub table: Option<u16>,
    /// Whether membership is checked for every cell on its own (multiplicities), not only through reads.
    pub ranged: bool,
    /// The axis along which the tensor grows from one link of a chain of proofs to the next: an equation writes the
    /// indices that this proof appends, reads see those of earlier links before them (see [`crate::chain`]).
    pub grows: Option<u8>,
}

/// What a linear form's term reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FormSource {
    /// The cells of a committed tensor.
    Segment(u16),
    /// A mask in the statement: a public input of 0 and 1, 1 where a position is hidden. Outside it reads 0.
    Input(u16),
    /// A mask known from the indices: see [`Causal`]. Its access is empty.
    Causal(Causal),
}

/// The mask of causal attention: 1, *hidden*, where `col > row + offset`, or, with a window, `col <= row + offset -
/// window`. So `window` columns up to and including `row + offset` are visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Causal {
    /// The site's axis of queries.
    pub row: u8,
    /// The site's axis of keys.
    pub col: u8,
    /// Index of the first query among the keys.
    pub offset: Len,
    /// Number of visible keys, at least 1; all earlier ones if absent.
    pub window: Option<u32>,
}

impl Causal {
    /// The visible columns of a row, where the offset is `offset` and there are `cols` columns.
    pub fn visible(&self, row: usize, offset: usize, cols: usize) -> core::ops::Range<usize> {
        let end = row.saturating_add(offset).saturating_add(1);
        let start = self.window.map_or(0, |w| end.saturating_sub(w as usize));
        start.min(cols)..end.min(cols)
    }
}

/// A linear form's term: `coefficient · source[access(x)]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormTerm {
    /// Factor.
    pub coefficient: i32,
    /// What is read.
    pub source: FormSource,
    /// From the site's axes to the source's cells.
    pub access: Access,
}

impl FormTerm {
    /// The committed tensor, unless the term is a mask.
    pub fn segment(&self) -> Option<u16> {
        match self.source {
            FormSource::Segment(s) => Some(s),
            FormSource::Input(_) | FormSource::Causal(_) => None,
        }
    }
}

/// A lookup whose index `Σ terms` is virtual: `maximum - compared`, and for a masked maximum `+ 2^(b+1) · mask` for each
/// of up to three masks, with maximum and compared cells in `[0, 2^b)`. A visible position has its index in `[0, 2^b)`, a
/// hidden one above, where all columns of the table are 0 (docs/protocol/relations.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualSite {
    /// The name shown to users.
    pub name: String,
    /// Axes of the lookups.
    pub axes: Vec<Len>,
    /// The table.
    pub table: u16,
    /// The index: `+1 · maximum`, `-1 · compared`, then the masks.
    pub index: Vec<FormTerm>,
    /// As in [`Segment::ranged`].
    pub ranged: bool,
}

impl VirtualSite {
    /// The maximum and the tensor compared with it; `None` only for a site that is malformed.
    pub fn compared(&self) -> Option<[u16; 2]> {
        match &self.index[..] {
            [m, t, ..] => Some([m.segment()?, t.segment()?]),
            _ => None,
        }
    }

    /// The masks: the terms after maximum and compared tensor.
    pub fn masks(&self) -> &[FormTerm] {
        self.index.get(2..).unwrap_or_default()
    }
}

/// A set of lookups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SiteRef {
    /// The cells of a segment.
    Segment(u16),
    /// A virtual site.
    Virtual(u16),
}

/// A tensor that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A public input.
    Input(u16),
    /// A constant of the circuit.
    Constant(u16),
    /// 1 where the last coordinate is below the value of this public output at the others, an index; else 0. The equation
    /// that reads it finds the output ([`Equation::finds`]), and nothing else does.
    Below(u16),
    /// Column `column` of the table at the looked-up keys.
    Lookup {
        /// The lookups.
        site: SiteRef,
        /// The table's column.
        column: u8,
    },
}

/// `coefficient · source[access(x)]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Factor.
    pub coefficient: i32,
    /// The tensor.
    pub source: Source,
    /// From iterations to its cells.
    pub access: Access,
}

/// `Σ over the reduction axes of read`, for iterations `out ++ reduce`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Lengths of the summed axes.
    pub reduce: Vec<Len>,
    /// What is summed.
    pub read: Read,
}

/// What selects the index of one outer axis of a weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outer {
    /// `x[axis] + offset`; the weight's axis may be longer (a table of positions).
    Axis {
        /// The output axis.
        axis: u8,
        /// Index at which the output axis starts.
        offset: Len,
    },
    /// `input[x[axes]]`: the row of an embedding. The input is public, its range lies within the weight's axis, and its
    /// axes are those listed.
    Selected {
        /// The public input.
        input: u16,
        /// One output axis per axis of the input.
        axes: Vec<u8>,
    },
    /// `output[x[axes]]`: the row of a greatest score, in the equation that finds the output.
    Found {
        /// The public output, of indices.
        output: u16,
        /// One output axis per axis of the output.
        axes: Vec<u8>,
    },
}

impl Outer {
    /// `x[axis]`.
    pub fn axis(axis: u8) -> Self {
        Self::Axis {
            axis,
            offset: Len::fixed(0),
        }
    }

    /// The output axes used.
    pub fn axes(&self) -> &[u8] {
        match self {
            Self::Axis { axis, .. } => core::slice::from_ref(axis),
            Self::Selected { axes, .. } | Self::Found { axes, .. } => axes,
        }
    }
}

/// A factor of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operand {
    /// The constant 1.
    One,
    /// A sum of reads; iterations are `out ++ group`.
    Reads(Vec<Read>),
    /// A weight; its contraction axis is the flattened group, or the last shared axis when the group is empty.
    Weight {
        /// The weight.
        weight: u16,
        /// What selects each of its outer axes, in order.
        outer: Vec<Outer>,
    },
}

/// `coefficient · Σ_group a · b`. An output axis used by both factors must be `shared`: it stays inside the sumcheck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Factor.
    pub coefficient: i32,
    /// Output axes kept in the sum (with eq), in ascending order: those that both factors use, and the contraction axis
    /// of a weight where the group is empty.
    pub shared: Vec<u8>,
    /// Contracted axes, flattened row-major into one.
    pub group: Vec<Len>,
    /// First factor.
    pub a: Operand,
    /// Second factor.
    pub b: Operand,
}

/// The left side of an equation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Left {
    /// `Σ coefficient · cell`, segments with the equation's own axes, coefficients positive and ascending.
    Cells(Vec<(i64, u16)>),
    /// A public output.
    Output(u16),
}

/// `left = constant + Σ reads + Σ products`, for every output index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Equation {
    /// The name shown to users (the layer).
    pub name: String,
    /// Output axes.
    pub out: Vec<Len>,
    /// Left side.
    pub left: Left,
    /// Added on the right.
    pub constant: i64,
    /// The cells need not represent every value that the right side may have within its bounds: an assignment whose value
    /// they do not represent has no execution, and no proof where the cell is read or compared. Its cells all have tables of
    /// their own, and are ranged where a maximum compares them.
    pub partial: bool,
    /// Linear terms.
    pub reads: Vec<Reads>,
    /// Bilinear terms.
    pub products: Vec<Product>,
}

/// One step of execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Evaluates the right side of an equation and splits it into the digits of its left side, most significant
    /// digit last: each digit but the last is reduced modulo the ratio of neighbouring coefficients. Writes outputs
    /// whole.
    Equation(u16),
    /// `max_cells[x] = max over the site's trailing axes of source[…]`, for a site whose index is `max - source`; hidden
    /// positions do not count, and each maximum needs one that is not hidden.
    Max {
        /// The site; its index is `+1 · maximum`, `-1 · source`, in this order, then the masks.
        site: u16,
    },
    /// Runs `steps` for `l = 0 .. count` at index `l` of every output axis 0.
    Repeat {
        /// Number of repetitions.
        count: u32,
        /// The steps; not repetitions themselves.
        #[serde(deserialize_with = "flat_steps")]
        steps: Vec<Step>,
    },
}

/// Decodes the steps of a repetition without recursion: hostile bytes must not choose the depth of the stack. The
/// encoding is that of [`Step`]'s first variants.
fn flat_steps<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<Step>, D::Error> {
    #[derive(Deserialize)]
    enum Flat {
        Equation(u16),
        Max { site: u16 },
    }
    let steps = Vec::<Flat>::deserialize(d)?;
    Ok(steps
        .into_iter()
        .map(|s| match s {
            Flat::Equation(q) => Step::Equation(q),
            Flat::Max { site } => Step::Max { site },
        })
        .collect())
}

impl Circuit {
    /// The entry named `name`.
    pub fn entry(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|e| e.name == name)
    }
}

impl Product {
    /// The weight among its factors, of which there is one at most.
    pub fn weight(&self) -> Option<u16> {
        [&self.a, &self.b].into_iter().find_map(|o| match o {
            Operand::Weight { weight, .. } => Some(*weight),
            Operand::One | Operand::Reads(_) => None,
        })
    }
}

impl Equation {
    /// Every read, linear or in a factor.
    pub fn all_reads(&self) -> impl Iterator<Item = &Read> {
        let factors = self.products.iter().flat_map(|p| [&p.a, &p.b]).flat_map(|o| match o {
            Operand::Reads(reads) => reads.as_slice(),
            Operand::One | Operand::Weight { .. } => &[],
        });
        self.reads.iter().map(|r| &r.read).chain(factors)
    }

    /// The output of indices that it finds: its right side is `S(x, a(x)) - S(x, j) - [j < a(x)]`, j the last output axis, of
    /// scores S that are products with weights ([`check`](crate::check) demands the form), so that non-negative digits on the
    /// left say that a is the lowest index of a greatest score.
    pub fn finds(&self) -> Option<u16> {
        self.reads.iter().find_map(|r| match r.read.source {
            Source::Below(output) => Some(output),
            _ => None,
        })
    }

    /// Of an equation that finds an output, `-S(x, j)` alone: what is evaluated before the output is known.
    pub fn scores(&self) -> Self {
        let found = |p: &Product| {
            [&p.a, &p.b].into_iter().any(|o| match o {
                Operand::Weight { outer, .. } => outer.iter().any(|o| matches!(o, Outer::Found { .. })),
                Operand::One | Operand::Reads(_) => false,
            })
        };
        Self {
            reads: Vec::new(),
            products: self.products.iter().filter(|p| !found(p)).cloned().collect(),
            ..self.clone()
        }
    }

    /// The lengths of the iteration axes of a product: output axes, then the group.
    pub fn iterations(&self, extra: &[Len]) -> Vec<Len> {
        self.out.iter().chain(extra).cloned().collect()
    }
}
