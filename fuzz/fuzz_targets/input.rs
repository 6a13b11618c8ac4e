//! Input files of every kind: JSON, npy, safetensors, PNG. The first byte chooses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlc_runtime::inputs::{Format, parse};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let kinds = [Format::Json, Format::Npy, Format::Safetensors, Format::Png];
    let _ = parse(kinds[usize::from(*kind) % kinds.len()], rest);
});
