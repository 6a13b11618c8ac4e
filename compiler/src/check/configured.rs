//! A family's source with the values of one `config.json` written into it as defaults.

use serde_json::Value;

use super::Config;
use super::families::literal;
use crate::syntax::ast::{BinaryOp, Expr, ExprKind, ItemKind, MemberKind};
use crate::syntax::{FileId, parse};

/// The text of a model in which every `config` that `config` (a whole config.json) gives a value has it as its default.
/// Everything else stays as it is written. Objects, lists and `null` are no values of a `config`.
pub fn configured(source: &str, config: &Value) -> String {
    let (module, _) = parse(FileId(0), source);
    let file = Config {
        file: Some(config.clone()),
        ..Config::default()
    };
    let mut out = source.to_owned();
    let models = module.items.iter().filter_map(|item| match &item.kind {
        ItemKind::Model(model) => Some(model),
        _ => None,
    });
    let members: Vec<_> = models.flat_map(|m| &m.members).collect();
    // From the back, so that places before stay where they are.
    for member in members.into_iter().rev() {
        let MemberKind::Config(declared) = &member.kind else {
            continue;
        };
        let mut keys = Vec::new();
        match &declared.key {
            Some(key) => alternatives(key, &mut keys),
            None => keys.push(declared.name.text.clone()),
        }
        let Some(value) = keys.iter().find_map(|k| file.in_file(k)).and_then(spelled) else {
            continue;
        };
        match &declared.default {
            Some(default) => out.replace_range(default.span.start as usize..default.span.end as usize, &value),
            None => out.insert_str(member.span.end as usize, &format!(" = {value}")),
        }
    }
    out
}

fn alternatives(key: &Expr, keys: &mut Vec<String>) {
    if let ExprKind::Binary(BinaryOp::Or, a, b) = &key.kind {
        alternatives(a, keys);
        alternatives(b, keys);
    } else {
        keys.extend(literal(&key.kind));
    }
}

/// A value as the language writes it.
fn spelled(value: &Value) -> Option<String> {
    match value {
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) => Some(n.to_string()),
        Value::String(s) => {
            let mut text = String::from("\"");
            for c in s.chars() {
                match c {
                    '"' | '\\' | '{' | '}' => text.extend(['\\', c]),
                    c if c.is_control() => return None,
                    c => text.push(c),
                }
            }
            Some(text + "\"")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_defaults() {
        let source = "model M {\n    config d: dim from \"n\" or \"a.d\"\n    config act: string = \"gelu\"\n    \
                      config scaling: real?\n    config tied: bool = false\n}\n";
        let config = serde_json::json!({"a": {"d": 8}, "act": "a\"{b", "scaling": null, "tied": true, "other": 1});
        assert_eq!(
            configured(source, &config),
            "model M {\n    config d: dim from \"n\" or \"a.d\" = 8\n    config act: string = \"a\\\"\\{b\"\n    \
             config scaling: real?\n    config tied: bool = true\n}\n"
        );
    }
}
