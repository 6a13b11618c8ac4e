//! HuggingFace directories: `config.json`, and weights in one safetensors file or in shards with an index.
//!
//! Nothing of the weights is read here but the index's list of names; a name of the index must be that of a file in the
//! same directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

/// Name of the configuration.
pub const CONFIG: &str = "config.json";
/// Name of the weights in one file.
pub const WEIGHTS: &str = "model.safetensors";
/// Name of the list of shards.
pub const INDEX: &str = "model.safetensors.index.json";

/// Why a directory is no model.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {why}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system or the format says.
        why: String,
    },
    /// The configuration does not say what the model is.
    #[error("`{}` has no `model_type`, which says what the model is", path.display())]
    NoType {
        /// The configuration.
        path: PathBuf,
    },
    /// There are no weights.
    #[error("`{}` has neither {WEIGHTS} nor {INDEX}{hint}", dir.display())]
    NoWeights {
        /// The directory.
        dir: PathBuf,
        /// What to do about it.
        hint: &'static str,
    },
    /// An index names a file that is not beside it.
    #[error("`{}` places `{tensor}` in `{file}`, which is no name of a file beside it", index.display())]
    Outside {
        /// The index.
        index: PathBuf,
        /// The tensor.
        tensor: String,
        /// The name.
        file: String,
    },
    /// A shard is missing.
    #[error("`{}` places `{tensor}` in `{file}`, and there is no such file", index.display())]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The first tensor in it.
        tensor: String,
        /// The shard.
        file: String,
    },
}

fn read(path: &Path, why: impl ToString) -> CheckpointError {
    CheckpointError::Read {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

fn json(path: &Path) -> Result<Value, CheckpointError> {
    let bytes = std::fs::read(path).map_err(|e| read(path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| read(path, format!("not JSON: {e}")))
}

/// Files of weights, and where each tensor is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shards {
    /// The files, in order of name.
    pub files: Vec<PathBuf>,
    /// The file of each tensor by the index; empty for a single file.
    pub placed: BTreeMap<String, PathBuf>,
}

impl Shards {
    /// The weights of a directory.
    pub fn of_directory(dir: &Path) -> Result<Self, CheckpointError> {
        let index = dir.join(INDEX);
        if index.exists() {
            return Self::of_index(&index);
        }
        let single = dir.join(WEIGHTS);
        if single.exists() {
            return Ok(Shards {
                files: vec![single],
                placed: BTreeMap::new(),
            });
        }
        let hint = match dir.join("pytorch_model.bin").exists() {
            true => "; pytorch_model.bin is not read: save the model with `safe_serialization=True`",
            false => "",
        };
        Err(CheckpointError::NoWeights {
            dir: dir.to_owned(),
            hint,
        })
    }

    /// The shards that an index lists.
    pub fn of_index(index: &Path) -> Result<Self, CheckpointError> {
        let value = json(index)?;
        let map = value
            .get("weight_map")
            .and_then(Value::as_object)
            .ok_or_else(|| read(index, "there is no object `weight_map`"))?;
        let dir = index.parent().unwrap_or(Path::new(""));
        let (mut files, mut placed) = (BTreeSet::new(), BTreeMap::new());
        for (tensor, file) in map {
            let name = file.as_str().unwrap_or_default();
            let plain = Path::new(name).file_name().is_some_and(|n| n == name);
            if !plain || name.contains(['/', '\\']) {
                return Err(CheckpointError::Outside {
                    index: index.to_owned(),
                    tensor: tensor.clone(),
                    file: file.as_str().map_or_else(|| file.to_string(), str::to_owned),
                });
            }
            let path = dir.join(name);
            if !files.contains(&path) && !path.is_file() {
                return Err(CheckpointError::MissingShard {
                    index: index.to_owned(),
                    tensor: tensor.clone(),
                    file: name.to_owned(),
                });
            }
            files.insert(path.clone());
            placed.insert(tensor.clone(), path);
        }
        Ok(Shards {
            files: files.into_iter().collect(),
            placed,
        })
    }
}

/// A HuggingFace directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// All of `config.json`, an object.
    pub config: Value,
    /// What the model is.
    pub model_type: String,
    /// Its weights.
    pub shards: Shards,
}

impl Checkpoint {
    /// Whether a directory looks like one.
    pub fn is_at(dir: &Path) -> bool {
        dir.join(CONFIG).is_file()
    }

    /// Reads the configuration, and where the weights are.
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let path = dir.join(CONFIG);
        let config = json(&path)?;
        let Some(model_type) = config.get("model_type").and_then(Value::as_str) else {
            return Err(CheckpointError::NoType { path });
        };
        Ok(Checkpoint {
            model_type: model_type.to_owned(),
            shards: Shards::of_directory(dir)?,
            config,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(map: &str) -> (tempfile::TempDir, Result<Shards, CheckpointError>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.safetensors"), "").unwrap();
        std::fs::write(dir.path().join(INDEX), map).unwrap();
        let shards = Shards::of_directory(dir.path());
        (dir, shards)
    }

    #[test]
    fn an_index_lists_files_beside_it() {
        let (dir, shards) = index(r#"{"weight_map": {"x": "a.safetensors", "y": "a.safetensors"}}"#);
        let shards = shards.unwrap();
        assert_eq!(shards.files, [dir.path().join("a.safetensors")]);
        assert_eq!(shards.placed.len(), 2);
        for name in ["../a.safetensors", "/etc/passwd", "", ".", "..", "b/../a.safetensors"] {
            let (_dir, shards) = index(&format!(r#"{{"weight_map": {{"x": "{name}"}}}}"#));
            assert!(matches!(shards, Err(CheckpointError::Outside { .. })), "{name}");
        }
        let (_dir, shards) = index(r#"{"weight_map": {"x": 3}}"#);
        assert!(matches!(shards, Err(CheckpointError::Outside { .. })));
        let (_dir, shards) = index(r#"{"weight_map": {"x": "b.safetensors"}}"#);
        assert!(matches!(shards, Err(CheckpointError::MissingShard { .. })));
        for text in ["{}", "[", r#"{"weight_map": []}"#] {
            assert!(matches!(index(text).1, Err(CheckpointError::Read { .. })), "{text}");
        }
    }

    #[test]
    fn a_directory_says_its_type_and_has_weights() {
        let dir = tempfile::tempdir().unwrap();
        let config = |text: &str| std::fs::write(dir.path().join(CONFIG), text).unwrap();
        assert!(!Checkpoint::is_at(dir.path()));
        config("{}");
        assert!(matches!(
            Checkpoint::open(dir.path()),
            Err(CheckpointError::NoType { .. })
        ));
        config(r#"{"model_type": "bert"}"#);
        std::fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
        let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("safe_serialization"), "{error}");
        std::fs::write(dir.path().join(WEIGHTS), "").unwrap();
        assert_eq!(Checkpoint::open(dir.path()).unwrap().model_type, "bert");
    }
}
