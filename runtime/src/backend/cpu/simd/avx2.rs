//! [`Lanes`] on AVX2: eight words. 64-bit accumulators are kept as the even and the odd words.

use std::arch::x86_64::*;

use mlc_verifier::field::P;

use super::Lanes;

/// Eight words in a 256-bit register. Only for use inside functions compiled for AVX2.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(__m256i);

// SAFETY of every block below: the type is only used where AVX2 is enabled (see the trait), and these intrinsics
// have no other precondition; the memory ones say theirs.
macro_rules! avx {
    ($e:expr) => {
        // SAFETY: see the note above the macro.
        unsafe { $e }
    };
}

#[inline(always)]
fn p32() -> __m256i {
    avx!(_mm256_set1_epi32(P as i32))
}

#[inline(always)]
fn fold(x: __m256i) -> __m256i {
    avx!(_mm256_add_epi64(
        _mm256_and_si256(x, _mm256_set1_epi64x(i64::from(P))),
        _mm256_srli_epi64::<31>(x)
    ))
}

/// Words at most 2p reduced once by p.
#[inline(always)]
fn canonical(x: __m256i) -> __m256i {
    avx!(_mm256_min_epu32(x, _mm256_sub_epi32(x, p32())))
}

impl Lanes for Avx2 {
    const N: usize = 8;
    type Wide = (__m256i, __m256i);

    #[inline(always)]
    fn splat(word: u32) -> Self {
        Self(avx!(_mm256_set1_epi32(word as i32)))
    }
    #[inline(always)]
    fn load(src: &[u32], at: usize) -> Self {
        let src = &src[at..at + 8];
        // SAFETY: eight words exist; the load has no alignment requirement.
        Self(unsafe { _mm256_loadu_si256(src.as_ptr().cast()) })
    }
    #[inline(always)]
    fn store(self, dst: &mut [u32], at: usize) {
        let dst = &mut dst[at..at + 8];
        // SAFETY: eight words exist; the store has no alignment requirement.
        unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn wrapping_add(self, other: Self) -> Self {
        Self(avx!(_mm256_add_epi32(self.0, other.0)))
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(avx!(_mm256_xor_si256(self.0, other.0)))
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self(avx!(_mm256_and_si256(self.0, other.0)))
    }
    #[inline(always)]
    fn rotr(self, bits: u32) -> Self {
        // With a constant count these are immediate shifts (or one byte shuffle).
        let (right, left) = (bits as i32, 32 - bits as i32);
        Self(avx!(_mm256_or_si256(
            _mm256_srlv_epi32(self.0, _mm256_set1_epi32(right)),
            _mm256_sllv_epi32(self.0, _mm256_set1_epi32(left)),
        )))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(canonical(avx!(_mm256_add_epi32(self.0, other.0))))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let d = avx!(_mm256_sub_epi32(self.0, other.0));
        Self(avx!(_mm256_min_epu32(d, _mm256_add_epi32(d, p32()))))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // Doubling one factor puts floor(ab / 2^31) in the high word and 2 (ab mod 2^31) in the low word.
        avx!({
            let twice = _mm256_add_epi32(other.0, other.0);
            let even = _mm256_mul_epu32(self.0, twice);
            let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(self.0), _mm256_srli_epi64::<32>(twice));
            let low = _mm256_blend_epi32::<0xaa>(even, _mm256_slli_epi64::<32>(odd));
            let high = _mm256_blend_epi32::<0xaa>(_mm256_srli_epi64::<32>(even), odd);
            Self(canonical(_mm256_add_epi32(_mm256_srli_epi32::<1>(low), high)))
        })
    }

    #[inline(always)]
    fn interleave(self, other: Self, block: usize) -> (Self, Self) {
        let (a, b) = (self.0, other.0);
        let (even, odd) = avx!(match block {
            1 => (
                _mm256_blend_epi32::<0xaa>(a, _mm256_slli_epi64::<32>(b)),
                _mm256_blend_epi32::<0xaa>(_mm256_srli_epi64::<32>(a), b),
            ),
            2 => (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)),
            _ => (
                _mm256_permute2x128_si256::<0x20>(a, b),
                _mm256_permute2x128_si256::<0x31>(a, b),
            ),
        });
        (Self(even), Self(odd))
    }

    #[inline(always)]
    fn wide_zero() -> Self::Wide {
        avx!((_mm256_setzero_si256(), _mm256_setzero_si256()))
    }
    #[inline(always)]
    fn mul_wide(self, other: Self) -> Self::Wide {
        avx!((
            _mm256_mul_epu32(self.0, other.0),
            _mm256_mul_epu32(_mm256_srli_epi64::<32>(self.0), _mm256_srli_epi64::<32>(other.0)),
        ))
    }
    #[inline(always)]
    fn wide_add(a: Self::Wide, b: Self::Wide) -> Self::Wide {
        avx!((_mm256_add_epi64(a.0, b.0), _mm256_add_epi64(a.1, b.1)))
    }
    #[inline(always)]
    fn wide_fold(a: Self::Wide) -> Self::Wide {
        (fold(a.0), fold(a.1))
    }
    #[inline(always)]
    fn wide_reduce(a: Self::Wide) -> Self {
        // Two folds leave at most p + 7, in the low word.
        let (even, odd) = (fold(fold(a.0)), fold(fold(a.1)));
        Self(canonical(avx!(_mm256_or_si256(even, _mm256_slli_epi64::<32>(odd)))))
    }
}
