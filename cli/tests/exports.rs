//! Models of every family as both ONNX exporters of PyTorch write them, against the same models as HuggingFace directories.
//!
//! The models and their outputs are made by `scripts/models/make_exports.py`.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail by panicking

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::golden::{agrees, numbers, read};
use common::mlc_in;

const MODELS: [&str; 5] = ["bert", "gpt2", "llama", "qwen2", "qwen3"];
const EXPORTERS: [&str; 2] = ["dynamo", "script"];

fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/exports")
        .join(model)
}

#[test]
fn exports_compute_what_the_directories_do() {
    for model in MODELS {
        let dir = folder(model);
        let expected = dir.join("expected.json");
        agrees(&dir, ".", &expected);
        let case = &read(&expected)[0];
        let mut wanted = Vec::new();
        numbers(&case["output"], &mut wanted);
        let input = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        std::fs::write(input.path(), format!("[{}]", case["ids"])).unwrap();
        for exporter in EXPORTERS {
            let file = format!("{exporter}.onnx");
            let args = ["run", &file, "--input", input.path().to_str().unwrap()];
            let json = ["--track", "f32", "--output-format", "json"];
            let mut got = Vec::new();
            numbers(
                &mlc_in(&dir, &[&args[..], &json].concat()).with(0).json()["output"],
                &mut got,
            );
            assert_eq!(got.len(), wanted.len());
            for (a, b) in got.iter().zip(&wanted) {
                assert!(
                    (a - b).abs() < 1e-3 * b.abs().max(1.0),
                    "{model} {exporter}: {a} and {b}"
                );
            }
        }
    }
}

/// How often each operation occurs within the blocks of a prepared model; there is one region, of three of them.
fn operations(model: &Path) -> BTreeMap<String, usize> {
    let dir = tempfile::tempdir().unwrap();
    let ir = mlc_in(dir.path(), &["compile", model.to_str().unwrap(), "--emit", "ir"]).with(0);
    std::fs::write(dir.path().join("m.ir"), ir.out).unwrap();
    let passes = mlc_compiler::pipeline::PREPARE.join(",");
    let prepared = mlc_in(dir.path(), &["opt", "m.ir", "--passes", &passes]).with(0).out;
    let regions: Vec<&str> = prepared.split(" = repeat(").skip(1).collect();
    let [region] = regions.as_slice() else {
        panic!("{} regions: {prepared}", regions.len());
    };
    assert!(region.contains("count = 3, carried = 1"), "{region}");
    let body = &region[..region.find("    yield").unwrap()];
    let mut counts = BTreeMap::new();
    for line in body.lines().skip(1) {
        let (_, right) = line.split_once(" = ").unwrap();
        let operation = right.split('(').next().unwrap();
        // Views cost nothing, and a factor is one wherever it stands.
        if !["weight", "reshape", "transpose", "slice", "const"].contains(&operation) {
            *counts.entry(operation.to_owned()).or_insert(0) += 1;
        }
    }
    counts
}

#[test]
fn exports_have_the_blocks_of_the_directories() {
    for model in MODELS {
        let mut wanted = operations(&folder(model));
        if model == "gpt2" {
            // The family multiplies by queries, keys and values each alone, an export by all of them at once.
            *wanted.get_mut("contract").unwrap() -= 2;
        }
        for exporter in EXPORTERS {
            let got = operations(&folder(model).join(format!("{exporter}.onnx")));
            for operation in ["contract", "rope", "softmax", "causal_mask"] {
                assert_eq!(
                    got.get(operation),
                    wanted.get(operation),
                    "{model} {exporter} {operation}: {got:?} and {wanted:?}"
                );
            }
        }
    }
}

#[test]
fn exports_are_proved() {
    for (model, exporter) in [("qwen3", "dynamo"), ("gpt2", "script")] {
        let dir = tempfile::tempdir().unwrap();
        let from = folder(model).join(format!("{exporter}.onnx"));
        std::fs::copy(from, dir.path().join("m.onnx")).unwrap();
        std::fs::write(dir.path().join("x.json"), "[[3, 17, 20, 0, 9]]").unwrap();
        std::fs::write(dir.path().join("y.json"), "[[1, 2, 22, 4, 4]]").unwrap();
        let settings = "[quantise]\ndata = ['x.json', 'y.json']\nactivation_bits = 12\nweight_bits = 12\n";
        std::fs::write(dir.path().join("mlc.toml"), settings).unwrap();
        let prove = [
            "prove", "m.onnx", "--input", "x.json", "-o", "p.proof", "--report", "r.json",
        ];
        mlc_in(dir.path(), &prove).with(0);
        let report = read(&dir.path().join("r.json"));
        let cosine = report["agreement"]["cosine"].as_f64().unwrap();
        assert!(cosine > 0.98, "{model} {exporter}: {report}");
        let verify = ["verify", "m.onnx", "--proof", "p.proof", "--input"];
        mlc_in(dir.path(), &[&verify[..], &["x.json"]].concat()).with(0);
        mlc_in(dir.path(), &[&verify[..], &["y.json"]].concat()).with(1);
    }
}
