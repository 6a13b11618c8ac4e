//! LogUp-GKR on the CPU: a fold and the next round's sums share one pass over memory.

use mlc_verifier::field::QM31;
use num_traits::One;

use super::simd::{Lanes, Packed, Scalar, WideQm31, dispatch};
use super::split::{Cols, ColsMut, Split, map_pieces};
use super::sums::{Pairs, add, lerp, weighted};
use super::{Cpu, ExtVec};
use crate::backend::fractions::NextRound;
use crate::backend::{FractionOps, Halves, RoundSums, Vertex, Weights};

/// The layer's relation at one point, unreduced: mixed · d1 + n1 · d0.
#[inline(always)]
fn relation<L: Lanes>(v: [Packed<L>; 4]) -> WideQm31<L> {
    let [mixed, d0, n1, d1] = v;
    mixed.mul_wide(d1).fold().add(n1.mul_wide(d0).fold())
}

/// The two sums of a round for one pair of points.
#[inline(always)]
fn sums<L: Lanes>(lo: [Packed<L>; 4], hi: [Packed<L>; 4], at: Vertex) -> [WideQm31<L>; 2] {
    let slopes = [hi[0].sub(lo[0]), hi[1].sub(lo[1]), hi[2].sub(lo[2]), hi[3].sub(lo[3])];
    let vertex = match at {
        Vertex::Zero => lo,
        Vertex::One => hi,
    };
    [relation(vertex), relation(slopes)]
}

/// A quarter of a stored layer's four columns (n0, d0, n1, d1); the last two may be short.
#[derive(Clone, Copy)]
struct Stored<'a> {
    columns: [Cols<'a>; 4],
    lambda: QM31,
}

impl Stored<'_> {
    /// (mixed, d0, n1, d1); past the end of the leaves the fraction is 0/1.
    #[inline(always)]
    fn load<L: Lanes>(&self, j: usize) -> [Packed<L>; 4] {
        let [n0, d0, n1, d1] = &self.columns;
        let d = Packed::load(&d0.0, j);
        let mixed = Packed::load(&n0.0, j).add(d.mul(Packed::splat(self.lambda)));
        if j < n1.len() {
            [mixed, d, Packed::load(&n1.0, j), Packed::load(&d1.0, j)]
        } else {
            [mixed, d, Packed::zero(), Packed::splat(QM31::one())]
        }
    }

    fn boundary(&self, j: usize) -> usize {
        let end = self.columns[2].len();
        if j < end { end } else { usize::MAX }
    }
}

/// First round: both points of a pair come from the stored layer.
struct First<'a> {
    lo: Stored<'a>,
    hi: Stored<'a>,
    at: Vertex,
}

impl Pairs for First<'_> {
    #[inline(always)]
    fn get<L: Lanes>(&mut self, j: usize) -> [WideQm31<L>; 2] {
        sums(self.lo.load::<L>(j), self.hi.load::<L>(j), self.at)
    }
    #[inline(always)]
    fn boundary(&self, j: usize) -> usize {
        self.lo.boundary(j).min(self.hi.boundary(j))
    }
}

/// Second round: each point is folded from two points of the stored layer, and written.
struct Cut<'a> {
    from: [Stored<'a>; 4],
    to: ([ColsMut<'a>; 4], [ColsMut<'a>; 4]),
    r: QM31,
    at: Vertex,
}

impl Pairs for Cut<'_> {
    #[inline(always)]
    fn get<L: Lanes>(&mut self, j: usize) -> [WideQm31<L>; 2] {
        // Quarters 0, 2 fold into the lower point of the next round's pair, 1, 3 into the upper one.
        let [q0, q1, q2, q3] = &self.from;
        let lo = cut_point::<L>([q0, q2], &mut self.to.0, j, self.r);
        let hi = cut_point::<L>([q1, q3], &mut self.to.1, j, self.r);
        sums(lo, hi, self.at)
    }
    #[inline(always)]
    fn boundary(&self, j: usize) -> usize {
        self.from.iter().map(|s| s.boundary(j)).min().unwrap_or(usize::MAX)
    }
}

#[inline(always)]
fn cut_point<L: Lanes>(from: [&Stored<'_>; 2], to: &mut [ColsMut<'_>; 4], j: usize, r: QM31) -> [Packed<L>; 4] {
    let (lo, hi) = (from[0].load::<L>(j), from[1].load::<L>(j));
    let mut out = lo;
    for i in 0..4 {
        out[i] = lerp(lo[i], hi[i], r);
        out[i].store(&mut to[i].0, j);
    }
    out
}

/// Later rounds: as [`Cut`], in place.
struct Fold<'a> {
    lo: ([ColsMut<'a>; 4], [ColsMut<'a>; 4]),
    hi: ([Cols<'a>; 4], [Cols<'a>; 4]),
    r: QM31,
    at: Vertex,
}

impl Pairs for Fold<'_> {
    #[inline(always)]
    fn get<L: Lanes>(&mut self, j: usize) -> [WideQm31<L>; 2] {
        let lo = fold_point::<L>(&mut self.lo.0, &self.hi.0, j, self.r);
        let hi = fold_point::<L>(&mut self.lo.1, &self.hi.1, j, self.r);
        sums(lo, hi, self.at)
    }
    #[inline(always)]
    fn boundary(&self, _j: usize) -> usize {
        usize::MAX
    }
}

#[inline(always)]
fn fold_point<L: Lanes>(lo: &mut [ColsMut<'_>; 4], hi: &[Cols<'_>; 4], j: usize, r: QM31) -> [Packed<L>; 4] {
    let mut out = [Packed::<L>::zero(); 4];
    for i in 0..4 {
        out[i] = lerp(lo[i].load::<L>(j), Packed::load(&hi[i].0, j), r);
        out[i].store(&mut lo[i].0, j);
    }
    out
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
    fn first_piece(p: First<'_>, offset: usize, len: usize, w: Weights<'_, Cpu>) -> RoundSums = round;
    fn cut_piece(p: Cut<'_>, offset: usize, len: usize, w: Weights<'_, Cpu>) -> RoundSums = round;
    fn fold_piece(p: Fold<'_>, offset: usize, len: usize, w: Weights<'_, Cpu>) -> RoundSums = round;
    fn pair_up_piece(from: [Cols<'_>; 4], to: (ColsMut<'_>, ColsMut<'_>), len: usize) = pair_up;
}

/// The stored columns (n0, d0, n1, d1) between fractions `from / of` and `to / of` of each half.
fn part<'a>(num: &'a ExtVec, den: &'a ExtVec, from: usize, to: usize, of: usize) -> [Cols<'a>; 4] {
    let half = num.len().next_power_of_two() / 2;
    let (n, d) = (Cols::of(num), Cols::of(den));
    let (a, b) = (half / of * from, half / of * to);
    [
        n.range(a, b),
        d.range(a, b),
        n.range(half + a, half + b),
        d.range(half + a, half + b),
    ]
}

fn columns_mut(h: &mut Halves<Cpu>) -> [ColsMut<'_>; 4] {
    [
        ColsMut::of(&mut h.mixed),
        ColsMut::of(&mut h.d0),
        ColsMut::of(&mut h.n1),
        ColsMut::of(&mut h.d1),
    ]
}

impl FractionOps for Cpu {
    fn fraction_sums(&self, num: &ExtVec, den: &ExtVec) -> (ExtVec, ExtVec) {
        let half = num.len().next_power_of_two() / 2;
        let (mut n, mut d) = (ExtVec::zeros(half), ExtVec::zeros(half));
        map_pieces(
            (part(num, den, 0, 1, 1), (ColsMut::of(&mut n), ColsMut::of(&mut d))),
            half,
            &|_, len, (from, to)| pair_up_piece(from, to, len),
            &|(), ()| (),
        );
        (n, d)
    }

    fn fraction_round(&self, num: &ExtVec, den: &ExtVec, lambda: QM31, next: NextRound<'_, Self>) -> RoundSums {
        let half = num.len().next_power_of_two() / 2;
        map_pieces(
            (part(num, den, 0, 1, 2), part(num, den, 1, 2, 2)),
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
        num: ExtVec,
        den: ExtVec,
        lambda: QM31,
        r: QM31,
        next: Option<NextRound<'_, Self>>,
    ) -> (Halves<Self>, Option<RoundSums>) {
        let len = num.len().next_power_of_two() / 4;
        let mut halves = Halves {
            mixed: ExtVec::zeros(len),
            d0: ExtVec::zeros(len),
            n1: ExtVec::zeros(len),
            d1: ExtVec::zeros(len),
        };
        let stored = |columns| Stored { columns, lambda };
        let Some(next) = next else {
            // One variable was left.
            let lo = stored(part(&num, &den, 0, 1, 2)).load::<Scalar>(0);
            let hi = stored(part(&num, &den, 1, 2, 2)).load::<Scalar>(0);
            for (i, to) in columns_mut(&mut halves).iter_mut().enumerate() {
                lerp(lo[i], hi[i], r).store(&mut to.0, 0);
            }
            return (halves, None);
        };
        let quarter = |k| part(&num, &den, k, k + 1, 4);
        let to = columns_mut(&mut halves).split(len / 2);
        let sums = map_pieces(
            ([quarter(0), quarter(1), quarter(2), quarter(3)], to),
            len / 2,
            &|offset, len, (from, to): ([[Cols<'_>; 4]; 4], _)| {
                let pairs = Cut {
                    from: from.map(stored),
                    to,
                    r,
                    at: next.at,
                };
                cut_piece(pairs, offset, len, next.weights)
            },
            &add,
        );
        (halves, Some(sums))
    }

    fn fraction_fold(
        &self,
        halves: &mut Halves<Self>,
        r: QM31,
        next: Option<NextRound<'_, Self>>,
    ) -> Option<RoundSums> {
        let len = halves.d0.len() / 2;
        let (mut lo, hi) = columns_mut(halves).split(len);
        let hi = hi.map(ColsMut::freeze);
        let sums = match next {
            None => {
                for i in 0..4 {
                    lerp(lo[i].load::<Scalar>(0), Packed::load(&hi[i].0, 0), r).store(&mut lo[i].0, 0);
                }
                None
            }
            Some(next) => Some(map_pieces(
                (lo.split(len / 2), hi.split(len / 2)),
                len / 2,
                &|offset, len, (lo, hi)| {
                    let pairs = Fold { lo, hi, r, at: next.at };
                    fold_piece(pairs, offset, len, next.weights)
                },
                &add,
            )),
        };
        for v in [&mut halves.mixed, &mut halves.d0, &mut halves.n1, &mut halves.d1] {
            v.truncate(len);
        }
        sums
    }
}
