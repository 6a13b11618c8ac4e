//! The interpreter: the oracle that a pass preserves meaning.
//!
//! Real stage: values are stored as `f32`; every operation computes in `f64` and rounds once per element, sums running in
//! row-major order. Quantised stage: exact integers (64 bits, checked), every result checked against the bounds of its
//! type. Plain loops, no speed. The module must be [verified](crate::verify()): one that is not may give an error, panic, or
//! compute nonsense, but never wraps an integer.

mod exec;
mod int;
mod layout;
mod real;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::graph::{Module, ValueId};
use crate::kernel::KernelError;
use crate::recipe::{RecipeError, WeightSource};
use crate::shape::{Bindings, DimError};
use crate::tensor::{Tensor, TensorF32};

/// A value at run time.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Real numbers.
    Real(TensorF32),
    /// Integers, indices, or mask bits (0, 1).
    Ints(Tensor<i64>),
}

/// Name of a state and the indices of the regions over which it is stacked.
pub type StateKey = (String, Vec<i64>);

/// What an entry is run on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inputs {
    /// Lengths of the run-time dimensions.
    pub dims: Bindings,
    /// Inputs, by the name of their port.
    pub values: BTreeMap<String, Data>,
    /// States as the entry finds them; one that is not given is empty.
    pub states: BTreeMap<StateKey, Data>,
}

/// What an entry gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outputs {
    /// Outputs, by the name of their port.
    pub values: BTreeMap<String, Data>,
    /// States that the entry appended to, as it leaves them.
    pub states: BTreeMap<StateKey, Data>,
}

/// A value as it is computed, for statistics and for debugging.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// Which value.
    pub value: ValueId,
    /// Indices of the repeat regions around it, and the run-time dimensions.
    pub bindings: &'a Bindings,
    /// What it is.
    pub data: &'a Data,
}

/// Why an entry has no result.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum RunError {
    /// The module has no such entry.
    #[error("the module has no entry `{0}`")]
    NoEntry(String),
    /// An input is not given.
    #[error("input `{0}` is missing")]
    MissingInput(String),
    /// A run-time dimension is outside of its declared range.
    #[error("run-time dimension `{name}` is {value}, declared {min}..{max}")]
    DimRange {
        /// Its name.
        name: String,
        /// Its value.
        value: i64,
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
    },
    /// A dimension has no value.
    #[error(transparent)]
    Dim(#[from] DimError),
    /// A value has another shape than its type.
    #[error("`{value}` has shape {found:?}, its type says {expected:?}")]
    Shape {
        /// Its name.
        value: String,
        /// As found.
        found: Vec<usize>,
        /// As its type says.
        expected: Vec<usize>,
    },
    /// A value holds other elements than its type says.
    #[error("`{0}` does not hold the elements that its type says")]
    Elements(String),
    /// An integer is outside of the bounds of its type.
    #[error("`{value}` at {at} is {found}, outside of {lo}..{hi}")]
    Bounds {
        /// Its name.
        value: String,
        /// Position in row-major order.
        at: usize,
        /// The integer.
        found: i64,
        /// Least value.
        lo: i64,
        /// Greatest value.
        hi: i64,
    },
    /// The magnitudes of a weight sum to more than is declared.
    #[error("weight `{weight}`: a sum of magnitudes is {found}, declared at most {bound}")]
    AbsSum {
        /// Its name.
        weight: String,
        /// The greatest sum.
        found: i64,
        /// The bound.
        bound: i64,
    },
    /// A weight has no value.
    #[error("weight `{weight}`: {error}")]
    Weight {
        /// Its name.
        weight: String,
        /// Why.
        error: RecipeError,
    },
    /// An operation does not accept its operands.
    #[error("`{value}`: {error}")]
    Operation {
        /// Name of the value it would define.
        value: String,
        /// Why.
        error: KernelError,
    },
}

/// Runs the entry `entry` of `module`.
pub fn run(module: &Module, entry: &str, weights: &dyn WeightSource, inputs: &Inputs) -> Result<Outputs, RunError> {
    run_observed(module, entry, weights, inputs, &mut |_| {})
}

/// As [`run`]; `observe` sees every value of the entry as it is computed, inputs first.
pub fn run_observed(
    module: &Module,
    entry: &str,
    weights: &dyn WeightSource,
    inputs: &Inputs,
    observe: &mut dyn FnMut(Observation<'_>),
) -> Result<Outputs, RunError> {
    let entry = module
        .entries
        .get(entry)
        .ok_or_else(|| RunError::NoEntry(entry.to_owned()))?;
    exec::Machine::new(module, entry, weights, inputs, observe)?.run()
}

impl Data {
    /// The axes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Data::Real(tensor) => &tensor.shape,
            Data::Ints(tensor) => &tensor.shape,
        }
    }

    /// The real numbers, where it holds them.
    pub fn real(&self) -> Option<&TensorF32> {
        match self {
            Data::Real(tensor) => Some(tensor),
            Data::Ints(_) => None,
        }
    }

    /// The integers, where it holds them.
    pub fn ints(&self) -> Option<&Tensor<i64>> {
        match self {
            Data::Ints(tensor) => Some(tensor),
            Data::Real(_) => None,
        }
    }
}
