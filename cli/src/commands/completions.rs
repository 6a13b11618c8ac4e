use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::error::CliError;
use crate::ui::Ui;

/// Arguments of `mlc completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mlc completions bash > ~/.local/share/bash-completion/completions/mlc")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::args::Cli::command(), "mlc", &mut script);
        ui.print(&String::from_utf8_lossy(&script));
        Ok(ExitCode::SUCCESS)
    }
}
