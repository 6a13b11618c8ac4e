//! Inputs: files to tensors, and their run-time dimensions.
//!
//! JSON (nested lists, or an object of them by input), `.npy`, `.safetensors`, and PNG. A tensor fits an input where its
//! shape does, or where its number of elements fits exactly one length of the batch; then it is taken in row-major order.

mod bind;

use std::collections::BTreeMap;
use std::path::Path;

pub(crate) use bind::{Axis, Declared, bind, chunks};
use mlc_circuit::{Circuit, Entry, FormSource, Operand, Outer, RuntimeDim};
use mlc_ir::{Data, Elem, Inputs, Module, TensorF32};
use mlc_runtime::inputs::{self, Format, InputFile};
use mlc_runtime::weights::TensorError;

use crate::error::CliError;
use crate::files;
use crate::project::{InputTable, Manifest};

/// Reads an input file. `names` are the model's inputs; `manifest` says what pixels become.
pub(crate) fn read(path: &Path, names: &[&str], manifest: &Manifest) -> Result<InputFile, CliError> {
    let pixels = names.first().and_then(|name| manifest.inputs.get(*name)).copied();
    parse(path, &files::read(path)?, pixels)
}

/// Reads the bytes of an input file; its kind is that of its name.
pub(crate) fn parse(path: &Path, bytes: &[u8], pixels: Option<InputTable>) -> Result<InputFile, CliError> {
    let format = Format::of(path).ok_or_else(|| {
        CliError::Usage(format!(
            "`{}` is no input: give a .json, .npy, .safetensors or .png file",
            path.display()
        ))
    })?;
    let mut file = inputs::parse(format, bytes).map_err(|e| match e {
        inputs::InputError::NotFinite { .. } | inputs::InputError::Tensor(TensorError::NotFinite { .. }) => {
            CliError::refused(format!("`{}`: {e}", path.display()))
        }
        e => CliError::read(path, e),
    })?;
    if let (InputFile::Image(image), Some(table)) = (&mut file, pixels) {
        for v in &mut image.data {
            *v = (f64::from(*v) * table.scale + table.offset) as f32;
        }
    }
    Ok(file)
}

/// What the entry of a module takes.
pub(crate) fn declared(module: &Module, entry: &str) -> Vec<Declared> {
    let entry = &module.entries[entry];
    let ports = entry.inputs.iter().zip(&entry.body.params);
    ports
        .map(|(port, id)| Declared {
            name: port.name.clone(),
            axes: entry.ty(*id).shape.dims().iter().map(Axis::from).collect(),
            vocabulary: match entry.ty(*id).elem {
                Elem::Index(below) => Some(below),
                _ => None,
            },
        })
        .collect()
}

/// What the entry of a circuit takes.
pub(crate) fn declared_by_circuit(circuit: &Circuit, entry: usize) -> Vec<Declared> {
    let Some(entry) = circuit.entries.get(entry) else {
        return Vec::new();
    };
    (0u16..)
        .zip(&entry.inputs)
        .map(|(i, input)| Declared {
            name: input.name.clone(),
            axes: input.axes.iter().map(|l| Axis::of(l, circuit)).collect(),
            vocabulary: selects(entry, i).then(|| u64::try_from(i64::from(input.hi) + 1).unwrap_or(0)),
        })
        .collect()
}

/// Whether an input of a circuit selects rows of a weight: whether it is tokens.
fn selects(entry: &Entry, input: u16) -> bool {
    let by = |outer: &Outer| matches!(outer, Outer::Selected { input: i, .. } if *i == input);
    let products = entry.equations.iter().flat_map(|e| &e.products);
    products.flat_map(|p| [&p.a, &p.b]).any(|operand| match operand {
        Operand::Weight { outer, .. } => outer.iter().any(by),
        _ => false,
    })
}

/// A bound input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    /// Lengths of the run-time dimensions, by name.
    pub(crate) dims: BTreeMap<String, i64>,
    /// One per input of the entry, in its order.
    pub(crate) tensors: Vec<TensorF32>,
    /// The file that they are from.
    pub(crate) file: String,
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
                Elem::Real => Data::Real(tensor.clone()),
                Elem::Int(int) => Data::Ints(tensor.map(|v| {
                    let q = (f64::from(*v) / int.scale).round_ties_even() as i64;
                    q.clamp(int.lo, int.hi)
                })),
                _ => Data::Ints(tensor.map(|v| *v as i64)),
            };
            inputs.values.insert(port.name.clone(), data);
        }
        inputs
    }

    /// The dimensions in the order of a circuit.
    pub(crate) fn dims_of(&self, circuit: &Circuit) -> Vec<u32> {
        // What no input says: nothing is in states yet, and of anything else there is one.
        let value = |d: &RuntimeDim| {
            let unsaid = i64::from(d.before.is_none());
            self.dims.get(&d.name).copied().unwrap_or(unsaid)
        };
        let dims = circuit.dims.iter();
        dims.map(|d| u32::try_from(value(d)).unwrap_or(u32::MAX)).collect()
    }

    /// The integers of the statement. Models say what a mask keeps, circuits count what it hides.
    pub(crate) fn integers(&self, entry: &Entry) -> Result<Vec<Vec<i32>>, CliError> {
        let each = (0u16..).zip(&entry.inputs).zip(&self.tensors);
        each.map(|((i, input), t)| {
            let integers =
                inputs::quantise(input, &t.data).map_err(|e| CliError::refused(format!("`{}`: {e}", self.file)))?;
            let hides = entry
                .sites
                .iter()
                .flat_map(|s| s.masks())
                .any(|m| m.source == FormSource::Input(i));
            Ok(integers.into_iter().map(|v| if hides { 1 - v } else { v }).collect())
        })
        .collect()
    }
}
