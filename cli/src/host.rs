//! Source files for the compiler, which reads nothing itself.

use std::path::PathBuf;

use mlc_compiler::Host;

/// Files below a directory; paths are relative to it.
#[derive(Debug)]
pub(crate) struct Files {
    /// The directory.
    pub(crate) root: PathBuf,
}

impl Host for Files {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(self.root.join(path)).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            _ => e.to_string(),
        })
    }
}
