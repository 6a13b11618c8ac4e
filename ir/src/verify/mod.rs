//! The IR verifier. A violation is always a bug of whatever made the module, never of the user's model.
//!
//! # Invariants of both stages
//!
//! Module:
//! 1. Names of run-time dimensions and of repeat indices are identifiers, and no index has the name of a dimension or of
//!    an index around it. A dimension's range is not empty, and ends at most at 2^31.
//! 2. Every run-time dimension used is declared, and every length is at least 0 over the declared ranges.
//! 3. A weight has a constant shape, which is its recipe's; the recipe uses no index but those of its stack.
//! 4. A bound on sums of magnitudes names existing axes, ascending, and is not negative.
//! 5. A state grows along an axis whose length is known at run time only, and holds numbers.
//! 6. An entry has one port per input and output; input names are unique, and so are output names.
//!
//! SSA:
//! 7. Every value is defined exactly once, by a parameter or a node, and has a name of its own within the entry.
//! 8. A value is used only after its definition, in the same region or in a region nested there.
//!
//! Types:
//! 9. The type of a result is the inferred one; bounds of integers may be wider than inferred, never narrower.
//! 10. A slice lies within its axis, and positions within their vocabulary, over the declared ranges.
//! 11. Constants and attributes are no NaN; scales and precisions are finite, scales positive, `eps` not negative.
//! 12. An entry appends to a state at most once: inside exactly the regions over which it is stacked.
//!
//! # Invariants of the real stage
//!
//! 13. No integers, no lookup tables, no bounds on sums, and no operation of the quantised stage.
//!
//! # Invariants of the quantised stage
//!
//! 14. No real numbers, and no operation that needs them.
//! 15. Bounds of integers are not empty and lie strictly within ±2^30.
//! 16. The index of every lookup is in its table for every value in the bounds, and index bits and shift are 30 together
//!     at most (both by inference).

mod entry;
mod module;

use std::fmt;

use thiserror::Error;

use crate::graph::Module;
use crate::infer::InferErrorKind;
use crate::recipe::RecipeShapeError;
use crate::shape::Dim;
use crate::types::{Elem, Span, Stage, Type};

/// A violated invariant and its place.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{place}: {violation}")]
pub struct VerifyError {
    /// Where.
    pub place: Place,
    /// Where the operation comes from.
    pub span: Option<Span>,
    /// Which invariant, and how.
    pub violation: Violation,
}

/// A place in a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A declaration: kind and name.
    Declaration(&'static str, String),
    /// Operation and value of an entry.
    Value {
        /// The entry.
        entry: String,
        /// Mnemonic of the operation (`input` for inputs, `entry` for the entry itself).
        op: &'static str,
        /// Name of the value.
        value: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Declaration(kind, name) => write!(f, "{kind} `{name}`"),
            Place::Value { entry, op, value } => write!(f, "entry `{entry}`, {op} `{value}`"),
        }
    }
}

/// A violated invariant. Numbers are those of the [list](self).
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Violation {
    /// 1.
    #[error("`{0}` is no identifier")]
    NotAnIdentifier(String),
    /// 1.
    #[error("`{0}` is already a dimension, or the index of a region around")]
    Shadowed(String),
    /// 1.
    #[error("its range {min}..{max} is empty or leaves 2^31")]
    Range {
        /// Least value.
        min: u64,
        /// Greatest value.
        max: u64,
    },
    /// 2.
    #[error("the run-time dimension `{0}` is not declared")]
    UndeclaredDim(String),
    /// 2.
    #[error("the length {0} can be negative")]
    NegativeLength(Dim),
    /// 3.
    #[error("its shape is not constant")]
    RuntimeWeight,
    /// 3.
    #[error("its recipe does not fit: {0}")]
    Recipe(RecipeShapeError),
    /// 3.
    #[error("its recipe has shape {recipe:?}, its type {declared:?}")]
    RecipeShape {
        /// Of the recipe.
        recipe: Vec<u64>,
        /// Of the declaration.
        declared: Vec<usize>,
    },
    /// 4.
    #[error("the bound on sums over axes {0:?} is malformed")]
    AbsSum(Vec<usize>),
    /// A dimension of what states hold does not precede another.
    #[error("one dimension from 0 on is what states hold, before another that is appended")]
    Past,
    /// 5.
    #[error("a state holds numbers and grows along an axis of run-time length")]
    State,
    /// 6.
    #[error("it has {ports} ports for {values} values")]
    Ports {
        /// Number of ports.
        ports: usize,
        /// Number of values.
        values: usize,
    },
    /// 6.
    #[error("the name `{0}` is used twice")]
    DuplicatePort(String),
    /// 7.
    #[error("the name `{0}` is used twice")]
    DuplicateName(String),
    /// 7.
    #[error("value number {0} does not exist")]
    NoSuchValue(u32),
    /// 7.
    #[error("it is defined twice")]
    DefinedTwice,
    /// 8.
    #[error("it uses `{0}`, which is not defined before it")]
    NotDominated(String),
    /// 9, 16.
    #[error(transparent)]
    Inference(InferErrorKind),
    /// 9.
    #[error("it defines {found} values, inference {inferred}")]
    ResultCount {
        /// As written.
        found: usize,
        /// As inferred.
        inferred: usize,
    },
    /// 9.
    #[error("its type is {found}, inference says {inferred}")]
    Type {
        /// As written.
        found: Box<Type>,
        /// As inferred.
        inferred: Box<Type>,
    },
    /// 10.
    #[error("{0} can leave its range")]
    OutOfRange(&'static str),
    /// 11.
    #[error("{0} is not a proper number")]
    NotANumber(&'static str),
    /// 12.
    #[error("an entry appends to the state `{0}` once, in the regions over which it is stacked")]
    Append(String),
    /// 13, 14.
    #[error("{elem} is no element of the {stage} stage")]
    StageElem {
        /// The stage.
        stage: Stage,
        /// The element.
        elem: Elem,
    },
    /// 13, 14.
    #[error("this does not occur in the {0} stage")]
    StageItem(Stage),
    /// 15.
    #[error("the bounds {lo}..{hi} are empty or leave ±2^30")]
    Bounds {
        /// Least value.
        lo: i64,
        /// Greatest value.
        hi: i64,
    },
}

/// Checks every invariant; returns every violation found.
pub fn verify(module: &Module) -> Result<(), Vec<VerifyError>> {
    let mut errors = Vec::new();
    module::check(module, &mut errors);
    for (name, entry) in &module.entries {
        entry::check(module, name, entry, &mut errors);
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
