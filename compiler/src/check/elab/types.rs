//! Types: from syntax to the graph's types, conversions of compile-time values, and matching of shapes.

use super::value::Value;
use super::{Elab, Env, Eval};
use crate::check::report::Reported;
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;
use crate::syntax::ast::*;
use mlc_ir::{Dim, Elem, Shape};

/// Whether a tensor of type `found` may stand where `wanted` is declared.
pub(super) fn assignable(found: &mlc_ir::Type, wanted: &mlc_ir::Type) -> bool {
    found.shape == wanted.shape && elements_agree(&found.elem, &wanted.elem)
}

fn elements_agree(found: &Elem, wanted: &Elem) -> bool {
    match (found, wanted) {
        (Elem::Index(f), Elem::Index(w)) => f <= w,
        (f, w) => f == w,
    }
}

impl Elab<'_, '_> {
    /// How a message names a declared type.
    pub(super) fn describe_type(&self, ty: &Type) -> String {
        let text = match &ty.kind {
            TypeKind::Dim => "a dim (a natural number)",
            TypeKind::Int => "an int",
            TypeKind::Real => "a real number",
            TypeKind::Bool => "a bool",
            TypeKind::String => "a string",
            TypeKind::Table => "a table",
            TypeKind::Tensor { .. } => "a tensor",
            TypeKind::Error => "an error",
        };
        format!("{text}{}", if ty.optional { " or none" } else { "" })
    }

    /// `value` as the compile-time kind `ty`, where it is one.
    pub(super) fn fits(&self, value: &Value, ty: &Type) -> Option<Value> {
        match (value, &ty.kind) {
            (Value::None, _) if ty.optional => Some(Value::None),
            (Value::Dim(d), TypeKind::Dim) => d.as_const().is_none_or(|v| v >= 0).then(|| value.clone()),
            (Value::Dim(_), TypeKind::Int)
            | (Value::Bool(_), TypeKind::Bool)
            | (Value::Str(_), TypeKind::String)
            | (Value::Table(_), TypeKind::Table)
            | (Value::Formula(..), TypeKind::Real) => Some(value.clone()),
            (Value::Real(r), TypeKind::Real) => r.is_finite().then(|| value.clone()),
            (Value::Dim(d), TypeKind::Real) => d.as_const().map(|v| Value::Real(v as f64)),
            (Value::Builtin(name), TypeKind::Table) => super::formula::builtin_table(name),
            _ => None,
        }
    }

    /// `value` as the declared type `ty`, or a diagnostic at `span`.
    pub(super) fn convert(&mut self, env: &mut Env, value: Value, ty: &Type, span: Span) -> Eval<Value> {
        if matches!(value, Value::Error) || matches!(ty.kind, TypeKind::Error) {
            return Err(Reported);
        }
        if let (TypeKind::Tensor { .. }, false) = (&ty.kind, matches!(value, Value::None) && ty.optional) {
            let id = self.tensor(&value, span)?;
            self.agrees(env, id, ty, span)?;
            return Ok(Value::Tensor(id));
        }
        let value = match (&value, &ty.kind) {
            (Value::Def(_), TypeKind::Table) => self.as_table(&value).unwrap_or(value),
            _ => value,
        };
        if let Some(value) = self.fits(&value, ty) {
            return Ok(value);
        }
        let wanted = self.describe_type(ty);
        if let (Value::Dim(d), TypeKind::Dim) = (&value, &ty.kind) {
            let message = format!("{d} is negative, but a dim is a natural number");
            return self.error(Code::E0406, span, message, format!("is {d}"));
        }
        if matches!(value, Value::None) {
            let diagnostic = Diagnostic::error(Code::E0507, span, format!("this may be none, but {wanted} is needed"))
                .label("is none")
                .help("ask first: `if … != none { … }`");
            return Err(self.report(diagnostic));
        }
        let shown = match &value {
            Value::Dim(_) | Value::Real(_) | Value::Bool(_) | Value::Str(_) => format!("{} ({value})", value.sort()),
            _ => value.sort().to_string(),
        };
        let diagnostic = Diagnostic::error(Code::E0301, span, format!("this is {shown}, but {wanted} is needed"))
            .label(format!("must be {wanted}"))
            .also(ty.span, "declared here");
        Err(self.report(diagnostic))
    }

    /// The element type as declared.
    pub(super) fn element(&mut self, env: &mut Env, element: &Element) -> Eval<Elem> {
        Ok(match element {
            Element::Real => Elem::Real,
            Element::Mask => Elem::Mask,
            Element::Index(bound) => {
                let value = self.constant_dim(env, bound)?;
                let bad = "an index counts below a positive bound";
                Elem::Index(u64::try_from(value).or_else(|_| self.error(Code::E0406, bound.span, bad, "negative"))?)
            }
        })
    }

    /// A tensor type whose dimensions are all in reach.
    pub(super) fn tensor_type(&mut self, env: &mut Env, ty: &Type) -> Eval<mlc_ir::Type> {
        let TypeKind::Tensor { element, shape } = &ty.kind else {
            if matches!(ty.kind, TypeKind::Error) {
                return Err(Reported);
            }
            return self.error(Code::E0301, ty.span, "a tensor type is needed here", "write `real[…]`");
        };
        let elem = self.element(env, element)?;
        Ok(mlc_ir::Type {
            elem,
            shape: Shape(self.shape(env, shape)?),
        })
    }

    /// The dimensions of a shape, natural numbers where constant.
    pub(super) fn shape(&mut self, env: &mut Env, items: &[ShapeItem]) -> Eval<Vec<Dim>> {
        let dims = self.dims(env, items)?;
        let negative = dims.iter().find(|d| d.as_const().is_some_and(|v| v < 0));
        if let (Some(d), Some(first), Some(last)) = (negative, items.first(), items.last()) {
            let span = item_span(first).to(item_span(last));
            return self.error(
                Code::E0406,
                span,
                format!("the dimension {d} is negative"),
                "in this shape",
            );
        }
        Ok(dims)
    }

    /// Dimensions of a list, in which `..name` stands for several.
    pub(super) fn dims(&mut self, env: &mut Env, items: &[ShapeItem]) -> Eval<Vec<Dim>> {
        let mut dims = Vec::new();
        for item in items {
            match item {
                ShapeItem::Dim(e) => dims.push(self.dim(env, e)?),
                ShapeItem::Rest(name) => match self.lookup(env, &name.text, name.span)? {
                    Value::List(run) => dims.extend(run),
                    other => {
                        let message = format!("`{}` is {}, not a run of dimensions", name.text, other.sort());
                        return self.error(Code::E0301, name.span, message, "must be a run like `..lead`");
                    }
                },
            }
        }
        Ok(dims)
    }

    /// Matches the shape of a tensor with a declared one, binding generics that are still free (`Value::Error` in
    /// `free`). Parts that need generics bound later are left to the caller, which checks the whole type again.
    pub(super) fn unify(
        &mut self,
        env: &mut Env,
        free: &mut Vec<String>,
        declared: &[ShapeItem],
        found: &[Dim],
    ) -> bool {
        let rest = declared.iter().position(|i| matches!(i, ShapeItem::Rest(_)));
        let fixed = declared.len() - usize::from(rest.is_some());
        if found.len() < fixed || rest.is_none() && found.len() != fixed {
            return false;
        }
        let run = found.len() - fixed;
        let mut at = 0;
        for item in declared {
            match item {
                ShapeItem::Rest(name) => {
                    if take(free, &name.text) {
                        env.bind(&name.text, Value::List(found[at..at + run].to_vec()));
                    }
                    at += run;
                }
                ShapeItem::Dim(e) => {
                    if let ExprKind::Name(name) = &e.kind
                        && take(free, name)
                    {
                        env.bind(name, Value::Dim(found[at].clone()));
                    }
                    at += 1;
                }
            }
        }
        true
    }
}

/// Removes `name` from the list; whether it was there.
fn take(free: &mut Vec<String>, name: &str) -> bool {
    let at = free.iter().position(|n| n == name);
    if let Some(at) = at {
        free.remove(at);
    }
    at.is_some()
}

pub(super) fn item_span(item: &ShapeItem) -> Span {
    match item {
        ShapeItem::Dim(e) => e.span,
        ShapeItem::Rest(name) => name.span,
    }
}
