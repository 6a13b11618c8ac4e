//! Running the binary on copies of the examples.
// Each test file uses a part; helpers may panic as tests do.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::panic)]

pub mod golden;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// What a run gave.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// The run, which must have ended with `code`.
    #[track_caller]
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }

    /// The run, whose errors must say `text`, in one error and without a panic.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no `{text}` in {self:#?}");
        assert!(!self.err.contains("panicked"), "{self:#?}");
        self
    }
}

impl Ran {
    /// As [`says`](Self::says), of several texts.
    #[track_caller]
    pub fn says_all(self, texts: &[&str]) -> Self {
        texts.iter().fold(self, |ran, text| ran.says(text))
    }
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `mlc` in a directory.
pub fn mlc_in(dir: &Path, args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_mlc"))
        .current_dir(dir)
        .args(args)
        .output();
    ran(output.unwrap())
}

/// Runs a shell script in which `$MLC` is the binary.
pub fn shell(dir: &Path, script: &str) -> Ran {
    let mut command = Command::new("bash");
    command
        .current_dir(dir)
        .env("MLC", env!("CARGO_BIN_EXE_mlc"))
        .args(["-c", script]);
    ran(command.output().unwrap())
}

pub fn digits_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

/// A copy of the digits example, without caches.
pub fn digits() -> TempDir {
    example("digits")
}

/// A copy of a directory of the examples, without caches.
pub fn example(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    copy(&examples.join(name), dir.path());
    dir
}

/// The files of a tiny random model of `scripts/models/make_families.py`.
pub fn family_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/families")
        .join(name)
}

/// A copy of such a model, to be changed.
pub fn family(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&family_folder(name), dir.path());
    dir
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name.to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else {
            std::fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// A project of the given source, with weights from [`weights`] for `w` of the given shapes.
pub fn project(source: &str, settings: &str, tensors: &[(&str, Vec<usize>)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.mlc"), source).unwrap();
    std::fs::write(
        dir.path().join("mlc.toml"),
        format!("[model]\nsource = 'm.mlc'\n{settings}"),
    )
    .unwrap();
    std::fs::write(dir.path().join("m.safetensors"), weights(tensors)).unwrap();
    dir
}

/// A safetensors file of small numbers.
pub fn weights(tensors: &[(&str, Vec<usize>)]) -> Vec<u8> {
    let tensors: Vec<(&str, Vec<usize>, Vec<f32>)> = tensors
        .iter()
        .map(|(name, shape)| {
            let count = shape.iter().product::<usize>();
            let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 100.0;
            (*name, shape.clone(), (0..count).map(value).collect())
        })
        .collect();
    safetensors_file(&tensors)
}

pub fn safetensors_file(tensors: &[(&str, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, data)| data.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap();
        (*name, view)
    });
    safetensors::serialize(views, None).unwrap()
}

/// Elements of an unsigned 8-bit `.npy` file.
pub fn npy_u8(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert!(String::from_utf8_lossy(&bytes[10..10 + header]).contains("'|u1'"));
    bytes[10 + header..].to_vec()
}

/// Names of the files of a directory, hidden ones included.
pub fn listing(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
