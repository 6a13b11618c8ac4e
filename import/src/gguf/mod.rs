//! GGUF files of language models, as the HuggingFace models that they were made of.
//!
//! The file is mapped; a tensor is decoded, and put back into the original's order, when it is asked for. Its tokenizer is not
//! read: the original's `tokenizer.json` belongs beside it.

mod block;
mod family;
mod read;

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use mlc_ir::{RecipeError, TensorF32, WeightSource};
use serde_json::Value;
use thiserror::Error;

pub use block::Kind;
use family::{Family, KNOWN, Turn, turn_back};
pub use read::{Described, FormatError, Header, Meta, parse};

/// The file's extension.
pub const EXTENSION: &str = "gguf";

/// Why a GGUF file is no model.
#[derive(Debug, Error)]
pub enum GgufError {
    /// It cannot be opened or mapped.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is no GGUF file that is read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Nothing says what the model is.
    #[error("there is no text `general.architecture`, which says what the model is")]
    NoArchitecture,
    /// An architecture without a mapping.
    #[error(
        "it is a model of architecture `{0}`; of GGUF files {known} are read: for another family, give the HuggingFace directory \
         that it was made of",
        known = KNOWN.join(", ")
    )]
    Architecture(String),
    /// Frequencies of Llama 3, whose parameters the file does not keep.
    #[error(
        "it has `rope_freqs.weight`, a scaled rotary embedding whose parameters such a file does not keep: give the HuggingFace \
         directory that it was made of"
    )]
    ScaledRotary,
    /// A metadata value that no family takes, or that is missing.
    #[error("its metadata: `{key}` {why}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong with its value.
        why: String,
    },
    /// A tensor that does not go with the metadata.
    #[error("its tensor `{name}`: {why}")]
    Tensor {
        /// Its name in the file.
        name: String,
        /// What is wrong.
        why: String,
    },
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

/// A model in a GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    bytes: Bytes,
    header: Header,
    family: Family,
}

/// A tensor as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct StoredTensor<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Type of its elements.
    pub kind: Kind,
    /// Its axes in the file, outermost first.
    pub shape: &'a [usize],
    /// Its blocks.
    pub bytes: &'a [u8],
}

impl Gguf {
    /// Maps a file, which must not be changed while it is in use, and reads what it says of itself.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let file = File::open(path)?;
        // SAFETY: the map is read-only; the documentation asks that nobody changes the file meanwhile.
        let map = unsafe { Mmap::map(&file) }?;
        Self::of(path, Bytes::Mapped(map))
    }

    /// A file that is already in memory; `path` names it in errors.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, GgufError> {
        Self::of(path, Bytes::Owned(bytes))
    }

    fn of(path: &Path, bytes: Bytes) -> Result<Self, GgufError> {
        let header = parse(&bytes)?;
        let family = Family::of(&header, |a, b| {
            a.kind == b.kind && a.shape == b.shape && bytes[a.bytes.clone()] == bytes[b.bytes.clone()]
        })?;
        Ok(Gguf {
            path: path.to_owned(),
            bytes,
            header,
            family,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What config.json of the original would say, as far as a family asks for it.
    pub fn config(&self) -> &Value {
        &self.family.config
    }

    /// The `model_type` of the original.
    pub fn model_type(&self) -> &str {
        &self.family.architecture
    }

    /// Names and shapes of the original's tensors, by name.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, Vec<u64>)> {
        self.family.placed.iter().map(|(name, (file, turn))| {
            let mut shape: Vec<u64> = self.header.tensors[file].shape.iter().map(|d| *d as u64).collect();
            if *turn == Turn::Transposed {
                shape.reverse();
            }
            (name.as_str(), shape)
        })
    }

    /// All tensors as they are stored, by name.
    pub fn stored(&self) -> impl Iterator<Item = StoredTensor<'_>> {
        self.header.tensors.iter().map(|(name, t)| StoredTensor {
            name,
            kind: t.kind,
            shape: &t.shape,
            bytes: &self.bytes[t.bytes.clone()],
        })
    }
}

impl WeightSource for Gguf {
    fn get(&self, name: &str) -> Result<TensorF32, RecipeError> {
        let (file, turn) = (self.family.placed.get(name)).ok_or_else(|| RecipeError::Missing(name.to_owned()))?;
        let stored = &self.header.tensors[file];
        let data = stored.kind.decode(&self.bytes[stored.bytes.clone()]);
        if let Some(position) = data.iter().position(|v| !v.is_finite()) {
            return Err(RecipeError::Unreadable {
                name: name.to_owned(),
                why: format!(
                    "`{file}` is {} at position {position} in `{}`; every weight must be finite",
                    data[position],
                    self.path.display()
                ),
            });
        }
        let mut shape = stored.shape.clone();
        let data = turn_back(*turn, &mut shape, data);
        Ok(TensorF32 { shape, data })
    }

    fn contains(&self, name: &str) -> bool {
        self.family.placed.contains_key(name)
    }
}
