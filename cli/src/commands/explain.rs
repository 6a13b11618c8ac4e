use std::process::ExitCode;

use clap::Args;
use mlc_compiler::diagnostics::{Code, did_you_mean};
use serde_json::json;

use crate::error::CliError;
use crate::ui::Ui;

/// Arguments of `mlc explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mlc explain E0203
  mlc explain            # every code with its title")]
pub(crate) struct Explain {
    /// A code, such as E0203; every code where none is given
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

impl Explain {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let Some(text) = &self.code else {
            let list = || {
                Code::ALL
                    .iter()
                    .map(|c| json!({ "code": c.as_str(), "title": c.title() }))
                    .collect()
            };
            ui.result(list, || {
                Code::ALL.iter().map(|c| format!("{c}  {}\n", c.title())).collect()
            });
            return Ok(ExitCode::SUCCESS);
        };
        let Some(code) = Code::parse(text) else {
            let known = Code::ALL.iter().map(|c| c.as_str());
            let hint = did_you_mean(&text.to_uppercase(), known).map_or(String::new(), |h| format!("; {h}"));
            return Err(CliError::Usage(format!(
                "there is no diagnostic `{text}`{hint}; `mlc explain` lists them"
            )));
        };
        ui.result(
            || json!({ "code": code.as_str(), "title": code.title(), "explanation": code.explanation() }),
            || code.explanation().to_owned(),
        );
        Ok(ExitCode::SUCCESS)
    }
}
