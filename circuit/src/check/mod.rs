//! What a verifier checks about a circuit before it trusts a key: soundness then rests on neither compiler nor model
//! owner.
//!
//! 1. [`form`]: every index, rank and length is consistent, so that nothing downstream can be out of bounds; [`order`]:
//!    cells are determined by cells before them, so that the circuit is a function of its inputs and weights; `greatest`:
//!    an output that is found is the index of a greatest score.
//! 2. [`bounds`]: from input ranges, table contents and the weight bounds of the setup proof, every equation holds
//!    over the integers if it holds modulo p; its digits are unique; every value that occurs is representable, unless the
//!    equation is partial.
//! 3. [`coverage`]: every cell that matters sits in a lookup that is checked cell by cell, or weighted at a point
//!    drawn after the commitment.

pub mod bounds;
pub mod coverage;
pub mod form;
mod greatest;
mod index;
pub mod order;
#[cfg(test)]
mod tests;

use alloc::string::String;

use crate::Circuit;

/// Why a circuit is refused. Every variant names the offending part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// An index, rank, length or coefficient is inconsistent.
    #[error("'{name}' is malformed: {what}")]
    Malformed {
        /// The table, weight, segment, site or equation.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A cell is read before the equation that determines it.
    #[error("'{name}' reads '{source_name}' before it is determined")]
    Order {
        /// The equation or site.
        name: String,
        /// What it reads.
        source_name: String,
    },
    /// A segment is determined by nothing, or twice.
    #[error("'{name}' is determined {times} times, it must be exactly once")]
    Determined {
        /// The segment.
        name: String,
        /// How often.
        times: usize,
    },
    /// A right side may leave (-2^30, 2^30).
    #[error(
        "'{name}' may reach {bound}, beyond the 2^30 that cannot wrap in M31; use fewer weight or activation bits for this layer, or a tighter column sum"
    )]
    Overflow {
        /// The equation.
        name: String,
        /// The largest magnitude.
        bound: u128,
    },
    /// A partial equation has a cell without a table of its own, or one that a maximum compares without its being looked up.
    #[error("'{name}' is partial and has a cell that is no key of a table, or is compared without being one")]
    BarePartial {
        /// The equation.
        name: String,
    },
    /// A right side may leave the range its digits represent.
    #[error("'{name}' ranges over [{lo}, {hi}] but its cells represent [0, {max}]")]
    Unrepresentable {
        /// The equation.
        name: String,
        /// Smallest value.
        lo: i64,
        /// Largest value.
        hi: i64,
        /// Largest value that the digits represent.
        max: i64,
    },
    /// Digits overlap or leave gaps.
    #[error("the digits of '{name}' are not a mixed-radix representation")]
    Digits {
        /// The equation.
        name: String,
    },
    /// A cell may be read without ever being checked against its table.
    #[error("'{name}' is not covered by a lookup")]
    Uncovered {
        /// The segment, site or equation.
        name: String,
    },
    /// Cells that have no part in any lookup argument.
    #[error("'{name}' is committed but neither read, compared nor range-checked")]
    Unused {
        /// The segment.
        name: String,
    },
}

/// Runs all checks.
pub fn check(circuit: &Circuit) -> Result<(), CheckError> {
    form::check(circuit)?;
    let ranges = bounds::Ranges::new(circuit);
    bounds::check(circuit, &ranges)?;
    coverage::check(circuit, &ranges)
}
