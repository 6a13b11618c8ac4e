//! Names of a model as identifiers and strings of the language.

use std::collections::{BTreeMap, BTreeSet};

/// Words that are no names of values: keywords, builtins, and what the text imports.
const RESERVED: [&str; 74] = [
    "import",
    "model",
    "block",
    "fn",
    "table",
    "config",
    "dim",
    "weight",
    "state",
    "entry",
    "let",
    "repeat",
    "where",
    "if",
    "else",
    "match",
    "and",
    "or",
    "not",
    "true",
    "false",
    "none",
    "public",
    "private",
    "committed",
    "real",
    "index",
    "mask",
    "int",
    "bool",
    "string",
    "in",
    "carrying",
    "from",
    "max",
    "runtime",
    "std",
    "abs",
    "amax",
    "append",
    "argmax",
    "avg_pool2d",
    "broadcast",
    "causal_mask",
    "concat",
    "conv2d",
    "cos",
    "div_ceil",
    "div_floor",
    "einsum",
    "erf",
    "exp",
    "flatten",
    "floor",
    "gather_rows",
    "log",
    "max_pool2d",
    "mean",
    "min",
    "normalize_batch",
    "normalize_layer",
    "normalize_rms",
    "pad",
    "positions",
    "pow",
    "reshape",
    "rope",
    "round",
    "select",
    "sin",
    "softmax",
    "sqrt",
    "stored",
    "sum",
];

/// More of them: the last builtins, and the layers that a text may import.
const ALSO: [&str; 4] = ["tanh", "transpose", "linear", "conv"];

/// Gives every name an identifier of its own.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: BTreeSet<String>,
    given: BTreeMap<String, String>,
}

impl Names {
    /// An identifier close to `name` that nothing else has.
    pub(super) fn fresh(&mut self, name: &str) -> String {
        let stem = identifier(name);
        let reserved = |n: &str| RESERVED.contains(&n) || ALSO.contains(&n);
        let mut free = stem.clone();
        let mut n = 2;
        while reserved(&free) || self.taken.contains(&free) {
            free = format!("{stem}_{n}");
            n += 1;
        }
        self.taken.insert(free.clone());
        free
    }

    /// The same identifier every time `key` is asked for; made from `name` at first.
    pub(super) fn of(&mut self, key: &str, name: &str) -> String {
        if let Some(known) = self.given.get(key) {
            return known.clone();
        }
        let name = self.fresh(name);
        self.given.insert(key.to_owned(), name.clone());
        name
    }
}

/// Letters, digits and `_` of `name`, in lower case; runs of anything else as one `_`.
pub(super) fn identifier(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
    }
    let out = out.trim_end_matches('_');
    match out.chars().next() {
        None => "value".to_owned(),
        Some(c) if c.is_ascii_digit() => format!("v{out}"),
        Some(_) => out.to_owned(),
    }
}

/// `name` in the case of a model: `DigitsCnn`.
pub(super) fn camel(name: &str) -> String {
    let parts = identifier(name);
    let parts = parts.split('_').filter(|p| !p.is_empty());
    let text: String = parts
        .map(|p| {
            let (head, tail) = p.split_at(1);
            format!("{}{tail}", head.to_ascii_uppercase())
        })
        .collect();
    match text.as_str() {
        "" => "Model".to_owned(),
        _ => text,
    }
}

/// A name of a stored tensor: without what a string of the language would read otherwise.
pub(super) fn stored(name: &str) -> String {
    let plain = |c: char| match c {
        '{' | '}' | '"' | '\\' => '_',
        c if c.is_control() => '_',
        c => c,
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers_of_their_own() {
        let mut names = Names::default();
        assert_eq!(names.fresh("/features/0/Conv"), "features_0_conv");
        assert_eq!(names.fresh("features.0.conv"), "features_0_conv_2");
        assert_eq!(names.fresh("max"), "max_2");
        assert_eq!(names.fresh("12"), "v12");
        assert_eq!(names.fresh("::"), "value");
        assert_eq!(camel("digits_cnn"), "DigitsCnn");
    }
}
