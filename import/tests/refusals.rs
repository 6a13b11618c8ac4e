//! What cannot be imported is refused by name, and nothing makes the importer panic.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail by panicking

mod common;

use common::{description, folder, models};
use mlc_import::{ImportError, Options, import_bytes, import_file};
use proptest::prelude::*;

fn texts(value: &serde_json::Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

#[test]
fn unsupported_nodes_are_named_once_each() {
    let mut report = String::new();
    for path in models("unsupported") {
        let errors = import_file(&path, &Options::default()).unwrap_err();
        let found: Vec<(String, Option<String>)> = errors
            .errors()
            .iter()
            .map(|e| match e {
                ImportError::Unsupported { node, operator, .. } => (node.clone(), Some(operator.clone())),
                ImportError::Input { name, .. } => (name.clone(), None),
                other => panic!("{}: {other}", path.display()),
            })
            .collect();
        let expected: Vec<(String, Option<String>)> = description(&path)["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| {
                let text = |key: &str| e[key].as_str().map(str::to_owned);
                (text("node").unwrap(), text("operator"))
            })
            .collect();
        assert_eq!(found, expected, "{}", path.display());
        report += &format!("{}\n{errors}\n\n", path.file_name().unwrap().display());
    }
    insta::assert_snapshot!(report);
}

#[test]
fn invalid_files_give_one_error_that_names_the_place() {
    let mut report = String::new();
    for path in models("invalid") {
        let errors = import_file(&path, &Options::default()).unwrap_err();
        assert_eq!(errors.errors().len(), 1, "{}: {errors}", path.display());
        let text = errors.to_string();
        for mention in texts(&description(&path)["mentions"]) {
            assert!(text.contains(mention), "{}: {text}", path.display());
        }
        report += &format!("{}\n{errors}\n\n", path.file_name().unwrap().display());
    }
    insta::assert_snapshot!(report);
}

#[test]
fn a_missing_file_is_an_error() {
    let path = folder().join("absent.onnx");
    let errors = import_file(&path, &Options::default()).unwrap_err();
    assert!(errors.to_string().contains("absent.onnx"));
    assert!(std::error::Error::source(&errors).is_some());
}

/// Files small enough to be hit in all their parts.
const VICTIMS: [&str; 6] = [
    "dense/mlp.onnx",
    "model/lenet_export.onnx",
    "model/separable_unfused.onnx",
    "shape/flatten_by_shape.onnx",
    "quantised/matmul_columns.onnx",
    "tensorflow/cnn_rgb.onnx",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_files_never_panic(
        victim in 0..VICTIMS.len(),
        cut in proptest::option::weighted(0.3, 0.0..1.0f64),
        flips in proptest::collection::vec((0.0..1.0f64, any::<u8>()), 0..6),
    ) {
        let mut bytes = std::fs::read(folder().join(VICTIMS[victim])).unwrap();
        if let Some(cut) = cut {
            bytes.truncate((bytes.len() as f64 * cut) as usize);
        }
        let length = bytes.len() as f64;
        for (at, value) in flips {
            if let Some(byte) = bytes.get_mut((length * at) as usize) {
                *byte = value;
            }
        }
        // Damage may also leave a model that means something else; then its module is well formed.
        if let Ok(imported) = import_bytes(&bytes, None, &Options::default()) {
            prop_assert!(mlc_ir::verify(&imported.module).is_ok());
        }
    }

    #[test]
    fn noise_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = import_bytes(&bytes, None, &Options::default());
    }
}
