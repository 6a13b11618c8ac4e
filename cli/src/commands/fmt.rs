use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mlc_compiler::fmt::format;
use mlc_compiler::syntax::SourceMap;
use serde_json::json;

use super::rejected;
use crate::error::{CliError, Diagnosed};
use crate::files;
use crate::ui::Ui;

/// Arguments of `mlc fmt`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mlc fmt model.mlc layers/
  mlc fmt --check examples/digits")]
pub(crate) struct Fmt {
    /// Files, or directories of which every .mlc file is formatted
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Change nothing; exit 1 where a file is not formatted
    #[arg(long)]
    check: bool,
}

impl Fmt {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let mut sources = Vec::new();
        for path in &self.paths {
            collect(path, &mut sources)?;
        }
        let (mut changed, mut failed) = (Vec::new(), None);
        for path in sources {
            let text = files::read_text(&path)?;
            let mut map = SourceMap::default();
            let file = map.add(path.display().to_string(), text.clone());
            match format(file, &text) {
                Ok(formatted) if formatted == text => {}
                Ok(formatted) => {
                    if !self.check {
                        files::write_atomic(&path, formatted.as_bytes())?;
                    }
                    changed.push(path.display().to_string());
                }
                Err(diagnostics) => {
                    if let Some(earlier) = failed.replace(Diagnosed {
                        diagnostics,
                        sources: map,
                        weights: None,
                    }) {
                        ui.diagnostics(&earlier.diagnostics, &earlier.sources);
                    }
                }
            }
        }
        if let Some(failed) = failed {
            return Err(CliError::Source(Box::new(failed)));
        }
        let verb = if self.check {
            "would be reformatted"
        } else {
            "reformatted"
        };
        let text = || changed.iter().map(|p| format!("{p}: {verb}\n")).collect::<String>();
        if ui.is_json() || !changed.is_empty() {
            ui.result(|| json!({ "changed": changed, "written": !self.check }), text);
        }
        Ok(if self.check && !changed.is_empty() {
            rejected()
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// The file, or every `.mlc` file below the directory, in order.
fn collect(path: &PathBuf, out: &mut Vec<PathBuf>) -> Result<(), CliError> {
    if !path.is_dir() {
        out.push(path.clone());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(|e| CliError::read(path, e))?;
    let mut inside: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    inside.sort();
    for path in inside {
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden || path.extension().is_some_and(|e| e == "mlc") {
            collect(&path, out)?;
        }
    }
    Ok(())
}
