//! GGUF files against the models that they were made of, and files that have to be refused.
//!
//! The models and their outputs are made by `scripts/models/make_gguf.py`.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use common::golden::agrees;
use common::{Ran, mlc_in};
use tempfile::TempDir;

const MODELS: [&str; 4] = ["llama_q8_0", "qwen2_q4_0", "qwen3_f32", "gpt2_f16"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.gguf"))).unwrap()
}

/// A directory with such a file as `m.gguf`.
fn copy(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.gguf"), bytes(name)).unwrap();
    dir
}

fn expected(name: &str) -> PathBuf {
    folder().join(format!("{name}.json"))
}

#[test]
fn files_agree_with_transformers() {
    for name in MODELS {
        let dir = copy(name);
        mlc_in(dir.path(), &["check", "m.gguf"]).with(0).says("");
        agrees(dir.path(), "m.gguf", &expected(name));
    }
}

#[test]
fn transpiled_files_compute_the_same() {
    for name in MODELS {
        let dir = tempfile::tempdir().unwrap();
        let model = folder().join(format!("{name}.gguf"));
        mlc_in(dir.path(), &["transpile", model.to_str().unwrap(), "-o", "t.mlc"]).with(0);
        // The file as it is, since its blocks are no type of safetensors.
        assert_eq!(std::fs::read(dir.path().join("t.gguf")).unwrap(), bytes(name));
        agrees(dir.path(), "t.mlc", &expected(name));
    }
    // In place nothing is copied.
    let dir = copy("qwen3_f32");
    mlc_in(dir.path(), &["transpile", "m.gguf"]).with(0);
    agrees(dir.path(), "m.mlc", &expected("qwen3_f32"));
    mlc_in(dir.path(), &["transpile", "m.gguf"])
        .with(2)
        .says("`m.mlc` exists already");
}

#[test]
fn a_file_is_proved() {
    let dir = copy("llama_q8_0");
    std::fs::write(dir.path().join("x.json"), "[[3, 17, 40, 0, 9]]").unwrap();
    std::fs::write(dir.path().join("mlc.toml"), "[quantise]\ndata = ['x.json']\n").unwrap();
    let set = ["--set", "context=8", "--input", "x.json"];
    mlc_in(dir.path(), &[&["prove", "m.gguf", "-o", "p.proof"][..], &set].concat()).with(0);
    let verify = ["verify", "m.gguf", "--proof", "p.proof"];
    mlc_in(dir.path(), &[&verify[..], &set].concat()).with(0);
    // A bit of the last block is another model.
    let mut other = bytes("llama_q8_0");
    let at = other.len() - 33;
    other[at] ^= 0x40;
    std::fs::write(dir.path().join("m.gguf"), other).unwrap();
    mlc_in(dir.path(), &[&verify[..], &set].concat())
        .with(1)
        .says("rejected: this proof is for key");
    // Its own tokenizer is not read.
    mlc_in(dir.path(), &["run", "m.gguf", "--prompt", "a text"])
        .with(2)
        .says("put the tokenizer.json of the model there")
        .says("GGUF");
}

/// `mlc check` on a file of these bytes.
fn check(bytes: &[u8]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.gguf"), bytes).unwrap();
    mlc_in(dir.path(), &["check", "m.gguf"])
}

/// Where a text of a file begins.
fn find(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).position(|w| w == text.as_bytes()).unwrap()
}

/// The bytes with others in the place of `from`, which are as many.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = find(bytes, from);
    let mut out = bytes.to_vec();
    out[at..at + to.len()].copy_from_slice(to.as_bytes());
    out
}

#[test]
fn files_that_are_none_are_refused() {
    let good = bytes("llama_q8_0");
    check(&replaced(&good, "GGUF", "GGML")).with(2).says("not a GGUF file");
    check(b"").with(2).says("cannot read `m.gguf`");
    for cut in [4, 20, 100, 400, good.len() - 1] {
        check(&good[..cut]).with(2).says("cannot read `m.gguf`");
    }
    check(&good[..100]).with(2).says("it ends at byte 100");
    // Behind a tensor's name: axes, two lengths, the type, the offset.
    let at = find(&good, "blk.0.ffn_up.weight") + "blk.0.ffn_up.weight".len() + 4 + 16;
    let mut kind = good.clone();
    kind[at] = 12;
    check(&kind)
        .with(2)
        .says("`blk.0.ffn_up.weight` has elements of type Q4_K; F32, F16, BF16, Q8_0, Q4_0 are read");
    let mut offset = good.clone();
    offset[at + 4 + 5] = 1;
    check(&offset)
        .with(2)
        .says("`blk.0.ffn_up.weight` lies outside of the file");
    mlc_in(Path::new("."), &["check", "absent.gguf"])
        .with(2)
        .says("absent.gguf");
}

#[test]
fn models_that_are_not_known_are_refused() {
    let good = bytes("llama_q8_0");
    let architecture = "general.architecture";
    check(&replaced(&good, architecture, "general.architectone"))
        .with(1)
        .says("`general.architecture`");
    let at = find(&good, architecture) + architecture.len() + 12;
    let mut other = good.clone();
    other[at..at + 5].copy_from_slice(b"gemma");
    check(&other)
        .with(1)
        .says("`gemma`; of GGUF files gpt2, llama, qwen2, qwen3 are read");
    // A tensor that has no name of the family is left over; one that it needs is missed.
    check(&replaced(&good, "blk.1.ffn_up.weight", "blk.1.ffn_xp.weight"))
        .with(1)
        .says("model.layers.1.mlp.up_proj.weight");
    check(&replaced(&good, "blk.1.ffn_up.weight", "blk.9.ffn_up.weight"))
        .with(1)
        .says("model.layers.1.mlp.up_proj.weight");
    check(&replaced(&good, "llama.block_count", "llama.block_cOUNT"))
        .with(1)
        .says("`llama.block_count` is missing");
    // As many heads as do not go into the rows.
    let key = "llama.attention.head_count";
    let at = find(&good, key) + key.len() + 4;
    let mut heads = good.clone();
    heads[at] = 3;
    check(&heads).with(1).says("does not go with the metadata");
    // Two tensors of one name.
    check(&replaced(&good, "blk.1.ffn_up.weight", "blk.0.ffn_up.weight"))
        .with(2)
        .says("occurs twice");
    // A head, which is the file's last tensor, that is not the embedding. As it was, it is left out.
    let mut untied = bytes("gpt2_f16");
    let at = untied.len() - 40;
    untied[at] ^= 1;
    check(&untied).with(1).says("tied");
}
