//! Weights that stay in their file give the proof that weights in memory give.

#![allow(clippy::unwrap_used)]

use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::prove::prove;
use mlc_runtime::setup::{ProvingKey, SetupError, setup};
use mlc_runtime::testing;
use mlc_verifier::security::Parameters;

#[test]
fn proofs_do_not_depend_on_where_the_weights_are() {
    let mut cases = vec![
        // Several tiles of one weight, and rows that do not fill one.
        testing::linear_relu(2, 1500, 1100, 10),
        testing::residual_blocks(3, 12, 4),
        testing::conv_max_pool(2, 1, 8, 5),
        testing::tokens_to_logits(2, 3, 5, 7, 6, true),
    ];
    cases.extend((0..6).map(testing::random));
    for (i, case) in cases.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let key = setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default()).unwrap();
        key.save(dir.path()).unwrap();
        let made = prove(&Cpu, &key, 0, &case.dims, &case.inputs).unwrap();
        let mapped = ProvingKey::load_mapped(&Cpu, dir.path()).unwrap();
        assert_eq!(mapped.integers, key.integers, "case {i}");
        let other = prove(&Cpu, &mapped, 0, &case.dims, &case.inputs).unwrap();
        assert_eq!(made.file, other.file, "case {i}");
    }
}

#[test]
fn an_altered_weight_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let case = testing::residual_blocks(3, 12, 4);
    let key = setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default()).unwrap();
    key.save(dir.path()).unwrap();
    let path = dir.path().join("weights.bin");
    let good = std::fs::read(&path).unwrap();
    for at in [0, 8, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, bad).unwrap();
        let found = ProvingKey::load_mapped(&Cpu, dir.path());
        assert!(matches!(found, Err(SetupError::Corrupted { .. })), "byte {at}");
    }
    std::fs::write(&path, &good[..good.len() - 2]).unwrap();
    assert!(matches!(
        ProvingKey::load_mapped(&Cpu, dir.path()),
        Err(SetupError::Corrupted { .. })
    ));
}
