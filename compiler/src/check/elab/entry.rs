//! Entries: inputs, body, outputs; names of values.

use super::value::Value;
use super::{Elab, Env, Eval};
use crate::check::quant::{QuantHint, QuantTarget};
use crate::check::report::Reported;
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::ast::*;
use mlc_ir::ValueId;
use std::collections::BTreeSet;

impl Elab<'_, '_> {
    pub(super) fn entry(&mut self, env: &mut Env, member: &Member, entry: &Entry) -> Eval<()> {
        env.scopes.push(Default::default());
        self.only_annotations(&member.annotations, &[]);
        for p in &entry.params {
            let value = self.input(env, p).unwrap_or(Value::Error);
            if let Value::Tensor(id) = value {
                let hint = self.quant_hint(env, &p.annotations, &["quant", "range"]);
                self.hints.extend(hint.map(|h| (id, h)));
            }
            env.bind(&p.name.text, value);
        }
        let value = self.body(env, &entry.body);
        let done = value.and_then(|value| self.outputs(env, entry, value));
        env.scopes.pop();
        done
    }

    fn input(&mut self, env: &mut Env, p: &Param) -> Eval<Value> {
        if let Some(default) = &p.default {
            self.error(
                Code::E0304,
                default.span,
                "an input of an entry has no default",
                "not allowed here",
            )?;
        }
        let visibility = ir_visibility(p.visibility.unwrap_or(Visibility::Public));
        if !matches!(p.ty.kind, TypeKind::Tensor { .. }) || p.ty.optional {
            let message = format!("the input `{}` is not a tensor", p.name.text);
            let diagnostic = Diagnostic::error(Code::E0301, p.ty.span, message)
                .label("an input is a tensor")
                .help("what is known at compile time is a `config` of the model");
            return Err(self.report(diagnostic));
        }
        let ty = self.tensor_type(env, &p.ty)?;
        self.at(p.name.span);
        Ok(Value::Tensor(self.g.input(&p.name.text, visibility, ty)))
    }

    fn outputs(&mut self, env: &mut Env, entry: &Entry, value: Value) -> Eval<()> {
        let span = entry.body.result.as_ref().map_or(entry.body.span, |e| e.span);
        let values: Vec<(Option<String>, Value)> = match value {
            Value::Tuple(values) => values,
            Value::Error => return Err(Reported),
            other => vec![(None, other)],
        };
        let declared: Vec<&str> = entry.results.iter().map(|f| f.name.text.as_str()).collect();
        let given: Vec<String> = values.iter().map(|(n, _)| n.clone().unwrap_or("_".into())).collect();
        let matches = values
            .iter()
            .zip(&declared)
            .all(|((name, _), d)| name.as_deref().is_none_or(|n| n == *d));
        if values.len() != declared.len() || !matches {
            let message = format!(
                "`{}` gives ({}), but its body ({})",
                entry.name.text,
                declared.join(", "),
                given.join(", ")
            );
            let diagnostic = Diagnostic::error(Code::E0310, span, message)
                .label(format!("must give ({})", declared.join(", ")))
                .also(entry.name.span, "declared here");
            return Err(self.report(diagnostic));
        }
        let mut seen = BTreeSet::new();
        for (field, (_, value)) in entry.results.iter().zip(values) {
            if !seen.insert(field.name.text.as_str()) {
                let message = format!("there are two outputs `{}`", field.name.text);
                self.error(Code::E0204, field.name.span, message, "declared again")?;
            }
            let Value::Tensor(id) = value else {
                if matches!(value, Value::Error) {
                    return Err(Reported);
                }
                let message = format!("the output `{}` is {}, not a tensor", field.name.text, value.sort());
                return self.error(Code::E0603, span, message, "must be a tensor");
            };
            if field.visibility == Some(Visibility::Committed) {
                let message = format!("the output `{}` cannot be committed", field.name.text);
                let diagnostic = Diagnostic::error(Code::E0603, field.name.span, message)
                    .label("public or private")
                    .help("what outlives an entry behind a commitment is a `state`");
                return Err(self.report(diagnostic));
            }
            self.agrees(env, id, &field.ty, span)?;
            self.names.push((id, field.name.text.clone()));
            self.at(field.name.span);
            self.g.output(
                &field.name.text,
                id,
                ir_visibility(field.visibility.unwrap_or(Visibility::Public)),
            );
            let hint = self.quant_hint(env, &field.annotations, &["quant", "range"]);
            self.hints.extend(hint.map(|h| (id, h)));
        }
        Ok(())
    }

    /// The tensor `id` has the declared type, or a diagnostic at `span`.
    pub(super) fn agrees(
        &mut self,
        env: &mut Env,
        id: ValueId,
        declared: &Type,
        span: crate::syntax::Span,
    ) -> Eval<()> {
        let wanted = self.tensor_type(env, declared)?;
        let found = self.ty(id);
        if super::types::assignable(&found, &wanted) {
            return Ok(());
        }
        let diagnostic = Diagnostic::error(Code::E0310, span, format!("this is {found}, but {wanted} is declared"))
            .label(format!("is {found}"))
            .also(declared.span, format!("declared as {wanted}"));
        Err(self.report(diagnostic))
    }
}

pub(super) fn ir_visibility(v: Visibility) -> mlc_ir::Visibility {
    match v {
        Visibility::Public => mlc_ir::Visibility::Public,
        Visibility::Private => mlc_ir::Visibility::Private,
        Visibility::Committed => mlc_ir::Visibility::Committed,
    }
}

/// Gives values the names that the source gives them, each made unique.
pub(super) fn name_values(entry: &mut mlc_ir::Entry, names: Vec<(ValueId, String)>) {
    let mut fixed: BTreeSet<ValueId> = entry.body.params.iter().copied().collect();
    let mut taken: BTreeSet<String> = entry.values.iter().map(|v| v.name.clone()).collect();
    for (id, name) in names {
        if !fixed.insert(id) {
            continue;
        }
        let mut unique = name.clone();
        let mut n = 1u64;
        while taken.contains(&unique) {
            unique = format!("{name}_{n}");
            n += 1;
        }
        if let Some(value) = entry.values.get_mut(id.index()) {
            taken.insert(unique.clone());
            value.name = unique;
        }
    }
}

/// Fills in the names of the values that hints are about.
pub(super) fn name_hints(
    name: &str,
    entry: &mlc_ir::Entry,
    hints: Vec<(ValueId, QuantHint)>,
    out: &mut Vec<QuantHint>,
) {
    for (id, hint) in hints {
        let value = entry.value(id).name.clone();
        out.push(QuantHint {
            target: QuantTarget::Value {
                entry: name.to_string(),
                value,
            },
            ..hint
        });
    }
}
