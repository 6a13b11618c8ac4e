//! Greedy decoding in the integers of the circuit.
//!
//! Every token executes the whole sequence again: there is no cache of keys and values, so that what is computed is what one
//! proof over the sequence proves.

use std::path::Path;

use mlc_import::checkpoint;
use mlc_runtime::exec::execute;
use mlc_runtime::weights::IntWeights;
use mlc_verifier::generation::{LanguageEntry, argmax};
use serde_json::Value;

use crate::error::CliError;
use crate::files;
use crate::pipeline::Compiled;
use crate::prompt::{Prompts, Text};
use crate::ui::Ui;

/// A language model in integers.
pub(crate) struct Greedy<'a> {
    pub(crate) compiled: &'a Compiled,
    pub(crate) weights: &'a IntWeights,
    pub(crate) prompts: &'a Prompts<'a>,
    pub(crate) entry: LanguageEntry,
    /// Tokens after which a text is over.
    pub(crate) ends: Vec<u32>,
}

impl Greedy<'_> {
    /// At most `most` tokens after `prompt`, up to and including one that ends the text; `seen` is called with all tokens
    /// after each.
    pub(crate) fn generate(
        &self,
        prompt: &[u32],
        most: u32,
        mut seen: impl FnMut(&[u32]) -> Result<(), CliError>,
    ) -> Result<Vec<u32>, CliError> {
        let _span = tracing::info_span!("generate").entered();
        let mut ids = prompt.to_vec();
        for _ in 0..most {
            let next = self.next(&ids)?;
            ids.push(next);
            seen(&ids)?;
            if self.ends.contains(&next) {
                break;
            }
        }
        Ok(ids.split_off(prompt.len()))
    }

    /// The position of the greatest of the last logits.
    fn next(&self, ids: &[u32]) -> Result<u32, CliError> {
        let bound = self.prompts.bind_tokens(ids)?;
        let circuit = &self.compiled.circuit;
        let instance = circuit.instantiate(self.compiled.entry, &bound.dims_of(circuit))?;
        let inputs = bound.integers(instance.entry)?;
        let execution = execute(&instance, self.weights, &inputs).map_err(CliError::refused)?;
        let logits = execution.outputs.first().map_or(&[][..], Vec::as_slice);
        argmax(&logits[logits.len().saturating_sub(self.entry.vocab)..])
            .ok_or_else(|| CliError::refused("the model has no logits"))
    }
}

/// The tokens that end a text: `eos_token_id` of the config.json in `root`, where there is one.
pub(crate) fn ends(root: &Path) -> Result<Vec<u32>, CliError> {
    let path = root.join(checkpoint::CONFIG);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let config: Value =
        serde_json::from_slice(&files::read(&path)?).map_err(|e| CliError::read(&path, format!("not JSON: {e}")))?;
    let one = |v: &Value| {
        let id = v.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| CliError::read(&path, format!("`eos_token_id` has {v}, which is no token")))
    };
    match &config["eos_token_id"] {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(one).collect(),
        id => Ok(vec![one(id)?]),
    }
}

/// Prints a text while it grows.
pub(crate) struct Growing<'a> {
    text: &'a Text,
    ui: &'a Ui,
    shown: String,
}

impl<'a> Growing<'a> {
    /// Nothing is printed so far.
    pub(crate) fn new(text: &'a Text, ui: &'a Ui) -> Self {
        let shown = String::new();
        Growing { text, ui, shown }
    }

    /// Prints what all tokens so far have more than what is printed. A character of which bytes are missing waits.
    pub(crate) fn show(&mut self, ids: &[u32]) -> Result<(), CliError> {
        let text = self.text.of(ids)?;
        if !text.ends_with(char::REPLACEMENT_CHARACTER)
            && let Some(more) = text.strip_prefix(&self.shown)
        {
            self.ui.piece(more);
            self.shown = text;
        }
        Ok(())
    }

    /// Prints what has waited, and ends the line.
    pub(crate) fn end(self, ids: &[u32]) -> Result<(), CliError> {
        let text = self.text.of(ids)?;
        match text.strip_prefix(&self.shown) {
            Some(more) => self.ui.piece(&format!("{more}\n")),
            None => self.ui.piece(&format!("\n{text}\n")),
        }
        Ok(())
    }
}
