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
        match self {
            Recipe::Tensor { name, .. } => Ok(vec![name.expand(bindings)?]),
            Recipe::Stack { index, items } => {
                let position = *bindings.get(index).ok_or_else(|| DimError::Unbound(index.clone()))?;
                let item = usize::try_from(position).ok().and_then(|i| items.get(i));
                item.ok_or_else(|| RecipeError::Stack {
                    index: index.clone(),
                    position,
                })?
                .tensor_names(bindings)
            }
            _ => {
                let mut names = Vec::new();
                for input in self.inputs() {
                    names.extend(input.tensor_names(bindings)?);
                }
                Ok(names)
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
