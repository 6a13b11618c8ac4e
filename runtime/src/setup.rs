//! Setup: commits a circuit's weights, proves their bounds, and keeps what later proofs need.
//!
//! A key directory holds
//! - `verifying.key`: the verifier's trust root ([`Key`]);
//! - `weights.bin`: the integers, with a checksum;
//! - `codeword.bin`: the encoded weights, column-major, and their tree. Read through a memory map: a proof opens a few
//!   columns and never encodes the weights again.
//!
//! Files are written under a temporary name and renamed, the verifying key last: a directory with a verifying key is
//! complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use blake2::{Blake2s256, Digest};
use memmap2::Mmap;
use mlc_circuit::{Circuit, WeightLayout, check, format};
use mlc_verifier::commitment::TreeShape;
use mlc_verifier::field::M31;
use mlc_verifier::key::{Key, KeyError, LoadedKey};
use mlc_verifier::security::{Parameters, weights_shape};
use mlc_verifier::transcript::Hash;

use crate::backend::Backend;
use crate::prover::channel::Honest;
use crate::prover::commitment::{Committed, TreeStore, commit};
use crate::prover::inference::CommittedWeights;
use crate::prover::relations::weight_cells;
use crate::prover::setup::{self, SetupProofError};
use crate::weights::{IntWeights, WeightsError};

const WEIGHTS_MAGIC: &[u8; 8] = b"mlc-wgt1";
const CODEWORD_MAGIC: &[u8; 8] = b"mlc-cwd1";

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
    /// Their tree.
    pub(crate) tree: Option<Box<dyn TreeStore>>,
    committed: Option<Committed>,
}

fn shape_of(circuit: &Circuit, params: &Parameters) -> Option<TreeShape> {
    weights_shape(&WeightLayout::new(circuit), params)
}

fn cells_of<B: Backend>(backend: &B, circuit: &Circuit, integers: &IntWeights) -> B::Base {
    let lens: Vec<usize> = circuit.weights.iter().map(|w| w.row_len as usize).collect();
    backend.base(weight_cells(&WeightLayout::new(circuit), &lens, integers.tensors()))
}

/// Commits the weights of `circuit` and proves their bounds.
pub fn setup<B: Backend>(
    backend: &B,
    circuit: &Circuit,
    integers: IntWeights,
    params: Parameters,
) -> Result<ProvingKey<B>, SetupError> {
    check::check(circuit)?;
    let digest = format::digest(circuit);
    let mut key = Key {
        circuit: format::encode(circuit),
        params,
        weights_root: None,
        setup_proof: Vec::new(),
    };
    let (mut cells, mut committed) = (None, None);
    if let Some(shape) = shape_of(circuit, &params) {
        let base = {
            let _span = tracing::info_span!("lay out weights").entered();
            cells_of(backend, circuit, &integers)
        };
        let tree = {
            let _span = tracing::info_span!("commit weights").entered();
            commit(backend, &base, shape)
        };
        key.weights_root = Some(tree.root());
        let _span = tracing::info_span!("prove weight bounds").entered();
        key.setup_proof = setup::prove(backend, circuit, &digest, &params, &integers, &base, &tree, &mut Honest)?;
        cells = Some(base);
        committed = Some(tree);
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
        tree: None,
        committed,
    })
}

impl<B: Backend> ProvingKey<B> {
    /// The weights' tree.
    fn tree(&self) -> Option<&dyn TreeStore> {
        match (&self.tree, &self.committed) {
            (Some(t), _) => Some(t.as_ref()),
            (None, Some(c)) => Some(c),
            (None, None) => None,
        }
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
        if let Some(tree) = &self.committed {
            let path = dir.join("codeword.bin");
            write_atomically(&path, |w| write_codeword(w, tree)).map_err(io(&path))?;
        }
        let path = dir.join("weights.bin");
        write_atomically(&path, |w| write_weights(w, &self.integers)).map_err(io(&path))?;
        let path = dir.join("verifying.key");
        write_atomically(&path, |w| w.write_all(&self.key.encode())).map_err(io(&path))
    }

    /// Opens a key directory: checks the key, reads the integers, maps the codewords.
    pub fn load(backend: &B, dir: &Path) -> Result<Self, SetupError> {
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
        let (path, bytes) = read("weights.bin")?;
        let tensors = read_weights(&bytes, &loaded.circuit).ok_or(SetupError::Corrupted { path })?;
        let integers = IntWeights::new(&loaded.circuit, tensors)?;
        let (mut cells, mut tree) = (None, None);
        if let (Some(shape), Some(root)) = (shape_of(&loaded.circuit, &loaded.params), &loaded.weights_root) {
            cells = Some(cells_of(backend, &loaded.circuit, &integers));
            let path = dir.join("codeword.bin");
            let mapped = MappedTree::open(&path, shape).map_err(|error| SetupError::Io {
                path: path.clone(),
                error,
            })?;
            let mapped = mapped
                .filter(|m| m.root() == *root)
                .ok_or(SetupError::Corrupted { path })?;
            tree = Some(Box::new(mapped) as Box<dyn TreeStore>);
        }
        Ok(Self {
            key,
            loaded,
            integers,
            cells,
            tree,
            committed: None,
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
    for t in integers.tensors() {
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

fn write_codeword(w: &mut dyn Write, tree: &Committed) -> io::Result<()> {
    w.write_all(CODEWORD_MAGIC)?;
    let mut buffer = Vec::with_capacity(1 << 20);
    for part in tree.codewords().chunks(1 << 18) {
        buffer.clear();
        buffer.extend(part.iter().flat_map(|v: &M31| v.0.to_le_bytes()));
        w.write_all(&buffer)?;
    }
    for layer in tree.layers() {
        for node in layer {
            w.write_all(node)?;
        }
    }
    Ok(())
}

/// A committed tree in a file.
struct MappedTree {
    map: Mmap,
    shape: TreeShape,
}

impl MappedTree {
    /// `None` where the file has another size or magic than the shape asks for.
    fn open(path: &Path, shape: TreeShape) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        // SAFETY: the file is private to the key directory and only replaced by rename; a concurrent truncation would
        // be an error of the user's, and what is read is checked against the root by the verifier.
        let map = unsafe { Mmap::map(&file)? };
        let nodes: usize = (0..=shape.log_domain()).map(|l| shape.domain() >> l).sum();
        let expected = CODEWORD_MAGIC.len() + shape.domain() * shape.leaf_bytes() + 32 * nodes;
        Ok((map.len() == expected && map.starts_with(CODEWORD_MAGIC)).then_some(Self { map, shape }))
    }
}

impl TreeStore for MappedTree {
    fn shape(&self) -> TreeShape {
        self.shape
    }

    fn append_column(&self, position: usize, out: &mut Vec<u8>) {
        let start = CODEWORD_MAGIC.len() + position * self.shape.leaf_bytes();
        out.extend_from_slice(&self.map[start..start + self.shape.leaf_bytes()]);
    }

    fn node(&self, layer: u32, index: usize) -> Hash {
        let before: usize = (0..layer).map(|l| self.shape.domain() >> l).sum();
        let start = CODEWORD_MAGIC.len() + self.shape.domain() * self.shape.leaf_bytes() + 32 * (before + index);
        let mut hash = [0; 32];
        hash.copy_from_slice(&self.map[start..start + 32]);
        hash
    }
}
