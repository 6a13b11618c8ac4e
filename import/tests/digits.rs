//! The digits classifiers of the examples: the graph that they become, and their logits.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail by panicking

mod common;

use std::path::{Path, PathBuf};

use common::{TOLERANCE, import, npy};
use mlc_ir::interp::{Data, Inputs, run};

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

#[test]
fn logits_are_those_of_pytorch() {
    let samples = npy(&digits().join("samples/samples.npy"));
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(digits().join("samples/expected_logits.json")).unwrap()).unwrap();
    let batch = samples.shape[0];
    for (model, shape) in [("mlp", vec![batch, 64]), ("cnn", vec![batch, 1, 8, 8])] {
        let imported = import(&digits().join(model).with_extension("onnx"));
        let entry = &imported.module.entries["main"];
        let mut inputs = Inputs::default();
        inputs.dims.insert("batch".to_owned(), batch as i64);
        let mut images = samples.clone();
        images.shape = shape;
        inputs.values.insert(entry.inputs[0].name.clone(), Data::Real(images));
        let outputs = run(&imported.module, "main", &imported.weights, &inputs).unwrap();
        let logits = outputs.values[&entry.outputs[0].name].real().unwrap();
        assert_eq!(logits.shape, [batch, 10]);
        for (row, want) in logits.data.chunks(10).zip(expected[model].as_array().unwrap()) {
            for (a, b) in row.iter().zip(want.as_array().unwrap()) {
                let (a, b) = (f64::from(*a), b.as_f64().unwrap());
                assert!((a - b).abs() <= TOLERANCE * b.abs().max(1.0), "{model}: {a} and {b}");
            }
        }
    }
}

#[test]
fn layers_keep_their_names() {
    for model in ["mlp", "cnn"] {
        let imported = import(&digits().join(model).with_extension("onnx"));
        insta::assert_snapshot!(model, imported.module.to_string());
    }
}
