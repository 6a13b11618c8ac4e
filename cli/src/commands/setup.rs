use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mlc_runtime::backend::cpu::Cpu;
use serde_json::json;

use super::ModelArgs;
use crate::error::CliError;
use crate::pipeline;
use crate::progress::Progress;
use crate::ui::{Ui, bytes, seconds};

/// Arguments of `mlc setup`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without -o the key goes to the project's cache, where `prove` finds it. The file `verifying.key` of the directory is
all that a verifier needs.

Example:
  mlc setup examples/digits -o digits-key
  mlc verify --key digits-key/verifying.key --proof digit.proof")]
pub(crate) struct Setup {
    #[command(flatten)]
    model: ModelArgs,
    /// Write the key to this directory
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Setup {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let progress = Progress::new(ui, 2);
        let (compiled, _) = progress.stage("compile", || self.model.compiled(ui, true));
        let (project, model, compiled) = compiled?;
        let backend = Cpu;
        let (made, took) = progress.stage("setup", || match &self.output {
            None => {
                let key = pipeline::proving_key(&backend, &project, &model, &compiled)?;
                Ok((key, pipeline::key_directory(&project, &model, &compiled)?))
            }
            Some(dir) => {
                let key = pipeline::setup_key(&backend, &model, &compiled, dir)?;
                key.save(dir).map_err(|e| CliError::write(dir, e))?;
                Ok::<_, CliError>((key, dir.clone()))
            }
        });
        drop(progress);
        let (key, dir) = made?;
        let (fingerprint, size) = (key.key.fingerprint_hex(), key.key.encode().len() as u64);
        ui.result(
            || {
                json!({
                    "directory": dir,
                    "fingerprint": fingerprint,
                    "setup_s": took,
                    "verifying_key_bytes": size,
                })
            },
            || {
                format!(
                    "key        {fingerprint}\nwritten    {} (verifying key {}) in {}",
                    dir.display(),
                    bytes(size),
                    seconds(took)
                )
            },
        );
        Ok(ExitCode::SUCCESS)
    }
}
