//! Cutting work into pieces for threads: slices of limb columns that split together, down to a piece per task.

use super::ExtVec;
use super::simd::{Lanes, Packed};

/// Elements per task: a few operands of this many fit in a core's second-level cache.
pub(super) const PIECE: usize = 1 << 11;

/// Something that splits into a front of `at` elements and the rest.
pub(super) trait Split: Sized + Send {
    fn split(self, at: usize) -> (Self, Self);
}

/// Limb columns, read. May be shorter than what it is split beside: a front takes what exists.
#[derive(Clone, Copy)]
pub(super) struct Cols<'a>(pub(super) [&'a [u32]; 4]);

/// Limb columns, written.
pub(super) struct ColsMut<'a>(pub(super) [&'a mut [u32]; 4]);

impl<'a> Cols<'a> {
    pub(super) fn of(v: &'a ExtVec) -> Self {
        Self(v.columns())
    }

    pub(super) fn len(&self) -> usize {
        self.0[0].len()
    }

    /// The elements `from..to`, where they exist.
    pub(super) fn range(self, from: usize, to: usize) -> Self {
        let n = self.len();
        Self(self.0.map(|c| &c[from.min(n)..to.min(n)]))
    }
}

impl<'a> ColsMut<'a> {
    pub(super) fn of(v: &'a mut ExtVec) -> Self {
        Self(v.columns_mut())
    }

    /// The elements `from..to`.
    pub(super) fn range(self, from: usize, to: usize) -> Self {
        let [a, b, c, d] = self.0;
        Self([&mut a[from..to], &mut b[from..to], &mut c[from..to], &mut d[from..to]])
    }

    /// The elements `from..to`, for a while.
    pub(super) fn part(&mut self, from: usize, to: usize) -> ColsMut<'_> {
        let [a, b, c, d] = &mut self.0;
        ColsMut([&mut a[from..to], &mut b[from..to], &mut c[from..to], &mut d[from..to]])
    }

    /// Gives up writing.
    pub(super) fn freeze(self) -> Cols<'a> {
        Cols(self.0.map(|c| &*c))
    }

    /// A register of elements.
    #[inline(always)]
    pub(super) fn load<L: Lanes>(&self, at: usize) -> Packed<L> {
        let [a, b, c, d] = &self.0;
        Packed::load(&[a, b, c, d], at)
    }
}

impl Split for Cols<'_> {
    fn split(self, at: usize) -> (Self, Self) {
        (self.range(0, at), self.range(at, usize::MAX))
    }
}

impl Split for ColsMut<'_> {
    fn split(self, at: usize) -> (Self, Self) {
        let at = at.min(self.0[0].len());
        let [a, b, c, d] = self.0;
        let (a, b, c, d) = (
            a.split_at_mut(at),
            b.split_at_mut(at),
            c.split_at_mut(at),
            d.split_at_mut(at),
        );
        (Self([a.0, b.0, c.0, d.0]), Self([a.1, b.1, c.1, d.1]))
    }
}

impl<T: Sync> Split for &[T] {
    fn split(self, at: usize) -> (Self, Self) {
        self.split_at(at.min(self.len()))
    }
}

impl Split for () {
    fn split(self, _at: usize) -> (Self, Self) {
        ((), ())
    }
}

impl<A: Split, B: Split> Split for (A, B) {
    fn split(self, at: usize) -> (Self, Self) {
        let (a, b) = (self.0.split(at), self.1.split(at));
        ((a.0, b.0), (a.1, b.1))
    }
}

impl<T: Split> Split for [T; 4] {
    fn split(self, at: usize) -> (Self, Self) {
        let [a, b, c, d] = self;
        let (a, b, c, d) = (a.split(at), b.split(at), c.split(at), d.split(at));
        ([a.0, b.0, c.0, d.0], [a.1, b.1, c.1, d.1])
    }
}

/// Runs `f(offset, length, piece)` on pieces that cover `len` elements, in parallel, and adds up the results.
pub(super) fn map_pieces<T: Split, R: Send>(
    work: T,
    len: usize,
    f: &(impl Fn(usize, usize, T) -> R + Sync),
    add: &(impl Fn(R, R) -> R + Sync),
) -> R {
    from_offset(work, 0, len, f, add)
}

fn from_offset<T: Split, R: Send>(
    work: T,
    offset: usize,
    len: usize,
    f: &(impl Fn(usize, usize, T) -> R + Sync),
    add: &(impl Fn(R, R) -> R + Sync),
) -> R {
    if len <= PIECE {
        return f(offset, len, work);
    }
    // A multiple of the piece, so that all pieces but the last are whole.
    let at = (len / 2).next_multiple_of(PIECE);
    let (front, back) = work.split(at);
    let (a, b) = rayon::join(
        || from_offset(front, offset, at, f, add),
        || from_offset(back, offset + at, len - at, f, add),
    );
    add(a, b)
}
