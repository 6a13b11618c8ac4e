//! Verifying keys: what decodes is canonical, and loading it (circuit checks, setup proof) never panics.
//!
//! A key that loads must be the honest one. The input is a list of edits to it (`mlc_fuzz::edited`).
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mlc_fuzz::{edited, honest_key};
use mlc_runtime::testing;
use mlc_verifier::key::Key;

static HONEST: LazyLock<Vec<u8>> = LazyLock::new(|| honest_key(&testing::linear_relu(3, 20, 17, 10)).key.encode());

fuzz_target!(|edits: &[u8]| {
    let (bytes, edits) = edited(&HONEST, edits);
    if let Ok(key) = Key::decode(&bytes) {
        assert_eq!(key.encode(), bytes);
        assert!(key.load().is_err() || bytes == *HONEST);
    }
    let _ = Key::decode(&[&HONEST[..12], edits].concat()).map(|k| k.load().is_ok());
});
