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
    /// For the length of what earlier links of a chain have appended (`past`): the dimension of what a link appends. Then
    /// 0 is allowed, and the bounds are proved where the *sum* of both is at most `max`.
    pub before: Option<u16>,
}

impl RuntimeDim {
    /// A dimension between 1 and `max`.
    pub fn new(name: impl Into<String>, max: u32) -> Self {
        Self {
            name: name.into(),
            max,
            before: None,
        }
    }
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
        let alone = |d: u16, k: u64| {
            let max = dims.get(d as usize).map_or(0, |d| d.max);
            u64::from(max).saturating_mul(k)
        };
        let all = self.per_dim.iter().fold(u64::from(self.constant), |n, &(d, k)| {
            n.saturating_add(alone(d, k.into()))
        });
        // `past` and `tokens` share a bound: the more of the one, the less of the other.
        let joint = dims
            .iter()
            .enumerate()
            .find_map(|(past, d)| Some((past as u16, d.before?, d.max)));
        let Some((past, tokens, max)) = joint else { return all };
        let coefficient = |dim: u16| {
            let own = self.per_dim.iter().filter(|(d, _)| *d == dim);
            own.fold(0u64, |sum, &(_, k)| sum.saturating_add(k.into()))
        };
        let (of_past, of_tokens) = (coefficient(past), coefficient(tokens));
        let apart = alone(past, of_past).saturating_add(alone(tokens, of_tokens));
        let most_tokens = dims.get(tokens as usize).map_or(0, |d| d.max.min(max));
        let tokens = if of_tokens > of_past { most_tokens } else { 0 };
        let together = of_tokens
            .saturating_mul(tokens.into())
            .saturating_add(of_past.saturating_mul((max - tokens).into()));
        // Where sums have saturated, so has the result.
        if all == u64::MAX {
            all
        } else {
            all.saturating_sub(apart) + together.min(apart)
        }
    }

    /// The sum of two lengths, saturating.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            constant: self.constant.saturating_add(other.constant),
            per_dim: self.per_dim.iter().chain(&other.per_dim).copied().collect(),
        }
    }

    /// The same, dimensions ascending.
    pub fn sorted(mut self) -> Self {
        self.per_dim.sort_unstable();
        self
    }

    /// Whether the length depends on a run-time dimension.
    pub fn depends_on(&self, dim: u16) -> bool {
        self.per_dim.iter().any(|&(d, _)| d == dim)
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
