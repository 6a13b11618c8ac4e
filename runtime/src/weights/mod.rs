//! Weights: the model's files ([`TensorFiles`]), recipes over them made integers ([`quantise`]), and the integers of a
//! circuit with their bounds checked ([`IntWeights`]).

mod ahead;
mod files;
mod int;
mod int4;
mod mapped;
mod plan;

pub use files::{FileError, Stored, TensorError, TensorFiles};
pub(crate) use int::weight_len;
pub use int::{IntWeights, Piece, WeightsError};
pub use int4::{Packing, PackingError, QUANTIZATION};
pub use mapped::MappedIntegers;
pub use plan::{QuantiseError, WeightPlan, bindings, quantise};
