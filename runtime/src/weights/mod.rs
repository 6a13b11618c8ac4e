//! Integer weights: how they are held, checked, and quantised from recipes over the model's files.

mod int;

pub use int::{IntWeights, WeightsError};
