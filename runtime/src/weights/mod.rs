//! Weights: the model's files ([`TensorFiles`]), recipes over them made integers ([`quantise`]), and the integers of a
//! circuit with their bounds checked ([`IntWeights`]).

mod files;
mod int;
mod plan;

pub use files::{FileError, TensorError, TensorFiles};
pub use int::{IntWeights, WeightsError};
pub use plan::{QuantiseError, WeightPlan, bindings, quantise};
