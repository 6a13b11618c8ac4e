use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mlc_runtime::backend::cpu::Cpu;

use super::{ModelArgs, input_path, load};
use crate::cost;
use crate::error::CliError;
use crate::files;
use crate::pipeline;
use crate::progress::Progress;
use crate::session::Session;
use crate::ui::{Ui, bytes, pretty};

/// Arguments of `mlc prove`.
#[derive(Debug, Args)]
#[command(after_help = "\
Compiles, calibrates, sets up (once), executes, proves, and verifies the proof.
Proofs are succinct but not yet zero-knowledge: they leak information on inputs and weights.

Example:
  mlc prove examples/digits
  mlc prove examples/digits --input image.png -o digit.proof --report report.json")]
pub(crate) struct Prove {
    #[command(flatten)]
    model: ModelArgs,
    /// The input: .json, .npy, .safetensors or .png; the project's default where it is not given
    #[arg(long, short, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Write the proof here
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the report here, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl Prove {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let progress = Progress::new(ui, 4);
        let project = self.model.project()?;
        let (compiled, compile_s) = progress.stage("compile", || {
            let model = load(&project, ui)?;
            let plan = pipeline::plan(&project, &model)?;
            let compiled = pipeline::compile(&model, plan)?;
            Ok::<_, CliError>((model, compiled))
        });
        let (model, compiled) = compiled?;
        let path = input_path(self.input.as_ref(), &project)?;
        let bound = one(pipeline::read_input(&project, &model, &path)?, &path)?;
        let dims = bound.dims_of(&compiled.circuit);
        // An input that does not fit is refused before the work of setup.
        bound.integers(&compiled.circuit.entries[compiled.entry].inputs)?;
        let cost = cost::predict(&compiled.circuit, compiled.entry, &dims)?;
        ui.note(&format!(
            "{}: {} committed cells, about {} of memory; the proof is succinct but not yet zero-knowledge",
            model.module.name,
            cost.committed_cells,
            bytes(cost.memory_bytes)
        ));

        let backend = Cpu;
        let (key, setup_s) = progress.stage("setup", || pipeline::proving_key(&backend, &project, &model, &compiled));
        let key = key?;
        let session = Session {
            model: &model,
            compiled: &compiled,
            key: &key,
            manifest: &project.manifest,
            compile_s,
            setup_s,
        };
        let (report, proof) = session.prove(&progress, &bound, 1)?;
        drop(progress);
        if let Some(path) = &self.output {
            files::write_atomic(path, &proof)?;
        }
        if let Some(path) = &self.report {
            files::write_atomic(path, (pretty(&report.json()) + "\n").as_bytes())?;
        }
        ui.result(
            || report.json(),
            || {
                let fingerprint = key.key.fingerprint_hex();
                let written = self.output.as_ref().map(|p| format!("written    {}\n", p.display()));
                format!(
                    "{}key        {fingerprint}\n{}",
                    report.text(),
                    written.unwrap_or_default()
                )
            },
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// A proof is of one run.
pub(super) fn one<T>(mut runs: Vec<T>, path: &std::path::Path) -> Result<T, CliError> {
    match (runs.len(), runs.pop()) {
        (1, Some(run)) => Ok(run),
        (n, _) => Err(CliError::refused(format!(
            "`{}` holds a batch that takes {n} runs; a proof is of one: give fewer at once, or raise the dimension's `max`",
            path.display()
        ))),
    }
}
