//! Inputs of the model: types, run-time dimensions, and the vocabularies of integers.

use std::collections::BTreeSet;

use mlc_ir::{Dim, Shape, Type};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Length;
use tract_onnx::pb::type_proto::Value as Kind;
use tract_onnx::pb::{GraphProto, ValueInfoProto};

use super::Options;
use super::context::Context;
use super::value::{Label, Lazy, Value};
use crate::error::ImportError;
use mlc_ir::Formula;

/// Declares the inputs that no initialiser gives; names of inputs join `known`.
pub(super) fn declare<'g>(
    ctx: &mut Context<'_, '_>,
    graph: &'g GraphProto,
    known: &mut BTreeSet<&'g str>,
    options: &Options,
    errors: &mut Vec<ImportError>,
) {
    for input in &graph.input {
        // Older files list initialisers among the inputs.
        if ctx.lookup(&input.name).is_some() {
            continue;
        }
        known.insert(&input.name);
        let value = match ty(ctx, graph, input, options) {
            Ok(ty) => Value::Lazy(Lazy {
                base: ctx.builder.input(&input.name, options.inputs, ty),
                formula: Formula::x(),
                label: Label::default(),
            }),
            Err(why) => {
                errors.push(ImportError::Input {
                    name: input.name.clone(),
                    why,
                });
                Value::Unknown
            }
        };
        ctx.define(&input.name, value);
    }
}

fn ty(
    ctx: &mut Context<'_, '_>,
    graph: &GraphProto,
    input: &ValueInfoProto,
    options: &Options,
) -> Result<Type, String> {
    let Some(Kind::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref()) else {
        return Err("it is no tensor".to_owned());
    };
    let Some(shape) = &tensor.shape else {
        return Err("it has no shape; export the model with the shape of its inputs".to_owned());
    };
    let mut dims = Vec::new();
    for (axis, dim) in shape.dim.iter().enumerate() {
        let name = match &dim.value {
            Some(Length::DimValue(length)) if *length > 0 => {
                dims.push(Dim::fixed(*length));
                continue;
            }
            Some(Length::DimValue(0)) => return Err(format!("axis {axis} has length 0")),
            Some(Length::DimParam(name)) => name.as_str(),
            Some(Length::DimValue(_)) | None => "?",
        };
        let Some(runtime) = runtime(axis, name) else {
            return Err(format!(
                "the length of axis {axis} (`{name}`) is not fixed; only the first axis (the batch) and sequence lengths may \
                 vary, export with a fixed length"
            ));
        };
        let max = if runtime == "batch" {
            options.max_batch
        } else {
            options.max_tokens
        };
        let min = if runtime == "past" { 0 } else { 1 };
        ctx.builder.module_mut().declare_dim(runtime, min, max);
        dims.push(Dim::runtime(runtime));
    }
    let shape = Shape(dims);
    match DataType::try_from(tensor.elem_type) {
        Ok(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16) => Ok(Type::real(shape)),
        Ok(DataType::Bool) => Ok(Type::mask(shape)),
        Ok(DataType::Int64 | DataType::Int32) => match vocabulary(ctx, graph, &input.name) {
            Some(rows) => Ok(Type::index(rows, shape)),
            None => Err(
                "its integers index no weight (through Gather), so that their range is not known; give it as float"
                    .to_owned(),
            ),
        },
        Ok(other) => Err(format!(
            "its elements are {}; float, int64 (indices) and bool (masks) work",
            other.as_str_name().to_lowercase()
        )),
        Err(_) => Err(format!("its elements are of the unknown type {}", tensor.elem_type)),
    }
}

/// The run-time dimension that an axis of the symbolic length `name` is.
fn runtime(axis: usize, name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|p| name.contains(p));
    match axis {
        _ if has(&["past"]) => Some("past"),
        _ if has(&["seq", "token", "time"]) => Some("tokens"),
        0 => Some("batch"),
        _ if has(&["batch"]) => Some("batch"),
        _ => None,
    }
}

/// The least number of rows among the weights that `input` chooses rows of, directly or through casts and other axes.
fn vocabulary(ctx: &Context<'_, '_>, graph: &GraphProto, input: &str) -> Option<u64> {
    let mut names = BTreeSet::from([input]);
    let mut rows = Vec::new();
    for node in &graph.node {
        let reads = |i: usize| node.input.get(i).is_some_and(|n| names.contains(n.as_str()));
        match node.op_type.as_str() {
            "Cast" | "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" if reads(0) => {
                names.extend(node.output.first().map(String::as_str))
            }
            "Gather" if reads(1) => {
                let shape = node.input.first().and_then(|w| ctx.initialisers.shape(w));
                rows.extend(shape.and_then(|s| s.first().copied()));
            }
            _ => {}
        }
    }
    rows.into_iter().min()
}
