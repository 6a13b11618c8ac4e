//! Many mistakes in one file: one diagnostic each, and no cascade. Any bytes: no panic.

use crate::common::{check_text, codes, rendered};
use mlc_compiler::diagnostics::render;
use mlc_compiler::syntax::{FileId, parse};
use mlc_compiler::{Config, MemoryHost, check, fmt};
use proptest::prelude::*;

const FIVE_MISTAKES: &str = r#"//! Five independent mistakes.

import std.activation.{relu, gleu}

model Broken {
    config hidden: dim = 32
    dim batch: runtime max 64

    entry main(x: real[batch, 16]) -> (y: real[batch, 10]) {
        let a = relu(x, slope = )
        weight w: real[hidden, 15] from "w"
        let b = einsum("b i, o i -> b o", x, w)
        let c = gleu(relu(b) + a)
        let d = hiden * 2
        let e = c + b
        let f = reshape(x, [batch, 3, 5])
        f + e * d
    }
}
"#;

#[test]
fn five_mistakes_give_five_diagnostics() {
    let result = check_text(FIVE_MISTAKES, &Config::default());
    assert_eq!(
        codes(&result),
        ["E0202", "E0103", "E0307", "E0203", "E0308"],
        "{}",
        rendered(&result)
    );
    insta::assert_snapshot!("five_mistakes_full", rendered(&result));
    insta::assert_snapshot!(
        "five_mistakes_concise",
        render::concise(&result.diagnostics, &result.sources)
    );
    insta::assert_snapshot!(
        "five_mistakes_json",
        render::json(&result.diagnostics[..1], &result.sources)
    );
}

#[test]
fn mistakes_of_syntax_give_one_diagnostic_each() {
    let text = "import std.linear.{linear}\n\nmodel M {\n    config a dim = 3\n    dim batch: runtime max\n\n    \
        entry main(x: real[batch, 4]) -> (y: real[batch, 4]) {\n        let p = linear(x, 4, \"p\"\n        \
        let q = p $ 2\n        let = 4\n        weight w: reel[4] from \"w\"\n        p + q + w\n    }\n}\n";
    let result = check_text(text, &Config::default());
    insta::assert_snapshot!("syntax_mistakes", rendered(&result));
    assert_eq!(
        codes(&result),
        ["E0101", "E0103", "E0104", "E0001", "E0101", "E0101"],
        "{}",
        rendered(&result)
    );
}

#[test]
fn a_source_that_is_no_text_is_one_diagnostic() {
    let host = MemoryHost([("m.mlc".to_string(), vec![b'm', 0xff, 0xfe])].into());
    assert_eq!(codes(&check(&host, "m.mlc", &Config::default())), ["E0005"]);
    assert_eq!(codes(&check(&host, "absent.mlc", &Config::default())), ["E0005"]);
}

#[test]
fn deep_nesting_is_a_diagnostic() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("-", ""),
        ("not ", ""),
        ("f(", ")"),
        ("if a { ", " }"),
        ("x + ", ""),
    ] {
        let text = format!("let a = {}1{}\n", open.repeat(100_000), close.repeat(100_000));
        let (_, diagnostics) = parse(FileId(0), &text);
        assert!(
            !diagnostics.is_empty() && diagnostics.len() < 4,
            "{open}: {} diagnostics",
            diagnostics.len()
        );
    }
}

#[test]
fn exponential_calls_end() {
    let mut text = "fn f0[..s](x: real[..s]) -> real[..s] = x\n".to_string();
    for i in 1..40 {
        let j = i - 1;
        text += &format!("fn f{i}[..s](x: real[..s]) -> real[..s] = f{j}(x) + f{j}(x)\n");
    }
    text += "model M {\n    entry main(x: real[4]) -> (y: real[4]) {\n        f39(x)\n    }\n}\n";
    assert_eq!(codes(&check_text(&text, &Config::default())), ["E0006"]);
}

fn token_soup() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "import", "model", "block", "fn", "table", "config", "dim", "weight", "state", "entry", "let", "repeat",
        "where", "if", "else", "match", "and", "or", "not", "true", "none", "public", "(", ")", "[", "]", "{", "}",
        ",", ":", "..", ".", "->", "=>", "==", "<", "=", "+", "-", "*", "/", "?", "@", "\n", "x", "batch", "real",
        "from", "in", "carrying", "runtime", "max", "7", "0.5", "\"a{x}\"", "\"open", "$", "// c\n", "/// d\n", "std",
        "einsum", "relu",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|w| w.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_checked_without_panic(text in "(?s).{0,200}") {
        check_text(&text, &Config::default());
    }

    #[test]
    fn any_tokens_are_checked_without_panic(text in token_soup()) {
        check_text(&text, &Config::default());
    }

    /// A damaged source: a stretch of it replaced by other tokens.
    #[test]
    fn damaged_sources_are_checked_without_panic(at in 0usize..900, cut in 0usize..40, soup in token_soup()) {
        let mut text: Vec<char> = FIVE_MISTAKES.chars().collect();
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, soup.chars().take(30));
        let text: String = text.into_iter().collect();
        check_text(&text, &Config::default());
        if let Ok(once) = fmt::format(FileId(0), &text) {
            prop_assert_eq!(fmt::format(FileId(0), &once).unwrap(), once);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&MemoryHost([("m.mlc".to_string(), bytes)].into()), "m.mlc", &Config::default());
    }
}
