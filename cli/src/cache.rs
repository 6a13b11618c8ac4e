//! Derived files of a project by the hash of what they follow from: calibrated plans and proving keys.
//!
//! They lie in `.mlc/` beside the project's settings. Deleting the directory loses nothing but time.

use std::path::{Path, PathBuf};

use blake2::{Blake2s256, Digest};

use crate::error::CliError;
use crate::files;

/// Name of the directory.
pub(crate) const DIRECTORY: &str = ".mlc";

/// A hash of parts, each with its length.
pub(crate) fn hash(parts: &[&[u8]]) -> String {
    let mut h = Blake2s256::new();
    for part in parts {
        h.update((part.len() as u64).to_le_bytes());
        h.update(part);
    }
    hex(&h.finalize())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The cache of a project.
#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache of the project in `root`; nothing is written yet.
    pub(crate) fn of(root: &Path) -> Self {
        Cache {
            root: root.join(DIRECTORY),
        }
    }

    /// The path of a derived file or directory; the directory above it exists then.
    pub(crate) fn path(&self, kind: &str, hash: &str) -> Result<PathBuf, CliError> {
        let folder = self.root.join(kind);
        files::create_dir(&folder)?;
        let ignore = self.root.join(".gitignore");
        if !ignore.exists() {
            files::write_atomic(&ignore, b"*\n")?;
        }
        // Half of the hash is more than enough to tell the projects of one directory apart.
        Ok(folder.join(&hash[..32.min(hash.len())]))
    }
}
