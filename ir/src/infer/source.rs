//! Weights, constants, states, and repeat regions.

use super::{InferErrorKind, Inferred, Operand, Scope, number};
use crate::graph::StackAxis;
use crate::op::{Literal, Repeat};
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
    let ty = |id: &crate::graph::ValueId| &scope.values[id.index()].ty;
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
            check("carried result", position, ty(result), carried)?;
            results.push(carried.clone());
        } else {
            results.push(stacked(ty(result)));
        }
    }
    Ok(results)
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
