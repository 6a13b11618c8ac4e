//! One recipe for a list of recipes: a template where names count up, else the list itself.

use mlc_ir::{Dim, Recipe, Template};

/// The recipe that gives `items[i]` at `index = i`.
pub(crate) fn stacked(items: &[&Recipe], index: &str) -> Recipe {
    unified(items, index).unwrap_or_else(|| Recipe::Stack {
        index: index.to_owned(),
        items: items.iter().map(|r| (*r).clone()).collect(),
    })
}

/// A common form of all items, with names that depend on the index.
fn unified(items: &[&Recipe], index: &str) -> Option<Recipe> {
    if items.iter().all(|r| r == &items[0]) {
        return Some(items[0].clone());
    }
    let inner = |parts: Vec<Vec<&Recipe>>| parts.iter().map(|p| unified(p, index)).collect::<Option<Vec<_>>>();
    match items[0] {
        Recipe::Tensor { shape, .. } => {
            let mut names = Vec::with_capacity(items.len());
            for item in items {
                match item {
                    Recipe::Tensor { name, shape: other } if other == shape && name.indices().is_empty() => {
                        names.push(name.expand(&mlc_ir::Bindings::new()).ok()?);
                    }
                    _ => return None,
                }
            }
            Some(Recipe::Tensor {
                name: template(&names.iter().map(String::as_str).collect::<Vec<_>>(), index)?,
                shape: shape.clone(),
            })
        }
        Recipe::Transpose { perm, .. } => {
            let mut parts = Vec::new();
            for item in items {
                match item {
                    Recipe::Transpose { input, perm: other } if other == perm => parts.push(&**input),
                    _ => return None,
                }
            }
            Some(unified(&parts, index)?.transpose(perm.iter().copied()))
        }
        Recipe::Reshape { shape, .. } => {
            let mut parts = Vec::new();
            for item in items {
                match item {
                    Recipe::Reshape { input, shape: other } if other == shape => parts.push(&**input),
                    _ => return None,
                }
            }
            Some(unified(&parts, index)?.reshape(shape.iter().copied()))
        }
        Recipe::Map { formula, inputs } => {
            let mut parts = vec![Vec::new(); inputs.len()];
            for item in items {
                match item {
                    Recipe::Map {
                        formula: other,
                        inputs: theirs,
                    } if other == formula && theirs.len() == inputs.len() => {
                        parts.iter_mut().zip(theirs).for_each(|(p, r)| p.push(r));
                    }
                    _ => return None,
                }
            }
            Some(Recipe::map(formula.clone(), inner(parts)?))
        }
        _ => None,
    }
}

/// A run of digits, or of anything else.
fn tokens(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        out.push(&rest[..end]);
        rest = &rest[end..];
    }
    out
}

/// Literal text, or `step · index + base`.
enum Part {
    Text(String),
    Count(Dim),
}

/// What the names have in common, where their numbers count up evenly.
fn parts(names: &[&str], index: &str) -> Option<Vec<Part>> {
    let split: Vec<Vec<&str>> = names.iter().map(|n| tokens(n)).collect();
    let first = split.first()?;
    if split.iter().any(|s| s.len() != first.len()) {
        return None;
    }
    let mut out = Vec::new();
    for (i, token) in first.iter().enumerate() {
        if split.iter().all(|s| s[i] == *token) {
            out.push(Part::Text((*token).to_owned()));
            continue;
        }
        // Numbers without leading zeros, an equal distance apart.
        let numbers = split
            .iter()
            .map(|s| s[i].parse::<i64>().ok().filter(|n| n.to_string() == s[i]))
            .collect::<Option<Vec<_>>>()?;
        let step = numbers[1] - numbers[0];
        if numbers.windows(2).any(|w| w[1] - w[0] != step) {
            return None;
        }
        out.push(Part::Count(Dim::runtime(index).times(step).plus_const(numbers[0])));
    }
    Some(out)
}

fn template(names: &[&str], index: &str) -> Option<Template> {
    let mut text = String::new();
    for part in parts(names, index)? {
        match part {
            Part::Text(t) => text.push_str(&t.replace('{', "{{").replace('}', "}}")),
            Part::Count(dim) => text.push_str(&format!("{{{dim}}}")),
        }
    }
    Template::parse(&text).ok()
}

/// A name for the stack: the common name with the index in place of the number, else the first name.
pub(crate) fn name(names: &[&str], index: &str) -> String {
    let Some(parts) = parts(names, index) else {
        return names.first().map_or_else(String::new, |n| format!("{n}.{index}"));
    };
    parts
        .into_iter()
        .map(|p| match p {
            Part::Text(t) => t,
            Part::Count(_) => index.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str) -> Recipe {
        Recipe::Tensor {
            name: Template::literal(name),
            shape: vec![2],
        }
    }

    #[test]
    fn names_that_count_become_a_template() {
        let items = ["h.3.w", "h.4.w", "h.5.w"].map(tensor);
        let made = stacked(&items.iter().collect::<Vec<_>>(), "l");
        let Recipe::Tensor { name, .. } = made else {
            panic!("{made:?}")
        };
        assert_eq!(name.to_string(), "h.{l+3}.w");
        assert_eq!(super::name(&["h.3.w", "h.4.w", "h.5.w"], "l"), "h.l.w");
    }

    #[test]
    fn other_names_become_a_list() {
        let items = ["a", "b"].map(tensor);
        assert!(matches!(
            stacked(&items.iter().collect::<Vec<_>>(), "l"),
            Recipe::Stack { .. }
        ));
        let uneven = ["w0", "w1", "w3"].map(tensor);
        assert!(matches!(
            stacked(&uneven.iter().collect::<Vec<_>>(), "l"),
            Recipe::Stack { .. }
        ));
    }
}
