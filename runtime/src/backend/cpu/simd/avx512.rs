//! [`Lanes`] on AVX-512: sixteen words. 64-bit accumulators are kept as the even and the odd words.

use std::arch::x86_64::*;

use mlc_verifier::field::P;

use super::Lanes;

/// Sixteen words in a 512-bit register. Only for use inside functions compiled for AVX-512 F, BW, DQ, VL.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(__m512i);

// Lanes 1, 3, 5, …
const ODD: __mmask16 = 0xaaaa;

/// Index vectors of `interleave`: entry i of the first picks self (i) or other (16 + i).
const fn even_blocks(block: usize) -> [i32; 16] {
    let mut out = [0; 16];
    let mut i = 0;
    while i < 16 {
        out[i] = if i & block == 0 {
            i as i32
        } else {
            16 + (i ^ block) as i32
        };
        i += 1;
    }
    out
}

const fn odd_blocks(block: usize) -> [i32; 16] {
    let mut out = [0; 16];
    let mut i = 0;
    while i < 16 {
        out[i] = if i & block == 0 {
            (i ^ block) as i32
        } else {
            16 + i as i32
        };
        i += 1;
    }
    out
}

static EVEN: [[i32; 16]; 4] = [even_blocks(1), even_blocks(2), even_blocks(4), even_blocks(8)];
static ODDS: [[i32; 16]; 4] = [odd_blocks(1), odd_blocks(2), odd_blocks(4), odd_blocks(8)];

// SAFETY of every block below: the type is only used where AVX-512 is enabled (see the trait), and these
// intrinsics have no other precondition; the memory ones say theirs.
macro_rules! avx {
    ($e:expr) => {
        // SAFETY: see the note above the macro.
        unsafe { $e }
    };
}

#[inline(always)]
fn splat64(x: u64) -> __m512i {
    avx!(_mm512_set1_epi64(x as i64))
}

#[inline(always)]
fn fold(x: __m512i) -> __m512i {
    avx!(_mm512_add_epi64(
        _mm512_and_si512(x, splat64(u64::from(P))),
        _mm512_srli_epi64::<31>(x)
    ))
}

/// Words at most 2p reduced once by p.
#[inline(always)]
fn canonical(x: __m512i) -> __m512i {
    avx!(_mm512_min_epu32(x, _mm512_sub_epi32(x, _mm512_set1_epi32(P as i32))))
}

impl Lanes for Avx512 {
    const N: usize = 16;
    type Wide = (__m512i, __m512i);

    #[inline(always)]
    fn splat(word: u32) -> Self {
        Self(avx!(_mm512_set1_epi32(word as i32)))
    }
    #[inline(always)]
    fn load(src: &[u32], at: usize) -> Self {
        let src = &src[at..at + 16];
        // SAFETY: sixteen words exist; the load has no alignment requirement.
        Self(unsafe { _mm512_loadu_si512(src.as_ptr().cast()) })
    }
    #[inline(always)]
    fn store(self, dst: &mut [u32], at: usize) {
        let dst = &mut dst[at..at + 16];
        // SAFETY: sixteen words exist; the store has no alignment requirement.
        unsafe { _mm512_storeu_si512(dst.as_mut_ptr().cast(), self.0) }
    }

    #[inline(always)]
    fn wrapping_add(self, other: Self) -> Self {
        Self(avx!(_mm512_add_epi32(self.0, other.0)))
    }
    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(avx!(_mm512_xor_si512(self.0, other.0)))
    }
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self(avx!(_mm512_and_si512(self.0, other.0)))
    }
    #[inline(always)]
    fn rotr(self, bits: u32) -> Self {
        // With a constant count this is one immediate rotation.
        Self(avx!(_mm512_rorv_epi32(self.0, _mm512_set1_epi32(bits as i32))))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(canonical(avx!(_mm512_add_epi32(self.0, other.0))))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let d = avx!(_mm512_sub_epi32(self.0, other.0));
        Self(avx!(_mm512_min_epu32(
            d,
            _mm512_add_epi32(d, _mm512_set1_epi32(P as i32))
        )))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // Doubling one factor puts floor(ab / 2^31) in the high word and 2 (ab mod 2^31) in the low word.
        avx!({
            let twice = _mm512_add_epi32(other.0, other.0);
            let even = _mm512_mul_epu32(self.0, twice);
            let odd = _mm512_mul_epu32(_mm512_srli_epi64::<32>(self.0), _mm512_srli_epi64::<32>(twice));
            let low = _mm512_mask_blend_epi32(ODD, even, _mm512_slli_epi64::<32>(odd));
            let high = _mm512_mask_blend_epi32(ODD, _mm512_srli_epi64::<32>(even), odd);
            Self(canonical(_mm512_add_epi32(_mm512_srli_epi32::<1>(low), high)))
        })
    }

    #[inline(always)]
    fn interleave(self, other: Self, block: usize) -> (Self, Self) {
        let k = block.trailing_zeros() as usize;
        // SAFETY: the tables have sixteen words per entry.
        let (even, odd) = unsafe {
            (
                _mm512_loadu_si512(EVEN[k].as_ptr().cast()),
                _mm512_loadu_si512(ODDS[k].as_ptr().cast()),
            )
        };
        (
            Self(avx!(_mm512_permutex2var_epi32(self.0, even, other.0))),
            Self(avx!(_mm512_permutex2var_epi32(self.0, odd, other.0))),
        )
    }

    #[inline(always)]
    fn wide_zero() -> Self::Wide {
        (splat64(0), splat64(0))
    }
    #[inline(always)]
    fn mul_wide(self, other: Self) -> Self::Wide {
        avx!((
            _mm512_mul_epu32(self.0, other.0),
            _mm512_mul_epu32(_mm512_srli_epi64::<32>(self.0), _mm512_srli_epi64::<32>(other.0)),
        ))
    }
    #[inline(always)]
    fn wide_add(a: Self::Wide, b: Self::Wide) -> Self::Wide {
        avx!((_mm512_add_epi64(a.0, b.0), _mm512_add_epi64(a.1, b.1)))
    }
    #[inline(always)]
    fn wide_fold(a: Self::Wide) -> Self::Wide {
        (fold(a.0), fold(a.1))
    }
    #[inline(always)]
    fn wide_reduce(a: Self::Wide) -> Self {
        // Two folds leave at most p + 7, in the low word.
        let (even, odd) = (fold(fold(a.0)), fold(fold(a.1)));
        Self(canonical(avx!(_mm512_or_si512(even, _mm512_slli_epi64::<32>(odd)))))
    }
}
