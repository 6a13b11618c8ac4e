//! Why an operation has no type.

use thiserror::Error;

use crate::shape::{Dim, Shape};
use crate::types::{Elem, Span, Type};

/// An operation that does not fit its operands.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{op} `{value}`: {kind}")]
pub struct InferError {
    /// Mnemonic of the operation.
    pub op: &'static str,
    /// Name of the (first) value that it would have defined.
    pub value: String,
    /// Where it comes from.
    pub span: Option<Span>,
    /// What does not fit.
    pub kind: Box<InferErrorKind>,
}

/// What does not fit. Operands and axes count from 0.
#[derive(Debug, Clone, PartialEq, Error)]
#[allow(missing_docs)] // the messages say what the fields are
pub enum InferErrorKind {
    /// Too few or too many operands.
    #[error("takes {} operands, not {found}", counts(*.least, *.most))]
    OperandCount { least: usize, most: usize, found: usize },
    /// An operand has another kind of element.
    #[error("operand {operand} must be {expected}, not {found}")]
    Elem {
        operand: usize,
        expected: &'static str,
        found: Elem,
    },
    /// Two operands have different kinds of element.
    #[error("operands are of different kinds: {left} and {right}")]
    Kinds { left: Elem, right: Elem },
    /// An operand has another number of axes.
    #[error("operand {operand} must have {expected} axes, not {found}")]
    Rank {
        operand: usize,
        expected: usize,
        found: usize,
    },
    /// Shapes that do not broadcast.
    #[error("{left} and {right} do not broadcast to each other")]
    Broadcast { left: Shape, right: Shape },
    /// Two lengths that must agree do not.
    #[error("{what}: {left} and {right} differ")]
    Extent { what: &'static str, left: Dim, right: Dim },
    /// Two lengths of one contraction label differ.
    #[error("label `{label}` is {left} on the left and {right} on the right")]
    Label { label: char, left: Dim, right: Dim },
    /// An axis that does not exist.
    #[error("axis {axis} does not exist: the operand has {rank} axes")]
    Axis { axis: usize, rank: usize },
    /// Not a permutation of the axes.
    #[error("{perm:?} is not a permutation of {rank} axes")]
    Permutation { perm: Vec<usize>, rank: usize },
    /// A reshape that changes the number of elements.
    #[error("cannot reshape {from} to {to}: the number of elements differs")]
    Numel { from: Shape, to: Shape },
    /// A length that must be known at compile time.
    #[error("{what} must be constant, not {dim}")]
    NotConst { what: &'static str, dim: Dim },
    /// Integers of different scale in a sum.
    #[error("scales differ: {left} and {right}; requantise one of them first")]
    Scales { left: f64, right: f64 },
    /// An attribute out of its range.
    #[error("{0}")]
    Attribute(&'static str),
    /// A window larger than the padded image.
    #[error("a window of {window} does not fit in {extent}")]
    Window { window: u64, extent: Dim },
    /// A step over a run-time length.
    #[error("a step of {stride} over the run-time length {extent} is not affine")]
    Stride { stride: u64, extent: Dim },
    /// A name that the module does not declare.
    #[error("the module has no {what} `{name}`")]
    Unknown { what: &'static str, name: String },
    /// A weight or state is stacked over other regions than those around its use.
    #[error("{what} `{name}` is stacked over [{declared}], but used within [{found}]")]
    Stack {
        what: &'static str,
        name: String,
        declared: String,
        found: String,
    },
    /// The index of a table does not cover the bounds.
    #[error("table `{table}` takes {lo} to {hi}, but its index can be {from} to {to}")]
    Coverage {
        table: String,
        lo: i64,
        hi: i64,
        from: i64,
        to: i64,
    },
    /// A carried or stacked value of a region has another type.
    #[error("{what} {position} has type {found}, expected {expected}")]
    Region {
        what: &'static str,
        position: usize,
        found: Box<Type>,
        expected: Box<Type>,
    },
}

fn counts(least: usize, most: usize) -> String {
    match (least, most) {
        (a, b) if a == b => a.to_string(),
        (a, usize::MAX) => format!("at least {a}"),
        (a, b) => format!("{a} to {b}"),
    }
}
