//! Every way in which a command fails, with its exit code.

use std::path::{Path, PathBuf};

use mlc_circuit::InstanceError;
use mlc_compiler::diagnostics::{Code, Diagnostic};
use mlc_compiler::syntax::SourceMap;
use mlc_import::gguf::GgufError;

/// Rejected, or refused for what it contains.
pub(crate) const REJECTED: u8 = 1;
/// Wrong usage, or a file that cannot be read or written.
pub(crate) const UNREADABLE: u8 = 2;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The arguments make no sense together.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read.
    #[error("cannot read `{}`: {why}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system or the format says.
        why: String,
    },
    /// A file cannot be written; nothing half written is left.
    #[error("cannot write `{}`: {why}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The source has errors.
    #[error("{}", summary(.0))]
    Source(Box<Diagnosed>),
    /// The model file cannot be imported.
    #[error("{}", import(path, errors))]
    Import {
        /// Which.
        path: PathBuf,
        /// Every reason.
        errors: mlc_import::ImportErrors,
    },
    /// Something was read and is refused for what it says.
    #[error("{0}")]
    Refused(String),
    /// The circuit has no instance at these dimensions.
    #[error("{0}")]
    Instance(#[from] InstanceError),
    /// A proof is rejected.
    #[error("rejected: {0}")]
    Rejected(String),
}

/// Diagnostics with the sources that they point into.
#[derive(Debug)]
pub(crate) struct Diagnosed {
    /// In source order.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// What the spans refer to.
    pub(crate) sources: SourceMap,
    /// The weight file that the source was checked against.
    pub(crate) weights: Option<PathBuf>,
}

/// One line for each reason, each with the file.
fn import(path: &Path, errors: &mlc_import::ImportErrors) -> String {
    use mlc_import::ImportError::{File, NotOnnx};
    let line = |e: &mlc_import::ImportError| match e {
        File { path, source } => format!("cannot read `{}`: {source}", path.display()),
        NotOnnx { .. } => format!("cannot read `{}`: {e}", path.display()),
        e => format!("`{}`: {e}", path.display()),
    };
    errors.errors().iter().map(line).collect::<Vec<_>>().join("\n")
}

fn summary(d: &Diagnosed) -> String {
    let errors = d.diagnostics.iter().filter(|d| d.is_error()).count();
    format!("{errors} error{}", if errors == 1 { "" } else { "s" })
}

impl CliError {
    /// A model file that cannot be imported.
    pub(crate) fn import(path: &Path, errors: mlc_import::ImportErrors) -> Self {
        CliError::Import {
            path: path.to_owned(),
            errors,
        }
    }

    /// A directory that is no model.
    pub(crate) fn checkpoint(error: mlc_import::checkpoint::CheckpointError) -> Self {
        match error {
            mlc_import::checkpoint::CheckpointError::Read { path, why } => CliError::Read { path, why },
            other => CliError::refused(other),
        }
    }

    /// A GGUF file that is no model.
    pub(crate) fn gguf(path: &Path, error: GgufError) -> Self {
        match error {
            GgufError::Io(_) | GgufError::Format(_) => CliError::read(path, error),
            other => CliError::refused(format!("`{}`: {other}", path.display())),
        }
    }

    /// A file that cannot be read.
    pub(crate) fn read(path: &Path, why: impl ToString) -> Self {
        CliError::Read {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }

    /// A file that cannot be written.
    pub(crate) fn write(path: &Path, why: impl ToString) -> Self {
        CliError::Write {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }

    /// Something refused for what it says.
    pub(crate) fn refused(why: impl ToString) -> Self {
        CliError::Refused(why.to_string())
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            CliError::Usage(_) | CliError::Read { .. } | CliError::Write { .. } => UNREADABLE,
            CliError::Source(d) if d.diagnostics.iter().any(|d| d.code == Code::E0005) => UNREADABLE,
            CliError::Import { errors, .. } if unreadable(errors) => UNREADABLE,
            _ => REJECTED,
        }
    }
}

fn unreadable(errors: &mlc_import::ImportErrors) -> bool {
    use mlc_import::ImportError::{File, NotOnnx};
    errors
        .errors()
        .iter()
        .any(|e| matches!(e, File { .. } | NotOnnx { .. }))
}
