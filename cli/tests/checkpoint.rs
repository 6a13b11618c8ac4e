//! Proofs and chains that are killed go on from their checkpoints and are the same; so are chains within a budget of memory.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{example, mlc_in};

/// Runs `mlc`, which is killed as soon as `kept` is there, and says whether that came before the end.
fn killed(root: &Path, args: &[&str], kept: &str) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mlc"))
        .current_dir(root)
        .args(args)
        .args(["-o", "killed.proof", "--checkpoint", "kept"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (kept, start) = (root.join("kept").join(kept), Instant::now());
    while !kept.exists() && child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(300), "no stage was kept");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

#[test]
fn a_killed_prove_resumes_and_gives_the_same_bytes() {
    let dir = example("tiny_llama");
    let root = dir.path();
    let args = ["prove", ".", "--prompt", "The for statement"];
    mlc_in(root, &[&args[..], &["-o", "whole.proof"]].concat()).with(0);
    let killed = killed(root, &args, "execution.stage");
    assert!(killed, "the proof was made before it could be killed");
    assert!(!root.join("killed.proof").exists());

    // Another prompt does not go on from it.
    let other = [
        "prove",
        ".",
        "--prompt",
        "The while statement",
        "--checkpoint",
        "whole.proof",
    ];
    mlc_in(root, &other)
        .with(2)
        .says("`whole.proof` is a file, and a checkpoint is a directory");
    let other = ["prove", ".", "--prompt", "The while statement", "--checkpoint", "kept"];
    mlc_in(root, &other).with(1).says("checkpoint of another run");

    let go_on = ["-o", "killed.proof", "--checkpoint", "kept"];
    let ran = mlc_in(root, &[&args[..], &go_on].concat()).with(0);
    assert!(ran.err.contains("resumed with execution"), "{ran:?}");
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    assert!(read("whole.proof") == read("killed.proof"), "the proofs differ");
    assert!(!root.join("kept").exists(), "what was kept is removed");
}

/// A chain of a prompt and three segments.
fn chain<'a>(prompt: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = [
        "generate",
        ".",
        "--prompt",
        prompt,
        "--tokens",
        "12",
        "--prove",
        "--segment",
        "4",
    ];
    [&args[..], more].concat()
}

#[test]
fn a_killed_chain_goes_on_in_the_segment_where_it_was() {
    let dir = example("tiny_llama");
    let root = dir.path();
    let prompt = "The for statement";
    mlc_in(root, &chain(prompt, &["-o", "whole.proof"])).with(0);
    let killed = killed(root, &chain(prompt, &[]), "part-1/execution.stage");
    assert!(killed, "the chain was made before it could be killed");
    assert!(root.join("kept/part-0/proof.stage").exists());

    let other = chain("The while statement", &["--checkpoint", "kept"]);
    mlc_in(root, &other).with(1).says("checkpoint of another run");

    let ran = mlc_in(root, &chain(prompt, &["-o", "killed.proof", "--checkpoint", "kept"])).with(0);
    assert!(ran.err.contains("resumed with 2 of 4 segments"), "{ran:?}");
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    assert!(read("whole.proof") == read("killed.proof"), "the chains differ");
    assert!(!root.join("kept").exists(), "what was kept is removed");
}

#[test]
fn a_chain_within_a_budget_is_the_same() {
    let dir = example("tiny_llama");
    let root = dir.path();
    let prompt = "The for statement";
    mlc_in(root, &chain(prompt, &["-o", "whole.proof"])).with(0);
    let ran = mlc_in(root, &chain(prompt, &["--memory", "9MiB"])).with(1);
    let least = ran.says("the least that works").err;
    let least = least.split("--memory ").nth(1).unwrap().split('`').next().unwrap();
    mlc_in(root, &chain(prompt, &["-o", "small.proof", "--memory", least])).with(0);
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    assert!(read("whole.proof") == read("small.proof"), "the chains differ");
    let alone = ["generate", ".", "--prompt", prompt, "--tokens", "2", "--memory", "1GiB"];
    mlc_in(root, &alone).with(2).says("--prove");
}
