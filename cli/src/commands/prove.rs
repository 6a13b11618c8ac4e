use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mlc_runtime::backend::cpu::Cpu;

use super::{InputArgs, ModelArgs, compiled};
use crate::cost;
use crate::error::CliError;
use crate::files;
use crate::input::Bound;
use crate::model::Model;
use crate::pipeline::{self, Compiled};
use crate::progress::Progress;
use crate::project::Project;
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
    #[command(flatten)]
    input: InputArgs,
    /// Write the proof here
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the report here, as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keep what is done of a long proof in this directory, and go on from what a killed run left there
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
}

impl Prove {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let progress = Progress::new(ui, 4);
        let project = self.model.project()?;
        for path in self.output.iter().chain(&self.report) {
            files::will_write(path)?;
        }
        let (opened, compile_s) = progress.stage("compile", || compiled(&project, ui, true));
        let (model, compiled) = opened?;
        let bound = one(self.input.runs(&project, &model)?)?;
        let dims = bound.dims_of(&compiled.circuit);
        // An input that does not fit is refused before the work of setup.
        bound.integers(&compiled.circuit.entries[compiled.entry])?;
        announce(ui, &project, &model, &compiled, &dims)?;

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
        let (report, proof, resumed) = session.prove_from(&progress, &bound, 1, self.checkpoint.as_deref())?;
        drop(progress);
        if !resumed.is_empty() {
            ui.note(&format!("resumed with {} from the checkpoint", resumed.join(", ")));
        }
        let text = pretty(&report.json()) + "\n";
        let proof = self.output.as_deref().map(|path| (path, &proof[..]));
        let written = self.report.as_deref().map(|path| (path, text.as_bytes()));
        files::write_together(&proof.into_iter().chain(written).collect::<Vec<_>>())?;
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

/// Says what a proof at these dimensions will take.
pub(super) fn announce(
    ui: &Ui,
    project: &Project,
    model: &Model,
    compiled: &Compiled,
    dims: &[u32],
) -> Result<(), CliError> {
    let cost = cost::predict(&compiled.circuit, compiled.entry, dims)?;
    let made = pipeline::key_directory(project, model, compiled)?
        .join("verifying.key")
        .exists();
    let setup = match made {
        true => String::new(),
        false => format!(" ({} to make the key, once)", bytes(cost.setup_memory_bytes)),
    };
    ui.note(&format!(
        "{}: {} committed cells, about {} of memory{setup}; the proof is succinct but not yet zero-knowledge",
        model.module.name,
        cost.committed_cells,
        bytes(cost.memory_bytes)
    ));
    Ok(())
}

/// A proof is of one run.
pub(super) fn one(mut runs: Vec<Bound>) -> Result<Bound, CliError> {
    match (runs.len(), runs.pop()) {
        (1, Some(run)) => Ok(run),
        (n, last) => Err(CliError::refused(format!(
            "`{}` holds a batch that takes {n} runs; a proof is of one: give fewer at once, or raise the dimension's `max`",
            last.map(|b| b.file).unwrap_or_default()
        ))),
    }
}
