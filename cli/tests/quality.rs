//! Precision by quality: the widths that `calibrate --quality` chooses.
#![allow(clippy::unwrap_used)]

mod common;

use common::{digits, mlc_in};

#[test]
fn more_quality_takes_more_bits_and_is_reached() {
    let dir = digits();
    let root = dir.path();
    let manifest = std::fs::read_to_string(root.join("mlc.toml")).unwrap();
    assert!(manifest.contains("[quantise]"));
    let mut seen = Vec::new();
    for quality in ["0.99", "0.99999"] {
        mlc_in(root, &["calibrate", ".", "--quality", quality, "-o", "plan.toml"]).with(0);
        let plan: toml::Table = std::fs::read_to_string(root.join("plan.toml"))
            .unwrap()
            .parse()
            .unwrap();
        seen.push(plan["config"]["activation_bits"].as_integer().unwrap());
        // The plan alone gives the circuit.
        let pinned = manifest.replace("[quantise]", "[quantise]\nplan = 'plan.toml'");
        std::fs::write(root.join("mlc.toml"), pinned).unwrap();
        let run = ["run", ".", "--track", "both", "--output-format", "json"];
        let cosine = mlc_in(root, &run).with(0).json()["agreement"]["cosine"]
            .as_f64()
            .unwrap();
        assert!(cosine >= quality.parse().unwrap(), "{quality}: {cosine}");
        std::fs::write(root.join("mlc.toml"), &manifest).unwrap();
    }
    assert!(seen[0] < seen[1], "{seen:?}");
    mlc_in(root, &["calibrate", ".", "--quality", "0.999999999999"])
        .with(1)
        .says("the best is 0.99999")
        .says("--layer-errors");
    mlc_in(root, &["calibrate", ".", "--quality", "1.5"])
        .with(2)
        .says("no cosine");
}
