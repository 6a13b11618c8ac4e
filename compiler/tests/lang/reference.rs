//! `docs/language.md`: every example compiles, every builtin is described, every module of the library is listed.

use crate::common::{fenced, rendered};
use mlc_compiler::check::{STDLIB, builtin_names};
use mlc_compiler::syntax::FileId;
use mlc_compiler::{Config, MemoryHost, check, fmt};
use std::path::{Path, PathBuf};

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/language.md")
}

fn reference() -> String {
    std::fs::read_to_string(path()).unwrap()
}

#[test]
fn every_example_compiles_and_is_formatted() {
    let text = reference();
    let mut rewritten = text.clone();
    let (mut host, mut config, mut failures) = (MemoryHost::default(), Config::default(), String::new());
    for (kind, body) in fenced(&text) {
        match kind
            .split_once(' ')
            .map_or((kind.as_str(), None), |(k, path)| (k, Some(path)))
        {
            ("json", _) => config.file = serde_json::from_str(&body).unwrap(),
            ("weights", _) => config.weights = Some(serde_json::from_str(&body).unwrap()),
            ("mlc", path) => {
                match fmt::format(FileId(0), &body) {
                    Ok(formatted) if formatted != body && std::env::var_os("MLC_FORMAT").is_some() => {
                        rewritten = rewritten.replace(&body, &formatted);
                    }
                    Ok(formatted) if formatted != body => {
                        failures += &format!("not formatted:\n{body}---\n{formatted}")
                    }
                    _ => {}
                }
                host.0
                    .insert(path.unwrap_or("main.mlc").to_string(), body.clone().into_bytes());
                if path.is_none() {
                    let result = check(&host, "main.mlc", &config);
                    if !result.diagnostics.is_empty() {
                        failures += &format!("{body}---\n{}", rendered(&result));
                    }
                    (host, config) = (MemoryHost::default(), Config::default());
                }
            }
            (other, _) => panic!("a block of kind {other}"),
        }
    }
    assert!(failures.is_empty(), "{failures}");
    if rewritten != text {
        std::fs::write(path(), rewritten).unwrap();
    }
}

#[test]
fn the_family_of_the_models_page_compiles() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/models.md");
    let text = std::fs::read_to_string(page).unwrap();
    let sources: Vec<String> = fenced(&text)
        .into_iter()
        .filter(|(k, _)| k == "mlc")
        .map(|(_, body)| body)
        .collect();
    assert_eq!(sources.len(), 1);
    let result = check(
        &MemoryHost::single("main.mlc", &sources[0]),
        "main.mlc",
        &Config::default(),
    );
    assert!(result.diagnostics.is_empty(), "{}", rendered(&result));
    assert_eq!(fmt::format(FileId(0), &sources[0]).unwrap(), sources[0]);
    assert_eq!(mlc_compiler::check::Family::of("bag", &sources[0]).model_types, ["bag"]);
}

#[test]
fn every_builtin_and_module_is_described() {
    let text = reference();
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let missing: Vec<&str> = builtin_names().filter(|n| !words.contains(n)).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
    let missing: Vec<&&str> = STDLIB
        .iter()
        .map(|(n, _)| n)
        .filter(|n| !text.contains(&format!("`std.{n}`")))
        .collect();
    assert!(missing.is_empty(), "not listed: {missing:?}");
}
