mod beside;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use mlc_compiler::check::configured;
use mlc_compiler::fmt::format;
use mlc_compiler::syntax::FileId;
use mlc_import::transpile::transpile;
use mlc_import::{Options, checkpoint, gguf, import_file};
use serde_json::json;

use beside::Beside;

use crate::error::{CliError, Diagnosed};
use crate::files;
use crate::huggingface;
use crate::project::{Project, Source, folder};
use crate::ui::Ui;

/// Arguments of `mlc transpile`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mlc transpile model.onnx -o model.mlc      # writes model.mlc and model.safetensors
  mlc transpile path/to/hf-model -o m/m.mlc  # its family under its config.json, and its tensors in one file

The tokenizer, an mlc.toml and the calibration data that it names go with it to another directory.")]
pub(crate) struct Transpile {
    /// The ONNX or GGUF file, or the HuggingFace directory
    #[arg(value_name = "MODEL.onnx|MODEL.gguf|DIR")]
    model: PathBuf,
    /// Write the source here and the weights beside it; MODEL.mlc where it is not given and there is no such file
    #[arg(long, short, value_name = "M.mlc")]
    output: Option<PathBuf>,
}

impl Transpile {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let source = self.output.clone().unwrap_or_else(|| match self.model.is_dir() {
            true => self.model.join(huggingface::OWN),
            false => self.model.with_extension("mlc"),
        });
        let packed = self.model.extension().is_some_and(|e| e == gguf::EXTENSION);
        let weights = source.with_extension(if packed { gguf::EXTENSION } else { "safetensors" });
        self.is_model()?;
        files::create_dir(&folder(&source))?;
        files::will_write(&source)?;
        if let (None, Some(taken)) = (
            &self.output,
            [&source, &weights]
                .into_iter()
                .find(|p| p.exists() && !same(p, &self.model) && !same(p, &self.model.join(checkpoint::WEIGHTS))),
        ) {
            return Err(CliError::Usage(format!(
                "`{}` exists already; `-o {}` writes it anew",
                taken.display(),
                source.display()
            )));
        }
        if self.model.is_dir() || packed {
            return self.huggingface(ui, &source, &weights);
        }
        let beside = Beside::of(&Project::open(&self.model)?, &source)?;
        let imported = import_file(&self.model, &Options::default()).map_err(|e| CliError::import(&self.model, e))?;
        let written = transpile(&imported.module, &imported.weights).map_err(CliError::refused)?;
        let tensors = written.safetensors().map_err(CliError::refused)?;
        files::write_together(&[(&weights, &tensors), (&source, written.source.as_bytes())])?;
        beside.write()?;
        beside.note.iter().for_each(|note| ui.note(note));
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

    /// Refuses a file that is no model of another format.
    fn is_model(&self) -> Result<(), CliError> {
        let path = self.model.display();
        match self.model.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => Err(CliError::Usage(format!(
                "`{path}` holds weights alone: give the directory that it lies in with its {}, whose `model_type` says what \
                 model they are of",
                checkpoint::CONFIG
            ))),
            Some("mlc") => Err(CliError::Usage(format!(
                "`{path}` is .mlc already; a HuggingFace directory, a .gguf or an .onnx file is transpiled"
            ))),
            _ => Ok(()),
        }
    }

    /// The family with the values of config.json as its defaults, and all tensors as they are stored, in one file: a GGUF
    /// file as a whole.
    fn huggingface(&self, ui: &Ui, source: &Path, weights: &Path) -> Result<ExitCode, CliError> {
        let project = Project::open(&self.model)?;
        let opened = match &project.source {
            Source::HuggingFace(dir) => huggingface::open(&project, dir)?,
            Source::Gguf(path) => huggingface::open_gguf(&project, path)?,
            source => {
                return Err(CliError::Usage(format!(
                    "`{}` is a project: its source is `{}`",
                    self.model.display(),
                    source.path().display()
                )));
            }
        };
        let beside = Beside::of(&project, source)?;
        let checked = opened.check(&project, Default::default())?;
        if checked.has_errors() {
            return Err(CliError::Source(Box::new(Diagnosed {
                diagnostics: checked.diagnostics,
                sources: checked.sources,
                weights: project.weight_file(),
            })));
        }
        let text = configured(&opened.family.source, &opened.config);
        let text = format(FileId(0), &text).map_err(|d| CliError::refused(format!("{d:?}")))?;
        let in_place =
            weights.exists() && (same(weights, &self.model) || same(weights, &project.root.join(checkpoint::WEIGHTS)));
        let count = opened.weights.shapes().map_or(0, |s| s.len());
        if !in_place {
            opened.weights.save(weights)?;
        }
        beside.write()?;
        files::write_atomic(source, text.as_bytes())?;
        beside.note.iter().for_each(|note| ui.note(note));
        ui.result(
            || json!({ "source": source, "weights": weights, "tensors": count }),
            || format!("{} and {} ({count} tensors)", source.display(), weights.display()),
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether two paths are of one file.
fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
