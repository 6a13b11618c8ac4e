//! Verifying keys: what decodes is canonical, and loading it (circuit checks, setup proof) never panics.
//!
//! A key that loads must be the honest one: edits as in `proof.rs`, to an honest key.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::{setup::setup, testing};
use mlc_verifier::key::Key;
use mlc_verifier::security::Parameters;

static HONEST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let case = testing::linear_relu(3, 20, 17, 10);
    let key = setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default()).expect("a key");
    key.key.encode()
});

fuzz_target!(|edits: &[u8]| {
    let mut bytes = HONEST.clone();
    let (edits, rest) = edits.as_chunks::<5>();
    for [a, b, c, d, flip] in edits {
        let at = u32::from_le_bytes([*a, *b, *c, *d]) as usize % bytes.len();
        bytes[at] ^= flip;
    }
    if let [cut, ..] = rest {
        bytes.truncate(bytes.len() * usize::from(*cut) / 256);
    }
    if let Ok(key) = Key::decode(&bytes) {
        assert_eq!(key.encode(), bytes);
        assert!(key.load().is_err() || bytes == *HONEST);
    }
    let _ = Key::decode(&[&HONEST[..12], edits.as_flattened()].concat()).map(|k| k.load().is_ok());
});
