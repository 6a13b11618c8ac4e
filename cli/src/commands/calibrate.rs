use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::ModelArgs;
use crate::error::CliError;
use crate::files;
use crate::pipeline;
use crate::progress::Progress;
use crate::quality;
use crate::samples::Samples;
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
    /// Choose the fewest bits at which outputs are at this cosine with the f32 model, on the first samples
    #[arg(long, value_name = "COSINE", value_parser = quality)]
    quality: Option<f64>,
    /// Write the plan here; to standard output where it is not given
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn quality(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|q| (0.0..1.0).contains(q));
    value.ok_or_else(|| format!("`{text}` is no cosine; give a number from 0 to below 1, such as 0.99"))
}

impl Calibrate {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let (mut project, mut model) = self.model.load(ui)?;
        project.manifest.quantise.plan = None;
        if !self.data.is_empty() {
            model.calibration.clone_from(&self.data);
        }
        let pipeline::Planned { mut plan, note } = pipeline::planned(&project, &model)?;
        note.iter().for_each(|note| ui.note(note));
        let chosen = match self.quality {
            Some(quality) => {
                let samples = Samples::of(&project, &model)?.runs;
                let progress = Progress::new(ui, 1);
                let (chosen, _) = progress.stage("widths", || quality::meet(&model, &plan, &samples, quality));
                Some(chosen?)
            }
            None => None,
        };
        if let Some(chosen) = &chosen {
            plan.clone_from(&chosen.plan);
            let config = &plan.config;
            ui.note(&format!(
                "{} bits for activations and {} for weights: cosine {:.5}, {} committed cells{}",
                config.activation_bits,
                config.weight_bits,
                chosen.cosine,
                chosen.committed_cells,
                match chosen.wider.as_slice() {
                    [] => String::new(),
                    names => format!("; wider are {}", names.join(", ")),
                }
            ));
        }
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
