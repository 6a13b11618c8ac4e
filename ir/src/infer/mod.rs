//! Shape and type inference: the type of every result follows from the operation and the operands' types.
//!
//! In the quantised stage the result's bounds are the interval that the operands' bounds prove; contractions with a
//! weight whose column sums setup proves are bounded by those, and what operands have to do with one another counts too
//! ([`Origin`]). Bounds are computed for the greatest declared run-time dimensions and saturate at the ends of `i64`; whether they are below [`INT_LIMIT`](crate::INT_LIMIT) is for the verifier.

mod elementwise;
mod error;
mod interval;
mod layout;
mod linear;
mod origin;
mod quantised;
mod source;
mod window;

pub use error::{InferError, InferErrorKind};
pub(crate) use interval::{extreme, least};
pub use origin::{Origin, Origins};
pub(crate) use source::fits;

use crate::graph::{Module, StackAxis, Value, ValueId, Weight};
use crate::op::Op;
use crate::shape::{Dim, Shape};
use crate::types::{Elem, Type};

/// An operand as inference sees it.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// Which value it is.
    pub id: ValueId,
    /// Its type.
    pub ty: &'a Type,
}

/// What inference may look up.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Weights, tables, states and dimensions.
    pub module: &'a Module,
    /// Values of the entry.
    pub values: &'a [Value],
    /// The enclosing repeat regions, outermost first.
    pub stack: &'a [StackAxis],
    /// How the values defined so far were made.
    pub origins: &'a Origins,
}

impl<'a> Scope<'a> {
    /// The weight that an operand is.
    fn weight(&self, operand: Operand<'_>) -> Option<&'a Weight> {
        match self.origins.get(&operand.id)? {
            Origin::Weight(name) => self.module.weights.get(name),
            _ => None,
        }
    }
}

type Inferred = Result<Type, InferErrorKind>;

/// Types of the results of `op` on `operands`.
pub fn infer(scope: Scope<'_>, op: &Op, operands: &[Operand<'_>]) -> Result<Vec<Type>, InferErrorKind> {
    let module = scope.module;
    check_count(op, operands.len())?;
    let ty = |i: usize| operands[i].ty;
    let result = match op {
        Op::Weight(name) => source::weight(scope, name),
        Op::Const(literal) => source::literal(literal),
        Op::Iota { len, vocab, .. } => Ok(Type::index(*vocab, Shape(vec![len.clone()]))),
        Op::CausalMask { rows, cols, window, .. } => {
            if *window == Some(0) {
                return Err(InferErrorKind::Attribute("a window sees at least one key"));
            }
            Ok(Type::mask(Shape(vec![rows.clone(), cols.clone()])))
        }
        Op::Binary(op) => elementwise::binary(*op, ty(0), ty(1))
            .map(|ty| origin::sharpen(*op, operands[0], operands[1], scope.origins, ty)),
        Op::Table { formula, .. } => elementwise::table(formula, ty(0)),
        Op::Softmax => elementwise::softmax(operands),
        Op::Where => elementwise::choose(ty(0), ty(1), ty(2)),
        Op::BatchNorm { .. } => elementwise::batch_norm(operands),
        Op::RmsNorm { .. } | Op::LayerNorm { .. } => elementwise::row_norm(operands),
        Op::Rope(rope) => elementwise::rope(rope, ty(0)),
        Op::Requant(requant) => quantised::requant(scope, requant, ty(0)),
        Op::MaxDistance(lookup) => quantised::max_distance(scope, lookup, operands),
        Op::Contract(einsum) => linear::contract(scope, einsum, operands[0], operands[1]),
        Op::Reduce { kind, axes, keepdims } => linear::reduce(module, *kind, axes, *keepdims, ty(0)),
        Op::Embedding => linear::embedding(ty(0), ty(1)),
        Op::ArgMax => linear::argmax(ty(0)),
        Op::Conv2d(conv) => window::conv2d(scope, conv, ty(0), operands[1]),
        Op::Pool(pool) => window::pool(pool, ty(0)),
        Op::Reshape(shape) => layout::reshape(ty(0), shape),
        Op::Transpose(perm) => layout::transpose(ty(0), perm),
        Op::Concat { axis } => layout::concat(*axis, &operands.iter().map(|o| o.ty).collect::<Vec<_>>()),
        Op::Slice { axis, start, end, step } => layout::slice(ty(0), *axis, start, end, *step),
        Op::Pad { lo, hi, value } => layout::pad(ty(0), lo, hi, *value),
        Op::Broadcast(shape) => layout::broadcast(ty(0), shape),
        Op::StateRead(name) => source::state_read(scope, name),
        Op::StateAppend(name) => source::state_append(scope, name, ty(0)),
        Op::Repeat(repeat) => return source::repeat(scope, repeat, operands),
    }?;
    Ok(vec![result])
}

/// Least and greatest number of operands.
fn operand_counts(op: &Op) -> (usize, usize) {
    match op {
        Op::Weight(_) | Op::Const(_) | Op::Iota { .. } | Op::CausalMask { .. } | Op::StateRead(_) => (0, 0),
        Op::Binary(_) | Op::Contract(_) | Op::Conv2d(_) | Op::Embedding => (2, 2),
        Op::Softmax | Op::MaxDistance(_) | Op::RmsNorm { .. } => (1, 2),
        Op::LayerNorm { .. } => (1, 3),
        Op::Where => (3, 3),
        Op::BatchNorm { .. } => (5, 5),
        Op::Concat { .. } => (1, usize::MAX),
        Op::Repeat(_) => (0, usize::MAX),
        _ => (1, 1),
    }
}

fn check_count(op: &Op, found: usize) -> Result<(), InferErrorKind> {
    let (least, most) = operand_counts(op);
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(InferErrorKind::OperandCount { least, most, found })
}

/// Fails where the element type is not one of real and int.
fn number(operand: usize, ty: &Type) -> Result<(), InferErrorKind> {
    match ty.elem {
        Elem::Real | Elem::Int(_) => Ok(()),
        found => Err(InferErrorKind::Elem {
            operand,
            expected: "a number",
            found,
        }),
    }
}

fn real(operand: usize, ty: &Type) -> Result<(), InferErrorKind> {
    match ty.elem {
        Elem::Real => Ok(()),
        found => Err(InferErrorKind::Elem {
            operand,
            expected: "real",
            found,
        }),
    }
}

fn mask(operand: usize, ty: &Type) -> Result<(), InferErrorKind> {
    match ty.elem {
        Elem::Mask => Ok(()),
        found => Err(InferErrorKind::Elem {
            operand,
            expected: "mask",
            found,
        }),
    }
}

fn rank(operand: usize, ty: &Type, expected: usize) -> Result<(), InferErrorKind> {
    match ty.shape.rank() {
        found if found == expected => Ok(()),
        found => Err(InferErrorKind::Rank {
            operand,
            expected,
            found,
        }),
    }
}

fn axis_of(ty: &Type, axis: usize) -> Result<&Dim, InferErrorKind> {
    ty.shape.0.get(axis).ok_or(InferErrorKind::Axis {
        axis,
        rank: ty.shape.rank(),
    })
}

fn last_axis(ty: &Type) -> Result<&Dim, InferErrorKind> {
    ty.shape.0.last().ok_or(InferErrorKind::Axis { axis: 0, rank: 0 })
}

fn constant(what: &'static str, dim: &Dim) -> Result<u64, InferErrorKind> {
    let value = dim
        .as_const()
        .ok_or_else(|| InferErrorKind::NotConst { what, dim: dim.clone() })?;
    u64::try_from(value).map_err(|_| InferErrorKind::NotConst { what, dim: dim.clone() })
}

fn same(what: &'static str, left: &Dim, right: &Dim) -> Result<(), InferErrorKind> {
    if left == right {
        return Ok(());
    }
    Err(InferErrorKind::Extent {
        what,
        left: left.clone(),
        right: right.clone(),
    })
}

fn stretch(a: &Shape, b: &Shape) -> Result<Shape, InferErrorKind> {
    a.broadcast(b).ok_or_else(|| InferErrorKind::Broadcast {
        left: a.clone(),
        right: b.clone(),
    })
}
