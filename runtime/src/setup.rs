//! Setup: commits a circuit's weights, proves their bounds, and keeps what later proofs need.
//!
//! A key directory holds
//! - `verifying.key`: the verifier's trust root ([`Key`]);
//! - `weights.bin`: the integers, with a checksum;
//! - `codeword.bin`: the encoded weights, column-major, and their tree. Read through a memory map: a proof opens a few
//!   columns and never encodes the weights again. Where it is large it is written to a file as it is made.
//!
//! Files are written under a temporary name and renamed, the verifying key last: a directory with a verifying key is
//! complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use blake2::{Blake2s256, Digest};
use mlc_circuit::{Circuit, WeightLayout, check, format};
use mlc_verifier::commitment::TreeShape;
use mlc_verifier::key::{Key, KeyError, LoadedKey};
use mlc_verifier::security::{Parameters, weights_shape};

use crate::backend::Backend;
use crate::codeword::{self, CodewordFile};
use crate::prover::channel::Honest;
use crate::prover::commitment::{Committed, TreeStore, commit};
use crate::prover::inference::CommittedWeights;
use crate::prover::relations::weight_cells;
use crate::prover::setup::{self, SetupProofError};
use crate::weights::{IntWeights, MappedIntegers, WeightsError, weight_len};

const WEIGHTS_MAGIC: &[u8; 8] = b"mlc-wgt1";
/// Codewords of more cells are never in memory as a whole.
const MOST_CELLS: u64 = 1 << 26;

/// Why setup fails, or a key directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The circuit breaks a rule that soundness rests on.
    #[error(transparent)]
    Circuit(#[from] check::CheckError),
    /// The weights are not the circuit's.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// No proof of the weights' bounds.
    #[error(transparent)]
    Proof(#[from] SetupProofError),
    /// The verifying key is refused.
    #[error("{path}: {error}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// Proving data is truncated, altered, or of another key.
    #[error("{path} is corrupted or belongs to another key; run `mlc setup` again")]
    Corrupted {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A key with all that proving needs.
pub struct ProvingKey<B: Backend> {
    /// The verifier's part.
    pub key: Key,
    /// The verifier's part, checked.
    pub loaded: LoadedKey,
    /// The integer weights.
    pub integers: IntWeights,
    /// The committed cells; absent without weights.
    pub(crate) cells: Option<B::Base>,
    tree: Option<Tree>,
}

/// The tree of the weights.
enum Tree {
    Memory(Committed),
    /// A file that setup has made.
    Made(CodewordFile),
    /// The file of a key directory.
    Loaded(CodewordFile),
}

fn shape_of(circuit: &Circuit, params: &Parameters) -> Option<TreeShape> {
    weights_shape(&WeightLayout::new(circuit), params)
}

fn cells_of<B: Backend>(backend: &B, circuit: &Circuit, integers: &IntWeights) -> B::Base {
    let lens: Vec<usize> = circuit.weights.iter().map(|w| w.row_len as usize).collect();
    backend.base(weight_cells(&WeightLayout::new(circuit), &lens, integers))
}

/// Commits the weights of `circuit` and proves their bounds.
pub fn setup<B: Backend>(
    backend: &B,
    circuit: &Circuit,
    integers: IntWeights,
    params: Parameters,
) -> Result<ProvingKey<B>, SetupError> {
    setup_in(backend, circuit, integers, params, &std::env::temp_dir())
}

/// [`setup()`] that puts a large codeword into `dir`, under a temporary name until the key is saved.
pub fn setup_in<B: Backend>(
    backend: &B,
    circuit: &Circuit,
    integers: IntWeights,
    params: Parameters,
    dir: &Path,
) -> Result<ProvingKey<B>, SetupError> {
    check::check(circuit)?;
    let digest = format::digest(circuit);
    let mut key = Key {
        circuit: format::encode(circuit),
        params,
        weights_root: None,
        setup_proof: Vec::new(),
    };
    let (mut cells, mut made) = (None, None);
    if let Some(shape) = shape_of(circuit, &params) {
        let base = {
            let _span = tracing::info_span!("lay out weights").entered();
            cells_of(backend, circuit, &integers)
        };
        let tree = {
            let _span = tracing::info_span!("commit weights").entered();
            if shape.cells() > MOST_CELLS {
                let io = |error| SetupError::Io {
                    path: dir.to_path_buf(),
                    error,
                };
                Tree::Made(CodewordFile::create(backend, &base, shape, dir).map_err(io)?)
            } else {
                Tree::Memory(commit(backend, &base, shape))
            }
        };
        key.weights_root = Some(tree.store().root());
        let _span = tracing::info_span!("prove weight bounds").entered();
        let weights = setup::SetupWeights {
            integers: &integers,
            keys: &base,
            cells: &base,
            tree: tree.store(),
        };
        key.setup_proof = setup::prove(backend, circuit, &digest, &params, &weights, &mut Honest)?;
        cells = Some(base);
        made = Some(tree);
    }
    let loaded = LoadedKey {
        circuit: circuit.clone(),
        digest,
        params,
        weights_root: key.weights_root,
        fingerprint: key.fingerprint(),
    };
    Ok(ProvingKey {
        key,
        loaded,
        integers,
        cells,
        tree: made,
    })
}

impl Tree {
    fn store(&self) -> &dyn TreeStore {
        match self {
            Self::Memory(tree) => tree,
            Self::Made(tree) | Self::Loaded(tree) => tree,
        }
    }
}

impl<B: Backend> ProvingKey<B> {
    /// The weights' tree.
    fn tree(&self) -> Option<&dyn TreeStore> {
        self.tree.as_ref().map(Tree::store)
    }

    /// The weights as a prover takes them.
    pub fn committed(&self) -> CommittedWeights<'_, B> {
        CommittedWeights {
            integers: &self.integers,
            cells: self.cells.as_ref(),
            tree: self.tree(),
        }
    }

    /// Writes the key directory, which is created. A key that was itself loaded from a directory is not written again.
    pub fn save(&self, dir: &Path) -> Result<(), SetupError> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |error| SetupError::Io { path, error }
        };
        fs::create_dir_all(dir).map_err(io(dir))?;
        let path = dir.join("codeword.bin");
        match &self.tree {
            Some(Tree::Memory(tree)) => write_atomically(&path, |w| codeword::write(w, tree)).map_err(io(&path))?,
            Some(Tree::Made(tree)) => tree.keep(&path).map_err(io(&path))?,
            Some(Tree::Loaded(_)) | None => {}
        }
        let path = dir.join("weights.bin");
        write_atomically(&path, |w| write_weights(w, &self.integers)).map_err(io(&path))?;
        let path = dir.join("verifying.key");
        write_atomically(&path, |w| w.write_all(&self.key.encode())).map_err(io(&path))
    }

    /// Opens a key directory: checks the key, reads the integers, maps the codewords.
    pub fn load(backend: &B, dir: &Path) -> Result<Self, SetupError> {
        Self::open(backend, dir, false)
    }

    /// [`Self::load`] that leaves the weights in their file: each is in memory while it is worked on, and the committed cells
    /// are formed a tile at a time. A proof is the same to the byte, and takes longer.
    pub fn load_mapped(backend: &B, dir: &Path) -> Result<Self, SetupError> {
        Self::open(backend, dir, true)
    }

    fn open(backend: &B, dir: &Path, mapped: bool) -> Result<Self, SetupError> {
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read(&path)
                .map(|bytes| (path.clone(), bytes))
                .map_err(|error| SetupError::Io { path, error })
        };
        let (path, bytes) = read("verifying.key")?;
        let key = Key::decode(&bytes).map_err(|error| SetupError::Key {
            path: path.clone(),
            error,
        })?;
        let loaded = key.load().map_err(|error| SetupError::Key { path, error })?;
        let integers = if mapped {
            let path = dir.join("weights.bin");
            let lens: Vec<usize> = loaded.circuit.weights.iter().map(weight_len).collect();
            let found = MappedIntegers::open(&path, WEIGHTS_MAGIC, &lens).map_err(|error| SetupError::Io {
                path: path.clone(),
                error,
            })?;
            IntWeights::mapped(found.ok_or(SetupError::Corrupted { path })?)
        } else {
            let (path, bytes) = read("weights.bin")?;
            let tensors = read_weights(&bytes, &loaded.circuit).ok_or(SetupError::Corrupted { path })?;
            IntWeights::new(&loaded.circuit, tensors)?
        };
        let (mut cells, mut tree) = (None, None);
        if let (Some(shape), Some(root)) = (shape_of(&loaded.circuit, &loaded.params), &loaded.weights_root) {
            cells = (!mapped).then(|| cells_of(backend, &loaded.circuit, &integers));
            let path = dir.join("codeword.bin");
            let mapped = CodewordFile::open(&path, shape).map_err(|error| SetupError::Io {
                path: path.clone(),
                error,
            })?;
            let mapped = mapped
                .filter(|m| m.root() == *root)
                .ok_or(SetupError::Corrupted { path })?;
            tree = Some(Tree::Loaded(mapped));
        }
        Ok(Self {
            key,
            loaded,
            integers,
            cells,
            tree,
        })
    }
}

/// Writes a file under a temporary name in the same directory, syncs it and renames it; on failure nothing is left.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".tmp-{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let result = (|| {
        let mut w = BufWriter::with_capacity(1 << 20, File::create(&temporary)?);
        write(&mut w)?;
        w.flush()?;
        w.get_ref().sync_data()?;
        fs::rename(&temporary, path)
    })();
    if result.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write_weights(w: &mut dyn Write, integers: &IntWeights) -> io::Result<()> {
    let mut hash = Blake2s256::new();
    w.write_all(WEIGHTS_MAGIC)?;
    for t in integers.iter() {
        let bytes: Vec<u8> = t.iter().flat_map(|v| v.to_le_bytes()).collect();
        hash.update(&bytes);
        w.write_all(&bytes)?;
    }
    w.write_all(&hash.finalize())
}

fn read_weights(bytes: &[u8], circuit: &Circuit) -> Option<Vec<Vec<i16>>> {
    let body = bytes.strip_prefix(WEIGHTS_MAGIC)?;
    let (mut values, checksum) = body.split_at_checked(body.len().checked_sub(32)?)?;
    if Blake2s256::digest(values)[..] != *checksum {
        return None;
    }
    let mut out = Vec::with_capacity(circuit.weights.len());
    for w in &circuit.weights {
        let len = w.outer.iter().map(|&n| n as usize).product::<usize>() * w.row_len as usize;
        let (mine, rest) = values.split_at_checked(2 * len)?;
        out.push(mine.chunks_exact(2).map(|c| i16::from_le_bytes([c[0], c[1]])).collect());
        values = rest;
    }
    values.is_empty().then_some(out)
}
