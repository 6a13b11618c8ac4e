//! A checked module of the real stage, with its weights.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mlc_compiler::{CheckResult, Config, QuantHint};
use mlc_import::checkpoint;
use mlc_import::{Options, import_file};
use mlc_ir::{Entry, Module, Visibility};

use crate::error::{CliError, Diagnosed};
use crate::files;
use crate::host::Files;
use crate::huggingface::{self, Opened};
use crate::project::{Project, Source};
use crate::weights::Weights;

/// A model as it is read.
pub(crate) struct Model {
    /// The graph.
    pub(crate) module: Module,
    /// What the source asks of quantisation.
    pub(crate) quant: Vec<QuantHint>,
    /// Files of sample inputs, in order.
    pub(crate) calibration: Vec<PathBuf>,
    /// The weights.
    pub(crate) weights: Weights,
    /// Name of the entry to run.
    pub(crate) entry: String,
    /// The `config` that sets the greatest length of a run-time dimension, by the dimension's name.
    pub(crate) limits: BTreeMap<String, String>,
    /// Warnings of the source.
    pub(crate) warnings: Option<Diagnosed>,
}

impl Model {
    /// Reads and checks everything that a project names.
    pub(crate) fn load(project: &Project) -> Result<Self, CliError> {
        let mut model = match &project.source {
            Source::Mlc(_) => Self::mlc(project)?,
            Source::Onnx(path) => {
                let imported = import_file(path, &Options::default()).map_err(|e| CliError::import(path, e))?;
                Model {
                    module: imported.module,
                    quant: Vec::new(),
                    calibration: Vec::new(),
                    weights: Weights::Onnx(Box::new(imported.weights)),
                    entry: String::new(),
                    limits: BTreeMap::new(),
                    warnings: None,
                }
            }
            Source::HuggingFace(dir) => Self::huggingface(project, huggingface::open(project, dir)?)?,
            Source::Gguf(path) => Self::huggingface(project, huggingface::open_gguf(project, path)?)?,
            Source::Circuit(path) => {
                return Err(CliError::Usage(format!(
                    "`{}` is a compiled circuit, and this command reads the model it was compiled from: give the .mlc or \
                     .onnx file, or the project's directory",
                    path.display()
                )));
            }
        };
        model.entry = entry_name(&model.module, project.entry.as_deref())?;
        model.hide(project)?;
        let named = project.calibration();
        if !named.is_empty() {
            model.calibration = named;
        }
        Ok(model)
    }

    fn mlc(project: &Project) -> Result<Self, CliError> {
        let weights = match &project.weights {
            Some(path) => Weights::open(path)?,
            None => Weights::None,
        };
        let checked = check(project, &weights)?;
        Self::of(project, checked, weights)
    }

    fn huggingface(project: &Project, opened: Opened) -> Result<Self, CliError> {
        let checked = opened.check(project, values(project)?)?;
        Self::of(project, checked, opened.weights)
    }

    fn of(project: &Project, checked: CheckResult, weights: Weights) -> Result<Self, CliError> {
        let file = project.weight_file();
        if checked.has_errors() {
            return Err(CliError::Source(Box::new(Diagnosed {
                diagnostics: checked.diagnostics,
                sources: checked.sources,
                weights: file,
            })));
        }
        let Some(module) = checked.module else {
            return Err(CliError::refused("the source has no model"));
        };
        if let (Weights::None, Some(name)) = (&weights, module.weights.keys().next()) {
            return Err(CliError::refused(format!(
                "the model has weights (`{name}` and {} more) and there is no `{}`; name the file with `--weights FILE`, or \
                 with `weights` under [model] in mlc.toml",
                module.weights.len() - 1,
                project.source.path().with_extension("safetensors").display()
            )));
        }
        let warnings = (!checked.diagnostics.is_empty()).then_some(Diagnosed {
            diagnostics: checked.diagnostics,
            sources: checked.sources,
            weights: file,
        });
        Ok(Model {
            module,
            quant: checked.quant,
            calibration: checked.calibration.iter().map(|p| project.root.join(p)).collect(),
            weights,
            entry: String::new(),
            limits: checked.limits,
            warnings,
        })
    }

    /// Leaves outputs out of the statement: those that the settings say, in every entry, and those of the command line, which
    /// the entry to run has.
    fn hide(&mut self, project: &Project) -> Result<(), CliError> {
        let run = self.entry.clone();
        for (name, entry) in &mut self.module.entries {
            for port in &mut entry.outputs {
                let settings = project.manifest.outputs.get(&port.name);
                if settings.is_some_and(|o| o.private) || (*name == run && project.hide.contains(&port.name)) {
                    port.visibility = Visibility::Private;
                }
            }
        }
        let known = |name: &str| {
            self.module
                .entries
                .values()
                .any(|e| e.outputs.iter().any(|o| o.name == name))
        };
        let mut settings = project.manifest.outputs.iter().filter(|o| o.1.private);
        if let Some((unknown, _)) = settings.find(|o| !known(o.0)) {
            return Err(CliError::Usage(format!(
                "[outputs.{unknown}] of mlc.toml is private, and the model has no output '{unknown}'"
            )));
        }
        let outputs = &self.entry().outputs;
        let names: Vec<&str> = outputs.iter().map(|o| o.name.as_str()).collect();
        if let Some(unknown) = project.hide.iter().find(|h| !names.contains(&h.as_str())) {
            return Err(CliError::Usage(format!(
                "the entry '{run}' has no output '{unknown}' to hide; its outputs are: {}",
                names.join(", ")
            )));
        }
        if outputs.iter().all(|o| o.visibility == Visibility::Private) {
            return Err(CliError::Usage(format!(
                "every output of the entry '{run}' is private: a proof would say nothing"
            )));
        }
        Ok(())
    }

    /// The entry to run.
    pub(crate) fn entry(&self) -> &Entry {
        // The name was looked up when the model was loaded.
        &self.module.entries[&self.entry]
    }
}

/// Parses and checks the source of a project, with what its weight file holds.
pub(crate) fn check(project: &Project, weights: &Weights) -> Result<CheckResult, CliError> {
    let path = project.source.path();
    let root = path.parent().map(|p| p.to_owned()).unwrap_or_default();
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let mut config = Config {
        weights: weights.shapes(),
        ..values(project)?
    };
    let beside = root.join(checkpoint::CONFIG);
    if beside.is_file() {
        config.file = Some(files::read_json(&beside)?);
    }
    Ok(mlc_compiler::check(&Files { root }, &name, &config))
}

/// The values that settings and command line give.
fn values(project: &Project) -> Result<Config, CliError> {
    let mut config = Config::default();
    for (key, value) in &project.manifest.config {
        let value = serde_json::to_value(value).map_err(CliError::refused)?;
        config.values.insert(key.clone(), value);
    }
    for (key, text) in &project.set {
        config.set(key, text);
    }
    Ok(config)
}

pub(crate) fn entry_name(module: &Module, asked: Option<&str>) -> Result<String, CliError> {
    let names: Vec<&str> = module.entries.keys().map(String::as_str).collect();
    match asked {
        Some(name) if names.contains(&name) => Ok(name.to_owned()),
        Some(name) => Err(CliError::Usage(format!(
            "the model has no entry `{name}`; its entries are {}",
            names.join(", ")
        ))),
        None if names.contains(&"main") => Ok("main".to_owned()),
        None => names
            .first()
            .map(|n| (*n).to_owned())
            .ok_or_else(|| CliError::refused("the model has no entry")),
    }
}
