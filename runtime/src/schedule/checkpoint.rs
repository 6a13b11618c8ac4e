//! Checkpoints: a directory in which a long proof leaves what it has done, and from which another process goes on.
//!
//! One file for each stage, written under a temporary name and renamed: magic, the run (a hash of key, entry, dimensions
//! and inputs), the state of the transcript at which the stage began, a checksum, the outcome. A file of another run is an
//! error; one that is damaged, or of another state, is not taken, and its stage is done again.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use blake2::{Blake2s256, Digest};
use mlc_verifier::transcript::Hash;

use super::journal::Journal;

const MAGIC: &[u8; 8] = b"mlc-ckpt";
const HEADER: usize = 8 + 3 * 32;

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is of another run.
    #[error(
        "{path} is the checkpoint of another run (another model, input or key): give another directory, or remove it to begin anew"
    )]
    OtherRun {
        /// The file.
        path: PathBuf,
    },
}

/// A checkpoint directory of one run.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    run: Hash,
    /// The first error in writing: the proof goes on, and says so in the end.
    failed: Option<CheckpointError>,
    /// Stages that were taken instead of done.
    taken: Vec<&'static str>,
}

impl Checkpoint {
    /// Opens the directory, which is created, for the run that `run` names; refuses one that has files of another.
    pub fn open(dir: &Path, run: Hash) -> Result<Self, CheckpointError> {
        let io = |error| CheckpointError::Io {
            path: dir.to_path_buf(),
            error,
        };
        fs::create_dir_all(dir).map_err(io)?;
        for entry in fs::read_dir(dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|e| e == "stage") {
                let bytes = fs::read(&path).map_err(io)?;
                let of = bytes.strip_prefix(MAGIC).and_then(|rest| rest.get(..32));
                if of.is_some_and(|of| of != run) {
                    return Err(CheckpointError::OtherRun { path });
                }
            }
        }
        Ok(Self {
            dir: dir.to_path_buf(),
            run,
            failed: None,
            taken: Vec::new(),
        })
    }

    /// The checkpoint of one of the runs that this run is made of, in a directory of its own.
    pub fn part(&self, number: usize) -> Result<Self, CheckpointError> {
        let mut run = self.run.to_vec();
        run.extend((number as u64).to_le_bytes());
        Self::open(&self.dir.join(format!("part-{number}")), Blake2s256::digest(run).into())
    }

    /// Stages that were taken from the directory.
    pub fn taken(&self) -> &[&'static str] {
        &self.taken
    }

    /// Removes the stages: the proof is made. What could not be written is said now.
    pub fn finish(self) -> Result<(), CheckpointError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |error| CheckpointError::Io { path, error }
        };
        for entry in fs::read_dir(&self.dir).map_err(io(&self.dir))? {
            let path = entry.map_err(io(&self.dir))?.path();
            if path.extension().is_some_and(|e| e == "stage" || e == "partial") {
                fs::remove_file(&path).map_err(io(&path))?;
            }
        }
        // Of others' files there may be some left.
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }

    fn path(&self, stage: &str) -> PathBuf {
        self.dir.join(stage.replace(' ', "-")).with_extension("stage")
    }

    fn write(&self, stage: &str, state: &Hash, outcome: &[u8]) -> Result<(), CheckpointError> {
        let path = self.path(stage);
        let partial = path.with_extension("partial");
        let io = |error| CheckpointError::Io {
            path: partial.clone(),
            error,
        };
        let mut file = fs::File::create(&partial).map_err(io)?;
        for part in [&MAGIC[..], &self.run, state, &checksum(outcome), outcome] {
            file.write_all(part).map_err(io)?;
        }
        file.sync_all().map_err(io)?;
        fs::rename(&partial, &path).map_err(io)
    }
}

fn checksum(outcome: &[u8]) -> Hash {
    Blake2s256::digest(outcome).into()
}

impl Journal for Checkpoint {
    fn get(&mut self, stage: &'static str, state: &Hash) -> Option<Vec<u8>> {
        let bytes = fs::read(self.path(stage)).ok()?;
        let (header, outcome) = bytes.split_at_checked(HEADER)?;
        let expected = [&MAGIC[..], &self.run, state, &checksum(outcome)].concat();
        if header != expected {
            return None;
        }
        self.taken.push(stage);
        Some(outcome.to_vec())
    }

    fn put(&mut self, stage: &'static str, state: &Hash, outcome: &[u8]) {
        if let Err(error) = self.write(stage, state, outcome) {
            self.failed.get_or_insert(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_found_again_by_their_run_and_state() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        let mut first = Checkpoint::open(&dir, [1; 32]).unwrap();
        assert_eq!(first.get("long stage", &[2; 32]), None);
        first.put("long stage", &[2; 32], b"outcome");
        drop(first);
        let mut again = Checkpoint::open(&dir, [1; 32]).unwrap();
        assert_eq!(again.get("long stage", &[3; 32]), None);
        assert_eq!(again.get("long stage", &[2; 32]).as_deref(), Some(&b"outcome"[..]));
        assert_eq!(again.taken(), ["long stage"]);
        let other = Checkpoint::open(&dir, [4; 32]).unwrap_err();
        assert!(other.to_string().contains("another run"), "{other}");

        // The parts of a run have their own stages, and know of which run they are.
        let mut part = again.part(3).unwrap();
        assert_eq!(part.get("long stage", &[2; 32]), None);
        part.put("long stage", &[2; 32], b"of the part");
        let found = again.part(3).unwrap().get("long stage", &[2; 32]);
        assert_eq!(found.as_deref(), Some(&b"of the part"[..]));
        assert!(Checkpoint::open(&dir.join("part-3"), [1; 32]).is_err());
        part.finish().unwrap();

        // A damaged file is not taken.
        let path = dir.join("long-stage.stage");
        let good = fs::read(&path).unwrap();
        for (at, end) in [
            (HEADER, good.len()),
            (good.len() - 1, good.len()),
            (0, HEADER - 1),
            (0, 3),
        ] {
            let mut bad = good[..end].to_vec();
            bad[at.min(end - 1)] ^= 1;
            fs::write(&path, bad).unwrap();
            assert_eq!(again.get("long stage", &[2; 32]), None);
        }
        again.finish().unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn what_cannot_be_written_is_said_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut lost = Checkpoint::open(&dir.path().join("gone"), [1; 32]).unwrap();
        fs::remove_dir(dir.path().join("gone")).unwrap();
        lost.put("stage", &[2; 32], b"outcome");
        assert!(matches!(lost.finish(), Err(CheckpointError::Io { .. })));
    }
}
