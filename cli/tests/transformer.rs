//! Small transformers with random weights, written in the language: compiled, proved, verified, near the real model.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{mlc_in, safetensors_file};
use serde_json::{Value, json};

/// Uniform numbers in [-1, 1) from a seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32) / (1u64 << 23) as f32 - 1.0
    }

    /// A tensor uniform within `width / sqrt(inputs)` around `centre`.
    fn tensor(&mut self, shape: &[usize], centre: f32, width: f32) -> Vec<f32> {
        let inputs = if shape.len() > 1 { shape[shape.len() - 1] } else { 1 };
        let count = shape.iter().product();
        (0..count)
            .map(|_| centre + self.next() * width / (inputs as f32).sqrt())
            .collect()
    }
}

fn write(dir: &Path, source: &str, tensors: &[(String, Vec<usize>, Vec<f32>)], manifest: &str) {
    std::fs::write(dir.join("m.mlc"), source).unwrap();
    let named: Vec<(&str, Vec<usize>, Vec<f32>)> = tensors
        .iter()
        .map(|(n, s, d)| (n.as_str(), s.clone(), d.clone()))
        .collect();
    std::fs::write(dir.join("m.safetensors"), safetensors_file(&named)).unwrap();
    let manifest =
        format!("[model]\nsource = \"m.mlc\"\n\n[quantise]\ndata = [\"a.json\", \"b.json\", \"c.json\"]\n{manifest}");
    std::fs::write(dir.join("mlc.toml"), manifest).unwrap();
}

/// Proves, verifies with the input, and gives the report.
fn proved(dir: &Path, input: &str) -> Value {
    let args = [
        "prove",
        ".",
        "--input",
        input,
        "-o",
        "p.proof",
        "--report",
        "report.json",
    ];
    mlc_in(dir, &args).with(0);
    mlc_in(dir, &["verify", ".", "--proof", "p.proof", "--input", input]).with(0);
    serde_json::from_slice(&std::fs::read(dir.join("report.json")).unwrap()).unwrap()
}

fn ids(rng: &mut Rng, count: usize, vocab: usize) -> Vec<usize> {
    (0..count)
        .map(|_| ((rng.next() + 1.0) / 2.0 * vocab as f32) as usize % vocab)
        .collect()
}

/// The Llama example with two layers: embedding, causal grouped-query attention with rotary embedding, RMSNorm, SwiGLU,
/// tied head.
#[test]
fn a_llama_proves_and_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/llama_block/prefill.mlc");
    let source = std::fs::read_to_string(source).unwrap();
    let (d, hidden, vocab, layers) = (32, 64, 128, 2);
    let mut rng = Rng(7);
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize], centre: f32, width: f32| {
        let data = rng.tensor(shape, centre, width);
        tensors.push((name, shape.to_vec(), data));
    };
    add("model.embed_tokens.weight".into(), &[vocab, d], 0.0, 8.0);
    add("model.norm.weight".into(), &[d], 1.0, 0.3);
    for l in 0..layers {
        let name = |part: &str| format!("model.layers.{l}.{part}.weight");
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            add(name(norm), &[d], 1.0, 0.3);
        }
        add(name("self_attn.q_proj"), &[d, d], 0.0, 2.0);
        add(name("self_attn.k_proj"), &[d / 2, d], 0.0, 2.0);
        add(name("self_attn.v_proj"), &[d / 2, d], 0.0, 2.0);
        add(name("self_attn.o_proj"), &[d, d], 0.0, 1.0);
        add(name("mlp.gate_proj"), &[hidden, d], 0.0, 2.0);
        add(name("mlp.up_proj"), &[hidden, d], 0.0, 2.0);
        add(name("mlp.down_proj"), &[d, hidden], 0.0, 1.0);
    }
    write(root, &source, &tensors, "\n[config]\nlayers = 2\n");
    for (name, count) in [("a", 19), ("b", 30), ("c", 64), ("x", 21)] {
        let tokens = json!({ "ids": [ids(&mut rng, count, vocab)] });
        std::fs::write(root.join(format!("{name}.json")), tokens.to_string()).unwrap();
    }
    let report = proved(root, "x.json");
    assert!(report["agreement"]["cosine"].as_f64().unwrap() > 0.99, "{report}");
    // A token outside of the vocabulary is refused.
    std::fs::write(root.join("bad.json"), json!({ "ids": [[1, vocab, 2]] }).to_string()).unwrap();
    mlc_in(root, &["run", ".", "--input", "bad.json"]).with(1).says("'ids'");
    // Another prompt is another statement.
    mlc_in(root, &["verify", ".", "--proof", "p.proof", "--input", "a.json"]).with(1);
}

const BERT: &str = r#"
import std.attention.{split_heads}
import std.embedding.{embedding, position_embedding}
import std.feed_forward.{feed_forward}
import std.linear.{linear}
import std.norm.{layer_norm}

@quant(weights = 10)
model Bert {
    config d: dim = 24
    config heads: dim = 3
    config layers: dim = 2
    dim batch: runtime max 2
    dim tokens: runtime max 12

    entry main(ids: public index(50)[batch, tokens], attention_mask: public mask[batch, tokens]) -> (
        states: public real[batch, tokens, d],
    ) {
        let x = embedding(ids, 50, d, "word") + position_embedding(tokens, d, 16, "position")
        let x = layer_norm(x, "norm", eps = 1e-12)
        let keep = reshape(attention_mask, [batch, 1, 1, 1, tokens])
        repeat l in 0..layers carrying x {
            let q = split_heads(linear(x, d, "{l}.q"), heads)
            let k = split_heads(linear(x, d, "{l}.k"), heads)
            let v = split_heads(linear(x, d, "{l}.v"), heads)
            let q = reshape(q, [batch, heads, 1, tokens, d / heads])
            let scores = einsum("b k g t c, b k s c -> b k g t s", q, k) * (1.0 / sqrt(d / heads))
            let p = softmax(scores, keep)
            let a = reshape(einsum("b k g t s, b k s c -> b t k g c", p, v), [batch, tokens, d])
            let x = layer_norm(x + linear(a, d, "{l}.o"), "{l}.norm1", eps = 1e-12)
            layer_norm(x + feed_forward(x, 2 * d, "{l}.up", "{l}.down"), "{l}.norm2", eps = 1e-12)
        }
        x
    }
}
"#;

/// LayerNorm after each sum, GELU, learned positions, and a padding mask in the statement.
#[test]
fn a_bert_with_padding_proves_and_verifies() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let d = 24;
    let mut rng = Rng(11);
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize], centre: f32, width: f32| {
        let data = rng.tensor(shape, centre, width);
        tensors.push((name, shape.to_vec(), data));
    };
    add("word.weight".into(), &[50, d], 0.0, 5.0);
    add("position.weight".into(), &[16, d], 0.0, 2.0);
    let mut norms = vec!["norm".to_owned()];
    for l in 0..2 {
        for (part, out, from) in [
            ("q", d, d),
            ("k", d, d),
            ("v", d, d),
            ("o", d, d),
            ("up", 2 * d, d),
            ("down", d, 2 * d),
        ] {
            add(format!("{l}.{part}.weight"), &[out, from], 0.0, 1.7);
            add(format!("{l}.{part}.bias"), &[out], 0.0, 0.2);
        }
        norms.extend([format!("{l}.norm1"), format!("{l}.norm2")]);
    }
    for name in norms {
        add(format!("{name}.weight"), &[d], 1.0, 0.3);
        add(format!("{name}.bias"), &[d], 0.0, 0.2);
    }
    write(root, BERT, &tensors, "");
    for (name, count) in [("a", 12), ("b", 9), ("c", 11), ("x", 7)] {
        let tokens = json!({
            "ids": [ids(&mut rng, count, 50), ids(&mut rng, count, 50)],
            "attention_mask": [vec![1; count], (0..count).map(|i| i32::from(i + 3 < count)).collect::<Vec<i32>>()],
        });
        std::fs::write(root.join(format!("{name}.json")), tokens.to_string()).unwrap();
    }
    let report = proved(root, "x.json");
    assert!(report["agreement"]["cosine"].as_f64().unwrap() > 0.99, "{report}");
    // A row of nothing but padding has no softmax.
    let hidden = json!({ "ids": [[1, 2], [3, 4]], "attention_mask": [[1, 1], [0, 0]] });
    std::fs::write(root.join("hidden.json"), hidden.to_string()).unwrap();
    mlc_in(root, &["run", ".", "--input", "hidden.json"])
        .with(1)
        .says("hidden");
}
