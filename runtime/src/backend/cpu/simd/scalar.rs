//! [`Lanes`] as a single word: what kernels run on the elements that do not fill a register.

use mlc_verifier::field::P;

use super::Lanes;

/// One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar(u32);

#[inline(always)]
fn fold(x: u64) -> u64 {
    (x & u64::from(P)) + (x >> 31)
}

#[inline(always)]
fn canonical(x: u32) -> Scalar {
    Scalar(x.min(x.wrapping_sub(P)))
}

impl Lanes for Scalar {
    const N: usize = 1;
    type Wide = u64;

    #[inline(always)]
    fn splat(word: u32) -> Self {
        Self(word)
    }
    #[inline(always)]
    fn load(src: &[u32], at: usize) -> Self {
        Self(src[at])
    }
    #[inline(always)]
    fn store(self, dst: &mut [u32], at: usize) {
        dst[at] = self.0;
    }

    #[inline(always)]
    fn wrapping_add(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
    #[inline(always)]
    fn rotr(self, bits: u32) -> Self {
        Self(self.0.rotate_right(bits))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        canonical(self.0 + other.0)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let d = self.0.wrapping_sub(other.0);
        Self(d.min(d.wrapping_add(P)))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        canonical(fold(self.mul_wide(other)) as u32)
    }

    /// A single word has no smaller block: returns its arguments.
    #[inline(always)]
    fn interleave(self, other: Self, _block: usize) -> (Self, Self) {
        (self, other)
    }

    #[inline(always)]
    fn wide_zero() -> u64 {
        0
    }
    #[inline(always)]
    fn mul_wide(self, other: Self) -> u64 {
        u64::from(self.0) * u64::from(other.0)
    }
    #[inline(always)]
    fn wide_add(a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    fn wide_fold(a: u64) -> u64 {
        fold(a)
    }
    #[inline(always)]
    fn wide_reduce(a: u64) -> Self {
        canonical(fold(fold(a)) as u32)
    }
}
