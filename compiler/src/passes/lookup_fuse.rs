//! Lookup fusion: chains of elementwise functions become one function, next to the sum that feeds it.
//!
//! **Invariant**: no table reads another table, a product or sum with a constant, or a view, that nothing else uses; a
//! maximum with a constant is a table; an increasing table does not follow a maximum pool. So the quantise pass makes one
//! lookup of requantisation, all functions and the clamp. Values change by rounding only.
//!
//! **Functions of one value.** Exporters write GELU, SiLU and their like as several operations that read one value:
//! `x * (0.5 * (erf(x / sqrt(2)) + 1))`. An operation both of whose operands are functions of the same value, at least one of
//! them more than arithmetic, is one function of it, whatever the pattern is called.

use mlc_ir::formula::{Binary, Unary};
use mlc_ir::{BinaryOp, Formula, Literal, Module, Node, Op, PoolKind, Stage, ValueId};

use super::PassError;
use super::rewrite::{Rewrite, Rewriter, rewrite};

/// Fuses elementwise functions.
pub fn lookup_fuse(mut module: Module) -> Result<Module, PassError> {
    if module.stage == Stage::Quantised {
        return Ok(module);
    }
    rewrite(&mut module, &mut |rewriter, node| {
        if let Some((name, formula, x)) = of_one_value(rewriter, &node) {
            let fused = Node {
                op: Op::Table { name, formula },
                operands: vec![x],
                ..node
            };
            return Ok(Rewrite::Keep(fused));
        }
        let Some((name, formula, x)) = as_function(rewriter, &node) else {
            return Ok(Rewrite::Keep(node));
        };
        let span = node.span.clone();
        let label = rewriter.entry.value(node.results[0]).name.clone();
        let (formula, x) = absorb(rewriter, formula, x);
        // A lone product or sum with a constant is none: scales have it for nothing.
        let mut worth =
            matches!(node.op, Op::Table { .. } | Op::Binary(BinaryOp::Max | BinaryOp::Min)) || x != node.operands[0];
        let near = (formula.clone(), x, worth);
        // Views between the function and what feeds it move behind it.
        let (mut formula, mut inner, mut views) = (formula, x, Vec::new());
        while let Some(view) = rewriter.definition(inner).cloned()
            && rewriter.used_once(inner)
            && moves(&view.op, &formula)
        {
            (formula, inner) = absorb(rewriter, formula, view.operands[0]);
            worth |= inner != view.operands[0];
            views.push(view.op);
        }
        if !views.is_empty() && worth {
            let mut value = rewriter.emit(Op::Table { name, formula }, &[inner], &label, span.clone())?;
            for view in views.into_iter().rev() {
                value = rewriter.emit(view, &[value], &label, span.clone())?;
            }
            return Ok(Rewrite::Replace(value));
        }
        let mut node = node;
        let (formula, x, worth) = near;
        if worth {
            node.op = Op::Table { name, formula };
            node.operands = vec![x];
        }
        Ok(Rewrite::Keep(node))
    })?;
    Ok(module)
}

/// Greatest number of terms of a function that is put together from two operands.
const MOST_TERMS: usize = 200;

fn terms(formula: &Formula) -> usize {
    match formula {
        Formula::Var(_) | Formula::Const(_) => 1,
        Formula::Unary(_, a) => 1 + terms(a),
        Formula::Binary(_, ab) => 1 + terms(&ab.0) + terms(&ab.1),
        Formula::Select(cab) => 1 + terms(&cab.0) + terms(&cab.1) + terms(&cab.2),
    }
}

/// A value as a function of another, as far back as functions go; the name of a table on the way, if there is one.
pub(super) fn back(rewriter: &Rewriter<'_>, id: ValueId) -> (Formula, ValueId, Option<String>) {
    let here = (Formula::x(), id, None);
    // An operation of two values that are functions of one has become a table when it was come by.
    let Some(node) = rewriter.definition(id) else {
        return here;
    };
    let Some((name, formula, x)) = as_function(rewriter, node) else {
        return here;
    };
    let (inner, root, named) = back(rewriter, x);
    let whole = formula.compose(&inner);
    let own = matches!(node.op, Op::Table { .. }).then_some(name);
    match terms(&whole) <= MOST_TERMS {
        true => (whole, root, own.or(named)),
        false => here,
    }
}

/// A node of two operands as a function of the one value that both are functions of.
fn of_one_value(rewriter: &Rewriter<'_>, node: &Node) -> Option<(String, Formula, ValueId)> {
    let Op::Binary(op) = node.op else { return None };
    let result = *node.results.first()?;
    let sides = [back(rewriter, node.operands[0]), back(rewriter, node.operands[1])];
    let [(a, x, name), (b, y, other)] = sides;
    let name = name.or(other).filter(|_| x == y)?;
    let formula = apply(op, a, b)?;
    let fits = terms(&formula) <= MOST_TERMS && rewriter.entry.ty(x) == rewriter.entry.ty(result);
    fits.then_some((name, formula, x))
}

/// A node as a function of one value: tables, and operations with a constant that keep the type.
fn as_function(rewriter: &Rewriter<'_>, node: &Node) -> Option<(String, Formula, ValueId)> {
    let result = *node.results.first()?;
    match &node.op {
        Op::Table { name, formula } => Some((name.clone(), formula.clone(), node.operands[0])),
        Op::Binary(op) => {
            let constant = |id: ValueId| match &rewriter.definition(id)?.op {
                Op::Const(Literal::Real(t)) => super::uniform(t),
                _ => None,
            };
            let (a, b) = (node.operands[0], node.operands[1]);
            let (x, formula) = match (constant(a), constant(b)) {
                (None, Some(c)) => (a, apply(*op, Formula::x(), Formula::Const(c))?),
                (Some(c), None) => (b, apply(*op, Formula::Const(c), Formula::x())?),
                _ => return None,
            };
            let same = rewriter.entry.ty(x) == rewriter.entry.ty(result);
            same.then(|| (op.name().to_owned(), formula, x))
        }
        _ => None,
    }
}

fn apply(op: BinaryOp, a: Formula, b: Formula) -> Option<Formula> {
    Some(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Max => a.max(b),
        BinaryOp::Min => a.min(b),
        BinaryOp::And => return None,
    })
}

/// Composes the function with those that feed it and nothing else.
fn absorb(rewriter: &Rewriter<'_>, mut formula: Formula, mut x: ValueId) -> (Formula, ValueId) {
    while rewriter.used_once(x)
        && let Some(producer) = rewriter.definition(x)
        && let Some((_, inner, operand)) = as_function(rewriter, producer)
    {
        formula = formula.compose(&inner);
        x = operand;
    }
    (formula, x)
}

/// True where a view (or a maximum, for increasing functions) may follow the function instead of feeding it.
fn moves(op: &Op, formula: &Formula) -> bool {
    match op {
        Op::Reshape(_) | Op::Transpose(_) => true,
        Op::Pool(pool) => pool.kind == PoolKind::Max && pool.pad == [0; 4] && is_increasing(formula),
        _ => false,
    }
}

/// True where the formula's value never falls as `x` grows, by its structure.
pub(crate) fn is_increasing(formula: &Formula) -> bool {
    let constant = |f: &Formula| f.arity() == 0;
    match formula {
        Formula::Var(_) | Formula::Const(_) => true,
        Formula::Unary(op, a) => {
            matches!(op, Unary::Exp | Unary::Tanh | Unary::Erf | Unary::Floor | Unary::Round) && is_increasing(a)
        }
        Formula::Binary(op, ab) => match op {
            Binary::Add | Binary::Min | Binary::Max => is_increasing(&ab.0) && is_increasing(&ab.1),
            Binary::Sub | Binary::Div if constant(&ab.1) => {
                is_increasing(&ab.0) && (*op == Binary::Sub || ab.1.eval(0.0) > 0.0)
            }
            Binary::Mul => {
                let positive = |f: &Formula| constant(f) && f.eval(0.0) >= 0.0;
                (positive(&ab.0) && is_increasing(&ab.1)) || (positive(&ab.1) && is_increasing(&ab.0))
            }
            _ => false,
        },
        Formula::Select(_) => false,
    }
}
