mod prompt;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use mlc_circuit::{Circuit, InputKind};
use mlc_ir::TensorF32;
use mlc_runtime::inputs::InputFile;
use mlc_verifier::chain::{ChainFile, joined};
use mlc_verifier::key::{LoadedKey, hex};
use mlc_verifier::proof_file::{ProofFile, ProofFileError};
use mlc_verifier::statement::Statement;
use serde_json::{Value, json};

use prompt::PromptArgs;

use super::{ModelOptions, verifier_key};
use crate::error::CliError;
use crate::files;
use crate::input;
use crate::output::{Output, json_of, label_of, outputs};
use crate::project::Manifest;
use crate::ui::{Ui, seconds};

/// Arguments of `mlc verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
The key is the trust root: from a file, or made anew from a model. Nothing of it is taken from the proof.

Example:
  mlc verify --key digits-key/verifying.key --proof digit.proof
  mlc verify examples/digits --proof digit.proof --input image.png
  mlc verify --key k --proof story.proof --prompt \"Once upon a time\" --tokenizer tokenizer.json

Exit codes: 0 accepted, 1 rejected, 2 usage or unreadable input.")]
pub(crate) struct Verify {
    /// The model to take the key from, where no key is given
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    #[command(flatten)]
    options: ModelOptions,
    /// The verifying key, or the directory that `setup` wrote
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The proof
    #[arg(long, value_name = "FILE")]
    proof: PathBuf,
    /// Check that the proof is of this input, in any form that `prove` takes
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Check that the proof is of this output (JSON: a nested list, or an object of them by name)
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    prompt: PromptArgs,
}

/// What a file holds: one proof, or a chain of them.
enum Proof {
    One(ProofFile),
    Chain(ChainFile),
}

impl Proof {
    fn decode(bytes: &[u8]) -> Result<Self, ProofFileError> {
        if ChainFile::is_one(bytes) {
            ChainFile::decode(bytes).map(Self::Chain)
        } else {
            ProofFile::decode(bytes).map(Self::One)
        }
    }

    /// The reason why it is not accepted, or what it says: one statement, or, of a chain whose outputs are not those of every
    /// position, one for each link.
    fn verify(&self, key: &LoadedKey) -> Result<Vec<Statement>, String> {
        match self {
            Self::One(file) => {
                key.verify_file(file).map_err(|e| e.to_string())?;
                Ok(vec![file.statement.clone()])
            }
            Self::Chain(file) => {
                key.verify_chain(file).map_err(|e| e.to_string())?;
                let links: Vec<&Statement> = file.links.iter().map(|l| &l.statement).collect();
                Ok(match joined(&key.circuit, &links) {
                    Some(whole) => vec![whole],
                    None => links.into_iter().cloned().collect(),
                })
            }
        }
    }
}

impl Verify {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let project = self.model.as_deref().map(|m| self.options.open(m)).transpose()?;
        let root = project.as_ref().map(|p| p.root.clone());
        let prompt = self.prompt.tokens(root.as_deref())?;
        let key = verifier_key(self.key.as_deref(), project.as_ref(), ui)?;
        let fingerprint = hex(&key.fingerprint);
        let manifest = project.map(|p| p.manifest).unwrap_or_default();
        let bytes = files::read(&self.proof)?;
        let start = Instant::now();
        let proof = Proof::decode(&bytes).map_err(|e| CliError::read(&self.proof, e))?;
        let verified = proof.verify(&key);
        let took = start.elapsed().as_secs_f64();
        let outcome = verified.map_err(CliError::Rejected).and_then(|said| {
            if let [statement] = &said[..] {
                self.same_input(&key, statement, &manifest, root.as_deref())?;
                self.same_output(&key, statement)?;
                let continued = prompt.map(|p| p.continued(&key, statement)).transpose()?;
                return Ok((said, continued.flatten()));
            }
            if self.input.is_some() || self.output.is_some() || prompt.is_some() {
                return Err(CliError::Usage(
                    "each segment of this chain has outputs of its own, which make no whole: `--input`, `--output` and \
                     `--prompt` cannot be compared"
                        .to_owned(),
                ));
            }
            Ok((said, None))
        });
        let (said, continued) = match outcome {
            Ok(accepted) => accepted,
            Err(error) => {
                if ui.is_json() && matches!(error, CliError::Rejected(_)) {
                    ui.json(&json!({ "accepted": false, "reason": error.to_string(), "key": fingerprint }));
                    return Ok(super::rejected());
                }
                ui.note(&format!("key        {fingerprint}"));
                return Err(error);
            }
        };
        let each = said.iter().map(|s| {
            let entry = s.entry as usize;
            outputs(&key.circuit, entry, &s.dims, &s.outputs, Some(&manifest))
        });
        let outputs: Vec<Output> = each.flatten().collect();
        ui.result(
            || {
                let mut out = json!({
                    "accepted": true,
                    "key": fingerprint,
                    "model": key.circuit.name,
                    "output": json_of(&outputs),
                    "label": label_of(&outputs),
                    "verify_s": took,
                });
                if let (Proof::Chain(chain), Some(map)) = (&proof, out.as_object_mut()) {
                    map.insert("segments".to_owned(), json!(chain.links.len()));
                }
                if let (Some(c), Some(map)) = (&continued, out.as_object_mut()) {
                    map.insert("text".to_owned(), json!(c.text));
                    map.insert("ids".to_owned(), json!(c.ids));
                }
                out
            },
            || {
                let mut text = format!(
                    "accepted   {} in {}\nkey        {fingerprint}\n",
                    key.circuit.name,
                    seconds(took)
                );
                if let Proof::Chain(chain) = &proof {
                    text += &format!(
                        "segments   {}, each carrying on from those before it\n",
                        chain.links.len()
                    );
                }
                for o in &outputs {
                    text += &format!("output     {}\n", o.summary());
                }
                if label_of(&outputs) != Value::Null {
                    text += &format!("label      {}\n", label_of(&outputs));
                }
                if let Some(c) = &continued {
                    text += &format!(
                        "greedy     {} tokens after the prompt\ntext       {}\n",
                        c.ids.len(),
                        c.text
                    );
                }
                text
            },
        );
        Ok(ExitCode::SUCCESS)
    }

    /// Requantises the user's input and compares it with the statement's.
    fn same_input(
        &self,
        key: &LoadedKey,
        statement: &Statement,
        manifest: &Manifest,
        root: Option<&Path>,
    ) -> Result<(), CliError> {
        let Some(path) = &self.input else { return Ok(()) };
        let entry = statement.entry as usize;
        let declared = input::declared_by_circuit(&key.circuit, entry);
        let names: Vec<&str> = declared.iter().map(|d| d.name.as_str()).collect();
        let given = match path.extension().is_some_and(|e| e == "txt") {
            true => InputFile::One(self.text(path, root)?),
            false => input::read(path, &names, manifest)?,
        };
        let bound = input::bind(&declared, given, &path.display().to_string())?;
        let inputs = &key.circuit.entries[entry].inputs;
        if bound.dims_of(&key.circuit) != statement.dims {
            return Err(CliError::Rejected(format!(
                "the proof is for {}, and `{}` has {}",
                named(&key.circuit, &statement.dims),
                path.display(),
                named(&key.circuit, &bound.dims_of(&key.circuit))
            )));
        }
        let integers = bound.integers(&key.circuit.entries[entry])?;
        for ((input, mine), proved) in inputs.iter().zip(&integers).zip(&statement.inputs) {
            if input.kind != InputKind::Public {
                return Err(CliError::Usage(format!(
                    "input `{}` is private: the statement does not hold it, so it cannot be compared",
                    input.name
                )));
            }
            if mine.len() != proved.len() {
                return Err(CliError::Rejected(format!(
                    "the proof is for another input: `{}` has {} values, yours has {}",
                    input.name,
                    proved.len(),
                    mine.len()
                )));
            }
            if let Some(at) = mine.iter().zip(proved).position(|(a, b)| a != b) {
                return Err(CliError::Rejected(format!(
                    "the proof is for another input: `{}` is {} at position {at}, yours is {} (in integers of the statement)",
                    input.name, proved[at], mine[at]
                )));
            }
        }
        Ok(())
    }

    /// The tokens of a file of text, whose one line that is not empty is the prompt.
    fn text(&self, path: &Path, root: Option<&Path>) -> Result<TensorF32, CliError> {
        let text = files::read_text(path)?;
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        let [line] = lines[..] else {
            return Err(CliError::Usage(format!(
                "`{}` has {} lines of text, and a proof is of one",
                path.display(),
                lines.len()
            )));
        };
        let ids = self.prompt.tokenizer(root)?.tokens(line)?;
        Ok(TensorF32 {
            shape: vec![1, ids.len()],
            data: ids.iter().map(|id| *id as f32).collect(),
        })
    }

    /// Compares the user's output with the statement's, at the output's scale.
    fn same_output(&self, key: &LoadedKey, statement: &Statement) -> Result<(), CliError> {
        let Some(path) = &self.output else { return Ok(()) };
        let declared = &key.circuit.entries[statement.entry as usize].outputs;
        let named = read_output(path, declared.first().map(|o| o.name.as_str()))?;
        for (name, values) in named {
            let at = declared
                .iter()
                .position(|o| o.name == name)
                .ok_or_else(|| CliError::Rejected(format!("the model has no output `{name}`")))?;
            let (output, proved) = (&declared[at], &statement.outputs[at]);
            if values.len() != proved.len() {
                return Err(CliError::Rejected(format!(
                    "output `{name}` has {} values in the proof, yours has {}",
                    proved.len(),
                    values.len()
                )));
            }
            let differs = |(x, q): (&f64, &i32)| (x / output.scale).round_ties_even() != f64::from(*q);
            if let Some(at) = values.iter().zip(proved).position(differs) {
                return Err(CliError::Rejected(format!(
                    "the proof is for another output: `{name}` is {} at position {at}, yours is {}",
                    f64::from(proved[at]) * output.scale,
                    values[at]
                )));
            }
        }
        Ok(())
    }
}

/// Run-time dimensions with their names.
fn named(circuit: &Circuit, dims: &[u32]) -> String {
    let each = circuit.dims.iter().zip(dims).map(|(d, n)| format!("{} = {n}", d.name));
    each.collect::<Vec<_>>().join(", ")
}

/// Outputs in a JSON file: by name, the `output` of a report, or a list for the first.
fn read_output(path: &Path, first: Option<&str>) -> Result<Vec<(String, Vec<f64>)>, CliError> {
    let value: Value =
        serde_json::from_slice(&files::read(path)?).map_err(|e| CliError::read(path, format!("not JSON: {e}")))?;
    let list = |v: &Value| {
        let mut out = Vec::new();
        numbers(v, &mut out).map_err(|why| CliError::read(path, why))?;
        Ok::<_, CliError>(out)
    };
    match value.get("output").unwrap_or(&value) {
        Value::Object(map) => map.iter().map(|(name, v)| Ok((name.clone(), list(v)?))).collect(),
        other => Ok(vec![(first.unwrap_or_default().to_owned(), list(other)?)]),
    }
}

/// The numbers of nested lists, in order.
fn numbers(value: &Value, out: &mut Vec<f64>) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|v| numbers(v, out)),
        other => {
            out.push(other.as_f64().ok_or_else(|| format!("{other} is no number"))?);
            Ok(())
        }
    }
}
