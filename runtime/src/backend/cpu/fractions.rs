//! LogUp-GKR on the CPU: a fold and the next round's sums share one pass over memory.

use mlc_verifier::field::QM31;
use num_traits::{One, Zero};

use super::leaves::Formed;
use super::simd::{Lanes, Packed, Scalar, WideQm31, dispatch};
use super::split::{Cols, ColsMut, Split, map_pieces};
use super::sums::{Pairs, add, lerp, weighted};
use super::{Cpu, ExtVec};
use crate::backend::fractions::{Leaves, NextRound};
use crate::backend::{FractionOps, Halves, RoundSums, Vertex, Weights};

/// The layer's relation at one point, unreduced: mixed · d1 + n1 · d0.
#[inline(always)]
pub(super) fn relation<L: Lanes>(v: [Packed<L>; 4]) -> WideQm31<L> {
    let [mixed, d0, n1, d1] = v;
    mixed.mul_wide(d1).fold().add(n1.mul_wide(d0).fold())
}

/// The two sums of a round for one pair of points.
#[inline(always)]
pub(super) fn sums<L: Lanes>(lo: [Packed<L>; 4], hi: [Packed<L>; 4], at: Vertex) -> [WideQm31<L>; 2] {
    let slopes = [hi[0].sub(lo[0]), hi[1].sub(lo[1]), hi[2].sub(lo[2]), hi[3].sub(lo[3])];
    let vertex = match at {
        Vertex::Zero => lo,
        Vertex::One => hi,
    };
    [relation(vertex), relation(slopes)]
}

/// Part of a stored layer's four columns (n0, d0, n1, d1); the last two may be short.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) columns: [Cols<'a>; 4],
    pub(super) lambda: QM31,
}

impl Stored<'_> {
    /// (n0 + λ d0, d0, n1, d1).
    #[inline(always)]
    fn load<L: Lanes>(&self, j: usize) -> [Packed<L>; 4] {
        let [n0, d0, n1, d1] = &self.columns;
        let d = Packed::load(&d0.0, j);
        let mixed = Packed::load(&n0.0, j).add(d.mul(Packed::splat(self.lambda)));
        let [n1, d1] = padded(n1, d1, j);
        [mixed, d, n1, d1]
    }
}

/// Fractions of the upper half; past the end of the leaves they are 0/1.
#[inline(always)]
fn padded<L: Lanes>(num: &Cols<'_>, den: &Cols<'_>, j: usize) -> [Packed<L>; 2] {
    if j < num.len() {
        [Packed::load(&num.0, j), Packed::load(&den.0, j)]
    } else {
        [Packed::zero(), Packed::splat(QM31::one())]
    }
}

/// How far a register that starts at `j` may reach into columns of which some end early.
#[inline(always)]
fn boundary(j: usize, lens: [usize; 2]) -> usize {
    let end = |len: usize| if j < len { len } else { usize::MAX };
    end(lens[0]).min(end(lens[1]))
}

/// First round: both points of a pair come from the stored layer.
pub(super) struct First<'a> {
    pub(super) lo: Stored<'a>,
    pub(super) hi: Stored<'a>,
    pub(super) at: Vertex,
}

impl Pairs for First<'_> {
    #[inline(always)]
    fn get<L: Lanes>(&mut self, j: usize) -> [WideQm31<L>; 2] {
        sums(self.lo.load::<L>(j), self.hi.load::<L>(j), self.at)
    }
    #[inline(always)]
    fn boundary(&self, j: usize) -> usize {
        boundary(j, [self.lo.columns[2].len(), self.hi.columns[2].len()])
    }
}

/// A column in eighths: four of the lower half of the layer, which become the folded column, and four of the upper.
type Eighths<'a> = ([ColsMut<'a>; 4], [Cols<'a>; 4]);

/// Later rounds: folds the column by `r` in place, then sums the pair of folded points. Over 4q values of x, the
/// folded values at j and q + j come from those at j, 2q + j and at q + j, 3q + j; they go to eighths 0 and 1 (lower
/// half) and 2 and 3 (upper half), all of which are read at the same j.
struct Fold<'a> {
    num: Eighths<'a>,
    den: Eighths<'a>,
    r: QM31,
    /// λ where the column is still as stored.
    lambda: Option<QM31>,
    at: Vertex,
}

impl Fold<'_> {
    /// The folded point j + s·q: (n0 + λ d0, d0, n1, d1).
    #[inline(always)]
    fn point<L: Lanes>(&mut self, s: usize, j: usize) -> [Packed<L>; 4] {
        let ((num, num1), (den, den1)) = (&mut self.num, &mut self.den);
        let mut mixed = lerp(num[s].load::<L>(j), num[s + 2].load(j), self.r);
        let d0 = lerp(den[s].load::<L>(j), den[s + 2].load(j), self.r);
        if let Some(lambda) = self.lambda {
            mixed = mixed.add(d0.mul(Packed::splat(lambda)));
        }
        let [n_lo, d_lo] = padded::<L>(&num1[s], &den1[s], j);
        let [n_hi, d_hi] = padded::<L>(&num1[s + 2], &den1[s + 2], j);
        let (n1, d1) = (lerp(n_lo, n_hi, self.r), lerp(d_lo, d_hi, self.r));
        mixed.store(&mut num[s].0, j);
        n1.store(&mut num[s + 2].0, j);
        d0.store(&mut den[s].0, j);
        d1.store(&mut den[s + 2].0, j);
        [mixed, d0, n1, d1]
    }
}

impl Pairs for Fold<'_> {
    #[inline(always)]
    fn get<L: Lanes>(&mut self, j: usize) -> [WideQm31<L>; 2] {
        let lo = self.point::<L>(0, j);
        let hi = self.point::<L>(1, j);
        sums(lo, hi, self.at)
    }
    #[inline(always)]
    fn boundary(&self, j: usize) -> usize {
        let [a, b, c, d] = &self.num.1;
        boundary(j, [a.len(), b.len()]).min(boundary(j, [c.len(), d.len()]))
    }
}

#[inline(always)]
fn round<L: Lanes>(pairs: impl Pairs, offset: usize, len: usize, weights: Weights<'_, Cpu>) -> RoundSums {
    weighted::<L>(pairs, offset, len, weights)
}

/// One piece of the layer above: (n0, d0, n1, d1) to (n, d).
#[inline(always)]
fn pair_up<L: Lanes>(from: [Cols<'_>; 4], to: (ColsMut<'_>, ColsMut<'_>), len: usize) {
    let ([n0, d0, n1, _], (mut n, mut d)) = (from, to);
    let upper = n1.len().min(len);
    let vectors = upper - upper % L::N;
    #[inline(always)]
    fn step<L: Lanes>(from: [Cols<'_>; 4], n: &mut ColsMut<'_>, d: &mut ColsMut<'_>, j: usize) {
        let d0 = Packed::<L>::load(&from[1].0, j);
        let d1 = Packed::<L>::load(&from[3].0, j);
        relation([Packed::load(&from[0].0, j), d0, Packed::load(&from[2].0, j), d1])
            .reduce()
            .store(&mut n.0, j);
        d0.mul(d1).store(&mut d.0, j);
    }
    for j in (0..vectors).step_by(L::N) {
        step::<L>(from, &mut n, &mut d, j);
    }
    for j in vectors..upper {
        step::<Scalar>(from, &mut n, &mut d, j);
    }
    // A node without a partner moves up as it is.
    for (from, to) in [(n0, n), (d0, d)] {
        for (from, to) in from.0.iter().zip(to.0) {
            to[upper..len].copy_from_slice(&from[upper..len]);
        }
    }
}

dispatch! {
    pub(super) fn first_piece(p: First<'_>, offset: usize, len: usize, w: Weights<'_, Cpu>) -> RoundSums = round;
    fn fold_piece(p: Fold<'_>, offset: usize, len: usize, w: Weights<'_, Cpu>) -> RoundSums = round;
    fn pair_up_piece(from: [Cols<'_>; 4], to: (ColsMut<'_>, ColsMut<'_>), len: usize) = pair_up;
}

/// The stored columns (n0, d0, n1, d1) between `from` and `to` of each half.
fn part<'a>(num: &'a ExtVec, den: &'a ExtVec, from: usize, to: usize) -> [Cols<'a>; 4] {
    let half = half_of(num);
    let (n, d) = (Cols::of(num), Cols::of(den));
    [
        n.range(from, to),
        d.range(from, to),
        n.range(half + from, half + to),
        d.range(half + from, half + to),
    ]
}

/// Nodes of the layer above.
fn half_of(num: &ExtVec) -> usize {
    num.len().next_power_of_two() / 2
}

fn eighths(column: &mut ExtVec, q: usize) -> Eighths<'_> {
    let (a, rest) = ColsMut::of(column).split(q);
    let (b, rest) = rest.split(q);
    let (c, rest) = rest.split(q);
    let (d, rest) = rest.split(q);
    let rest = rest.freeze();
    let part = |k: usize| rest.range(k * q, (k + 1) * q);
    ([a, b, c, d], [part(0), part(1), part(2), part(3)])
}

/// Folds the layer's top variable of x by `r`, in place, and sums the next round.
fn fold(
    num: &mut ExtVec,
    den: &mut ExtVec,
    lambda: Option<QM31>,
    r: QM31,
    next: Option<NextRound<'_, Cpu>>,
) -> Option<RoundSums> {
    let len = half_of(num);
    let sums = match next {
        None => {
            let at = |v: &ExtVec, i: usize, pad: QM31| if i < v.len() { v.get(i) } else { pad };
            let line = |lo: QM31, hi: QM31| lo + r * (hi - lo);
            let point = |v: &ExtVec, pad: QM31| [line(v.get(0), v.get(1)), line(at(v, 2, pad), at(v, 3, pad))];
            let (mut n, d) = (point(num, QM31::zero()), point(den, QM31::one()));
            n[0] += lambda.unwrap_or(QM31::zero()) * d[0];
            (*num, *den) = (ExtVec::from_values(&n), ExtVec::from_values(&d));
            return None;
        }
        Some(next) => map_pieces(
            (eighths(num, len / 4), eighths(den, len / 4)),
            len / 4,
            &|offset, len, (num, den)| {
                let pairs = Fold {
                    num,
                    den,
                    r,
                    lambda,
                    at: next.at,
                };
                fold_piece(pairs, offset, len, next.weights)
            },
            &add,
        ),
    };
    num.truncate(len);
    den.truncate(len);
    Some(sums)
}

impl FractionOps for Cpu {
    fn leaf_layer(&self, leaves: &Leaves<'_, Self>, level: u32) -> (ExtVec, ExtVec) {
        Formed::new(leaves, level, QM31::zero(), &[]).whole()
    }

    fn leaf_round(
        &self,
        leaves: &Leaves<'_, Self>,
        level: u32,
        lambda: QM31,
        bound: &[QM31],
        next: NextRound<'_, Self>,
    ) -> RoundSums {
        Formed::new(leaves, level, lambda, bound).round(next)
    }

    fn leaf_split(
        &self,
        leaves: &Leaves<'_, Self>,
        level: u32,
        lambda: QM31,
        bound: &[QM31],
        next: Option<NextRound<'_, Self>>,
    ) -> (Halves<Self>, Option<RoundSums>) {
        Formed::new(leaves, level, lambda, bound).split(next)
    }

    fn fraction_sums(&self, num: &ExtVec, den: &ExtVec) -> (ExtVec, ExtVec) {
        let half = half_of(num);
        let (mut n, mut d) = (ExtVec::zeros(half), ExtVec::zeros(half));
        map_pieces(
            (part(num, den, 0, half), (ColsMut::of(&mut n), ColsMut::of(&mut d))),
            half,
            &|_, len, (from, to)| pair_up_piece(from, to, len),
            &|(), ()| (),
        );
        (n, d)
    }

    fn fraction_round(&self, num: &ExtVec, den: &ExtVec, lambda: QM31, next: NextRound<'_, Self>) -> RoundSums {
        let half = half_of(num);
        map_pieces(
            (part(num, den, 0, half / 2), part(num, den, half / 2, half)),
            half / 2,
            &|offset, len, (lo, hi)| {
                let stored = |columns| Stored { columns, lambda };
                let pairs = First {
                    lo: stored(lo),
                    hi: stored(hi),
                    at: next.at,
                };
                first_piece(pairs, offset, len, next.weights)
            },
            &add,
        )
    }

    fn fraction_split(
        &self,
        mut num: ExtVec,
        mut den: ExtVec,
        lambda: QM31,
        r: QM31,
        next: Option<NextRound<'_, Self>>,
    ) -> (Halves<Self>, Option<RoundSums>) {
        let sums = fold(&mut num, &mut den, Some(lambda), r, next);
        (Halves { num, den }, sums)
    }

    fn fraction_fold(
        &self,
        halves: &mut Halves<Self>,
        r: QM31,
        next: Option<NextRound<'_, Self>>,
    ) -> Option<RoundSums> {
        fold(&mut halves.num, &mut halves.den, None, r, next)
    }
}
