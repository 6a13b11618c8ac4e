//! Greedy decoding in the integers of the circuit.
//!
//! Where the model keeps keys and values, each token executes one position, with the cache of those before it; else each
//! executes the whole sequence again.

use std::path::Path;

use mlc_import::checkpoint;
use mlc_runtime::exec::{Appended, execute_after};
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
        let mut cache = Cache::default();
        for _ in 0..most {
            let next = self.next(&ids, &mut cache)?;
            ids.push(next);
            seen(&ids)?;
            if self.ends.contains(&next) {
                break;
            }
        }
        Ok(ids.split_off(prompt.len()))
    }

    /// The position of the greatest of the last logits.
    fn next(&self, ids: &[u32], cache: &mut Cache) -> Result<u32, CliError> {
        let circuit = &self.compiled.circuit;
        let entry = self.compiled.entry;
        let new = &ids[cache.read..];
        let bound = self.prompts.bind_tokens(new)?;
        let links: Vec<u32> = cache.earlier.iter().map(|a| a.len).collect();
        let dims = circuit.dims_after(&bound.dims_of(circuit), &links);
        let instance = circuit.instantiate_link(entry, &dims, &links)?;
        let inputs = bound.integers(&instance.entry)?;
        let execution = execute_after(&instance, self.weights, &inputs, &cache.earlier).map_err(CliError::refused)?;
        if let Some(appended) = execution.appended(&instance) {
            // One piece, so that the next token reads one, whatever came before.
            cache.earlier.push(appended);
            let joined = Appended::joined(circuit, entry, &dims, &cache.earlier);
            let joined = joined.ok_or_else(|| CliError::refused("the cache has no plain form"))?;
            (cache.earlier, cache.read) = (vec![joined], ids.len());
        }
        let output = execution.outputs.first().map_or(&[][..], Vec::as_slice);
        let next = match self.entry.found {
            true => output.last().and_then(|&a| u32::try_from(a).ok()),
            false => argmax(&output[output.len().saturating_sub(self.entry.vocab)..]),
        };
        next.ok_or_else(|| CliError::refused("the model has no logits"))
    }
}

/// Keys and values of the tokens that have been read.
#[derive(Default)]
struct Cache {
    earlier: Vec<Appended>,
    /// How many.
    read: usize,
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
