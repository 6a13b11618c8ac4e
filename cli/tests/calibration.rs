//! What models are calibrated on where nothing is said, and what is said of it.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{Ran, example, family, listing, mlc_in, project, safetensors_file};

const LINEAR: &str = "import std.linear.{linear}\nmodel M {\n    dim batch: runtime max 4\n    \
    entry main(@range(-1, 1) x: public real[batch, 4]) -> (y: public real[batch, 2]) {\n        \
    linear(x, 2, \"fc\")\n    }\n}\n";

fn linear(settings: &str) -> tempfile::TempDir {
    let dir = project(LINEAR, settings, &[("fc.weight", vec![2, 4]), ("fc.bias", vec![2])]);
    std::fs::write(dir.path().join("x.json"), "[[0.1, -0.2, 0.3, 0.9]]").unwrap();
    dir
}

/// The cosine with the f32 model that `--track both` prints.
fn cosine(ran: &Ran) -> f64 {
    let (_, after) = ran.out.split_once("cosine ").unwrap();
    after.split(' ').next().unwrap().parse().unwrap()
}

fn both(dir: &Path, model: &str, more: &[&str]) -> Ran {
    mlc_in(dir, &[&["run", model, "--track", "both"][..], more].concat()).with(0)
}

const PROMPT: [&str; 2] = ["--prompt", "A class definition is an executable statement."];

#[test]
fn a_transpiled_model_is_calibrated_as_its_directory_is() {
    let dir = example("tiny_llama");
    let root = dir.path();
    mlc_in(root, &["transpile", ".", "-o", "deep/m/model.mlc"]).with(0);
    let to = root.join("deep/m");
    let names = [
        "calibration.txt",
        "mlc.toml",
        "model.mlc",
        "model.safetensors",
        "tokenizer.json",
    ];
    assert_eq!(listing(&to), names);
    let settings = std::fs::read_to_string(to.join("mlc.toml")).unwrap();
    assert!(settings.contains("source = \"model.mlc\""), "{settings}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: &str| std::fs::metadata(to.join(name)).unwrap().permissions().mode();
        assert_eq!(mode("model.safetensors"), mode("model.mlc"));
    }
    let ran = mlc_in(&to, &[&["prove", "model.mlc"][..], &PROMPT].concat()).with(0);
    assert!(cosine(&ran) > 0.99 && !ran.err.contains("calibrated"), "{ran:?}");
    // By the texts that are built in, where the settings are gone; and by nothing of another tokenizer.
    std::fs::remove_file(to.join("mlc.toml")).unwrap();
    let ran = both(&to, "model.mlc", &PROMPT);
    assert!(cosine(&ran) > 0.99 && !ran.err.contains("calibrated"), "{ran:?}");
}

#[test]
fn files_of_another_model_are_not_taken_for_this_one_s() {
    let dir = example("tiny_llama");
    let root = dir.path();
    std::fs::create_dir(root.join("m")).unwrap();
    std::fs::write(root.join("m/tokenizer.json"), "{}").unwrap();
    mlc_in(root, &["transpile", ".", "-o", "m/model.mlc"])
        .with(2)
        .says_all(&["`m/tokenizer.json` differs from `./tokenizer.json`", "-o DIR/M.mlc"]);
    assert_eq!(listing(&root.join("m")), ["tokenizer.json"]);
    std::fs::copy(root.join("tokenizer.json"), root.join("m/tokenizer.json")).unwrap();
    std::fs::write(root.join("m/mlc.toml"), "[quantise]\nweight_bits = 9\n").unwrap();
    mlc_in(root, &["transpile", ".", "-o", "m/model.mlc"])
        .with(0)
        .says("`m/mlc.toml` is kept as it is");
    for (file, says) in [
        ("model.safetensors", "holds weights alone"),
        ("m/model.mlc", "is .mlc already"),
    ] {
        mlc_in(root, &["transpile", file, "-o", "other/x.mlc"])
            .with(2)
            .says(says);
    }
    assert!(!root.join("other").exists());
}

#[test]
fn tokens_without_a_tokenizer_are_drawn() {
    for name in ["llama", "bert"] {
        let dir = family(name);
        let root = dir.path();
        std::fs::write(root.join("x.json"), "[[5, 30, 17, 40, 1, 3]]").unwrap();
        let input = ["--input", "x.json"];
        let ran = both(root, ".", &input).says("is calibrated on 8 random sequences of tokens");
        assert!(cosine(&ran) > 0.98, "{name}: {ran:?}");
        // A plan follows from the samples that there are: those of the settings are others.
        std::fs::write(root.join("mlc.toml"), "[quantise]\ndata = ['x.json']\n").unwrap();
        let ran = both(root, ".", &input);
        assert!(!ran.err.contains("calibrated"), "{ran:?}");
        assert_eq!(listing(&root.join(".mlc/plans")).len(), 2);
        both(root, ".", &input);
        assert_eq!(listing(&root.join(".mlc/plans")).len(), 2);
    }
}

#[test]
fn scales_without_samples_are_said_to_be_so() {
    let dir = linear("");
    let input = ["--input", "x.json"];
    let says = [
        "warning: the scales of M are not calibrated",
        "`data` under [quantise] in mlc.toml",
    ];
    mlc_in(dir.path(), &[&["prove", "."][..], &input].concat())
        .with(0)
        .says_all(&says);
    both(dir.path(), ".", &input).says_all(&says);
    let dir = linear("[quantise]\ndata = ['x.json']\n");
    let ran = both(dir.path(), ".", &input);
    assert!(ran.err.is_empty(), "{ran:?}");
    // A new project shows how it is done.
    mlc_in(dir.path(), &["new", "p"]).with(0);
    let ran = both(dir.path(), "p", &[]);
    assert!(ran.err.is_empty(), "{ran:?}");
}

#[test]
fn outputs_that_are_far_from_the_real_ones_are_said_to_be_so() {
    let dir = linear("[quantise]\ndata = ['x.json']\nweight_bits = 4\n");
    // One weight that is far greater than the others, and meets a zero.
    let weights = vec![0.1, -0.2, 0.15, 0.1, 0.2, 0.1, -0.1, 20.0];
    let tensors = [("fc.weight", vec![2, 4], weights), ("fc.bias", vec![2], vec![0.0; 2])];
    std::fs::write(dir.path().join("m.safetensors"), safetensors_file(&tensors)).unwrap();
    std::fs::write(dir.path().join("x.json"), "[[0.1, -0.2, 0.3, 0.0]]").unwrap();
    let says = [
        "warning: the outputs are far",
        "mlc run --layer-errors",
        "mlc calibrate --data",
    ];
    let ran = both(dir.path(), ".", &["--input", "x.json"]);
    assert!(cosine(&ran).total_cmp(&0.9).is_lt(), "{ran:?}");
    ran.says_all(&says);
    let ran = mlc_in(dir.path(), &["prove", ".", "--input", "x.json"]).with(0);
    ran.says_all(&says);
}
