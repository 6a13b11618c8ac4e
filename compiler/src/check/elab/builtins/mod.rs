//! Builtin functions: the operations of the graph under the names of the language.
//!
//! [`BUILTINS`] lists each with its parameters (`?` after a name: it may be left out). Functions of numbers also work on
//! the variable of a table and, elementwise, on tensors. Everything else that a model needs is written in the language, in
//! `stdlib/`.

mod layout;
mod linear;
mod scalar;
mod transformer;

use super::call::{Args, Given};
use super::value::Value;
use super::{Elab, Eval};
use crate::diagnostics::{Code, Diagnostic, did_you_mean};
use crate::syntax::Span;
use mlc_ir::ValueId;

/// Name and parameters of every builtin, by name. `...` takes any number of positional arguments.
pub(in crate::check) const BUILTINS: &[(&str, &[&str])] = &[
    ("abs", &["x"]),
    ("amax", &["x", "axis?", "keepdims?"]),
    ("append", &["state", "x"]),
    ("argmax", &["x", "axis?"]),
    (
        "avg_pool2d",
        &["x", "window", "stride?", "padding?", "count_include_pad?"],
    ),
    ("broadcast", &["x", "shape"]),
    ("causal_mask", &["rows", "cols", "offset?", "window?"]),
    ("concat", &["...", "axis"]),
    ("conv2d", &["x", "w", "stride?", "padding?", "dilation?", "groups?"]),
    ("cos", &["x"]),
    ("div_ceil", &["a", "b"]),
    ("div_floor", &["a", "b"]),
    ("einsum", &["...", "equation?"]),
    ("erf", &["x"]),
    ("exp", &["x"]),
    ("flatten", &["x", "start?"]),
    ("floor", &["x"]),
    ("gather_rows", &["w", "index"]),
    ("log", &["x"]),
    ("max", &["a", "b"]),
    ("max_pool2d", &["x", "window", "stride?", "padding?"]),
    ("mean", &["x", "axis?", "keepdims?"]),
    ("min", &["a", "b"]),
    ("normalize_batch", &["x", "gamma", "beta", "mean", "variance", "eps?"]),
    ("normalize_layer", &["x", "gain?", "bias?", "eps?"]),
    ("normalize_rms", &["x", "gain?", "eps?"]),
    ("pad", &["x", "before", "after", "value?"]),
    ("positions", &["len", "below", "start?"]),
    ("pow", &["a", "b"]),
    ("reshape", &["x", "shape"]),
    (
        "rope",
        &["x", "freq", "start?", "axis?", "rotary?", "layout?", "scale?"],
    ),
    ("round", &["x"]),
    ("select", &["mask", "a", "b"]),
    ("sin", &["x"]),
    ("softmax", &["x", "mask?", "axis?"]),
    ("sqrt", &["x"]),
    ("stored", &["name", "shape"]),
    ("sum", &["x", "axis?", "keepdims?"]),
    ("tanh", &["x"]),
    ("transpose", &["x", "axes"]),
];

/// The name as a builtin, where it is one.
pub(in crate::check) fn find(name: &str) -> Option<&'static str> {
    BUILTINS.iter().find(|(n, _)| *n == name).map(|(n, _)| *n)
}

pub(in crate::check) fn exists(name: &str) -> bool {
    find(name).is_some()
}

pub(in crate::check) fn names() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().map(|(n, _)| *n)
}

/// The arguments of one call, by parameter.
pub(super) struct Slots {
    names: &'static [&'static str],
    given: Vec<Option<Given>>,
    rest: Args,
    span: Span,
}

impl Slots {
    fn find(&self, name: &str) -> Option<&Given> {
        let at = self.names.iter().position(|n| n.trim_end_matches('?') == name)?;
        self.given.get(at)?.as_ref()
    }

    /// The argument of `name`; `None` where it was left out.
    fn value(&self, name: &str) -> Value {
        self.find(name).map_or(Value::None, |g| g.value.clone())
    }

    /// Where the argument stands, or the call.
    fn span(&self, name: &str) -> Span {
        self.find(name).map_or(self.span, |g| g.span)
    }
}

impl Elab<'_, '_> {
    pub(super) fn builtin(&mut self, name: &'static str, args: Args, span: Span) -> Eval<Value> {
        if name == "einsum" {
            return self.einsum(args, span);
        }
        if name == "append" {
            return self.append(&args, span);
        }
        let slots = self.slots_of(name, args, span)?;
        match name {
            "abs" | "cos" | "erf" | "exp" | "floor" | "log" | "round" | "sin" | "sqrt" | "tanh" => {
                self.unary_function(name, &slots)
            }
            "max" | "min" | "pow" | "div_floor" | "div_ceil" => self.binary_function(name, &slots),
            "sum" | "mean" | "amax" => self.reduce(name, &slots),
            "argmax" => self.argmax(&slots),
            "conv2d" => self.conv2d(&slots),
            "max_pool2d" | "avg_pool2d" => self.pool2d(name, &slots),
            "reshape" | "broadcast" => self.reshape(name, &slots),
            "flatten" => self.flatten(&slots),
            "transpose" => self.transpose(&slots),
            "concat" => self.concat(&slots),
            "pad" => self.pad(&slots),
            "stored" => self.stored_tensor(&slots),
            "softmax" => self.softmax(&slots),
            "select" => self.select_elements(&slots),
            "causal_mask" => self.causal_mask(&slots),
            "positions" => self.positions(&slots),
            "gather_rows" => self.gather_rows(&slots),
            "rope" => self.rope(&slots),
            _ => self.normalize(name, &slots),
        }
    }

    fn slots_of(&mut self, name: &'static str, args: Args, span: Span) -> Eval<Slots> {
        let params = BUILTINS.iter().find(|(n, _)| *n == name).map_or(&[][..], |(_, p)| *p);
        let variadic = params.first() == Some(&"...");
        let mut slots = Slots {
            names: params,
            given: vec![None; params.len()],
            rest: Vec::new(),
            span,
        };
        let mut position = 0;
        for arg in args {
            let at = match &arg.name {
                None if variadic => {
                    slots.rest.push(arg);
                    continue;
                }
                None => {
                    position += 1;
                    position - 1
                }
                Some(n) => match params.iter().position(|p| p.trim_end_matches('?') == n.text) {
                    Some(at) => at,
                    None => {
                        let known: Vec<&str> = params
                            .iter()
                            .map(|p| p.trim_end_matches('?'))
                            .filter(|p| *p != "...")
                            .collect();
                        let near = did_you_mean(&n.text, known.iter().copied());
                        let help = near.map_or_else(
                            || format!("it takes {}", known.join(", ")),
                            |k| format!("did you mean `{k}`?"),
                        );
                        let diagnostic =
                            Diagnostic::error(Code::E0304, n.span, format!("`{name}` has no parameter `{}`", n.text))
                                .label("unknown parameter")
                                .help(help);
                        return Err(self.report(diagnostic));
                    }
                },
            };
            match slots.given.get_mut(at) {
                Some(slot @ None) => *slot = Some(arg),
                Some(Some(_)) => {
                    let message = format!("`{}` is given twice", params[at].trim_end_matches('?'));
                    return self.error(Code::E0304, arg.span, message, "given again");
                }
                None => {
                    let message = format!("`{name}` takes at most {} arguments", params.len());
                    return self.error(Code::E0304, arg.span, message, "one too many");
                }
            }
        }
        let required = |p: &&str| !p.ends_with('?') && *p != "...";
        let missing = params
            .iter()
            .zip(&slots.given)
            .find(|(p, g)| required(p) && g.is_none());
        if let Some((p, _)) = missing {
            return self.error(
                Code::E0303,
                span,
                format!("`{name}` needs `{p}`"),
                format!("`{p}` is missing"),
            );
        }
        Ok(slots)
    }

    fn tensor_slot(&mut self, slots: &Slots, name: &str) -> Eval<ValueId> {
        self.tensor(&slots.value(name), slots.span(name))
    }

    fn optional_tensor(&mut self, slots: &Slots, name: &str) -> Eval<Option<ValueId>> {
        match slots.value(name) {
            Value::None => Ok(None),
            value => self.tensor(&value, slots.span(name)).map(Some),
        }
    }

    /// A natural number known at compile time.
    fn natural(&mut self, slots: &Slots, name: &str, default: u64) -> Eval<u64> {
        match slots.value(name) {
            Value::None => Ok(default),
            Value::Dim(d) => {
                let value = self.constant(&d, slots.span(name))?;
                u64::try_from(value).or_else(|_| {
                    self.error(
                        Code::E0312,
                        slots.span(name),
                        format!("`{name}` is negative"),
                        "must not be",
                    )
                })
            }
            other => {
                let message = format!("`{name}` is an integer, not {}", other.sort());
                self.error(Code::E0301, slots.span(name), message, "must be an integer")
            }
        }
    }

    /// One natural number for all, or a list of `N`.
    fn naturals<const N: usize>(&mut self, slots: &Slots, name: &str, default: [u64; N]) -> Eval<[u64; N]> {
        let Value::List(list) = slots.value(name) else {
            return match slots.value(name) {
                Value::None => Ok(default),
                _ => self.natural(slots, name, 0).map(|v| [v; N]),
            };
        };
        let span = slots.span(name);
        // A pair of a four-sided padding is [vertical, horizontal].
        let list = if N == 4 && list.len() == 2 {
            [&list[..], &list[..]].concat()
        } else {
            list
        };
        let mut out = [0; N];
        if list.len() != N {
            let message = format!("`{name}` is one integer or a list of {N}");
            return self.error(Code::E0312, span, message, format!("a list of {}", list.len()));
        }
        for (slot, d) in out.iter_mut().zip(&list) {
            let value = self.constant(d, span)?;
            *slot = match u64::try_from(value) {
                Ok(v) => v,
                Err(_) => return self.error(Code::E0312, span, format!("`{name}` is negative"), "must not be"),
            };
        }
        Ok(out)
    }

    fn number(&mut self, slots: &Slots, name: &str, default: f64) -> Eval<f64> {
        match slots.value(name) {
            Value::None => Ok(default),
            value => self.real(&value, slots.span(name)),
        }
    }

    fn flag(&mut self, slots: &Slots, name: &str, default: bool) -> Eval<bool> {
        match slots.value(name) {
            Value::None => Ok(default),
            Value::Bool(b) => Ok(b),
            other => {
                let message = format!("`{name}` is a bool, not {}", other.sort());
                self.error(Code::E0301, slots.span(name), message, "must be true or false")
            }
        }
    }

    /// A dimension, constant or not.
    fn dim_slot(&mut self, slots: &Slots, name: &str) -> Eval<mlc_ir::Dim> {
        match slots.value(name) {
            Value::None => Ok(mlc_ir::Dim::fixed(0)),
            Value::Dim(d) => Ok(d),
            other => {
                let message = format!("`{name}` is a dimension, not {}", other.sort());
                self.error(
                    Code::E0301,
                    slots.span(name),
                    message,
                    "must be an integer or a dimension",
                )
            }
        }
    }

    /// Axes of a tensor of `rank`: one, a list, or all where left out.
    fn axes(&mut self, slots: &Slots, rank: usize) -> Eval<Vec<usize>> {
        let span = slots.span("axis");
        match slots.value("axis") {
            Value::None => Ok((0..rank).collect()),
            Value::List(list) => list
                .into_iter()
                .map(|d| self.axis(&Value::Dim(d), rank, span))
                .collect(),
            value => Ok(vec![self.axis(&value, rank, span)?]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtins_are_sorted_by_name() {
        assert!(BUILTINS.is_sorted_by_key(|(name, _)| *name));
    }
}
