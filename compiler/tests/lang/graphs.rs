//! From source to AST and graph: snapshots, and what they must have in common.

use crate::common::{check_text, rendered};
use mlc_compiler::syntax::{FileId, dump, parse};
use mlc_compiler::{Config, QuantTarget};
use std::collections::BTreeMap;
use std::path::Path;

fn example(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)).unwrap()
}

fn graph(text: &str, config: &Config) -> mlc_ir::Module {
    let result = check_text(text, config);
    assert!(result.diagnostics.is_empty(), "{}", rendered(&result));
    result.module.unwrap()
}

#[test]
fn digits_mlp() {
    let text = example("digits/mlp.mlc");
    insta::assert_snapshot!("digits_mlp_ast", dump(&parse(FileId(0), &text).0));
    let result = check_text(&text, &Config::default());
    assert_eq!(result.quant[0].range, Some((0.0, 1.0)));
    assert_eq!(
        result.quant[0].target,
        QuantTarget::Value {
            entry: "main".into(),
            value: "image".into()
        }
    );
    insta::assert_snapshot!("digits_mlp_ir", result.module.unwrap().to_string());
}

#[test]
fn digits_cnn() {
    let weights = BTreeMap::from([
        ("conv1.weight".into(), vec![8, 1, 3, 3]),
        ("conv1.bias".into(), vec![8]),
        ("conv2.weight".into(), vec![16, 8, 3, 3]),
        ("conv2.bias".into(), vec![16]),
        ("fc.weight".into(), vec![10, 64]),
        ("fc.bias".into(), vec![10]),
    ]);
    let config = Config {
        weights: Some(weights),
        ..Config::default()
    };
    insta::assert_snapshot!("digits_cnn_ir", graph(&example("digits/cnn.mlc"), &config).to_string());
}

#[test]
fn a_llama_block_with_tied_embedding_and_state() {
    let text = example("llama_block/model.mlc");
    let plain = graph(&text, &Config::default());
    insta::assert_snapshot!("llama_ir", plain.to_string());
    // Tied: embedding and head are one weight, and the blocks' weights are stacked over the layers.
    assert!(plain.weights.keys().all(|n| !n.contains("lm_head")));
    assert_eq!(plain.weights["model.layers.l.mlp.up_proj.weight"].stack[0].count, 4);
    assert_eq!(plain.states.len(), 2);

    let mut config = Config {
        file: serde_json::from_str(r#"{"num_hidden_layers": 2, "tie_word_embeddings": false}"#).ok(),
        ..Config::default()
    };
    config.set("qk_norm", "true");
    let untied = graph(&text, &config);
    assert!(untied.weights.contains_key("lm_head.weight"));
    assert!(untied.weights.contains_key("model.layers.l.self_attn.q_norm.weight"));
    assert_eq!(untied.states.values().next().unwrap().stack[0].count, 2);
}

#[test]
fn the_graphs_pass_the_verifier() {
    for name in ["digits/mlp.mlc", "digits/cnn.mlc", "llama_block/model.mlc"] {
        let module = graph(&example(name), &Config::default());
        let errors = mlc_ir::verify::verify(&module).err().unwrap_or_default();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}

#[test]
fn the_text_of_the_graphs_reads_back() {
    for name in ["digits/mlp.mlc", "digits/cnn.mlc", "llama_block/model.mlc"] {
        let module = graph(&example(name), &Config::default());
        let read: mlc_ir::Module = module.to_string().parse().unwrap();
        assert_eq!(read, module, "{name}");
    }
}
