//! Checkpoints whose layers are packed to four bits, by GPTQ and AWQ, against the models that they stand for.
//!
//! The models and their outputs are made by `scripts/models/make_packed.py`.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::golden::{agrees, read, set};
use common::{family as copy, family_folder as fixture, mlc_in};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize};
use serde_json::{Value, json};

const MODELS: [&str; 3] = ["llama_gptq", "qwen3_gptq_v2", "qwen2_awq"];

#[test]
fn packed_layers_are_what_they_stand_for() {
    for name in MODELS {
        agrees(&fixture(name), ".", &fixture(name).join("expected.json"));
    }
}

#[test]
fn a_transpiled_model_keeps_its_weights_packed() {
    for name in MODELS {
        let dir = tempfile::tempdir().unwrap();
        let model = fixture(name);
        mlc_in(dir.path(), &["transpile", model.to_str().unwrap(), "-o", "m.mlc"]).with(0);
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        let (from, to) = (model.join("model.safetensors"), dir.path().join("m.safetensors"));
        assert!(
            size(&to) < size(&from) + 512,
            "the same tensors, and how they are packed"
        );
        agrees(dir.path(), "m.mlc", &model.join("expected.json"));
    }
    // In place it is config.json that says it.
    let dir = copy("qwen2_awq");
    mlc_in(dir.path(), &["transpile", "."]).with(0);
    agrees(dir.path(), "model.mlc", &fixture("qwen2_awq").join("expected.json"));
}

#[test]
fn a_packed_model_is_proved() {
    let dir = copy("llama_gptq");
    let case = &read(&fixture("llama_gptq").join("expected.json"))[0]["ids"];
    std::fs::write(dir.path().join("x.json"), json!({ "ids": [case] }).to_string()).unwrap();
    std::fs::write(dir.path().join("mlc.toml"), "[quantise]\ndata = ['x.json']\n").unwrap();
    let set = ["--set", "context=8"];
    let prove = ["prove", ".", "--input", "x.json", "-o", "p.proof"];
    mlc_in(dir.path(), &[&prove[..], &set].concat()).with(0);
    let verify = ["verify", ".", "--proof", "p.proof", "--input", "x.json"];
    mlc_in(dir.path(), &[&verify[..], &set].concat()).with(0);
    // Another number in one word is another model.
    change(dir.path(), |tensors| {
        tensors
            .get_mut("model.layers.1.mlp.up_proj.qweight")
            .unwrap()
            .2
            .iter_mut()
            .for_each(|b| *b ^= 0x80);
    });
    mlc_in(dir.path(), &[&verify[..], &set].concat())
        .with(1)
        .says("rejected: this proof is for key");
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// A change to the tensors of a layer.
type Edit = fn(&mut Tensors, &str);

/// Writes the weights of a model anew.
fn change(dir: &Path, f: impl FnOnce(&mut Tensors)) {
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let mut tensors: Tensors = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, t)| (name, (t.dtype(), t.shape().to_vec(), t.data().to_vec())))
        .collect();
    f(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, data))| (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    std::fs::write(path, serialize(views, None).unwrap()).unwrap();
}

#[test]
fn packings_that_are_not_read_are_refused() {
    let dir = copy("llama_gptq");
    let original = read(&dir.path().join("config.json"))["quantization_config"].clone();
    for (key, value, says) in [
        ("quant_method", json!("fp8"), "known are gptq and awq with 4 bits"),
        ("quant_method", Value::Null, "`quant_method`"),
        ("bits", json!(3), "gptq has bits = 3; 4 is read"),
        ("checkpoint_format", json!("marlin"), "gptq or gptq_v2 is read"),
        ("is_marlin_format", json!(true), "is_marlin_format"),
        (
            "dynamic",
            json!({"+:lm_head": {"bits": 8}}),
            "one setting for all layers",
        ),
    ] {
        let mut config = original.clone();
        config[key] = value;
        set(dir.path(), "quantization_config", config);
        mlc_in(dir.path(), &["check", "."]).with(1).says(says);
    }
    set(dir.path(), "quantization_config", Value::Null);
    mlc_in(dir.path(), &["check", "."])
        .with(1)
        .says("the packed tensor `model.layers.0.mlp.down_proj.qweight`")
        .says("says with `quantization_config`");
    let dir = copy("qwen2_awq");
    for (key, value, says) in [
        ("version", json!("gemv"), "awq has version = \"gemv\"; gemm is read"),
        ("zero_point", json!(false), "zero_point"),
        ("bits", json!(8), "bits = 8"),
        ("group_size", json!(16), "in groups of 16"),
    ] {
        let mut config = read(&fixture("qwen2_awq").join("config.json"))["quantization_config"].clone();
        config[key] = value;
        set(dir.path(), "quantization_config", config);
        mlc_in(dir.path(), &["check", "."]).with(1).says(says);
    }
}

#[test]
fn layers_whose_tensors_do_not_fit_are_named() {
    let layer = "model.layers.1.mlp.down_proj";
    let cases: [(Edit, &str); 7] = [
        (
            |t, l| {
                t.remove(&format!("{l}.scales"));
            },
            "there is no tensor model.layers.1.mlp.down_proj.scales",
        ),
        (
            |t, l| t.get_mut(&format!("{l}.g_idx")).unwrap().2[..4].copy_from_slice(&[9, 0, 0, 0]),
            "g_idx puts input 0 into group 9, and there are 3 groups",
        ),
        (
            |t, l| t.get_mut(&format!("{l}.g_idx")).unwrap().2[3] = 0x80,
            "g_idx puts input 0 into group -",
        ),
        (
            |t, l| t.get_mut(&format!("{l}.qweight")).unwrap().1 = vec![1, 48],
            "qweight has 48 outputs, and scales the shape [3, 16]",
        ),
        (
            |t, l| t.get_mut(&format!("{l}.qzeros")).unwrap().1 = vec![6, 1],
            "and qzeros [6, 1], not [3, 2]",
        ),
        (
            |t, l| t.get_mut(&format!("{l}.qweight")).unwrap().0 = Dtype::F32,
            "qweight has elements F32",
        ),
        (
            |t, l| {
                let plain = (Dtype::F16, vec![1], vec![0, 0]);
                t.insert(format!("{l}.weight"), plain);
            },
            "besides its qweight",
        ),
    ];
    for (edit, says) in cases {
        let dir = copy("llama_gptq");
        change(dir.path(), |tensors| edit(tensors, layer));
        mlc_in(dir.path(), &["check", "."]).with(1).says(layer).says(says);
    }
    // A scale that is no number is found when the layer is read.
    let dir = copy("llama_gptq");
    change(dir.path(), |t| {
        let scales = &mut t.get_mut(&format!("{layer}.scales")).unwrap().2;
        scales[..2].copy_from_slice(&[0, 0x7e]);
    });
    std::fs::write(dir.path().join("x.json"), "[[1, 2]]").unwrap();
    mlc_in(dir.path(), &["run", ".", "--input", "x.json"])
        .with(1)
        .says(layer)
        .says("NaN");
    // A bias of something else than zeros is a part that the family lacks.
    let dir = copy("llama_gptq");
    change(dir.path(), |t| t.get_mut(&format!("{layer}.bias")).unwrap().2[1] = 0x3c);
    mlc_in(dir.path(), &["check", "."])
        .with(1)
        .says("model.layers.1.mlp.down_proj.bias`, which the family");
}
