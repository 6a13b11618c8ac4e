//! all-MiniLM-L6-v2 against `transformers`, where `scripts/models/fetch-minilm.sh` has put it.
//!
//! The reference is made by `scripts/models/make_minilm.py`.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use common::mlc_in;
use serde_json::Value;

/// Where the script puts the model.
fn model() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = var("MLC_MODELS").or_else(|| {
        let cache = var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")))?;
        Some(cache.join("mlc/models"))
    })?;
    Some(cache.join("all-MiniLM-L6-v2")).filter(|dir| dir.join("model.safetensors").is_file())
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn sentences_have_the_embeddings_of_transformers() {
    let Some(model) = model() else {
        eprintln!("not run: all-MiniLM-L6-v2 is not here; scripts/models/fetch-minilm.sh gets it");
        return;
    };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/minilm");
    let expected: Vec<Value> = serde_json::from_slice(&std::fs::read(fixtures.join("expected.json")).unwrap()).unwrap();
    let model = model.to_str().unwrap();
    let args = [
        "run",
        model,
        "--input",
        "sentences.txt",
        "--track",
        "both",
        "--output-format",
        "json",
    ];
    let out = mlc_in(&fixtures, &args).with(0).json();
    let embeddings =
        |key: &str| -> Vec<Vec<f64>> { out[key]["embedding"].as_array().unwrap().iter().map(floats).collect() };
    let (rows, integers) = (embeddings("output_f32"), embeddings("output"));
    assert_eq!((rows.len(), integers.len()), (expected.len(), expected.len()));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = |a: &[f64], b: &[f64]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    let nearest = |rows: &[Vec<f64>], i: usize| {
        let others = (0..rows.len()).filter(|j| *j != i);
        others.max_by(|j, k| cosine(&rows[i], &rows[*j]).total_cmp(&cosine(&rows[i], &rows[*k])))
    };
    for (i, (row, case)) in rows.iter().zip(&expected).enumerate() {
        for (a, b) in row.iter().zip(floats(&case["embedding"])) {
            assert!((a - b).abs() < 1e-3, "sentence {i}: {a} and {b}");
        }
        let agreement = cosine(row, &integers[i]);
        assert!(agreement > 0.99, "sentence {i}: the integers are at cosine {agreement}");
        for rows in [&rows, &integers] {
            assert_eq!(
                nearest(rows, i).map(|j| j as u64),
                case["nearest"].as_u64(),
                "sentence {i}"
            );
        }
    }
}
