//! Reading fixtures and running imported models with the reference interpreter.
#![allow(dead_code, unreachable_pub, missing_docs)] // each test file uses a part

use std::path::{Path, PathBuf};

use mlc_import::{Imported, Options, import_file};
use mlc_ir::interp::{Data, Inputs, Outputs, run};
use mlc_ir::{Bindings, Elem, Module, Tensor, TensorF32, WeightSource};
use serde_json::Value;

/// Largest difference from a recorded value, relative above 1.
pub const TOLERANCE: f64 = 1e-4;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Paths of the models of a group, sorted.
pub fn models(group: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder().join(group))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{group} is empty");
    paths
}

/// The JSON beside a model.
pub fn description(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap()
}

pub fn import(path: &Path) -> Imported {
    import_file(path, &Options::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn shape(tensor: &Value) -> Vec<usize> {
    let dims = tensor["shape"].as_array().unwrap().iter();
    dims.map(|d| d.as_u64().unwrap() as usize).collect()
}

fn reals(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The inputs that a description records, with the run-time dimensions that follow from their shapes.
pub fn inputs(module: &Module, description: &Value) -> Inputs {
    let entry = &module.entries["main"];
    let mut inputs = Inputs::default();
    for (name, tensor) in description["inputs"].as_object().unwrap() {
        let (shape, data) = (shape(tensor), reals(&tensor["data"]));
        let port = entry.inputs.iter().position(|p| p.name == *name).unwrap();
        let ty = entry.ty(entry.body.params[port]);
        bind(&mut inputs.dims, ty.shape.dims(), &shape);
        let value = match ty.elem {
            Elem::Real => Data::Real(TensorF32::new(shape, data.iter().map(|v| *v as f32).collect()).unwrap()),
            _ => Data::Ints(Tensor::new(shape, data.iter().map(|v| *v as i64).collect()).unwrap()),
        };
        inputs.values.insert(name.clone(), value);
    }
    inputs
}

fn bind(bindings: &mut Bindings, dims: &[mlc_ir::Dim], shape: &[usize]) {
    for (dim, length) in dims.iter().zip(shape) {
        for (name, _) in dim.terms() {
            bindings.insert(name.to_owned(), *length as i64);
        }
    }
}

/// Runs the module on the recorded inputs.
pub fn execute(module: &Module, weights: &dyn WeightSource, description: &Value) -> Outputs {
    mlc_ir::verify(module).unwrap_or_else(|e| panic!("{}: {e:?}", module.name));
    run(module, "main", weights, &inputs(module, description)).unwrap_or_else(|e| panic!("{}: {e}", module.name))
}

/// Compares outputs with what a description records of every implementation; the greatest relative difference.
pub fn compare(path: &Path, outputs: &Outputs, description: &Value) -> f64 {
    let mut worst = 0f64;
    for (name, tensor) in description["outputs"].as_object().unwrap() {
        let found = &outputs.values[name];
        assert_eq!(found.shape(), shape(tensor), "{}: shape of {name}", path.display());
        let values: Vec<f64> = match found {
            Data::Real(t) => t.data.iter().map(|v| f64::from(*v)).collect(),
            Data::Ints(t) => t.data.iter().map(|v| *v as f64).collect(),
        };
        for who in tensor
            .as_object()
            .unwrap()
            .keys()
            .filter(|k| !["dtype", "shape"].contains(&k.as_str()))
        {
            let expected = reals(&tensor[who]);
            assert_eq!(values.len(), expected.len());
            for (i, (a, b)) in values.iter().zip(&expected).enumerate() {
                let difference = (a - b).abs() / b.abs().max(1.0);
                assert!(
                    difference <= TOLERANCE,
                    "{}: {name}[{i}] is {a}, {who} has {b}",
                    path.display()
                );
                worst = worst.max(difference);
            }
        }
    }
    worst
}

/// A `.npy` file of `f32` in C order.
pub fn npy(path: &Path) -> TensorF32 {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let header = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    let text = std::str::from_utf8(&bytes[10..10 + header]).unwrap();
    assert!(text.contains("'<f4'") && text.contains("'fortran_order': False"));
    let dims = text.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let shape = dims.split(',').filter_map(|d| d.trim().parse().ok()).collect();
    let data = bytes[10 + header..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    TensorF32::new(shape, data.collect()).unwrap()
}
