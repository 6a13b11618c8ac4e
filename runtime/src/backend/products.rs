//! Primitives of the product sumcheck: the sums of a round over Σ w·a·b, and the fold by a challenge.
//!
//! A vector is bound from its outermost axis. With `half` elements below the middle, element j pairs with j + half;
//! a vector shorter than `2 * half` is continued by zeros, which are never stored.

use std::sync::Arc;

use mlc_verifier::field::QM31;

use super::{Columns, RoundSums, Vertex, Weights};

/// A factor of a summand. Shared, so that one vector can serve several summands; a fold reuses the memory of a vector
/// that nobody else holds.
pub enum Operand<C: Columns + ?Sized> {
    /// Base field values (any first round: witness, weights, tables).
    Base(Arc<C::Base>),
    /// Extension values.
    Ext(Arc<C::Ext>),
}

impl<C: Columns + ?Sized> Clone for Operand<C> {
    fn clone(&self) -> Self {
        match self {
            Self::Base(v) => Self::Base(v.clone()),
            Self::Ext(v) => Self::Ext(v.clone()),
        }
    }
}

impl<C: Columns> Operand<C> {
    /// A base vector.
    pub fn base(values: C::Base) -> Self {
        Self::Base(Arc::new(values))
    }

    /// An extension vector.
    pub fn ext(values: C::Ext) -> Self {
        Self::Ext(Arc::new(values))
    }

    /// Number of elements.
    pub fn len(&self, backend: &C) -> usize {
        match self {
            Self::Base(v) => backend.base_len(v),
            Self::Ext(v) => backend.ext_len(v),
        }
    }

    /// The values as extension elements, on the host.
    pub fn host(&self, backend: &C) -> Vec<QM31> {
        match self {
            Self::Base(v) => backend.host_base(v).into_iter().map(QM31::from).collect(),
            Self::Ext(v) => backend.host_ext(v),
        }
    }
}

/// Primitives of the product sumcheck.
pub trait ProductOps: Columns + Sized {
    /// The sums of h(X) = Σ_j w_j · a_j(X) · b_j(X) with v_j(X) = v\[j\] + X (v\[j + half\] - v\[j\]), over the
    /// `min(len, half)` pairs of which an element exists. `a` and `b` have equal lengths, at most `2 * half`; an
    /// absent `b` is the constant 1.
    fn product_round(
        &self,
        a: &Operand<Self>,
        b: Option<&Operand<Self>>,
        half: usize,
        at: Vertex,
        weights: Weights<'_, Self>,
    ) -> RoundSums;

    /// Σ_j w_j · a_j · b_j over all elements (an absent `b` is 1).
    fn product_sum(&self, a: &Operand<Self>, b: Option<&Operand<Self>>, weights: Weights<'_, Self>) -> QM31;

    /// Replaces `v` by the `min(len, half)` values v_j(r).
    fn fold(&self, v: &mut Operand<Self>, half: usize, r: QM31);
}
