//! `mlc verify --prompt`: that a proof is of a text which follows greedily from a prompt.

use std::path::{Path, PathBuf};

use clap::Args;
use mlc_verifier::generation::continuation;
use mlc_verifier::key::LoadedKey;
use mlc_verifier::statement::Statement;

use crate::error::CliError;
use crate::prompt::{TOKENIZER, Text};

/// The prompt of a generation.
#[derive(Debug, Args)]
pub(super) struct PromptArgs {
    /// Check that the proof is of a text after this prompt, every token of which is that of the greatest logit, and show it
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// What makes tokens of the prompt; that of MODEL where it is not given
    #[arg(long, value_name = "FILE", requires = "prompt")]
    tokenizer: Option<PathBuf>,
}

/// A prompt in tokens.
pub(super) struct Prompt {
    text: Text,
    ids: Vec<u32>,
}

/// What a proof shows to follow from a prompt.
pub(super) struct Continuation {
    /// As text.
    pub(super) text: String,
    /// Its tokens; the last is no token of the statement.
    pub(super) ids: Vec<u32>,
}

impl PromptArgs {
    /// The prompt, where one is given. `model` is the directory of the model.
    pub(super) fn tokens(&self, model: Option<&Path>) -> Result<Option<Prompt>, CliError> {
        let Some(prompt) = &self.prompt else { return Ok(None) };
        let path = match (&self.tokenizer, model) {
            (Some(path), _) => path.clone(),
            (None, Some(root)) => root.join(TOKENIZER),
            (None, None) => {
                return Err(CliError::Usage(format!(
                    "tokens are made of the prompt by a {TOKENIZER}: give `--tokenizer FILE`, or the MODEL that it lies beside"
                )));
            }
        };
        if !path.is_file() {
            return Err(CliError::read(&path, "no such file"));
        }
        let text = Text::open(&path)?;
        let ids = text.tokens(prompt)?;
        Ok(Some(Prompt { text, ids }))
    }
}

impl Prompt {
    /// What follows by a statement, which must have been verified.
    pub(super) fn continued(&self, key: &LoadedKey, statement: &Statement) -> Result<Continuation, CliError> {
        let ids = continuation(&key.circuit, statement, &self.ids).map_err(|e| CliError::Rejected(e.to_string()))?;
        let text = self.text.after(&self.ids, &ids)?;
        Ok(Continuation { text, ids })
    }
}
