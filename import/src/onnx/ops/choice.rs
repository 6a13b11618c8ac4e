//! Comparisons and choices: folded for shapes, formulas where all is of one value.

use mlc_ir::formula::Binary;
use mlc_ir::{Dim, Elem, Formula, Op, Recipe, Shape};

use super::super::context::Context;
use super::super::layout::sizes;
use super::super::node::Node;
use super::super::value::{Constant, Cost, Ints, Lazy, Value};
use super::Outputs;
use super::arithmetic::{binary, bounded};
use crate::error::{NodeError, malformed, unsupported};

/// Comparisons, as 1 and 0; `And` and `Or` of such.
pub(super) fn compare(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let (a, b) = (ctx.input(node, 0)?, ctx.input(node, 1)?);
    let operator = node.proto.op_type.as_str();
    if let (Value::Ints(x), Value::Ints(y)) = (&a, &b)
        && operator == "Equal"
        && let Some(equal) = equal(x, y)
    {
        return Ok(vec![Value::Ints(equal)]);
    }
    let masks = [&a, &b].map(|v| match v {
        Value::Lazy(lazy) if ctx.ty(lazy.base).elem == Elem::Mask => Some(lazy.base),
        _ => None,
    });
    if let ("And", [Some(a), Some(b)]) = (operator, masks) {
        return Ok(vec![ctx.apply(Op::Binary(mlc_ir::BinaryOp::And), &[a, b])?]);
    }
    let (op, a, b) = match operator {
        "And" => (Binary::Mul, a, b),
        "Or" => (Binary::Max, a, b),
        "Equal" => (Binary::Eq, a, b),
        "Less" => (Binary::Lt, a, b),
        "LessOrEqual" => (Binary::Le, a, b),
        "Greater" => (Binary::Lt, b, a),
        "GreaterOrEqual" => (Binary::Le, b, a),
        other => return malformed(format!("{other} is no comparison")),
    };
    Ok(vec![binary(ctx, op, &a, &b)?])
}

/// Equality of known integers; a run-time length is never negative.
fn equal(a: &Ints, b: &Ints) -> Option<Ints> {
    let shape = Shape::new(a.shape.iter().copied()).broadcast(&Shape::new(b.shape.iter().copied()))?;
    let shape = shape.as_const()?;
    let at = |x: &'_ Ints, i: usize| x.data.get(if x.data.len() == 1 { 0 } else { i }).cloned();
    let mut data = Vec::new();
    for i in 0..bounded(&shape)? {
        let (x, y) = (at(a, i)?, at(b, i)?);
        let same = match (x.as_const(), y.as_const()) {
            _ if x == y => true,
            (Some(_), Some(_)) => false,
            (Some(c), None) | (None, Some(c)) if c < 0 => false,
            _ => return None,
        };
        data.push(Dim::fixed(same.into()));
    }
    Some(Ints {
        shape,
        data,
        constant: None,
    })
}

/// `Where(condition, a, b)`.
pub(super) fn choose(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let (condition, a, b) = (ctx.input(node, 0)?, ctx.input(node, 1)?, ctx.input(node, 2)?);
    if let (Value::Ints(c), Value::Ints(a), Value::Ints(b)) = (&condition, &a, &b)
        && let Some(chosen) = among(c, a, b)
    {
        return Ok(vec![Value::Ints(chosen)]);
    }
    // A condition that does not depend on the input after all.
    if let Value::Lazy(Lazy {
        formula: Formula::Const(c),
        ..
    }) = &condition
    {
        let taken = if *c != 0.0 { &a } else { &b };
        if ctx.shape(taken)? == ctx.shape(&condition)? {
            return Ok(vec![taken.clone()]);
        }
    }
    if let Value::Lazy(mask) = &condition
        && ctx.ty(mask.base).elem == Elem::Mask
    {
        let mask = ctx.force(mask)?;
        let (a, b) = (ctx.graph(&a)?, ctx.graph(&b)?);
        return Ok(vec![ctx.apply(Op::Where, &[mask, a, b])?]);
    }
    // Everything of one value: a formula.
    let base = [&condition, &a, &b].into_iter().find_map(|v| match v {
        Value::Lazy(lazy) => Some(lazy.base),
        _ => None,
    });
    let Some(base) = base else {
        return Ok(vec![constants(ctx, [&condition, &a, &b])?]);
    };
    let rank = ctx.ty(base).shape.rank();
    let mut parts = Vec::new();
    for value in [&condition, &a, &b] {
        let number = ctx.scalar(value);
        parts.push(match (value, number) {
            (Value::Lazy(lazy), _) if lazy.base == base => lazy.formula.clone(),
            (_, Some(number)) if ctx.shape(value)?.rank() <= rank => Formula::Const(number),
            _ => {
                return unsupported(
                    "a choice between several tensors",
                    "Where works on a mask that is an input, or as a function of one tensor and numbers, like \
                     Where(x > 0, x, 0.1·x)",
                );
            }
        });
    }
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(c), Some(a), Some(b)) => Ok(vec![ctx.lazily(base, Formula::select(c, a, b))?]),
        _ => malformed("a choice has three inputs"),
    }
}

/// A choice between constants, as a recipe.
fn constants(ctx: &Context<'_, '_>, values: [&Value; 3]) -> Result<Value, NodeError> {
    let [c, a, b] = values.map(|v| ctx.constant(v));
    let (c, a, b) = (c?, a?, b?);
    let shape = c.ir_shape().broadcast(&a.ir_shape());
    let Some(shape) = shape.and_then(|s| s.broadcast(&b.ir_shape())) else {
        return malformed("the inputs of a choice do not broadcast");
    };
    let formula = Formula::select(Formula::var(0), Formula::var(1), Formula::var(2));
    let shape = sizes(&shape)?;
    ctx.checked(Constant {
        name: ctx.here().to_owned(),
        cost: Cost::step(&shape, [c.cost, a.cost, b.cost]),
        shape,
        recipe: Recipe::map(formula, [c.recipe, a.recipe, b.recipe]),
    })
}

fn among(c: &Ints, a: &Ints, b: &Ints) -> Option<Ints> {
    let shape = |x: &Ints| Shape::new(x.shape.iter().copied());
    let shape = shape(c).broadcast(&shape(a))?.broadcast(&shape(b))?.as_const()?;
    let at = |x: &'_ Ints, i: usize| x.data.get(if x.data.len() == 1 { 0 } else { i }).cloned();
    let mut data = Vec::new();
    for i in 0..bounded(&shape)? {
        let first = at(c, i)?.as_const()? != 0;
        data.push(if first { at(a, i)? } else { at(b, i)? });
    }
    Some(Ints {
        shape,
        data,
        constant: None,
    })
}
