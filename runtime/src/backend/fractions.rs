//! Primitives of LogUp-GKR: the leaves, layers of the fraction tree, and the rounds of a layer's sumcheck.
//!
//! A layer is two vectors (numerators, denominators) of true length `len`, continued by the fraction 0/1 up to the
//! next power of two `2 * half`. Node i of the layer above is node i plus node i + half:
//! (n0 d1 + n1 d0) / (d0 d1).
//!
//! The leaves and the lowest layers above them are most of the tree, and a leaf is a small integer and a weight that is
//! known in closed form: [`Leaves`] describes them, and a backend forms the pieces that it works on. `level` counts
//! layers from the leaves, which are level 0.

use mlc_verifier::field::QM31;
use num_traits::One;

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

/// The denominators of a run of leaves.
pub enum Denominators<'a, C: Columns + ?Sized> {
    /// `constant - keys[from + i]`.
    Keys {
        /// The constant.
        constant: QM31,
        /// Keys of this run and others.
        keys: &'a C::Base,
        /// Where this run's start.
        from: usize,
    },
    /// Given one by one.
    Given(&'a C::Ext),
}

/// A term of the numerators of a run of leaves.
pub enum Numerators<'a, C: Columns + ?Sized> {
    /// The same everywhere.
    Constant(QM31),
    /// `scale · values[from + i]`.
    Scaled {
        /// The factor.
        scale: QM31,
        /// Values of this run and others.
        values: &'a C::Ext,
        /// Where this run's start.
        from: usize,
    },
    /// `outer[o] · inner[i]` at leaf `o · inner.len() + i` of the run.
    Outer {
        /// One factor per row.
        outer: Vec<QM31>,
        /// One factor per position in a row.
        inner: &'a C::Ext,
    },
    /// `values[o]` at the leaves `o · unit ..` of the run, `unit` of them.
    Units {
        /// Leaves per value; at least 1.
        unit: usize,
        /// One value per unit.
        values: Vec<QM31>,
    },
}

/// Consecutive leaves.
pub struct LeafRun<'a, C: Columns + ?Sized> {
    /// Position of the first.
    pub at: usize,
    /// How many.
    pub len: usize,
    /// Their denominators.
    pub den: Denominators<'a, C>,
    /// Their numerators: the sum of these.
    pub num: Vec<Numerators<'a, C>>,
}

/// The leaves of a fraction tree, none of them stored.
pub struct Leaves<'a, C: Columns + ?Sized> {
    /// Their number.
    pub len: usize,
    /// Disjoint runs, ascending; a leaf in none of them is 0/1.
    pub runs: Vec<LeafRun<'a, C>>,
}

impl<'a, C: Columns + ?Sized> Leaves<'a, C> {
    /// Leaves whose numerators and denominators are given, `len` of each.
    pub fn given(num: &'a C::Ext, den: &'a C::Ext, len: usize) -> Self {
        Self {
            len,
            runs: vec![LeafRun {
                at: 0,
                len,
                den: Denominators::Given(den),
                num: vec![Numerators::Scaled {
                    scale: QM31::one(),
                    values: num,
                    from: 0,
                }],
            }],
        }
    }
}

/// Primitives of LogUp-GKR. Layers have at least two nodes.
pub trait FractionOps: Columns + Sized {
    /// The layer `level`, as stored: of the leaves their true number, else a power of two.
    fn leaf_layer(&self, leaves: &Leaves<'_, Self>, level: u32) -> (Self::Ext, Self::Ext);

    /// The sums of a round over the layer `level`, whose top variables are bound to `bound` and of which two points of x
    /// or more are left.
    fn leaf_round(
        &self,
        leaves: &Leaves<'_, Self>,
        level: u32,
        lambda: QM31,
        bound: &[QM31],
        next: NextRound<'_, Self>,
    ) -> RoundSums;

    /// The layer `level` cut, its top variables folded by `bound` (at least one), and the sums of the next round, which
    /// there is unless no variable of x is left.
    fn leaf_split(
        &self,
        leaves: &Leaves<'_, Self>,
        level: u32,
        lambda: QM31,
        bound: &[QM31],
        next: Option<NextRound<'_, Self>>,
    ) -> (Halves<Self>, Option<RoundSums>);

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
