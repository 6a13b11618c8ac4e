//! `--memory`: a model whose weights are four times the budget, and ten times it as a proof has them in memory, is proved within
//! it, and the proof is the same.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::mlc_in;
use mlc_runtime::testing::Rng;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::Value;
use tempfile::TempDir;

const WIDTH: usize = 4096;
const LAYERS: usize = 4;

/// A residual stack of 4 layers of 4096 x 4096: 67 million weights, 256 MiB as they are stored (F32).
fn stack() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let source = format!(
        "import std.activation.{{relu}}\nimport std.linear.{{linear}}\n\nmodel Stack {{\n    dim batch: runtime max 4\n\n    \
         entry main(x: real[batch, {WIDTH}]) -> (y: real[batch, {WIDTH}]) {{\n        repeat l in 0..{LAYERS} carrying x \
         {{\n            x + relu(linear(x, {WIDTH}, \"fc.{{l}}\", bias = false))\n        }}\n        x\n    }}\n}}\n"
    );
    std::fs::write(dir.path().join("model.mlc"), source).unwrap();
    let mut rng = Rng::new(5);
    let layers: Vec<(String, Vec<u8>)> = (0..LAYERS)
        .map(|l| {
            let values = (0..WIDTH * WIDTH).map(|_| rng.range(-127, 127) as f32 / 16384.0);
            (format!("fc.{l}.weight"), values.flat_map(f32::to_le_bytes).collect())
        })
        .collect();
    let view = |bytes| TensorView::new(Dtype::F32, vec![WIDTH, WIDTH], bytes).unwrap();
    let views = layers.iter().map(|(name, bytes)| (name.clone(), view(bytes)));
    safetensors::serialize_to_file(views, None, &dir.path().join("model.safetensors")).unwrap();
    let settings = "[model]\nsource = 'model.mlc'\n[quantise]\ntable_bits = 8\nactivation_bits = 6\n";
    std::fs::write(dir.path().join("mlc.toml"), settings).unwrap();
    let row: Vec<f64> = (0..WIDTH).map(|i| (i % 17) as f64 / 17.0 - 0.5).collect();
    let input = serde_json::json!({ "x": [row] });
    std::fs::write(dir.path().join("x.json"), input.to_string()).unwrap();
    dir
}

fn prove(root: &Path, proof: &str, more: &[&str]) -> common::Ran {
    let args = [
        "prove",
        "model.mlc",
        "--input",
        "x.json",
        "-o",
        proof,
        "--report",
        "r.json",
    ];
    mlc_in(root, &[&args[..], more].concat())
}

#[test]
fn a_model_beyond_the_budget_is_proved_within_it() {
    const BUDGET: u64 = 64 << 20;
    let dir = stack();
    let root = dir.path();
    assert!(std::fs::metadata(root.join("model.safetensors")).unwrap().len() >= 4 * BUDGET);
    // The key is made once, where there is memory for it.
    prove(root, "early.proof", &["--memory", "64MiB"])
        .with(1)
        .says_all(&["there is no key of this model yet", "mlc setup"]);
    prove(root, "whole.proof", &[]).with(0);
    let peak = || {
        let report: Value = serde_json::from_slice(&std::fs::read(root.join("r.json")).unwrap()).unwrap();
        report["peak_rss_bytes"].as_u64().unwrap()
    };
    assert!(peak() > BUDGET, "without a budget it took {}", peak());
    for (proof, memory) in [
        ("small.proof", "64MiB"),
        ("middle.proof", "300MiB"),
        ("large.proof", "8GiB"),
    ] {
        prove(root, proof, &["--memory", memory]).with(0);
        if proof == "small.proof" {
            assert!(peak() <= BUDGET, "{} with a budget of {BUDGET}", peak());
        }
        let read = |name: &str| std::fs::read(root.join(name)).unwrap();
        assert!(read(proof) == read("whole.proof"), "{memory} gives another proof");
    }
    let ran = prove(root, "none.proof", &["--memory", "20MiB"]).with(1);
    let least = ran
        .err
        .split("--memory ")
        .nth(1)
        .unwrap()
        .split('`')
        .next()
        .unwrap()
        .to_owned();
    prove(root, "least.proof", &["--memory", &least]).with(0);
    let bytes = least.strip_suffix("MiB").unwrap().parse::<u64>().unwrap() << 20;
    assert!(peak() <= bytes, "{} with a budget of {least}", peak());
    prove(root, "none.proof", &["--memory", "lots"])
        .with(2)
        .says("is no size");
}
