//! Why a quantised module has no circuit.

use mlc_circuit::check::CheckError;
use mlc_ir::Span;
use thiserror::Error;

/// Why a module could not be lowered; every variant names the layer.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum LowerError {
    /// The operation has no relation in the circuit, or not on these operands.
    #[error("'{layer}' ({op}): {why}")]
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
        bound: u128,
        /// The setting that mends it.
        mend: String,
    },
    /// A requantisation would need a table that is too large.
    #[error(
        "'{layer}' ranges over [{lo}, {hi}] and drops {shift} bits: its table would need {bits} index bits, {max} are allowed; {mend}"
    )]
    TableTooLarge {
        /// The value's name.
        layer: String,
        /// Least accumulator.
        lo: i64,
        /// Greatest accumulator.
        hi: i64,
        /// Bits dropped.
        shift: u32,
        /// Index bits needed.
        bits: u32,
        /// Index bits allowed.
        max: u32,
        /// The setting that mends it.
        mend: String,
    },
    /// The module is not in the quantised stage.
    #[error("module '{0}' is not in the quantised stage")]
    Stage(String),
    /// The result violates an invariant of circuits: a fault of the compiler.
    #[error("the compiler made an invalid circuit (please report this): {0}")]
    Check(#[from] CheckError),
}
