//! `repeat`: one region for all turns, or with `@unroll` every turn by itself.

use super::value::Value;
use super::{Elab, Env, Eval};
use crate::check::report::Reported;
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::ast::*;
use mlc_ir::{Dim, ValueId};

/// The most turns that `@unroll` compiles.
const MAX_UNROLL: i64 = 4096;
/// The most turns of one region.
const MAX_TURNS: i64 = 1 << 20;

impl Elab<'_, '_> {
    /// Evaluates a `repeat` and gives the carried names their last values.
    pub(super) fn repeat(&mut self, env: &mut Env, r: &Repeat, annotations: &[Annotation]) {
        self.only_annotations(annotations, &["unroll"]);
        let unroll = annotations.iter().any(|a| a.name.text == "unroll");
        if self.run_repeat(env, r, unroll).is_err() {
            r.carried.iter().for_each(|n| env.rebind(&n.text, Value::Error));
        }
    }

    fn run_repeat(&mut self, env: &mut Env, r: &Repeat, unroll: bool) -> Eval<()> {
        let (start, end) = (self.constant_dim(env, &r.start)?, self.constant_dim(env, &r.end)?);
        if end < start || start < 0 || end - start > MAX_TURNS {
            let message = format!("{start}..{end} is not a range of at most 2^20 turns");
            return self.error(Code::E0406, r.start.span.to(r.end.span), message, "must not descend");
        }
        let mut carried = Vec::new();
        for name in &r.carried {
            let value = self.lookup(env, &name.text, name.span)?;
            if unroll && !matches!(value, Value::State(_)) {
                carried.push(value);
                continue;
            }
            let Value::Tensor(_) = value else {
                let diagnostic = Diagnostic::error(
                    Code::E0605,
                    name.span,
                    format!("`{}` is {}, not a tensor", name.text, value.sort()),
                )
                .label("only tensors are carried");
                return Err(self.report(diagnostic));
            };
            carried.push(value);
        }
        if unroll {
            if end - start > MAX_UNROLL {
                return self.error(
                    Code::E0406,
                    r.end.span,
                    "too many turns to unroll",
                    format!("at most {MAX_UNROLL}"),
                );
            }
            for turn in start..end {
                let values = self.turn(env, r, Value::int(turn), &carried)?;
                carried = values;
            }
            for (name, value) in r.carried.iter().zip(carried) {
                env.rebind(&name.text, value);
            }
            return Ok(());
        }
        if start == end {
            return Ok(());
        }
        let before: Vec<ValueId> = carried.iter().filter_map(as_tensor).collect();
        let index = self.fresh_index(&r.index.text);
        self.at(r.index.span);
        let params = match self.g.begin_repeat(&index, (end - start) as u64, &before, &[]) {
            Ok(params) => params,
            Err(error) => {
                let diagnostic = super::infer_diagnostic(&error, r.index.span);
                return Err(self.report(diagnostic));
            }
        };
        self.indices.push(index.clone());
        let inside: Vec<Value> = params.iter().map(|p| Value::Tensor(*p)).collect();
        let at = Value::Dim(Dim::runtime(index).plus_const(start));
        let next = self
            .turn(env, r, at, &inside)
            .and_then(|values| self.next_values(r, &before, &values));
        self.indices.pop();
        // The region is ended in any case, so that what follows stands outside of it.
        let results = self.g.end_repeat(next.as_deref().unwrap_or(&params));
        next?;
        match results {
            Ok(results) => {
                for (name, id) in r.carried.iter().zip(results) {
                    self.names.push((id, name.text.clone()));
                    env.rebind(&name.text, Value::Tensor(id));
                }
                Ok(())
            }
            Err(error) => {
                let diagnostic = super::infer_diagnostic(&error, r.index.span);
                Err(self.report(diagnostic))
            }
        }
    }

    /// The values of one turn, one for each carried name.
    fn turn(&mut self, env: &mut Env, r: &Repeat, index: Value, carried: &[Value]) -> Eval<Vec<Value>> {
        env.scopes.push(Default::default());
        env.bind(&r.index.text, index);
        for (name, value) in r.carried.iter().zip(carried) {
            env.bind(&name.text, value.clone());
        }
        let value = self.body(env, &r.body);
        env.scopes.pop();
        let values: Vec<Value> = match value? {
            Value::Tuple(values) => values.into_iter().map(|(_, v)| v).collect(),
            Value::Error => return Err(Reported),
            other => vec![other],
        };
        if values.len() != r.carried.len() {
            let span = r.body.result.as_ref().map_or(r.body.span, |e| e.span);
            let message = format!(
                "{} values are carried, but the body gives {}",
                r.carried.len(),
                values.len()
            );
            return self.error(Code::E0605, span, message, "one value for each carried name");
        }
        Ok(values)
    }

    fn next_values(&mut self, r: &Repeat, before: &[ValueId], values: &[Value]) -> Eval<Vec<ValueId>> {
        let span = r.body.result.as_ref().map_or(r.body.span, |e| e.span);
        let mut next = Vec::new();
        for ((name, before), value) in r.carried.iter().zip(before).zip(values) {
            let id = self.tensor(value, span)?;
            let (was, is) = (self.ty(*before), self.ty(id));
            if was != is {
                let diagnostic = Diagnostic::error(
                    Code::E0605,
                    span,
                    format!("`{}` is carried as {was}, but becomes {is}", name.text),
                )
                .label(format!("is {is}"))
                .also(name.span, format!("is {was} before the first turn"));
                return Err(self.report(diagnostic));
            }
            next.push(id);
        }
        Ok(next)
    }

    /// A name for the index that no enclosing index and no dimension has.
    fn fresh_index(&self, name: &str) -> String {
        let taken = |n: &str| self.indices.iter().any(|i| i == n) || self.g.module().dims.contains_key(n);
        let mut fresh = name.to_string();
        let mut n = 2;
        while taken(&fresh) {
            fresh = format!("{name}{n}");
            n += 1;
        }
        fresh
    }
}

fn as_tensor(value: &Value) -> Option<ValueId> {
    match value {
        Value::Tensor(id) => Some(*id),
        _ => None,
    }
}
