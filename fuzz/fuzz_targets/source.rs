//! `.mlc` sources: any bytes are checked without a panic, and what can be formatted is formatted the same twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlc_compiler::syntax::FileId;
use mlc_compiler::{Config, MemoryHost, check, fmt};

fuzz_target!(|bytes: &[u8]| {
    let host = MemoryHost([("m.mlc".to_owned(), bytes.to_vec())].into());
    check(&host, "m.mlc", &Config::default());
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(once) = fmt::format(FileId(0), text)
    {
        assert_eq!(fmt::format(FileId(0), &once).ok(), Some(once));
    }
});
