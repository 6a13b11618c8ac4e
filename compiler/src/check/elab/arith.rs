//! Operators on values: integers and dimensions exactly, reals in f64, formulas symbolically, tensors in the graph.

use super::value::Value;
use super::{Elab, Env, Eval};
use crate::check::report::Reported;
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;
use crate::syntax::ast::{BinaryOp, Expr, ExprKind, UnaryOp};
use mlc_ir::{Dim, Formula};
use std::rc::Rc;

/// Integers and coefficients of dimensions stay below this.
const INT_BOUND: i64 = 1 << 53;
/// The most nodes of a formula.
const FORMULA_BOUND: usize = 4096;

impl Elab<'_, '_> {
    /// `a and b`, `a or b`; on sources of weights, `or` lists alternatives.
    pub(super) fn logic(&mut self, env: &mut Env, e: &Expr) -> Eval<Value> {
        let ExprKind::Binary(op, a, b) = &e.kind else {
            return Err(Reported);
        };
        let left = self.expr(env, a)?;
        if let (BinaryOp::Or, Value::Str(_) | Value::Source(_)) = (op, &left) {
            let mut list = self.stored(&left, a.span)?;
            let right = self.expr(env, b)?;
            list.extend(self.stored(&right, b.span)?);
            return Ok(Value::Source(Rc::new(list)));
        }
        match (op, &left) {
            (BinaryOp::And, Value::Bool(false)) => return Ok(Value::Bool(false)),
            (BinaryOp::Or, Value::Bool(true)) => return Ok(Value::Bool(true)),
            _ => {}
        }
        let right = self.expr(env, b)?;
        match (left, right) {
            (Value::Bool(_), Value::Bool(r)) => Ok(Value::Bool(r)),
            (l @ (Value::Formula(..) | Value::Bool(_)), r @ (Value::Formula(..) | Value::Bool(_))) => {
                let (l, r) = (self.as_formula(&l, a.span)?, self.as_formula(&r, b.span)?);
                let op = if *op == BinaryOp::And {
                    mlc_ir::formula::Binary::Min
                } else {
                    mlc_ir::formula::Binary::Max
                };
                self.formula(Formula::binary(op, l.0, r.0), l.1 + r.1 + 1, e.span)
            }
            (l, r) => {
                let (side, wrong) = if matches!(l, Value::Bool(_) | Value::Formula(..)) {
                    (b, r)
                } else {
                    (a, l)
                };
                let message = format!("`{}` joins truth values, but this is {}", op.symbol(), wrong.sort());
                self.error(Code::E0301, side.span, message, "must be a bool")
            }
        }
    }

    pub(super) fn unary(&mut self, op: UnaryOp, value: Value, span: Span) -> Eval<Value> {
        match (op, value) {
            (UnaryOp::Neg, Value::Dim(d)) => self.checked(d.times(-1), span),
            (UnaryOp::Neg, Value::Real(r)) => Ok(Value::Real(-r)),
            (UnaryOp::Neg, Value::Formula(f, size)) => self.formula(-(*f).clone(), size + 1, span),
            (UnaryOp::Neg, tensor @ (Value::Tensor(_) | Value::State(_))) => {
                self.binary(BinaryOp::Mul, tensor, Value::Real(-1.0), span)
            }
            (UnaryOp::Not, Value::Bool(b)) => Ok(Value::Bool(!b)),
            (UnaryOp::Not, Value::Formula(f, size)) => self.formula((*f).clone().equals(0.0), size + 2, span),
            (_, Value::Error) => Err(Reported),
            (op, other) => {
                let sign = if op == UnaryOp::Neg { "-" } else { "not" };
                self.error(
                    Code::E0301,
                    span,
                    format!("`{sign}` does not apply to {}", other.sort()),
                    "here",
                )
            }
        }
    }

    pub(super) fn binary(&mut self, op: BinaryOp, a: Value, b: Value, span: Span) -> Eval<Value> {
        use Value::*;
        match (a, b) {
            (Error, _) | (_, Error) => Err(Reported),
            (Dim(a), Dim(b)) => self.dims_op(op, a, b, span),
            (a @ (Tensor(_) | State(_)), b @ (Tensor(_) | State(_) | Real(_) | Dim(_)))
            | (a @ (Real(_) | Dim(_)), b @ (Tensor(_) | State(_))) => self.tensors_op(op, a, b, span),
            (a @ Formula(..), b @ (Formula(..) | Real(_) | Dim(_))) | (a @ (Real(_) | Dim(_)), b @ Formula(..)) => {
                self.formulas_op(op, a, b, span)
            }
            (a @ (Real(_) | Dim(_)), b @ (Real(_) | Dim(_))) => {
                let (a, b) = (self.real(&a, span)?, self.real(&b, span)?);
                self.reals_op(op, a, b, span)
            }
            (a, b) => {
                let same = match (&a, &b) {
                    (Bool(a), Bool(b)) => Some(a == b),
                    (List(a), List(b)) => Some(a == b),
                    (None, None) => Some(true),
                    (None, _) | (_, None) => Some(false),
                    (Str(x), Str(y)) => match (x.as_plain(), y.as_plain()) {
                        (Some(x), Some(y)) => Some(x == y),
                        _ => {
                            let message = "a name with the index of a `repeat` has no single value to compare";
                            return self.error(Code::E0502, span, message, "depends on the index");
                        }
                    },
                    _ => Option::None,
                };
                match (op, same) {
                    (BinaryOp::Eq, Some(same)) => Ok(Bool(same)),
                    (BinaryOp::Ne, Some(same)) => Ok(Bool(!same)),
                    _ => {
                        let (code, note) = match (&a, &b) {
                            (None, _) | (_, None) => (Code::E0507, "; ask first whether it is `none`"),
                            _ => (Code::E0301, ""),
                        };
                        let message = format!(
                            "`{}` does not apply to {} and {}{note}",
                            op.symbol(),
                            a.sort(),
                            b.sort()
                        );
                        self.error(code, span, message, "these do not fit")
                    }
                }
            }
        }
    }

    /// An integer within bounds.
    fn checked(&mut self, d: Dim, span: Span) -> Eval<Value> {
        let large = |v: i64| !(-INT_BOUND..=INT_BOUND).contains(&v);
        if large(d.constant()) || d.terms().any(|(_, c)| large(c)) {
            return self.error(Code::E0406, span, "this integer is beyond 2^53", "too large");
        }
        Ok(Value::Dim(d))
    }

    fn dims_op(&mut self, op: BinaryOp, a: Dim, b: Dim, span: Span) -> Eval<Value> {
        let zero = b.as_const() == Some(0);
        match op {
            BinaryOp::Add => self.checked(a.plus(&b), span),
            BinaryOp::Sub => self.checked(a.minus(&b), span),
            BinaryOp::Mul => match a.try_mul(&b) {
                Some(product) => self.checked(product, span),
                None => {
                    let message = format!("the product of {a} and {b}, both known only at run time, is no dimension");
                    self.error(Code::E0405, span, message, "one factor must be known at compile time")
                }
            },
            BinaryOp::Div | BinaryOp::Rem if zero => self.error(Code::E0406, span, "division by zero", "divides by 0"),
            BinaryOp::Div => {
                let divisor = self.constant(&b, span)?;
                match a.exact_div(divisor) {
                    Some(quotient) => self.checked(quotient, span),
                    None => {
                        let diagnostic = Diagnostic::error(Code::E0404, span, format!("{divisor} does not divide {a}"))
                            .label("division leaves a remainder")
                            .help("write `div_floor(a, b)` or `div_ceil(a, b)`, or `1.0 * a / b` for a real number");
                        Err(self.report(diagnostic))
                    }
                }
            }
            BinaryOp::Rem => {
                let divisor = self.constant(&b, span)?;
                if a.exact_div(divisor).is_some() {
                    return Ok(Value::int(0));
                }
                let a = self.constant(&a, span)?;
                Ok(Value::int(a.checked_rem_euclid(divisor).unwrap_or(0)))
            }
            BinaryOp::And | BinaryOp::Or => Err(Reported),
            _ => {
                let difference = a.minus(&b);
                let Some(d) = difference.as_const() else {
                    let unknown = if a.is_const() { b } else { a };
                    let diagnostic = self.not_constant(&unknown, span);
                    return Err(self.report(diagnostic));
                };
                Ok(Value::Bool(match op {
                    BinaryOp::Eq => d == 0,
                    BinaryOp::Ne => d != 0,
                    BinaryOp::Lt => d < 0,
                    BinaryOp::Le => d <= 0,
                    BinaryOp::Gt => d > 0,
                    _ => d >= 0,
                }))
            }
        }
    }

    fn reals_op(&mut self, op: BinaryOp, a: f64, b: f64, span: Span) -> Eval<Value> {
        let value = match op {
            BinaryOp::Add => a + b,
            BinaryOp::Sub => a - b,
            BinaryOp::Mul => a * b,
            BinaryOp::Div => a / b,
            BinaryOp::Rem => libm::fmod(a, b),
            BinaryOp::Eq => return Ok(Value::Bool(a == b)),
            BinaryOp::Ne => return Ok(Value::Bool(a != b)),
            BinaryOp::Lt => return Ok(Value::Bool(a < b)),
            BinaryOp::Le => return Ok(Value::Bool(a <= b)),
            BinaryOp::Gt => return Ok(Value::Bool(a > b)),
            BinaryOp::Ge => return Ok(Value::Bool(a >= b)),
            BinaryOp::And | BinaryOp::Or => return Err(Reported),
        };
        self.finite(value, span)
    }

    /// A real value, which must be finite.
    pub(super) fn finite(&mut self, value: f64, span: Span) -> Eval<Value> {
        if value.is_finite() {
            return Ok(Value::Real(value));
        }
        self.error(
            Code::E0406,
            span,
            format!("this is {value}, not a finite number"),
            "not finite",
        )
    }

    /// A number known at compile time.
    pub(super) fn real(&mut self, value: &Value, span: Span) -> Eval<f64> {
        match value {
            Value::Real(r) => Ok(*r),
            Value::Dim(d) => Ok(self.constant(d, span)? as f64),
            Value::Error => Err(Reported),
            Value::None => self.error(Code::E0507, span, "this may be none, but a number is needed", "is none"),
            other => {
                let message = format!("this is {}, but a number is needed", other.sort());
                self.error(Code::E0301, span, message, "must be a number known at compile time")
            }
        }
    }

    /// A formula and its size.
    pub(super) fn as_formula(&mut self, value: &Value, span: Span) -> Eval<(Formula, usize)> {
        match value {
            Value::Formula(f, size) => Ok(((**f).clone(), *size)),
            Value::Bool(b) => Ok((Formula::Const(if *b { 1.0 } else { 0.0 }), 1)),
            other => Ok((Formula::Const(self.real(other, span)?), 1)),
        }
    }

    pub(super) fn formula(&mut self, f: Formula, size: usize, span: Span) -> Eval<Value> {
        if size > FORMULA_BOUND {
            return self.error(Code::E0006, span, "this formula has too many parts", "grows too large");
        }
        Ok(Value::Formula(Rc::new(f), size))
    }

    fn formulas_op(&mut self, op: BinaryOp, a: Value, b: Value, span: Span) -> Eval<Value> {
        let ((a, n), (b, m)) = (self.as_formula(&a, span)?, self.as_formula(&b, span)?);
        let size = n + m + 1;
        let f = match op {
            BinaryOp::Add => a + b,
            BinaryOp::Sub => a - b,
            BinaryOp::Mul => a * b,
            BinaryOp::Div => a / b,
            BinaryOp::Eq => a.equals(b),
            BinaryOp::Ne => return self.formula(a.equals(b).equals(0.0), size + 2, span),
            BinaryOp::Lt => a.lt(b),
            BinaryOp::Le => a.le(b),
            BinaryOp::Gt => b.lt(a),
            BinaryOp::Ge => b.le(a),
            BinaryOp::Rem | BinaryOp::And | BinaryOp::Or => {
                let message = format!("`{}` is not part of formulas", op.symbol());
                return self.error(Code::E0701, span, message, "not in a formula");
            }
        };
        self.formula(f, size, span)
    }

    /// `if c { a } else { b }` in a formula.
    pub(super) fn select(&mut self, c: Value, a: Value, b: Value, span: Span) -> Eval<Value> {
        let (c, a, b) = (
            self.as_formula(&c, span)?,
            self.as_formula(&a, span)?,
            self.as_formula(&b, span)?,
        );
        self.formula(Formula::select(c.0, a.0, b.0), c.1 + a.1 + b.1 + 1, span)
    }

    fn tensors_op(&mut self, op: BinaryOp, a: Value, b: Value, span: Span) -> Eval<Value> {
        use mlc_ir::BinaryOp as Ir;
        let number = |v: &Value| !matches!(v, Value::Tensor(_) | Value::State(_));
        let (op, b) = match op {
            BinaryOp::Add => (Ir::Add, b),
            BinaryOp::Sub => (Ir::Sub, b),
            BinaryOp::Mul => (Ir::Mul, b),
            BinaryOp::Div if number(&b) => {
                let divisor = self.real(&b, span)?;
                if divisor == 0.0 {
                    return self.error(Code::E0406, span, "division by zero", "divides by 0");
                }
                (Ir::Mul, Value::Real(1.0 / divisor))
            }
            BinaryOp::Div if number(&a) => {
                let numerator = self.real(&a, span)?;
                let b = self.tensor(&b, span)?;
                let formula = Formula::Const(numerator) / Formula::x();
                return Ok(Value::Tensor(self.op(span, |g| g.table("reciprocal", formula, b))?));
            }
            BinaryOp::Div => (Ir::Div, b),
            _ => {
                let diagnostic = Diagnostic::error(
                    Code::E0301,
                    span,
                    format!("`{}` does not apply to tensors", op.symbol()),
                )
                .label("elements are not known at compile time")
                .help("compare elementwise inside a `table`");
                return Err(self.report(diagnostic));
            }
        };
        let (a, b) = (self.tensor(&a, span)?, self.tensor(&b, span)?);
        Ok(Value::Tensor(self.tensor_binary(op, a, b, span)?))
    }

    pub(super) fn tensor_binary(
        &mut self,
        op: mlc_ir::BinaryOp,
        a: mlc_ir::ValueId,
        b: mlc_ir::ValueId,
        span: Span,
    ) -> Eval<mlc_ir::ValueId> {
        let (left, right) = (self.ty(a), self.ty(b));
        if left.shape.broadcast(&right.shape).is_none() {
            let message = format!("{} and {} do not broadcast to each other", left.shape, right.shape);
            let diagnostic = Diagnostic::error(Code::E0305, span, message)
                .label(format!("{} with {}", left.shape, right.shape))
                .help("shapes are aligned at the last axis; an axis of length 1 stretches");
            return Err(self.report(diagnostic));
        }
        self.op(span, |g| g.binary(op, a, b))
    }
}
