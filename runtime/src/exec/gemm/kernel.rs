//! Tiles of dot products, per instruction set.
//!
//! A tile is [`TILE`] rows against [`TILE`] rows: each loaded vector is used [`TILE`] times. The loops are written
//! once, generic in the instruction set, and compiled per set through `#[target_feature]` entry points; which one runs
//! is found out at run time. All are exact modulo 2^32: `vpmaddwd` adds two 32-bit products without saturation, and
//! `vpdpwssd` and `vpdpbusd` wrap.

/// Rows of a tile on each side.
pub(super) const TILE: usize = 4;
/// Rows of words are padded to a multiple of this.
pub(super) const WORD_STEP: usize = 32;
/// Rows of bytes are padded to a multiple of this.
pub(super) const BYTE_STEP: usize = 64;

/// An instruction set that this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Vnni,
}

impl Isa {
    /// All that this machine has, the fastest last.
    pub(super) fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut out = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                out.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                out.push(Self::Avx512);
                if is_x86_feature_detected!("avx512vnni") {
                    out.push(Self::Vnni);
                }
            }
        }
        out
    }

    /// The fastest that this machine has.
    pub(super) fn best() -> Self {
        static BEST: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Self::available().pop().unwrap_or(Self::Portable))
    }

    /// Whether [`bytes`](Self::bytes) is faster than words.
    pub(super) fn has_bytes(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self == Self::Vnni;
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Dot products of words; rows have one length, a multiple of [`WORD_STEP`].
    pub(super) fn words<const M: usize>(self, a: [&[i16]; M], b: [&[i16]; TILE]) -> [[i32; TILE]; M] {
        let k = a[0].len();
        assert!(k.is_multiple_of(WORD_STEP) && a.iter().chain(&b).all(|r| r.len() == k));
        match self {
            Self::Portable => portable(a, b),
            // SAFETY: the value exists only where the features were detected; rows have `k` entries.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::words_avx2(a.map(<[i16]>::as_ptr), b.map(<[i16]>::as_ptr), k) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { x86::words_avx512(a.map(<[i16]>::as_ptr), b.map(<[i16]>::as_ptr), k) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => unsafe { x86::words_vnni(a.map(<[i16]>::as_ptr), b.map(<[i16]>::as_ptr), k) },
        }
    }

    /// Dot products of unsigned by signed bytes; rows have one length, a multiple of [`BYTE_STEP`].
    pub(super) fn bytes(self, a: [&[u8]; TILE], b: [&[u8]; TILE]) -> [[i32; TILE]; TILE] {
        let k = a[0].len();
        assert!(k.is_multiple_of(BYTE_STEP) && a.iter().chain(&b).all(|r| r.len() == k));
        match self {
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Vnni => unsafe { x86::bytes_vnni(a.map(<[u8]>::as_ptr), b.map(<[u8]>::as_ptr), k) },
            _ => a.map(|x| {
                b.map(|y| {
                    let products = x.iter().zip(y).map(|(&x, &y)| i32::from(x) * i32::from(y as i8));
                    products.fold(0i32, i32::wrapping_add)
                })
            }),
        }
    }
}

fn portable<const M: usize>(a: [&[i16]; M], b: [&[i16]; TILE]) -> [[i32; TILE]; M] {
    a.map(|x| {
        b.map(|y| {
            let products = x.iter().zip(y).map(|(&x, &y)| i32::from(x) * i32::from(y));
            products.fold(0i32, i32::wrapping_add)
        })
    })
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::TILE;

    /// The vectors of an instruction set. Callers must have its features.
    trait Vectors {
        /// A vector, of elements or of 32-bit sums.
        type V: Copy;
        /// Bytes of a vector.
        const BYTES: usize;
        unsafe fn zero() -> Self::V;
        unsafe fn load(from: *const u8) -> Self::V;
        /// `sum + x · y`, products of neighbours added.
        unsafe fn dot(sum: Self::V, x: Self::V, y: Self::V) -> Self::V;
        /// Sum of the 32-bit lanes.
        unsafe fn total(v: Self::V) -> i32;
    }

    struct Avx2;
    struct Avx512;
    struct Vnni;
    struct VnniBytes;

    impl Vectors for Avx2 {
        type V = __m256i;
        const BYTES: usize = 32;
        #[inline(always)]
        unsafe fn zero() -> __m256i {
            // SAFETY: the caller has the feature.
            unsafe { _mm256_setzero_si256() }
        }
        #[inline(always)]
        unsafe fn load(from: *const u8) -> __m256i {
            // SAFETY: the caller has the feature, and 32 bytes at `from`.
            unsafe { _mm256_loadu_si256(from.cast()) }
        }
        #[inline(always)]
        unsafe fn dot(sum: __m256i, x: __m256i, y: __m256i) -> __m256i {
            // SAFETY: the caller has the feature.
            unsafe { _mm256_add_epi32(sum, _mm256_madd_epi16(x, y)) }
        }
        #[inline(always)]
        unsafe fn total(v: __m256i) -> i32 {
            // SAFETY: the caller has the feature.
            unsafe {
                let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
                let v = _mm_add_epi32(v, _mm_shuffle_epi32::<0b01_00_11_10>(v));
                let v = _mm_add_epi32(v, _mm_shuffle_epi32::<0b10_11_00_01>(v));
                _mm_cvtsi128_si32(v)
            }
        }
    }

    /// The AVX-512 sets differ in `dot` alone.
    macro_rules! avx512 {
        ($set:ident, |$sum:ident, $x:ident, $y:ident| $dot:expr) => {
            impl Vectors for $set {
                type V = __m512i;
                const BYTES: usize = 64;
                #[inline(always)]
                unsafe fn zero() -> __m512i {
                    // SAFETY: the caller has the feature.
                    unsafe { _mm512_setzero_si512() }
                }
                #[inline(always)]
                unsafe fn load(from: *const u8) -> __m512i {
                    // SAFETY: the caller has the feature, and 64 bytes at `from`.
                    unsafe { _mm512_loadu_si512(from.cast()) }
                }
                #[inline(always)]
                unsafe fn dot($sum: __m512i, $x: __m512i, $y: __m512i) -> __m512i {
                    // SAFETY: the caller has the feature.
                    unsafe { $dot }
                }
                #[inline(always)]
                unsafe fn total(v: __m512i) -> i32 {
                    // SAFETY: the caller has the feature.
                    unsafe { _mm512_reduce_add_epi32(v) }
                }
            }
        };
    }
    avx512!(Avx512, |sum, x, y| _mm512_add_epi32(sum, _mm512_madd_epi16(x, y)));
    avx512!(Vnni, |sum, x, y| _mm512_dpwssd_epi32(sum, x, y));
    avx512!(VnniBytes, |sum, x, y| _mm512_dpbusd_epi32(sum, x, y));

    /// A tile over `bytes` bytes per row, a multiple of the vector's.
    ///
    /// # Safety
    /// The features of `S`, and `bytes` readable bytes at every pointer.
    #[inline(always)]
    unsafe fn tile<S: Vectors, const M: usize>(
        a: [*const u8; M],
        b: [*const u8; TILE],
        bytes: usize,
    ) -> [[i32; TILE]; M] {
        // SAFETY: offsets stay below `bytes`.
        unsafe {
            let mut sums = [[S::zero(); TILE]; M];
            for at in (0..bytes).step_by(S::BYTES) {
                let mut y = [S::zero(); TILE];
                for (y, b) in y.iter_mut().zip(b) {
                    *y = S::load(b.add(at));
                }
                for (sums, a) in sums.iter_mut().zip(a) {
                    let x = S::load(a.add(at));
                    for (sum, y) in sums.iter_mut().zip(y) {
                        *sum = S::dot(*sum, x, y);
                    }
                }
            }
            let mut out = [[0; TILE]; M];
            for (out, sums) in out.iter_mut().zip(sums) {
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = S::total(sum);
                }
            }
            out
        }
    }

    /// # Safety
    /// AVX2, and `k` entries, a multiple of 32, at every pointer.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn words_avx2<const M: usize>(
        a: [*const i16; M],
        b: [*const i16; TILE],
        k: usize,
    ) -> [[i32; TILE]; M] {
        // SAFETY: by contract.
        unsafe { tile::<Avx2, M>(a.map(<*const i16>::cast), b.map(<*const i16>::cast), 2 * k) }
    }

    /// # Safety
    /// AVX-512F and BW, and `k` entries, a multiple of 32, at every pointer.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn words_avx512<const M: usize>(
        a: [*const i16; M],
        b: [*const i16; TILE],
        k: usize,
    ) -> [[i32; TILE]; M] {
        // SAFETY: by contract.
        unsafe { tile::<Avx512, M>(a.map(<*const i16>::cast), b.map(<*const i16>::cast), 2 * k) }
    }

    /// # Safety
    /// AVX-512F and VNNI, and `k` entries, a multiple of 32, at every pointer.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn words_vnni<const M: usize>(
        a: [*const i16; M],
        b: [*const i16; TILE],
        k: usize,
    ) -> [[i32; TILE]; M] {
        // SAFETY: by contract.
        unsafe { tile::<Vnni, M>(a.map(<*const i16>::cast), b.map(<*const i16>::cast), 2 * k) }
    }

    /// # Safety
    /// AVX-512F and VNNI, and `k` bytes, a multiple of 64, at every pointer.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn bytes_vnni(a: [*const u8; TILE], b: [*const u8; TILE], k: usize) -> [[i32; TILE]; TILE] {
        // SAFETY: by contract.
        unsafe { tile::<VnniBytes, TILE>(a, b, k) }
    }
}
