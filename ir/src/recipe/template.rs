//! Names with holes: `"model.layers.{l}.weight"`.

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;

use crate::shape::{Bindings, Dim, DimError};
use crate::text::parse_dim;

/// A name whose holes `{…}` hold affine forms over repeat indices.
///
/// Literal braces are written doubled (`{{`, `}}`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Text(String),
    Hole(Dim),
}

/// Why a text is not a template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{template}` is not a name template: {why}")]
pub struct TemplateError {
    /// The text.
    pub template: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Template {
    /// A name without holes, braces taken literally.
    pub fn literal(name: impl Into<String>) -> Self {
        let name = name.into();
        Template {
            parts: if name.is_empty() {
                Vec::new()
            } else {
                vec![Part::Text(name)]
            },
        }
    }

    /// Reads `"model.layers.{l}.weight"`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let fail = |why| TemplateError {
            template: text.to_owned(),
            why,
        };
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.peek() == Some(&c) => {
                    chars.next();
                    literal.push(c);
                }
                '{' => {
                    let mut hole = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(c) => hole.push(c),
                            None => return Err(fail("a `{` has no `}`")),
                        }
                    }
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    let hole = parse_dim(&hole).ok_or_else(|| fail("a hole holds no affine form, like `2*l+1`"))?;
                    parts.push(Part::Hole(hole));
                }
                '}' => return Err(fail("a `}` has no `{`")),
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Template { parts })
    }

    /// Names of the repeat indices in the holes.
    pub fn indices(&self) -> BTreeSet<String> {
        let holes = self.parts.iter().filter_map(|p| match p {
            Part::Hole(dim) => Some(dim),
            Part::Text(_) => None,
        });
        holes.flat_map(|d| d.terms().map(|(n, _)| n.to_owned())).collect()
    }

    /// The name under `bindings` of the repeat indices.
    pub fn expand(&self, bindings: &Bindings) -> Result<String, DimError> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Hole(dim) => out.push_str(&dim.value(bindings)?.to_string()),
            }
        }
        Ok(out)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Part::Hole(dim) => write!(f, "{{{dim}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_hold_affine_forms() {
        let t = Template::parse("layers.{2*l+1}.w{{0}}").unwrap();
        assert_eq!(t.expand(&Bindings::from([("l".into(), 3)])).unwrap(), "layers.7.w{0}");
        assert_eq!(t.to_string(), "layers.{2*l+1}.w{{0}}");
        assert_eq!(t.indices(), BTreeSet::from(["l".to_owned()]));
        assert_eq!(t.expand(&Bindings::new()), Err(DimError::Unbound("l".into())));
    }

    #[test]
    fn malformed_templates_are_refused() {
        for text in ["a{l", "a}", "a{}", "a{l*l}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
