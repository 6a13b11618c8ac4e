//! Name resolution: every name of every body means something, whether a model uses the body or not.
//!
//! Elaboration looks names up again, with their values; this pass exists so that an unused block, or a branch that the
//! configuration does not take, is checked too.

use super::elab::builtins;
use super::modules::{Def, Program, twice};
use super::report::Reports;
use crate::diagnostics::{Code, Diagnostic, did_you_mean};
use crate::syntax::Span;
use crate::syntax::ast::*;
use std::collections::BTreeMap;

pub(super) fn resolve(program: &Program, reports: &mut Reports) {
    for module in &program.modules {
        let mut r = Resolver {
            top: &module.scope,
            scopes: vec![BTreeMap::new()],
            reports,
        };
        for item in &module.ast.items {
            r.scopes.truncate(1);
            if !matches!(item.kind, ItemKind::Model(_)) {
                for a in &item.annotations {
                    r.reports.add(super::elab::misplaced(a));
                }
            }
            match &item.kind {
                ItemKind::Callable(c) => r.callable(c),
                ItemKind::Table(t) => {
                    r.scopes.push(BTreeMap::new());
                    r.declare(&t.variable);
                    r.params(&t.params);
                    r.expr(&t.formula);
                }
                ItemKind::Let(l) => r.expr(&l.value),
                ItemKind::Model(m) => r.model(m),
                ItemKind::Import(_) | ItemKind::Error(_) => {}
            }
        }
    }
}

/// The report of a name that nothing declares.
pub(super) fn unknown_name<'a>(name: &str, span: Span, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    let near = did_you_mean(
        name,
        known.into_iter().chain(builtins::names().map(|n| -> &'a str { n })),
    );
    Diagnostic::error(Code::E0203, span, format!("nothing here is called `{name}`"))
        .label("unknown name")
        .maybe_help(near.map(|n| format!("did you mean `{n}`?")))
}

struct Resolver<'a> {
    top: &'a BTreeMap<String, Def>,
    scopes: Vec<BTreeMap<String, Span>>,
    reports: &'a mut Reports,
}

impl Resolver<'_> {
    /// Declares a name that may hide one of the same scope.
    fn rebind(&mut self, name: &Ident) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.text.clone(), name.span);
        }
    }

    /// Declares a name that must be new in its scope.
    fn declare(&mut self, name: &Ident) {
        if let Some(first) = self.scopes.last().and_then(|s| s.get(&name.text)) {
            self.reports.add(twice(name, *first));
        }
        self.rebind(name);
    }

    fn name(&mut self, name: &str, span: Span) {
        let known =
            self.scopes.iter().any(|s| s.contains_key(name)) || self.top.contains_key(name) || builtins::exists(name);
        if !known {
            let candidates = self.scopes.iter().rev().flat_map(|s| s.keys()).chain(self.top.keys());
            self.reports
                .add(unknown_name(name, span, candidates.map(String::as_str)));
        }
    }

    fn callable(&mut self, c: &Callable) {
        self.scopes.push(BTreeMap::new());
        for generic in &c.generics {
            self.declare(&generic.name);
        }
        self.params(&c.params);
        match &c.result {
            ResultType::One(ty) => self.ty(ty),
            ResultType::Many(fields) => fields.iter().for_each(|f| self.ty(&f.ty)),
        }
        c.constraints.iter().for_each(|e| self.expr(e));
        self.body(&c.body);
    }

    fn params(&mut self, params: &[Param]) {
        // A shape may name a parameter that follows it, so names come first.
        params.iter().for_each(|p| self.declare(&p.name));
        for p in params {
            self.ty(&p.ty);
            p.default.iter().for_each(|e| self.expr(e));
        }
    }

    fn model(&mut self, model: &Model) {
        self.scopes.push(BTreeMap::new());
        for member in &model.members {
            match &member.kind {
                MemberKind::Config(c) => {
                    c.default.iter().for_each(|e| self.expr(e));
                    self.declare(&c.name);
                }
                MemberKind::Dim(d) => {
                    d.min.iter().chain([&d.max]).for_each(|e| self.expr(e));
                    self.declare(&d.name);
                }
                MemberKind::Let(l) => {
                    self.expr(&l.value);
                    l.names.iter().for_each(|n| self.declare(n));
                }
                MemberKind::Weight(w) => self.weight(w),
                MemberKind::State(s) => self.state(s),
                MemberKind::Where(list) => list.iter().for_each(|e| self.expr(e)),
                MemberKind::Entry(e) => {
                    self.scopes.push(BTreeMap::new());
                    self.params(&e.params);
                    e.results.iter().for_each(|f| self.ty(&f.ty));
                    self.body(&e.body);
                    self.scopes.pop();
                }
                MemberKind::Error(name) => name.iter().for_each(|n| self.rebind(n)),
            }
        }
        let mut entries: BTreeMap<&str, Span> = BTreeMap::new();
        for member in &model.members {
            if let MemberKind::Entry(e) = &member.kind
                && let Some(first) = entries.insert(&e.name.text, e.name.span)
            {
                self.reports.add(twice(&e.name, first));
            }
        }
    }

    fn weight(&mut self, w: &Weight) {
        self.ty(&w.ty);
        self.expr(&w.source);
        self.declare(&w.name);
    }

    fn state(&mut self, s: &State) {
        self.ty(&s.ty);
        s.grows.iter().chain(&s.source).for_each(|e| self.expr(e));
        self.declare(&s.name);
    }

    fn body(&mut self, body: &Body) {
        self.scopes.push(BTreeMap::new());
        for statement in &body.statements {
            match &statement.kind {
                StatementKind::Let(l) => {
                    l.ty.iter().for_each(|t| self.ty(t));
                    self.expr(&l.value);
                    l.names.iter().for_each(|n| self.rebind(n));
                }
                StatementKind::Weight(w) => self.weight(w),
                StatementKind::State(s) => self.state(s),
                StatementKind::Where(list) => list.iter().for_each(|e| self.expr(e)),
                StatementKind::Repeat(r) => {
                    self.expr(&r.start);
                    self.expr(&r.end);
                    r.carried.iter().for_each(|n| self.name(&n.text, n.span));
                    self.scopes.push(BTreeMap::new());
                    self.rebind(&r.index);
                    self.body(&r.body);
                    self.scopes.pop();
                }
                StatementKind::Error(names) => names.iter().for_each(|n| self.rebind(n)),
            }
        }
        body.result.iter().for_each(|e| self.expr(e));
        self.scopes.pop();
    }

    fn ty(&mut self, ty: &Type) {
        if let TypeKind::Tensor { element, shape } = &ty.kind {
            if let Element::Index(bound) = element {
                self.expr(bound);
            }
            self.shape(shape);
        }
    }

    fn shape(&mut self, shape: &[ShapeItem]) {
        for item in shape {
            match item {
                ShapeItem::Dim(e) => self.expr(e),
                ShapeItem::Rest(name) => self.name(&name.text, name.span),
            }
        }
    }

    fn expr(&mut self, e: &Expr) {
        match &e.kind {
            ExprKind::Int(_) | ExprKind::Real(_) | ExprKind::Bool(_) | ExprKind::None | ExprKind::Error => {}
            ExprKind::Str(pieces) => {
                for piece in pieces {
                    if let StrPiece::Hole(e) = piece {
                        self.expr(e);
                    }
                }
            }
            ExprKind::Name(name) => self.name(name, e.span),
            ExprKind::Field(base, _) | ExprKind::Unary(_, base) => self.expr(base),
            ExprKind::Call(callee, args) => {
                self.expr(callee);
                args.iter().for_each(|a| self.expr(&a.value));
            }
            ExprKind::Index(base, items) => {
                self.expr(base);
                for item in items {
                    match item {
                        IndexItem::Full(_) | IndexItem::Rest(_) => {}
                        IndexItem::At(e) => self.expr(e),
                        IndexItem::Range(a, b, _) => a.iter().chain(b).for_each(|e| self.expr(e)),
                    }
                }
            }
            ExprKind::Binary(_, a, b) => {
                self.expr(a);
                self.expr(b);
            }
            ExprKind::If(condition, then, otherwise) => {
                self.expr(condition);
                self.body(then);
                otherwise.iter().for_each(|b| self.body(b));
            }
            ExprKind::Match(subject, arms) => {
                self.expr(subject);
                arms.iter().for_each(|a| self.expr(&a.value));
            }
            ExprKind::List(items) => self.shape(items),
            ExprKind::Tuple(args) => args.iter().for_each(|a| self.expr(&a.value)),
        }
    }
}
