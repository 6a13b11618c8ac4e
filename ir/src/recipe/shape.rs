//! The shape of a recipe's value, without data.

use thiserror::Error;

use super::Recipe;
use crate::graph::StackAxis;
use crate::shape::Dim;

/// A recipe whose steps do not fit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{step}: {why}")]
pub struct RecipeShapeError {
    /// The step: `slice`, `map`, …
    pub step: &'static str,
    /// What does not fit.
    pub why: String,
}

fn fail<T>(step: &'static str, why: impl Into<String>) -> Result<T, RecipeShapeError> {
    Err(RecipeShapeError { step, why: why.into() })
}

impl Recipe {
    /// The shape of the value within one iteration of the regions `stack`, whose indices (and no others) it may use.
    pub fn shape(&self, stack: &[StackAxis]) -> Result<Vec<u64>, RecipeShapeError> {
        match self {
            Recipe::Tensor { name, shape } => {
                for index in name.indices() {
                    bound("tensor", &index, stack)?;
                }
                Ok(shape.clone())
            }
            Recipe::Const(tensor) => Ok(tensor.shape.iter().map(|d| *d as u64).collect()),
            Recipe::Slice {
                input,
                axis,
                start,
                len,
                step,
            } => {
                let mut shape = input.shape(stack)?;
                let Some(extent) = shape.get_mut(*axis) else {
                    return fail("slice", format!("there is no axis {axis} in {shape:?}"));
                };
                let (first, last) = range(start, stack)?;
                let span = i128::from(len.saturating_sub(1)) * i128::from(*step) + i128::from(*len > 0);
                if *step == 0 || first < 0 || last + span > i128::from(*extent) {
                    return fail(
                        "slice",
                        format!("{len} positions from {start} by {step} leave an axis of {extent}"),
                    );
                }
                *extent = *len;
                Ok(shape)
            }
            Recipe::Transpose { input, perm } => {
                let shape = input.shape(stack)?;
                let mut sorted = perm.clone();
                sorted.sort_unstable();
                if !sorted.into_iter().eq(0..shape.len()) {
                    return fail(
                        "transpose",
                        format!("{perm:?} is no permutation of the axes of {shape:?}"),
                    );
                }
                Ok(perm.iter().map(|a| shape[*a]).collect())
            }
            Recipe::Reshape { input, shape } => {
                let from = input.shape(stack)?;
                if numel(&from) != numel(shape) {
                    return fail(
                        "reshape",
                        format!("{from:?} and {shape:?} differ in the number of elements"),
                    );
                }
                Ok(shape.clone())
            }
            Recipe::Map { formula, inputs } => {
                let shapes = shapes("map", inputs, stack)?;
                if formula.arity() as usize > inputs.len() {
                    return fail("map", format!("{} variables, {} inputs", formula.arity(), inputs.len()));
                }
                broadcast(&shapes)
            }
            Recipe::Concat { axis, inputs } => {
                let shapes = shapes("concat", inputs, stack)?;
                let mut out = shapes[0].clone();
                for shape in &shapes[1..] {
                    let agrees = |i: usize| i == *axis || shape[i] == out[i];
                    if shape.len() != out.len() || !(0..out.len()).all(agrees) || *axis >= out.len() {
                        return fail("concat", format!("{out:?} and {shape:?} along axis {axis}"));
                    }
                    out[*axis] = out[*axis].saturating_add(shape[*axis]);
                }
                if *axis >= out.len() {
                    return fail("concat", format!("there is no axis {axis} in {out:?}"));
                }
                Ok(out)
            }
            Recipe::Contract { einsum, lhs, rhs } => {
                let sides = [(einsum.lhs(), lhs.shape(stack)?), (einsum.rhs(), rhs.shape(stack)?)];
                let mut extents = std::collections::BTreeMap::new();
                for (labels, shape) in &sides {
                    if labels.len() != shape.len() {
                        return fail(
                            "contract",
                            format!("`{labels}` labels {} axes, not {shape:?}", labels.len()),
                        );
                    }
                    for (label, d) in labels.chars().zip(shape) {
                        if *extents.entry(label).or_insert(*d) != *d {
                            return fail("contract", format!("label `{label}` has two lengths"));
                        }
                    }
                }
                Ok(einsum.out().chars().filter_map(|l| extents.get(&l).copied()).collect())
            }
            Recipe::Stack { index, items } => {
                let count = bound("stack", index, stack)?;
                if items.len() as u64 != count {
                    return fail(
                        "stack",
                        format!("{} items for {count} iterations of `{index}`", items.len()),
                    );
                }
                alike("stack", items, stack)
            }
            Recipe::FirstOf(options) => alike("first_of", options, stack),
        }
    }
}

/// The count of the region whose index is `index`.
fn bound(step: &'static str, index: &str, stack: &[StackAxis]) -> Result<u64, RecipeShapeError> {
    match stack.iter().find(|a| a.index == index) {
        Some(axis) => Ok(axis.count),
        None => fail(
            step,
            format!("`{index}` is not the index of a region that the weight is stacked over"),
        ),
    }
}

/// Least and greatest value of an affine form over the iterations.
fn range(dim: &Dim, stack: &[StackAxis]) -> Result<(i128, i128), RecipeShapeError> {
    let (mut lo, mut hi) = (i128::from(dim.constant()), i128::from(dim.constant()));
    for (name, coefficient) in dim.terms() {
        let last = i128::from(bound("slice", name, stack)?.saturating_sub(1)) * i128::from(coefficient);
        lo += last.min(0);
        hi += last.max(0);
    }
    Ok((lo, hi))
}

fn numel(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d))
}

fn shapes(step: &'static str, recipes: &[Recipe], stack: &[StackAxis]) -> Result<Vec<Vec<u64>>, RecipeShapeError> {
    if recipes.is_empty() {
        return fail(step, "it has no inputs");
    }
    recipes.iter().map(|r| r.shape(stack)).collect()
}

fn alike(step: &'static str, recipes: &[Recipe], stack: &[StackAxis]) -> Result<Vec<u64>, RecipeShapeError> {
    let mut shapes = shapes(step, recipes, stack)?;
    if let Some(other) = shapes.iter().find(|s| **s != shapes[0]) {
        return fail(step, format!("{:?} and {other:?} differ", shapes[0]));
    }
    Ok(shapes.swap_remove(0))
}

fn broadcast(shapes: &[Vec<u64>]) -> Result<Vec<u64>, RecipeShapeError> {
    let rank = shapes.iter().map(Vec::len).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for shape in shapes {
        for (slot, d) in out[rank - shape.len()..].iter_mut().zip(shape) {
            if *slot == 1 {
                *slot = *d;
            } else if *d != 1 && *d != *slot {
                return fail("map", format!("{shapes:?} do not broadcast"));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Formula, TensorF32};

    fn stack() -> Vec<StackAxis> {
        vec![StackAxis {
            index: "l".into(),
            count: 3,
        }]
    }

    #[test]
    fn shapes_follow_the_steps() {
        let qkv = Recipe::tensor("l.{l}.qkv", [24, 8]).unwrap();
        let q = qkv.clone().slice(0, 8i64, 8).reshape([2, 4, 8]).transpose([2, 0, 1]);
        assert_eq!(q.shape(&stack()), Ok(vec![8, 2, 4]));
        let stacked = Recipe::tensor("all", [12, 5])
            .unwrap()
            .slice(0, Dim::runtime("l").times(4), 4);
        assert_eq!(stacked.shape(&stack()), Ok(vec![4, 5]));
        let gained = stacked.times(Recipe::constant(TensorF32::new(vec![4, 1], vec![1.0; 4]).unwrap()));
        assert_eq!(gained.shape(&stack()), Ok(vec![4, 5]));
    }

    #[test]
    fn steps_that_do_not_fit_are_refused() {
        let w = || Recipe::tensor("w", [2, 3]).unwrap();
        let bad = [
            Recipe::tensor("w.{m}", [2]).unwrap(),
            w().slice(2, 0i64, 1),
            w().slice(1, 2i64, 2),
            Recipe::tensor("all", [11, 5])
                .unwrap()
                .slice(0, Dim::runtime("l").times(4), 4),
            w().transpose([0, 0]),
            w().reshape([7]),
            Recipe::map(Formula::var(1), [w()]),
            Recipe::map(Formula::x(), []),
            w().plus(Recipe::tensor("b", [2]).unwrap()),
            Recipe::Concat {
                axis: 0,
                inputs: vec![w(), Recipe::tensor("v", [2, 4]).unwrap()],
            },
            Recipe::Stack {
                index: "l".into(),
                items: vec![w(), w()],
            },
            Recipe::FirstOf(vec![w(), w().transpose([1, 0])]),
        ];
        for recipe in bad {
            assert!(recipe.shape(&stack()).is_err(), "{recipe:?}");
        }
    }
}
