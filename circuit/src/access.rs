//! How the cells of a tensor are read by the iterations of an equation.
//!
//! An equation iterates over its output axes followed by the axes of a reduction. An [`Access`] sends an iteration
//! `x` to at most one cell per choice of the summed axes: coordinate `a` of the cell is an affine form of *its own*
//! iteration axes, `y_a = offset_a + Σ stride · x_i`, and every iteration axis occurs in at most one coordinate. So
//! the map factors over the tensor's axes; slices, strides, padding, convolution windows, broadcast, transposition,
//! axis splits and merges are all of this form, and the multilinear functional it induces is evaluated axis by axis.
//! A coordinate outside the tensor reads zero.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// One coordinate of the cell read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AxisMap {
    /// `offset + Σ stride · x[iter]`.
    Affine {
        /// Constant part; negative for leading padding.
        offset: i32,
        /// Pairs (iteration axis, stride ≥ 1).
        parts: Vec<(u8, i32)>,
    },
    /// Every coordinate strictly below `x[iter]`, summed: the residual stream of a repeated block.
    Before {
        /// The iteration axis.
        iter: u8,
    },
    /// `dims[dim] + offset + Σ stride · x[iter]`: an affine coordinate that counts from a run-time dimension. An instance
    /// has `Affine` in its place ([`crate::chain::at`]).
    From {
        /// The run-time dimension.
        dim: u16,
        /// Added to it.
        offset: i32,
        /// Pairs (iteration axis, stride ≥ 1).
        parts: Vec<(u8, i32)>,
    },
}

/// Restricts a read to iterations with `x[iter] == at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// The iteration axis (not used by any coordinate).
    pub iter: u8,
    /// The only value at which the read happens.
    pub at: u32,
}

/// A separable read map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// One map per axis of the tensor.
    pub axes: Vec<AxisMap>,
    /// Restrictions on iteration axes that no coordinate uses.
    pub gates: Vec<Gate>,
}

impl AxisMap {
    /// `x[iter]`.
    pub fn iter(iter: u8) -> Self {
        Self::Affine {
            offset: 0,
            parts: alloc::vec![(iter, 1)],
        }
    }

    /// The constant coordinate `at`.
    pub fn constant(at: i32) -> Self {
        Self::Affine {
            offset: at,
            parts: Vec::new(),
        }
    }

    /// The iteration axes used.
    pub fn iters(&self) -> Vec<u8> {
        match self {
            Self::Affine { parts, .. } | Self::From { parts, .. } => parts.iter().map(|p| p.0).collect(),
            Self::Before { iter } => alloc::vec![*iter],
        }
    }

    /// Calls `f(x of the used axes, coordinate)` for every in-range pair; `lens` are the lengths of [`Self::iters`]. A map
    /// that counts from a run-time dimension has no pairs before that is known.
    pub fn for_each(&self, lens: &[usize], axis_len: usize, mut f: impl FnMut(&[usize], usize)) {
        match self {
            Self::From { .. } => {}
            Self::Before { .. } => {
                for x in 0..lens[0] {
                    for y in 0..x.min(axis_len) {
                        f(&[x], y);
                    }
                }
            }
            Self::Affine { offset, parts } => {
                let mut x = alloc::vec![0usize; lens.len()];
                if lens.contains(&0) {
                    return;
                }
                loop {
                    let y = i64::from(*offset)
                        + x.iter()
                            .zip(parts)
                            .map(|(&x, p)| x as i64 * i64::from(p.1))
                            .sum::<i64>();
                    if (0..axis_len as i64).contains(&y) {
                        f(&x, y as usize);
                    }
                    let mut a = lens.len();
                    loop {
                        if a == 0 {
                            return;
                        }
                        a -= 1;
                        x[a] += 1;
                        if x[a] < lens[a] {
                            break;
                        }
                        x[a] = 0;
                    }
                }
            }
        }
    }
}

impl Access {
    /// The first `n` iteration axes, in order.
    pub fn identity(n: usize) -> Self {
        Self {
            axes: (0..n).map(|i| AxisMap::iter(i as u8)).collect(),
            gates: Vec::new(),
        }
    }

    /// The given iteration axes, in order.
    pub fn axes(iters: &[u8]) -> Self {
        Self {
            axes: iters.iter().map(|&i| AxisMap::iter(i)).collect(),
            gates: Vec::new(),
        }
    }

    /// Whether iteration axis `iter` occurs in a coordinate.
    pub fn uses(&self, iter: u8) -> bool {
        self.axes.iter().any(|a| a.iters().contains(&iter))
    }

    /// The gate on `iter`, if any.
    pub fn gate(&self, iter: u8) -> Option<u32> {
        self.gates.iter().find(|g| g.iter == iter).map(|g| g.at)
    }
}
