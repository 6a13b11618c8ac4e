//! Loading a key and verifying a proof: times, and instructions where valgrind is installed.
//! `cargo bench -p mlc-runtime --bench verify -- [NAME…]`; the names are those of the table below. A model's own:
//! `-- --key verifying.key --proof it.proof`.
//!
//! Instructions do not depend on what else the machine does: two runs differ by less than a thousandth. The process calls
//! itself under callgrind, which counts only inside the function measured.

#![allow(clippy::print_stdout)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::prove::prove;
use mlc_runtime::setup::setup;
use mlc_runtime::testing::{self, Case};
use mlc_verifier::key::{Key, LoadedKey};
use mlc_verifier::proof_file::ProofFile;
use mlc_verifier::security::Parameters;

/// As in `mlc`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 21;

type Named = (&'static str, fn() -> Case);

fn cases() -> Vec<Named> {
    vec![
        ("mlp-784-128-10", || testing::linear_relu(1, 784, 128, 10)),
        ("cnn-8x8", || testing::conv_max_pool(1, 1, 8, 8)),
        ("residual-4x256", || testing::residual_blocks(4, 256, 16)),
        ("attention", || testing::tokens_to_logits(2, 7, 16, 300, 24, true)),
    ]
}

/// From a key's bytes to a checked key.
#[inline(never)]
fn measured_load(bytes: &[u8]) -> LoadedKey {
    Key::decode(bytes).expect("a key").load().expect("a valid key")
}

/// From a proof file's bytes to acceptance.
#[inline(never)]
fn measured_verify(key: &LoadedKey, bytes: &[u8]) {
    let file = ProofFile::decode(bytes).expect("a proof file");
    key.verify_file(&file).expect("a valid proof");
}

/// The fastest and the median of the runs, in milliseconds.
fn time(mut run: impl FnMut()) -> (f64, f64) {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[0], times[RUNS / 2])
}

/// Instructions inside `function`, which `--once` calls.
fn instructions(function: &str, key: &Path, proof: &Path) -> Option<u64> {
    let this = std::env::current_exe().ok()?;
    let toggle = format!("--toggle-collect=*{function}*");
    let out = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--collect-atstart=no",
        ])
        .arg(toggle)
        .args([
            this.as_os_str(),
            OsStr::new("--once"),
            key.as_os_str(),
            proof.as_os_str(),
        ])
        .output()
        .ok()
        .filter(|out| out.status.success())?;
    let text = String::from_utf8_lossy(&out.stderr);
    let count = text.lines().find_map(|l| l.split_once("Collected : "))?.1;
    count.trim().parse().ok()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("a readable file")
}

fn measure(name: &str, key: &Path, proof: &Path) {
    let (key_bytes, proof_bytes) = (read(key), read(proof));
    let loaded = measured_load(&key_bytes);
    let load = time(|| drop(measured_load(&key_bytes)));
    let verify = time(|| measured_verify(&loaded, &proof_bytes));
    println!(
        "{name}: key of {} bytes loaded in {:.2} ms (median {:.2}), proof of {} bytes verified in {:.2} ms (median {:.2})",
        key_bytes.len(),
        load.0,
        load.1,
        proof_bytes.len(),
        verify.0,
        verify.1
    );
    let counts = ["measured_load", "measured_verify"].map(|f| instructions(f, key, proof));
    match counts {
        [Some(load), Some(verify)] => println!("{name}: {load} instructions to load, {verify} to verify"),
        _ => println!("{name}: instructions not counted: valgrind does not run here"),
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [once, key, proof] = &args[..]
        && once == "--once"
    {
        let key = measured_load(&read(Path::new(key)));
        measured_verify(&key, &read(Path::new(proof)));
        return;
    }
    if let [k, key, p, proof] = &args[..]
        && k == "--key"
        && p == "--proof"
    {
        return measure("model", Path::new(key), Path::new(proof));
    }
    let dir = tempfile::tempdir().expect("a directory");
    for (name, case) in cases() {
        if !args.is_empty() && !args.iter().any(|a| a == name) {
            continue;
        }
        let case = case();
        let key = setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default()).expect("setup");
        let proved = prove(&Cpu, &key, 0, &case.dims, &case.inputs).expect("a proof");
        let paths: [PathBuf; 2] = ["key", "proof"].map(|n| dir.path().join(n));
        std::fs::write(&paths[0], key.key.encode()).expect("a key file");
        std::fs::write(&paths[1], proved.file.encode()).expect("a proof file");
        measure(name, &paths[0], &paths[1]);
    }
}
