//! Operations.
//!
//! One set of operations serves both stages: what an operation computes on [`Elem::Int`] operands is
//! its exact integer meaning, stated beside each; [`Op::Requant`] and [`Op::MaxDistance`] exist in the quantised stage only,
//! and the operations that need real numbers (tables of formulas, norms, softmax) in the real stage only.
//!
//! Conventions: axes count from 0, outermost first; images are NCHW, filters OIHW; `pad` of an image is
//! `[top, left, bottom, right]`.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::formula::Formula;
use crate::graph::Region;
use crate::recipe::Template;
use crate::shape::{Dim, Shape};
use crate::tensor::{Tensor, TensorF32};
use crate::types::Elem;

/// Labels of a two-operand contraction, as in einsum: `bik,kj->bij`.
///
/// Invariants (checked by [`Einsum::parse`]): labels are ASCII letters; no label occurs twice in one operand or in the
/// result; every label of the result occurs in an operand; a label in one operand only occurs in the result.
/// Labels of both operands and the result are batch labels; of both operands only, contracted; of one operand, free.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Einsum {
    lhs: String,
    rhs: String,
    out: String,
}

/// Why a text is not a contraction.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a contraction: {why}")]
pub struct EinsumError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Einsum {
    /// Reads `"bik,kj->bij"`.
    pub fn parse(text: &str) -> Result<Self, EinsumError> {
        let fail = |why| EinsumError {
            text: text.to_owned(),
            why,
        };
        let (operands, out) = text.split_once("->").ok_or_else(|| fail("it has no `->`"))?;
        let (lhs, rhs) = operands
            .split_once(',')
            .ok_or_else(|| fail("it has not two operands"))?;
        for side in [lhs, rhs, out] {
            if !side.bytes().all(|b| b.is_ascii_alphabetic()) {
                return Err(fail("labels are letters"));
            }
            if side.char_indices().any(|(i, c)| side[..i].contains(c)) {
                return Err(fail("a label occurs twice in one tensor"));
            }
        }
        if out.chars().any(|c| !lhs.contains(c) && !rhs.contains(c)) {
            return Err(fail("a label of the result is in no operand"));
        }
        let only_here = |a: &str, b: &str| a.chars().any(|c| !b.contains(c) && !out.contains(c));
        if only_here(lhs, rhs) || only_here(rhs, lhs) {
            return Err(fail(
                "a label of one operand is neither in the other nor in the result; sum it by `reduce`",
            ));
        }
        Ok(Einsum {
            lhs: lhs.to_owned(),
            rhs: rhs.to_owned(),
            out: out.to_owned(),
        })
    }

    /// Labels of the left operand, outermost axis first.
    pub fn lhs(&self) -> &str {
        &self.lhs
    }

    /// Labels of the right operand.
    pub fn rhs(&self) -> &str {
        &self.rhs
    }

    /// Labels of the result.
    pub fn out(&self) -> &str {
        &self.out
    }

    /// Labels summed over, in the order of the left operand.
    pub fn contracted(&self) -> impl Iterator<Item = char> {
        self.lhs.chars().filter(|c| !self.out.contains(*c))
    }
}

impl fmt::Display for Einsum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}->{}", self.lhs, self.rhs, self.out)
    }
}

/// A constant tensor written in the graph.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// Real numbers.
    Real(Arc<TensorF32>),
    /// Integers, indices or mask bits (0, 1), as `elem` says; each in its range.
    Integers {
        /// What one element is; not [`Elem::Real`].
        elem: Elem,
        /// The elements.
        data: Arc<Tensor<i64>>,
    },
}

/// Elementwise functions of two tensors, with numpy broadcasting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// Sum; integers of equal scale.
    Add,
    /// Difference; integers of equal scale.
    Sub,
    /// Product; scales multiply.
    Mul,
    /// Quotient; real stage only.
    Div,
    /// The greater; integers of equal scale.
    Max,
    /// The lesser; integers of equal scale.
    Min,
    /// Both mask bits.
    And,
}

/// What a reduction computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// Sum.
    Sum,
    /// Sum divided by the number of elements. Integers: the sum; the scale is divided. The number is then constant.
    Mean,
    /// Maximum.
    Max,
}

/// What a pooling window computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// Maximum over the positions inside the image.
    Max,
    /// Average. Integers: the sum over the window, padding being 0; the scale is divided by the window's size.
    Avg,
}

/// Which coordinates a rotary embedding pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RopeLayout {
    /// `i` with `i + rotary/2` (Llama, GPT-NeoX).
    Half,
    /// `2i` with `2i + 1` (GPT-J).
    Interleaved,
}

/// Two-dimensional convolution of `x[n, c, h, w]` with `w[o, c/groups, kh, kw]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Vertical and horizontal step, at least 1.
    pub stride: [u64; 2],
    /// Zeros added: top, left, bottom, right.
    pub pad: [u64; 4],
    /// Distance between taps, at least 1.
    pub dilation: [u64; 2],
    /// Channels are split into this many independent groups.
    pub groups: u64,
}

impl Default for Conv2d {
    /// Stride 1, no padding, no dilation, one group.
    fn default() -> Self {
        Conv2d {
            stride: [1, 1],
            pad: [0; 4],
            dilation: [1, 1],
            groups: 1,
        }
    }
}

/// Pooling over windows of `x[n, c, h, w]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Maximum or average.
    pub kind: PoolKind,
    /// Height and width.
    pub window: [u64; 2],
    /// Vertical and horizontal step, at least 1.
    pub stride: [u64; 2],
    /// Positions added outside: top, left, bottom, right; each less than the window.
    pub pad: [u64; 4],
    /// Averages: divide by the whole window even where part of it is padding.
    pub count_include_pad: bool,
}

/// Rotary position embedding of the last axis.
///
/// Pair `i` at position `p` turns by the angle `p · freq(i)`; cosine and sine are multiplied by `scale`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The axis of positions; position `start + j` at index `j`.
    pub axis: usize,
    /// First position.
    pub start: Dim,
    /// How many leading coordinates of the last axis turn (even); the others pass.
    pub rotary: u64,
    /// Which coordinates are paired.
    pub layout: RopeLayout,
    /// Angle per position of pair `x`, e.g. `theta^(-2x/rotary)`.
    pub freq: Formula,
    /// Factor on cosine and sine (1 for the plain embedding).
    pub scale: f64,
    /// Quantised stage: cosines and sines are `round(2^bits · value)`; the result's scale is `x.scale / 2^bits`.
    pub bits: u32,
}

/// Requantisation, activation and clamp in one lookup (quantised stage).
///
/// `y = T[((acc + half) >> shift) + bias]`, with `half = 2^(shift-1)` (0 where `shift` is 0), `>>` arithmetic, and
/// `bias` the table's. The index is in the table for every value within the operand's proved bounds, unless the operation
/// is [partial](Requant::partial).
#[derive(Debug, Clone, PartialEq)]
pub struct Requant {
    /// Bits dropped, below 31.
    pub shift: u32,
    /// Name of a table of the module; a template where blocks have their own.
    pub table: Template,
    /// Scale of the result.
    pub scale: f64,
    /// The table may end before the operand's bounds do: it covers what calibration measured, with headroom, more finely
    /// than it could cover every value that the bounds allow. An accumulator beyond it has no value, and an input that
    /// leads there is refused.
    pub partial: bool,
}

/// A lookup at the distance to the row's maximum (quantised stage): the numerators of a softmax.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxDistance {
    /// Name of a table of the module that covers every distance within the operand's bounds; a template where blocks have
    /// their own.
    pub table: Template,
    /// Scale of the result.
    pub scale: f64,
}

/// A region executed `count` times.
///
/// Operands: the carried values' first values, then stacked tensors `[count, …]`. The body's parameters: the carried
/// values, then one slice of each stacked tensor. Its results: the carried values' next values (of the same types), then
/// values to collect. The operation's results: the carried values' last values, then the collected `[count, …]`.
/// The body may also use values defined before the region.
#[derive(Debug, Clone, PartialEq)]
pub struct Repeat {
    /// Name of the index, 0 to `count - 1`, for templates of weights, tables and states.
    pub index: String,
    /// Number of iterations, at least 1.
    pub count: u64,
    /// Number of carried values.
    pub carried: usize,
    /// What is repeated.
    pub body: Region,
}

/// An operation. Operands are listed in the order in which the description names them.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The module's weight of that name (inside `repeat`: this iteration's).
    Weight(String),
    /// A constant.
    Const(Literal),
    /// `start, start+1, …` as indices: `[len]`.
    Iota {
        /// Number of positions.
        len: Dim,
        /// The first.
        start: Dim,
        /// A bound that positions stay below.
        vocab: u64,
    },
    /// Mask `[rows, cols]`: true where `col ≤ row + offset`, and `col > row + offset - window` where there is a window.
    CausalMask {
        /// Number of rows (queries).
        rows: Dim,
        /// Number of columns (keys).
        cols: Dim,
        /// Column of the diagonal in row 0 (the number of earlier keys).
        offset: Dim,
        /// Sliding-window attention: how many keys a query sees.
        window: Option<u64>,
    },
    /// `(a, b)` elementwise.
    Binary(BinaryOp),
    /// `(x)`: a formula of one variable, elementwise (real stage). The quantise pass makes it a table.
    Table {
        /// What to call it: `gelu`.
        name: String,
        /// What it computes.
        formula: Formula,
    },
    /// `(acc)`: one lookup (quantised stage).
    Requant(Requant),
    /// `(t)` or `(t, mask)`: `T[m - t]`, where `m` is the maximum of `t` over the last axis; positions masked out are 0 and
    /// do not count for the maximum (quantised stage). One lookup that also proves the maximum.
    MaxDistance(MaxDistance),
    /// `(a, b)`: a contraction. Integers: exact; scales multiply.
    Contract(Einsum),
    /// `(x, w)`: a convolution. Integers: exact; scales multiply.
    Conv2d(Conv2d),
    /// `(x)`: pooling.
    Pool(Pool),
    /// `(x)`: a reduction.
    Reduce {
        /// What is computed.
        kind: ReduceKind,
        /// The axes reduced, ascending.
        axes: Vec<usize>,
        /// Keep them with length 1.
        keepdims: bool,
    },
    /// `(x, gamma, beta, mean, variance)`: `(x - mean) / sqrt(variance + eps) · gamma + beta` per channel, axis 1.
    BatchNorm {
        /// Added to the variance.
        eps: f64,
    },
    /// `(x)` or `(x, mask)`: softmax over the last axis; positions masked out get 0. The mask broadcasts to `x`.
    Softmax,
    /// `(x)` or `(x, gain)`: `x / sqrt(mean(x²) + eps) · gain` over the last axis.
    RmsNorm {
        /// Added to the mean square.
        eps: f64,
    },
    /// `(x)`, `(x, gain)` or `(x, gain, bias)`: `(x - mean) / sqrt(var + eps) · gain + bias` over the last axis.
    LayerNorm {
        /// Added to the variance.
        eps: f64,
    },
    /// `(x)`: rotary embedding.
    Rope(Rope),
    /// `(weight[V, …], index[…])`: the rows of the weight at the indices: `[index…, …]`.
    Embedding,
    /// `(mask, a, b)`: `a` where the mask is true, else `b`; broadcasting; integers of equal scale.
    Where,
    /// `(x)`: the position of the maximum on the last axis, which is constant; ties to the lowest.
    ArgMax,
    /// `(x)`: the same elements in row-major order.
    Reshape(Shape),
    /// `(x)`: axis `i` of the result is axis `perm[i]` of `x`.
    Transpose(Vec<usize>),
    /// One or more operands, joined along an axis; integers of equal scale.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// `(x)`: positions `start, start + step, …` before `end`.
    Slice {
        /// The axis.
        axis: usize,
        /// First position.
        start: Dim,
        /// One past the last.
        end: Dim,
        /// Distance, at least 1; where it is not 1, `end - start` is constant.
        step: u64,
    },
    /// `(x)`: a constant around. Integers: the constant is the integer itself.
    Pad {
        /// Positions added before each axis.
        lo: Vec<u64>,
        /// Positions added after each axis.
        hi: Vec<u64>,
        /// What is added.
        value: f64,
    },
    /// `(x)`: stretched by numpy broadcasting.
    Broadcast(Shape),
    /// The module's state as the entry found it.
    StateRead(String),
    /// `(x)`: the state with `x` appended along its axis; this is also what the entry leaves behind.
    StateAppend(String),
    /// A repeated region.
    Repeat(Box<Repeat>),
}

impl BinaryOp {
    /// Its name in text.
    pub fn name(self) -> &'static str {
        match self {
            BinaryOp::Add => "add",
            BinaryOp::Sub => "sub",
            BinaryOp::Mul => "mul",
            BinaryOp::Div => "div",
            BinaryOp::Max => "max",
            BinaryOp::Min => "min",
            BinaryOp::And => "and",
        }
    }
}

impl ReduceKind {
    /// Its name in text.
    pub fn name(self) -> &'static str {
        match self {
            ReduceKind::Sum => "sum",
            ReduceKind::Mean => "mean",
            ReduceKind::Max => "max",
        }
    }
}

impl Op {
    /// Its mnemonic: the name in text and in diagnostics.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Weight(_) => "weight",
            Op::Const(_) => "const",
            Op::Iota { .. } => "iota",
            Op::CausalMask { .. } => "causal_mask",
            Op::Binary(op) => op.name(),
            Op::Table { .. } => "table",
            Op::Requant(_) => "requant",
            Op::MaxDistance(_) => "max_distance",
            Op::Contract(_) => "contract",
            Op::Conv2d(_) => "conv2d",
            Op::Pool(_) => "pool",
            Op::Reduce { .. } => "reduce",
            Op::BatchNorm { .. } => "batch_norm",
            Op::Softmax => "softmax",
            Op::RmsNorm { .. } => "rms_norm",
            Op::LayerNorm { .. } => "layer_norm",
            Op::Rope(_) => "rope",
            Op::Embedding => "embedding",
            Op::Where => "where",
            Op::ArgMax => "argmax",
            Op::Reshape(_) => "reshape",
            Op::Transpose(_) => "transpose",
            Op::Concat { .. } => "concat",
            Op::Slice { .. } => "slice",
            Op::Pad { .. } => "pad",
            Op::Broadcast(_) => "broadcast",
            Op::StateRead(_) => "state_read",
            Op::StateAppend(_) => "state_append",
            Op::Repeat(_) => "repeat",
        }
    }

    /// True where the operation does something besides computing its results.
    pub fn has_effect(&self) -> bool {
        match self {
            Op::StateAppend(_) => true,
            Op::Repeat(repeat) => repeat.body.nodes.iter().any(|n| n.op.has_effect()),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contractions_are_checked() {
        let e = Einsum::parse("bik,kj->bij").unwrap();
        assert_eq!(
            (e.to_string().as_str(), e.contracted().collect::<String>()),
            ("bik,kj->bij", "k".to_owned())
        );
        for text in [
            "ij,jk",
            "ij->ij",
            "ii,ij->j",
            "ij,jk->ikz",
            "ij,k->ik",
            "i1,j->ij",
            "ij,jk->iik",
        ] {
            assert!(Einsum::parse(text).is_err(), "{text}");
        }
    }
}
