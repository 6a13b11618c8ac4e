//! A `prove` that is killed goes on from its checkpoint and writes the same proof.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{example, mlc_in};

/// Proves, is killed as soon as the first stage is kept, and says whether that came before the end.
fn killed(root: &Path) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mlc"))
        .current_dir(root)
        .args([
            "prove",
            ".",
            "--prompt",
            "The for statement",
            "-o",
            "killed.proof",
            "--checkpoint",
            "kept",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (first, start) = (root.join("kept/execution.stage"), Instant::now());
    while !first.exists() && child.try_wait().unwrap().is_none() {
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
    let args = ["prove", ".", "--prompt", "The for statement", "-o"];
    mlc_in(root, &[&args[..], &["whole.proof"]].concat()).with(0);
    assert!(killed(root), "the proof was made before it could be killed");
    assert!(!root.join("killed.proof").exists());

    // Another prompt does not go on from it.
    let other = ["prove", ".", "--prompt", "The while statement", "--checkpoint", "kept"];
    mlc_in(root, &other).with(1).says("checkpoint of another run");

    let ran = mlc_in(root, &[&args[..], &["killed.proof", "--checkpoint", "kept"]].concat()).with(0);
    assert!(ran.err.contains("resumed with execution"), "{ran:?}");
    let read = |name: &str| std::fs::read(root.join(name)).unwrap();
    assert!(read("whole.proof") == read("killed.proof"), "the proofs differ");
    assert!(!root.join("kept").exists(), "what was kept is removed");
}
