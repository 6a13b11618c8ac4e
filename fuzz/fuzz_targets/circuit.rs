//! Circuits: what decodes is canonical; the checks that soundness rests on never panic; a checked circuit has instances.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlc_circuit::{check, format};

fuzz_target!(|body: &[u8]| {
    // Behind magic and version, and as it is.
    let framed = [&format::MAGIC[..], &format::VERSION.to_le_bytes(), body].concat();
    for bytes in [body, &framed] {
        let Ok(circuit) = format::decode(bytes) else { continue };
        assert_eq!(format::encode(&circuit), bytes);
        if check::check(&circuit).is_ok() {
            let dims = vec![1; circuit.dims.len()];
            for entry in 0..circuit.entries.len() {
                let _ = circuit.instantiate(entry, &dims);
            }
        }
    }
});
