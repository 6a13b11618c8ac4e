//! Models against outputs that another program computed: `expected.json` beside a fixture.

use std::path::Path;

use serde_json::{Value, json};

use super::mlc_in;

pub fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Sets a key of a model's config.json.
pub fn set(dir: &Path, key: &str, value: Value) {
    let path = dir.join("config.json");
    let mut config = read(&path);
    config[key] = value;
    std::fs::write(path, config.to_string()).unwrap();
}

/// All numbers of the first real output.
pub fn numbers(value: &Value, into: &mut Vec<f64>) {
    match value {
        Value::Array(items) => items.iter().for_each(|v| numbers(v, into)),
        Value::Number(n) => into.push(n.as_f64().unwrap()),
        Value::Object(map) => numbers(map.get("logits").or(map.values().next()).unwrap(), into),
        _ => {}
    }
}

/// The f32 output of `entry` for tokens.
pub fn run(dir: &Path, model: &str, ids: &Value, entry: &str) -> Vec<f64> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("ids.json");
    std::fs::write(&input, json!({ "ids": [ids] }).to_string()).unwrap();
    let input = input.to_str().unwrap();
    let format = ["--output-format", "json"];
    let args = ["run", model, "--entry", entry, "--input", input, "--track", "f32"];
    let out = mlc_in(dir, &[&args[..], &format].concat()).with(0).json();
    let mut all = Vec::new();
    numbers(&out["output"], &mut all);
    all
}

pub fn agrees(dir: &Path, model: &str, expected: &Path) {
    for case in read(expected).as_array().unwrap() {
        let got = run(dir, model, &case["ids"], case["entry"].as_str().unwrap());
        let mut wanted = Vec::new();
        numbers(&case["output"], &mut wanted);
        assert_eq!(got.len(), wanted.len(), "{model}");
        for (a, b) in got.iter().zip(&wanted) {
            assert!((a - b).abs() < 1e-3 * b.abs().max(1.0), "{model}: {a} and {b}");
        }
    }
}
