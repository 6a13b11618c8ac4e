//! Functions of one tensor, as formulas.

use mlc_ir::{BinaryOp, Formula, Op};

use super::super::context::Context;
use super::super::formula::{by_sign, elu, gelu, gelu_tanh, hard_swish, leaky_relu, mish, relu, sigmoid, softplus};
use super::super::node::Node;
use super::super::value::Value;
use super::Outputs;
use crate::error::{NodeError, malformed, unsupported};

/// Any function of one tensor with constant parameters.
pub(super) fn function(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let formula = formula(node)?;
    Ok(vec![ctx.formula(&formula, &x)?])
}

fn formula(node: &Node<'_>) -> Result<Formula, NodeError> {
    let x = Formula::x;
    let alpha = |default: f32| node.float_or("alpha", default);
    Ok(match node.proto.op_type.as_str() {
        "Abs" => x().abs(),
        "Ceil" => -((-x()).floor()),
        "Celu" => {
            let a = alpha(1.0)?;
            if a == 0.0 {
                return malformed("`alpha` is 0");
            }
            by_sign(x(), a * ((x() / a).exp() - 1.0))
        }
        "Cos" => x().cos(),
        "Elu" => elu(alpha(1.0)?),
        "Erf" => x().erf(),
        "Exp" => x().exp(),
        "Floor" => x().floor(),
        "Gelu" => match node.string("approximate")?.unwrap_or("none") {
            "none" => gelu(),
            "tanh" => gelu_tanh(),
            other => return unsupported(format!("`approximate = {other}`"), "`none` and `tanh` work"),
        },
        "HardSigmoid" => (alpha(0.2)? * x() + node.float_or("beta", 0.5)?).max(0.0).min(1.0),
        "HardSwish" => hard_swish(),
        // Whatever is computed here is finite; a row of a softmax sees at least one position.
        "IsNaN" => Formula::Const(0.0),
        "LeakyRelu" => leaky_relu(alpha(0.01)?),
        "Log" => x().log(),
        "Mish" => mish(),
        "Neg" => -x(),
        "Not" => 1.0 - x(),
        "Reciprocal" => 1.0 / x(),
        "Relu" => relu(),
        "Round" => x().round(),
        "Selu" => {
            let gamma = node.float_or("gamma", 1.050_701)?;
            let a = alpha(1.673_263_2)?;
            gamma * elu(a)
        }
        "Sigmoid" => sigmoid(),
        "Sign" => Formula::Const(0.0).lt(x()) - x().lt(0.0),
        "Sin" => x().sin(),
        "Softplus" => softplus(),
        "Softsign" => x() / (1.0 + x().abs()),
        "Sqrt" => x().sqrt(),
        "Swish" => x() * sigmoid().compose(&(alpha(1.0)? * x())),
        "Tanh" => x().tanh(),
        "ThresholdedRelu" => Formula::select(Formula::Const(alpha(1.0)?).lt(x()), x(), 0.0),
        other => return malformed(format!("{other} is no function of one tensor")),
    })
}

/// Bounds as attributes (before set 11) or as inputs.
pub(super) fn clip(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let mut bounds = [None, None];
    for (i, (slot, name)) in bounds.iter_mut().zip(["min", "max"]).enumerate() {
        *slot = match ctx.optional(node, i + 1) {
            Some(value) => Some(ctx.known_number(name, &value)?),
            None => node.float(name)?,
        };
    }
    let mut formula = Formula::x();
    if let Some(least) = bounds[0] {
        formula = formula.max(least);
    }
    if let Some(most) = bounds[1] {
        formula = formula.min(most);
    }
    Ok(vec![ctx.formula(&formula, &x)?])
}

/// `max(x, 0) + slope · min(x, 0)`, the slope broadcasting to `x`.
pub(super) fn prelu(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let (x, slope) = (ctx.input(node, 0)?, ctx.input(node, 1)?);
    if let Some(slope) = ctx.scalar(&slope) {
        let formula = Formula::x().max(0.0) + slope * Formula::x().min(0.0);
        return Ok(vec![ctx.formula(&formula, &x)?]);
    }
    let above = ctx.formula(&Formula::x().max(0.0), &x)?;
    let below = ctx.formula(&Formula::x().min(0.0), &x)?;
    let (above, below, slope) = (ctx.graph(&above)?, ctx.graph(&below)?, ctx.graph(&slope)?);
    let scaled = ctx.push(Op::Binary(BinaryOp::Mul), &[below, slope])?;
    let sum: Value = ctx.apply(Op::Binary(BinaryOp::Add), &[above, scaled])?;
    Ok(vec![sum])
}
