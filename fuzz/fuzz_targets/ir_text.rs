//! Textual IR: what parses is printed, parsed and printed to the same text, and can be verified.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mlc_ir::Module;

fuzz_target!(|text: &str| {
    if let Ok(module) = text.parse::<Module>() {
        let printed = module.to_string();
        let again: Module = printed.parse().expect("what is printed parses");
        assert_eq!(again.to_string(), printed);
        let _ = mlc_ir::verify(&module);
    }
});
