//! Weight recipes: what a weight is made of, as data.
//!
//! A weight of the graph is not an array but a small expression over named tensors of the model's files: slices,
//! transposes, folded gains, the rounding to integers. Passes rewrite recipes and never see data; setup, the f32 track and
//! statistics evaluate them through one evaluator ([`Recipe::eval`]) against a [`WeightSource`].
//!
//! Inside `repeat` regions names are templates: in `"model.layers.{l}.mlp.weight"` the braces hold an affine form over
//! the indices of the enclosing regions (`{l}`, `{2*l+1}`). [`Recipe::Stack`] lists one recipe per iteration where names
//! follow no pattern (imported models).

mod eval;
mod shape;
mod template;

pub use eval::{RecipeError, WeightSource};
pub use shape::RecipeShapeError;
pub use template::{Template, TemplateError};

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::formula::Formula;
use crate::op::Einsum;
use crate::shape::Dim;
use crate::tensor::TensorF32;

/// How a weight is computed from named tensors. Values are `f64` while a recipe is evaluated.
#[derive(Debug, Clone, PartialEq)]
pub enum Recipe {
    /// A tensor of the model's files, which must have this shape.
    Tensor {
        /// Its name.
        name: Template,
        /// Its shape in the file.
        shape: Vec<u64>,
    },
    /// A tensor written in the recipe itself.
    Const(Arc<TensorF32>),
    /// `len` positions of `axis`, from `start` (affine in the repeat indices) in steps of `step`.
    Slice {
        /// What is sliced.
        input: Box<Recipe>,
        /// Axis, from 0.
        axis: usize,
        /// First position.
        start: Dim,
        /// Number of positions taken.
        len: u64,
        /// Distance between positions, at least 1.
        step: u64,
    },
    /// Axis `i` of the result is axis `perm[i]` of the input.
    Transpose {
        /// What is transposed.
        input: Box<Recipe>,
        /// A permutation of the axes.
        perm: Vec<usize>,
    },
    /// The same elements in row-major order with other axes.
    Reshape {
        /// What is reshaped.
        input: Box<Recipe>,
        /// The new axes.
        shape: Vec<u64>,
    },
    /// A formula applied elementwise; variable `n` is `inputs[n]`, with numpy broadcasting.
    Map {
        /// What is computed.
        formula: Formula,
        /// Its variables; at least one.
        inputs: Vec<Recipe>,
    },
    /// Inputs joined along an axis.
    Concat {
        /// Axis, from 0.
        axis: usize,
        /// The parts, at least one.
        inputs: Vec<Recipe>,
    },
    /// A product of two recipes (folding a shift through a matrix).
    Contract {
        /// Labels of operands and result.
        einsum: Einsum,
        /// Left operand.
        lhs: Box<Recipe>,
        /// Right operand.
        rhs: Box<Recipe>,
    },
    /// `items[index]`, where `index` is the index of an enclosing repeat region.
    Stack {
        /// Name of the index.
        index: String,
        /// One recipe per iteration, all of one shape.
        items: Vec<Recipe>,
    },
    /// The first whose tensors all exist (bindings with alternatives); all of one shape.
    FirstOf(Vec<Recipe>),
}

impl Recipe {
    /// The tensor `name` (a template) of the given shape.
    pub fn tensor(name: &str, shape: impl IntoIterator<Item = u64>) -> Result<Recipe, TemplateError> {
        Ok(Recipe::Tensor {
            name: Template::parse(name)?,
            shape: shape.into_iter().collect(),
        })
    }

    /// A literal tensor.
    pub fn constant(tensor: TensorF32) -> Recipe {
        Recipe::Const(Arc::new(tensor))
    }

    /// This recipe with its axes permuted.
    #[must_use]
    pub fn transpose(self, perm: impl IntoIterator<Item = usize>) -> Recipe {
        Recipe::Transpose {
            input: Box::new(self),
            perm: perm.into_iter().collect(),
        }
    }

    /// This recipe with other axes.
    #[must_use]
    pub fn reshape(self, shape: impl IntoIterator<Item = u64>) -> Recipe {
        Recipe::Reshape {
            input: Box::new(self),
            shape: shape.into_iter().collect(),
        }
    }

    /// `len` positions of `axis` from `start`.
    #[must_use]
    pub fn slice(self, axis: usize, start: impl Into<Dim>, len: u64) -> Recipe {
        Recipe::Slice {
            input: Box::new(self),
            axis,
            start: start.into(),
            len,
            step: 1,
        }
    }

    /// `formula` over `inputs`.
    pub fn map(formula: Formula, inputs: impl IntoIterator<Item = Recipe>) -> Recipe {
        Recipe::Map {
            formula,
            inputs: inputs.into_iter().collect(),
        }
    }

    /// `self · gain`, broadcast.
    #[must_use]
    pub fn times(self, gain: Recipe) -> Recipe {
        Recipe::map(Formula::var(0) * Formula::var(1), [self, gain])
    }

    /// `self + offset`, broadcast.
    #[must_use]
    pub fn plus(self, offset: Recipe) -> Recipe {
        Recipe::map(Formula::var(0) + Formula::var(1), [self, offset])
    }

    /// `round(self / scale)` clamped to `lo..=hi`: the integers that stand for this weight.
    #[must_use]
    pub fn quantise(self, scale: f64, lo: i64, hi: i64) -> Recipe {
        let rounded = (Formula::x() / scale).round();
        Recipe::map(rounded.max(lo as f64).min(hi as f64), [self])
    }

    /// The recipes this one is directly made of.
    pub fn inputs(&self) -> Vec<&Recipe> {
        match self {
            Recipe::Tensor { .. } | Recipe::Const(_) => Vec::new(),
            Recipe::Slice { input, .. } | Recipe::Transpose { input, .. } | Recipe::Reshape { input, .. } => {
                vec![input]
            }
            Recipe::Contract { lhs, rhs, .. } => vec![lhs, rhs],
            Recipe::Map { inputs, .. } | Recipe::Concat { inputs, .. } => inputs.iter().collect(),
            Recipe::Stack { items, .. } => items.iter().collect(),
            Recipe::FirstOf(options) => options.iter().collect(),
        }
    }

    /// Names of the repeat indices that the recipe depends on.
    pub fn indices(&self) -> BTreeSet<String> {
        let mut out = BTreeSet::new();
        self.collect_indices(&mut out);
        out
    }

    fn collect_indices(&self, out: &mut BTreeSet<String>) {
        match self {
            Recipe::Tensor { name, .. } => out.extend(name.indices()),
            Recipe::Slice { start, .. } => out.extend(start.terms().map(|(n, _)| n.to_owned())),
            Recipe::Stack { index, .. } => {
                out.insert(index.clone());
            }
            _ => {}
        }
        for input in self.inputs() {
            input.collect_indices(out);
        }
    }
}
