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
        let ran = mlc_in(dir.path(), &["check", "."]).with(1).says("Error:");
        // Also those of several conditions say what the value is, and where it is from.
        let shown = match key {
            "hidden_act" => "`hidden_act` is \"mish\", by `hidden_act` of config.json",
            "is_decoder" => "`is_decoder` is true, by `is_decoder` of config.json",
            "num_key_value_heads" => "by `num_key_value_heads` of config.json",
            _ => "",
        };
        ran.says(shown);
    }
}

#[test]
fn missing_and_extra_weights_are_named() {
    // One layer more than there is, one less, and another shape.
    let dir = copy("llama");
    set(dir.path(), "num_hidden_layers", json!(3));
    let ran = mlc_in(dir.path(), &["check", "."]).with(1);
    ran.says_all(&[
        "model.layers.2.",
        "the file has 2 of `model.layers.#.",
        "and the model asks for 3",
    ]);
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
        .says("the prompt has 33 tokens, and the model takes at most 32; `--set context=33` raises that");
    mlc_in(dir.path(), &["run", ".", "--prompt", "cat", "--set", "context=33"])
        .with(1)
        .says("`context` is 33; `most` is 32, by `max_position_embeddings` of config.json");
    mlc_in(dir.path(), &["run", ".", "--prompt", "cat", "--input", "x.json"])
        .with(2)
        .says("cannot be used with");
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    prompt("the cat").with(2).says("tokenizer.json");
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer(&words)).unwrap();
    // Tokens that are given by number are held to the same bounds.
    for (ids, says) in [
        (json!([vec![1; 33]]), "takes at most 32"),
        (
            json!([[1, 41]]),
            "input 'ids': token 41 at position 1 is not in the vocabulary of 41",
        ),
        (json!([[1, -3]]), "token -3 at position 1"),
        (
            json!([[1, 5.4]]),
            "input 'ids' is 5.4 at position 1; tokens are whole numbers",
        ),
        (
            json!([[1, 2], [3, 4]]),
            "input `ids` has shape [2, 2], the model takes [1, tokens]",
        ),
    ] {
        for track in ["int", "f32"] {
            std::fs::write(dir.path().join("x.json"), json!({ "ids": ids }).to_string()).unwrap();
            mlc_in(dir.path(), &["run", ".", "--input", "x.json", "--track", track])
                .with(1)
                .says(says);
        }
    }
}

#[test]
fn the_prompt_of_an_embedding_is_compared_with_its_proof() {
    let dir = copy("bert");
    let root = dir.path();
    let words = [("[CLS]", 1), ("[UNK]", 2), ("the", 5), ("cat", 9), ("sat", 40)];
    std::fs::write(root.join("tokenizer.json"), tokenizer(&words)).unwrap();
    mlc_in(root, &["prove", ".", "--prompt", "the cat sat", "-o", "p.proof"]).with(0);
    mlc_in(root, &["setup", ".", "-o", "key"]).with(0);
    let verify = |more: &[&str]| {
        let args = [
            "verify",
            "--key",
            "key",
            "--proof",
            "p.proof",
            "--tokenizer",
            "tokenizer.json",
        ];
        mlc_in(root, &[&args[..], more].concat())
    };
    verify(&["--prompt", "the cat sat"]).with(0);
    verify(&["--prompt", "the sat cat"])
        .with(1)
        .says("the proof is for another prompt: the token at position 2 is 9, yours is 40");
    verify(&["--prompt", "the cat"])
        .with(1)
        .says("it has 4 tokens, yours 3");
    // The same as a file of text, which `prove` takes, too.
    let text = |text: &str| {
        std::fs::write(root.join("x.txt"), text).unwrap();
        verify(&["--input", "x.txt"])
    };
    text("the cat sat\n").with(0);
    text("sat cat sat\n").with(1).says("the proof is for another input");
    text("the cat\n")
        .with(1)
        .says("the proof is for tokens = 4, and `x.txt` has tokens = 3");
    text("the cat sat\nthe cat\n").with(2).says("has 2 lines of text");
    let args = ["verify", "--key", "key", "--proof", "p.proof", "--input", "x.txt"];
    mlc_in(root, &args).with(2).says("`x.txt` has 2 lines");
    // It gives no text, and says which entry it is that does not.
    mlc_in(root, &["generate", ".", "--prompt", "the", "--tokens", "2"])
        .with(1)
        .says_all(&["entry `main` of Bert gives no text", "`mlc prove`"]);
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

/// Writes what sentence-transformers keeps of a model's pooling.
fn pooled(dir: &std::path::Path, mode: &str, more: &[&str]) {
    let mut modules = vec![
        json!({"type": "sentence_transformers.models.Transformer", "path": ""}),
        json!({"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}),
    ];
    modules.extend(
        more.iter()
            .map(|name| json!({"type": format!("sentence_transformers.models.{name}"), "path": ""})),
    );
    std::fs::write(dir.join("modules.json"), Value::Array(modules).to_string()).unwrap();
    std::fs::create_dir_all(dir.join("1_Pooling")).unwrap();
    std::fs::write(dir.join("1_Pooling/config.json"), json!({ mode: true }).to_string()).unwrap();
}

/// Outputs of `transformers` for the first tokens: those of `main` and of `states`.
fn expected_of_bert() -> (Value, Vec<f64>, Vec<f64>) {
    let cases = read(&fixture("bert").join("expected.json"));
    let of = |entry: &str| {
        let case = cases
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["entry"] == entry)
            .unwrap()
            .clone();
        let mut all = Vec::new();
        numbers(&case["output"], &mut all);
        (case["ids"].clone(), all)
    };
    let ((ids, main), (same, states)) = (of("main"), of("states"));
    assert_eq!(ids, same);
    (ids, main, states)
}

fn near(got: &[f64], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len());
    for (a, b) in got.iter().zip(wanted) {
        assert!((a - b).abs() < 1e-3 * b.abs().max(1.0), "{a} and {b}");
    }
}

#[test]
fn sentences_are_pooled_as_the_directory_says() {
    let (ids, main, states) = expected_of_bert();
    let dir = copy("bert");
    let root = dir.path();
    pooled(root, "pooling_mode_mean_tokens", &["Normalize"]);
    near(&run(root, ".", &ids, "main"), &main);
    // The state of the first token, as it is or at length 1.
    let first = &states[..main.len()];
    pooled(root, "pooling_mode_cls_token", &[]);
    near(&run(root, ".", &ids, "main"), first);
    pooled(root, "pooling_mode_cls_token", &["Normalize"]);
    let length = first.iter().map(|v| v * v).sum::<f64>().sqrt();
    let unit: Vec<f64> = first.iter().map(|v| v / length).collect();
    near(&run(root, ".", &ids, "main"), &unit);
    // So does what is transpiled.
    mlc_in(root, &["transpile", ".", "-o", "m/m.mlc"]).with(0);
    near(&run(root, "m/m.mlc", &ids, "main"), &unit);
    std::fs::write(root.join("x.json"), json!([ids]).to_string()).unwrap();
    mlc_in(root, &["prove", ".", "--input", "x.json"]).with(0);
    for (mode, more, says) in [
        ("pooling_mode_max_tokens", &[][..], "sets `pooling_mode_max_tokens`"),
        (
            "pooling_mode_cls_token",
            &["Dense"],
            "`sentence_transformers.models.Dense`",
        ),
    ] {
        pooled(root, mode, more);
        mlc_in(root, &["run", ".", "--input", "x.json"])
            .with(1)
            .says_all(&[says, "`--entry states`"]);
        near(&run(root, ".", &ids, "states"), &states);
    }
}

#[test]
fn pairs_of_sentences_have_segments() {
    let (ids, _, states) = expected_of_bert();
    let dir = copy("bert");
    let root = dir.path();
    let count = ids.as_array().unwrap().len();
    let pair = |file: &str, of: &dyn Fn(usize) -> usize, more: &[&str]| {
        let segments: Vec<usize> = (0..count).map(of).collect();
        std::fs::write(
            root.join(file),
            json!({"ids": [ids], "segments": [segments]}).to_string(),
        )
        .unwrap();
        let args = [
            "run",
            ".",
            "--entry",
            "pair",
            "--input",
            file,
            "--output-format",
            "json",
        ];
        let mut got = Vec::new();
        numbers(
            &mlc_in(root, &[&args[..], more].concat()).with(0).json()["output"],
            &mut got,
        );
        got
    };
    let real = ["--track", "f32"];
    near(&pair("one.json", &|_| 0, &real), &states);
    let two = pair("two.json", &|i| usize::from(i >= count / 2), &real);
    let far = two.iter().zip(&states).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(far > 0.05, "{far}");
    // Where all are of the second segment, it is the model whose rows change places.
    let second = pair("second.json", &|_| 1, &real);
    let args = [
        "prove", ".", "--entry", "pair", "--input", "two.json", "-o", "p.proof", "--report", "r.json",
    ];
    mlc_in(root, &args).with(0);
    let cosine = read(&root.join("r.json"))["agreement"]["cosine"].as_f64().unwrap();
    assert!(cosine > 0.98, "{cosine}");
    let verify = ["verify", ".", "--entry", "pair", "--proof", "p.proof", "--input"];
    mlc_in(root, &[&verify[..], &["two.json"]].concat()).with(0);
    mlc_in(root, &[&verify[..], &["second.json"]].concat())
        .with(1)
        .says("`segments` is");
    swap_segments(root);
    near(&run(root, ".", &ids, "states"), &second);
}

/// Exchanges the two rows of the segments' embedding.
fn swap_segments(dir: &std::path::Path) {
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let mut changed = bytes.clone();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let rows = tensors.tensor("embeddings.token_type_embeddings.weight").unwrap();
    let (data, start) = (rows.data(), rows.data().as_ptr() as usize - bytes.as_ptr() as usize);
    let half = data.len() / 2;
    changed[start..start + half].copy_from_slice(&data[half..]);
    changed[start + half..start + 2 * half].copy_from_slice(&data[..half]);
    std::fs::write(path, changed).unwrap();
}
