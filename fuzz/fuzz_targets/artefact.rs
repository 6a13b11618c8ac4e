//! Compiled circuits: what decodes is canonical. The checksum is made to fit, so that the fuzzer gets behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlc_compiler::artefact::{Artefact, seal};

fuzz_target!(|body: &[u8]| {
    let _ = Artefact::decode(body);
    let bytes = seal(body);
    if let Ok(artefact) = Artefact::decode(&bytes) {
        assert_eq!(artefact.encode(), bytes);
    }
});
