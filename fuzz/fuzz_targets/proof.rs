//! Proof files: what decodes is canonical, and no bytes but the honest ones are accepted.
//!
//! The input is a list of edits to an honest proof file (`mlc_fuzz::edited`).
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mlc_fuzz::{edited, honest_key};
use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::{prove::prove, testing};
use mlc_verifier::key::LoadedKey;
use mlc_verifier::proof_file::ProofFile;

static HONEST: LazyLock<(LoadedKey, Vec<u8>)> = LazyLock::new(|| {
    let case = testing::conv_max_pool(2, 1, 6, 3);
    let key = honest_key(&case);
    let file = prove(&Cpu, &key, 0, &case.dims, &case.inputs).expect("a proof").file;
    (key.key.load().expect("an honest key"), file.encode())
});

fuzz_target!(|edits: &[u8]| {
    let (key, honest) = &*HONEST;
    let (bytes, edits) = edited(honest, edits);
    if let Ok(file) = ProofFile::decode(&bytes) {
        assert_eq!(file.encode(), bytes);
        // Verified whatever key it names, so that the name does not hide what is behind it.
        let accepted = key.verify(&file.statement, &file.proof).is_ok();
        let same = |f: &ProofFile| f.statement == file.statement && f.proof == file.proof;
        assert!(!accepted || ProofFile::decode(honest).is_ok_and(|h| same(&h)));
        assert!(key.verify_file(&file).is_err() || bytes == *honest);
    }
    // The same bytes as a file of their own.
    let _ = ProofFile::decode(&[&honest[..12], edits].concat());
});
