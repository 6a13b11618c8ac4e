//! Helpers: compile a text, show what came of it.

use mlc_compiler::{CheckResult, Config, MemoryHost, check, diagnostics::render};

/// Checks a text as the file `main.mlc`.
pub(crate) fn check_text(text: &str, config: &Config) -> CheckResult {
    check(&MemoryHost::single("main.mlc", text), "main.mlc", config)
}

/// The diagnostics in full, without colour.
pub(crate) fn rendered(result: &CheckResult) -> String {
    render::full(&result.diagnostics, &result.sources, false)
}

/// The codes of the diagnostics, in order.
pub(crate) fn codes(result: &CheckResult) -> Vec<&'static str> {
    result.diagnostics.iter().map(|d| d.code.as_str()).collect()
}

/// The blocks fenced as `kind` in a Markdown text.
pub(crate) fn fenced(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => open = Some((kind.to_string(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, body)), None) => {
                body.push_str(line);
                body.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}
