//! Where a model's weights come from: safetensors files, a GGUF file, the initialisers of an ONNX file, or memory.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use blake2::{Blake2s256, Digest};
use mlc_import::checkpoint::{CONFIG, Shards};
use mlc_import::gguf::{self, Gguf};
use mlc_import::{Initialisers, Options, import_file};
use mlc_ir::{RecipeError, TensorF32, WeightSource};
use mlc_runtime::weights::{FileError, Packing, QUANTIZATION, Stored, TensorFiles};
use safetensors::SafeTensorError;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::Value;

use crate::error::CliError;
use crate::files;
use crate::random;

/// Weights by name.
pub(crate) enum Weights {
    /// A model without weights.
    None,
    /// Tensors in memory.
    Tensors(BTreeMap<String, TensorF32>),
    /// A safetensors file, or shards of one.
    File(TensorFiles),
    /// Random tensors of these shapes, made anew wherever they are read: what is too large to be held twice.
    Seeded(BTreeMap<String, Vec<usize>>),
    /// Of an ONNX file.
    Onnx(Box<Initialisers>),
    /// Of a GGUF file, in the names of the original.
    Gguf(Box<Gguf>),
}

impl Weights {
    /// Maps a safetensors or GGUF file or the shards that an index lists, or takes the initialisers of an ONNX file.
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        if path.extension().is_some_and(|e| e == "onnx") {
            return Ok(Weights::Onnx(Box::new(
                import_file(path, &Options::default())
                    .map_err(|e| CliError::import(path, e))?
                    .weights,
            )));
        }
        if path.extension().is_some_and(|e| e == gguf::EXTENSION) {
            let file = Gguf::open(path).map_err(|e| CliError::gguf(path, e))?;
            return Ok(Weights::Gguf(Box::new(file)));
        }
        let beside = path.with_file_name(CONFIG);
        let config = match beside.is_file() {
            true => files::read_json(&beside)?,
            false => Value::Null,
        };
        if path.extension().is_some_and(|e| e == "json") {
            return Self::shards(&Shards::of_index(path).map_err(CliError::checkpoint)?, &config);
        }
        Self::unpacked(TensorFiles::open(&[path]).map_err(file_error)?, &config)
    }

    /// Maps shards; each tensor must be where the index says. `config` is config.json.
    pub(crate) fn shards(shards: &Shards, config: &Value) -> Result<Self, CliError> {
        let files = TensorFiles::open(&shards.files).map_err(file_error)?;
        for (tensor, path) in &shards.placed {
            if files.file_of(tensor) != Some(path.as_path()) {
                return Err(CliError::refused(format!(
                    "the index places `{tensor}` in `{}`, which does not have it",
                    path.display()
                )));
            }
        }
        Self::unpacked(files, config)
    }

    /// Sees packed layers as what they stand for: as the files' own metadata say, else as config.json does.
    fn unpacked(mut files: TensorFiles, config: &Value) -> Result<Self, CliError> {
        let packing = match files.quantization() {
            Some(text) => {
                let value = serde_json::from_str(text)
                    .map_err(|e| CliError::refused(format!("`{QUANTIZATION}` of the weight file is not JSON: {e}")))?;
                Packing::of(&value).map(Some)
            }
            None => Packing::of_config(config),
        };
        if let Some(packing) = packing.map_err(CliError::refused)? {
            files.unpack(packing).map_err(file_error)?;
        }
        match files.unexplained() {
            Some(name) => Err(CliError::refused(format!(
                "the weights have the packed tensor `{name}`, and neither the file nor a {CONFIG} beside it says with \
                 `{QUANTIZATION}` how it is packed"
            ))),
            None => Ok(Weights::File(files)),
        }
    }

    /// The bytes of a safetensors file.
    pub(crate) fn safetensors(path: &Path, bytes: &[u8]) -> Result<Self, CliError> {
        let file = TensorFiles::from_bytes(path, bytes.to_vec());
        file.map(Weights::File).map_err(file_error)
    }

    /// Name and shape of every tensor, where the compiler may look them up.
    pub(crate) fn shapes(&self) -> Option<BTreeMap<String, Vec<u64>>> {
        match self {
            Weights::File(file) => {
                let wide = |shape: &[usize]| shape.iter().map(|d| *d as u64).collect();
                Some(
                    file.shapes()
                        .map(|(name, shape)| (name.to_owned(), wide(shape)))
                        .collect(),
                )
            }
            Weights::Gguf(file) => Some(file.shapes().map(|(name, shape)| (name.to_owned(), shape)).collect()),
            _ => None,
        }
    }

    /// Writes all tensors to one file of the same kind, as they are stored; whole or not at all.
    pub(crate) fn save<'a>(&'a self, path: &Path) -> Result<(), CliError> {
        let file = match self {
            Weights::File(file) => file,
            Weights::Gguf(file) => return files::copy(file.path(), path),
            _ => return Err(CliError::refused("these weights are no safetensors")),
        };
        let view = |t: Stored<'a>| Ok((t.name, TensorView::new(t.dtype, t.shape.to_vec(), t.bytes)?));
        let views: Result<Vec<_>, SafeTensorError> = file.stored().map(view).collect();
        let views = views.map_err(CliError::refused)?;
        // So that the file says itself how it is packed.
        let metadata = file
            .packing()
            .map(|packing| HashMap::from([(QUANTIZATION.to_owned(), packing.text().to_owned())]));
        let temporary = files::temporary(path);
        // A file of one's own is made first, since that of the library may be read by its owner alone.
        let written = File::create(&temporary)
            .and_then(|file| file.metadata())
            .map(|m| m.permissions());
        let written = written.map_err(|e| CliError::write(path, e)).and_then(|permissions| {
            serialize_to_file(views, metadata, &temporary).map_err(|e| CliError::write(path, e))?;
            std::fs::set_permissions(&temporary, permissions).map_err(|e| CliError::write(path, e))
        });
        let renamed = written.and_then(|()| std::fs::rename(&temporary, path).map_err(|e| CliError::write(path, e)));
        if renamed.is_err() {
            // What is left of it is of no use to anybody.
            let _ = std::fs::remove_file(&temporary);
        }
        renamed
    }

    /// A digest of all values with their names and shapes; of files, of their elements as they are stored.
    pub(crate) fn digest(&self) -> Result<[u8; 32], CliError> {
        let mut h = Blake2s256::new();
        let names: Vec<&str> = match self {
            Weights::None => Vec::new(),
            Weights::Seeded(shapes) => shapes.keys().map(String::as_str).collect(),
            Weights::Tensors(tensors) => tensors.keys().map(String::as_str).collect(),
            Weights::File(file) => {
                for t in file.stored() {
                    let head = format!("{} {:?} {:?} {}", t.name, t.dtype, t.shape, t.bytes.len());
                    h.update((head.len() as u64).to_le_bytes());
                    h.update(head);
                    // What has been hashed is not needed any more.
                    for piece in t.bytes.chunks(PIECE) {
                        h.update(piece);
                        file.release();
                    }
                }
                h.update(file.packing().map_or("", Packing::text));
                Vec::new()
            }
            Weights::Onnx(initialisers) => initialisers.names().collect(),
            Weights::Gguf(file) => {
                h.update(file.config().to_string());
                for t in file.stored() {
                    let head = format!("{} {:?} {:?} {}", t.name, t.kind, t.shape, t.bytes.len());
                    h.update((head.len() as u64).to_le_bytes());
                    h.update(head);
                    h.update(t.bytes);
                }
                Vec::new()
            }
        };
        for name in names {
            let tensor = self.get(name).map_err(CliError::refused)?;
            h.update((name.len() as u64).to_le_bytes());
            h.update(name);
            h.update((tensor.shape.len() as u64).to_le_bytes());
            tensor.shape.iter().for_each(|d| h.update((*d as u64).to_le_bytes()));
            let bytes: Vec<u8> = tensor.data.iter().flat_map(|v| v.to_le_bytes()).collect();
            h.update(bytes);
        }
        Ok(h.finalize().into())
    }
}

fn file_error(error: FileError) -> CliError {
    match error {
        FileError::Io { path, why } => CliError::read(&path, why),
        FileError::Format { path, why } => CliError::read(&path, format!("not a whole safetensors file: {why}")),
        other => CliError::refused(other),
    }
}

/// Bytes of a file that are hashed at once.
const PIECE: usize = 1 << 22;

impl WeightSource for Weights {
    fn get(&self, name: &str) -> Result<TensorF32, RecipeError> {
        match self {
            Weights::None => Err(RecipeError::Missing(name.to_owned())),
            Weights::Tensors(t) => WeightSource::get(t, name),
            Weights::Seeded(shapes) => match shapes.get(name) {
                Some(shape) => Ok(random::trained(1, name, shape.clone())),
                None => Err(RecipeError::Missing(name.to_owned())),
            },
            Weights::File(f) => f.get(name),
            Weights::Onnx(i) => i.get(name),
            Weights::Gguf(g) => g.get(name),
        }
    }

    fn contains(&self, name: &str) -> bool {
        match self {
            Weights::None => false,
            Weights::Tensors(t) => t.contains_key(name),
            Weights::Seeded(shapes) => shapes.contains_key(name),
            Weights::File(f) => f.contains(name),
            Weights::Onnx(i) => i.contains(name),
            Weights::Gguf(g) => g.contains(name),
        }
    }
}
