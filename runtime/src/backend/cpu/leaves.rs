//! Layers of the fraction tree that are not stored: formed from the leaves, piece by piece, in scratch that stays in the
//! cache, for each pass over them.
//!
//! Node i of layer `level` is the sum of the leaves i + k · 2^(bits - level). A folded layer is a linear combination of
//! points whose top variables differ. Both are recursions over two ranges of equal length, depth first, so that few
//! pieces of scratch live at a time. A piece that lies wholly in the padding is never formed.

use std::cell::RefCell;

use mlc_verifier::field::{QM31, bits_for};

use super::fractions::{First, Stored, first_piece, relation, sums};
use super::simd::{Lanes, Packed, Scalar, WideQm31, dispatch};
use super::split::{Cols, ColsMut, PIECE, Split, map_pieces};
use super::sums::{Pairs, add, lerp, weighted};
use super::vectors::{add_constant_piece, add_outer_piece, differences_piece};
use super::{Cpu, ExtVec, words};
use crate::backend::fractions::{Denominators, LeafRun, Leaves, NextRound, Numerators};
use crate::backend::{Halves, RoundSums, Vertex, Weights};

/// Fractions in scratch.
struct Piece {
    num: ExtVec,
    den: ExtVec,
}

thread_local! {
    /// Pieces that this thread has used and dropped.
    static SPARE: RefCell<Vec<Piece>> = const { RefCell::new(Vec::new()) };
}

fn take() -> Piece {
    let spare = SPARE.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| Piece {
        num: ExtVec::zeros(PIECE),
        den: ExtVec::zeros(PIECE),
    })
}

fn give(pieces: impl IntoIterator<Item = Piece>) {
    SPARE.with_borrow_mut(|spare| spare.extend(pieces));
}

impl Piece {
    fn columns(&self, len: usize) -> [Cols<'_>; 2] {
        [Cols::of(&self.num).range(0, len), Cols::of(&self.den).range(0, len)]
    }

    fn columns_mut(&mut self, len: usize) -> [ColsMut<'_>; 2] {
        [
            ColsMut::of(&mut self.num).range(0, len),
            ColsMut::of(&mut self.den).range(0, len),
        ]
    }

    /// The fraction 0/1.
    fn pad(&mut self, from: usize, to: usize) {
        let fill = |v: &mut ExtVec, first: u32| {
            let [a, b, c, d] = ColsMut::of(v).range(from, to).0;
            a.fill(first);
            b.fill(0);
            c.fill(0);
            d.fill(0);
        };
        fill(&mut self.num, 0);
        fill(&mut self.den, 1);
    }
}

/// A layer that is formed when it is asked for, in pieces of at most `PIECE` nodes. Methods that write a piece return
/// whether it holds anything but padding; where not, it is not written.
pub(super) struct Formed<'a> {
    leaves: &'a Leaves<'a, Cpu>,
    level: u32,
    lambda: QM31,
    bound: &'a [QM31],
}

impl<'a> Formed<'a> {
    pub(super) fn new(leaves: &'a Leaves<'a, Cpu>, level: u32, lambda: QM31, bound: &'a [QM31]) -> Self {
        Self {
            leaves,
            level,
            lambda,
            bound,
        }
    }

    /// Nodes of layer `level`, padding included.
    fn nodes(&self, level: u32) -> usize {
        1 << (bits_for(self.leaves.len) as u32 - level)
    }

    /// Points of x once the variables are bound.
    fn points(&self) -> usize {
        self.nodes(self.level) >> (1 + self.bound.len())
    }

    /// The leaves `at..at + len`, those behind the end as padding.
    fn leaves(&self, at: usize, len: usize, out: &mut Piece) {
        let end = at + len;
        let runs = &self.leaves.runs;
        let mut done = at;
        for run in &runs[runs.partition_point(|r| r.at + r.len <= at)..] {
            if run.at >= end {
                break;
            }
            let (from, to) = (run.at.max(at), (run.at + run.len).min(end));
            out.pad(done - at, from - at);
            let [num, den] = out.columns_mut(len);
            denominators(run, from - run.at, den.range(from - at, to - at));
            numerators(run, from - run.at, num.range(from - at, to - at));
            done = to;
        }
        out.pad(done - at, len);
    }

    /// The nodes `at..at + len` of layer `level`.
    fn layer(&self, level: u32, at: usize, len: usize, out: &mut Piece) -> bool {
        if at >= self.leaves.len {
            return false;
        }
        let Some(below) = level.checked_sub(1) else {
            self.leaves(at, len, out);
            return true;
        };
        self.layer(below, at, len, out);
        let mut other = take();
        if self.layer(below, at + self.nodes(level), len, &mut other) {
            let ([num, den], others) = (out.columns_mut(len), other.columns(len));
            add_fractions_piece((num, den), others, len);
        }
        give([other]);
        true
    }

    /// The points `x..x + len` of the half `half` of the layer, whose first `k` variables are bound.
    fn folded(&self, k: usize, half: usize, x: usize, len: usize, out: &mut Piece) -> bool {
        let points = self.nodes(self.level) >> (1 + k);
        let Some(before) = k.checked_sub(1) else {
            return self.layer(self.level, half * points + x, len, out);
        };
        if !self.folded(before, half, x, len, out) {
            return false;
        }
        let mut other = take();
        if !self.folded(before, half, x + points, len, &mut other) {
            other.pad(0, len);
        }
        let ([num, den], others) = (out.columns_mut(len), other.columns(len));
        lerp_piece((num, den), others, self.bound[before], len);
        give([other]);
        true
    }

    /// (n0, d0) and (n1, d1) at the points `x..x + len`.
    fn point(&self, x: usize, len: usize) -> [Piece; 2] {
        let mut out = [take(), take()];
        for (half, out) in out.iter_mut().enumerate() {
            if !self.folded(self.bound.len(), half, x, len, out) {
                out.pad(0, len);
            }
        }
        out
    }

    /// The layer itself; of the leaves their true number.
    pub(super) fn whole(&self) -> (ExtVec, ExtVec) {
        let len = if self.level == 0 {
            self.leaves.len
        } else {
            self.nodes(self.level)
        };
        let (mut num, mut den) = (ExtVec::zeros(len), ExtVec::zeros(len));
        map_pieces(
            (ColsMut::of(&mut num), ColsMut::of(&mut den)),
            len,
            &|at, len, (num, den)| {
                let mut piece = take();
                if !self.layer(self.level, at, len, &mut piece) {
                    piece.pad(0, len);
                }
                let [n, d] = piece.columns(len);
                copy(n, num);
                copy(d, den);
                give([piece]);
            },
            &|(), ()| (),
        );
        (num, den)
    }

    /// The sums of the round over the points that are left, of which there are two or more.
    pub(super) fn round(&self, next: NextRound<'_, Cpu>) -> RoundSums {
        let pairs = self.points() / 2;
        map_pieces(
            (),
            pairs,
            &|at, len, ()| {
                let (lo, hi) = (self.point(at, len), self.point(pairs + at, len));
                let first = First {
                    lo: self.stored(&lo, len),
                    hi: self.stored(&hi, len),
                    at: next.at,
                };
                let sums = first_piece(first, at, len, next.weights);
                give(lo);
                give(hi);
                sums
            },
            &add,
        )
    }

    fn stored<'p>(&self, [p0, p1]: &'p [Piece; 2], len: usize) -> Stored<'p> {
        let ([n0, d0], [n1, d1]) = (p0.columns(len), p1.columns(len));
        Stored {
            columns: [n0, d0, n1, d1],
            lambda: self.lambda,
        }
    }

    /// The folded layer, and the sums of the round over it.
    pub(super) fn split(&self, next: Option<NextRound<'_, Cpu>>) -> (Halves<Cpu>, Option<RoundSums>) {
        let points = self.points();
        let (mut num, mut den) = (ExtVec::zeros(2 * points), ExtVec::zeros(2 * points));
        let sums = match next {
            None => {
                let [mut p0, p1] = self.point(0, points);
                mix(&mut p0, self.lambda, points);
                for (half, p) in [&p0, &p1].into_iter().enumerate() {
                    let [n, d] = p.columns(points);
                    copy(n, ColsMut::of(&mut num).range(half * points, (half + 1) * points));
                    copy(d, ColsMut::of(&mut den).range(half * points, (half + 1) * points));
                }
                give([p0, p1]);
                None
            }
            Some(next) => Some(map_pieces(
                (quarters(&mut num, points / 2), quarters(&mut den, points / 2)),
                points / 2,
                &|at, len, (num, den)| {
                    let (mut lo, mut hi) = (self.point(at, len), self.point(points / 2 + at, len));
                    mix(&mut lo[0], self.lambda, len);
                    mix(&mut hi[0], self.lambda, len);
                    // In the order of the quarters.
                    let folded = [&lo[0], &hi[0], &lo[1], &hi[1]].map(|p| p.columns(len));
                    for ((num, den), [n, d]) in num.into_iter().zip(den).zip(folded) {
                        copy(n, num);
                        copy(d, den);
                    }
                    let [[n0, d0], [n0h, d0h], [n1, d1], [n1h, d1h]] = folded;
                    let pairs = Mixed {
                        lo: [n0, d0, n1, d1],
                        hi: [n0h, d0h, n1h, d1h],
                        at: next.at,
                    };
                    let sums = mixed_piece(pairs, at, len, next.weights);
                    give(lo);
                    give(hi);
                    sums
                },
                &add,
            )),
        };
        (Halves { num, den }, sums)
    }
}

/// The four quarters of a vector of `4 · len` elements, or where `len` is 0 nothing.
fn quarters(v: &mut ExtVec, len: usize) -> [ColsMut<'_>; 4] {
    let (a, rest) = ColsMut::of(v).split(len);
    let (b, rest) = rest.split(len);
    let (c, d) = rest.split(len);
    [a, b, c, d]
}

fn copy(from: Cols<'_>, to: ColsMut<'_>) {
    for (to, from) in to.0.into_iter().zip(from.0) {
        to.copy_from_slice(from);
    }
}

/// The denominators of a run from its leaf `from` on.
fn denominators(run: &LeafRun<'_, Cpu>, from: usize, out: ColsMut<'_>) {
    let len = out.0[0].len();
    match &run.den {
        Denominators::Keys {
            constant,
            keys,
            from: start,
        } => differences_piece(out, *constant, &words(keys)[start + from..start + from + len]),
        Denominators::Given(values) => copy(Cols::of(values).range(from, from + len), out),
    }
}

/// The numerators of a run from its leaf `from` on.
fn numerators(run: &LeafRun<'_, Cpu>, from: usize, out: ColsMut<'_>) {
    let mut out = out;
    let len = out.0[0].len();
    for column in &mut out.0 {
        column.fill(0);
    }
    for term in &run.num {
        match term {
            Numerators::Constant(value) => add_constant_piece(out.part(0, len), len, *value),
            Numerators::Scaled {
                scale,
                values,
                from: start,
            } => {
                let values = Cols::of(values).range(start + from, start + from + len);
                add_outer_piece(out.part(0, len), 0, len, std::slice::from_ref(scale), values);
            }
            Numerators::Outer { outer, inner } => {
                add_outer_piece(out.part(0, len), from, len, outer, Cols::of(inner));
            }
            Numerators::Units { unit, values } => {
                let mut done = 0;
                while done < len {
                    let at = from + done;
                    let stop = (done + unit - at % unit).min(len);
                    add_constant_piece(out.part(done, stop), stop - done, values[at / unit]);
                    done = stop;
                }
            }
        }
    }
}

/// `n += λ d`.
fn mix(piece: &mut Piece, lambda: QM31, len: usize) {
    let (num, den) = (ColsMut::of(&mut piece.num).range(0, len), Cols::of(&piece.den));
    add_outer_piece(num, 0, len, &[lambda], den);
}

/// Both points of a pair, cut and with λ absorbed: (n0 + λ d0, d0, n1, d1).
struct Mixed<'a> {
    lo: [Cols<'a>; 4],
    hi: [Cols<'a>; 4],
    at: Vertex,
}

impl Pairs for Mixed<'_> {
    #[inline(always)]
    fn get<L: Lanes>(&mut self, j: usize) -> [WideQm31<L>; 2] {
        sums(load::<L>(&self.lo, j), load::<L>(&self.hi, j), self.at)
    }
    #[inline(always)]
    fn boundary(&self, _j: usize) -> usize {
        usize::MAX
    }
}

#[inline(always)]
fn load<L: Lanes>(v: &[Cols<'_>; 4], j: usize) -> [Packed<L>; 4] {
    [
        Packed::load(&v[0].0, j),
        Packed::load(&v[1].0, j),
        Packed::load(&v[2].0, j),
        Packed::load(&v[3].0, j),
    ]
}

#[inline(always)]
fn mixed_round<L: Lanes>(pairs: Mixed<'_>, offset: usize, len: usize, weights: Weights<'_, Cpu>) -> RoundSums {
    weighted::<L>(pairs, offset, len, weights)
}

/// `(n, d) += (n1, d1)` as fractions.
#[inline(always)]
fn add_fractions_kernel<L: Lanes>(into: (ColsMut<'_>, ColsMut<'_>), from: [Cols<'_>; 2], len: usize) {
    #[inline(always)]
    fn step<L: Lanes>(num: &mut ColsMut<'_>, den: &mut ColsMut<'_>, from: &[Cols<'_>; 2], j: usize) {
        let (n0, d0) = (num.load::<L>(j), den.load::<L>(j));
        let (n1, d1) = (Packed::<L>::load(&from[0].0, j), Packed::<L>::load(&from[1].0, j));
        relation([n0, d0, n1, d1]).reduce().store(&mut num.0, j);
        d0.mul(d1).store(&mut den.0, j);
    }
    let (mut num, mut den) = into;
    let whole = len / L::N * L::N;
    let mut j = 0;
    while j < whole {
        step::<L>(&mut num, &mut den, &from, j);
        j += L::N;
    }
    while j < len {
        step::<Scalar>(&mut num, &mut den, &from, j);
        j += 1;
    }
}

/// `(n, d) += r ((n1, d1) - (n, d))`, each on its own.
#[inline(always)]
fn lerp_kernel<L: Lanes>(into: (ColsMut<'_>, ColsMut<'_>), from: [Cols<'_>; 2], r: QM31, len: usize) {
    #[inline(always)]
    fn step<L: Lanes>(lo: &mut ColsMut<'_>, hi: &Cols<'_>, r: QM31, j: usize) {
        let hi = Packed::<L>::load(&hi.0, j);
        lerp(lo.load::<L>(j), hi, r).store(&mut lo.0, j);
    }
    let (mut num, mut den) = into;
    let whole = len / L::N * L::N;
    let mut j = 0;
    while j < whole {
        step::<L>(&mut num, &from[0], r, j);
        step::<L>(&mut den, &from[1], r, j);
        j += L::N;
    }
    while j < len {
        step::<Scalar>(&mut num, &from[0], r, j);
        step::<Scalar>(&mut den, &from[1], r, j);
        j += 1;
    }
}

dispatch! {
    fn mixed_piece(p: Mixed<'_>, offset: usize, len: usize, w: Weights<'_, Cpu>) -> RoundSums = mixed_round;
    fn add_fractions_piece(into: (ColsMut<'_>, ColsMut<'_>), from: [Cols<'_>; 2], len: usize) = add_fractions_kernel;
    fn lerp_piece(into: (ColsMut<'_>, ColsMut<'_>), from: [Cols<'_>; 2], r: QM31, len: usize) = lerp_kernel;
}
