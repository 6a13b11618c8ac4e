//! Lengths of axes, affine in the run-time dimensions.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

/// A run-time dimension (`batch`, `tokens`, `past`). Bounds hold for `1..=max`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeDim {
    /// The name shown to users.
    pub name: String,
    /// The largest value for which the circuit's bounds are proved.
    pub max: u32,
}

/// The length of an axis: `constant + Σ coefficient · dims[dim]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Len {
    /// The part that does not depend on run-time dimensions.
    pub constant: u32,
    /// Pairs (dimension, coefficient).
    pub per_dim: Vec<(u16, u32)>,
}

impl Len {
    /// A fixed length.
    pub fn fixed(n: usize) -> Self {
        Self {
            constant: n as u32,
            per_dim: Vec::new(),
        }
    }

    /// The length of run-time dimension `dim`.
    pub fn dim(dim: u16) -> Self {
        Self {
            constant: 0,
            per_dim: alloc::vec![(dim, 1)],
        }
    }

    /// The largest length at dimensions up to the given maxima; saturates, and unknown dimensions count as 0.
    pub fn most(&self, dims: &[RuntimeDim]) -> u64 {
        self.per_dim.iter().fold(u64::from(self.constant), |n, &(d, k)| {
            let max = dims.get(d as usize).map_or(0, |d| d.max);
            n.saturating_add(u64::from(max).saturating_mul(k.into()))
        })
    }

    /// The length at given dimensions; `None` when a dimension is missing or the length passes 2^31.
    pub fn at(&self, dims: &[u32]) -> Option<usize> {
        let mut n = self.constant as u64;
        for &(d, c) in &self.per_dim {
            n = n.checked_add(u64::from(*dims.get(d as usize)?) * u64::from(c))?;
        }
        (n < 1 << 31).then_some(n as usize)
    }
}

impl From<usize> for Len {
    fn from(n: usize) -> Self {
        Self::fixed(n)
    }
}
