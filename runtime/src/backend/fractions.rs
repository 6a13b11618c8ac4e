//! Primitives of LogUp-GKR: one layer of the fraction tree, and the rounds of a layer's sumcheck.
//!
//! A layer is two vectors (numerators, denominators) of true length `len`, continued by the fraction 0/1 up to the
//! next power of two `2 * half`. Node i of the layer above is node i plus node i + half:
//! (n0 d1 + n1 d0) / (d0 d1).

use mlc_verifier::field::QM31;

use super::{Columns, RoundSums, Vertex, Weights};

/// A layer cut at its top index bit, with λ absorbed, over m values of x: the sumcheck is over
/// (n0 + λ d0)(x) · d1(x) + n1(x) · d0(x).
pub struct Halves<C: Columns + ?Sized> {
    /// n0 + λ d0, then n1: 2m values.
    pub num: C::Ext,
    /// d0, then d1: 2m values.
    pub den: C::Ext,
}

/// The round to evaluate after a fold.
pub struct NextRound<'a, C: Columns + ?Sized> {
    /// Vertex to sum at.
    pub at: Vertex,
    /// eq over the variables after the round's own.
    pub weights: Weights<'a, C>,
}

/// Primitives of LogUp-GKR. Layers have at least two nodes.
pub trait FractionOps: Columns + Sized {
    /// The layer above, of exactly `half` nodes.
    fn fraction_sums(&self, num: &Self::Ext, den: &Self::Ext) -> (Self::Ext, Self::Ext);

    /// The sums of the first round of a layer's sumcheck over x, of which there are `half >= 2`.
    fn fraction_round(&self, num: &Self::Ext, den: &Self::Ext, lambda: QM31, next: NextRound<'_, Self>) -> RoundSums;

    /// Cuts a layer, folds the top variable of x by `r` (padding becomes explicit), and sums the next round. There is a
    /// next round unless x had one variable.
    fn fraction_split(
        &self,
        num: Self::Ext,
        den: Self::Ext,
        lambda: QM31,
        r: QM31,
        next: Option<NextRound<'_, Self>>,
    ) -> (Halves<Self>, Option<RoundSums>);

    /// Folds the top variable by `r`, and sums the next round.
    fn fraction_fold(&self, halves: &mut Halves<Self>, r: QM31, next: Option<NextRound<'_, Self>>)
    -> Option<RoundSums>;
}
