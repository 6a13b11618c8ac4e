//! `einsum("b i, o i -> b o", x, w)`: named axes to a contraction of the graph.
//!
//! Names are separated by spaces, operands by commas; `...` is any number of leading axes. Axes of one operand that are
//! neither in the other nor in the result are summed first; with a single operand the rest is a transposition.

use super::call::Args;
use super::value::Value;
use super::{Elab, Eval};
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;
use mlc_ir::{ReduceKind, ValueId};
use std::collections::BTreeMap;

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl Elab<'_, '_> {
    fn bad_einsum<T>(&mut self, span: Span, message: impl Into<String>) -> Eval<T> {
        let diagnostic = Diagnostic::error(Code::E0307, span, message)
            .label("in this equation")
            .help("name every axis, separated by spaces: `einsum(\"b i, o i -> b o\", x, w)`");
        Err(self.report(diagnostic))
    }

    pub(super) fn einsum(&mut self, args: Args, span: Span) -> Eval<Value> {
        let Some((equation, operands)) = args.split_first() else {
            return self.error(Code::E0303, span, "`einsum` needs an equation", "no equation");
        };
        let Value::Str(text) = &equation.value else {
            return self.error(
                Code::E0301,
                equation.span,
                "the equation of `einsum` is a string",
                "must be a string",
            );
        };
        let at = equation.span;
        let Some(text) = text.as_plain() else {
            return self.bad_einsum(at, "an equation has no holes");
        };
        let Some((inputs, output)) = text.split_once("->") else {
            return self.bad_einsum(at, "the equation has no `->`");
        };
        let inputs: Vec<&str> = inputs.split(',').collect();
        if inputs.len() != operands.len() || operands.is_empty() || operands.len() > 2 {
            let message = format!(
                "the equation has {} operands, but {} are given (one or two)",
                inputs.len(),
                operands.len()
            );
            return self.bad_einsum(at, message);
        }
        let mut letters: BTreeMap<String, char> = BTreeMap::new();
        let mut leading = None;
        let (mut ids, mut labels) = (Vec::new(), Vec::new());
        for (term, operand) in inputs.iter().zip(operands) {
            let id = self.tensor(&operand.value, operand.span)?;
            let found = self.ty(id);
            let rank = found.shape.rank();
            let names = term.split_whitespace().filter(|n| *n != "...").count();
            let dots = term.split_whitespace().any(|n| n == "...");
            if names > rank || !dots && names != rank {
                let message = format!("`{}` names {names} axes, but the operand is {found}", term.trim());
                return self.bad_einsum(at, message);
            }
            if dots {
                let run = rank - names;
                if leading.is_some_and(|l| l != run) {
                    return self.bad_einsum(at, "`...` stands for different numbers of axes in the two operands");
                }
                leading = Some(run);
            }
            labels.push(self.labels(term, rank - names, &mut letters, at)?);
            ids.push(id);
        }
        let out = self.labels(output, leading.unwrap_or(0), &mut letters, at)?;
        self.same_lengths(&ids, &labels, &letters, at)?;
        if let Some(stray) = out.chars().find(|c| labels.iter().all(|l| !l.contains(*c))) {
            let name = letters.iter().find(|(_, c)| **c == stray).map_or("?", |(n, _)| n);
            return self.bad_einsum(at, format!("the axis `{name}` of the result is in no operand"));
        }
        // Sum what only one operand has.
        for i in 0..ids.len() {
            let other = labels.get(1 - i).cloned().unwrap_or_default();
            let axes: Vec<usize> = labels[i]
                .char_indices()
                .filter(|(_, c)| !out.contains(*c) && !other.contains(*c))
                .map(|(axis, _)| axis)
                .collect();
            if !axes.is_empty() {
                ids[i] = self.op(span, |g| g.reduce(ReduceKind::Sum, &axes, false, ids[i]))?;
                labels[i] = labels[i]
                    .chars()
                    .filter(|c| out.contains(*c) || other.contains(*c))
                    .collect();
            }
        }
        let result = match (ids.as_slice(), labels.as_slice()) {
            ([a, b], [x, y]) => {
                let text = format!("{x},{y}->{out}");
                self.op(span, |g| g.contract(&text, *a, *b))?
            }
            ([a], [x]) => {
                let perm: Vec<usize> = out.chars().filter_map(|c| x.find(c)).collect();
                if perm.iter().enumerate().all(|(i, p)| i == *p) {
                    *a
                } else {
                    self.op(span, |g| g.transpose(*a, &perm))?
                }
            }
            _ => return self.bad_einsum(at, "one or two operands"),
        };
        Ok(Value::Tensor(result))
    }

    /// The letters of one term; `...` takes `run` letters of its own.
    fn labels(&mut self, term: &str, run: usize, letters: &mut BTreeMap<String, char>, at: Span) -> Eval<String> {
        let mut labels = String::new();
        let mut names: Vec<String> = Vec::new();
        for name in term.split_whitespace() {
            if name == "..." {
                names.extend((0..run).map(|i| format!(".{i}")));
            } else if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                names.push(name.to_string());
            } else {
                return self.bad_einsum(at, format!("`{name}` is not the name of an axis"));
            }
        }
        for name in names {
            let next = letters.len();
            let letter = match letters.get(&name) {
                Some(letter) => *letter,
                None => match LETTERS.get(next) {
                    Some(letter) => *letter as char,
                    None => return self.bad_einsum(at, "the equation has more than 52 axes"),
                },
            };
            if labels.contains(letter) {
                return self.bad_einsum(at, format!("`{name}` occurs twice in one term"));
            }
            letters.insert(name, letter);
            labels.push(letter);
        }
        Ok(labels)
    }

    fn same_lengths(
        &mut self,
        ids: &[ValueId],
        labels: &[String],
        letters: &BTreeMap<String, char>,
        at: Span,
    ) -> Eval<()> {
        let (&[a, b], [x, y]) = (ids, labels) else {
            return Ok(());
        };
        let (left, right) = (self.ty(a).shape, self.ty(b).shape);
        for (name, letter) in letters {
            if let (Some(i), Some(j)) = (x.find(*letter), y.find(*letter))
                && left.0[i] != right.0[j]
            {
                let name = if name.starts_with('.') { "..." } else { name };
                let message = format!(
                    "the axis `{name}` is {} in {left} and {} in {right}",
                    left.0[i], right.0[j]
                );
                return self.bad_einsum(at, message);
            }
        }
        Ok(())
    }
}
