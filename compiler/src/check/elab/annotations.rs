//! Annotations: `@quant(bits = 8)`, `@range(0, 1)`, `@calibrate("samples.npy")`, `@unroll`.

use super::value::Value;
use super::{Elab, Env, Eval};
use crate::check::quant::{QuantHint, QuantTarget};
use crate::check::report::Reported;
use crate::diagnostics::{Code, Diagnostic, did_you_mean};
use crate::syntax::ast::{Annotation, Arg};

const KNOWN: [&str; 6] = ["quant", "range", "calibrate", "unroll", "family", "unused"];

/// The report of an annotation that does not belong here.
pub(in crate::check) fn misplaced(a: &Annotation) -> Diagnostic {
    let name = a.name.text.as_str();
    if KNOWN.contains(&name) {
        return Diagnostic::error(Code::E0801, a.span, format!("`@{name}` does not apply here")).label("not here").help(
            "`@quant` stands before models, weights, lets, inputs and outputs, `@range` before lets, inputs and outputs, \
             `@calibrate`, `@family` and `@unused` before models, `@unroll` before `repeat`",
        );
    }
    let help = match did_you_mean(name, KNOWN) {
        Some(near) => format!("did you mean `@{near}`?"),
        None => format!("annotations are @{}", KNOWN.join(", @")),
    };
    Diagnostic::error(Code::E0801, a.span, format!("there is no annotation `@{name}`"))
        .label("unknown")
        .help(help)
}

impl Elab<'_, '_> {
    /// Reports annotations other than `allowed`.
    pub(super) fn only_annotations(&mut self, annotations: &[Annotation], allowed: &[&str]) {
        for a in annotations.iter().filter(|a| !allowed.contains(&a.name.text.as_str())) {
            self.report(misplaced(a));
        }
    }

    /// What `@quant` and `@range` ask, where there is one; the target is filled in by the caller.
    pub(super) fn quant_hint(
        &mut self,
        env: &mut Env,
        annotations: &[Annotation],
        allowed: &[&str],
    ) -> Option<QuantHint> {
        self.only_annotations(annotations, allowed);
        let mut hint = QuantHint::new(QuantTarget::Model);
        let mut any = false;
        for a in annotations {
            let done = match a.name.text.as_str() {
                "quant" if allowed.contains(&"quant") => self.quant(env, a, &mut hint, false),
                "range" if allowed.contains(&"range") => self.range_annotation(env, a, &mut hint),
                _ => continue,
            };
            any |= done.is_ok();
        }
        any.then_some(hint)
    }

    pub(super) fn model_annotations(&mut self, env: &mut Env, annotations: &[Annotation]) {
        self.only_annotations(annotations, &["quant", "calibrate", "family", "unused"]);
        for a in annotations {
            if a.name.text == "quant" {
                let mut hint = QuantHint::new(QuantTarget::Model);
                if self.quant(env, a, &mut hint, true).is_ok() && !self.shared.quant.contains(&hint) {
                    self.shared.quant.push(hint);
                }
            } else if a.name.text == "family" || a.name.text == "unused" {
                // Families are read off the source (`check::families`), which takes nothing that has to be computed.
                for arg in a
                    .args
                    .iter()
                    .filter(|arg| super::super::families::literal(&arg.value.kind).is_none())
                {
                    let _ = self.bad::<()>(arg, format!("`@{}` takes strings without holes", a.name.text));
                }
            } else if a.name.text == "calibrate" {
                for arg in &a.args {
                    match self
                        .expr(env, &arg.value)
                        .map(|v| if let Value::Str(t) = v { t.as_plain() } else { None })
                    {
                        Ok(Some(file)) if !self.shared.calibration.contains(&file) => {
                            self.shared.calibration.push(file)
                        }
                        Ok(Some(_)) | Err(Reported) => {}
                        Ok(None) => {
                            let _ = self.bad::<()>(arg, "the name of a file is a string");
                        }
                    }
                }
            }
        }
    }

    fn bad<T>(&mut self, arg: &Arg, message: impl Into<String>) -> Eval<T> {
        self.error(Code::E0802, arg.value.span, message, "in this annotation")
    }

    fn quant(&mut self, env: &mut Env, a: &Annotation, hint: &mut QuantHint, model: bool) -> Eval<()> {
        for arg in &a.args {
            let value = self.expr(env, &arg.value)?;
            let name = arg.name.as_ref().map_or("", |n| n.text.as_str());
            match (name, &value) {
                ("bits" | "activations" | "weights", Value::Dim(d)) => {
                    let bits = self.constant(d, arg.value.span)?;
                    if !(2..=16).contains(&bits) {
                        return self.bad(arg, format!("{bits} bits: between 2 and 16 are possible"));
                    }
                    let bits = Some(bits as u32);
                    match name {
                        "bits" => hint.bits = bits,
                        _ if !model => return self.bad(arg, format!("`{name}` belongs to the `@quant` of a model")),
                        "activations" => hint.activations = bits,
                        _ => hint.weights = bits,
                    }
                }
                ("scale", Value::Str(text)) => {
                    hint.scale = Some(match text.as_plain().as_deref() {
                        Some("per_tensor") => super::ScaleKind::PerTensor,
                        Some("per_channel") => super::ScaleKind::PerChannel,
                        _ => return self.bad(arg, "`scale` is \"per_tensor\" or \"per_channel\""),
                    });
                }
                ("clamp", Value::Bool(b)) => hint.clamp = Some(*b),
                ("bits" | "activations" | "weights" | "scale" | "clamp", other) => {
                    return self.bad(arg, format!("`{name}` cannot be {}", other.sort()));
                }
                _ => {
                    return self.bad(
                        arg,
                        "`@quant` takes bits, activations, weights, scale and clamp, by name",
                    );
                }
            }
        }
        Ok(())
    }

    fn range_annotation(&mut self, env: &mut Env, a: &Annotation, hint: &mut QuantHint) -> Eval<()> {
        let mut ends = Vec::new();
        for arg in &a.args {
            let value = self.expr(env, &arg.value)?;
            ends.push(self.real(&value, arg.value.span)?);
        }
        match ends.as_slice() {
            [lo, hi] if lo < hi => {
                hint.range = Some((*lo, *hi));
                Ok(())
            }
            _ => self.error(
                Code::E0802,
                a.span,
                "`@range` takes a least and a greatest value",
                "two numbers, ascending",
            ),
        }
    }
}
