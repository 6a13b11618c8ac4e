use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args};
use mlc_verifier::chain::ChainFile;
use mlc_verifier::proof_file::ProofFile;
use serde_json::{Value, json};

use super::{ModelOptions, verifier_key};
use crate::error::CliError;
use crate::files;
use crate::proof_json;
use crate::ui::{Ui, bytes, pretty};

/// Arguments of `mlc export`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["proof", "from_json"])))]
#[command(after_help = "\
The JSON form holds all of a proof: version, fingerprint of its key, statement, and the messages in
hexadecimal. With a key (or a MODEL to make it from) the proof is verified first, and the statement
in real numbers and the messages one by one are added. `--from-json` makes the proof file again,
byte for byte.

Example:
  mlc export --proof digit.proof -o digit.json
  mlc export --proof digit.proof --key digits-key/verifying.key
  mlc export --from-json digit.json -o digit.proof")]
pub(crate) struct Export {
    /// The model to take the key from, where no key is given
    #[arg(value_name = "MODEL", conflicts_with = "from_json")]
    model: Option<PathBuf>,
    #[command(flatten)]
    options: ModelOptions,
    /// The verifying key that explains the proof, or the directory that `setup` wrote
    #[arg(long, value_name = "FILE", conflicts_with = "from_json")]
    key: Option<PathBuf>,
    /// The proof to write as JSON
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// The JSON form to write as a proof file
    #[arg(long, value_name = "FILE", requires = "output")]
    from_json: Option<PathBuf>,
    /// Write the result here; JSON goes to standard output where it is not given
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let written = match (&self.proof, &self.from_json) {
            (Some(path), _) => {
                let bytes = files::read(path)?;
                if ChainFile::is_one(&bytes) {
                    return Err(CliError::read(
                        path,
                        "a chain of proofs, and only a single proof has a JSON form; `mlc verify` checks it",
                    ));
                }
                let file = ProofFile::decode(&bytes).map_err(|e| CliError::read(path, e))?;
                pretty(&self.json(&file, ui)?).into_bytes()
            }
            (None, Some(path)) => proof_json::from_json(&files::read(path)?)
                .map_err(|why| CliError::read(path, why))?
                .encode(),
            (None, None) => return Err(CliError::Usage("give `--proof FILE` or `--from-json FILE`".to_owned())),
        };
        let Some(path) = &self.output else {
            ui.print(&String::from_utf8_lossy(&written));
            return Ok(ExitCode::SUCCESS);
        };
        let newline: &[u8] = if self.proof.is_some() { b"\n" } else { b"" };
        let written = [&written, newline].concat();
        files::write_atomic(path, &written)?;
        ui.result(
            || json!({ "written": path, "bytes": written.len() }),
            || format!("written    {} ({})", path.display(), bytes(written.len() as u64)),
        );
        Ok(ExitCode::SUCCESS)
    }

    /// The JSON form, with what the key says where there is one.
    fn json(&self, file: &ProofFile, ui: &Ui) -> Result<Value, CliError> {
        let mut out = proof_json::to_json(file);
        if self.key.is_some() || self.model.is_some() {
            let project = self.model.as_deref().map(|m| self.options.open(m)).transpose()?;
            let key = verifier_key(self.key.as_deref(), project.as_ref(), ui)?;
            let messages = key.messages(file).map_err(|e| CliError::Rejected(e.to_string()))?;
            let meaning = proof_json::meaning(&key, &file.statement, project.as_ref().map(|p| &p.manifest));
            out.insert("meaning".to_owned(), meaning);
            out.insert("messages".to_owned(), proof_json::messages(&file.proof, &messages));
        }
        Ok(Value::Object(out))
    }
}
