//! Files that outlive a run: compiled circuits as models, plans, proofs as JSON.

mod common;

use common::{digits, listing, mlc_in, project};
use serde_json::{Value, json};

#[test]
fn a_compiled_circuit_is_a_model() {
    let dir = digits();
    let root = dir.path();
    mlc_in(root, &["compile", ".", "-o", "d.circuit"]).with(0);
    let json = |args: &[&str]| {
        let mut args = args.to_vec();
        args.extend(["--output-format", "json"]);
        mlc_in(root, &args).with(0).json()
    };
    for command in ["inspect", "security"] {
        assert_eq!(json(&[command, "."]), json(&[command, "d.circuit"]), "{command}");
    }
    let run = |model: &str| json(&["run", model, "--track", "both"]);
    assert_eq!(run("."), run("d.circuit"));
    let key = |model: &str, to: &str| json(&["setup", model, "-o", to])["fingerprint"].clone();
    assert_eq!(key(".", "one"), key("d.circuit", "two"));
    mlc_in(root, &["prove", ".", "-o", "one.proof"]).with(0);
    mlc_in(root, &["prove", "d.circuit", "-o", "two.proof"]).with(0);
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    assert_eq!(read("one.proof"), read("two.proof"));
    mlc_in(root, &["verify", "d.circuit", "--proof", "one.proof"]).with(0);

    // Away from its project: the circuit explains itself, the weights have to be named.
    let away = tempfile::tempdir().unwrap();
    std::fs::copy(root.join("d.circuit"), away.path().join("any-name")).unwrap();
    mlc_in(away.path(), &["inspect", "any-name"]).with(0);
    mlc_in(away.path(), &["security", "any-name"]).with(0);
    mlc_in(away.path(), &["setup", "any-name"])
        .with(2)
        .says("`any-name` needs its weights and there is no `./mlp.safetensors`")
        .says("--weights FILE");
    assert_eq!(listing(away.path()), ["any-name"]);
    let weights = root.join("mlp.safetensors");
    let weights = weights.to_str().unwrap();
    mlc_in(away.path(), &["setup", "any-name", "--weights", weights, "-o", "key"]).with(0);
    mlc_in(
        away.path(),
        &[
            "verify",
            "--key",
            "key/verifying.key",
            "--proof",
            root.join("one.proof").to_str().unwrap(),
        ],
    )
    .with(0);
    // Another model's weights.
    let other = root.join("cnn.safetensors");
    mlc_in(
        away.path(),
        &["setup", "any-name", "--weights", other.to_str().unwrap(), "-o", "no"],
    )
    .with(1)
    .says("fc1.weight");
    assert!(!away.path().join("no").exists());
}

#[test]
fn an_onnx_model_compiles_to_a_circuit_that_proves() {
    let dir = digits();
    let root = dir.path();
    mlc_in(root, &["compile", "mlp.onnx", "-o", "d.circuit"]).with(0);
    let args = [
        "prove",
        "d.circuit",
        "--input",
        "samples/02_label3.npy",
        "--output-format",
        "json",
    ];
    assert_eq!(mlc_in(root, &args).with(0).json()["label"], 3);
}

#[test]
fn commands_that_need_the_source_say_so() {
    let dir = digits();
    let root = dir.path();
    mlc_in(root, &["compile", ".", "-o", "d.circuit"]).with(0);
    for args in [
        &["check", "d.circuit"][..],
        &["calibrate", "d.circuit"],
        &["compile", "d.circuit", "-o", "e.circuit"],
    ] {
        mlc_in(root, args)
            .with(2)
            .says("`d.circuit` is a compiled circuit")
            .says("give the .mlc or .onnx file");
    }
    mlc_in(root, &["inspect", "d.circuit", "--set", "hidden=3"])
        .with(2)
        .says("`hidden`")
        .says("mlc compile");
    mlc_in(root, &["inspect", "d.circuit", "--entry", "other"])
        .with(2)
        .says("no entry `other`");
    assert!(!root.join("e.circuit").exists());
}

#[test]
fn a_damaged_circuit_is_one_error() {
    let dir = digits();
    let root = dir.path();
    mlc_in(root, &["compile", ".", "-o", "d.circuit"]).with(0);
    let good = std::fs::read(root.join("d.circuit")).unwrap();
    let refused = |bytes: &[u8], why: &str| {
        std::fs::write(root.join("bad.circuit"), bytes).unwrap();
        for command in ["inspect", "security", "setup", "prove", "run"] {
            let ran = mlc_in(root, &[command, "bad.circuit"]).with(2);
            let ran = ran.says("cannot read `bad.circuit`").says(why);
            assert_eq!(ran.err.lines().count(), 1, "{ran:#?}");
        }
    };
    refused(b"", "not a compiled circuit");
    refused(b"model M {}", "not a compiled circuit");
    refused(&good[..good.len() - 1], "truncated or corrupted");
    refused(&good[..11], "truncated or corrupted");
    refused(&[&good[..], b"x"].concat(), "truncated or corrupted");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    refused(&flipped, "truncated or corrupted");
    let mut newer = good.clone();
    newer[8] = 9;
    refused(&newer, "version 9, this build reads version 1");
    mlc_in(root, &["inspect", "absent.circuit"])
        .with(2)
        .says("`absent.circuit`")
        .says("no such file");
}

/// A plan gives the circuit that it was written for; what the source declares stands before it.
#[test]
fn annotations_stand_before_a_plan() {
    let source = |model: &str, input: &str| {
        format!(
            "import std.linear.{{linear}}\n{model}\nmodel M {{\n    dim batch: runtime max 4\n    \
             entry main({input} x: public real[batch, 4]) -> (y: public real[batch, 2]) {{\n        \
             linear(x, 2, \"fc\")\n    }}\n}}\n"
        )
    };
    let tensors = [("fc.weight", vec![2, 4]), ("fc.bias", vec![2])];
    let circuit = |source: &str, settings: &str, plan: &str| {
        let dir = project(source, settings, &tensors);
        std::fs::write(dir.path().join("plan.toml"), plan).unwrap();
        let compile = ["compile", ".", "-o", "c", "--output-format", "json"];
        mlc_in(dir.path(), &compile).with(0).json()["circuit"]["digest"].clone()
    };
    let written = |source: &str, settings: &str| {
        let dir = project(source, settings, &tensors);
        mlc_in(dir.path(), &["calibrate", "."]).with(0).out
    };
    let pinned = "[quantise]\nplan = 'plan.toml'\n";
    let plain = source("", "@range(-1, 1)");
    let plan = written(&plain, "");
    // Bits of the model, of an input, and those of mlc.toml, which stand before the model's: a plan written before they were
    // declared gives what one gives that is written now.
    let seven = source("@quant(activations = 7)", "@range(-1, 1)");
    let nine = source("", "@range(-1, 1) @quant(bits = 9)");
    let mut seen = Vec::new();
    for (source, widths) in [
        (&plain, ""),
        (&seven, ""),
        (&nine, ""),
        (&seven, "activation_bits = 6\n"),
    ] {
        let settings = format!("[quantise]\n{widths}");
        let fresh = circuit(source, &settings, "");
        assert_eq!(circuit(source, &format!("{pinned}{widths}"), &plan), fresh, "{source}");
        let renewed = written(source, &settings);
        assert_eq!(
            circuit(source, &format!("{pinned}{widths}"), &renewed),
            fresh,
            "{source}"
        );
        assert!(!seen.contains(&fresh), "{source}");
        seen.push(fresh);
    }

    // Ranges and clamps, against a plan that says something else.
    let run = |input: &str, plan: &str| {
        let dir = project(&source("", input), pinned, &tensors);
        std::fs::write(dir.path().join("plan.toml"), plan).unwrap();
        std::fs::write(dir.path().join("x.json"), "[[0, 0, 0, 1.5]]").unwrap();
        mlc_in(dir.path(), &["run", ".", "--input", "x.json"])
    };
    let wide = "version = 1\n[values.\"main.x\"]\nlo = -2.0\nhi = 2.0\n";
    run("", wide).with(0);
    run("@range(-1, 1)", wide).with(1).says("outside");
    run("@range(-1, 1) @quant(clamp = true)", wide).with(0);
    let clamped = "version = 1\n[asked]\nclamp = [\"main.x\"]\n";
    run("@range(-1, 1)", clamped).with(0);
    run("@range(-1, 1) @quant(clamp = false)", clamped)
        .with(1)
        .says("outside");
}

#[test]
fn a_proof_goes_to_json_and_back() {
    let dir = digits();
    let root = dir.path();
    mlc_in(root, &["prove", ".", "-o", "p.proof"]).with(0);
    mlc_in(root, &["setup", ".", "-o", "key"]).with(0);
    let proof = std::fs::read(root.join("p.proof")).unwrap();
    // To a file, to standard output, and with what a key says: the same proof comes back.
    mlc_in(root, &["export", "--proof", "p.proof", "-o", "plain.json"]).with(0);
    let printed = mlc_in(root, &["export", "--proof", "p.proof"]).with(0);
    assert_eq!(printed.out.as_bytes(), std::fs::read(root.join("plain.json")).unwrap());
    mlc_in(
        root,
        &["export", "--proof", "p.proof", "--key", "key", "-o", "named.json"],
    )
    .with(0);
    mlc_in(root, &["export", ".", "--proof", "p.proof", "-o", "full.json"]).with(0);
    for name in ["plain.json", "named.json", "full.json"] {
        mlc_in(root, &["export", "--from-json", name, "-o", "again.proof"]).with(0);
        assert_eq!(std::fs::read(root.join("again.proof")).unwrap(), proof, "{name}");
    }
    let full: Value = serde_json::from_slice(&std::fs::read(root.join("full.json")).unwrap()).unwrap();
    assert_eq!(full["meaning"]["outputs"][0]["label"], json!(7));
    assert_eq!(full["meaning"]["inputs"][0]["visibility"], "public");
    assert_eq!(full["meaning"]["dims"]["batch"], 1);
    // The messages are the proof, end to end, and begin with the root of the witness.
    let messages = full["messages"].as_array().unwrap();
    let text = full["proof"].as_str().unwrap();
    assert_eq!(
        (&messages[0]["move"], &messages[0]["kind"]),
        (&json!(1), &json!("hash"))
    );
    assert_eq!(messages[0]["value"], text[..64]);
    let numbers = |v: &Value| -> String {
        let words = v.as_array().unwrap().iter();
        words
            .flat_map(|w| match w {
                Value::Array(limbs) => limbs.clone(),
                one => vec![one.clone()],
            })
            .map(|w| {
                let bytes = (w.as_u64().unwrap() as u32).to_le_bytes();
                bytes.map(|b| format!("{b:02x}")).concat()
            })
            .collect()
    };
    let mut joined = String::new();
    for m in messages {
        assert_eq!(m["at"].as_u64().unwrap() as usize * 2, joined.len());
        joined += &match m["kind"].as_str().unwrap() {
            "hash" | "nonce" => m["value"].as_str().unwrap().to_owned(),
            "paths" => m["value"]
                .as_array()
                .unwrap()
                .iter()
                .map(|h| h.as_str().unwrap())
                .collect(),
            _ => numbers(&m["value"]),
        };
    }
    assert_eq!(joined, text);

    // A proof that is rejected is not explained, and nothing is written.
    mlc_in(root, &["export", "cnn.mlc", "--proof", "p.proof", "-o", "no.json"])
        .with(1)
        .says("rejected: this proof is for key");
    std::fs::write(root.join("bad.json"), b"{\"format\": 1}").unwrap();
    mlc_in(root, &["export", "--from-json", "bad.json", "-o", "no.proof"])
        .with(2)
        .says("cannot read `bad.json`");
    mlc_in(root, &["export", "--from-json", "bad.json"])
        .with(2)
        .says("--output");
    mlc_in(root, &["export"]).with(2).says("--proof");
    assert!(!root.join("no.json").exists() && !root.join("no.proof").exists());
}
