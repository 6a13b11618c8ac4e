use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mlc_runtime::backend::cpu::Cpu;

use super::{InputArgs, ModelArgs, compiled};
use crate::cost::{self, Cost};
use crate::error::CliError;
use crate::files;
use crate::input::Bound;
use crate::memory;
use crate::model::Model;
use crate::output::doubt;
use crate::pipeline::{self, Compiled, Residence};
use crate::progress::Progress;
use crate::project::Project;
use crate::session::{How, Session};
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
    /// Take at most so much memory (`8GiB`, `500MB`): weights that do not fit stay in their file. The proof is the same
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Keep what is done of a long proof in this directory, and go on from what a killed run left there
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
}

impl Prove {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        if self.memory.is_some() {
            memory::give_back();
        }
        let progress = Progress::new(ui, 4);
        let project = self.model.project()?;
        for path in self.output.iter().chain(&self.report) {
            files::will_write(path)?;
        }
        if let Some(file) = self.checkpoint.as_deref().filter(|p| p.exists() && !p.is_dir()) {
            return Err(CliError::Usage(format!(
                "`{}` is a file, and a checkpoint is a directory: give one, or a name that there is not",
                file.display()
            )));
        }
        let (opened, compile_s) = progress.stage("compile", || compiled(&project, ui, true));
        let (model, compiled) = opened?;
        let bound = one(self.input.runs(&project, &model)?)?;
        let dims = bound.dims_of(&compiled.circuit);
        // An input that does not fit is refused before the work of setup.
        bound.integers(&compiled.circuit.entries[compiled.entry])?;
        announce(ui, &project, &model, &compiled, &dims)?;
        let weights = match self.memory {
            None => Residence::InMemory,
            Some(budget) => {
                let cost = cost::predict(&compiled.circuit, compiled.entry, &dims)?;
                within(budget, &project, &model, &compiled, &cost)?
            }
        };

        let backend = Cpu;
        let (key, setup_s) = progress.stage("setup", || {
            pipeline::proving_key_with(&backend, &project, &model, &compiled, weights)
        });
        let key = key?;
        if weights == Residence::InFile {
            memory::drop_program();
        }
        let session = Session {
            model: &model,
            compiled: &compiled,
            key: &key,
            manifest: &project.manifest,
            compile_s,
            setup_s,
        };
        let how = How {
            runs: 1,
            checkpoint: self.checkpoint.as_deref(),
            // The f32 model has all of its weights in memory.
            compare: weights == Residence::InMemory,
        };
        let (report, proof, resumed) = session.prove_from(&progress, &bound, &how)?;
        drop(progress);
        if !resumed.is_empty() {
            ui.note(&format!("resumed with {} from the checkpoint", resumed.join(", ")));
        }
        doubt(report.agreement.as_ref()).iter().for_each(|line| ui.note(line));
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

/// Where weights are, that a proof of this cost takes at most `budget` bytes. Where they fit, memory is kept again.
pub(super) fn within(
    budget: u64,
    project: &Project,
    model: &Model,
    compiled: &Compiled,
    cost: &Cost,
) -> Result<Residence, CliError> {
    let dir = pipeline::key_directory(project, model, compiled)?;
    if !dir.join("verifying.key").exists() && cost.setup_memory_bytes > budget {
        return Err(CliError::refused(format!(
            "there is no key of this model yet, and making it takes about {}: run `mlc setup` once where there is so much, then \
             prove with `--memory {}` or more",
            bytes(cost.setup_memory_bytes),
            mebibytes(cost.mapped_bytes)
        )));
    }
    if cost.memory_bytes <= budget {
        memory::keep();
        Ok(Residence::InMemory)
    } else if cost.mapped_bytes <= budget {
        Ok(Residence::InFile)
    } else {
        Err(CliError::refused(format!(
            "a proof at these dimensions does not fit into {}: the least that works is `--memory {}`",
            bytes(budget),
            mebibytes(cost.mapped_bytes)
        )))
    }
}

/// As an argument of `--memory`, rounded up.
fn mebibytes(n: u64) -> String {
    format!("{}MiB", n.div_ceil(1 << 20))
}

/// A number of bytes with its unit.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    let number = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|&n| n > 0);
    number.ok_or_else(|| format!("`{text}` is no size: give a number with B, kB, MB, GB, KiB, MiB or GiB"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, n) in [
            ("8GiB", 8 << 30),
            ("500MB", 500_000_000),
            ("64 MiB", 64 << 20),
            ("12", 12),
            ("3kB", 3000),
        ] {
            assert_eq!(size(text), Ok(n), "{text}");
        }
        for text in ["", "GiB", "0MiB", "8Gb", "-1MB", "99999999999GiB", "1.5GiB"] {
            assert!(size(text).unwrap_err().contains("no size"), "{text}");
        }
        assert_eq!(mebibytes((5 << 20) + 1), "6MiB");
    }
}
