//! Lookup tables: a range of keys, and the columns of values read through it.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

/// Keys `0 .. 2^log_rows` and, per column, one signed value per key (`|value| < 2^30`).
///
/// A table without columns is a plain range check. A function table holds an elementwise function at its scales: the
/// index is a committed cell, the value is virtual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The name shown to users.
    pub name: String,
    /// Number of rows, as a power of two, at most 16.
    pub log_rows: u8,
    /// Columns of `2^log_rows` values.
    pub columns: Vec<Vec<i32>>,
}

impl Table {
    /// The range `0 .. 2^bits`.
    pub fn range(bits: u8) -> Self {
        Self {
            name: alloc::format!("range{bits}"),
            log_rows: bits,
            columns: Vec::new(),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        1 << self.log_rows
    }

    /// Smallest and largest value of a column.
    pub fn bounds(&self, column: usize) -> Option<(i64, i64)> {
        let c = self.columns.get(column)?;
        Some(((*c.iter().min()?).into(), (*c.iter().max()?).into()))
    }
}
