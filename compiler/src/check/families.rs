//! Model families: `.mlc` files that serve the models of a `config.json`.
//!
//! A family says which with `@family("llama", "mistral")`, values of the key `model_type`, and with
//! `@unused("*.inv_freq")` which tensors of such a model's files it leaves out; `*` stands for any characters. Both are
//! read off the source without checking it. The files of `stdlib/models` are built into the compiler.

use crate::syntax::ast::{ExprKind, ItemKind, StrPiece};
use crate::syntax::{FileId, parse};

/// Name and text of every file of `stdlib/models`, in order of name; the list is made by `build.rs`.
const BUILT_IN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/families.rs"));

/// A file that serves models of some types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Name of the file, without its ending.
    pub name: String,
    /// The source.
    pub source: String,
    /// The types that it serves: values of `model_type`.
    pub model_types: Vec<String>,
    /// Patterns of the tensors that it does not use.
    pub unused: Vec<String>,
}

impl Family {
    /// The family that a source declares.
    pub fn of(name: &str, source: &str) -> Self {
        let (module, _) = parse(FileId(0), source);
        let models = module.items.iter().filter(|i| matches!(i.kind, ItemKind::Model(_)));
        let annotations: Vec<_> = models.flat_map(|i| &i.annotations).collect();
        let strings = |of: &str| {
            let args = annotations.iter().filter(|a| a.name.text == of).flat_map(|a| &a.args);
            args.filter_map(|arg| literal(&arg.value.kind)).collect()
        };
        Family {
            name: name.to_owned(),
            source: source.to_owned(),
            model_types: strings("family"),
            unused: strings("unused"),
        }
    }

    /// Whether it leaves out the tensor `name` of a model.
    pub fn leaves_out(&self, name: &str) -> bool {
        self.unused.iter().any(|pattern| matches(pattern, name))
    }
}

/// The families that come with the compiler, in order of name.
pub fn families() -> Vec<Family> {
    BUILT_IN.iter().map(|(name, source)| Family::of(name, source)).collect()
}

/// A string without holes.
pub(super) fn literal(expr: &ExprKind) -> Option<String> {
    match expr {
        ExprKind::Str(pieces) => match pieces.as_slice() {
            [] => Some(String::new()),
            [StrPiece::Text(text)] => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether `name` is `pattern` with some characters for every `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    // The earliest place of each part leaves the most for those behind it.
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, name, expected) in [
            ("cls.*", "cls.bias", true),
            ("cls.*", "x.cls.bias", false),
            ("*.inv_freq", "model.layers.0.inv_freq", true),
            ("*pooler*weight", "pooler.dense.weight", true),
            ("*pooler*weight", "pooler.dense.bias", false),
            ("a*a", "a", false),
            ("a*b*b", "ab", false),
            ("lm_head.weight", "lm_head.weight", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn every_built_in_family_serves_types_that_no_other_serves() {
        let mut seen = std::collections::BTreeSet::new();
        for family in families() {
            assert!(!family.model_types.is_empty(), "{} has no @family", family.name);
            for model_type in &family.model_types {
                assert!(seen.insert(model_type.clone()), "{model_type} is served twice");
            }
        }
        assert!(seen.contains("bert"));
    }
}
