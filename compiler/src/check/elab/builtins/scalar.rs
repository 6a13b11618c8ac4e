//! Functions of numbers: at compile time, in formulas, and elementwise on tensors.

use super::super::value::Value;
use super::super::{Elab, Eval};
use super::Slots;
use crate::diagnostics::Code;
use mlc_ir::Formula;
use mlc_ir::formula::{Binary, Unary};

impl Elab<'_, '_> {
    pub(super) fn unary_function(&mut self, name: &'static str, slots: &Slots) -> Eval<Value> {
        let (x, span) = (slots.value("x"), slots.span);
        if let (Value::Dim(d), "abs") = (&x, name) {
            let value = self.constant(d, span)?;
            return Ok(Value::int(value.saturating_abs()));
        }
        let function = Unary::from_name(name).unwrap_or(Unary::Abs);
        match &x {
            Value::Formula(f, size) => self.formula(Formula::unary(function, (**f).clone()), size + 1, span),
            Value::Real(_) | Value::Dim(_) => {
                let x = self.real(&x, slots.span("x"))?;
                self.finite(function.apply(x), span)
            }
            _ => {
                let Some(Value::Table(table)) = super::super::formula::builtin_table(name) else {
                    return self.error(Code::E0206, span, format!("`{name}` is not a table"), "here");
                };
                self.apply(&table, &x, slots.span("x"), span)
            }
        }
    }

    pub(super) fn binary_function(&mut self, name: &'static str, slots: &Slots) -> Eval<Value> {
        let (a, b, span) = (slots.value("a"), slots.value("b"), slots.span);
        if let (Value::Dim(x), Value::Dim(y)) = (&a, &b) {
            let x = self.constant(x, slots.span("a"))?;
            let y = self.constant(y, slots.span("b"))?;
            let value = match name {
                "max" => Some(x.max(y)),
                "min" => Some(x.min(y)),
                "div_floor" => x.checked_div_euclid(y),
                "div_ceil" => x.checked_neg().and_then(|n| n.checked_div_euclid(y)).map(|q| -q),
                _ if y < 0 => return self.finite(libm::pow(x as f64, y as f64), span),
                _ => u32::try_from(y)
                    .ok()
                    .and_then(|y| x.checked_pow(y))
                    .filter(|v| v.abs() <= 1 << 53),
            };
            return match value {
                Some(value) => Ok(Value::int(value)),
                None => self.error(
                    Code::E0406,
                    span,
                    format!("`{name}` of {x} and {y} has no value"),
                    "out of range",
                ),
            };
        }
        let function = match name {
            "max" => Binary::Max,
            "min" => Binary::Min,
            "pow" => Binary::Pow,
            _ => {
                return self.error(
                    Code::E0301,
                    span,
                    format!("`{name}` divides integers"),
                    "must be integers",
                );
            }
        };
        match (&a, &b) {
            (Value::Formula(..), _) | (_, Value::Formula(..)) => {
                let (a, b) = (
                    self.as_formula(&a, slots.span("a"))?,
                    self.as_formula(&b, slots.span("b"))?,
                );
                self.formula(Formula::binary(function, a.0, b.0), a.1 + b.1 + 1, span)
            }
            (Value::Tensor(_) | Value::State(_), _) | (_, Value::Tensor(_) | Value::State(_)) => match function {
                Binary::Pow => {
                    let exponent = self.real(&b, slots.span("b"))?;
                    let table = super::super::value::TableValue {
                        name: "pow".to_string(),
                        formula: Formula::x().pow(exponent),
                        open: None,
                    };
                    self.apply(&table, &a, slots.span("a"), span)
                }
                _ => {
                    let (x, y) = (self.tensor(&a, slots.span("a"))?, self.tensor(&b, slots.span("b"))?);
                    let op = if function == Binary::Max {
                        mlc_ir::BinaryOp::Max
                    } else {
                        mlc_ir::BinaryOp::Min
                    };
                    Ok(Value::Tensor(self.tensor_binary(op, x, y, span)?))
                }
            },
            _ => {
                let (a, b) = (self.real(&a, slots.span("a"))?, self.real(&b, slots.span("b"))?);
                self.finite(function.apply(a, b), span)
            }
        }
    }
}
