//! `mlc verify --prompt`: that a proof is of a text which follows greedily from a prompt, or, of a model without logits, of the
//! prompt itself.

use std::path::{Path, PathBuf};

use clap::Args;
use mlc_verifier::generation::{GenerationError, LanguageEntry, continuation};
use mlc_verifier::key::LoadedKey;
use mlc_verifier::statement::Statement;

use crate::error::CliError;
use crate::input;
use crate::prompt::{TOKENIZER, Text};

/// The prompt of a generation.
#[derive(Debug, Args)]
pub(super) struct PromptArgs {
    /// Check that the proof is of a text after this prompt, every token of which is that of the greatest logit, and show it; of
    /// a model without logits, that it is of this text
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// What makes tokens of the prompt, or of a .txt input; that of MODEL where it is not given
    #[arg(long, value_name = "FILE")]
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
        let text = self.tokenizer(model)?;
        let ids = text.tokens(prompt)?;
        Ok(Some(Prompt { text, ids }))
    }

    /// What makes tokens of a text.
    pub(super) fn tokenizer(&self, model: Option<&Path>) -> Result<Text, CliError> {
        let path = match (&self.tokenizer, model) {
            (Some(path), _) => path.clone(),
            (None, Some(root)) => root.join(TOKENIZER),
            (None, None) => {
                return Err(CliError::Usage(format!(
                    "tokens are made of a text by a {TOKENIZER}: give `--tokenizer FILE`, or the MODEL that it lies beside"
                )));
            }
        };
        if !path.is_file() {
            return Err(CliError::read(&path, "no such file"));
        }
        Text::open(&path)
    }
}

impl Prompt {
    /// What follows by a statement, which must have been verified; `None` where the entry gives no text, and its tokens are those
    /// of the prompt.
    pub(super) fn continued(&self, key: &LoadedKey, statement: &Statement) -> Result<Option<Continuation>, CliError> {
        if let Err(why) = LanguageEntry::of(&key.circuit, statement.entry as usize) {
            return self.is_all(key, statement, &why).map(|()| None);
        }
        let ids = continuation(&key.circuit, statement, &self.ids).map_err(|e| CliError::Rejected(e.to_string()))?;
        let text = self.text.after(&self.ids, &ids)?;
        Ok(Some(Continuation { text, ids }))
    }

    /// Compares the tokens of a statement with those of the prompt.
    fn is_all(&self, key: &LoadedKey, statement: &Statement, why: &GenerationError) -> Result<(), CliError> {
        let declared = input::declared_by_circuit(&key.circuit, statement.entry as usize);
        let (tokens, [input]) = (&statement.inputs[..], &declared[..]) else {
            return Err(CliError::Usage(format!(
                "`--prompt` is compared with tokens, and the entry has {} inputs; compare with `--input FILE`",
                declared.len()
            )));
        };
        let ([tokens], Some(_)) = (tokens, input.vocabulary) else {
            return Err(CliError::Usage(format!(
                "`--prompt` is compared with tokens, and there are none here: {why}"
            )));
        };
        let other = |why: String| Err(CliError::Rejected(format!("the proof is for another prompt: {why}")));
        if tokens.len() != self.ids.len() {
            return other(format!("it has {} tokens, yours {}", tokens.len(), self.ids.len()));
        }
        match tokens
            .iter()
            .zip(&self.ids)
            .position(|(a, b)| i64::from(*a) != i64::from(*b))
        {
            None => Ok(()),
            Some(at) => other(format!(
                "the token at position {at} is {}, yours is {}",
                tokens[at], self.ids[at]
            )),
        }
    }
}
