//! How sentence-transformers makes one vector of the states of a sentence: `modules.json` lists what is done, `1_Pooling/config.json`
//! says which states count. Both become values of the family's `config`, `pooling` and `normalize`; what no family computes is
//! refused by name, since another vector would be proved in its place.

use std::path::Path;

use mlc_compiler::check::Family;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::files;

const MODULES: &str = "modules.json";
/// Directory of the pooling where nothing else is said.
const DIRECTORY: &str = "1_Pooling";

/// The `config` of a family that says how it pools.
const CONFIG: &str = "pooling";

/// Settings of a pooling, with what the families call it.
const MODES: [(&str, &str); 2] = [("pooling_mode_cls_token", "cls"), ("pooling_mode_mean_tokens", "mean")];

/// Whether a family pools.
pub(super) fn asked(family: &Family) -> bool {
    family.source.contains(&format!("config {CONFIG}:"))
}

/// Reads what is there into a configuration, which stands before it.
pub(super) fn read(dir: &Path, config: &mut Value) -> Result<(), CliError> {
    let modules = dir.join(MODULES);
    let (mut folder, mut normalize) = (DIRECTORY.to_owned(), true);
    if modules.is_file() {
        let listed = files::read_json(&modules)?;
        let list = listed
            .as_array()
            .ok_or_else(|| CliError::read(&modules, "it is no list of modules"))?;
        normalize = false;
        for module in list {
            let kind = module["type"].as_str().unwrap_or_default();
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Pooling" => folder = module["path"].as_str().unwrap_or(DIRECTORY).to_owned(),
                "Normalize" => normalize = true,
                _ => {
                    return Err(CliError::refused(format!(
                        "`{}` has a module of type `{kind}`; Transformer, Pooling and Normalize are computed, and `--entry states` \
                         gives the states that they are of",
                        modules.display()
                    )));
                }
            }
        }
    }
    let path = dir.join(folder).join("config.json");
    if !path.is_file() {
        return Ok(());
    }
    let mode = mode(&files::read_json(&path)?).map_err(|why| {
        CliError::refused(format!(
            "`{}` {why}; one of pooling_mode_mean_tokens and pooling_mode_cls_token is computed, and `--entry states` gives the \
             states",
            path.display()
        ))
    })?;
    if let Some(map) = config.as_object_mut() {
        map.entry(CONFIG).or_insert(json!(mode));
        // A mean has length 1 in any case: its cosines are the same, and its number of positions is no constant.
        if mode == "cls" {
            map.entry("normalize").or_insert(json!(normalize));
        }
    }
    Ok(())
}

/// The one mode that a pooling has.
fn mode(settings: &Value) -> Result<&'static str, String> {
    let set: Vec<&str> = match settings.as_object() {
        Some(map) => {
            let modes = map
                .iter()
                .filter(|(key, value)| key.starts_with("pooling_mode_") && **value == Value::Bool(true));
            modes.map(|(key, _)| key.as_str()).collect()
        }
        None => return Err("is no object".to_owned()),
    };
    match set[..] {
        [one] => match MODES.iter().find(|(key, _)| *key == one) {
            Some((_, name)) => Ok(name),
            None => Err(format!("sets `{one}`")),
        },
        [] => Err("sets no `pooling_mode_…`".to_owned()),
        _ => Err(format!("sets {}", set.join(" and "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mode_is_read() {
        let cls =
            json!({"word_embedding_dimension": 8, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false});
        assert_eq!(mode(&cls), Ok("cls"));
        assert_eq!(mode(&json!({"pooling_mode_mean_tokens": true})), Ok("mean"));
        let error = |settings| mode(&settings).unwrap_err();
        assert_eq!(
            error(json!({"pooling_mode_max_tokens": true})),
            "sets `pooling_mode_max_tokens`"
        );
        let both = json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true});
        assert_eq!(error(both), "sets pooling_mode_cls_token and pooling_mode_mean_tokens");
        assert!(error(json!({})).contains("no `pooling_mode_"));
    }
}
