//! Expressions, bodies and statements.

use super::value::{Stored, TableValue, Text, Value};
use super::{Elab, Env, Eval};
use crate::check::modules::Def;
use crate::check::report::Reported;
use crate::check::resolve::unknown_name;
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;
use crate::syntax::ast::*;
use mlc_ir::{Dim, ValueId};
use std::rc::Rc;

impl Elab<'_, '_> {
    /// The value of a body in a scope of its own.
    pub(super) fn body(&mut self, env: &mut Env, body: &Body) -> Eval<Value> {
        env.scopes.push(Default::default());
        for statement in &body.statements {
            self.statement(env, statement);
        }
        let value = match &body.result {
            Some(result) => self.expr(env, result),
            None if body
                .statements
                .iter()
                .any(|s| matches!(s.kind, StatementKind::Error(_))) =>
            {
                Err(Reported)
            }
            None => {
                let end = body
                    .span
                    .sub(body.span.end.saturating_sub(body.span.start + 1) as usize, 1);
                let diagnostic = Diagnostic::error(Code::E0310, end, "this body gives no value")
                    .label("a value is missing before this")
                    .help("end the body with an expression: what it gives");
                Err(self.report(diagnostic))
            }
        };
        env.scopes.pop();
        value
    }

    fn statement(&mut self, env: &mut Env, statement: &Statement) {
        match &statement.kind {
            StatementKind::Let(l) => self.let_statement(env, l, &statement.annotations),
            StatementKind::Weight(w) => self.weight_statement(env, w, &statement.annotations),
            StatementKind::State(s) => self.state_statement(env, s),
            StatementKind::Where(list) => self.constraints(env, list, None),
            StatementKind::Repeat(r) => self.repeat(env, r, &statement.annotations),
            StatementKind::Error(names) => names.iter().for_each(|n| env.bind(&n.text, Value::Error)),
        }
    }

    /// Binds the names of a `let`; where its value fails, to values that fail silently.
    pub(super) fn let_statement(&mut self, env: &mut Env, l: &Let, annotations: &[Annotation]) {
        let hint = self.quant_hint(env, annotations, &["quant", "range"]);
        let value = self.expr(env, &l.value).and_then(|value| match &l.ty {
            Some(ty) => self.convert(env, value, ty, l.value.span),
            None => Ok(value),
        });
        if !l.tuple {
            let name = &l.names[0].text;
            let value = value.unwrap_or(Value::Error);
            if let Value::Tensor(id) = value {
                self.names.push((id, name.clone()));
                self.hints.extend(hint.map(|h| (id, h)));
            }
            return env.bind(name, value);
        }
        let values = match value {
            Ok(Value::Tuple(values)) if values.len() == l.names.len() => Ok(values),
            Ok(other) => {
                let found = match &other {
                    Value::Tuple(values) => format!("{} values", values.len()),
                    other => other.sort().to_string(),
                };
                let message = format!("{} names are bound to {found}", l.names.len());
                self.error(Code::E0310, l.value.span, message, format!("gives {found}"))
            }
            Err(reported) => Err(reported),
        };
        for (i, name) in l.names.iter().enumerate() {
            let value = values.as_ref().map_or(Value::Error, |v| v[i].1.clone());
            if let Value::Tensor(id) = value {
                self.names.push((id, name.text.clone()));
            }
            env.bind(&name.text, value);
        }
    }

    /// Checks `where` constraints; of a block, at the span of its call.
    pub(super) fn constraints(&mut self, env: &mut Env, list: &[Expr], call: Option<Span>) {
        for constraint in list {
            let value = self.expr(env, constraint);
            match value {
                Ok(Value::Bool(true)) | Ok(Value::Error) | Err(Reported) => {}
                Ok(Value::Bool(false)) => {
                    let mut text = "this constraint does not hold".to_string();
                    if let ExprKind::Binary(op, a, b) = &constraint.kind
                        && let (Ok(a), Ok(b)) = (self.expr(env, a), self.expr(env, b))
                        && !matches!(op, BinaryOp::And | BinaryOp::Or)
                    {
                        text = format!("this constraint does not hold: {a} {} {b} is false", op.symbol());
                    }
                    let values = self.values_of(env, constraint);
                    let diagnostic = match call {
                        Some(call) => {
                            Diagnostic::error(Code::E0403, call, format!("a constraint of this call fails: {text}"))
                                .label("called here")
                                .also(constraint.span, "this must hold")
                        }
                        None => Diagnostic::error(Code::E0403, constraint.span, text).label("is false"),
                    };
                    self.report(diagnostic.maybe_help(values));
                }
                Ok(other) => {
                    let message = format!("a constraint is true or false, but this is {}", other.sort());
                    let _ = self.error::<()>(Code::E0301, constraint.span, message, "must be a comparison");
                }
            }
        }
    }

    /// The values of the names in a constraint, with the keys of config.json that they are from.
    fn values_of(&mut self, env: &mut Env, constraint: &Expr) -> Option<String> {
        let (mut names, mut said) = (Vec::new(), Vec::new());
        mentioned(constraint, &mut names);
        for name in names {
            let value = match env.get(name) {
                Some(Value::Error) | None => continue,
                Some(value @ (Value::Dim(_) | Value::Real(_) | Value::Bool(_) | Value::Str(_) | Value::List(_))) => {
                    value.to_string()
                }
                Some(Value::None) => "none".to_owned(),
                Some(_) => continue,
            };
            said.push(match self.shared.keys.get(name) {
                Some(key) => format!("`{name}` is {value}, by `{key}` of config.json"),
                None => format!("`{name}` is {value}"),
            });
        }
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// What a name means here.
    pub(super) fn lookup(&mut self, env: &mut Env, name: &str, span: Span) -> Eval<Value> {
        if let Some(value) = env.get(name) {
            return if matches!(value, Value::Error) {
                Err(Reported)
            } else {
                Ok(value.clone())
            };
        }
        let scope = &self.program.modules[env.module].scope;
        if let Some(def) = scope.get(name) {
            return self.def_value(*def, span);
        }
        if let Some(name) = super::builtins::find(name) {
            return Ok(Value::Builtin(name));
        }
        let diagnostic = unknown_name(name, span, scope.keys().map(String::as_str));
        Err(self.report(diagnostic))
    }

    fn def_value(&mut self, def: Def, span: Span) -> Eval<Value> {
        let Def::Item(module, item) = def else {
            return if def == Def::Error {
                Err(Reported)
            } else {
                Ok(Value::Def(def))
            };
        };
        let program = self.program;
        let ItemKind::Let(l) = &program.item(module, item).kind else {
            return Ok(Value::Def(def));
        };
        self.enter(def, span, |elab| {
            let mut env = Env::new(module);
            let value = elab.expr(&mut env, &l.value)?;
            if l.tuple {
                return elab.error(
                    Code::E0101,
                    l.value.span,
                    "a `let` of a file binds one name",
                    "several names",
                );
            }
            match &l.ty {
                Some(ty) => elab.convert(&mut env, value, ty, l.value.span),
                None => Ok(value),
            }
        })
    }

    /// Evaluates inside of `def`, unless it is being evaluated already.
    pub(super) fn enter<T>(&mut self, def: Def, span: Span, rule: impl FnOnce(&mut Self) -> Eval<T>) -> Eval<T> {
        if self.calls.iter().any(|(d, _)| *d == def) {
            let diagnostic = Diagnostic::error(Code::E0207, span, "this calls itself")
                .label("evaluated within itself")
                .help("a model is finite: write `repeat` for a fixed number of turns");
            return Err(self.reports.add(diagnostic));
        }
        self.calls.push((def, span));
        let result = self.deeper(span, rule);
        self.calls.pop();
        result
    }

    pub(super) fn expr(&mut self, env: &mut Env, e: &Expr) -> Eval<Value> {
        self.deeper(e.span, |elab| elab.expr_inner(env, e))
    }

    fn expr_inner(&mut self, env: &mut Env, e: &Expr) -> Eval<Value> {
        match &e.kind {
            ExprKind::Error => Err(Reported),
            ExprKind::Int(v) => Ok(Value::int(*v)),
            ExprKind::Real(v) => Ok(Value::Real(*v)),
            ExprKind::Bool(v) => Ok(Value::Bool(*v)),
            ExprKind::None => Ok(Value::None),
            ExprKind::Str(pieces) => self.string(env, pieces),
            ExprKind::Name(name) => self.lookup(env, name, e.span),
            ExprKind::Field(base, field) => self.field(env, base, field),
            ExprKind::Call(callee, args) => self.call(env, callee, args, e.span),
            ExprKind::Index(base, items) => self.index(env, base, items, e.span),
            ExprKind::Unary(op, operand) => {
                let value = self.expr(env, operand)?;
                self.unary(*op, value, e.span)
            }
            ExprKind::Binary(BinaryOp::And | BinaryOp::Or, ..) => self.logic(env, e),
            ExprKind::Binary(op, a, b) => {
                let (left, right) = (self.expr(env, a), self.expr(env, b));
                self.binary(*op, left?, right?, e.span)
            }
            ExprKind::If(condition, then, otherwise) => self.if_expr(env, condition, then, otherwise.as_ref(), e.span),
            ExprKind::Match(subject, arms) => self.match_expr(env, subject, arms),
            ExprKind::List(items) => Ok(Value::List(self.dims(env, items)?)),
            ExprKind::Tuple(args) => {
                let mut values = Vec::new();
                let mut failed = false;
                for arg in args {
                    match self.expr(env, &arg.value) {
                        Ok(value) => values.push((arg.name.as_ref().map(|n| n.text.clone()), value)),
                        Err(Reported) => failed = true,
                    }
                }
                if failed {
                    Err(Reported)
                } else {
                    Ok(Value::Tuple(values))
                }
            }
        }
    }

    fn string(&mut self, env: &mut Env, pieces: &[StrPiece]) -> Eval<Value> {
        let mut text = Text::plain("");
        for piece in pieces {
            match piece {
                StrPiece::Text(t) => text.template += &Text::plain(t).template,
                StrPiece::Hole(e) => match self.expr(env, e)? {
                    Value::Dim(d) if d.is_const() => text.template += &d.to_string(),
                    Value::Dim(d) if d.terms().all(|(name, _)| self.indices.iter().any(|i| i == name)) => {
                        text.template += &format!("{{{d}}}");
                        text.holes = true;
                    }
                    Value::Str(t) => {
                        text.template += &t.template;
                        text.holes |= t.holes;
                    }
                    Value::Bool(b) => text.template += if b { "true" } else { "false" },
                    Value::Dim(d) => {
                        let message = format!("{d} is known only at run time; a name is not");
                        return self.error(Code::E0405, e.span, message, "not known at compile time");
                    }
                    other => {
                        let message = format!("{} cannot be put into a string", other.sort());
                        return self.error(Code::E0301, e.span, message, "a string, an integer or a bool");
                    }
                },
            }
        }
        Ok(Value::Str(text))
    }

    fn field(&mut self, env: &mut Env, base: &Expr, field: &Ident) -> Eval<Value> {
        let value = self.expr(env, base)?;
        match (&value, field.text.as_str()) {
            (Value::Def(Def::Module(module)), name) => {
                let scope = &self.program.modules[*module].scope;
                match scope.get(name) {
                    Some(def) => self.def_value(*def, field.span),
                    None => {
                        let near = crate::diagnostics::did_you_mean(name, scope.keys().map(String::as_str));
                        let help = near.map(|n| format!("did you mean `{n}`?"));
                        let diagnostic =
                            Diagnostic::error(Code::E0202, field.span, format!("the module declares no `{name}`"))
                                .label("not declared there")
                                .maybe_help(help);
                        Err(self.report(diagnostic))
                    }
                }
            }
            (Value::Str(_) | Value::Source(_), "T") => {
                let mut stored = self.stored(&value, base.span)?;
                stored
                    .iter_mut()
                    .for_each(|s| s.steps.push(super::value::Step::Transpose));
                Ok(Value::Source(Rc::new(stored)))
            }
            (Value::Tensor(id), "T") => {
                let rank = self.ty(*id).shape.rank();
                let mut perm: Vec<usize> = (0..rank).collect();
                if rank >= 2 {
                    perm.swap(rank - 1, rank - 2);
                }
                Ok(Value::Tensor(self.op(field.span, |g| g.transpose(*id, &perm))?))
            }
            (Value::Tensor(_) | Value::State(_), "shape") => {
                let id = self.tensor(&value, base.span)?;
                Ok(Value::List(self.ty(id).shape.0))
            }
            (Value::Tuple(values), name) if values.iter().any(|(n, _)| n.as_deref() == Some(name)) => {
                let found = values.iter().find(|(n, _)| n.as_deref() == Some(name));
                found.map(|(_, v)| v.clone()).ok_or(Reported)
            }
            (other, name) => {
                let message = format!("{} has no `.{name}`", other.sort());
                let diagnostic = Diagnostic::error(Code::E0206, field.span, message)
                    .label("no such part")
                    .help("tensors have `.shape` and `.T`, modules their items, several values their names");
                Err(self.report(diagnostic))
            }
        }
    }

    /// A string or a source as alternatives of stored tensors.
    pub(super) fn stored(&mut self, value: &Value, span: Span) -> Eval<Vec<Stored>> {
        match value {
            Value::Str(name) => Ok(vec![Stored {
                name: name.clone(),
                shape: None,
                steps: Vec::new(),
            }]),
            Value::Source(list) => Ok(list.to_vec()),
            Value::Error => Err(Reported),
            other => {
                let message = format!("a weight comes from a named tensor, not from {}", other.sort());
                let diagnostic = Diagnostic::error(Code::E0501, span, message)
                    .label("must be a name in the weight file")
                    .help("write `from \"layer.weight\"`");
                Err(self.report(diagnostic))
            }
        }
    }

    fn if_expr(
        &mut self,
        env: &mut Env,
        condition: &Expr,
        then: &Body,
        otherwise: Option<&Body>,
        span: Span,
    ) -> Eval<Value> {
        match self.expr(env, condition)? {
            Value::Bool(true) => self.body(env, then),
            Value::Bool(false) => match otherwise {
                Some(body) => self.body(env, body),
                None => {
                    let diagnostic =
                        Diagnostic::error(Code::E0310, span, "this `if` gives no value: its condition is false")
                            .label("has no `else`")
                            .help("add `else { … }`");
                    Err(self.report(diagnostic))
                }
            },
            Value::Formula(c, size) => {
                let Some(otherwise) = otherwise else {
                    return self.error(
                        Code::E0701,
                        span,
                        "an `if` of a formula needs an `else`",
                        "has no `else`",
                    );
                };
                let (a, b) = (self.body(env, then)?, self.body(env, otherwise)?);
                self.select(Value::Formula(c, size), a, b, span)
            }
            Value::Error => Err(Reported),
            Value::Tensor(_) => {
                let diagnostic = Diagnostic::error(
                    Code::E0405,
                    condition.span,
                    "a condition is known at compile time, a tensor is not",
                )
                .label("is a tensor")
                .help("choose elementwise with `select(mask, a, b)`, or in a `table`");
                Err(self.report(diagnostic))
            }
            other => {
                let message = format!("a condition is true or false, but this is {}", other.sort());
                self.error(Code::E0301, condition.span, message, "must be a bool")
            }
        }
    }

    fn match_expr(&mut self, env: &mut Env, subject: &Expr, arms: &[Arm]) -> Eval<Value> {
        let value = self.expr(env, subject)?;
        for arm in arms {
            let mut fits = arm.patterns.is_empty();
            for pattern in &arm.patterns {
                let literal = self.expr(env, pattern)?;
                fits |= matches!(
                    self.binary(BinaryOp::Eq, value.clone(), literal, pattern.span)?,
                    Value::Bool(true)
                );
            }
            if fits {
                return self.expr(env, &arm.value);
            }
        }
        let diagnostic = Diagnostic::error(Code::E0408, subject.span, format!("no arm fits {value}"))
            .label(format!("is {value}"))
            .help(format!("add an arm `{value} => …`, or `_ => …` for all others"));
        Err(self.report(diagnostic))
    }

    /// An integer or dimension.
    pub(super) fn dim(&mut self, env: &mut Env, e: &Expr) -> Eval<Dim> {
        match self.expr(env, e)? {
            Value::Dim(d) => Ok(d),
            Value::Error => Err(Reported),
            Value::None => {
                let message = "this may be none, but a dimension is needed";
                self.error(Code::E0507, e.span, message, "is none")
            }
            other => {
                let message = format!("this is {}, but a dimension is needed", other.sort());
                self.error(Code::E0301, e.span, message, "must be an integer")
            }
        }
    }

    /// An integer known at compile time.
    pub(super) fn constant_dim(&mut self, env: &mut Env, e: &Expr) -> Eval<i64> {
        let d = self.dim(env, e)?;
        self.constant(&d, e.span)
    }

    /// The value of a dimension, which must be known at compile time.
    pub(super) fn constant(&mut self, d: &Dim, span: Span) -> Eval<i64> {
        match d.as_const() {
            Some(value) => Ok(value),
            None => {
                let diagnostic = self.not_constant(d, span);
                Err(self.report(diagnostic))
            }
        }
    }

    /// The report that `d` has no value at compile time.
    pub(super) fn not_constant(&self, d: &Dim, span: Span) -> Diagnostic {
        if d.terms().any(|(name, _)| self.indices.iter().any(|i| i == name)) {
            return Diagnostic::error(
                Code::E0502,
                span,
                format!("`{d}` has no single value: the body is compiled once for all turns"),
            )
            .label("depends on the index of a `repeat`")
            .help("write `@unroll` before the `repeat`, or use the index in names of weights only");
        }
        Diagnostic::error(Code::E0405, span, format!("`{d}` is known only at run time"))
            .label("must be known at compile time")
    }

    /// A tensor: one already, a state as it was found, or a number as a constant.
    pub(super) fn tensor(&mut self, value: &Value, span: Span) -> Eval<ValueId> {
        match value {
            Value::Tensor(id) => Ok(*id),
            Value::State(name) => {
                let name = name.clone();
                self.op(span, |g| g.state_read(&name))
            }
            Value::Real(r) => {
                let r = *r as f32;
                self.op(span, |g| g.scalar(r))
            }
            Value::Dim(d) => {
                let value = self.constant(d, span)? as f32;
                self.op(span, |g| g.scalar(value))
            }
            Value::Error => Err(Reported),
            Value::Formula(..) => {
                let diagnostic =
                    Diagnostic::error(Code::E0701, span, "a formula looks at one element, not at a tensor")
                        .label("needs a tensor, but gets the variable of a table")
                        .help("write a `fn` instead of a `table`");
                Err(self.report(diagnostic))
            }
            Value::None => {
                let diagnostic = Diagnostic::error(Code::E0507, span, "this may be none, but a tensor is needed")
                    .label("is none")
                    .help("ask first: `if … != none { … }`");
                Err(self.report(diagnostic))
            }
            Value::Def(_) | Value::Builtin(_) | Value::Table(_) => {
                let diagnostic =
                    Diagnostic::error(Code::E0206, span, format!("this is {}, not a tensor", value.sort()))
                        .label("must be a tensor")
                        .help("call it: `name(…)`");
                Err(self.report(diagnostic))
            }
            other => {
                let message = format!("this is {}, but a tensor is needed", other.sort());
                self.error(Code::E0301, span, message, "must be a tensor")
            }
        }
    }

    /// A declared table as a value, with its parameters at their defaults.
    pub(super) fn as_table(&mut self, value: &Value) -> Option<Value> {
        let Value::Def(Def::Item(module, item)) = value else {
            return None;
        };
        let program = self.program;
        let ItemKind::Table(table) = &program.item(*module, *item).kind else {
            return None;
        };
        let formula = self
            .table_formula(*module, *item, table, Vec::new(), table.name.span)
            .ok()?;
        let open = Some((*module, *item));
        Some(Value::Table(Rc::new(TableValue {
            name: table.name.text.clone(),
            formula,
            open,
        })))
    }
}

/// The names in the operands of a constraint, in order, each once.
fn mentioned<'e>(e: &'e Expr, names: &mut Vec<&'e str>) {
    match &e.kind {
        ExprKind::Name(name) if !names.contains(&name.as_str()) => names.push(name),
        ExprKind::Unary(_, a) => mentioned(a, names),
        ExprKind::Binary(_, a, b) => {
            mentioned(a, names);
            mentioned(b, names);
        }
        ExprKind::Call(_, args) => args.iter().for_each(|a| mentioned(&a.value, names)),
        _ => {}
    }
}
