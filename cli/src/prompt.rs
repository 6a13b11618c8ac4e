//! Text as an input: the tokens that `tokenizer.json` makes of it.
//!
//! A text is neither cut nor padded, whatever the tokenizer's settings say; special tokens are added. Where tokens are shown
//! as text, they are left out.

use std::path::Path;

use mlc_ir::{Elem, Module, TensorF32};
use mlc_runtime::inputs::InputFile;
use tokenizers::Tokenizer;

use crate::error::CliError;
use crate::input::{Bound, bind, declared};
use crate::model::Model;

/// Name of the tokenizer's file beside a model.
pub(crate) const TOKENIZER: &str = "tokenizer.json";

/// What calibrates a language model where no sample inputs are named.
pub(crate) const SAMPLES: &str = include_str!("samples.txt");

/// Text to tokens and back.
pub(crate) struct Text {
    tokenizer: Tokenizer,
}

impl Text {
    /// The tokenizer in a file.
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        let mut tokenizer = Tokenizer::from_file(path).map_err(|e| CliError::read(path, e))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| CliError::read(path, e))?;
        Ok(Text { tokenizer })
    }

    /// The tokens of a prompt, as they are; at least one.
    pub(crate) fn tokens(&self, text: &str) -> Result<Vec<u32>, CliError> {
        let encoding = self.tokenizer.encode(text, true).map_err(CliError::refused)?;
        match encoding.get_ids() {
            [] => Err(CliError::refused("the prompt has no tokens")),
            ids => Ok(ids.to_vec()),
        }
    }

    /// The text of tokens. Where it ends within a character, that is U+FFFD.
    pub(crate) fn of(&self, ids: &[u32]) -> Result<String, CliError> {
        self.tokenizer.decode(ids, true).map_err(CliError::refused)
    }

    /// The text that `ids` add to a prompt: what their text with the prompt has more than that of the prompt.
    pub(crate) fn after(&self, prompt: &[u32], ids: &[u32]) -> Result<String, CliError> {
        let (before, all) = (self.of(prompt)?, self.of(&[prompt, ids].concat())?);
        match all.strip_prefix(&before) {
            Some(rest) => Ok(rest.to_owned()),
            // A tokenizer that writes the same tokens otherwise, with others behind them.
            None => self.of(ids),
        }
    }
}

/// A tokenizer for the inputs of one entry.
pub(crate) struct Prompts<'a> {
    /// The tokenizer.
    pub(crate) text: Text,
    model: &'a Model,
}

impl<'a> Prompts<'a> {
    /// The tokenizer of the model in `root`.
    pub(crate) fn open(root: &Path, model: &'a Model) -> Result<Self, CliError> {
        let path = root.join(TOKENIZER);
        if !path.is_file() {
            return Err(CliError::Usage(format!(
                "`{}` has no {TOKENIZER}: a text cannot be made tokens; put the {TOKENIZER} of the model there (the one inside of a \
                 GGUF file is not read), or give the numbers of tokens with `--input tokens.json`",
                root.display()
            )));
        }
        let text = Text::open(&path)?;
        Ok(Prompts { text, model })
    }

    /// A text as the model's input.
    pub(crate) fn bind(&self, text: &str) -> Result<Bound, CliError> {
        self.bind_tokens(&self.text.tokens(text)?)
    }

    /// Tokens of a prompt as the model's input.
    pub(crate) fn bind_tokens(&self, ids: &[u32]) -> Result<Bound, CliError> {
        let (module, entry) = (&self.model.module, &self.model.entry);
        if let Some(below) = vocabulary(module, entry) {
            if let Some(id) = ids.iter().find(|id| u64::from(**id) >= below) {
                let word = self.text.tokenizer.id_to_token(*id).unwrap_or_default();
                return Err(CliError::refused(format!(
                    "the tokenizer makes token {id} (`{word}`) of the prompt, and the model's vocabulary ends at {}; is \
                     {TOKENIZER} that of another model?",
                    below - 1
                )));
            }
            let tensor = TensorF32 {
                shape: vec![1, ids.len()],
                data: ids.iter().map(|id| *id as f32).collect(),
            };
            let bound = bind(&declared(module, entry), InputFile::One(tensor), "the prompt")?;
            fits(self.model, &bound)?;
            return Ok(bound);
        }
        Err(CliError::Usage(format!(
            "a prompt is for a model whose one input is tokens; entry `{}` of {} takes something else",
            entry, module.name
        )))
    }

    /// The lines of a text, each of which becomes an input; one that is longer than the model's context is refused.
    pub(crate) fn lines(&self, text: &str) -> Result<Vec<Bound>, CliError> {
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
        lines.map(|line| self.bind(line)).collect()
    }

    /// The built-in samples that fit the model's context and vocabulary.
    pub(crate) fn samples(&self) -> Vec<Bound> {
        let lines = SAMPLES.lines().map(str::trim).filter(|l| !l.is_empty());
        lines.filter_map(|line| self.bind(line).ok()).collect()
    }
}

/// Whether the one input of an entry is tokens.
pub(crate) fn reads_tokens(module: &Module, entry: &str) -> bool {
    vocabulary(module, entry).is_some()
}

/// How many tokens there are, where the one input of an entry is tokens.
fn vocabulary(module: &Module, entry: &str) -> Option<u64> {
    let entry = &module.entries[entry];
    match entry.body.params.as_slice() {
        [input] => match entry.ty(*input).elem {
            Elem::Index(below) => Some(below),
            _ => None,
        },
        _ => None,
    }
}

/// How a model is made to take `length` of a run-time dimension, where a `config` says how many it takes.
fn raise(model: &Model, dim: &str, length: u64) -> String {
    match model.limits.get(dim) {
        Some(config) => format!("; `--set {config}={length}` raises that, where the model itself takes as many"),
        None => String::new(),
    }
}

/// [`raise`] for the tokens of a text.
pub(crate) fn raised(model: &Model, length: u64) -> String {
    let dims = model.module.dims.iter();
    let tokens = dims.filter(|(_, range)| range.before.is_none()).map(|(name, _)| name);
    tokens
        .map(|name| raise(model, name, length))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

/// Refuses an input that is longer than the model takes.
pub(crate) fn fits(model: &Model, bound: &Bound) -> Result<(), CliError> {
    for (name, range) in &model.module.dims {
        let length = bound.dims.get(name).copied().unwrap_or(1);
        if length > 0 && length as u64 > range.max {
            return Err(CliError::refused(format!(
                "{} has {length} {name}, and the model takes at most {}{}",
                match bound.file.as_str() {
                    "the prompt" => "the prompt".to_owned(),
                    file => format!("`{file}`"),
                },
                range.max,
                raise(model, name, length as u64)
            )));
        }
    }
    Ok(())
}
