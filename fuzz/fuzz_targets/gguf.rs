//! GGUF files: a model or an error, and every tensor of a model is one that is read, or an error.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mlc_import::gguf::Gguf;
use mlc_ir::WeightSource;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = Gguf::from_bytes(Path::new("fuzzed"), bytes.to_vec()) else {
        return;
    };
    for (name, shape) in file.shapes() {
        if let Ok(tensor) = file.get(name) {
            assert!(tensor.shape.iter().map(|d| *d as u64).eq(shape));
        }
    }
});
