//! The digits models compute what PyTorch computes: source to graph to the reference interpreter, on real weights.

use crate::common::{check_text, rendered};
use mlc_compiler::Config;
use mlc_ir::interp::{Data, Inputs, run};
use mlc_ir::{Bindings, TensorF32};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SAMPLES: usize = 50;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// All tensors of a safetensors file of f32: length of the header, header in JSON, data.
fn weights(name: &str) -> BTreeMap<String, TensorF32> {
    let bytes = std::fs::read(folder().join(name)).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let entries: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let mut tensors = BTreeMap::new();
    for (name, entry) in entries
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
    {
        assert_eq!(entry["dtype"], "F32");
        let shape: Vec<usize> = serde_json::from_value(entry["shape"].clone()).unwrap();
        let [start, end]: [usize; 2] = serde_json::from_value(entry["data_offsets"].clone()).unwrap();
        let data = floats(&bytes[8 + header + start..8 + header + end]);
        tensors.insert(name.clone(), TensorF32::new(shape, data).unwrap());
    }
    tensors
}

fn agrees(model: &str, shape: &[usize]) {
    let weights = weights(&format!("{model}.safetensors"));
    let shapes = weights
        .iter()
        .map(|(n, t)| (n.clone(), t.shape.iter().map(|d| *d as u64).collect()));
    let config = Config {
        weights: Some(shapes.collect()),
        ..Config::default()
    };
    let text = std::fs::read_to_string(folder().join(format!("{model}.mlc"))).unwrap();
    let result = check_text(&text, &config);
    assert!(result.diagnostics.is_empty(), "{}", rendered(&result));

    let samples = std::fs::read(folder().join("samples/samples.npy")).unwrap();
    let pixels = floats(&samples[samples.len() - SAMPLES * 64 * 4..]);
    let image = TensorF32::new(shape.to_vec(), pixels).unwrap();
    let inputs = Inputs {
        dims: Bindings::from([("batch".to_string(), SAMPLES as i64)]),
        values: BTreeMap::from([("image".to_string(), Data::Real(image))]),
        ..Inputs::default()
    };
    let outputs = run(&result.module.unwrap(), "main", &weights, &inputs).unwrap();
    let logits = outputs.values["logits"].real().unwrap();

    let expected = std::fs::read(folder().join("samples/expected_logits.json")).unwrap();
    let expected: BTreeMap<String, Vec<Vec<f32>>> = serde_json::from_slice(&expected).unwrap();
    let expected = expected[model].concat();
    assert_eq!(logits.data.len(), expected.len());
    for (found, wanted) in logits.data.iter().zip(&expected) {
        assert!((found - wanted).abs() < 1e-4, "{found} is not {wanted}");
    }
}

#[test]
fn the_mlp_agrees_with_pytorch() {
    agrees("mlp", &[SAMPLES, 64]);
}

#[test]
fn the_cnn_agrees_with_pytorch() {
    agrees("cnn", &[SAMPLES, 1, 8, 8]);
}
