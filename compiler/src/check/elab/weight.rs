//! Weights: from a binding to a recipe, with alternatives, optional presence, transposition and slices.
//!
//! Two weights with the same recipe, type and visibility are one weight of the graph: that is how tied weights share one
//! commitment. The names and shapes of the weight file, where they are known, decide alternatives and presence; the data
//! is never looked at.

use super::entry::ir_visibility;
use super::value::{Cut, Step, Stored, Text, Value};
use super::{Elab, Env, Eval};
use crate::check::quant::QuantTarget;
use crate::check::report::Reported;
use crate::diagnostics::{Code, Diagnostic, did_you_mean};
use crate::syntax::Span;
use crate::syntax::ast::{Annotation, Visibility, Weight};
use mlc_ir::{Bindings, Dim, Elem, Recipe, Template};

impl Elab<'_, '_> {
    pub(super) fn weight_statement(&mut self, env: &mut Env, w: &Weight, annotations: &[Annotation]) {
        let value = self.weight(env, w, annotations).unwrap_or(Value::Error);
        env.bind(&w.name.text, value);
    }

    fn weight(&mut self, env: &mut Env, w: &Weight, annotations: &[Annotation]) -> Eval<Value> {
        let hint = self.quant_hint(env, annotations, &["quant"]);
        let ty = self.tensor_type(env, &w.ty)?;
        if ty.elem != Elem::Real {
            return self.error(
                Code::E0301,
                w.ty.span,
                format!("a weight holds real numbers, not {ty}"),
                "must be real",
            );
        }
        let mut shape = Vec::new();
        for d in &ty.shape.0 {
            shape.push(self.constant(d, w.ty.span)?.unsigned_abs());
        }
        let source = self.expr(env, &w.source)?;
        let alternatives = self.stored(&source, w.source.span)?;
        let Some(options) = self.present(&alternatives, w)? else {
            return Ok(Value::None);
        };
        let mut recipes = Vec::new();
        for stored in &options {
            recipes.push(self.recipe(stored, &shape, w.source.span)?);
        }
        let Some(first) = options.first() else {
            return Err(Reported);
        };
        let plain = first.steps.is_empty() && recipes.len() == 1;
        let recipe = if recipes.len() == 1 {
            recipes.remove(0)
        } else {
            Recipe::FirstOf(recipes)
        };
        let visibility = ir_visibility(w.visibility.unwrap_or(Visibility::Committed));
        let stack = self.g.stack();
        let used = recipe.indices();
        let stack: Vec<_> = stack.iter().filter(|a| used.contains(&a.index)).collect();
        let key = format!("{recipe:?} {ty} {visibility} {stack:?}");
        let name = match self.shared.weight_names.get(&key) {
            Some(name) => name.clone(),
            None => {
                let stem = plain_name(&first.name.template);
                let stem = if plain { stem } else { format!("{stem}.{}", w.name.text) };
                let mut name = stem.clone();
                let mut n = 1;
                while !self.shared.taken.insert(name.clone()) {
                    name = format!("{stem}_{n}");
                    n += 1;
                }
                self.shared.weight_names.insert(key, name.clone());
                name
            }
        };
        if let Some(hint) = hint {
            let hint = crate::check::quant::QuantHint {
                target: QuantTarget::Weight(name.clone()),
                ..hint
            };
            if !self.shared.quant.contains(&hint) {
                self.shared.quant.push(hint);
            }
        }
        let mut weight = mlc_ir::Weight::real(ty.shape, recipe);
        weight.visibility = visibility;
        Ok(Value::Tensor(self.op(w.name.span, |g| g.weight(&name, weight))?))
    }

    /// The alternatives to use: all, where the weight file is not known; else the first that it has. `None`: an optional
    /// weight that is absent.
    fn present<'s>(&mut self, alternatives: &'s [Stored], w: &Weight) -> Eval<Option<Vec<&'s Stored>>> {
        let Some(catalogue) = &self.config.weights else {
            if !w.ty.optional {
                return Ok(Some(alternatives.iter().collect()));
            }
            let message = format!(
                "whether `{}` is there is not known: no weight file is given",
                w.name.text
            );
            let diagnostic = Diagnostic::warning(Code::E0506, w.name.span, message)
                .label("counts as absent")
                .help("give the weights, or decide by a `config` value");
            self.report(diagnostic);
            return Ok(None);
        };
        let mut missing = Vec::new();
        for stored in alternatives {
            let names = self.expansions(&stored.name, w.source.span)?;
            let absent: Vec<&String> = names.iter().filter(|n| !catalogue.contains_key(*n)).collect();
            if absent.is_empty() {
                return Ok(Some(vec![stored]));
            }
            missing.push((
                absent.len() < names.len(),
                absent[0].clone(),
                absent[absent.len() - 1].clone(),
            ));
        }
        let partly = missing.iter().find(|(partly, _, _)| *partly);
        if w.ty.optional && partly.is_none() {
            return Ok(None);
        }
        let (_, name, last) = partly.or(missing.first()).cloned().unwrap_or_default();
        let near = match layers(&last, catalogue.keys()) {
            Some((series, stored, wanted)) => Some(format!(
                "the file has {stored} of `{series}`, and the model asks for {wanted}: the number of layers in \
                 config.json (or `--layers`) is not that of the file"
            )),
            None => did_you_mean(&name, catalogue.keys().map(String::as_str)).map(|n| format!("did you mean `{n}`?")),
        };
        let mut message = format!("the weight file has no `{name}`");
        if missing.len() > 1 {
            message += ", nor any of the alternatives";
        }
        let diagnostic = Diagnostic::error(Code::E0504, w.source.span, message)
            .label("not in the weight file")
            .maybe_help(near);
        Err(self.report(diagnostic))
    }

    /// Every name that a template takes in the enclosing regions.
    fn expansions(&mut self, name: &Text, span: Span) -> Eval<Vec<String>> {
        let template = self.template(name, span)?;
        let used = template.indices();
        let mut bindings = vec![Bindings::new()];
        for axis in self.g.stack().into_iter().filter(|a| used.contains(&a.index)) {
            let extend = |b: Bindings| {
                let index = axis.index.clone();
                (0..axis.count as i64).map(move |i| {
                    let mut b = b.clone();
                    b.insert(index.clone(), i);
                    b
                })
            };
            bindings = bindings.into_iter().flat_map(extend).collect();
        }
        Ok(bindings.iter().filter_map(|b| template.expand(b).ok()).collect())
    }

    fn template(&mut self, name: &Text, span: Span) -> Eval<Template> {
        match Template::parse(&name.template) {
            Ok(template) => Ok(template),
            Err(error) => self.error(Code::E0501, span, error.to_string(), "in this name"),
        }
    }

    /// The recipe of a stored tensor, checked to give `wanted`.
    fn recipe(&mut self, stored: &Stored, wanted: &[u64], span: Span) -> Eval<Recipe> {
        let template = self.template(&stored.name, span)?;
        let shown = stored.name.template.clone();
        let file_shape = self.file_shape(stored, &shown, span)?;
        let full = match (&stored.shape, &file_shape) {
            (Some(declared), _) => {
                let mut dims = Vec::new();
                for d in declared {
                    dims.push(self.constant(d, span)?.unsigned_abs());
                }
                if let Some(found) = file_shape.filter(|f| *f != dims) {
                    let message = format!("`{shown}` has shape {found:?} in the weight file, not {dims:?}");
                    return self.error(Code::E0505, span, message, format!("is {found:?} in the file"));
                }
                dims
            }
            (None, Some(found)) => found.clone(),
            (None, None) => {
                let flips = stored.steps.iter().filter(|s| matches!(s, Step::Transpose)).count();
                if flips < stored.steps.len() {
                    let diagnostic =
                        Diagnostic::error(Code::E0501, span, "the shape of the sliced tensor is not known")
                            .label("a slice of what shape?")
                            .help("say it: `stored(\"name\", [rows, columns])[0..n]`");
                    return Err(self.report(diagnostic));
                }
                if flips % 2 == 1 {
                    wanted.iter().rev().copied().collect()
                } else {
                    wanted.to_vec()
                }
            }
        };
        let key = format!(
            "{shown} {:?}",
            self.g
                .stack()
                .iter()
                .filter(|a| template.indices().contains(&a.index))
                .collect::<Vec<_>>()
        );
        match self.shared.stored.get(&key) {
            Some((known, first)) if *known != full => {
                let message = format!("`{shown}` is bound with shapes {known:?} and {full:?}");
                let diagnostic = Diagnostic::error(Code::E0503, span, message)
                    .label(format!("here {full:?}"))
                    .also(*first, format!("here {known:?}"));
                return Err(self.report(diagnostic));
            }
            Some(_) => {}
            None => {
                self.shared.stored.insert(key, (full.clone(), span));
            }
        }
        let mut recipe = Recipe::Tensor {
            name: template,
            shape: full.clone(),
        };
        let mut shape = full;
        for step in &stored.steps {
            (recipe, shape) = match step {
                Step::Transpose => {
                    let perm: Vec<usize> = (0..shape.len()).rev().collect();
                    shape.reverse();
                    (recipe.transpose(perm), shape)
                }
                Step::Slice(cuts, at) => self.slice_recipe(recipe, shape, cuts, *at)?,
            };
        }
        if shape != wanted {
            let code = if self.config.weights.is_some() {
                Code::E0505
            } else {
                Code::E0501
            };
            let message = format!("`{shown}` gives shape {shape:?}, but {wanted:?} is declared");
            return self.error(code, span, message, format!("gives {shape:?}"));
        }
        Ok(recipe)
    }

    /// The shape in the weight file, the same for every turn of the enclosing regions.
    fn file_shape(&mut self, stored: &Stored, shown: &str, span: Span) -> Eval<Option<Vec<u64>>> {
        let Some(catalogue) = &self.config.weights else {
            return Ok(None);
        };
        let names = self.expansions(&stored.name, span)?;
        let mut shapes: Vec<&Vec<u64>> = names.iter().filter_map(|n| catalogue.get(n)).collect();
        shapes.dedup();
        if let [a, b, ..] = shapes.as_slice() {
            let message = format!("the tensors `{shown}` have different shapes: {a:?} and {b:?}");
            return self.error(Code::E0505, span, message, "must all have one shape");
        }
        Ok(shapes.first().map(|s| (*s).clone()))
    }

    fn slice_recipe(&mut self, recipe: Recipe, shape: Vec<u64>, cuts: &[Cut], at: Span) -> Eval<(Recipe, Vec<u64>)> {
        let cuts = self.spread(cuts, shape.len(), at)?;
        let (mut recipe, mut sizes, mut kept) = (recipe, Vec::new(), Vec::new());
        for (axis, cut) in cuts.iter().enumerate() {
            let length = Dim::fixed(shape[axis] as i64);
            let (start, len) = match cut {
                Cut::Full | Cut::Rest => (Dim::fixed(0), shape[axis]),
                Cut::At(position, place) => (self.range(&length, Some(position), None, *place)?.0, 1),
                Cut::Range(a, b, place) => {
                    let (start, end) = self.range(&length, a.as_ref(), b.as_ref(), *place)?;
                    let len = self.constant(&end.minus(&start), *place)?;
                    (start, len.unsigned_abs())
                }
            };
            if len != shape[axis] || start != Dim::fixed(0) {
                recipe = recipe.slice(axis, start, len);
            }
            sizes.push(len);
            if !matches!(cut, Cut::At(..)) {
                kept.push(len);
            }
        }
        if kept.len() < sizes.len() {
            recipe = recipe.reshape(kept.clone());
        }
        Ok((recipe, kept))
    }
}

/// A name for the graph: the template without braces, other characters than letters, digits, `.` and `_` replaced.
pub(super) fn plain_name(template: &str) -> String {
    let bare: String = template.chars().filter(|c| !matches!(c, '{' | '}')).collect();
    let name: String = bare
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' })
        .collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name
    } else {
        format!("w_{name}")
    }
}

/// The name of a tensor with `#` for the number of its layer, how many there are of it, and how many there would be if this one
/// was there: where it has a number, and the others are of its series from 0 on.
fn layers<'n>(name: &str, stored: impl Iterator<Item = &'n String> + Clone) -> Option<(String, u64, u64)> {
    let parts: Vec<&str> = name.split('.').collect();
    parts.iter().enumerate().find_map(|(at, part)| {
        let index: u64 = part.parse().ok()?;
        let series = |n: &str| {
            let mut parts = parts.clone();
            parts[at] = n;
            parts.join(".")
        };
        let mut found: Vec<u64> = stored
            .clone()
            .filter_map(|n| {
                n.split('.')
                    .nth(at)?
                    .parse()
                    .ok()
                    .filter(|i: &u64| *n == series(&i.to_string()))
            })
            .collect();
        found.sort_unstable();
        let whole = found.iter().copied().eq(0..found.len() as u64);
        (whole && !found.is_empty() && index >= found.len() as u64)
            .then(|| (series("#"), found.len() as u64, index + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::layers;

    #[test]
    fn a_layer_beyond_the_last_is_told_from_a_name_that_is_not_there() {
        let stored: Vec<String> = ["m.0.w", "m.1.w", "m.10.v", "n.w"].map(str::to_owned).into();
        assert_eq!(layers("m.4.w", stored.iter()), Some(("m.#.w".to_owned(), 2, 5)));
        assert_eq!(layers("m.0.u", stored.iter()), None);
        assert_eq!(layers("m.11.v", stored.iter()), None);
        assert_eq!(layers("n.v", stored.iter()), None);
    }
}
