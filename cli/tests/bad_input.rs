//! Bad input: one clear error, the right exit code, nothing written or lost.

mod common;

use common::{digits, listing, mlc_in, project, safetensors_file, shell};
use mlc_verifier::key::Key;
use mlc_verifier::proof_file::ProofFile;

const LINEAR: &str = "import std.linear.{linear}\nmodel M {\n    dim batch: runtime max 4\n    \
    entry main(@range(-1, 1) x: public real[batch, 4]) -> (y: public real[batch, 2]) {\n        \
    linear(x, 2, \"fc\")\n    }\n}\n";

fn shapes() -> Vec<(&'static str, Vec<usize>)> {
    vec![("fc.weight", vec![2, 4]), ("fc.bias", vec![2])]
}

#[test]
fn sources() {
    let dir = project(LINEAR, "", &shapes());
    let root = dir.path();
    mlc_in(root, &["check", "absent.mlc"]).with(2).says("no such file");
    mlc_in(root, &["check", "absent"])
        .with(2)
        .says("cannot read `absent`: no such file");
    mlc_in(root, &["check", "m.safetensors"])
        .with(2)
        .says("`m.safetensors` is no model");
    std::fs::write(root.join("cut.mlc"), &LINEAR[..LINEAR.len() - 9]).unwrap();
    mlc_in(root, &["check", "cut.mlc"]).with(1).says("E0104");
    std::fs::write(root.join("bytes.mlc"), b"model \xff\xfe {}").unwrap();
    mlc_in(root, &["check", "bytes.mlc"]).with(2).says("not UTF-8: byte 6");
    mlc_in(root, &["prove", "bytes.mlc"]).with(2).says("E0005");
    std::fs::write(root.join("cut.onnx"), b"\x08\x07\x12").unwrap();
    mlc_in(root, &["check", "cut.onnx"]).with(2).says("not an ONNX model");
    std::fs::create_dir(root.join("empty")).unwrap();
    mlc_in(root, &["check", "empty"])
        .with(2)
        .says("`empty` has neither mlc.toml nor config.json")
        .says("mlc new");
    std::fs::write(root.join("mlc.toml"), "[modle]\n").unwrap();
    mlc_in(root, &["check", "."]).with(2).says("modle");
}

#[test]
fn weights() {
    let run = |bytes: &[u8]| {
        let dir = project(LINEAR, "", &shapes());
        std::fs::write(dir.path().join("m.safetensors"), bytes).unwrap();
        std::fs::write(dir.path().join("x.json"), "[[0, 0, 0, 0]]").unwrap();
        let ran = mlc_in(dir.path(), &["prove", ".", "--input", "x.json", "-o", "p.proof"]);
        assert_eq!(dir.path().join("p.proof").exists(), ran.code == 0);
        ran
    };
    let bias = ("fc.bias", vec![2], vec![0.0; 2]);
    let file = |w: Vec<f32>| safetensors_file(&[("fc.weight", vec![2, 4], w), bias.clone()]);
    run(&file(vec![0.1; 8])).with(0);
    run(&common::weights(&[("fc.weight", vec![2, 4])]))
        .with(1)
        .says("E0504")
        .says("the weight file is `./m.safetensors`");
    run(&common::weights(&[("fc.weight", vec![4, 2]), ("fc.bias", vec![2])]))
        .with(1)
        .says("E0505");
    let mut w = vec![0.1; 8];
    w[5] = f32::NAN;
    run(&file(w.clone()))
        .with(1)
        .says("fc.weight")
        .says("m.safetensors")
        .says("NaN at position 5");
    w[5] = f32::INFINITY;
    run(&file(w)).with(1).says("fc.weight").says("inf");
    let good = file(vec![0.1; 8]);
    // The same bytes, declared as 32-bit integers.
    let mut integers = good.clone();
    for at in 0..integers.len() - 5 {
        if &integers[at..at + 5] == b"\"F32\"" {
            integers[at + 1] = b'I';
        }
    }
    run(&integers).with(1).says("fc.").says("m.safetensors").says("I32");
    run(&good[..good.len() - 3]).with(2).says("safetensors");
}

#[test]
fn inputs() {
    let dir = project(LINEAR, "", &shapes());
    let root = dir.path();
    let prove = |text: &str| {
        std::fs::write(root.join("x.json"), text).unwrap();
        mlc_in(root, &["prove", ".", "--input", "x.json", "-o", "p.proof"])
    };
    prove("[[0, 0, 0]]")
        .with(1)
        .says("`x.json`: input `x` has shape [1, 3], the model takes [batch, 4]");
    prove("[[0, 0, 0, 1.5]]")
        .with(1)
        .says("`x.json`: input 'x' is 1.5")
        .says("position 3")
        .says("0.5")
        .says("outside");
    prove("[[0, 0, [0], 0]]").with(2);
    prove("[[0, 0, 0, ").with(2);
    prove("{\"z\": [[0, 0, 0, 0]]}").with(1).says("x").says("z");
    mlc_in(root, &["prove", "."]).with(2).says("--input");
    mlc_in(root, &["prove", ".", "--input", "absent.npy"])
        .with(2)
        .says("absent.npy");
    mlc_in(root, &["prove", ".", "--input", "m.mlc"]).with(2);
    assert!(!root.join("p.proof").exists());
    prove("[[0, 0, 0, 1]]").with(0);
    // Clamped where the model says so.
    let clamped = LINEAR.replace("@range(-1, 1)", "@range(-1, 1) @quant(clamp = true)");
    std::fs::write(root.join("m.mlc"), clamped).unwrap();
    prove("[[0, 0, 0, 1.5]]").with(0);
}

#[test]
fn a_value_beyond_what_calibration_measured_names_its_layer() {
    let source = LINEAR.replace("real[batch, 4]", "real[batch, 512]").replace(
        "linear(x, 2, \"fc\")",
        "let h = linear(x, 2, \"fc\")\n        linear(h * h, 2, \"head\")",
    );
    let tensors = [
        ("fc.weight", vec![2, 512]),
        ("fc.bias", vec![2]),
        ("head.weight", vec![2, 2]),
        ("head.bias", vec![2]),
    ];
    let settings = "[quantise]\nactivation_bits = 12\nweight_bits = 12\ndata = [\"small.json\"]\n";
    let dir = project(&source, settings, &tensors);
    // Of the signs of the first row of weights, so that its sum is as great as it can be.
    let sign = |i: usize| (i * 37 % 101) as f64 - 50.0;
    let input = |value: f64| {
        let row: Vec<f64> = (0..512).map(|i| value.copysign(sign(i))).collect();
        format!("[{row:?}]")
    };
    std::fs::write(dir.path().join("small.json"), input(0.125)).unwrap();
    std::fs::write(dir.path().join("x.json"), input(0.25)).unwrap();
    let prove = || mlc_in(dir.path(), &["prove", ".", "--input", "x.json", "-o", "p.proof"]);
    prove().with(0);
    std::fs::remove_file(dir.path().join("p.proof")).unwrap();
    std::fs::write(dir.path().join("x.json"), input(1.0)).unwrap();
    prove()
        .with(1)
        .says("'h.q' reaches")
        .says("calibrate with inputs like it");
    assert!(!dir.path().join("p.proof").exists());
}

#[test]
fn overflow_names_the_layer_the_bound_and_the_mend() {
    let source = LINEAR.replace("real[batch, 4]", "real[batch, 65536]");
    let tensors = [("fc.weight", vec![2, 65536]), ("fc.bias", vec![2])];
    let settings = "[quantise]\nactivation_bits = 16\nweight_bits = 14\n";
    let dir = project(&source, settings, &tensors);
    mlc_in(dir.path(), &["compile", "."]).with(1).says("2^30").says("bits");
}

#[test]
fn keys_and_proofs() {
    let dir = digits();
    let root = dir.path();
    mlc_in(root, &["prove", ".", "-o", "p.proof"]).with(0);
    mlc_in(root, &["setup", ".", "-o", "key"]).with(0);
    let (key_bytes, proof_bytes) = (
        std::fs::read(root.join("key/verifying.key")).unwrap(),
        std::fs::read(root.join("p.proof")).unwrap(),
    );
    let verify = |key: &[u8], proof: &[u8]| {
        std::fs::write(root.join("k"), key).unwrap();
        std::fs::write(root.join("p"), proof).unwrap();
        mlc_in(root, &["verify", "--key", "k", "--proof", "p"])
    };
    verify(&key_bytes, &proof_bytes).with(0);
    let named = Key::decode(&key_bytes).unwrap().fingerprint_hex();
    // What does not decode is unreadable.
    verify(&key_bytes[..key_bytes.len() - 1], &proof_bytes)
        .with(2)
        .says("corrupted");
    verify(b"junk", &proof_bytes).with(2).says("not an mlc verifying key");
    verify(&key_bytes, &proof_bytes[..proof_bytes.len() - 1])
        .with(2)
        .says("corrupted");
    verify(&key_bytes, &[&proof_bytes[..], b"x"].concat())
        .with(2)
        .says("corrupted");
    verify(&key_bytes, b"junk").with(2).says("not an mlc proof");
    let mut newer = proof_bytes.clone();
    newer[8] = 99;
    verify(&key_bytes, &newer).with(2).says("version 99");
    // What decodes and does not hold is rejected.
    let mut file = ProofFile::decode(&proof_bytes).unwrap();
    let last = file.proof.len() - 1;
    file.proof[last] ^= 1;
    verify(&key_bytes, &file.encode()).with(1).says("rejected");
    let mut file = ProofFile::decode(&proof_bytes).unwrap();
    file.statement.outputs[0][0] += 1;
    verify(&key_bytes, &file.encode()).with(1).says("rejected");
    let mut file = ProofFile::decode(&proof_bytes).unwrap();
    file.statement.inputs[0][0] += 1;
    verify(&key_bytes, &file.encode()).with(1).says("rejected");
    // Parameters below the floor.
    let mut key = Key::decode(&key_bytes).unwrap();
    key.params.term_bits = 60;
    verify(&key.encode(), &proof_bytes).with(1).says("below the floor");
    // Another circuit under the same setup proof.
    let mut key = Key::decode(&key_bytes).unwrap();
    let middle = key.circuit.len() / 2;
    key.circuit[middle] ^= 1;
    let ran = verify(&key.encode(), &proof_bytes);
    assert!(ran.code == 1 && ran.err.contains("rejected"), "{ran:#?}");
    // Other weights.
    let mut weights = std::fs::read(root.join("mlp.safetensors")).unwrap();
    let at = weights.len() - 2;
    weights[at] ^= 0x40;
    std::fs::write(root.join("mlp.safetensors"), weights).unwrap();
    let ran = mlc_in(root, &["verify", ".", "--proof", "p.proof"]).with(1);
    ran.says(&format!("rejected: this proof is for key {named}, the given key is "));
    // A label that lies gains nothing.
    let mut file = ProofFile::decode(&proof_bytes).unwrap();
    file.key[0] ^= 1;
    verify(&key_bytes, &file.encode())
        .with(1)
        .says(&format!("the given key is {named}"));
    // No key at all.
    mlc_in(root, &["verify", "--proof", "p.proof"]).with(2).says("--key");
}

#[test]
fn what_cannot_be_written_is_said_before_the_work() {
    let dir = digits();
    let root = dir.path();
    let before = listing(root);
    for args in [
        &["-o", "absent/p.proof"][..],
        &["--report", "absent/r.json"],
        &["-o", "samples"],
    ] {
        let ran = mlc_in(root, &[&["prove", "."], args].concat()).with(2);
        ran.says(&format!("cannot write `{}`", args[1]));
    }
    // Not even the cache of a project.
    assert_eq!(listing(root), before);
    // A file that was there is not replaced by a default name.
    mlc_in(root, &["transpile", "mlp.onnx"])
        .with(2)
        .says("`mlp.mlc` exists already")
        .says("-o mlp.mlc");
    assert_eq!(
        std::fs::read(root.join("mlp.mlc")).unwrap(),
        std::fs::read(common::digits_folder().join("mlp.mlc")).unwrap()
    );
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let dir = digits();
    let root = dir.path();
    mlc_in(root, &["prove", "."]).with(0);
    let before = listing(root);
    // A process that may write only a few blocks, and is told so by an error.
    let limited = |command: &str| shell(root, &format!("trap '' XFSZ; ulimit -f 2; exec $MLC {command}"));
    limited("prove . -o out.proof").with(2).says("cannot write `out.proof`");
    limited("compile . -o out.circuit")
        .with(2)
        .says("cannot write `out.circuit`");
    // Two files that belong together: neither.
    limited("transpile mlp.onnx -o written.mlc")
        .with(2)
        .says("cannot write");
    limited("prove . -o out.proof --report out.json")
        .with(2)
        .says("cannot write");
    limited("setup . -o out-key").with(2).says("cannot write");
    let half: Vec<String> = listing(&root.join("out-key"))
        .into_iter()
        .filter(|n| n.contains("tmp"))
        .collect();
    assert!(half.is_empty(), "{half:?}");
    assert!(!root.join("out-key/verifying.key").exists());
    let after: Vec<String> = listing(root).into_iter().filter(|n| n != "out-key").collect();
    assert_eq!(before, after);
}
