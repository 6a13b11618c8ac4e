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

#[test]
fn any_command_takes_the_widths_of_a_quality() {
    let dir = digits();
    let root = dir.path();
    let count = |kind: &str| std::fs::read_dir(root.join(".mlc").join(kind)).map_or(0, Iterator::count);
    let cosine = |args: &[&str]| {
        let run = [&["run", ".", "--track", "both", "--output-format", "json"], args].concat();
        mlc_in(root, &run).with(0).json()["agreement"]["cosine"]
            .as_f64()
            .unwrap()
    };
    // As the model says, and two qualities: each has a plan of its own, which the next call takes.
    cosine(&[]);
    assert_eq!(count("plans"), 1);
    assert!(cosine(&["--quality", "0.99"]) >= 0.99);
    assert_eq!(count("plans"), 2);
    assert!(cosine(&["--quality", "0.99999"]) >= 0.99999);
    assert_eq!(count("plans"), 3);
    let prove = ["prove", ".", "--quality", "0.99", "-o", "digit.proof"];
    let said = mlc_in(root, &prove).with(0).says("quality 0.99: ").err;
    assert_eq!(mlc_in(root, &prove).with(0).err.lines().next(), said.lines().next());
    assert_eq!((count("plans"), count("keys")), (3, 1));
    // A proof is of one plan.
    let verify = ["verify", ".", "--proof", "digit.proof"];
    mlc_in(root, &[&verify[..], &["--quality", "0.99"]].concat()).with(0);
    mlc_in(root, &verify).with(1);
    assert_eq!((count("plans"), count("keys")), (3, 2));
    mlc_in(root, &["setup", ".", "--quality", "0.99999"]).with(0);
    assert_eq!((count("plans"), count("keys")), (3, 3));
    // What is compiled has its widths.
    mlc_in(root, &["compile", ".", "--quality", "0.99", "-o", "digits.circuit"]).with(0);
    mlc_in(root, &["setup", "digits.circuit", "--quality", "0.99", "-o", "key"])
        .with(2)
        .says("is compiled, with its widths");
}

#[test]
fn widths_are_chosen_once() {
    let dir = digits();
    let root = dir.path();
    mlc_in(root, &["prove", ".", "--quality", "0.999999999999"])
        .with(1)
        .says("no widths reach a cosine of 0.999999999999: the best is 0.99999");
    mlc_in(root, &["run", ".", "--quality", "1.5"])
        .with(2)
        .says("no cosine");
    mlc_in(root, &["check", ".", "--quality", "0.9"])
        .with(2)
        .says("chooses no widths");
    mlc_in(root, &["calibrate", ".", "--quality", "0.99", "-o", "plan.toml"]).with(0);
    let manifest = std::fs::read_to_string(root.join("mlc.toml")).unwrap();
    let pinned = manifest.replace("[quantise]", "[quantise]\nplan = 'plan.toml'");
    std::fs::write(root.join("mlc.toml"), pinned).unwrap();
    mlc_in(root, &["run", ".", "--quality", "0.99"]).with(0);
    mlc_in(root, &["run", ".", "--quality", "0.999"])
        .with(2)
        .says("`plan` under [quantise] names the widths");
}
