//! Arithmetic of two (or more) tensors with numpy broadcasting.

use mlc_ir::formula::Binary;
use mlc_ir::{BinaryOp, Dim, Formula, Op, Recipe, Shape};

use super::super::context::Context;
use super::super::layout::sizes;
use super::super::node::Node;
use super::super::rotary;
use super::super::value::{Constant, Cost, Ints, MAX_INTS, Value};
use super::Outputs;
use crate::error::{NodeError, malformed, unsupported};

/// `Add`, `Sub`, `Mul`, `Div`, `Pow`, and the operators of any number of tensors.
pub(super) fn arithmetic(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let op = match node.proto.op_type.as_str() {
        "Add" | "Sum" | "Mean" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Pow" => Binary::Pow,
        "Min" => Binary::Min,
        "Max" => Binary::Max,
        other => return malformed(format!("{other} is no arithmetic")),
    };
    if node.opset < 7 && node.has("axis") {
        return unsupported("broadcasting by `axis`", "export with `opset_version=13`");
    }
    let count = node.proto.input.len();
    let mut result = ctx.input(node, 0)?;
    for i in 1..count {
        let next = ctx.input(node, i)?;
        result = binary(ctx, op, &result, &next)?;
    }
    if node.proto.op_type == "Mean" {
        result = ctx.formula(&(Formula::x() / count as f64), &result)?;
    }
    Ok(vec![result])
}

/// `op(a, b)`: a formula where one side is a number or both are of one value, a recipe where both are constant, integers
/// where both are known, else an operation.
pub(super) fn binary(ctx: &mut Context<'_, '_>, op: Binary, a: &Value, b: &Value) -> Result<Value, NodeError> {
    let of = |x: Formula, y: Formula| Formula::binary(op, x, y);
    match (a, b) {
        (Value::Ints(x), Value::Ints(y)) => {
            if let Some(ints) = integers(op, x, y) {
                return Ok(Value::Ints(ints));
            }
        }
        (Value::Lazy(x), Value::Lazy(y)) if x.base == y.base => {
            return ctx.lazily(x.base, of(x.formula.clone(), y.formula.clone()));
        }
        _ => {}
    }
    // A number does not change the other side's shape, unless it has more axes.
    let (rank_a, rank_b) = (ctx.shape(a)?.rank(), ctx.shape(b)?.rank());
    if let Some(number) = ctx.scalar(b).filter(|_| rank_b <= rank_a) {
        return ctx.formula(&of(Formula::x(), Formula::Const(number)), a);
    }
    if let Some(number) = ctx.scalar(a).filter(|_| rank_a <= rank_b) {
        return ctx.formula(&of(Formula::Const(number), Formula::x()), b);
    }
    match (a, b) {
        (Value::Lazy(_), Value::Lazy(_)) => {
            if op == Binary::Add
                && let Some((rope, x)) = rotary::found(ctx, a, b)?
            {
                return ctx.apply(Op::Rope(rope), &[x]);
            }
            operation(ctx, op, a, b)
        }
        (Value::Lazy(_), _) => {
            let b = ctx.constant(b)?;
            // Weights are added and multiplied, never subtracted or divided by: one form for passes to see.
            match op {
                Binary::Sub => operation(ctx, Binary::Add, a, &ctx.checked(b.map(-Formula::x()))?),
                Binary::Div => operation(ctx, Binary::Mul, a, &ctx.checked(b.map(1.0 / Formula::x()))?),
                _ => operation(ctx, op, a, &Value::Constant(b)),
            }
        }
        (_, Value::Lazy(_)) => operation(ctx, op, a, b),
        _ => constants(ctx, op, a, b),
    }
}

fn operation(ctx: &mut Context<'_, '_>, op: Binary, a: &Value, b: &Value) -> Result<Value, NodeError> {
    let op = match op {
        Binary::Add => BinaryOp::Add,
        Binary::Sub => BinaryOp::Sub,
        Binary::Mul => BinaryOp::Mul,
        Binary::Div => BinaryOp::Div,
        Binary::Min => BinaryOp::Min,
        Binary::Max => BinaryOp::Max,
        _ => {
            return unsupported(
                "a function of two tensors",
                "one of the two has to be a single constant, like the exponent 2; Exp, Log and Mul make a power",
            );
        }
    };
    let (a, b) = (ctx.graph(a)?, ctx.graph(b)?);
    ctx.apply(Op::Binary(op), &[a, b])
}

fn constants(ctx: &Context<'_, '_>, op: Binary, a: &Value, b: &Value) -> Result<Value, NodeError> {
    let (a, b) = (ctx.constant(a)?, ctx.constant(b)?);
    let Some(shape) = a.ir_shape().broadcast(&b.ir_shape()) else {
        return malformed(format!("{} and {} do not broadcast", a.ir_shape(), b.ir_shape()));
    };
    let formula = Formula::binary(op, Formula::var(0), Formula::var(1));
    let shape = sizes(&shape)?;
    ctx.checked(Constant {
        name: ctx.here().to_owned(),
        cost: Cost::step(&shape, [a.cost, b.cost]),
        shape,
        recipe: Recipe::map(formula, [a.recipe, b.recipe]),
    })
}

/// Arithmetic of known integers; `None` where it is not affine in the run-time dimensions or not elementwise.
fn integers(op: Binary, a: &Ints, b: &Ints) -> Option<Ints> {
    let shape = Shape::new(a.shape.iter().copied()).broadcast(&Shape::new(b.shape.iter().copied()))?;
    let shape = shape.as_const()?;
    let count = bounded(&shape)?;
    let at = |x: &Ints, i: usize| match x.data.as_slice() {
        [one] => Some(one.clone()),
        all if all.len() == count => all.get(i).cloned(),
        _ => None,
    };
    let mut data = Vec::new();
    for i in 0..count {
        data.push(integer(op, &at(a, i)?, &at(b, i)?)?);
    }
    Some(Ints {
        shape,
        data,
        constant: None,
    })
}

/// The number of elements, where that many integers are kept.
pub(super) fn bounded(shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
    (count as u64 <= MAX_INTS).then_some(count)
}

fn integer(op: Binary, a: &Dim, b: &Dim) -> Option<Dim> {
    match op {
        Binary::Add => Some(a.plus(b)),
        Binary::Sub => Some(a.minus(b)),
        Binary::Mul => a.try_mul(b),
        _ => of_numbers(op, a, b),
    }
}

/// Operations that need numbers, but for exact quotients.
fn of_numbers(op: Binary, a: &Dim, b: &Dim) -> Option<Dim> {
    if op == Binary::Div
        && let Some(divisor) = b.as_const().filter(|d| *d != 0)
        && let Some(exact) = a.exact_div(divisor)
    {
        return Some(exact);
    }
    let (x, y) = (a.as_const()?, b.as_const()?);
    Some(Dim::fixed(match op {
        Binary::Div => x.checked_div(y)?,
        Binary::Min => x.min(y),
        Binary::Max => x.max(y),
        Binary::Pow => x.checked_pow(u32::try_from(y).ok()?)?,
        Binary::Lt => i64::from(x < y),
        Binary::Le => i64::from(x <= y),
        _ => return None,
    }))
}
