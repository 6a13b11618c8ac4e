use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mlc_import::transpile::transpile;
use mlc_import::{Options, import_file};
use serde_json::json;

use crate::error::CliError;
use crate::files;
use crate::ui::Ui;

/// Arguments of `mlc transpile`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mlc transpile model.onnx -o model.mlc      # writes model.mlc and model.safetensors")]
pub(crate) struct Transpile {
    /// The ONNX file
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Write the source here and the weights beside it; MODEL.mlc where it is not given and there is no such file
    #[arg(long, short, value_name = "M.mlc")]
    output: Option<PathBuf>,
}

impl Transpile {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let source = self.output.clone().unwrap_or_else(|| self.model.with_extension("mlc"));
        let weights = source.with_extension("safetensors");
        files::will_write(&source)?;
        if let (None, Some(taken)) = (&self.output, [&source, &weights].into_iter().find(|p| p.exists())) {
            return Err(CliError::Usage(format!(
                "`{}` exists already; `-o {}` writes it anew",
                taken.display(),
                source.display()
            )));
        }
        let imported = import_file(&self.model, &Options::default()).map_err(|e| CliError::import(&self.model, e))?;
        let written = transpile(&imported.module, &imported.weights).map_err(CliError::refused)?;
        let tensors = written.safetensors().map_err(CliError::refused)?;
        files::write_together(&[(&weights, &tensors), (&source, written.source.as_bytes())])?;
        ui.result(
            || json!({ "source": source, "weights": weights, "tensors": written.weights.len() }),
            || {
                format!(
                    "{} and {} ({} tensors)",
                    source.display(),
                    weights.display(),
                    written.weights.len()
                )
            },
        );
        Ok(ExitCode::SUCCESS)
    }
}
