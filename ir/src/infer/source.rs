//! Weights, constants, states, and repeat regions.

use std::collections::BTreeSet;

use super::{InferErrorKind, Inferred, Operand, Scope, number};
use crate::graph::{Region, StackAxis, ValueId};
use crate::op::{BinaryOp, Literal, Op, Repeat};
use crate::recipe::Template;
use crate::shape::{Bindings, Dim, Shape};
use crate::types::{Elem, Type};

pub(super) fn weight(scope: Scope<'_>, name: &str) -> Inferred {
    let weight = scope.module.weights.get(name);
    let weight = weight.ok_or_else(|| InferErrorKind::Unknown {
        what: "weight",
        name: name.to_owned(),
    })?;
    check_stack(scope, "weight", name, &weight.stack)?;
    Ok(weight.ty.clone())
}

pub(super) fn literal(literal: &Literal) -> Inferred {
    Ok(match literal {
        Literal::Real(tensor) => Type::real(Shape::new(tensor.shape.iter().copied())),
        Literal::Integers { elem, data } => {
            if *elem == Elem::Real {
                return Err(InferErrorKind::Attribute("a constant of integers is not real"));
            }
            let (lo, hi) = match elem {
                Elem::Int(int) => (int.lo, int.hi),
                Elem::Index(vocab) => (0, i64::try_from(*vocab).unwrap_or(i64::MAX).saturating_sub(1)),
                Elem::Real | Elem::Mask => (0, 1),
            };
            if data.data.iter().any(|v| *v < lo || *v > hi) {
                return Err(InferErrorKind::Attribute("a constant is within the bounds of its type"));
            }
            Type {
                elem: *elem,
                shape: Shape::new(data.shape.iter().copied()),
            }
        }
    })
}

pub(super) fn state_read(scope: Scope<'_>, name: &str) -> Inferred {
    let state = scope.module.states.get(name);
    let state = state.ok_or_else(|| InferErrorKind::Unknown {
        what: "state",
        name: name.to_owned(),
    })?;
    check_stack(scope, "state", name, &state.stack)?;
    Ok(state.ty.clone())
}

pub(super) fn state_append(scope: Scope<'_>, name: &str, x: &Type) -> Inferred {
    let before = state_read(scope, name)?;
    number(0, x)?;
    let axis = scope.module.states.get(name).map_or(0, |s| s.axis);
    let grown = super::layout::concat(axis, &[&before, x])?;
    if grown.elem != before.elem {
        return Err(InferErrorKind::Region {
            what: "operand",
            position: 0,
            found: Box::new(x.clone()),
            expected: Box::new(x.with_shape(x.shape.clone())),
        });
    }
    Ok(grown)
}

/// A weight or state stacked over regions is used inside exactly those (not counting unstacked regions between them).
fn check_stack(scope: Scope<'_>, what: &'static str, name: &str, declared: &[StackAxis]) -> Result<(), InferErrorKind> {
    let mut around = scope.stack.iter();
    if declared.iter().all(|axis| around.any(|s| s == axis)) {
        return Ok(());
    }
    let list = |axes: &[StackAxis]| {
        axes.iter()
            .map(|a| format!("{} < {}", a.index, a.count))
            .collect::<Vec<_>>()
            .join(", ")
    };
    Err(InferErrorKind::Stack {
        what,
        name: name.to_owned(),
        declared: list(declared),
        found: list(scope.stack),
    })
}

/// Greatest number of names that one template of a table stands for.
const MAX_EXPANSIONS: u64 = 1 << 16;

/// Every name that a template takes within the enclosing regions, in order of iteration.
pub(super) fn expansions(scope: Scope<'_>, template: &Template) -> Result<Vec<String>, InferErrorKind> {
    let used = template.indices();
    let mut bindings = vec![Bindings::new()];
    for axis in scope.stack.iter().filter(|a| used.contains(&a.index)) {
        if axis.count.saturating_mul(bindings.len() as u64) > MAX_EXPANSIONS {
            return Err(InferErrorKind::Attribute("a template takes too many names"));
        }
        let extend = |b: &Bindings| {
            let b = b.clone();
            (0..axis.count).map(move |i| {
                let mut b = b.clone();
                b.insert(axis.index.clone(), i as i64);
                b
            })
        };
        bindings = bindings.iter().flat_map(extend).collect();
    }
    let expand = |b: &Bindings| {
        template.expand(b).map_err(|_| InferErrorKind::Unknown {
            what: "repeat index in",
            name: template.to_string(),
        })
    };
    bindings.iter().map(expand).collect()
}

pub(super) fn repeat(scope: Scope<'_>, repeat: &Repeat, operands: &[Operand<'_>]) -> Result<Vec<Type>, InferErrorKind> {
    let body = &repeat.body;
    if repeat.count == 0 {
        return Err(InferErrorKind::Attribute("a region is repeated at least once"));
    }
    if operands.len() != body.params.len() || repeat.carried > operands.len() {
        let expected = body.params.len().max(repeat.carried);
        return Err(InferErrorKind::OperandCount {
            least: expected,
            most: expected,
            found: operands.len(),
        });
    }
    if body.results.len() < repeat.carried {
        return Err(InferErrorKind::Attribute(
            "the body gives a next value for every carried one",
        ));
    }
    let stacked = |ty: &Type| {
        let dims = std::iter::once(Dim::fixed(repeat.count as i64)).chain(ty.shape.0.iter().cloned());
        ty.with_shape(Shape(dims.collect()))
    };
    let ty = |id: &ValueId| &scope.values[id.index()].ty;
    let mut results = Vec::new();
    for (position, (param, operand)) in body.params.iter().zip(operands).enumerate() {
        let (what, expected) = if position < repeat.carried {
            ("carried operand", ty(param).clone())
        } else {
            ("stacked operand", stacked(ty(param)))
        };
        check(what, position, operand.ty, &expected)?;
    }
    for (position, result) in body.results.iter().enumerate() {
        if position < repeat.carried {
            let carried = ty(&body.params[position]);
            if !accumulates(scope, repeat, position, operands[position].ty) {
                check("carried result", position, ty(result), carried)?;
            }
            results.push(carried.clone());
        } else {
            results.push(stacked(ty(result)));
        }
    }
    Ok(results)
}

/// True where the next value of carried value `position` is the carried value plus terms of the body, and the carried
/// value's bounds hold the first value plus `count` times the terms: a residual stream, whose bounds no single iteration
/// proves. The terms do not see the stream's bounds themselves: their types are what they are whatever it is.
fn accumulates(scope: Scope<'_>, repeat: &Repeat, position: usize, first: &Type) -> bool {
    let body = &repeat.body;
    let (Some(param), Some(mut at)) = (body.params.get(position), body.results.get(position).copied()) else {
        return false;
    };
    let elem = |id: ValueId| scope.values.get(id.index()).and_then(|v| v.ty.elem.int());
    let (Some(carried), Some(first)) = (elem(*param), first.elem.int()) else {
        return false;
    };
    if scope.values[param.index()].ty.shape != scope.values[at.index()].ty.shape {
        return false;
    }
    let (mut lo, mut hi) = (i128::from(first.lo), i128::from(first.hi));
    // Up the chain of sums, through the operand that leads to the parameter.
    let sums = sums_with(body, *param);
    let leads = |id: ValueId| sums.contains(&id);
    while at != *param {
        let Some(node) = body.nodes.iter().find(|n| n.results.contains(&at)) else {
            return false;
        };
        let (Op::Binary(BinaryOp::Add), [a, b]) = (&node.op, &node.operands[..]) else {
            return false;
        };
        let (next, term) = if leads(*a) { (*a, *b) } else { (*b, *a) };
        let Some(term) = elem(term).filter(|t| t.scale == carried.scale && leads(next)) else {
            return false;
        };
        lo += i128::from(repeat.count) * i128::from(term.lo.min(0));
        hi += i128::from(repeat.count) * i128::from(term.hi.max(0));
        at = next;
    }
    first.scale == carried.scale && lo >= i128::from(carried.lo) && hi <= i128::from(carried.hi)
}

/// The parameter and every sum with it somewhere among its terms.
fn sums_with(body: &Region, param: ValueId) -> BTreeSet<ValueId> {
    let mut out = BTreeSet::from([param]);
    for node in &body.nodes {
        if node.op == Op::Binary(BinaryOp::Add) && node.operands.iter().any(|id| out.contains(id)) {
            out.extend(&node.results);
        }
    }
    out
}

/// `found` may stand where `expected` is: equal, but for integer bounds, which may be narrower.
fn check(what: &'static str, position: usize, found: &Type, expected: &Type) -> Result<(), InferErrorKind> {
    if fits(found, expected) {
        return Ok(());
    }
    Err(InferErrorKind::Region {
        what,
        position,
        found: Box::new(found.clone()),
        expected: Box::new(expected.clone()),
    })
}

/// True where every tensor of type `found` is one of type `expected`.
pub(crate) fn fits(found: &Type, expected: &Type) -> bool {
    found.shape == expected.shape
        && match (found.elem, expected.elem) {
            (Elem::Int(f), Elem::Int(e)) => f.scale == e.scale && f.lo >= e.lo && f.hi <= e.hi,
            (Elem::Index(f), Elem::Index(e)) => f <= e,
            (f, e) => f == e,
        }
}
