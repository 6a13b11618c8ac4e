//! From the digits example to verified proofs, through the command line.

mod common;

use std::path::Path;

use common::{digits, digits_folder, mlc_in, npy_u8, shell};
use serde_json::{Value, json};

const REPORT_KEYS: [&str; 13] = [
    "output",
    "label",
    "compile_s",
    "setup_s",
    "execute_s",
    "prove_s",
    "verify_s",
    "proof_bytes",
    "peak_rss_bytes",
    "committed_cells",
    "lookups",
    "security_bits",
    "agreement",
];

#[test]
fn the_digits_models_prove_and_verify() {
    let dir = digits();
    let root = dir.path();
    for (model, weights) in [(".", "mlp"), ("cnn.mlc", "cnn")] {
        let proof = format!("{weights}.proof");
        let key = format!("{weights}-key");
        mlc_in(root, &["prove", model, "-o", &proof, "--report", "report.json"])
            .with(0)
            .says("not yet zero-knowledge");
        let report: Value = serde_json::from_slice(&std::fs::read(root.join("report.json")).unwrap()).unwrap();
        let mut keys: Vec<&String> = report.as_object().unwrap().keys().collect();
        let mut expected: Vec<&str> = REPORT_KEYS.to_vec();
        keys.sort();
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(report["label"], 7, "{report}");
        assert!(report["security_bits"].as_f64().unwrap() >= 100.0);
        assert!(report["agreement"]["cosine"].as_f64().unwrap() > 0.99, "{report}");
        assert_eq!(report["agreement"]["top1"], 1.0);

        // The same statement against a key made from the model, and against the key alone.
        let verified = mlc_in(root, &["verify", model, "--proof", &proof, "--output-format", "json"])
            .with(0)
            .json();
        assert_eq!(verified["label"], 7);
        assert_eq!(verified["output"], report["output"]);
        let made = mlc_in(root, &["setup", model, "-o", &key, "--output-format", "json"])
            .with(0)
            .json();
        assert_eq!(made["fingerprint"], verified["key"]);
        let key = format!("{key}/verifying.key");
        let check = |more: &[&str]| {
            let mut args = vec!["verify", "--key", &key, "--proof", &proof];
            args.extend(more);
            mlc_in(root, &args)
        };
        check(&["--input", "samples/00_label7.png", "--output", "report.json"]).with(0);
        check(&["--input", "samples/00_label7.json"]).with(0);
        check(&["--input", "samples/01_label6.png"])
            .with(1)
            .says("another input");
        let mut other = report.clone();
        other["output"]["logits"][0][0] = json!(1e3);
        std::fs::write(root.join("other.json"), other.to_string()).unwrap();
        check(&["--output", "other.json"]).with(1).says("another output");
    }
    // A proof of one model is none of another.
    mlc_in(
        root,
        &["verify", "--key", "cnn-key/verifying.key", "--proof", "mlp.proof"],
    )
    .with(1)
    .says("rejected: this proof is for key ");
}

#[test]
fn an_onnx_file_proves_as_it_is_and_transpiled() {
    let dir = digits();
    for model in ["mlp.onnx", "cnn.onnx"] {
        let mut args = vec![
            "prove",
            model,
            "--input",
            "samples/02_label3.npy",
            "--output-format",
            "json",
        ];
        let report = mlc_in(dir.path(), &args).with(0).json();
        assert_eq!(report["label"], 3, "{report}");
        mlc_in(dir.path(), &["transpile", model, "-o", "written.mlc"]).with(0);
        mlc_in(dir.path(), &["check", "written.mlc"]).with(0);
        args[1] = "written.mlc";
        let again = mlc_in(dir.path(), &args).with(0).json();
        assert_eq!(again["label"], 3, "{again}");
    }
}

/// The integer models are within a point of the real ones over all 360 held-out images.
#[test]
fn accuracy_is_kept() {
    let dir = digits();
    let samples = digits_folder().join("samples");
    let pixels = npy_u8(&samples.join("heldout.npy"));
    let truth = npy_u8(&samples.join("heldout_labels.npy"));
    let rows: Vec<Value> = pixels
        .chunks(64)
        .map(|row| row.iter().map(|p| json!(f64::from(*p) / 16.0)).collect())
        .collect();
    std::fs::write(dir.path().join("heldout.json"), Value::Array(rows).to_string()).unwrap();
    for (model, least) in [("mlp.mlc", 0.95), ("cnn.mlc", 0.97)] {
        let args = [
            "run",
            model,
            "--input",
            "heldout.json",
            "--track",
            "both",
            "--output-format",
            "json",
        ];
        let ran = mlc_in(dir.path(), &args).with(0).json();
        let accuracy = |labels: &Value| {
            let labels = labels.as_array().unwrap();
            assert_eq!(labels.len(), truth.len());
            let right = labels
                .iter()
                .zip(&truth)
                .filter(|(l, t)| l.as_u64() == Some(u64::from(**t)))
                .count();
            right as f64 / truth.len() as f64
        };
        let (int, real) = (accuracy(&ran["label"]), accuracy(&ran["label_f32"]));
        assert!(real >= least, "{model}: f32 accuracy {real}");
        assert!(
            (int - real).abs() <= 0.01,
            "{model}: integer accuracy {int}, f32 {real}"
        );
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let dir = digits();
    let script = "set -e
        RAYON_NUM_THREADS=1 $MLC prove . -o one.proof
        rm -r .mlc
        RAYON_NUM_THREADS=3 $MLC prove . -o three.proof
        cmp one.proof three.proof
        $MLC compile . -o a.circuit; rm -r .mlc; $MLC compile . -o b.circuit
        cmp a.circuit b.circuit";
    shell(dir.path(), script).with(0);
}

#[test]
fn a_new_project_proves_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    mlc_in(dir.path(), &["new", "my-model"]).with(0);
    mlc_in(dir.path(), &["check", "my-model"]).with(0);
    mlc_in(dir.path(), &["fmt", "--check", "my-model"]).with(0);
    let report = mlc_in(dir.path(), &["prove", "my-model", "--output-format", "json"])
        .with(0)
        .json();
    assert!(report["label"].is_u64());
    mlc_in(dir.path(), &["new", "my-model"]).with(2).says("exists already");
    assert!(Path::new(&dir.path().join("my-model/mlc.toml")).exists());
}

#[test]
fn a_trace_names_the_stages() {
    let dir = digits();
    mlc_in(dir.path(), &["prove", ".", "--trace", "trace.json"]).with(0);
    let trace: Value = serde_json::from_slice(&std::fs::read(dir.path().join("trace.json")).unwrap()).unwrap();
    let names: Vec<&str> = trace["traceEvents"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["name"].as_str())
        .collect();
    for stage in ["compile", "setup", "execute", "prove", "verify"] {
        assert!(names.contains(&stage), "{stage} not in {names:?}");
    }
}
