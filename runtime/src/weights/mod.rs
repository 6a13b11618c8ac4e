//! Weights: the model's files ([`TensorFiles`]), recipes over them made integers ([`quantise`]), and the integers of a
//! circuit with their bounds checked ([`IntWeights`]).

mod files;
mod int;
mod int4;
mod plan;

pub use files::{FileError, Stored, TensorError, TensorFiles};
pub use int::{IntWeights, WeightsError};
pub use int4::{Packing, PackingError, QUANTIZATION};
pub use plan::{QuantiseError, WeightPlan, bindings, quantise};
