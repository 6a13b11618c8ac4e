//! States: tensors that outlive an entry and grow along one axis.

use super::call::Args;
use super::value::{Text, Value};
use super::weight::plain_name;
use super::{Elab, Env, Eval};
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;
use crate::syntax::ast::State;
use mlc_ir::Visibility;

impl Elab<'_, '_> {
    pub(super) fn state_statement(&mut self, env: &mut Env, s: &State) {
        let value = self.declare_state(env, s).unwrap_or(Value::Error);
        env.bind(&s.name.text, value);
    }

    fn declare_state(&mut self, env: &mut Env, s: &State) -> Eval<Value> {
        let ty = self.tensor_type(env, &s.ty)?;
        let axis = match &s.grows {
            Some(e) => {
                let grows = self.dim(env, e)?;
                let mut axes = (0..ty.shape.rank()).filter(|i| ty.shape.0[*i] == grows);
                match (axes.next(), axes.next(), grows.is_const()) {
                    (Some(axis), None, false) => axis,
                    _ => {
                        let message = format!("{grows} is not the run-time length of one axis of {}", ty.shape);
                        return self.error(Code::E0604, e.span, message, "must be the length of one axis");
                    }
                }
            }
            None => {
                let mut axes = (0..ty.shape.rank()).filter(|i| !ty.shape.0[*i].is_const());
                match (axes.next(), axes.next()) {
                    (Some(axis), None) => axis,
                    _ => {
                        let diagnostic =
                            Diagnostic::error(Code::E0604, s.ty.span, "which axis does this state grow along?")
                                .label("has not exactly one axis of run-time length")
                                .help("say so: `grows past`");
                        return Err(self.report(diagnostic));
                    }
                }
            }
        };
        let template = match &s.source {
            Some(source) => match self.expr(env, source)? {
                Value::Str(text) => text,
                other => {
                    let message = format!("the name of a state is a string, not {}", other.sort());
                    return self.error(Code::E0301, source.span, message, "must be a string");
                }
            },
            None => Text::plain(&s.name.text),
        };
        let stack = self.g.stack();
        let state = mlc_ir::State {
            ty: ty.clone(),
            stack,
            axis,
            visibility: Visibility::Committed,
        };
        if let Some((known, first)) = self.shared.states.get(&template.template) {
            if *known != state {
                let message = format!("the state `{}` is declared with two types", template.template);
                let diagnostic = Diagnostic::error(Code::E0503, s.name.span, message)
                    .label(format!("here {ty}"))
                    .also(*first, format!("here {}", known.ty));
                return Err(self.report(diagnostic));
            }
        } else {
            self.shared
                .states
                .insert(template.template.clone(), (state, s.name.span));
        }
        let name = plain_name(&template.template);
        self.g.declare_state(&name, ty, axis, Visibility::Committed);
        Ok(Value::State(name))
    }

    /// `append(state, new)`: the state with `new` behind it.
    pub(super) fn append(&mut self, args: &Args, span: Span) -> Eval<Value> {
        let [state, new] = args.as_slice() else {
            return self.error(
                Code::E0303,
                span,
                "`append` takes a state and a tensor",
                "two arguments",
            );
        };
        let Value::State(name) = &state.value else {
            let message = format!("`append` extends a state, but this is {}", state.value.sort());
            let diagnostic = Diagnostic::error(Code::E0604, state.span, message)
                .label("not a state")
                .help("join tensors with `concat`");
            return Err(self.report(diagnostic));
        };
        if let Some(first) = self.appended.get(name).copied() {
            let diagnostic = Diagnostic::error(
                Code::E0604,
                span,
                format!("the state `{name}` is appended to twice in one entry"),
            )
            .label("appended again")
            .also(first, "first appended here")
            .help("join both with `concat` and append once");
            return Err(self.report(diagnostic));
        }
        let new_id = self.tensor(&new.value, new.span)?;
        let found = self.ty(new_id);
        let declared = self.g.module().states.get(name).cloned();
        if let Some(declared) = declared {
            let (was, is) = (&declared.ty.shape.0, &found.shape.0);
            let agree = was.len() == is.len() && (0..was.len()).all(|i| i == declared.axis || was[i] == is[i]);
            if !agree || found.elem != declared.ty.elem {
                let message = format!(
                    "{found} cannot be appended to {} along axis {}",
                    declared.ty, declared.axis
                );
                let diagnostic = Diagnostic::error(Code::E0604, new.span, message)
                    .label(format!("is {found}"))
                    .help("all axes but that one must agree");
                return Err(self.report(diagnostic));
            }
        }
        self.appended.insert(name.clone(), span);
        Ok(Value::Tensor(self.op(span, |g| g.state_append(name, new_id))?))
    }
}
