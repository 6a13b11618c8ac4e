use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use mlc_compiler::syntax::{FileId, dump, parse};
use serde_json::json;

use super::ModelArgs;
use crate::draw;
use crate::error::CliError;
use crate::files;
use crate::pipeline;
use crate::project::Source;
use crate::ui::{Ui, bytes};

/// A form of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Emit {
    /// The syntax tree of the source
    Ast,
    /// The graph in real numbers
    Ir,
    /// The graph in integers
    Qir,
    /// The circuit artefact
    Circuit,
    /// A picture of the circuit, for Graphviz
    Dot,
}

/// Arguments of `mlc compile`.
#[derive(Debug, Args)]
#[command(after_help = "\
The same source, settings and plan give the same bytes on every machine. The artefact holds the
circuit and the recipes of its weights, but not the weights: `inspect`, `security`, `setup`, `run`,
`prove` and `verify` take it as MODEL, with the weight file beside it or named by `--weights`.

Example:
  mlc compile examples/digits -o digits.circuit
  mlc setup digits.circuit --weights examples/digits/mlp.safetensors -o digits-key
  mlc compile model.mlc --emit ir
  mlc compile model.mlc --print-after quantise")]
pub(crate) struct Compile {
    #[command(flatten)]
    model: ModelArgs,
    /// What to write: text forms to standard output, the artefact to a file
    #[arg(long, value_enum, value_delimiter = ',', default_value = "circuit")]
    emit: Vec<Emit>,
    /// Print the graph after this pass
    #[arg(long, value_name = "PASS")]
    print_after: Vec<String>,
    /// Write the artefact here; MODEL.circuit where it is not given
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Compile {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let project = self.model.project()?;
        let wants = |e: Emit| self.emit.contains(&e);
        let mut forms = Vec::new();
        if wants(Emit::Ast) {
            let Source::Mlc(path) = &project.source else {
                return Err(CliError::Usage(format!(
                    "`{}` has no syntax tree: only a .mlc file has; `--emit ir` shows a model's graph",
                    project.source.path().display()
                )));
            };
            let (tree, _) = parse(FileId(0), &files::read_text(path)?);
            forms.push(("ast", dump(&tree)));
        }
        let model = super::load(&project, ui)?;
        if wants(Emit::Ir) {
            forms.push(("ir", model.module.to_string()));
        }
        let later = wants(Emit::Qir) || wants(Emit::Circuit) || wants(Emit::Dot) || !self.print_after.is_empty();
        let mut written = None;
        if later {
            let plan = super::plan(&project, &model, ui)?;
            for text in pipeline::print_after(&model, &plan, &self.print_after)? {
                forms.push(("print_after", text));
            }
            if wants(Emit::Qir) || wants(Emit::Circuit) || wants(Emit::Dot) {
                let compiled = pipeline::compile(&model, plan)?;
                if let (true, Some(stages)) = (wants(Emit::Qir), &compiled.stages) {
                    forms.push(("qir", stages.quantised.to_string()));
                }
                if wants(Emit::Dot) {
                    forms.push(("dot", draw::dot(&compiled.circuit, compiled.entry)));
                }
                if wants(Emit::Circuit) {
                    let path = self
                        .output
                        .clone()
                        .unwrap_or_else(|| format!("{}.circuit", model.module.name).into());
                    let artefact = pipeline::artefact(&project, &model, &compiled);
                    let encoded = artefact.encode();
                    files::write_atomic(&path, &encoded)?;
                    written = Some((path, encoded.len(), pipeline::digest_hex(&compiled.circuit)));
                }
            }
        }
        ui.result(
            || {
                let mut out: serde_json::Map<_, _> = forms.iter().map(|(n, t)| ((*n).to_owned(), json!(t))).collect();
                if let Some((path, size, digest)) = &written {
                    out.insert(
                        "circuit".into(),
                        json!({ "path": path, "bytes": size, "digest": digest }),
                    );
                }
                out.into()
            },
            || {
                let mut out: String = forms.iter().map(|(_, text)| text.clone()).collect();
                if let Some((path, size, digest)) = &written {
                    out += &format!("{}: {}, digest {digest}\n", path.display(), bytes(*size as u64));
                }
                out
            },
        );
        Ok(ExitCode::SUCCESS)
    }
}
