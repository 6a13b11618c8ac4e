//! Properties over random modules.

#![allow(clippy::unwrap_used)] // helpers of tests

use mlc_ir::{Module, Stage, random, run, verify};
use proptest::prelude::*;

fn accepted(module: &Module) -> Result<(), TestCaseError> {
    match verify(module) {
        Ok(()) => Ok(()),
        Err(errors) => Err(TestCaseError::fail(format!("{}\n{module}", errors[0]))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_parses_to_the_same_module(seed in any::<u64>(), quantised in any::<bool>()) {
        let module = random::module(if quantised { Stage::Quantised } else { Stage::Real }, seed);
        let text = module.to_string();
        let back: Module = text.parse().unwrap();
        prop_assert_eq!(back.to_string(), text);
        prop_assert_eq!(back, module);
    }

    #[test]
    fn the_builder_makes_what_the_verifier_accepts(seed in any::<u64>()) {
        accepted(&random::module(Stage::Real, seed))?;
        accepted(&random::module(Stage::Quantised, seed))?;
    }

    /// Inferred bounds hold: the interpreter checks every integer of every value.
    #[test]
    fn inferred_bounds_hold(seed in any::<u64>()) {
        let module = random::module(Stage::Quantised, seed);
        let outputs = run(&module, "main", &random::weights(&module, seed), &random::inputs(&module, seed));
        prop_assert!(outputs.is_ok(), "{}\n{}", outputs.unwrap_err(), module);
    }

    /// Inferred shapes hold: the interpreter checks every value's shape.
    #[test]
    fn inferred_shapes_hold(seed in any::<u64>()) {
        let module = random::module(Stage::Real, seed);
        let outputs = run(&module, "main", &random::weights(&module, seed), &random::inputs(&module, seed));
        prop_assert!(outputs.is_ok(), "{}\n{}", outputs.unwrap_err(), module);
    }

    /// Dead code has no meaning: what is left is accepted and gives the same outputs.
    #[test]
    fn removing_dead_nodes_preserves_meaning(seed in any::<u64>(), quantised in any::<bool>()) {
        let module = random::module(if quantised { Stage::Quantised } else { Stage::Real }, seed);
        let mut smaller = module.clone();
        smaller.entries[0].remove_dead();
        accepted(&smaller)?;
        prop_assert_eq!(smaller.to_string().parse::<Module>().unwrap(), smaller.clone());
        let (weights, inputs) = (random::weights(&module, seed), random::inputs(&module, seed));
        let text = |m: &Module| format!("{:?}", run(m, "main", &weights, &inputs));
        prop_assert_eq!(text(&smaller), text(&module));
    }

    /// One digit, letter or sign of the text replaced: whatever still parses is judged without a panic.
    #[test]
    fn the_verifier_survives_any_module(seed in any::<u64>(), edits in prop::collection::vec(any::<(u16, u8)>(), 1..8)) {
        let mut text = random::module(Stage::Quantised, seed).to_string().into_bytes();
        let length = text.len();
        for (at, with) in edits {
            let alphabet = b"0123456789-,xlb[]";
            text[usize::from(at) * 31 % length] = alphabet[usize::from(with) % alphabet.len()];
        }
        if let Ok(module) = String::from_utf8(text).unwrap_or_default().parse::<Module>() {
            let _ = verify(&module);
        }
    }

    #[test]
    fn the_parser_survives_any_text(text in "\\PC*", at in any::<prop::sample::Index>(), seed in any::<u64>()) {
        let _ = text.parse::<Module>();
        let mut damaged = random::module(Stage::Quantised, seed).to_string();
        let mut at = at.index(damaged.len());
        while !damaged.is_char_boundary(at) {
            at -= 1;
        }
        damaged.insert_str(at, &text);
        let _ = damaged.parse::<Module>();
    }
}
