//! Why a pass refuses a module; every variant names the layer and what mends it.

use mlc_ir::{InferError, Span};
use thiserror::Error;

/// Why a pass refuses a module.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PassError {
    /// No pass of that name.
    #[error("there is no pass '{name}'; the passes are {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// Every name there is.
        known: String,
    },
    /// The pass works on modules of the other stage.
    #[error("pass '{pass}' works on modules of the {expected} stage")]
    Stage {
        /// The pass.
        pass: &'static str,
        /// The stage it wants.
        expected: mlc_ir::Stage,
    },
    /// An operation that has no integer program.
    #[error("'{layer}' ({op}) cannot be quantised: {why}")]
    Unsupported {
        /// The value's name.
        layer: String,
        /// The operation.
        op: &'static str,
        /// What does not work, and what does.
        why: String,
        /// Where it comes from.
        span: Option<Span>,
    },
    /// A bound that could overflow M31.
    #[error("'{layer}' may reach {bound}, beyond the 2^30 that cannot wrap in M31; {mend}")]
    Overflow {
        /// The value's name.
        layer: String,
        /// The magnitude.
        bound: i64,
        /// The setting that mends it.
        mend: String,
        /// Where it comes from.
        span: Option<Span>,
    },
    /// A plan has factors of channels that the model does not have.
    #[error("the plan has factors for the channels of '{value}', which are not those of this model; calibrate it anew")]
    Channels {
        /// The value, as the plan calls it.
        value: String,
    },
    /// An operation that a pass made does not fit: a fault of the compiler.
    #[error(transparent)]
    Infer(#[from] InferError),
}
