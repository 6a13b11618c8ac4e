//! LogUp-GKR and product sumchecks alone, in nanoseconds per leaf or element and thread.
//! `cargo bench -p mlc-runtime --bench logup`; RAYON_NUM_THREADS=1 for one core.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::backend::cpu::simd::level;
use mlc_runtime::backend::fractions::Leaves;
use mlc_runtime::backend::{Columns, Operand};
use mlc_runtime::prover::channel::{Honest, ProverChannel};
use mlc_runtime::prover::logup;
use mlc_runtime::prover::sumcheck::{self, Axis, Grind, Summand};
use mlc_verifier::field::{M31, QM31, bits_for, qm31};
use mlc_verifier::transcript::Transcript;

fn random(n: usize, seed: u64) -> Vec<QM31> {
    let mut s = seed;
    let mut limb = || {
        s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        M31::from((s >> 33) as u32)
    };
    (0..n).map(|_| QM31::from_m31(limb(), limb(), limb(), limb())).collect()
}

/// The fastest of `runs`, as nanoseconds per unit and thread.
fn time<T>(label: &str, n: usize, runs: usize, mut setup: impl FnMut() -> T, mut run: impl FnMut(T)) {
    let best = (0..runs)
        .map(|_| {
            let input = setup();
            let start = Instant::now();
            run(input);
            start.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min);
    let threads = rayon::current_num_threads() as f64;
    println!(
        "{label:20} {n:>9}  {:>9.3} ms  {:>7.1} ns each and thread",
        best * 1e3,
        best * threads * 1e9 / n as f64
    );
}

fn main() {
    println!("{:?}, {} threads", level(), rayon::current_num_threads());
    let grind = Grind { bits: 0, grinder: &Cpu };
    for (n, runs) in [
        (1 << 12, 50),
        (1 << 16, 20),
        (1 << 20, 5),
        ((1 << 20) + 1, 5),
        (1 << 22, 3),
    ] {
        let (num, den) = (random(n, 1), random(n, 2));
        time(
            "fractions",
            n,
            runs,
            || (Cpu.ext(num.clone()), Cpu.ext(den.clone())),
            |(num, den)| {
                let mut honest = Honest;
                let mut channel = ProverChannel::new(Transcript::new(b"bench"), &mut honest);
                logup::prove(&Cpu, &mut channel, &Leaves::given(&num, &den, n), grind);
            },
        );
    }
    for (n, runs) in [(1 << 16, 20), (1 << 20, 5)] {
        let (v, rho) = (random(n, 3), random(bits_for(n), 4));
        let base: Vec<M31> = v.iter().map(|x| x.to_m31_array()[0]).collect();
        for (label, is_base, eq) in [
            ("ext * ext", false, false),
            ("base * ext", true, false),
            ("eq * ext * ext", false, true),
            ("eq * base * ext", true, true),
        ] {
            let summand = || Summand {
                coefficient: qm31(1),
                axes: vec![Axis::of(n)],
                eq: if eq { rho.clone() } else { Vec::new() },
                a: if is_base {
                    Operand::base(Cpu.base(base.clone()))
                } else {
                    Operand::ext(Cpu.ext(v.clone()))
                },
                b: Some(Operand::ext(Cpu.ext(v.clone()))),
                sum: Some(qm31(1)),
            };
            time(label, n, runs, summand, |summand| {
                let mut honest = Honest;
                let mut channel = ProverChannel::new(Transcript::new(b"bench"), &mut honest);
                sumcheck::prove(&Cpu, &mut channel, "round", vec![summand], grind);
            });
        }
    }
}
