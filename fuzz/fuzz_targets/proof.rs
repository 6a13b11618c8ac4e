//! Proof files: what decodes is canonical, and no bytes but the honest ones are accepted.
//!
//! The input is a list of edits to an honest proof file, so that the fuzzer begins behind the magic and the statement:
//! four bytes of position and one to xor each; a last odd byte cuts the file.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::{prove::prove, setup::setup, testing};
use mlc_verifier::key::LoadedKey;
use mlc_verifier::proof_file::ProofFile;
use mlc_verifier::security::Parameters;

static HONEST: LazyLock<(LoadedKey, Vec<u8>)> = LazyLock::new(|| {
    let case = testing::conv_max_pool(2, 1, 6, 3);
    let key = setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default()).expect("a key");
    let file = prove(&Cpu, &key, 0, &case.dims, &case.inputs).expect("a proof").file;
    (key.key.load().expect("an honest key"), file.encode())
});

fuzz_target!(|edits: &[u8]| {
    let (key, honest) = &*HONEST;
    let mut bytes = honest.clone();
    let (edits, rest) = edits.as_chunks::<5>();
    for [a, b, c, d, flip] in edits {
        let at = u32::from_le_bytes([*a, *b, *c, *d]) as usize % bytes.len();
        bytes[at] ^= flip;
    }
    if let [cut, ..] = rest {
        bytes.truncate(bytes.len() * usize::from(*cut) / 256);
    }
    if let Ok(file) = ProofFile::decode(&bytes) {
        assert_eq!(file.encode(), bytes);
        // Verified whatever key it names, so that the name does not hide what is behind it.
        let accepted = key.verify(&file.statement, &file.proof).is_ok();
        let same = |f: &ProofFile| f.statement == file.statement && f.proof == file.proof;
        assert!(!accepted || ProofFile::decode(honest).is_ok_and(|h| same(&h)));
        assert!(key.verify_file(&file).is_err() || bytes == *honest);
    }
    // The same bytes as a file of their own.
    let _ = ProofFile::decode(&[&honest[..12], edits.as_flattened()].concat());
});
