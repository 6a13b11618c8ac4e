//! Committed codewords in a file: cells column by column, then the layers of the tree, leaves first.
//!
//! A proof opens some hundred columns of a codeword that may be several times as large as memory, so the file is read
//! through a map. Setup writes it block by block where it is large.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Mmap, UncheckedAdvice};
use mlc_verifier::commitment::TreeShape;
use mlc_verifier::field::M31;
use mlc_verifier::transcript::Hash;

use crate::backend::Backend;
use crate::prover::commitment::{Committed, TreeStore, commit_to};

const MAGIC: &[u8; 8] = b"mlc-cwd1";

/// Writes a codeword that is in memory.
pub(crate) fn write(w: &mut dyn Write, tree: &Committed) -> io::Result<()> {
    w.write_all(MAGIC)?;
    write_cells(w, tree.codewords())?;
    write_layers(w, tree.layers())
}

fn write_cells(w: &mut dyn Write, cells: &[M31]) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1 << 20);
    for part in cells.chunks(1 << 18) {
        buffer.clear();
        buffer.extend(part.iter().flat_map(|v| v.0.to_le_bytes()));
        w.write_all(&buffer)?;
    }
    Ok(())
}

fn write_layers(w: &mut dyn Write, layers: &[Vec<Hash>]) -> io::Result<()> {
    layers.iter().flatten().try_for_each(|node| w.write_all(node))
}

/// A committed tree in a file.
pub(crate) struct CodewordFile {
    map: Mmap,
    shape: TreeShape,
    /// The file, where it is to be removed with this value.
    temporary: Option<PathBuf>,
    /// How often it has been read.
    reads: AtomicU64,
}

/// A read makes a page and its neighbours resident, some hundred kilobytes: after so many they are dropped.
const READS: u64 = 4;

impl CodewordFile {
    /// Opens a file; `None` where it has another size or magic than the shape asks for.
    pub(crate) fn open(path: &Path, shape: TreeShape) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        // SAFETY: the file is private to the key directory and only replaced by rename; a concurrent truncation would
        // be an error of the user's, and what is read is checked against the root by the verifier.
        let map = unsafe { Mmap::map(&file)? };
        let nodes: usize = (0..=shape.log_domain()).map(|l| shape.domain() >> l).sum();
        let expected = MAGIC.len() + shape.domain() * shape.leaf_bytes() + 32 * nodes;
        Ok((map.len() == expected && map.starts_with(MAGIC)).then_some(Self {
            map,
            shape,
            temporary: None,
            reads: AtomicU64::new(0),
        }))
    }

    /// Encodes and hashes `cells` into a new file in `dir`, which is created, holding one block of the codeword at a time.
    pub(crate) fn create<B: Backend>(backend: &B, cells: &B::Base, shape: TreeShape, dir: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(dir)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("codeword.tmp-{}-{number}", std::process::id()));
        let written = (|| {
            let mut w = BufWriter::with_capacity(1 << 20, File::create(&path)?);
            w.write_all(MAGIC)?;
            let layers = commit_to(backend, cells, shape, |cells| write_cells(&mut w, cells))?;
            write_layers(&mut w, &layers)?;
            w.flush()?;
            w.get_ref().sync_data()?;
            Self::open(&path, shape)?.ok_or_else(|| io::ErrorKind::InvalidData.into())
        })();
        match written {
            Ok(mut tree) => {
                tree.temporary = Some(path);
                Ok(tree)
            }
            Err(error) => {
                // The error that matters is the first one.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Puts the file at `to`: moves it where it can be moved.
    pub(crate) fn keep(&self, to: &Path) -> io::Result<()> {
        match &self.temporary {
            Some(path) if fs::rename(path, to).is_ok() => Ok(()),
            _ => crate::setup::write_atomically(to, |w| w.write_all(&self.map)),
        }
    }
}

impl Drop for CodewordFile {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            // It is gone where it was kept.
            let _ = fs::remove_file(path);
        }
    }
}

impl TreeStore for CodewordFile {
    fn shape(&self) -> TreeShape {
        self.shape
    }

    fn append_column(&self, position: usize, out: &mut Vec<u8>) {
        let start = MAGIC.len() + position * self.shape.leaf_bytes();
        out.extend_from_slice(&self.map[start..start + self.shape.leaf_bytes()]);
        self.count();
    }

    fn node(&self, layer: u32, index: usize) -> Hash {
        let before: usize = (0..layer).map(|l| self.shape.domain() >> l).sum();
        let start = MAGIC.len() + self.shape.domain() * self.shape.leaf_bytes() + 32 * (before + index);
        let mut hash = [0; 32];
        hash.copy_from_slice(&self.map[start..start + 32]);
        self.count();
        hash
    }
}

impl CodewordFile {
    /// Counts a read; columns and paths lie all over the file, and no page of it is read twice to speak of.
    fn count(&self) {
        if self.reads.fetch_add(1, Ordering::Relaxed) % READS == READS - 1 {
            // SAFETY: the map is of a file and read-only, so a dropped page has the same bytes when it is read again.
            let _ = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;
    use crate::prover::commitment::commit;

    #[test]
    fn a_codeword_written_block_by_block_is_the_one_in_memory() {
        let shape = TreeShape {
            rows: 5,
            log_cols: 6,
            log_inv_rate: 2,
        };
        let cells: Vec<M31> = (0..5 * 50).map(|i: u32| M31::from(i * i + 3)).collect();
        let committed = commit(&Cpu, &cells, shape);
        let dir = tempfile::tempdir().unwrap();
        let file = CodewordFile::create(&Cpu, &cells, shape, dir.path()).unwrap();
        let positions: Vec<usize> = (0..shape.domain()).collect();
        assert_eq!(file.root(), committed.root());
        assert_eq!(file.columns(&positions), committed.columns(&positions));
        assert_eq!(file.path(&[3, 77]), committed.path(&[3, 77]));

        // Kept, it outlives the value; not kept, it does not. Both are what a codeword in memory writes.
        let kept = dir.path().join("codeword.bin");
        file.keep(&kept).unwrap();
        drop(file);
        let mut bytes = Vec::new();
        write(&mut bytes, &committed).unwrap();
        assert_eq!(fs::read(&kept).unwrap(), bytes);
        drop(CodewordFile::create(&Cpu, &cells, shape, dir.path()).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // Any other shape is not this file's.
        assert!(
            CodewordFile::open(&kept, TreeShape { rows: 6, ..shape })
                .unwrap()
                .is_none()
        );
    }
}
