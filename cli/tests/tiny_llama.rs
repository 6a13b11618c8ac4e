//! The trained model of examples/tiny_llama: its perplexity over held-out text, in f32 against `transformers` and in
//! integers against f32, and a proof.
//!
//! Model and reference are made by `scripts/models/make_tiny_llama.py`.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{example, mlc_in};
use serde_json::{Value, json};

/// A line of held_out.txt: its tokens, and the perplexity that `transformers` finds.
struct Line {
    ids: Vec<usize>,
    perplexity: f64,
}

fn lines(dir: &Path) -> Vec<Line> {
    let text = std::fs::read(dir.join("expected.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let ids = |case: &Value| {
        let ids = case["ids"].as_array().unwrap().iter();
        ids.map(|id| id.as_u64().unwrap() as usize).collect()
    };
    let line = |case: &Value| Line {
        ids: ids(case),
        perplexity: case["perplexity"].as_f64().unwrap(),
    };
    cases.iter().map(line).collect()
}

/// All numbers, in order.
fn numbers(value: &Value, into: &mut Vec<f64>) {
    match value {
        Value::Array(items) => items.iter().for_each(|v| numbers(v, into)),
        value => into.push(value.as_f64().unwrap()),
    }
}

/// Negative log likelihood of every token after the first, by logits `[tokens, vocab]` of each token's successor.
fn losses(logits: &[f64], ids: &[usize]) -> Vec<f64> {
    let rows = logits.chunks_exact(logits.len() / ids.len());
    let loss = |(row, next): (&[f64], &usize)| {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|v| (v - most).exp()).sum();
        sum.ln() + most - row[*next]
    };
    rows.zip(&ids[1..]).map(loss).collect()
}

fn perplexity(losses: &[f64]) -> f64 {
    (losses.iter().sum::<f64>() / losses.len() as f64).exp()
}

/// One test: both parts need the model calibrated, which is kept in the directory.
#[test]
fn it_predicts_held_out_text_and_proves() {
    let dir = example("tiny_llama");
    let lines = lines(dir.path());
    perplexities_agree(dir.path(), &lines);
    a_prompt_proves_and_verifies(dir.path(), &lines);
    a_text_is_generated_as_a_chain(dir.path());
}

fn perplexities_agree(dir: &Path, lines: &[Line]) {
    let args = [
        "run",
        ".",
        "--input",
        "held_out.txt",
        "--track",
        "both",
        "--output-format",
        "json",
    ];
    let out = mlc_in(dir, &args).with(0).json();
    // Lines have different lengths: the logits are cut by the tokens that each must have.
    let tokens: usize = lines.iter().map(|l| l.ids.len()).sum();
    let each = |key: &str| -> Vec<Vec<f64>> {
        let mut all = Vec::new();
        numbers(&out[key]["logits"], &mut all);
        assert_eq!(all.len() % tokens, 0, "{} logits of {tokens} tokens", all.len());
        let vocab = all.len() / tokens;
        let mut rest = &all[..];
        let mut cut = |line: &Line| {
            let (logits, after) = rest.split_at(line.ids.len() * vocab);
            rest = after;
            losses(logits, &line.ids)
        };
        lines.iter().map(&mut cut).collect()
    };
    let (real, integers) = (each("output_f32"), each("output"));
    for (i, (losses, line)) in real.iter().zip(lines).enumerate() {
        let (got, wanted) = (perplexity(losses), line.perplexity);
        assert!((got / wanted - 1.0).abs() < 1e-3, "line {i}: {got} and {wanted}");
    }
    let (real, integers) = (perplexity(&real.concat()), perplexity(&integers.concat()));
    eprintln!("perplexity {real:.4} in f32, {integers:.4} in integers");
    assert!(
        (integers / real - 1.0).abs() < 0.02,
        "{integers} in integers and {real} in f32"
    );
    // It has learnt: the frequencies of tokens alone give 359.
    assert!(real < 100.0, "{real}");
}

fn a_prompt_proves_and_verifies(dir: &Path, lines: &[Line]) {
    let text = std::fs::read_to_string(dir.join("held_out.txt")).unwrap();
    let prompt = text.lines().next().unwrap();
    mlc_in(dir, &["prove", ".", "--prompt", prompt, "-o", "p.proof"]).with(0);
    mlc_in(dir, &["verify", ".", "--proof", "p.proof"]).with(0);
    // The proof is of the tokens of this prompt and of no others.
    for (line, code) in lines.iter().zip([0, 1]) {
        std::fs::write(dir.join("x.json"), json!({ "ids": [line.ids] }).to_string()).unwrap();
        let args = ["verify", ".", "--proof", "p.proof", "--input", "x.json"];
        mlc_in(dir, &args).with(code);
    }
}

/// 32 tokens by segments of 8, and the same text with the logits hidden.
fn a_text_is_generated_as_a_chain(dir: &Path) {
    let prompt = ["--prompt", "Once upon a time"];
    let json = ["--output-format", "json"];
    let mut texts = Vec::new();
    for hide in [&[][..], &["--hide", "logits"]] {
        let prove = [
            "generate",
            ".",
            "--tokens",
            "32",
            "--prove",
            "--segment",
            "8",
            "-o",
            "t.proof",
        ];
        let made = mlc_in(dir, &[&prove[..], &prompt, hide, &json].concat()).with(0).json();
        assert_eq!(made["tokens"], 32);
        let tokens: Vec<u64> = (made["segments"].as_array().unwrap().iter())
            .map(|s| s["tokens"].as_u64().unwrap())
            .collect();
        assert_eq!(tokens[1..], [8, 8, 8, 7]);
        let verify = ["verify", ".", "--proof", "t.proof"];
        let verified = mlc_in(dir, &[&verify[..], &prompt, hide, &json].concat())
            .with(0)
            .json();
        assert_eq!(verified["ids"], made["ids"]);
        assert_eq!(verified["text"], made["text"]);
        texts.push(made["text"].clone());
    }
    assert_eq!(texts[0], texts[1]);
}
