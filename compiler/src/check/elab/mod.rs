//! Elaboration: evaluates a model's entries into a graph.
//!
//! One [`Elab`] builds one entry. Compile-time values are computed as they are met; tensor operations go to the
//! [`GraphBuilder`], which infers and checks their types. Blocks and functions are evaluated at each call with the
//! dimensions of that call, so that after elaboration nothing generic is left.

pub(super) mod builtins;

mod annotations;
mod arith;
mod call;
mod einsum;
mod entry;
mod expr;
mod formula;
mod index;
mod model;
mod repeat;
mod state;
mod types;
mod value;
mod weight;

pub(super) use annotations::misplaced;
pub(super) use model::elaborate;

use super::config::Config;
use super::modules::{Def, ModuleId, Program};
use super::quant::{QuantHint, ScaleKind};
use super::report::{Reported, Reports};
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;
use mlc_ir::{GraphBuilder, ValueId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use value::Value;

type Eval<T> = Result<T, Reported>;

/// How deep evaluation may nest: calls, bodies and expressions together.
const MAX_NESTING: u32 = 260;

/// The most evaluations of one compilation: calls that call twice what calls twice would else never end.
const MAX_STEPS: u64 = 400_000;

/// Names in reach while a body is evaluated.
struct Env {
    module: ModuleId,
    scopes: Vec<BTreeMap<String, Value>>,
}

impl Env {
    fn new(module: ModuleId) -> Self {
        Env {
            module,
            scopes: vec![BTreeMap::new()],
        }
    }

    fn bind(&mut self, name: &str, value: Value) {
        if let Some(scope) = self.scopes.last_mut()
            && name != "_"
        {
            scope.insert(name.to_string(), value);
        }
    }

    /// Gives a name that is in reach another value, where it is bound.
    fn rebind(&mut self, name: &str, value: Value) {
        let scope = self.scopes.iter_mut().rev().find(|s| s.contains_key(name));
        if let Some(scope) = scope {
            scope.insert(name.to_string(), value);
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.scopes.iter().rev().find_map(|s| s.get(name))
    }
}

/// What the entries of a model share while they are elaborated.
#[derive(Default)]
struct Shared {
    /// Name in the graph of every weight, by a key of all that it is.
    weight_names: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    /// Stored shape and place of every tensor of the weight file that was bound.
    stored: BTreeMap<String, (Vec<u64>, Span)>,
    /// Name in the graph and place of every state, by template.
    states: BTreeMap<String, (mlc_ir::State, Span)>,
    quant: Vec<QuantHint>,
    calibration: Vec<String>,
    /// The key of config.json that gave each `config` its value.
    keys: BTreeMap<String, String>,
    /// Evaluations so far.
    steps: u64,
}

struct Elab<'a, 'm> {
    program: &'a Program,
    config: &'a Config,
    reports: &'a mut Reports,
    shared: &'a mut Shared,
    g: GraphBuilder<'m>,
    files: &'a [Arc<str>],
    /// The calls that led here: what is called, and where.
    calls: Vec<(Def, Span)>,
    nesting: u32,
    /// Names of the indices of the enclosing repeat regions.
    indices: Vec<String>,
    /// Names that `let`s gave to values; the first one counts.
    names: Vec<(ValueId, String)>,
    /// Hints on values, to be named when the entry is finished.
    hints: Vec<(ValueId, QuantHint)>,
    /// States appended to in this entry, with the place.
    appended: BTreeMap<String, Span>,
}

impl<'a> Elab<'a, '_> {
    /// Reports a diagnostic, and says through which call the place was reached.
    fn report(&mut self, diagnostic: Diagnostic) -> Reported {
        let mut diagnostic = diagnostic;
        if let Some((_, call)) = self.calls.last()
            && diagnostic.primary.span != *call
        {
            diagnostic = diagnostic.also(*call, "in this call");
        }
        self.reports.add(diagnostic)
    }

    fn error<T>(&mut self, code: Code, span: Span, message: impl Into<String>, label: impl Into<String>) -> Eval<T> {
        Err(self.report(Diagnostic::error(code, span, message).label(label)))
    }

    /// Runs `rule` one level deeper, or reports that evaluation nests too deeply.
    fn deeper<T>(&mut self, span: Span, rule: impl FnOnce(&mut Self) -> Eval<T>) -> Eval<T> {
        self.shared.steps += 1;
        if self.shared.steps > MAX_STEPS {
            let first = self.shared.steps == MAX_STEPS + 1;
            let message = "this model takes too many evaluations to compile";
            return if first {
                self.error(Code::E0006, span, message, "gave up here")
            } else {
                Err(Reported)
            };
        }
        if self.nesting >= MAX_NESTING {
            return self.error(
                Code::E0006,
                span,
                "calls and expressions nest too deeply",
                "too deep here",
            );
        }
        self.nesting += 1;
        let result = rule(self);
        self.nesting -= 1;
        result
    }

    /// Operations added from here on come from `span`.
    fn at(&mut self, span: Span) {
        let file = self.files.get(span.file.0 as usize).cloned();
        let span = file.map(|file| mlc_ir::Span {
            file,
            start: span.start,
            end: span.end,
        });
        self.g.at(span);
    }

    /// The type of a tensor.
    fn ty(&self, tensor: ValueId) -> mlc_ir::Type {
        self.g.ty(tensor).clone()
    }

    /// Adds an operation; what does not fit becomes a diagnostic.
    fn op(
        &mut self,
        span: Span,
        build: impl FnOnce(&mut GraphBuilder<'_>) -> Result<ValueId, mlc_ir::InferError>,
    ) -> Eval<ValueId> {
        self.at(span);
        match build(&mut self.g) {
            Ok(id) => Ok(id),
            Err(error) => {
                let diagnostic = infer_diagnostic(&error, span);
                Err(self.report(diagnostic))
            }
        }
    }
}

/// An operation that does not fit its operands, in the user's words.
fn infer_diagnostic(error: &mlc_ir::InferError, span: Span) -> Diagnostic {
    use mlc_ir::InferErrorKind::*;
    let code = match &*error.kind {
        Elem { .. } | Kinds { .. } => Code::E0301,
        Rank { .. } | Extent { .. } => Code::E0302,
        Broadcast { .. } => Code::E0305,
        Label { .. } => Code::E0307,
        Axis { .. } | Permutation { .. } => Code::E0306,
        Numel { .. } => Code::E0308,
        NotConst { .. } | Stride { .. } => Code::E0405,
        Region { .. } => Code::E0605,
        _ => Code::E0312,
    };
    Diagnostic::error(code, span, format!("{}: {}", error.op.replace('_', " "), error.kind)).label("in this operation")
}
