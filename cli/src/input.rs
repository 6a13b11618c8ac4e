//! Inputs: files to tensors, their run-time dimensions, and the integers of the statement.
//!
//! JSON (nested lists, or an object of them by input), `.npy`, `.safetensors`, and PNG. A tensor fits an input where its
//! shape does, or where its number of elements fits exactly one length of the batch; then it is taken in row-major order.

mod bind;
mod npy;
mod png;

use std::collections::BTreeMap;
use std::path::Path;

pub(crate) use bind::{Axis, Declared, bind, chunks};
use mlc_circuit::{Circuit, PublicInput};
use mlc_ir::{Data, Elem, Inputs, Module, Tensor};
use serde_json::Value;

use crate::error::CliError;
use crate::files;
use crate::project::Manifest;
use crate::weights::read_safetensors;

/// What an input file holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    /// One tensor, for the only input.
    One(Tensor<f64>),
    /// Tensors by the names of inputs.
    Named(BTreeMap<String, Tensor<f64>>),
}

/// Reads an input file. `inputs` are the names of the model's inputs; `manifest` says what pixels become.
pub(crate) fn read(path: &Path, inputs: &[&str], manifest: &Manifest) -> Result<Given, CliError> {
    let bytes = files::read(path)?;
    let given = match path.extension().and_then(|e| e.to_str()) {
        Some("json") => json(path, &bytes)?,
        Some("npy") => Given::One(npy::parse(&bytes).map_err(|why| CliError::read(path, why))?),
        Some("png") => {
            let table = inputs.first().and_then(|name| manifest.inputs.get(*name)).copied();
            Given::One(png::parse(&bytes, table).map_err(|why| CliError::read(path, why))?)
        }
        Some("safetensors") => {
            let tensors = read_safetensors(path, &bytes)?;
            Given::Named(tensors.into_iter().map(|(n, t)| (n, t.map(|v| f64::from(*v)))).collect())
        }
        _ => {
            return Err(CliError::Usage(format!(
                "`{}` is no input: give a .json, .npy, .safetensors or .png file",
                path.display()
            )));
        }
    };
    if let Given::One(t) = &given
        && let Some(at) = t.data.iter().position(|v| !v.is_finite())
    {
        return Err(CliError::refused(format!(
            "the input `{}` is {} at position {at}; every element must be finite",
            path.display(),
            t.data[at]
        )));
    }
    Ok(given)
}

/// A JSON file: a nested list, or an object of nested lists.
fn json(path: &Path, bytes: &[u8]) -> Result<Given, CliError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| CliError::read(path, e))?;
    let bad = |why: String| CliError::read(path, why);
    match &value {
        Value::Object(map) => map
            .iter()
            .map(|(name, v)| Ok((name.clone(), nested(v).map_err(|why| bad(format!("`{name}`: {why}")))?)))
            .collect::<Result<_, CliError>>()
            .map(Given::Named),
        other => nested(other).map(Given::One).map_err(bad),
    }
}

/// A nested list of numbers as a tensor; every list of one depth has one length.
pub(crate) fn nested(value: &Value) -> Result<Tensor<f64>, String> {
    let mut shape = Vec::new();
    let mut first = value;
    while let Value::Array(items) = first {
        shape.push(items.len());
        match items.first() {
            Some(item) => first = item,
            None => break,
        }
    }
    let mut data = Vec::new();
    flatten(value, &shape, &mut data)?;
    Tensor::new(shape, data).ok_or_else(|| "the lists have different lengths".to_owned())
}

fn flatten(value: &Value, shape: &[usize], out: &mut Vec<f64>) -> Result<(), String> {
    match (value, shape) {
        (Value::Array(items), [length, rest @ ..]) if items.len() == *length => {
            items.iter().try_for_each(|item| flatten(item, rest, out))
        }
        (Value::Array(_), _) => Err("the lists have different lengths".to_owned()),
        (value, []) => {
            out.push(value.as_f64().ok_or_else(|| format!("{value} is no number"))?);
            Ok(())
        }
        (value, _) => Err(format!("{value} stands where a list should")),
    }
}

/// What the entry of a module takes, with the tensors in that order.
pub(crate) fn declared(module: &Module, entry: &str) -> Vec<Declared> {
    let entry = &module.entries[entry];
    let ports = entry.inputs.iter().zip(&entry.body.params);
    ports
        .map(|(port, id)| Declared {
            name: port.name.clone(),
            axes: entry.ty(*id).shape.dims().iter().map(Axis::from).collect(),
        })
        .collect()
}

/// What the entry of a circuit takes.
pub(crate) fn declared_by_circuit(circuit: &Circuit, entry: usize) -> Vec<Declared> {
    let inputs = circuit.entries.get(entry).map_or(&[][..], |e| &e.inputs);
    inputs
        .iter()
        .map(|input| Declared {
            name: input.name.clone(),
            axes: input.axes.iter().map(|l| Axis::of(l, circuit)).collect(),
        })
        .collect()
}

/// A bound input: run-time dimensions by name, tensors in the order of the entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    /// Lengths of the run-time dimensions.
    pub(crate) dims: BTreeMap<String, i64>,
    /// One per input.
    pub(crate) tensors: Vec<Tensor<f64>>,
}

impl Bound {
    /// As the interpreter takes it.
    pub(crate) fn for_interpreter(&self, module: &Module, entry: &str) -> Inputs {
        let entry = &module.entries[entry];
        let mut inputs = Inputs {
            dims: self.dims.iter().map(|(n, v)| (n.clone(), *v)).collect(),
            ..Inputs::default()
        };
        let ports = entry.inputs.iter().zip(&entry.body.params);
        for ((port, id), tensor) in ports.zip(&self.tensors) {
            let data = match entry.ty(*id).elem {
                Elem::Real => Data::Real(tensor.map(|v| *v as f32)),
                _ => Data::Ints(tensor.map(|v| *v as i64)),
            };
            inputs.values.insert(port.name.clone(), data);
        }
        inputs
    }

    /// The dimensions in the order of a circuit.
    pub(crate) fn dims_of(&self, circuit: &Circuit) -> Vec<u32> {
        let value = |name: &str| self.dims.get(name).copied().unwrap_or(1);
        circuit.dims.iter().map(|d| u32::try_from(value(&d.name)).unwrap_or(u32::MAX)).collect()
    }

    /// The integers of the statement: `round(x / scale)` to even, in `f64`, within the range for which bounds are proved.
    pub(crate) fn integers(&self, inputs: &[PublicInput]) -> Result<Vec<Vec<i32>>, CliError> {
        inputs.iter().zip(&self.tensors).map(|(input, t)| integers(input, t)).collect()
    }
}

fn integers(input: &PublicInput, tensor: &Tensor<f64>) -> Result<Vec<i32>, CliError> {
    let (lo, hi) = (f64::from(input.lo), f64::from(input.hi));
    let mut out = Vec::with_capacity(tensor.data.len());
    for (at, x) in tensor.data.iter().enumerate() {
        let q = (x / input.scale).round_ties_even();
        if !(lo..=hi).contains(&q) && !input.clamp {
            let (least, most) = (lo * input.scale, hi * input.scale);
            let by = if q < lo { least - x } else { x - most };
            return Err(CliError::refused(format!(
                "input `{}` is {x} at position {at}, {by:.4} outside of its calibrated range [{least:.4}, {most:.4}]; \
                 calibrate with such inputs, or say `@clamp` at the input to cut them off",
                input.name
            )));
        }
        out.push(q.clamp(lo, hi) as i32);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_lists_become_tensors() {
        let value = serde_json::json!([[1, 2, 3], [4, 5, 6.5]]);
        let tensor = nested(&value).unwrap();
        assert_eq!((tensor.shape, tensor.data[5]), (vec![2, 3], 6.5));
        for bad in [serde_json::json!([[1, 2], [3]]), serde_json::json!([[1], 2]), serde_json::json!(["x"])] {
            assert!(nested(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_said_by_how_much() {
        let input = PublicInput {
            name: "x".into(),
            axes: vec![],
            scale: 0.5,
            lo: -2,
            hi: 2,
            kind: mlc_circuit::InputKind::Public,
            clamp: false,
        };
        let tensor = |v: f64| Tensor::new(vec![1], vec![v]).unwrap();
        assert_eq!(integers(&input, &tensor(0.75)).unwrap(), [2]);
        assert_eq!(integers(&input, &tensor(-1.1)).unwrap(), [-2]);
        let error = integers(&input, &tensor(2.5)).unwrap_err().to_string();
        assert!(error.contains("1.5000 outside of its calibrated range [-1.0000, 1.0000]"), "{error}");
        let clamped = PublicInput { clamp: true, ..input };
        assert_eq!(integers(&clamped, &tensor(2.5)).unwrap(), [2]);
    }
}
