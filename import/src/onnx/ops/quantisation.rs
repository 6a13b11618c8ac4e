//! Quantise-dequantise pairs, as the real functions that they are.
//!
//! A weight is dequantised by its recipe: `(q - zero) · scale`, per tensor or per channel. An activation goes through
//! `clamp(round(x / scale) + zero, lo, hi)` and back, a formula of `x` that composes with the activation before it; the
//! table made of it carries the exporter's scale exactly.

use mlc_ir::{Formula, Recipe};

use super::super::context::Context;
use super::super::node::{Node, axis};
use super::super::value::{Constant, Cost, Value};
use super::Outputs;
use crate::error::{NodeError, malformed, unsupported};
use crate::initialisers::DType;

/// `QuantizeLinear`: to integers, still as real numbers.
pub(super) fn quantise(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let (lo, hi) = limits(ctx, node)?;
    if matches!(x, Value::Constant(_) | Value::Ints(_)) {
        let x = ctx.constant(&x)?;
        let (scale, zero) = parameters(ctx, node, &x)?;
        let q = (Formula::var(0) / Formula::var(1)).round() + Formula::var(2);
        return Ok(vec![with_parameters(ctx, q.max(lo).min(hi), x, scale, zero)?]);
    }
    let (scale, zero) = numbers(ctx, node)?;
    let q = (Formula::x() / scale).round() + zero;
    Ok(vec![ctx.formula(&q.max(lo).min(hi), &x)?])
}

/// `DequantizeLinear`: `(x - zero) · scale`.
pub(super) fn dequantise(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    if matches!(x, Value::Constant(_) | Value::Ints(_)) {
        let x = ctx.constant(&x)?;
        let (scale, zero) = parameters(ctx, node, &x)?;
        let real = (Formula::var(0) - Formula::var(2)) * Formula::var(1);
        return Ok(vec![with_parameters(ctx, real, x, scale, zero)?]);
    }
    let (scale, zero) = numbers(ctx, node)?;
    Ok(vec![ctx.formula(&((Formula::x() - zero) * scale), &x)?])
}

/// Range of the integers: that of the zero point's type, unsigned 8 bits where there is none.
fn limits(ctx: &Context<'_, '_>, node: &Node<'_>) -> Result<(f64, f64), NodeError> {
    let zero = node.proto.input.get(2).filter(|n| !n.is_empty());
    let dtype = match zero {
        Some(name) => ctx.initialisers.dtype(name),
        None => match node.int_or("output_dtype", 0)? {
            0 => Some(DType::U8),
            number => super::super::tensor::dtype(i32::try_from(number).unwrap_or(0)).ok(),
        },
    };
    match dtype {
        Some(DType::U8) => Ok((0.0, 255.0)),
        Some(DType::I8) => Ok((-128.0, 127.0)),
        Some(DType::U16) => Ok((0.0, 65535.0)),
        Some(DType::I16) => Ok((-32768.0, 32767.0)),
        _ => unsupported(
            "quantisation to this type",
            "int8, uint8, int16 and uint16 work, with the zero point stored as an initialiser",
        ),
    }
}

/// Scale and zero point of a whole tensor.
fn numbers(ctx: &Context<'_, '_>, node: &Node<'_>) -> Result<(f64, f64), NodeError> {
    let single = |what: &str, value: &Value| match ctx.scalar(value) {
        Some(number) => Ok(number),
        None => unsupported(
            format!("a {what} per channel of an activation"),
            "one scale for the tensor works; weights may have one a channel",
        ),
    };
    let scale = single("scale", &ctx.input(node, 1)?)?;
    let zero = ctx.optional(node, 2).map_or(Ok(0.0), |v| single("zero point", &v))?;
    if !(scale.is_finite() && scale > 0.0) {
        return malformed(format!("the scale is {scale}"));
    }
    Ok((scale, zero))
}

/// Scale and zero point of a weight, shaped to broadcast along the channel axis.
fn parameters(ctx: &Context<'_, '_>, node: &Node<'_>, x: &Constant) -> Result<(Constant, Option<Constant>), NodeError> {
    if node.int_or("block_size", 0)? != 0 {
        return unsupported("a scale per block", "a scale per tensor or channel works");
    }
    let along = |value: &Value| -> Result<Constant, NodeError> {
        let c = ctx.constant(value)?;
        if c.numel() == 1 {
            return Ok(c.reshape(Vec::new()));
        }
        let at = axis(node.int_or("axis", 1)?, x.shape.len())?;
        if c.shape != [x.shape[at]] {
            return malformed(format!(
                "scale or zero point has shape {:?}, axis {at} is {}",
                c.shape, x.shape[at]
            ));
        }
        let mut shape = vec![1; x.shape.len()];
        shape[at] = x.shape[at];
        Ok(c.reshape(shape))
    };
    let scale = along(&ctx.input(node, 1)?)?;
    let zero = ctx.optional(node, 2).map(|v| along(&v)).transpose()?;
    Ok((scale, zero))
}

/// `formula(x, scale, zero)`; the zero point is left out where it is 0.
fn with_parameters(
    ctx: &Context<'_, '_>,
    formula: Formula,
    x: Constant,
    scale: Constant,
    zero: Option<Constant>,
) -> Result<Value, NodeError> {
    let zero = zero.filter(|z| {
        let value = ctx.evaluate(z);
        !value.is_ok_and(|t| t.data.iter().all(|v| *v == 0.0))
    });
    let parts = [Some(&x), Some(&scale), zero.as_ref()];
    let cost = Cost::step(&x.shape, parts.into_iter().flatten().map(|c| c.cost));
    let mut inputs = vec![x.recipe, scale.recipe];
    let formula = match zero {
        Some(zero) => {
            inputs.push(zero.recipe);
            formula
        }
        None => formula.substitute(&[Formula::var(0), Formula::var(1), Formula::Const(0.0)]),
    };
    ctx.checked(Constant {
        recipe: Recipe::map(formula, inputs),
        shape: x.shape,
        name: x.name,
        cost,
    })
}
