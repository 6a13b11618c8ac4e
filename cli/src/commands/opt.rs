use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mlc_compiler::pipeline::{PASSES, run};
use mlc_compiler::plan::QuantPlan;
use mlc_ir::Module;
use serde_json::json;

use crate::error::CliError;
use crate::files;
use crate::ui::{Ui, table};

/// Arguments of `mlc opt`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mlc compile model.mlc --emit ir > model.ir
  mlc opt --passes canonicalise,dce model.ir
  mlc opt --list")]
pub(crate) struct Opt {
    /// Textual IR
    #[arg(value_name = "FILE.ir", required_unless_present = "list")]
    file: Option<PathBuf>,
    /// Passes, in order
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    passes: Vec<String>,
    /// The quantisation plan that passes read
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Write the result here; to standard output where it is not given
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// List every pass
    #[arg(long)]
    list: bool,
}

impl Opt {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let Some(path) = self.file.as_ref().filter(|_| !self.list) else {
            let pass = |p: &mlc_compiler::pipeline::Pass| json!({ "name": p.name, "summary": p.summary });
            let row = |p: &mlc_compiler::pipeline::Pass| vec![p.name.to_owned(), p.summary.to_owned()];
            ui.result(
                || PASSES.iter().map(pass).collect(),
                || {
                    table(
                        &[vec!["pass".to_owned(), "does".to_owned()]]
                            .into_iter()
                            .chain(PASSES.iter().map(row))
                            .collect::<Vec<_>>(),
                    )
                },
            );
            return Ok(ExitCode::SUCCESS);
        };
        let module: Module = files::read_text(path)?.parse().map_err(|e| CliError::read(path, e))?;
        check(&module)
            .map_err(|why| CliError::refused(format!("`{}` breaks the IR's rules: {why}", path.display())))?;
        let plan = match &self.plan {
            Some(path) => QuantPlan::parse(&files::read_text(path)?).map_err(|e| CliError::read(path, e))?,
            None => QuantPlan::default(),
        };
        let passes: Vec<&str> = self.passes.iter().map(String::as_str).collect();
        let known = |name: &&str| PASSES.iter().any(|p| p.name == *name);
        if let Some(name) = passes.iter().find(|name| !known(name)) {
            return Err(CliError::Usage(format!(
                "there is no pass `{name}`; `mlc opt --list` lists them"
            )));
        }
        let module = run(module, &passes, &plan, &mut |_, _| {}).map_err(CliError::refused)?;
        check(&module)
            .map_err(|why| CliError::refused(format!("the passes broke the IR's rules (please report this): {why}")))?;
        let text = module.to_string();
        match &self.output {
            Some(path) => files::write_atomic(path, text.as_bytes())?,
            None => ui.result(|| json!({ "ir": text }), || text.clone()),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn check(module: &Module) -> Result<(), String> {
    mlc_ir::verify(module).map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}
