//! Packed 32-bit arithmetic: one trait, three implementations, chosen at run time.
//!
//! [`Lanes`] is a register of `N` 32-bit words with the operations that M31 kernels and Blake2s need. A kernel is an
//! `#[inline(always)]` function generic over `Lanes`; `dispatch!` wraps it in
//! one entry point per instruction set (AVX-512, AVX2, [`Fallback`]) and picks the best one that the machine has.
//! Every implementation computes the same words, so the choice never changes a proof.
//!
//! **Invariant.** M31 operations take canonical words (below p) and return canonical words.
//!
//! Two ways to multiply. [`Lanes::mul`] gives one reduced product. [`Lanes::mul_wide`] gives unreduced 64-bit
//! products, which are added up and reduced once: up to four products of canonical words fit in 64 bits, and
//! [`Lanes::wide_fold`] brings any sum back below 2^34 so that long dot products stay in range.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
mod qm31;
mod scalar;
#[cfg(test)]
pub(crate) mod tests;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use portable::Portable;
pub use qm31::{Packed, WideQm31};
pub use scalar::Scalar;

/// A register of `N` 32-bit words.
///
/// The x86 implementations must only be used inside a function compiled for their instruction set on a machine that
/// has it; `dispatch!` is the one place that instantiates them.
pub trait Lanes: Copy {
    /// Number of words.
    const N: usize;
    /// `N` 64-bit accumulators.
    type Wide: Copy;

    /// The same word in every lane.
    fn splat(word: u32) -> Self;
    /// The words `src[at..at + N]`; panics when they do not exist.
    fn load(src: &[u32], at: usize) -> Self;
    /// Writes the words to `dst[at..at + N]`; panics when they do not exist.
    fn store(self, dst: &mut [u32], at: usize);

    /// Word-wise sum modulo 2^32.
    fn wrapping_add(self, other: Self) -> Self;
    /// Word-wise exclusive or.
    fn xor(self, other: Self) -> Self;
    /// Word-wise conjunction.
    fn and(self, other: Self) -> Self;
    /// Word-wise rotation to the right by `bits` in `1..32`.
    fn rotr(self, bits: u32) -> Self;

    /// M31 sum.
    fn add(self, other: Self) -> Self;
    /// M31 difference.
    fn sub(self, other: Self) -> Self;
    /// M31 product.
    fn mul(self, other: Self) -> Self;
    /// M31 negation.
    #[inline(always)]
    fn neg(self) -> Self {
        Self::splat(0).sub(self)
    }
    /// M31 double.
    #[inline(always)]
    fn double(self) -> Self {
        self.add(self)
    }

    /// Splits both registers into blocks of `block` words (a power of two below `N`) and returns the even blocks
    /// `(self_0, other_0, self_2, other_2, …)` and the odd blocks `(self_1, other_1, self_3, …)`: the exchange
    /// between butterflies whose distance is shorter than a register. It is its own inverse.
    fn interleave(self, other: Self, block: usize) -> (Self, Self);

    /// Zero accumulators.
    fn wide_zero() -> Self::Wide;
    /// The 64-bit products of words.
    fn mul_wide(self, other: Self) -> Self::Wide;
    /// Sum modulo 2^64; the caller keeps it from wrapping.
    fn wide_add(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    /// A value congruent modulo p and below 2^34.
    fn wide_fold(a: Self::Wide) -> Self::Wide;
    /// The canonical words of accumulators, each of any 64-bit value.
    fn wide_reduce(a: Self::Wide) -> Self;

    /// The M31 sum of all lanes.
    #[inline(always)]
    fn sum(self) -> u32 {
        let mut words = [0u32; 16];
        self.store(&mut words[..Self::N], 0);
        (words.iter().map(|&w| u64::from(w)).sum::<u64>() % 0x7fff_ffff) as u32
    }
}

/// What machines without a vector implementation run. On x86-64 these are processors without AVX2: the single word,
/// which every kernel contains anyway, rather than a third copy of each kernel to compile.
#[cfg(target_arch = "x86_64")]
pub type Fallback = Scalar;
/// What machines without a vector implementation run: arrays, which LLVM turns into NEON on aarch64.
#[cfg(not(target_arch = "x86_64"))]
pub type Fallback = Portable;

/// An instruction set that this crate has kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No intrinsics: see [`Fallback`].
    Portable,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
}

/// The best instruction set of this machine (detected once).
pub fn level() -> Level {
    #[cfg(test)]
    return detected().min(tests::ceiling());
    #[cfg(not(test))]
    detected()
}

fn detected() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        // `is_x86_feature_detected!` caches CPUID in an atomic: each query is one load and a mask.
        if std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx512vl")
        {
            return Level::Avx512;
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// `dispatch! { /// doc  pub fn name(arg: T, …) -> R = kernel; }` defines `name`, which runs `kernel::<L>(arg, …)`
/// with the widest [`Lanes`] of this machine.
///
/// `kernel` and everything it calls that touches a register must be `#[inline(always)]`: a function that is compiled
/// on its own lacks the instruction set, and the intrinsics inside become calls that pass registers through memory
/// (fifty times slower, same result). That holds for closures too, so also for `array.map`: write the lanes out. For
/// the same reason parallelise outside and dispatch per piece.
macro_rules! dispatch {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $kernel:ident;)*) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn avx512($($arg: $ty),*) $(-> $ret)? {
                    $kernel::<$crate::backend::cpu::simd::Avx512>($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $kernel::<$crate::backend::cpu::simd::Avx2>($($arg),*)
                }
                match $crate::backend::cpu::simd::level() {
                    // SAFETY: `level` found these features on this machine.
                    $crate::backend::cpu::simd::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::backend::cpu::simd::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::backend::cpu::simd::Level::Portable => {}
                }
            }
            $kernel::<$crate::backend::cpu::simd::Fallback>($($arg),*)
        }
    )*};
}
pub(crate) use dispatch;
