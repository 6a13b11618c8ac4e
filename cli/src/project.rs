//! What a MODEL argument means, and the settings of `mlc.toml`.
//!
//! A directory has an `mlc.toml`, which names source, weights and defaults, or is that of a HuggingFace model, with a
//! `config.json`. A `.mlc`, `.onnx` or `.gguf` file, or a compiled circuit, stands for itself: the weights of a source are the
//! safetensors or the `.gguf` of the same name, and an `mlc.toml` beside it gives input settings, calibration data and the
//! default input.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use mlc_compiler::artefact;
use mlc_import::checkpoint::{self, Checkpoint};
use mlc_import::gguf;
use serde::{Deserialize, Serialize};

use crate::error::CliError;
use crate::files;

/// Name of the settings file.
pub(crate) const MANIFEST: &str = "mlc.toml";

/// `mlc.toml`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// What is compiled.
    pub(crate) model: Option<ModelTable>,
    /// Values of the model's `config` declarations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) config: BTreeMap<String, toml::Value>,
    /// Precision and calibration.
    #[serde(default, skip_serializing_if = "QuantiseTable::says_nothing")]
    pub(crate) quantise: QuantiseTable,
    /// Defaults of `run` and `prove`.
    #[serde(default, skip_serializing_if = "RunTable::says_nothing")]
    pub(crate) run: RunTable,
    /// Preprocessing, by input.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) inputs: BTreeMap<String, InputTable>,
    /// Presentation, by output.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) outputs: BTreeMap<String, OutputTable>,
}

/// `[model]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelTable {
    /// A `.mlc` or `.onnx` file.
    pub(crate) source: PathBuf,
    /// A safetensors file; that of the same name as the source where it is not given.
    pub(crate) weights: Option<PathBuf>,
    /// The entry to run; `main`, or the first.
    pub(crate) entry: Option<String>,
}

/// `[quantise]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuantiseTable {
    /// Sample inputs to calibrate on, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) data: Vec<PathBuf>,
    /// A plan that `mlc calibrate` wrote; then `data` is not read. Annotations and the widths below stand before it.
    pub(crate) plan: Option<PathBuf>,
    /// Bits of activations.
    pub(crate) activation_bits: Option<u32>,
    /// Bits of weights.
    pub(crate) weight_bits: Option<u32>,
    /// Greatest number of index bits of a table.
    pub(crate) table_bits: Option<u32>,
    /// Bits of the scores of a softmax.
    pub(crate) softmax_bits: Option<u32>,
}

impl QuantiseTable {
    fn says_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// `[run]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunTable {
    /// The input where none is given.
    pub(crate) input: Option<PathBuf>,
}

impl RunTable {
    fn says_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// `[inputs.NAME]`: what the pixels of an image become, which are in [0, 1]: `pixel · scale + offset`.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InputTable {
    /// Factor.
    #[serde(default = "one")]
    pub(crate) scale: f64,
    /// Added after scaling.
    #[serde(default)]
    pub(crate) offset: f64,
}

fn one() -> f64 {
    1.0
}

/// `[outputs.NAME]`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputTable {
    /// Scores: report the position of the largest on the last axis as the label.
    #[serde(default)]
    pub(crate) scores: bool,
    /// Names of the positions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) names: Vec<String>,
    /// It is left out of the statement.
    #[serde(default)]
    pub(crate) private: bool,
}

/// The file that is compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A model in the mlc language.
    Mlc(PathBuf),
    /// An ONNX file.
    Onnx(PathBuf),
    /// A HuggingFace directory.
    HuggingFace(PathBuf),
    /// A GGUF file.
    Gguf(PathBuf),
    /// What `mlc compile` wrote; by its extension or its first bytes.
    Circuit(PathBuf),
}

impl Source {
    fn of(path: &Path) -> Result<Self, CliError> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("mlc") => Ok(Source::Mlc(path.to_owned())),
            Some("onnx") => Ok(Source::Onnx(path.to_owned())),
            Some(gguf::EXTENSION) => Ok(Source::Gguf(path.to_owned())),
            Some(artefact::EXTENSION) => Ok(Source::Circuit(path.to_owned())),
            _ if begins_with(path, artefact::MAGIC) => Ok(Source::Circuit(path.to_owned())),
            _ if !path.exists() => Err(CliError::read(path, "no such file or directory")),
            _ => Err(CliError::Usage(format!(
                "`{}` is no model: give a directory with an {MANIFEST} or a config.json, a .mlc, .onnx or .gguf file, or a circuit that \
                 `mlc compile` wrote",
                path.display()
            ))),
        }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Source::Mlc(path)
            | Source::Onnx(path)
            | Source::HuggingFace(path)
            | Source::Gguf(path)
            | Source::Circuit(path) => path,
        }
    }
}

/// A model with its settings; paths are resolved.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// Directory of the settings and the cache.
    pub(crate) root: PathBuf,
    /// What is compiled.
    pub(crate) source: Source,
    /// The safetensors file, where there is one.
    pub(crate) weights: Option<PathBuf>,
    /// Settings.
    pub(crate) manifest: Manifest,
    /// Values set on the command line.
    pub(crate) set: Vec<(String, String)>,
    /// The entry asked for.
    pub(crate) entry: Option<String>,
    /// Outputs that the command line leaves out of the statement.
    pub(crate) hide: Vec<String>,
    /// The cosine with the real model for which widths are chosen.
    pub(crate) quality: Option<f64>,
}

impl Project {
    /// The project that a MODEL argument names.
    pub(crate) fn open(model: &Path) -> Result<Self, CliError> {
        if model.is_dir() {
            return Self::directory(model);
        }
        let source = Source::of(model)?;
        if !model.exists() {
            return Err(CliError::read(model, "no such file"));
        }
        let root = folder(model);
        let beside = root.join(MANIFEST);
        let mut manifest = if beside.exists() {
            parse(&beside)?
        } else {
            Manifest::default()
        };
        // Values and names of entries belong to the model that the settings name.
        let same = manifest.model.as_ref().is_some_and(|m| root.join(&m.source) == *model);
        if !same {
            manifest.config.clear();
        }
        let table = manifest.model.as_ref().filter(|_| same);
        let weights = weights(&root, &source, table.and_then(|m| m.weights.as_deref()))?;
        let entry = table.and_then(|m| m.entry.clone());
        Ok(Project {
            root,
            source,
            weights,
            manifest,
            set: Vec::new(),
            hide: Vec::new(),
            entry,
            quality: None,
        })
    }

    fn directory(root: &Path) -> Result<Self, CliError> {
        let path = root.join(MANIFEST);
        if !path.exists() && Checkpoint::is_at(root) {
            return Ok(Self::huggingface(root, Manifest::default()));
        }
        if !path.exists() {
            return Err(CliError::Usage(format!(
                "`{}` has neither {MANIFEST} nor config.json: name a .mlc or .onnx file, or make a project with `mlc new NAME`",
                root.display()
            )));
        }
        let manifest = parse(&path)?;
        let Some(model) = &manifest.model else {
            if Checkpoint::is_at(root) {
                return Ok(Self::huggingface(root, manifest));
            }
            return Err(CliError::read(&path, "there is no [model] with a `source`"));
        };
        let file = root.join(&model.source);
        let source = Source::of(&file)?;
        if !file.exists() {
            return Err(CliError::read(
                &file,
                format!("no such file (named by `{}`)", path.display()),
            ));
        }
        let weights = weights(root, &source, model.weights.as_deref())?;
        Ok(Project {
            root: root.to_owned(),
            source,
            weights,
            entry: model.entry.clone(),
            manifest,
            set: Vec::new(),
            hide: Vec::new(),
            quality: None,
        })
    }

    fn huggingface(root: &Path, manifest: Manifest) -> Self {
        Project {
            root: root.to_owned(),
            source: Source::HuggingFace(root.to_owned()),
            weights: None,
            manifest,
            set: Vec::new(),
            hide: Vec::new(),
            entry: None,
            quality: None,
        }
    }

    /// The file that the weights are in: safetensors, or the ONNX or GGUF file itself.
    pub(crate) fn weight_file(&self) -> Option<PathBuf> {
        match (&self.weights, &self.source) {
            (Some(path), _) | (None, Source::Onnx(path) | Source::Gguf(path)) => Some(path.clone()),
            (None, Source::HuggingFace(dir)) => {
                let names = [checkpoint::INDEX, checkpoint::WEIGHTS].map(|name| dir.join(name));
                names.into_iter().find(|path| path.exists())
            }
            _ => None,
        }
    }

    /// Files of calibration data.
    pub(crate) fn calibration(&self) -> Vec<PathBuf> {
        self.manifest.quantise.data.iter().map(|p| self.root.join(p)).collect()
    }
}

fn begins_with(path: &Path, magic: &[u8]) -> bool {
    let mut start = vec![0; magic.len()];
    File::open(path).is_ok_and(|mut f| f.read_exact(&mut start).is_ok()) && start == magic
}

/// The directory of a file.
pub(crate) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn weights(root: &Path, source: &Source, named: Option<&Path>) -> Result<Option<PathBuf>, CliError> {
    if let Some(named) = named {
        let path = root.join(named);
        return match path.exists() {
            true => Ok(Some(path)),
            false => Err(CliError::read(
                &path,
                format!("no such file (named by `weights` in {MANIFEST})"),
            )),
        };
    }
    if !matches!(source, Source::Mlc(_)) {
        return Ok(None);
    }
    let beside = ["safetensors", "safetensors.index.json", gguf::EXTENSION].map(|e| source.path().with_extension(e));
    Ok(beside.into_iter().find(|path| path.exists()))
}

fn parse(path: &Path) -> Result<Manifest, CliError> {
    let text = files::read_text(path)?;
    toml::from_str(&text).map_err(|e: toml::de::Error| CliError::read(path, e.to_string().trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_unknown_ones_refused() {
        let text =
            "[model]\nsource = 'm.mlc'\n[config]\nhidden = 3\n[inputs.x]\nscale = 0.5\n[quantise]\nweight_bits = 8\n";
        let manifest: Manifest = toml::from_str(text).unwrap();
        assert_eq!(manifest.inputs["x"].scale, 0.5);
        assert_eq!(manifest.quantise.weight_bits, Some(8));
        assert!(toml::from_str::<Manifest>("[model]\nsources = 'm.mlc'\n").is_err());
    }
}
