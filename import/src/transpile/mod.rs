//! A module as readable `.mlc`, and its weights as safetensors.
//!
//! Every operation becomes a `let` named after the value; layers and functions of the standard library are imported, other
//! formulas become tables of the file. A weight is stored as its recipe evaluates, under its name in the module, so that the text binds
//! plain names. Checking the text gives a module that computes the same.

mod expression;
mod layer;
mod names;
mod statement;

use indexmap::IndexMap;
use mlc_ir::{Bindings, Module, RecipeError, Stage, TensorF32, WeightSource};
use thiserror::Error;

/// A model as source and weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Transpiled {
    /// The `.mlc` text.
    pub source: String,
    /// The tensors that the text binds, by name.
    pub weights: IndexMap<String, TensorF32>,
}

/// Why a module has no text.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum TranspileError {
    /// Only real modules are written; quantisation is done again from the text.
    #[error("a quantised module has no source form")]
    Quantised,
    /// A weight cannot be evaluated.
    #[error("weight `{weight}`: {error}")]
    Weight {
        /// Its name.
        weight: String,
        /// Why.
        error: RecipeError,
    },
    /// An operation that the language does not spell.
    #[error("`{value}`: {what} has no form in the language")]
    Operation {
        /// Name of the value that it defines.
        value: String,
        /// The operation.
        what: &'static str,
    },
    /// The weights cannot be laid out as safetensors.
    #[error("the weights cannot be written as safetensors: {0}")]
    Safetensors(String),
}

/// Writes `module`, whose weights `source` holds.
pub fn transpile(module: &Module, source: &dyn WeightSource) -> Result<Transpiled, TranspileError> {
    if module.stage != Stage::Real {
        return Err(TranspileError::Quantised);
    }
    let writer = statement::Writer::new(module);
    let (text, stored) = writer.write()?;
    let mut weights = IndexMap::new();
    for (name, tensor) in stored {
        let tensor = match tensor {
            statement::Stored::Constant(tensor) => tensor,
            statement::Stored::Weight(weight, bindings) => evaluate(module, &weight, &bindings, source)?,
            statement::Stored::Reshaped(weight, shape) => {
                let tensor = evaluate(module, &weight, &Bindings::new(), source)?;
                TensorF32 { shape, ..tensor }
            }
        };
        weights.insert(name, tensor);
    }
    Ok(Transpiled { source: text, weights })
}

fn evaluate(
    module: &Module,
    weight: &str,
    bindings: &Bindings,
    source: &dyn WeightSource,
) -> Result<TensorF32, TranspileError> {
    let fail = |error| TranspileError::Weight {
        weight: weight.to_owned(),
        error,
    };
    let declared = module.weights.get(weight);
    let declared = declared.ok_or_else(|| fail(RecipeError::Missing(weight.to_owned())))?;
    let value = declared.recipe.eval(source, bindings).map_err(fail)?;
    Ok(value.map(|v| *v as f32))
}

impl Transpiled {
    /// The weights as the bytes of a safetensors file.
    pub fn safetensors(&self) -> Result<Vec<u8>, TranspileError> {
        let fail = |e: safetensors::SafeTensorError| TranspileError::Safetensors(e.to_string());
        let bytes: Vec<Vec<u8>> = self
            .weights
            .values()
            .map(|t| t.data.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let mut views = Vec::new();
        for ((name, tensor), bytes) in self.weights.iter().zip(&bytes) {
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, tensor.shape.clone(), bytes);
            views.push((name.as_str(), view.map_err(fail)?));
        }
        safetensors::serialize(views, None).map_err(fail)
    }
}
