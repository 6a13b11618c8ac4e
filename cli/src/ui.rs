//! Everything that is printed: results to stdout, what concerns the user to stderr.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;
use mlc_compiler::diagnostics::{Code, Diagnostic, render};
use mlc_compiler::syntax::SourceMap;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::progress;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// One JSON value on stdout.
    Json,
}

/// Where results go.
#[derive(Debug)]
pub(crate) struct Ui {
    format: Format,
}

impl Ui {
    pub(crate) fn new(format: Format) -> Self {
        Ui { format }
    }

    /// True where one JSON value is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints a result. A closed pipe is no failure of the command.
    pub(crate) fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        if !text.ends_with('\n') {
            let _ = out.write_all(b"\n");
        }
        let _ = out.flush();
    }

    /// Prints a piece of a text that goes on, at once; nothing where one JSON value is wanted.
    pub(crate) fn piece(&self, text: &str) {
        if !self.is_json() {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_bytes());
            let _ = out.flush();
        }
    }

    /// Prints a JSON value.
    pub(crate) fn json(&self, value: &Value) {
        self.print(&pretty(value));
    }

    /// Prints `value` as JSON or the text, as asked for.
    pub(crate) fn result(&self, value: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        if self.is_json() {
            self.json(&value());
        } else {
            self.print(&text());
        }
    }

    /// Says something beside the result.
    pub(crate) fn note(&self, text: &str) {
        if !self.is_json() {
            progress::aside(|| {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            });
        }
    }

    /// Prints diagnostics: with their source lines on stderr, or as JSON on stdout.
    pub(crate) fn diagnostics(&self, list: &[Diagnostic], sources: &SourceMap) {
        if self.is_json() {
            self.print(&render::json(list, sources));
            return;
        }
        let mut err = std::io::stderr().lock();
        let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let _ = err.write_all(render::full(list, sources, color).as_bytes());
    }

    /// Prints why a command failed.
    pub(crate) fn error(&self, error: &CliError) {
        if let CliError::Source(d) = error {
            self.diagnostics(&d.diagnostics, &d.sources);
            let of_weights = |d: &Diagnostic| matches!(d.code, Code::E0504 | Code::E0505);
            if let (true, Some(path)) = (d.diagnostics.iter().any(of_weights), &d.weights) {
                self.note(&format!("the weight file is `{}`", path.display()));
            }
            return;
        }
        if self.is_json() {
            self.json(&json!({ "error": error.to_string(), "exit_code": error.exit_code() }));
            return;
        }
        let mut text = format!("error: {error}");
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text += &format!(": {cause_text}");
            }
            source = cause.source();
        }
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// Indented JSON.
pub(crate) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Rows as columns of equal width; the first row is the head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        rows.iter()
            .filter_map(|r| r.get(c))
            .map(|s| s.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    // A column of numbers stands to the right.
    let numeric = |c: usize| {
        let mut cells = rows
            .iter()
            .skip(1)
            .filter_map(|r| r.get(c))
            .filter(|s| !s.is_empty())
            .peekable();
        cells.peek().is_some() && cells.all(|s| s.starts_with(|f: char| f.is_ascii_digit() || f == '-'))
    };
    let right: Vec<bool> = (0..columns).map(numeric).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(c, s)| match right[c] {
            true => format!("{s:>0$}", widths[c]),
            false => format!("{s:<0$}", widths[c]),
        });
        out += cells.collect::<Vec<_>>().join("  ").trim_end();
        out.push('\n');
    }
    out
}

/// `1.2 MB`.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} B"),
        10_000..10_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}

/// `12.3 ms`.
pub(crate) fn seconds(s: f64) -> String {
    match s {
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}
