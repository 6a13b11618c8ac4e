//! Every code's explanation: its example triggers that code and no other, its mended example triggers nothing.

use crate::common::{check_text, codes, fenced, rendered};
use mlc_compiler::Config;
use mlc_compiler::diagnostics::Code;

#[test]
fn every_example_triggers_its_code_and_the_mended_one_nothing() {
    let mut failures = String::new();
    for code in Code::ALL {
        let text = code.explanation();
        assert!(
            text.starts_with(&format!("# {code}: {}\n", code.title())),
            "{code}: heading"
        );
        let (mut config, mut seen) = (Config::default(), 0);
        for (kind, body) in fenced(text) {
            match kind.as_str() {
                "json" => config.values = serde_json::from_str(&body).unwrap(),
                "weights" => config.weights = Some(serde_json::from_str(&body).unwrap()),
                "mlc" => {
                    let result = check_text(&body, &config);
                    let wanted: &[&str] = if seen == 0 { &[code.as_str()] } else { &[] };
                    if codes(&result) != wanted {
                        failures += &format!("{code}, example {seen}:\n{}\n", rendered(&result));
                    }
                    seen += 1;
                }
                other => panic!("{code}: a block of kind {other}"),
            }
        }
        assert_eq!(seen, if *code == Code::E0005 { 0 } else { 2 }, "{code}");
    }
    assert!(failures.is_empty(), "{failures}");
}
