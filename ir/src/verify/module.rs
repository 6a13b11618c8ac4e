//! Declarations: invariants 1 to 5, and 11 to 15 as far as they concern declarations.

use super::{Place, VerifyError, Violation};
use crate::graph::{Module, State, Weight};
use crate::infer::least;
use crate::shape::Dim;
use crate::text::dim_name;
use crate::types::{Elem, INT_LIMIT, Stage, Type};

pub(super) fn check(module: &Module, errors: &mut Vec<VerifyError>) {
    let mut report = |kind, name: &str, violation| {
        errors.push(VerifyError {
            place: Place::Declaration(kind, name.to_owned()),
            span: None,
            violation,
        });
    };
    for (name, range) in &module.dims {
        if dim_name(name).is_none() {
            report("dimension", name, Violation::NotAnIdentifier(name.clone()));
        }
        if range.min > range.max || range.max > 1 << 31 {
            report(
                "dimension",
                name,
                Violation::Range {
                    min: range.min,
                    max: range.max,
                },
            );
        }
    }
    let past = || {
        module
            .dims
            .iter()
            .filter_map(|(name, r)| Some((name, r, r.before.as_ref()?)))
    };
    for (i, (name, range, tokens)) in past().enumerate() {
        let known = module
            .dims
            .get(tokens)
            .is_some_and(|t| t.before.is_none() && t.min <= range.max);
        if i > 0 || !known || range.min != 0 {
            report("dimension", name, Violation::Past);
        }
    }
    for (name, weight) in &module.weights {
        check_weight(module, weight, &mut |v| report("weight", name, v));
    }
    for name in module.tables.keys() {
        if module.stage == Stage::Real {
            report("table", name, Violation::StageItem(Stage::Real));
        }
    }
    for (name, state) in &module.states {
        check_state(module, state, &mut |v| report("state", name, v));
    }
}

fn check_weight(module: &Module, weight: &Weight, report: &mut dyn FnMut(Violation)) {
    check_type(module, &weight.ty, report);
    if !weight.ty.shape.is_const() {
        report(Violation::RuntimeWeight);
    }
    match (weight.recipe.shape(&weight.stack), weight.ty.shape.as_const()) {
        (Err(error), _) => report(Violation::Recipe(error)),
        (Ok(recipe), Some(declared)) if !recipe.iter().copied().eq(declared.iter().map(|d| *d as u64)) => {
            report(Violation::RecipeShape { recipe, declared });
        }
        _ => {}
    }
    if let Some(sum) = &weight.abs_sum {
        if module.stage == Stage::Real {
            report(Violation::StageItem(Stage::Real));
        }
        let ascending = sum.axes.windows(2).all(|w| w[0] < w[1]);
        if !ascending || sum.axes.iter().any(|a| *a >= weight.ty.shape.rank()) || sum.bound < 0 {
            report(Violation::AbsSum(sum.axes.clone()));
        }
    }
}

fn check_state(module: &Module, state: &State, report: &mut dyn FnMut(Violation)) {
    check_type(module, &state.ty, report);
    let grows = state.ty.shape.0.get(state.axis).is_some_and(|d| !d.is_const());
    if !grows || !matches!(state.ty.elem, Elem::Real | Elem::Int(_)) {
        report(Violation::State);
    }
}

/// Invariants 2, 11, 13, 14 and 15 for one type.
pub(super) fn check_type(module: &Module, ty: &Type, report: &mut dyn FnMut(Violation)) {
    for dim in &ty.shape.0 {
        check_length(module, dim, report);
    }
    match (module.stage, ty.elem) {
        (Stage::Real, Elem::Int(_)) | (Stage::Quantised, Elem::Real) => {
            report(Violation::StageElem {
                stage: module.stage,
                elem: ty.elem,
            });
        }
        (Stage::Quantised, Elem::Int(int)) => {
            if int.lo > int.hi || int.lo <= -INT_LIMIT || int.hi >= INT_LIMIT {
                report(Violation::Bounds { lo: int.lo, hi: int.hi });
            }
            if !(int.scale.is_finite() && int.scale > 0.0) {
                report(Violation::NotANumber("the scale"));
            }
        }
        _ => {}
    }
}

/// Invariant 2 for a length.
fn check_length(module: &Module, dim: &Dim, report: &mut dyn FnMut(Violation)) {
    if check_declared(module, dim, report) && least(module, dim) < 0 {
        report(Violation::NegativeLength(dim.clone()));
    }
}

/// Invariant 2 for any affine form: true where it holds.
pub(super) fn check_declared(module: &Module, dim: &Dim, report: &mut dyn FnMut(Violation)) -> bool {
    let mut declared = true;
    for (name, _) in dim.terms() {
        if !module.dims.contains_key(name) {
            declared = false;
            report(Violation::UndeclaredDim(name.to_owned()));
        }
    }
    declared
}
