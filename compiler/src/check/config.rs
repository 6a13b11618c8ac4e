//! The configuration of a compilation: values by name, and what the weight file holds.

use serde_json::Value;
use std::collections::BTreeMap;

/// Values for the `config` declarations of a model.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Values set by name (command line, mlc.toml). A name that the model does not declare is an error.
    pub values: BTreeMap<String, Value>,
    /// A whole config.json: an object, in which keys are looked up and unknown ones ignored.
    pub file: Option<Value>,
    /// Name and shape of every tensor in the weight file, where there is one. Decides alternatives and optional weights.
    pub weights: Option<BTreeMap<String, Vec<u64>>>,
    /// The one entry to elaborate; all of them where it is not given.
    pub entry: Option<String>,
}

impl Config {
    /// Sets `key` to `text`, read as JSON where it is JSON, else as a string: `hidden=32`, `act=gelu`.
    pub fn set(&mut self, key: &str, text: &str) {
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_string()));
        self.values.insert(key.to_string(), value);
    }

    /// The value at a key of config.json; `a.b` looks into the object at `a`.
    pub(super) fn in_file(&self, key: &str) -> Option<&Value> {
        let file = self.file.as_ref()?;
        file.get(key)
            .or_else(|| key.split('.').try_fold(file, |object, part| object.get(part)))
    }
}
