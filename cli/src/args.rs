//! The command line as data.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::commands::Command;
use crate::ui::Format;

/// Compiles neural networks to circuits and proves their inferences.
#[derive(Debug, Parser)]
#[command(
    name = "mlc",
    version,
    about,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
#[command(after_help = "\
A MODEL is a directory with an mlc.toml or of a HuggingFace model, a .mlc, .onnx or .gguf file, or a
compiled circuit.

Example:
  mlc new digits-like && mlc prove digits-like

Exit codes: 0 done or accepted, 1 rejected or diagnostics, 2 usage or unreadable input.
Proofs are succinct but not yet zero-knowledge: they leak information on inputs and weights.")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How.
    #[command(flatten)]
    pub(crate) global: Global,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print results for people, or as one JSON value
    #[arg(long, global = true, value_enum, default_value = "human", value_name = "FORMAT")]
    pub(crate) output_format: Format,
    /// Write a Chrome trace of the named stages
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
}
