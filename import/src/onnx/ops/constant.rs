//! Values written in the file.

use mlc_ir::{Dim, Recipe, TensorF32};

use super::super::context::{Context, scalar};
use super::super::layout::sizes;
use super::super::node::Node;
use super::super::tensor;
use super::super::value::{Constant, Cost, Ints, MAX_INTS, Value};
use super::Outputs;
use crate::error::{NodeError, malformed, unsupported};
use crate::initialisers::{DType, Data, Stored};
use mlc_ir::{Op, Shape};

/// `Constant`, in any of its attributes but strings and sparse tensors.
pub(super) fn constant(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let name = node.proto.output.first().cloned().unwrap_or_default();
    let stored = if let Some(proto) = node.tensor("value")? {
        tensor::read(proto.clone(), ctx.folder).map_err(|e| NodeError::Tensor(name.clone(), e))?
    } else if let Some(value) = node.float("value_float")? {
        floats(vec![], &[value as f32])
    } else if let Some(values) = node.floats("value_floats")? {
        floats(vec![values.len() as u64], values)
    } else if let Some(value) = node.int("value_int")? {
        ints(vec![], &[value])
    } else if let Some(values) = node.ints("value_ints")? {
        ints(vec![values.len() as u64], values)
    } else {
        return unsupported(
            "a constant of strings or a sparse tensor",
            "store a dense tensor of numbers",
        );
    };
    let stored = stored.finite_mask();
    stored.check_finite().map_err(|e| NodeError::Tensor(name.clone(), e))?;
    Ok(vec![ctx.store(&name, stored)?])
}

fn floats(shape: Vec<u64>, values: &[f32]) -> Stored {
    Stored {
        dtype: DType::F32,
        shape,
        data: Data::Here(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
    }
}

fn ints(shape: Vec<u64>, values: &[i64]) -> Stored {
    Stored {
        dtype: DType::I64,
        shape,
        data: Data::Here(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
    }
}

/// `ConstantOfShape`: one number everywhere; zero by default.
pub(super) fn constant_of_shape(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let shape = ctx.input(node, 0)?;
    let shape = Shape(ctx.ints("shape", &shape)?.data);
    let (integer, value) = match node.tensor("value")? {
        None => (false, 0.0),
        Some(proto) => {
            let stored =
                tensor::read(proto.clone(), ctx.folder).map_err(|e| NodeError::Tensor("value".to_owned(), e))?;
            let integer = !stored.dtype.is_float();
            let value = if integer {
                let list = stored
                    .integers()
                    .map_err(|e| NodeError::Tensor("value".to_owned(), e))?;
                list.first().map(|v| *v as f64)
            } else {
                stored.first()
            };
            match value {
                Some(value) => (integer, value),
                None => return malformed("`value` is empty"),
            }
        }
    };
    if !shape.is_const() {
        let number = ctx.push(scalar(value), &[])?;
        return Ok(vec![ctx.apply(Op::Broadcast(shape), &[number])?]);
    }
    let sizes = sizes(&shape)?;
    let count = Stored::numel(&sizes).filter(|n| *n <= MAX_INTS);
    let Some(count) = count else {
        let number = ctx.push(scalar(value), &[])?;
        return Ok(vec![ctx.apply(Op::Broadcast(shape), &[number])?]);
    };
    let axes: Vec<usize> = sizes.iter().map(|d| *d as usize).collect();
    if integer {
        return Ok(vec![Value::Ints(Ints {
            shape: axes,
            data: vec![Dim::fixed(value as i64); count as usize],
            constant: None,
        })]);
    }
    Ok(vec![Value::Constant(Constant {
        recipe: Recipe::constant(TensorF32 {
            shape: axes,
            data: vec![value as f32; count as usize],
        }),
        cost: Cost::step(&sizes, []),
        shape: sizes,
        name: ctx.here().to_owned(),
    })])
}

/// `Range` of known integers.
pub(super) fn range(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let mut bounds = Vec::new();
    for (i, what) in ["start", "limit", "delta"].into_iter().enumerate() {
        let value = ctx.input(node, i)?;
        match ctx.known_ints(what, &value)?.as_slice() {
            [one] => bounds.push(*one),
            _ => return malformed(format!("`{what}` is not one number")),
        }
    }
    let (start, limit, delta) = (bounds[0], bounds[1], bounds[2]);
    if delta == 0 {
        return malformed("`delta` is 0");
    }
    let mut data = Vec::new();
    let mut at = start;
    while (delta > 0 && at < limit) || (delta < 0 && at > limit) {
        if data.len() as u64 >= MAX_INTS {
            return unsupported(
                format!("a range of more than {MAX_INTS} numbers"),
                "store it as an initialiser",
            );
        }
        data.push(Dim::fixed(at));
        at = at.saturating_add(delta);
    }
    Ok(vec![Value::Ints(Ints {
        shape: vec![data.len()],
        data,
        constant: None,
    })])
}
