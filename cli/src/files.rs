//! Reading, and writing without ever leaving half a file: to a temporary name beside it, then renamed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    fs::read(path).map_err(|e| CliError::read(path, e))
}

/// The text of a file.
pub(crate) fn read_text(path: &Path) -> Result<String, CliError> {
    String::from_utf8(read(path)?)
        .map_err(|e| CliError::read(path, format!("not UTF-8 from byte {}", e.utf8_error().valid_up_to())))
}

/// Writes a file whole or not at all.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let temporary = temporary(path);
    let written = File::create(&temporary).and_then(|mut f| {
        f.write_all(bytes)?;
        f.sync_all()
    });
    written.and_then(|()| fs::rename(&temporary, path)).map_err(|e| {
        // What is left of it is of no use to anybody.
        let _ = fs::remove_file(&temporary);
        CliError::write(path, e)
    })
}

/// A directory and those above it.
pub(crate) fn create_dir(path: &Path) -> Result<(), CliError> {
    fs::create_dir_all(path).map_err(|e| CliError::write(path, e))
}

/// A name beside `path` that no other process uses.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}
