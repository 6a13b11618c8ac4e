use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::ModelArgs;
use crate::error::{CliError, Diagnosed};
use crate::model::{self, Model};
use crate::project::Source;
use crate::ui::Ui;
use crate::weights::Weights;

/// Arguments of `mlc check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mlc check examples/digits
  mlc check model.mlc --set hidden=64 --output-format json")]
pub(crate) struct Check {
    #[command(flatten)]
    model: ModelArgs,
}

impl Check {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let project = self.model.project()?;
        if project.quality.is_some() {
            return Err(CliError::Usage(
                "`check` chooses no widths: `mlc calibrate --quality …` does, and every command that compiles".into(),
            ));
        }
        if !matches!(project.source, Source::Mlc(_)) {
            let model = Model::load(&project)?;
            ui.result(|| json!([]), || format!("{}: ok", model.module.name));
            return Ok(ExitCode::SUCCESS);
        }
        let weights = match &project.weights {
            Some(path) => Weights::open(path)?,
            None => Weights::None,
        };
        let checked = model::check(&project, &weights)?;
        if checked.has_errors() {
            return Err(CliError::Source(Box::new(Diagnosed {
                diagnostics: checked.diagnostics,
                sources: checked.sources,
                weights: project.weights.clone(),
            })));
        }
        if ui.is_json() || !checked.diagnostics.is_empty() {
            ui.diagnostics(&checked.diagnostics, &checked.sources);
        }
        if let Some(module) = checked.module.filter(|_| !ui.is_json()) {
            let entries: Vec<&str> = module.entries.keys().map(String::as_str).collect();
            let data = project.manifest.quantise.data.len() + checked.calibration.len();
            ui.print(&format!(
                "{}: ok (entries: {}; weights: {})\n{}",
                module.name,
                entries.join(", "),
                module.weights.len(),
                precision(data)
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the ranges of activations come from.
fn precision(files: usize) -> &'static str {
    match files {
        0 => {
            "no calibration data: ranges follow from the declared input ranges and the weights' magnitudes, which are \
             sure but wide; name sample inputs with `data` under [quantise] in mlc.toml for finer scales"
        }
        _ => "ranges are calibrated on the project's sample inputs",
    }
}
