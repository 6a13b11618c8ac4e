//! HuggingFace directories as models: the family that serves `model_type`, under the values of `config.json`; and GGUF files,
//! which keep both in their metadata.
//!
//! A `model.mlc` in the directory is the family in place of the built-in one. Every tensor of the weight files is either
//! used or named by the family's `@unused`: what is left over means that the model is not the one the family describes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mlc_compiler::check::{Family, families};
use mlc_compiler::{CheckResult, Config, Host, MemoryHost};
use mlc_import::checkpoint::Checkpoint;
use mlc_import::gguf::Gguf;
use mlc_ir::{Module, TensorF32, WeightSource};

use serde_json::Value;

mod pooling;

use crate::commands::LAYERS;
use crate::error::CliError;
use crate::files;
use crate::host::Files;
use crate::project::Project;
use crate::weights::Weights;

/// Name of a family's source in the directory itself.
pub(crate) const OWN: &str = "model.mlc";
/// The entry that runs where none is named; every family has it.
const ENTRY: &str = "main";

/// Where it is described how a family is added.
const PAGE: &str = "docs/models.md";

/// A directory or file, its family and its weights.
pub(crate) struct Opened {
    /// Where a family of one's own and what it imports would be.
    dir: PathBuf,
    /// All of `config.json`, or what stands for it.
    pub(crate) config: Value,
    pub(crate) family: Family,
    pub(crate) weights: Weights,
}

/// Opens a directory: configuration, family, and the shards mapped.
pub(crate) fn open(project: &Project, dir: &Path) -> Result<Opened, CliError> {
    let checkpoint = Checkpoint::open(dir).map_err(CliError::checkpoint)?;
    let family = family(dir, &checkpoint.model_type)?;
    let mut config = checkpoint.config;
    // Only an entry of states is none of a vector.
    if pooling::asked(&family) && project.entry.as_deref().is_none_or(|e| e == ENTRY) {
        pooling::read(dir, &mut config)?;
    }
    let weights = match &project.weights {
        Some(path) => Weights::open(path)?,
        None => Weights::shards(&checkpoint.shards, &config)?,
    };
    Ok(Opened {
        dir: dir.to_owned(),
        config,
        family,
        weights,
    })
}

/// Opens a GGUF file; a family of one's own in its directory is the family of another model.
pub(crate) fn open_gguf(project: &Project, path: &Path) -> Result<Opened, CliError> {
    let file = Gguf::open(path).map_err(|e| CliError::gguf(path, e))?;
    let family = built_in(path, file.model_type())?;
    Ok(Opened {
        dir: PathBuf::new(),
        config: file.config().clone(),
        family,
        weights: match &project.weights {
            Some(path) => Weights::open(path)?,
            None => Weights::Gguf(Box::new(file)),
        },
    })
}

fn family(dir: &Path, model_type: &str) -> Result<Family, CliError> {
    let own = dir.join(OWN);
    if own.is_file() {
        let family = Family::of("model", &files::read_text(&own)?);
        if !family.model_types.is_empty() && !family.model_types.iter().any(|t| t == model_type) {
            return Err(CliError::refused(format!(
                "`{}` serves the types {}, and the `model_type` of config.json is `{model_type}`",
                own.display(),
                family.model_types.join(", ")
            )));
        }
        return Ok(family);
    }
    built_in(dir, model_type)
}

fn built_in(model: &Path, model_type: &str) -> Result<Family, CliError> {
    let mut known = families();
    match known.iter().position(|f| f.model_types.iter().any(|t| t == model_type)) {
        Some(at) => Ok(known.swap_remove(at)),
        None => {
            let types: Vec<String> = known.into_iter().flat_map(|f| f.model_types).collect();
            Err(CliError::refused(format!(
                "`{}` is a model of type `{model_type}`, which no family serves; known are {}. A family is one .mlc file: \
                 {PAGE} shows how to add one",
                model.display(),
                types.join(", ")
            )))
        }
    }
}

/// A tensor's name without the numbers of its layers.
fn numberless(name: &str) -> String {
    let parts = name.split('.').map(|part| match part.parse::<u32>() {
        Ok(_) => "#",
        Err(_) => part,
    });
    parts.collect::<Vec<_>>().join(".")
}

impl Opened {
    /// Checks the family under the configuration and with the weights; one entry is elaborated.
    pub(crate) fn check(&self, project: &Project, mut config: Config) -> Result<CheckResult, CliError> {
        config.file = Some(self.config.clone());
        config.weights = self.weights.shapes();
        let dir = &self.dir;
        let own = *dir != Path::new("") && dir.join(OWN).is_file();
        let (host, name): (Box<dyn Host>, String) = if own {
            (Box::new(Files { root: dir.to_owned() }), OWN.to_owned())
        } else {
            let name = format!("std/models/{}.mlc", self.family.name);
            (Box::new(MemoryHost::single(&name, &self.family.source)), name)
        };
        let all = mlc_compiler::check(&*host, &name, &config);
        let Some(module) = &all.module else {
            return Ok(all);
        };
        let asked = project.entry.as_deref();
        let entry = crate::model::entry_name(module, asked.or(module.entries.contains_key(ENTRY).then_some(ENTRY)))?;
        let cut = project.set.iter().any(|(key, _)| key == LAYERS);
        self.nothing_left_over(module, cut)?;
        config.entry = Some(entry);
        Ok(mlc_compiler::check(&*host, &name, &config))
    }

    /// Whether a tensor is a bias of zeros: some packers write one for every layer.
    fn adds_nothing(&self, name: &str) -> bool {
        let zeros = |t: TensorF32| t.data.iter().all(|v| *v == 0.0);
        name.ends_with(".bias") && self.weights.get(name).is_ok_and(zeros)
    }

    /// Every tensor is used by the module, or left out by the family. Where a user asked for fewer layers than there are,
    /// those of the others may be left over: they are named as used ones but for a number.
    fn nothing_left_over(&self, module: &Module, cut: bool) -> Result<(), CliError> {
        let mut used = BTreeSet::new();
        for weight in module.weights.values() {
            for bindings in mlc_runtime::weights::bindings(&weight.stack) {
                used.extend(weight.recipe.tensor_names(&bindings).map_err(CliError::refused)?);
            }
        }
        let stored = self.weights.shapes().unwrap_or_default();
        let patterns: BTreeSet<String> = used.iter().map(|name| numberless(name)).collect();
        let extra: Vec<&String> = stored
            .keys()
            .filter(|name| !used.contains(*name) && !self.family.leaves_out(name))
            .filter(|name| !cut || !patterns.contains(&numberless(name)))
            .filter(|name| !self.adds_nothing(name))
            .collect();
        match extra.as_slice() {
            [] => Ok(()),
            [first, rest @ ..] => Err(CliError::refused(format!(
                "the weights have `{first}`{}, which the family `{}` does not use: the model is another than config.json \
                 says, or the family lacks a part of it ({PAGE} shows how to write one)",
                match rest.len() {
                    0 => String::new(),
                    n => format!(" and {n} more"),
                },
                self.family.name
            ))),
        }
    }
}
