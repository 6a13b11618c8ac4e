//! ONNX files: an import or errors, and a module that the IR's rules accept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlc_import::{Options, import_bytes};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(imported) = import_bytes(bytes, None, &Options::default()) {
        assert!(mlc_ir::verify(&imported.module).is_ok());
    }
});
