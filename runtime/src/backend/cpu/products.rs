//! Product sumcheck on the CPU.

use std::sync::Arc;

use mlc_verifier::field::QM31;
use num_traits::One as _;

use super::simd::{Lanes, Packed, Scalar, WideQm31, dispatch};
use super::split::{Cols, ColsMut, Split, map_pieces};
use super::sums::{Pairs, add, lerp, weighted};
use super::{Cpu, ExtVec, words};
use crate::backend::{Operand, ProductOps, RoundSums, Vertex, Weights};

/// A vector that registers of either kind are loaded from.
trait Source: Split + Copy + Sync {
    type Value<L: Lanes>: Factor<L>;
    /// Whether the vector is one constant, also where others are continued by zeros.
    const CONSTANT: bool = false;
    fn load<L: Lanes>(&self, j: usize) -> Self::Value<L>;
    /// The elements `from..to`, where they exist.
    fn range(self, from: usize, to: usize) -> Self;
}

/// A register of base or extension elements.
trait Factor<L: Lanes>: Copy {
    fn minus(self, other: Self) -> Self;
    /// self · other, unreduced. A sum of at most four products of words.
    fn times_base(self, other: L) -> WideQm31<L>;
    fn times_ext(self, other: Packed<L>) -> WideQm31<L>;
    /// Dispatch on the left factor: `left.times(self)`.
    fn under<F: Factor<L>>(self, left: F) -> WideQm31<L>;
}

impl<L: Lanes> Factor<L> for Packed<L> {
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.sub(other)
    }
    #[inline(always)]
    fn times_base(self, other: L) -> WideQm31<L> {
        self.mul_base_wide(other)
    }
    #[inline(always)]
    fn times_ext(self, other: Packed<L>) -> WideQm31<L> {
        self.mul_wide(other)
    }
    #[inline(always)]
    fn under<F: Factor<L>>(self, left: F) -> WideQm31<L> {
        left.times_ext(self)
    }
}

/// A register of base elements.
#[derive(Clone, Copy)]
struct Base<L>(L);

impl<L: Lanes> Factor<L> for Base<L> {
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        Base(self.0.sub(other.0))
    }
    #[inline(always)]
    fn times_base(self, other: L) -> WideQm31<L> {
        WideQm31::from_base(self.0.mul_wide(other))
    }
    #[inline(always)]
    fn times_ext(self, other: Packed<L>) -> WideQm31<L> {
        other.mul_base_wide(self.0)
    }
    #[inline(always)]
    fn under<F: Factor<L>>(self, left: F) -> WideQm31<L> {
        left.times_base(self.0)
    }
}

impl Source for Cols<'_> {
    type Value<L: Lanes> = Packed<L>;
    #[inline(always)]
    fn load<L: Lanes>(&self, j: usize) -> Packed<L> {
        Packed::load(&self.0, j)
    }
    fn range(self, from: usize, to: usize) -> Self {
        Cols::range(self, from, to)
    }
}

impl Source for &[u32] {
    type Value<L: Lanes> = Base<L>;
    #[inline(always)]
    fn load<L: Lanes>(&self, j: usize) -> Base<L> {
        Base(L::load(self, j))
    }
    fn range(self, from: usize, to: usize) -> Self {
        &self[from.min(self.len())..to.min(self.len())]
    }
}

/// The constant 1.
#[derive(Clone, Copy)]
struct One;

impl Split for One {
    fn split(self, _at: usize) -> (Self, Self) {
        (One, One)
    }
}

impl Source for One {
    type Value<L: Lanes> = Base<L>;
    const CONSTANT: bool = true;
    #[inline(always)]
    fn load<L: Lanes>(&self, _j: usize) -> Base<L> {
        Base(L::splat(1))
    }
    fn range(self, _from: usize, _to: usize) -> Self {
        One
    }
}

/// A piece of a round: the lower and the upper slabs of both factors, of which `upper` exist.
struct Product<A, B> {
    a: (A, A),
    b: (B, B),
    upper: usize,
    at: Vertex,
}

impl<A: Source, B: Source> Pairs for Product<A, B> {
    #[inline(always)]
    fn get<L: Lanes>(&mut self, j: usize) -> [WideQm31<L>; 2] {
        let (a0, b0) = (self.a.0.load::<L>(j), self.b.0.load::<L>(j));
        if j >= self.upper {
            // The upper elements are zero: h(X) = (1 - X)² a0 b0, or (1 - X) a0 where b is constant.
            let low = b0.under(a0);
            let at = match self.at {
                Vertex::Zero => low,
                Vertex::One => WideQm31::zero(),
            };
            return [at, if B::CONSTANT { WideQm31::zero() } else { low }];
        }
        let (a1, b1) = (self.a.1.load::<L>(j), self.b.1.load::<L>(j));
        let at = match self.at {
            Vertex::Zero => b0.under(a0),
            Vertex::One => b1.under(a1),
        };
        [at, b1.minus(b0).under(a1.minus(a0))]
    }

    #[inline(always)]
    fn boundary(&self, j: usize) -> usize {
        if j < self.upper { self.upper } else { usize::MAX }
    }
}

#[inline(always)]
fn round<L: Lanes>(
    piece: Product<impl Source, impl Source>,
    offset: usize,
    len: usize,
    weights: Weights<'_, Cpu>,
) -> RoundSums {
    weighted::<L>(piece, offset, len, weights)
}

#[inline(always)]
fn fold_ext<L: Lanes>(mut lo: ColsMut<'_>, hi: Cols<'_>, len: usize, r: QM31) {
    let upper = hi.len().min(len);
    let pairs = upper - upper % L::N;
    for j in (0..pairs).step_by(L::N) {
        lerp(lo.load::<L>(j), Packed::load(&hi.0, j), r).store(&mut lo.0, j);
    }
    for j in pairs..upper {
        lerp(lo.load::<Scalar>(j), Packed::load(&hi.0, j), r).store(&mut lo.0, j);
    }
    let alone = QM31::one() - r;
    let singles = upper + (len - upper) / L::N * L::N;
    for j in (upper..singles).step_by(L::N) {
        lo.load::<L>(j).mul(Packed::splat(alone)).store(&mut lo.0, j);
    }
    for j in singles..len {
        lo.load::<Scalar>(j).mul(Packed::splat(alone)).store(&mut lo.0, j);
    }
}

#[inline(always)]
fn fold_base<L: Lanes>(lo: &[u32], hi: &[u32], mut out: ColsMut<'_>, r: QM31) {
    let upper = hi.len().min(lo.len());
    let pairs = upper - upper % L::N;
    for j in (0..pairs).step_by(L::N) {
        lerp_base(L::load(lo, j), L::load(hi, j), r).store(&mut out.0, j);
    }
    for j in pairs..upper {
        lerp_base(Scalar::load(lo, j), Scalar::load(hi, j), r).store(&mut out.0, j);
    }
    for j in upper..lo.len() {
        lerp_base(Scalar::load(lo, j), Scalar::splat(0), r).store(&mut out.0, j);
    }
}

/// `lo + r (hi - lo)` of base elements.
#[inline(always)]
fn lerp_base<L: Lanes>(lo: L, hi: L, r: QM31) -> Packed<L> {
    let mut out = Packed::splat(r).mul_base(hi.sub(lo));
    out.0[0] = out.0[0].add(lo);
    out
}

dispatch! {
    fn base_base(p: Product<&[u32], &[u32]>, offset: usize, len: usize, w: Weights<'_, Cpu>) -> RoundSums = round;
    fn base_ext(p: Product<&[u32], Cols<'_>>, offset: usize, len: usize, w: Weights<'_, Cpu>) -> RoundSums = round;
    fn ext_ext(p: Product<Cols<'_>, Cols<'_>>, offset: usize, len: usize, w: Weights<'_, Cpu>) -> RoundSums = round;
    fn base_one(p: Product<&[u32], One>, offset: usize, len: usize, w: Weights<'_, Cpu>) -> RoundSums = round;
    fn ext_one(p: Product<Cols<'_>, One>, offset: usize, len: usize, w: Weights<'_, Cpu>) -> RoundSums = round;
    fn fold_ext_piece(lo: ColsMut<'_>, hi: Cols<'_>, len: usize, r: QM31) = fold_ext;
    fn fold_base_piece(lo: &[u32], hi: &[u32], out: ColsMut<'_>, r: QM31) = fold_base;
}

/// The round over vectors of `len` elements whose pairs are `half` apart.
struct Shape<'a> {
    len: usize,
    half: usize,
    at: Vertex,
    weights: Weights<'a, Cpu>,
}

impl Shape<'_> {
    fn run<A: Source, B: Source>(
        &self,
        a: A,
        b: B,
        kernel: impl Fn(Product<A, B>, usize, usize, Weights<'_, Cpu>) -> RoundSums + Sync,
    ) -> RoundSums {
        let count = self.len.min(self.half);
        let upper = self.len - count;
        let work = (
            (a.range(0, count), a.range(self.half, self.len)),
            (b.range(0, count), b.range(self.half, self.len)),
        );
        map_pieces(
            work,
            count,
            &|offset, len, (a, b)| {
                let piece = Product {
                    a,
                    b,
                    upper: upper.saturating_sub(offset).min(len),
                    at: self.at,
                };
                kernel(piece, offset, len, self.weights)
            },
            &add,
        )
    }
}

impl ProductOps for Cpu {
    fn product_round(
        &self,
        a: &Operand<Self>,
        b: Option<&Operand<Self>>,
        half: usize,
        at: Vertex,
        weights: Weights<'_, Self>,
    ) -> RoundSums {
        let shape = Shape {
            len: a.len(self),
            half,
            at,
            weights,
        };
        match (a, b) {
            (Operand::Base(a), None) => shape.run(words(a), One, base_one),
            (Operand::Ext(a), None) => shape.run(Cols::of(a), One, ext_one),
            (Operand::Base(a), Some(Operand::Base(b))) => shape.run(words(a), words(b), base_base),
            (Operand::Base(a), Some(Operand::Ext(b))) | (Operand::Ext(b), Some(Operand::Base(a))) => {
                shape.run(words(a), Cols::of(b), base_ext)
            }
            (Operand::Ext(a), Some(Operand::Ext(b))) => shape.run(Cols::of(a), Cols::of(b), ext_ext),
        }
    }

    fn product_sum(&self, a: &Operand<Self>, b: Option<&Operand<Self>>, weights: Weights<'_, Self>) -> QM31 {
        // A first round in which nothing has a partner.
        self.product_round(a, b, a.len(self), Vertex::Zero, weights).at
    }

    fn fold(&self, v: &mut Operand<Self>, half: usize, r: QM31) {
        let len = v.len(self);
        let count = len.min(half);
        match v {
            Operand::Base(base) => {
                let mut out = ExtVec::zeros(count);
                let base = words(base);
                map_pieces(
                    (
                        (Source::range(base, 0, count), Source::range(base, half, len)),
                        ColsMut::of(&mut out),
                    ),
                    count,
                    &|_, _, ((lo, hi), out)| fold_base_piece(lo, hi, out, r),
                    &|(), ()| (),
                );
                *v = Operand::ext(out);
            }
            Operand::Ext(ext) => {
                if let Some(own) = Arc::get_mut(ext) {
                    let (lo, hi) = ColsMut::of(own).split(count);
                    fold_pieces(lo, hi.freeze(), count, r);
                    own.truncate(count);
                } else {
                    let mut own = ExtVec::from_limbs(ext.columns().map(|c| c[..count].to_vec()));
                    fold_pieces(ColsMut::of(&mut own), Cols::of(ext).range(half, len), count, r);
                    *v = Operand::ext(own);
                }
            }
        }
    }
}

fn fold_pieces(lo: ColsMut<'_>, hi: Cols<'_>, count: usize, r: QM31) {
    map_pieces(
        (lo, hi),
        count,
        &|_, len, (lo, hi)| fold_ext_piece(lo, hi, len, r),
        &|(), ()| (),
    );
}
