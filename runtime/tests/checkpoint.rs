//! A proof that is killed goes on from its checkpoint and comes to the same bytes.

#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::prove::{Chain, ProveError, Proved, prove, prove_journaled, prove_resumable, run_of};
use mlc_runtime::schedule::checkpoint::{Checkpoint, CheckpointError};
use mlc_runtime::schedule::journal::Journal;
use mlc_runtime::setup::{ProvingKey, setup};
use mlc_runtime::testing::{self, Case};
use mlc_verifier::security::Parameters;
use mlc_verifier::transcript::Hash;

/// Dies before it keeps the outcome of a stage.
struct Killed {
    checkpoint: Checkpoint,
    left: usize,
}

impl Journal for Killed {
    fn get(&mut self, stage: &'static str, state: &Hash) -> Option<Vec<u8>> {
        self.checkpoint.get(stage, state)
    }
    fn put(&mut self, stage: &'static str, state: &Hash, outcome: &[u8]) {
        assert!(self.left > 0, "killed");
        self.left -= 1;
        self.checkpoint.put(stage, state, outcome);
    }
}

fn killed_after(key: &ProvingKey<Cpu>, case: &Case, dir: &Path, left: usize) {
    let checkpoint = Checkpoint::open(dir, run_of(key, 0, &case.dims, &case.inputs)).unwrap();
    let mut journal = Killed { checkpoint, left };
    let run = catch_unwind(AssertUnwindSafe(|| {
        let chain = &mut Chain::default();
        prove_journaled(&Cpu, key, 0, &case.dims, &case.inputs, chain, Some(&mut journal)).map(drop)
    }));
    assert!(run.is_err(), "it was to be killed after {left} stages");
}

fn resume(key: &ProvingKey<Cpu>, case: &Case, dir: &Path) -> Result<(Proved, Vec<&'static str>), ProveError> {
    prove_resumable(&Cpu, key, 0, &case.dims, &case.inputs, dir)
}

#[test]
fn a_killed_proof_goes_on_to_the_same_bytes() {
    const STAGES: [&str; 5] = ["execution", "products", "lookups", "merge", "folded weights"];
    for case in [
        testing::residual_blocks(3, 12, 4),
        testing::tokens_to_logits(2, 3, 5, 7, 6, true),
        testing::cached_attention(1, 4, 9, 5, 6),
    ] {
        let key = setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default()).unwrap();
        let expected = prove(&Cpu, &key, 0, &case.dims, &case.inputs).unwrap().file;
        for done in 0..=STAGES.len() {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("checkpoint");
            if done < STAGES.len() {
                killed_after(&key, &case, &dir, done);
            }
            let (proved, taken) = resume(&key, &case, &dir).unwrap();
            assert_eq!(proved.file, expected, "after {done} stages");
            assert_eq!(taken, STAGES[..done % STAGES.len()], "after {done} stages");
            assert!(!dir.exists(), "what was kept is removed");
        }
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused_and_a_damaged_one_is_not_taken() {
    let case = testing::residual_blocks(3, 12, 4);
    let key = setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default()).unwrap();
    let expected = prove(&Cpu, &key, 0, &case.dims, &case.inputs).unwrap().file;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("checkpoint");
    killed_after(&key, &case, &dir, 3);
    let mut other = case.clone();
    other.inputs[0][0] ^= 1;
    assert!(matches!(
        resume(&key, &other, &dir),
        Err(ProveError::Checkpoint(CheckpointError::OtherRun { .. }))
    ));

    // An outcome that was altered, its checksum left as it was, and one that is cut short.
    for (name, cut) in [("products.stage", false), ("lookups.stage", true)] {
        let path = dir.join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        if cut {
            bytes.truncate(last - 7);
        }
        std::fs::write(&path, bytes).unwrap();
    }
    let (proved, taken) = resume(&key, &case, &dir).unwrap();
    assert_eq!(proved.file, expected);
    assert_eq!(taken, ["execution"]);
}
