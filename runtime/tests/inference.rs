//! Whole path over the runtime: setup, prove, load the key, verify; hand-built and random circuits.

#![allow(clippy::unwrap_used)]

use mlc_circuit::check::{CheckError, check};
use mlc_circuit::{Label, Len};
use mlc_runtime::backend::Backend;
use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::backend::naive::Naive;
use mlc_runtime::prove::prove;
use mlc_runtime::setup::{ProvingKey, setup};
use mlc_runtime::testing::{self, Block, Builder, Case, plain};
use mlc_verifier::key::Key;
use mlc_verifier::security::Parameters;

/// Key bytes and proof bytes.
fn run<B: Backend>(backend: &B, case: &Case) -> (Vec<u8>, Vec<u8>) {
    let key = setup(backend, &case.circuit, case.weights.clone(), Parameters::default()).unwrap();
    let bytes = key.key.encode();
    let loaded = Key::decode(&bytes).unwrap().load().unwrap();
    let proved = prove(backend, &key, 0, &case.dims, &case.inputs).unwrap();
    loaded.verify(&proved.file.statement, &proved.file.proof).unwrap();
    (bytes, proved.file.encode())
}

#[test]
fn hand_built_circuits() {
    for case in [
        testing::linear_relu(3, 20, 17, 10),
        testing::conv_max_pool(2, 1, 8, 5),
        testing::residual_blocks(3, 12, 4),
        testing::tokens_to_logits(2, 3, 5, 7, 6, true),
        testing::tokens_to_logits(1, 17, 17, 20, 5, false),
        testing::tokens_to_next(2, 3, 5, 7, 6, true),
        testing::tokens_to_next(1, 17, 17, 1, 5, false),
        testing::greatest_label(Some(3), 5, 17),
        testing::greatest_label(None, 10, 3),
        testing::greatest_label(None, 1, 1),
    ] {
        run(&Naive, &case);
    }
}

/// Runs a case on both backends, which must agree on every byte.
fn agree(case: &Case, name: &str) {
    let (key, proof) = run(&Naive, case);
    let (cpu_key, cpu_proof) = run(&Cpu, case);
    assert_eq!(key, cpu_key, "{name}: keys differ between backends");
    assert_eq!(proof, cpu_proof, "{name}: proofs differ between backends");
}

#[test]
fn random_circuits_on_both_backends() {
    for seed in 0..32 {
        agree(&testing::random(seed), &format!("seed {seed}"));
    }
}

#[test]
fn transformer_blocks_on_both_backends() {
    let blocks = [Block::rms(), Block::layer()].into_iter();
    for block in blocks.chain((0..6).map(Block::random)) {
        agree(&testing::transformer_block(&block), &format!("{block:?}"));
    }
}

/// Its cells are the only ones, and no table has a column that is read.
#[test]
fn a_private_input_without_use_is_ranged() {
    let mut b = Builder::new("unused", 1);
    b.private_input("secret", &[Len::fixed(3)], 0, 4);
    let x = b.input("x", &[Len::fixed(5)], 0, 9);
    b.output("y", &x.axes, vec![plain(x.whole())], vec![], Label::None);
    let mut case = Case::new(b, &[]);
    case.circuit.entries[0].segments[0].ranged = false;
    let name = "secret".into();
    assert_eq!(check(&case.circuit), Err(CheckError::Unused { name }));
    case.circuit.range_unchecked_lookups();
    run(&Naive, &case);
}

#[test]
fn a_key_directory_is_complete_and_refuses_alterations() {
    let dir = tempfile::tempdir().unwrap();
    let case = testing::linear_relu(3, 20, 17, 10);
    let key = setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default()).unwrap();
    key.save(dir.path()).unwrap();
    let loaded = ProvingKey::load(&Cpu, dir.path()).unwrap();
    let a = prove(&Cpu, &key, 0, &case.dims, &case.inputs).unwrap();
    let b = prove(&Cpu, &loaded, 0, &case.dims, &case.inputs).unwrap();
    assert_eq!(a.file, b.file);
    for name in ["verifying.key", "weights.bin", "codeword.bin"] {
        let path = dir.path().join(name);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(ProvingKey::load(&Cpu, dir.path()).is_err(), "truncated {name}");
        let mut altered = good.clone();
        let last = altered.len() - 1;
        altered[last] ^= 1;
        std::fs::write(&path, &altered).unwrap();
        assert!(ProvingKey::load(&Cpu, dir.path()).is_err(), "altered {name}");
        std::fs::write(&path, &good).unwrap();
    }
}
