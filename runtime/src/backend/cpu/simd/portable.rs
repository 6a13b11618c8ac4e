//! [`Lanes`] as arrays of eight words: the reference for the other implementations, and what aarch64 runs (LLVM
//! turns the loops into NEON).

use mlc_verifier::field::P;

use super::Lanes;

/// Eight words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portable([u32; 8]);

// Plain counted loops: `array::from_fn` and `map` give the optimiser several times more to look at, and kernels
// inline these by the thousand.
#[inline(always)]
fn build<T: Copy + Default>(f: impl Fn(usize) -> T) -> [T; 8] {
    let mut out = [T::default(); 8];
    let mut i = 0;
    while i < 8 {
        out[i] = f(i);
        i += 1;
    }
    out
}

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(u32, u32) -> u32) -> Self {
        Self(build(|i| f(self.0[i], other.0[i])))
    }
}

#[inline(always)]
fn fold(x: u64) -> u64 {
    (x & u64::from(P)) + (x >> 31)
}

impl Lanes for Portable {
    const N: usize = 8;
    type Wide = [u64; 8];

    #[inline(always)]
    fn splat(word: u32) -> Self {
        Self([word; 8])
    }
    #[inline(always)]
    fn load(src: &[u32], at: usize) -> Self {
        let src = &src[at..at + 8];
        Self(build(|i| src[i]))
    }
    #[inline(always)]
    fn store(self, dst: &mut [u32], at: usize) {
        dst[at..at + 8].copy_from_slice(&self.0);
    }

    #[inline(always)]
    fn wrapping_add(self, other: Self) -> Self {
        self.zip(other, u32::wrapping_add)
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self.zip(other, |a, b| a ^ b)
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }
    #[inline(always)]
    fn rotr(self, bits: u32) -> Self {
        Self(build(|i| self.0[i].rotate_right(bits)))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // a + b < 2p < 2^32; subtracting p wraps to a huge word exactly when the sum is below p.
        self.zip(other, |a, b| (a + b).min((a + b).wrapping_sub(P)))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a.wrapping_sub(b).min(a.wrapping_sub(b).wrapping_add(P)))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| {
            let x = fold(u64::from(a) * u64::from(b)) as u32;
            x.min(x.wrapping_sub(P))
        })
    }

    #[inline(always)]
    fn interleave(self, other: Self, block: usize) -> (Self, Self) {
        let lo = build(|i| if i & block == 0 { self.0[i] } else { other.0[i ^ block] });
        let hi = build(|i| if i & block == 0 { self.0[i ^ block] } else { other.0[i] });
        (Self(lo), Self(hi))
    }

    #[inline(always)]
    fn wide_zero() -> Self::Wide {
        [0; 8]
    }
    #[inline(always)]
    fn mul_wide(self, other: Self) -> Self::Wide {
        build(|i| u64::from(self.0[i]) * u64::from(other.0[i]))
    }
    #[inline(always)]
    fn wide_add(a: Self::Wide, b: Self::Wide) -> Self::Wide {
        build(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    fn wide_fold(a: Self::Wide) -> Self::Wide {
        build(|i| fold(a[i]))
    }
    #[inline(always)]
    fn wide_reduce(a: Self::Wide) -> Self {
        Self(build(|i| {
            let x = fold(fold(a[i])) as u32;
            x.min(x.wrapping_sub(P))
        }))
    }
}
