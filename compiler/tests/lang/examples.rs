//! The `.mlc` files of the repository: they compile, to this graph, and are formatted.

use crate::common::{check_text, rendered};
use mlc_compiler::plan::QuantPlan;
use mlc_compiler::syntax::FileId;
use mlc_compiler::{CompileOptions, Config, compile, fmt};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join("stdlib"), root().join("examples")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "mlc") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_source_is_formatted_and_formatting_is_idempotent() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let once = fmt::format(FileId(0), &text).unwrap();
        if std::env::var_os("MLC_FORMAT").is_some() {
            std::fs::write(&path, &once).unwrap();
            continue;
        }
        assert_eq!(once, text, "{} is not formatted", path.display());
        assert_eq!(fmt::format(FileId(0), &once).unwrap(), once);
    }
}

#[test]
fn the_examples_compile() {
    for path in sources().into_iter().filter(|p| p.starts_with(root().join("examples"))) {
        let text = std::fs::read_to_string(&path).unwrap();
        let result = check_text(&text, &Config::default());
        assert!(result.module.is_some(), "{}:\n{}", path.display(), rendered(&result));
    }
}

#[test]
fn the_llama_example_without_a_cache_is_a_circuit() {
    let compiled = |file: &str| {
        let text = std::fs::read_to_string(root().join("examples/llama_block").join(file)).unwrap();
        let module = check_text(&text, &Config::default()).module.unwrap();
        compile(module, &QuantPlan::default(), &CompileOptions::default())
    };
    let made = compiled("prefill.mlc").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(made.circuit.constants.len(), 3);
    // The embedding and the head are one weight.
    let rows = made.circuit.weights.iter().filter(|w| w.outer == [128]).count();
    assert_eq!(rows, 1);
    let error = compiled("model.mlc").unwrap_err().to_string();
    assert!(error.contains("state"), "{error}");
}
