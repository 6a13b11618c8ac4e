//! Reading, and writing without ever leaving half a file: to a temporary name beside it, then renamed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

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

/// The value in a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Value, CliError> {
    serde_json::from_str(&read_text(path)?).map_err(|e| CliError::read(path, format!("not JSON: {e}")))
}

/// Writes a file whole or not at all.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    write_together(&[(path, bytes)])
}

/// Writes files that belong together: all of them are on the disk before the first takes its name.
pub(crate) fn write_together(all: &[(&Path, &[u8])]) -> Result<(), CliError> {
    let each = all.iter().try_for_each(|(path, bytes)| {
        let mut file = File::create(temporary(path)).map_err(|e| CliError::write(path, e))?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(|e| CliError::write(path, e))
    });
    let renamed = each.and_then(|()| {
        all.iter()
            .try_for_each(|(path, _)| fs::rename(temporary(path), path).map_err(|e| CliError::write(path, e)))
    });
    if renamed.is_err() {
        // What is left of them is of no use to anybody; those that were not made or are renamed are not there.
        for (path, _) in all {
            let _ = fs::remove_file(temporary(path));
        }
    }
    renamed
}

/// Copies a file whole or not at all.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), CliError> {
    let temporary = temporary(to);
    let copied = fs::copy(from, &temporary).and_then(|_| fs::rename(&temporary, to));
    copied.map_err(|e| {
        // What is left of it is of no use to anybody.
        let _ = fs::remove_file(&temporary);
        CliError::write(to, e)
    })
}

/// Refuses a path that cannot be written, before the work is done whose result it is for.
pub(crate) fn will_write(path: &Path) -> Result<(), CliError> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    if path.is_dir() {
        return Err(CliError::write(path, "it is a directory"));
    }
    if !folder.is_dir() {
        let why = format!("there is no directory `{}`", folder.display());
        return Err(CliError::write(path, why));
    }
    Ok(())
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
