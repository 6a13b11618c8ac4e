//! Calls: arguments to parameters, generics from shapes, constraints, the body, the declared result.

use super::value::Value;
use super::{Elab, Env, Eval};
use crate::check::modules::{Def, ModuleId};
use crate::check::report::Reported;
use crate::diagnostics::{Code, Diagnostic, did_you_mean};
use crate::syntax::Span;
use crate::syntax::ast::*;
use std::collections::BTreeMap;

/// An argument, evaluated.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) name: Option<Ident>,
    pub(super) value: Value,
    pub(super) span: Span,
}

pub(super) type Args = Vec<Given>;

impl Elab<'_, '_> {
    pub(super) fn call(&mut self, env: &mut Env, callee: &Expr, args: &[Arg], span: Span) -> Eval<Value> {
        let function = self.expr(env, callee);
        let mut given = Vec::new();
        let mut failed = false;
        for arg in args {
            match self.expr(env, &arg.value) {
                Ok(value) => given.push(Given {
                    name: arg.name.clone(),
                    value,
                    span: arg.value.span,
                }),
                Err(Reported) => failed = true,
            }
        }
        let function = function?;
        if failed {
            return Err(Reported);
        }
        match function {
            Value::Builtin(name) => self.builtin(name, given, span),
            Value::Table(table) => {
                if let Some((module, item)) = table.open {
                    return self.call_item(module, item, given, span);
                }
                let mut given = given.into_iter();
                match (given.next(), given.next()) {
                    (Some(x), None) if x.name.is_none() => self.apply(&table, &x.value, x.span, span),
                    _ => self.error(
                        Code::E0304,
                        span,
                        format!("`{}` takes one argument here", table.name),
                        "one value",
                    ),
                }
            }
            Value::Def(Def::Item(module, item)) => self.call_item(module, item, given, span),
            Value::Error => Err(Reported),
            other => {
                let message = format!("{} cannot be called", other.sort());
                self.error(Code::E0206, callee.span, message, "not a block, function or table")
            }
        }
    }

    fn call_item(&mut self, module: ModuleId, item: usize, args: Args, span: Span) -> Eval<Value> {
        let program = self.program;
        match &program.item(module, item).kind {
            ItemKind::Callable(c) => self.call_callable(module, item, c, args, span),
            ItemKind::Table(t) => self.call_table(module, item, t, args, span),
            ItemKind::Model(m) => {
                let message = format!("`{}` is a model; models are not called", m.name.text);
                self.error(Code::E0206, span, message, "not a block, function or table")
            }
            _ => Err(Reported),
        }
    }

    /// Sorts arguments into the slots of parameters and named generics; reports what fits nowhere.
    fn slots(
        &mut self,
        params: &[Param],
        generics: &[Generic],
        args: Args,
        callee: &str,
        span: Span,
    ) -> Eval<BTreeMap<String, Given>> {
        let mut slots: BTreeMap<String, Given> = BTreeMap::new();
        let mut position = 0;
        let mut failed = false;
        for arg in args {
            let slot = match &arg.name {
                Some(name) => {
                    let known = params.iter().map(|p| &p.name).chain(generics.iter().map(|g| &g.name));
                    let known: Vec<&str> = known.map(|n| n.text.as_str()).collect();
                    if !known.contains(&name.text.as_str()) {
                        let near = did_you_mean(&name.text, known.iter().copied());
                        let help = match near {
                            Some(n) => format!("did you mean `{n}`?"),
                            None if known.is_empty() => "it takes no named arguments".to_string(),
                            None => format!("it takes {}", known.join(", ")),
                        };
                        let diagnostic = Diagnostic::error(
                            Code::E0304,
                            name.span,
                            format!("`{callee}` has no parameter `{}`", name.text),
                        )
                        .label("unknown parameter")
                        .help(help);
                        self.report(diagnostic);
                        failed = true;
                        continue;
                    }
                    name.text.clone()
                }
                None => match params.get(position) {
                    Some(p) => {
                        position += 1;
                        p.name.text.clone()
                    }
                    None => {
                        let message = format!("`{callee}` takes at most {} arguments", params.len());
                        let diagnostic = Diagnostic::error(Code::E0304, arg.span, message).label("one too many");
                        self.report(diagnostic);
                        failed = true;
                        continue;
                    }
                },
            };
            if let Some(first) = slots.get(&slot) {
                let diagnostic = Diagnostic::error(Code::E0304, arg.span, format!("`{slot}` is given twice"))
                    .label("given again")
                    .also(first.span, "first given here");
                self.report(diagnostic);
                failed = true;
                continue;
            }
            slots.insert(slot, arg);
        }
        let missing = |p: &&Param| p.default.is_none() && !p.ty.optional && !slots.contains_key(&p.name.text);
        let missing: Vec<&str> = params.iter().filter(missing).map(|p| p.name.text.as_str()).collect();
        if !failed && !missing.is_empty() {
            let list = missing.join("`, `");
            let diagnostic = Diagnostic::error(Code::E0303, span, format!("`{callee}` needs `{list}`"))
                .label(format!("`{list}` is missing"))
                .maybe_help(params.iter().find(|p| p.name.text == missing[0]).map(|p| {
                    format!(
                        "`{}` is {}: write `{} = …`",
                        p.name.text,
                        self.describe_type(&p.ty),
                        p.name.text
                    )
                }));
            self.report(diagnostic);
            failed = true;
        }
        if failed { Err(Reported) } else { Ok(slots) }
    }

    /// Binds parameters that are all compile-time values (those of tables).
    pub(super) fn bind_scalars(
        &mut self,
        env: &mut Env,
        params: &[Param],
        generics: &[Generic],
        args: Args,
        callee: &str,
        span: Span,
    ) -> Eval<()> {
        let mut slots = self.slots(params, generics, args, callee, span)?;
        for p in params {
            let value = match slots.remove(&p.name.text) {
                Some(given) => self.convert(env, given.value, &p.ty, given.span)?,
                None => self.default(env, p)?,
            };
            env.bind(&p.name.text, value);
        }
        Ok(())
    }

    fn default(&mut self, env: &mut Env, p: &Param) -> Eval<Value> {
        match &p.default {
            Some(default) => {
                let value = self.expr(env, default)?;
                self.convert(env, value, &p.ty, default.span)
            }
            None => Ok(Value::None),
        }
    }

    fn call_callable(&mut self, module: ModuleId, item: usize, c: &Callable, args: Args, span: Span) -> Eval<Value> {
        let name = c.name.text.as_str();
        let mut slots = self.slots(&c.params, &c.generics, args, name, span)?;
        let mut env = Env::new(module);
        for p in &c.params {
            env.bind(&p.name.text, Value::Error);
        }
        let mut free: Vec<String> = Vec::new();
        for generic in &c.generics {
            env.bind(&generic.name.text, Value::Error);
            match slots.remove(&generic.name.text) {
                Some(given) => {
                    let value = match (&given.value, generic.rest) {
                        (Value::Dim(_), false) | (Value::List(_), true) => given.value,
                        (other, _) => {
                            let message = format!("`{}` is a dimension, not {}", generic.name.text, other.sort());
                            return self.error(Code::E0301, given.span, message, "must be a dimension");
                        }
                    };
                    env.bind(&generic.name.text, value);
                }
                None => free.push(generic.name.text.clone()),
            }
        }
        // First what is known as it stands, then generics from shapes, then defaults, which may use both.
        let mut tensors = Vec::new();
        for p in &c.params {
            let Some(given) = slots.remove(&p.name.text) else {
                continue;
            };
            if !matches!(p.ty.kind, TypeKind::Tensor { .. }) {
                let value = self.convert(&mut env, given.value, &p.ty, given.span)?;
                env.bind(&p.name.text, value);
            } else if let (Value::None, true) = (&given.value, p.ty.optional) {
                env.bind(&p.name.text, Value::None);
            } else {
                let id = self.tensor(&given.value, given.span)?;
                tensors.push((p, id, given.span, given.value));
            }
        }
        let mut matched = Vec::new();
        for (p, id, at, _) in &tensors {
            let TypeKind::Tensor { shape, .. } = &p.ty.kind else {
                continue;
            };
            let found = self.ty(*id);
            if !self.unify(&mut env, &mut free, shape, &found.shape.0) {
                let axes = shape.iter().filter(|i| matches!(i, ShapeItem::Dim(_))).count();
                let more = if axes == shape.len() { "" } else { " or more" };
                let message = format!(
                    "`{name}` takes {axes}{more} axes for `{}`, but this is {found}",
                    p.name.text
                );
                let diagnostic = Diagnostic::error(Code::E0302, *at, message)
                    .label(format!("is {found}"))
                    .also(p.ty.span, "declared here");
                matched.push(Err(self.report(diagnostic)));
            } else {
                matched.push(Ok(()));
            }
        }
        matched.into_iter().collect::<Eval<Vec<()>>>()?;
        if let Some(generic) = free.first() {
            let diagnostic = Diagnostic::error(
                Code::E0311,
                span,
                format!("`{generic}` of `{name}` follows from no argument"),
            )
            .label("cannot be inferred")
            .help(format!("pass it by name: `{generic} = …`"));
            return Err(self.report(diagnostic));
        }
        let given: Vec<&str> = tensors.iter().map(|(p, ..)| p.name.text.as_str()).collect();
        for p in &c.params {
            if matches!(env.get(&p.name.text), Some(Value::Error)) && !given.contains(&p.name.text.as_str()) {
                let value = self.default(&mut env, p)?;
                env.bind(&p.name.text, value);
            }
        }
        let mut failed = None;
        for (p, id, at, value) in tensors {
            let wanted = self.tensor_type(&mut env, &p.ty)?;
            let found = self.ty(id);
            if !super::types::assignable(&found, &wanted) {
                let code = if found.shape == wanted.shape {
                    Code::E0301
                } else {
                    Code::E0302
                };
                let message = format!("`{name}` takes {wanted} for `{}`, but this is {found}", p.name.text);
                let diagnostic = Diagnostic::error(code, at, message)
                    .label(format!("is {found}"))
                    .also(p.ty.span, "declared here");
                failed = Some(self.report(diagnostic));
            }
            // A state stays a state, so that the block can append to it.
            let value = if matches!(value, Value::State(_)) {
                value
            } else {
                Value::Tensor(id)
            };
            env.bind(&p.name.text, value);
        }
        if let Some(reported) = failed {
            return Err(reported);
        }
        self.constraints(&mut env, &c.constraints, Some(span));
        self.enter(Def::Item(module, item), span, |elab| {
            let value = elab.body(&mut env, &c.body)?;
            elab.declared_result(&mut env, c, value)
        })
    }

    fn declared_result(&mut self, env: &mut Env, c: &Callable, value: Value) -> Eval<Value> {
        let span = c.body.result.as_ref().map_or(c.body.span, |e| e.span);
        let fields = match &c.result {
            ResultType::One(ty) => {
                if let (TypeKind::Tensor { .. }, Value::Tuple(_)) = (&ty.kind, &value) {
                    let message = format!("`{}` gives one tensor, but its body several values", c.name.text);
                    return self.error(Code::E0310, span, message, "several values");
                }
                return self.convert(env, value, ty, span);
            }
            ResultType::Many(fields) => fields,
        };
        let values = match value {
            Value::Tuple(values) => values,
            Value::Error => return Err(Reported),
            other => vec![(None, other)],
        };
        let names: Vec<&str> = fields.iter().map(|f| f.name.text.as_str()).collect();
        let fit = values
            .iter()
            .zip(&names)
            .all(|((n, _), d)| n.as_deref().is_none_or(|n| n == *d));
        if values.len() != fields.len() || !fit {
            let message = format!(
                "`{}` gives ({}), but its body something else",
                c.name.text,
                names.join(", ")
            );
            return self.error(Code::E0310, span, message, format!("must give ({})", names.join(", ")));
        }
        let mut results = Vec::new();
        for (field, (_, value)) in fields.iter().zip(values) {
            let value = self.convert(env, value, &field.ty, span)?;
            results.push((Some(field.name.text.clone()), value));
        }
        Ok(Value::Tuple(results))
    }
}
