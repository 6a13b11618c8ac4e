//! Checking: from a source and a configuration to a typed graph, or to all that is wrong.
//!
//! The stages: [`modules`] loads a file and what it imports; [`resolve`] checks every name of every body, used or not;
//! [`elab`] evaluates the model's entries. Elaboration *is* the type check: every block is evaluated at the dimensions of
//! its call, compile-time values are computed, tensor operations are added to the graph with their shapes checked. What
//! failed becomes a value that silences everything that depends on it, so that one mistake gives one diagnostic.

mod config;
mod configured;
mod elab;
mod families;
mod modules;
mod quant;
mod report;
mod resolve;
mod stdlib;

pub use config::Config;
pub use configured::configured;
pub use families::{Family, families};
pub use quant::{QuantHint, QuantTarget, ScaleKind};
pub use stdlib::STDLIB;

use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::{FileId, SourceMap, Span};
use report::Reports;
use std::collections::BTreeMap;

/// Names of the builtin functions, sorted.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    elab::builtins::names()
}

/// The greatest size of a source file in bytes.
pub const MAX_SOURCE: usize = 4 << 20;

/// Where source files come from: the compiler itself reads nothing.
pub trait Host {
    /// The bytes of the file at `path` (with `/`), or why it cannot be read. Paths of imports are relative to the main
    /// file's directory: `import layers.mlp` asks for `layers/mlp.mlc` beside it.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
}

/// Files held in memory, by path.
#[derive(Clone, Debug, Default)]
pub struct MemoryHost(pub std::collections::BTreeMap<String, Vec<u8>>);

impl MemoryHost {
    /// A host of one file.
    pub fn single(path: &str, text: &str) -> Self {
        MemoryHost([(path.to_string(), text.as_bytes().to_vec())].into())
    }
}

impl Host for MemoryHost {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).cloned().ok_or_else(|| "no such file".to_string())
    }
}

/// What checking gives.
#[derive(Clone, Debug)]
pub struct CheckResult {
    /// The graph, where there was no error.
    pub module: Option<mlc_ir::Module>,
    /// What the annotations ask of quantisation, in source order.
    pub quant: Vec<QuantHint>,
    /// Files of sample inputs named by `@calibrate`.
    pub calibration: Vec<String>,
    /// The `config` that sets the greatest length of a run-time dimension, by the dimension's name.
    pub limits: BTreeMap<String, String>,
    /// Errors and warnings, in source order of the main file first.
    pub diagnostics: Vec<Diagnostic>,
    /// The sources that the spans refer to.
    pub sources: SourceMap,
}

impl CheckResult {
    /// Whether there is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Checks the model in the file `main_path` under a configuration.
pub fn check(host: &dyn Host, main_path: &str, config: &Config) -> CheckResult {
    let mut reports = Reports::default();
    let mut sources = SourceMap::default();
    let program = modules::load(host, main_path, &mut sources, &mut reports);
    let mut result = CheckResult {
        module: None,
        quant: Vec::new(),
        calibration: Vec::new(),
        limits: BTreeMap::new(),
        diagnostics: Vec::new(),
        sources,
    };
    if let Some(program) = program {
        resolve::resolve(&program, &mut reports);
        let elaborated = elab::elaborate(&program, config, &result.sources, &mut reports);
        if !reports.any_error()
            && let Some((module, quant, calibration, limits)) = elaborated
        {
            (result.quant, result.calibration, result.limits) = (quant, calibration, limits);
            result.module = Some(module);
        }
    }
    result.diagnostics = reports.finish();
    result
}

/// The span of nothing, for what concerns a whole file.
fn start_of(file: FileId) -> Span {
    Span::new(file, 0, 0)
}

/// Decodes the bytes of a source file.
fn decode(bytes: Vec<u8>, file: FileId, name: &str) -> Result<String, Diagnostic> {
    let error = |message: String| Diagnostic::error(Code::E0005, start_of(file), message);
    if bytes.len() > MAX_SOURCE {
        return Err(error(format!(
            "`{name}` has {} bytes; a source has at most {MAX_SOURCE}",
            bytes.len()
        )));
    }
    String::from_utf8(bytes).map_err(|e| {
        error(format!(
            "`{name}` is not UTF-8: byte {} begins no character",
            e.utf8_error().valid_up_to()
        ))
        .help("is this a source file?")
    })
}
