//! The reference evaluator of recipes: plain loops in `f64`.

use std::collections::BTreeMap;

use thiserror::Error;

use super::Recipe;
use crate::kernel::{self, KernelError};
use crate::shape::{Bindings, DimError};
use crate::tensor::{Tensor, TensorF32};

/// Where named tensors come from.
pub trait WeightSource {
    /// The tensor `name`.
    fn get(&self, name: &str) -> Result<TensorF32, RecipeError>;

    /// True where there is a tensor `name`.
    fn contains(&self, name: &str) -> bool;
}

impl WeightSource for BTreeMap<String, TensorF32> {
    fn get(&self, name: &str) -> Result<TensorF32, RecipeError> {
        BTreeMap::get(self, name)
            .cloned()
            .ok_or_else(|| RecipeError::Missing(name.to_owned()))
    }

    fn contains(&self, name: &str) -> bool {
        self.contains_key(name)
    }
}

/// Why a recipe has no value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecipeError {
    /// No tensor of that name.
    #[error("there is no tensor `{0}`")]
    Missing(String),
    /// The source could not read the tensor.
    #[error("tensor `{name}` cannot be read: {why}")]
    Unreadable {
        /// Its name.
        name: String,
        /// What the source says.
        why: String,
    },
    /// The tensor has another shape than the recipe says.
    #[error("tensor `{name}` has shape {found:?}, the recipe says {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The recipe's.
        expected: Vec<u64>,
    },
    /// An index that is not bound, or a bad position.
    #[error(transparent)]
    Dim(#[from] DimError),
    /// A step of the recipe does not fit the shapes.
    #[error("a recipe's step does not fit: {0}")]
    Kernel(#[from] KernelError),
    /// A list has no item for this iteration.
    #[error("a stack over `{index}` has no item {position}")]
    Stack {
        /// The index.
        index: String,
        /// Its value.
        position: i64,
    },
    /// A formula, concatenation or choice of nothing.
    #[error("a step of the recipe has no inputs")]
    Empty,
    /// None of the alternatives exists.
    #[error("none of the alternatives exists: {0}")]
    NoAlternative(String),
}

impl Recipe {
    /// The value of the recipe, with `bindings` of the repeat indices.
    pub fn eval(&self, source: &dyn WeightSource, bindings: &Bindings) -> Result<Tensor<f64>, RecipeError> {
        match self {
            Recipe::Tensor { name, shape } => {
                let name = name.expand(bindings)?;
                let tensor = source.get(&name)?;
                if !tensor.shape.iter().map(|d| *d as u64).eq(shape.iter().copied()) {
                    return Err(RecipeError::Shape {
                        name,
                        found: tensor.shape,
                        expected: shape.clone(),
                    });
                }
                Ok(tensor.map(|v| f64::from(*v)))
            }
            Recipe::Const(tensor) => Ok(tensor.map(|v| f64::from(*v))),
            Recipe::Slice {
                input,
                axis,
                start,
                len,
                step,
            } => {
                let input = input.eval(source, bindings)?;
                Ok(kernel::slice(
                    &input,
                    *axis,
                    start.eval(bindings)?,
                    *len as usize,
                    *step as usize,
                )?)
            }
            Recipe::Transpose { input, perm } => Ok(kernel::transpose(&input.eval(source, bindings)?, perm)?),
            Recipe::Reshape { input, shape } => {
                let shape = shape.iter().map(|d| *d as usize).collect();
                Ok(kernel::reshape(input.eval(source, bindings)?, shape)?)
            }
            Recipe::Map { formula, inputs } => {
                let inputs = eval_all(inputs, source, bindings)?;
                let views: Vec<&Tensor<f64>> = inputs.iter().collect();
                Ok(kernel::zip(&views, |values| formula.eval_with(values))?)
            }
            Recipe::Concat { axis, inputs } => {
                let inputs = eval_all(inputs, source, bindings)?;
                Ok(kernel::concat(&inputs.iter().collect::<Vec<_>>(), *axis)?)
            }
            Recipe::Contract { einsum, lhs, rhs } => {
                let (lhs, rhs) = (lhs.eval(source, bindings)?, rhs.eval(source, bindings)?);
                Ok(kernel::contract(einsum, &lhs, &rhs, 0.0, |sum, a, b| sum + a * b)?)
            }
            Recipe::Stack { index, items } => {
                let position = *bindings.get(index).ok_or_else(|| DimError::Unbound(index.clone()))?;
                let item = usize::try_from(position).ok().and_then(|i| items.get(i));
                let item = item.ok_or_else(|| RecipeError::Stack {
                    index: index.clone(),
                    position,
                })?;
                item.eval(source, bindings)
            }
            Recipe::FirstOf(options) => {
                for option in options {
                    if option.exists(source, bindings)? {
                        return option.eval(source, bindings);
                    }
                }
                let mut names = Vec::new();
                for option in options {
                    names.extend(option.tensor_names(bindings)?);
                }
                Err(RecipeError::NoAlternative(names.join(", ")))
            }
        }
    }

    /// Names of the tensors that the recipe reads under `bindings`, all alternatives included.
    pub fn tensor_names(&self, bindings: &Bindings) -> Result<Vec<String>, RecipeError> {
        Ok(self.tensors(bindings)?.into_iter().map(|(name, _)| name).collect())
    }

    /// The same with the shapes that they have in their file.
    pub fn tensors(&self, bindings: &Bindings) -> Result<Vec<(String, Vec<u64>)>, RecipeError> {
        match self {
            Recipe::Tensor { name, shape } => Ok(vec![(name.expand(bindings)?, shape.clone())]),
            Recipe::Stack { index, items } => {
                let position = *bindings.get(index).ok_or_else(|| DimError::Unbound(index.clone()))?;
                let item = usize::try_from(position).ok().and_then(|i| items.get(i));
                item.ok_or_else(|| RecipeError::Stack {
                    index: index.clone(),
                    position,
                })?
                .tensors(bindings)
            }
            _ => {
                let mut tensors = Vec::new();
                for input in self.inputs() {
                    tensors.extend(input.tensors(bindings)?);
                }
                Ok(tensors)
            }
        }
    }

    fn exists(&self, source: &dyn WeightSource, bindings: &Bindings) -> Result<bool, RecipeError> {
        Ok(self.tensor_names(bindings)?.iter().all(|name| source.contains(name)))
    }
}

fn eval_all(
    recipes: &[Recipe],
    source: &dyn WeightSource,
    bindings: &Bindings,
) -> Result<Vec<Tensor<f64>>, RecipeError> {
    if recipes.is_empty() {
        return Err(RecipeError::Empty);
    }
    recipes.iter().map(|r| r.eval(source, bindings)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dim, Einsum, Formula};

    fn source() -> BTreeMap<String, TensorF32> {
        let tensor = |shape: &[usize], data: &[f32]| Tensor {
            shape: shape.to_vec(),
            data: data.to_vec(),
        };
        [
            ("w", tensor(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
            ("gamma", tensor(&[2], &[2.0, 3.0])),
            ("var", tensor(&[2], &[3.0, 8.0])),
            ("v.0", tensor(&[2], &[10.0, 20.0])),
            ("v.2", tensor(&[2], &[30.0, 40.0])),
        ]
        .map(|(name, t)| (name.to_owned(), t))
        .into()
    }

    fn named(name: &str, shape: &[u64]) -> Recipe {
        Recipe::tensor(name, shape.iter().copied()).unwrap()
    }

    fn eval(recipe: &Recipe, l: i64) -> Result<Tensor<f64>, RecipeError> {
        recipe.eval(&source(), &Bindings::from([("l".into(), l)]))
    }

    #[test]
    fn a_batch_norm_folds_into_the_filters() {
        // w · (gamma / sqrt(var + eps)) per output channel.
        let gain = Formula::var(0) / (Formula::var(1) + 1.0).sqrt();
        let gain = Recipe::map(gain, [named("gamma", &[2]), named("var", &[2])]).reshape([2, 1]);
        let folded = named("w", &[2, 3]).times(gain);
        assert_eq!(eval(&folded, 0).unwrap().data, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(folded.shape(&[]), Ok(vec![2, 3]));
    }

    #[test]
    fn integers_are_rounded_to_even_and_clamped() {
        let integers = named("w", &[2, 3]).quantise(2.0, -2, 2);
        assert_eq!(eval(&integers, 0).unwrap().data, [0.0, 1.0, 2.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    fn views_move_elements() {
        let w = || named("w", &[2, 3]);
        assert_eq!(
            eval(&w().transpose([1, 0]), 0).unwrap().data,
            [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
        );
        let every_other = Recipe::Slice {
            input: Box::new(w()),
            axis: 1,
            start: Dim::fixed(0),
            len: 2,
            step: 2,
        };
        assert_eq!(eval(&every_other, 0).unwrap().data, [1.0, 3.0, 4.0, 6.0]);
        let row = w().slice(0, Dim::runtime("l"), 1);
        assert_eq!(eval(&row, 1).unwrap().data, [4.0, 5.0, 6.0]);
        let both = Recipe::Concat {
            axis: 1,
            inputs: vec![row, w().slice(0, 0i64, 1)],
        };
        assert_eq!(eval(&both, 1).unwrap().data, [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
        let einsum = Einsum::parse("oi,o->i").unwrap();
        let shifted = Recipe::Contract {
            einsum,
            lhs: Box::new(w()),
            rhs: Box::new(named("gamma", &[2])),
        };
        assert_eq!(eval(&shifted, 0).unwrap().data, [14.0, 19.0, 24.0]);
    }

    #[test]
    fn names_stack_and_have_alternatives() {
        let template = named("v.{2*l}", &[2]);
        assert_eq!(eval(&template, 1).unwrap().data, [30.0, 40.0]);
        let stack = Recipe::Stack {
            index: "l".into(),
            items: vec![named("gamma", &[2]), named("var", &[2])],
        };
        assert_eq!(eval(&stack, 1).unwrap().data, [3.0, 8.0]);
        assert_eq!(
            eval(&stack, 2),
            Err(RecipeError::Stack {
                index: "l".into(),
                position: 2
            })
        );
        let either = Recipe::FirstOf(vec![named("bias.{l}", &[2]), template]);
        assert_eq!(eval(&either, 0).unwrap().data, [10.0, 20.0]);
        assert_eq!(eval(&either, 2), Err(RecipeError::NoAlternative("bias.2, v.4".into())));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(eval(&named("u", &[2]), 0), Err(RecipeError::Missing("u".into())));
        let shape = RecipeError::Shape {
            name: "w".into(),
            found: vec![2, 3],
            expected: vec![3, 2],
        };
        assert_eq!(eval(&named("w", &[3, 2]), 0), Err(shape));
        let unbound = named("v.{m}", &[2]).eval(&source(), &Bindings::new());
        assert_eq!(unbound, Err(RecipeError::Dim(DimError::Unbound("m".into()))));
        let outside = eval(&named("w", &[2, 3]).slice(0, Dim::runtime("l"), 2), 1);
        assert!(matches!(outside, Err(RecipeError::Kernel(_))));
        assert_eq!(eval(&Recipe::map(Formula::x(), []), 0), Err(RecipeError::Empty));
    }
}
