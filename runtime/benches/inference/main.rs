//! Setup, prove and verify on circuits with random weights: one line per stage. `cargo bench -p mlc-runtime --bench
//! inference -- [NAME…]`; the names are those of the table below. With `--spans` each named span's time is printed.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::prove::prove;
use mlc_runtime::setup::setup;
use mlc_runtime::testing::{self, Case};
use mlc_verifier::security::Parameters;

mod spans;

/// As in `mlc`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Named = (&'static str, fn() -> Case);

fn cases() -> Vec<Named> {
    vec![
        ("mlp-64-48-10", || testing::linear_relu(1, 64, 48, 10)),
        ("mlp-784-128-10", || testing::linear_relu(1, 784, 128, 10)),
        ("cnn-8x8", || testing::conv_max_pool(1, 1, 8, 8)),
        ("residual-4x256", || testing::residual_blocks(4, 256, 16)),
        ("residual-16x1024", || testing::residual_blocks(16, 1024, 16)),
    ]
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if args.iter().any(|a| a == "--spans") {
        spans::install();
    }
    let names: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    for (name, case) in cases() {
        if !names.is_empty() && !names.iter().any(|n| *n == name) {
            continue;
        }
        let case = case();
        let weights: usize = case.weights.iter().map(<[i16]>::len).sum();
        let start = Instant::now();
        let key = setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default()).expect("setup");
        let setup_s = start.elapsed().as_secs_f64();
        let start = Instant::now();
        key.key.load().expect("a valid key");
        let load_s = start.elapsed().as_secs_f64();
        println!(
            "{name}: {weights} weights, setup {setup_s:.3} s, key {} bytes, checked in {load_s:.4} s",
            key.key.encode().len()
        );
        for _ in 0..3 {
            let p = prove(&Cpu, &key, 0, &case.dims, &case.inputs).expect("a proof");
            println!(
                "{name}: {} cells, {} lookups, execute {:.4} s, prove {:.4} s, verify {:.4} s, proof {} bytes, {:.1} bits",
                p.committed_cells,
                p.lookups,
                p.execute.as_secs_f64(),
                p.prove.as_secs_f64(),
                p.verify.as_secs_f64(),
                p.file.encode().len(),
                p.security_bits
            );
        }
    }
}
