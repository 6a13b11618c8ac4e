//! Renderers of diagnostics: full (with source, by ariadne), concise (one line each), JSON.
//!
//! All three print the same facts in the same order; none of them reads anything but the diagnostic and the sources.

use super::{Diagnostic, Severity};
use crate::syntax::{SourceMap, Span};
use ariadne::{Cache, Color, Config, IndexType, Label as AriadneLabel, Report, ReportKind, Source};
use serde_json::{Value, json};
use std::fmt;

/// The full form: source lines, labels and help. `color` turns on ANSI colours.
pub fn full(diagnostics: &[Diagnostic], sources: &SourceMap, color: bool) -> String {
    let mut cache = Sources {
        files: sources.files().iter().map(|f| Source::from(f.text.clone())).collect(),
        sources,
        empty: Source::from(String::new()),
    };
    let mut out = Vec::new();
    for d in diagnostics {
        let kind = match d.severity {
            Severity::Error => ReportKind::Error,
            Severity::Warning => ReportKind::Warning,
        };
        let config = Config::default().with_color(color).with_index_type(IndexType::Byte);
        let at = |span: Span| (span.file.0 as usize, span.start as usize..span.end as usize);
        let mut report = Report::build(kind, at(d.primary.span))
            .with_config(config)
            .with_code(d.code)
            .with_message(&d.message)
            .with_label(
                AriadneLabel::new(at(d.primary.span))
                    .with_message(if d.primary.text.is_empty() {
                        "here"
                    } else {
                        &d.primary.text
                    })
                    .with_color(Color::Red)
                    .with_priority(1),
            );
        for label in &d.secondary {
            report = report.with_label(
                AriadneLabel::new(at(label.span))
                    .with_message(&label.text)
                    .with_color(Color::Blue),
            );
        }
        if let Some(help) = &d.help {
            report = report.with_help(help);
        }
        // Writing to a Vec cannot fail, and every file id of a span is in the map.
        let _ = report.finish().write(&mut cache, &mut out);
    }
    let text = String::from_utf8_lossy(&out);
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + if text.is_empty() { "" } else { "\n" }
}

/// One line each: `file:line:col: E0203 message (help)`.
pub fn concise(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    let mut out = String::new();
    for d in diagnostics {
        let (line, column) = sources.line_col(d.primary.span);
        let file = sources.get(d.primary.span.file).map_or("?", |f| f.name.as_str());
        let warning = if d.is_error() { "" } else { "warning: " };
        out += &format!("{file}:{line}:{column}: {} {warning}{}", d.code, d.message);
        if let Some(help) = &d.help {
            out += &format!(" (help: {help})");
        }
        out.push('\n');
    }
    out
}

/// A JSON list of objects: code, severity, message, primary, secondary, help; places carry file, line, column, bytes.
pub fn json(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    let place = |span: Span, text: &str| {
        let (line, column) = sources.line_col(span);
        json!({
            "file": sources.get(span.file).map(|f| f.name.as_str()),
            "line": line,
            "column": column,
            "start": span.start,
            "end": span.end,
            "label": text,
        })
    };
    let list: Vec<Value> = diagnostics
        .iter()
        .map(|d| {
            json!({
                "code": d.code.as_str(),
                "severity": d.severity.as_str(),
                "message": d.message,
                "primary": place(d.primary.span, &d.primary.text),
                "secondary": d.secondary.iter().map(|l| place(l.span, &l.text)).collect::<Vec<_>>(),
                "help": d.help,
            })
        })
        .collect();
    serde_json::to_string_pretty(&Value::Array(list)).unwrap_or_default()
}

struct Sources<'a> {
    files: Vec<Source<String>>,
    sources: &'a SourceMap,
    empty: Source<String>,
}

impl Cache<usize> for Sources<'_> {
    type Storage = String;

    fn fetch(&mut self, id: &usize) -> Result<&Source<String>, impl fmt::Debug> {
        Ok::<_, String>(self.files.get(*id).unwrap_or(&self.empty))
    }

    fn display<'b>(&self, id: &'b usize) -> Option<impl fmt::Display + 'b> {
        self.sources.files().get(*id).map(|f| f.name.clone())
    }
}
