//! HuggingFace directories: tiny models of every family against `transformers`, and directories that have to be refused.
//!
//! The models and their outputs are made by `scripts/models/make_families.py`.
#![allow(clippy::unwrap_used)]

mod common;

use common::golden::{agrees, numbers, read, run, set};
use common::{family as copy, family_folder as fixture, mlc_in, safetensors_file};
use serde_json::{Value, json};

const FAMILIES: [&str; 11] = [
    "bert",
    "bert_mlm",
    "gpt2",
    "llama",
    "llama_linear",
    "llama_scaled",
    "mistral",
    "qwen2",
    "qwen2_dynamic",
    "qwen3",
    "qwen3_yarn",
];

#[test]
fn every_family_agrees_with_transformers() {
    for name in FAMILIES {
        let dir = copy(name);
        mlc_in(dir.path(), &["check", "."]).with(0).says("");
        agrees(dir.path(), ".", &fixture(name).join("expected.json"));
    }
}

#[test]
fn transpiled_models_compute_the_same() {
    for name in FAMILIES {
        let dir = tempfile::tempdir().unwrap();
        let model = fixture(name);
        mlc_in(dir.path(), &["transpile", model.to_str().unwrap(), "-o", "m.mlc"]).with(0);
        let text = std::fs::read_to_string(dir.path().join("m.mlc")).unwrap();
        assert!(text.contains("_size\" = 41"), "{text}");
        mlc_in(dir.path(), &["fmt", "--check", "m.mlc"]).with(0);
        agrees(dir.path(), "m.mlc", &model.join("expected.json"));
    }
    // In the directory itself nothing is copied, and the source is the family from then on.
    let dir = copy("llama");
    let before = std::fs::metadata(dir.path().join("model.safetensors"))
        .unwrap()
        .modified()
        .unwrap();
    mlc_in(dir.path(), &["transpile", "."]).with(0);
    let after = std::fs::metadata(dir.path().join("model.safetensors"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(before, after);
    agrees(dir.path(), ".", &fixture("llama").join("expected.json"));
    mlc_in(dir.path(), &["transpile", "."]).with(2).says("exists already");
}

#[test]
fn tiny_models_prove_and_verify() {
    for name in ["bert", "llama"] {
        let dir = copy(name);
        let case = &read(&fixture(name).join("expected.json"))[0]["ids"];
        for (file, ids) in [
            ("x.json", case.clone()),
            ("y.json", json!([7, 30, 22, 11, 12, 0, 2, 19])),
        ] {
            std::fs::write(dir.path().join(file), json!({ "ids": [ids] }).to_string()).unwrap();
        }
        // Settings without a [model] stand beside a HuggingFace model.
        std::fs::write(
            dir.path().join("mlc.toml"),
            "[quantise]\ndata = ['x.json', 'y.json']\n[run]\ninput = 'x.json'\n",
        )
        .unwrap();
        let args = [
            "prove",
            ".",
            "--set",
            "context=12",
            "-o",
            "p.proof",
            "--report",
            "r.json",
        ];
        mlc_in(dir.path(), &args).with(0);
        let report = read(&dir.path().join("r.json"));
        assert!(
            report["agreement"]["cosine"].as_f64().unwrap() > 0.98,
            "{name}: {report}"
        );
        let verify = ["verify", ".", "--set", "context=12", "--proof", "p.proof", "--input"];
        mlc_in(dir.path(), &[&verify[..], &["x.json"]].concat()).with(0);
        mlc_in(dir.path(), &[&verify[..], &["y.json"]].concat()).with(1);
    }
}

#[test]
fn an_unknown_family_names_the_known_ones() {
    let dir = copy("bert");
    set(dir.path(), "model_type", json!("mamba"));
    let ran = mlc_in(dir.path(), &["check", "."]).with(1);
    ran.says("`mamba`")
        .says_all(&["bert, gpt2, llama, mistral, qwen2, qwen3", "docs/models.md"]);
    set(dir.path(), "model_type", Value::Null);
    mlc_in(dir.path(), &["check", "."]).with(1).says("model_type");
    std::fs::write(dir.path().join("config.json"), "{").unwrap();
    mlc_in(dir.path(), &["check", "."]).with(2).says("not JSON");
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    mlc_in(dir.path(), &["check", "."])
        .with(2)
        .says("neither mlc.toml nor config.json");
}

#[test]
fn a_family_of_ones_own_is_a_file_in_the_directory() {
    let dir = copy("bert");
    set(dir.path(), "model_type", json!("mine"));
    let source = "//! Mean of the embeddings of tokens.\n\nimport std.embedding.{embedding}\n\n@family(\"mine\")\n\
                  @unused(\"encoder.*\", \"pooler.*\", \"*position*\", \"*token_type*\", \"*LayerNorm*\")\nmodel Mine {\n    \
                  config vocab: dim from \"vocab_size\"\n    config d: dim from \"hidden_size\"\n    dim tokens: runtime max 8\n\n    \
                  entry main(ids: index(vocab)[1, tokens]) -> (y: real[1, d]) {\n        \
                  sum(embedding(ids, vocab, d, \"embeddings.word_embeddings\"), axis = 1)\n    }\n}\n";
    std::fs::write(dir.path().join("model.mlc"), source).unwrap();
    assert_eq!(run(dir.path(), ".", &json!([1, 2]), "main").len(), 16);
    // A type that it does not serve.
    set(dir.path(), "model_type", json!("bert"));
    mlc_in(dir.path(), &["check", "."])
        .with(1)
        .says("serves the types mine");
}

#[test]
fn configurations_that_the_family_does_not_compute_are_refused() {
    for (name, key, value) in [
        ("bert", "position_embedding_type", json!("relative_key")),
        ("bert", "hidden_act", json!("mish")),
        ("bert", "is_decoder", json!(true)),
        ("gpt2", "scale_attn_by_inverse_layer_idx", json!(true)),
        ("llama", "attention_bias", json!(true)),
        ("llama", "rope_scaling", json!({"rope_type": "longrope", "factor": 4.0})),
        ("llama", "rope_parameters", json!({"rope_type": "linear"})),
        ("qwen2", "rope_parameters", json!({"rope_type": "llama3"})),
        (
            "qwen3",
            "rope_parameters",
            json!({"rope_type": "yarn", "factor": 2.0, "mscale": 1.0}),
        ),
        (
            "qwen3",
            "rope_parameters",
            json!({"rope_type": "yarn", "factor": 2.0, "truncate": false}),
        ),
        ("qwen2", "use_sliding_window", json!(true)),
        ("qwen3", "num_key_value_heads", json!(3)),
        ("qwen3", "hidden_size", json!("wide")),
    ] {
        let dir = copy(name);
        set(dir.path(), key, value);
        mlc_in(dir.path(), &["check", "."]).with(1).says("Error:");
    }
}

#[test]
fn missing_and_extra_weights_are_named() {
    // One layer more than there is, one less, and another shape.
    let dir = copy("llama");
    set(dir.path(), "num_hidden_layers", json!(3));
    let ran = mlc_in(dir.path(), &["check", "."]).with(1);
    ran.says("model.layers.2.");
    set(dir.path(), "num_hidden_layers", json!(1));
    let ran = mlc_in(dir.path(), &["check", "."]).with(1);
    ran.says("model.layers.1.input_layernorm.weight` and 8 more, which the family `llama` does not use");
    set(dir.path(), "num_hidden_layers", json!(2));
    set(dir.path(), "intermediate_size", json!(23));
    mlc_in(dir.path(), &["check", "."]).with(1).says("mlp");
    // No weights at all.
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    mlc_in(dir.path(), &["check", "."])
        .with(1)
        .says("neither model.safetensors nor");
    // Weights of something else.
    let other = safetensors_file(&[("w", vec![2], vec![1.0, 2.0])]);
    std::fs::write(dir.path().join("model.safetensors"), other).unwrap();
    mlc_in(dir.path(), &["check", "."])
        .with(1)
        .says("model.embed_tokens.weight");
}

#[test]
fn damaged_shards_are_named() {
    let second = "model-00002-of-00002.safetensors";
    let index = "model.safetensors.index.json";
    let dir = copy("qwen2");
    let whole = std::fs::read(dir.path().join(second)).unwrap();
    std::fs::write(dir.path().join(second), &whole[..whole.len() - 10]).unwrap();
    mlc_in(dir.path(), &["check", "."]).with(2).says(second);
    std::fs::write(dir.path().join(second), b"").unwrap();
    mlc_in(dir.path(), &["check", "."]).with(2).says(second);
    std::fs::remove_file(dir.path().join(second)).unwrap();
    mlc_in(dir.path(), &["check", "."])
        .with(1)
        .says("there is no such file");
    // A tensor that its header places beyond the end of the file.
    let text = String::from_utf8_lossy(&whole[8..]).into_owned();
    let (_, offsets) = text.split_once("\"data_offsets\":[0,").unwrap();
    let end: usize = offsets.split(']').next().unwrap().parse().unwrap();
    let at = 8 + text.find(&format!("[0,{end}]")).unwrap() + 3;
    let mut beyond = whole.clone();
    beyond[at] = b'9';
    std::fs::write(dir.path().join(second), &beyond).unwrap();
    mlc_in(dir.path(), &["check", "."])
        .with(2)
        .says(second)
        .says("not a whole safetensors file");
    std::fs::write(dir.path().join(second), &whole).unwrap();
    let original = read(&dir.path().join(index));
    let map = |file: &str| {
        let mut index = original.clone();
        index["weight_map"]["model.norm.weight"] = json!(file);
        index.to_string()
    };
    for (file, says) in [
        ("../model.safetensors", "which is no name of a file beside it"),
        ("/etc/passwd", "which is no name of a file beside it"),
        ("model-00001-of-00002.safetensors", "which does not have it"),
    ] {
        std::fs::write(dir.path().join(index), map(file)).unwrap();
        mlc_in(dir.path(), &["check", "."]).with(1).says(says);
    }
    std::fs::write(dir.path().join(index), "{\"weight_map\": 3}").unwrap();
    mlc_in(dir.path(), &["check", "."]).with(2).says("weight_map");
}

/// A tokenizer of whole words: `[CLS]`, then one token for each word.
fn tokenizer(words: &[(&str, u32)]) -> String {
    let vocabulary: serde_json::Map<String, Value> = words.iter().map(|(w, i)| ((*w).to_owned(), json!(i))).collect();
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}}},
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    })
    .to_string()
}

#[test]
fn prompts_are_made_tokens() {
    let dir = copy("bert");
    let prompt = |text: &str| mlc_in(dir.path(), &["run", ".", "--prompt", text, "--track", "f32"]);
    prompt("the cat").with(2).says("has no tokenizer.json");
    let words = [
        ("[PAD]", 0),
        ("[CLS]", 1),
        ("[UNK]", 2),
        ("the", 5),
        ("cat", 9),
        ("sat", 41),
    ];
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer(&words)).unwrap();
    // Neither cut nor padded, whatever the file says.
    let mut got = Vec::new();
    let json = ["--track", "f32", "--output-format", "json"];
    let args = [&["run", ".", "--prompt", "The cat the dog"][..], &json].concat();
    numbers(&mlc_in(dir.path(), &args).with(0).json()["output"], &mut got);
    assert_eq!(got, run(dir.path(), ".", &json!([1, 5, 9, 5, 2]), "main"));
    prompt("the cat sat").with(1).says("token 41 (`sat`)");
    prompt(&"cat ".repeat(32))
        .with(1)
        .says("the prompt has 33 tokens, and the model takes at most 32");
    mlc_in(dir.path(), &["run", ".", "--prompt", "cat", "--input", "x.json"])
        .with(2)
        .says("cannot be used with");
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    prompt("the cat").with(2).says("tokenizer.json");
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer(&words)).unwrap();
    // Tokens that are given by number are held to the same bounds.
    for (ids, says) in [(vec![1; 33], "takes at most 32"), (vec![1, 41], "'ids'")] {
        std::fs::write(dir.path().join("x.json"), json!({ "ids": [ids] }).to_string()).unwrap();
        mlc_in(dir.path(), &["run", ".", "--input", "x.json"])
            .with(1)
            .says(says);
    }
}

#[test]
fn the_first_layers_alone() {
    let dir = copy("llama");
    let run = |layers: &str| {
        let args = [
            "run",
            ".",
            "--layers",
            layers,
            "--input",
            "tokens.json",
            "--track",
            "f32",
            "--output-format",
            "json",
        ];
        mlc_in(dir.path(), &args)
    };
    std::fs::write(dir.path().join("tokens.json"), "[[1, 2, 3]]").unwrap();
    let (one, two) = (run("1").with(0).json(), run("2").with(0).json());
    assert_ne!(one["output"], two["output"]);
    // More than the files have: the first weight that is missing is named.
    let missing = run("9").with(1).json();
    assert!(
        missing[0]["message"].as_str().unwrap().contains("`model.layers.2."),
        "{missing}"
    );
    run("0").with(2);
}
