//! Tables: formulas of one variable, their parameters, and their application.

use super::call::Args;
use super::value::{TableValue, Value};
use super::{Elab, Env, Eval};
use crate::check::modules::{Def, ModuleId};
use crate::check::report::Reported;
use crate::diagnostics::Code;
use crate::syntax::Span;
use crate::syntax::ast::Table;
use mlc_ir::Formula;
use mlc_ir::formula::Unary;
use std::rc::Rc;

/// A builtin function of one number as a table.
pub(super) fn builtin_table(name: &str) -> Option<Value> {
    let formula = Formula::unary(Unary::from_name(name).filter(|u| *u != Unary::Neg)?, Formula::x());
    Some(Value::Table(Rc::new(TableValue {
        name: name.to_string(),
        formula,
        open: None,
    })))
}

/// Number of nodes.
fn size(f: &Formula) -> usize {
    match f {
        Formula::Var(_) | Formula::Const(_) => 1,
        Formula::Unary(_, a) => 1 + size(a),
        Formula::Binary(_, ab) => 1 + size(&ab.0) + size(&ab.1),
        Formula::Select(cab) => 1 + size(&cab.0) + size(&cab.1) + size(&cab.2),
    }
}

/// How often the variable occurs.
fn uses(f: &Formula) -> usize {
    match f {
        Formula::Var(_) => 1,
        Formula::Const(_) => 0,
        Formula::Unary(_, a) => uses(a),
        Formula::Binary(_, ab) => uses(&ab.0) + uses(&ab.1),
        Formula::Select(cab) => uses(&cab.0) + uses(&cab.1) + uses(&cab.2),
    }
}

impl Elab<'_, '_> {
    /// The formula of a declared table under arguments for its parameters.
    pub(super) fn table_formula(
        &mut self,
        module: ModuleId,
        item: usize,
        table: &Table,
        args: Args,
        span: Span,
    ) -> Eval<Formula> {
        let mut env = Env::new(module);
        env.bind(&table.variable.text, Value::Formula(Rc::new(Formula::x()), 1));
        self.bind_scalars(&mut env, &table.params, &[], args, &table.name.text, span)?;
        self.enter(Def::Item(module, item), span, |elab| {
            let value = elab.expr(&mut env, &table.formula)?;
            match value {
                Value::Formula(..) | Value::Real(_) | Value::Dim(_) | Value::Bool(_) => {
                    Ok(elab.as_formula(&value, table.formula.span)?.0)
                }
                Value::Error => Err(Reported),
                other => {
                    let message = format!("a formula gives a number, but this is {}", other.sort());
                    elab.error(Code::E0701, table.formula.span, message, "must be a number")
                }
            }
        })
    }

    /// Calls a declared table. Without a value for its variable, the table with its parameters set.
    pub(super) fn call_table(
        &mut self,
        module: ModuleId,
        item: usize,
        table: &Table,
        mut args: Args,
        span: Span,
    ) -> Eval<Value> {
        let at = args
            .iter()
            .position(|a| a.name.as_ref().is_none_or(|n| n.text == table.variable.text));
        let variable = at.map(|at| args.remove(at));
        let formula = self.table_formula(module, item, table, args, span)?;
        let applied = TableValue {
            name: table.name.text.clone(),
            formula,
            open: None,
        };
        match variable {
            Some(x) => self.apply(&applied, &x.value, x.span, span),
            None => Ok(Value::Table(Rc::new(applied))),
        }
    }

    /// A table at a number, inside a formula, or elementwise on a tensor.
    pub(super) fn apply(&mut self, table: &TableValue, x: &Value, x_span: Span, span: Span) -> Eval<Value> {
        match x {
            Value::Real(_) | Value::Dim(_) => {
                let x = self.real(x, x_span)?;
                self.finite(table.formula.eval(x), span)
            }
            Value::Formula(inner, inner_size) => {
                let total = size(&table.formula) + uses(&table.formula).saturating_mul(*inner_size);
                if total > 1 << 12 {
                    return self.error(Code::E0006, span, "this formula has too many parts", "grows too large");
                }
                self.formula(table.formula.compose(inner), total, span)
            }
            _ => {
                let id = self.tensor(x, x_span)?;
                let ty = self.ty(id);
                if ty.elem != mlc_ir::Elem::Real {
                    let message = format!("`{}` is a function of real numbers, not of {ty}", table.name);
                    return self.error(Code::E0301, x_span, message, format!("is {ty}"));
                }
                let (name, formula) = (table.name.clone(), table.formula.clone());
                Ok(Value::Tensor(self.op(span, |g| g.table(&name, formula, id))?))
            }
        }
    }
}
