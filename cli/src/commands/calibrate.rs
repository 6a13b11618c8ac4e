use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::ModelArgs;
use crate::error::CliError;
use crate::files;
use crate::progress::Progress;
use crate::ui::Ui;

/// Arguments of `mlc calibrate`.
#[derive(Debug, Args)]
#[command(after_help = "\
The plan holds bit widths and ranges; source, configuration and plan give the circuit. Name it with `plan` under
[quantise] in mlc.toml to pin it.

Example:
  mlc calibrate examples/digits --data examples/digits/samples/samples.npy -o plan.toml
  mlc calibrate path/to/hf-model --quality 0.99 -o plan.toml")]
pub(crate) struct Calibrate {
    #[command(flatten)]
    model: ModelArgs,
    /// Sample inputs, in this order; the project's calibration data where none is given
    #[arg(long, value_name = "FILE", num_args = 1..)]
    data: Vec<PathBuf>,
    /// Write the plan here; to standard output where it is not given
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Calibrate {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let (mut project, mut model) = self.model.load(ui)?;
        project.manifest.quantise.plan = None;
        if !self.data.is_empty() {
            model.calibration.clone_from(&self.data);
        }
        let (plan, _) = Progress::new(ui, 1).stage("calibrate", || super::plan(&project, &model, ui));
        let plan = plan?;
        let text = plan.to_text().map_err(CliError::refused)?;
        if let Some(path) = &self.output {
            files::write_atomic(path, text.as_bytes())?;
            ui.result(
                || json!({ "plan": path, "values": plan.values.len(), "weights": plan.weights.len() }),
                || {
                    format!(
                        "{}: ranges of {} values and {} weights over {} files",
                        path.display(),
                        plan.values.len(),
                        plan.weights.len(),
                        model.calibration.len()
                    )
                },
            );
        } else if ui.is_json() {
            ui.json(&serde_json::to_value(&plan).map_err(CliError::refused)?);
        } else {
            ui.print(&text);
        }
        Ok(ExitCode::SUCCESS)
    }
}
