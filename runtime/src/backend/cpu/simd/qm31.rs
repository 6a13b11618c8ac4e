//! `N` extension elements as four registers of limbs.
//!
//! QM31 is CM31[u] with u² = 2 + i and CM31 = M31[i] with i² = -1; the limbs of (a + bi) + (c + di)u are a, b, c, d.
//! A product is sixteen limb products; each of the four results is a sum of four, which fits in 64 bits, so it is
//! reduced once.

use mlc_verifier::field::{M31, QM31};

use super::Lanes;

/// `L::N` extension elements, limb by limb.
#[derive(Clone, Copy)]
pub struct Packed<L: Lanes>(pub [L; 4]);

/// Unreduced sums of products, limb by limb.
#[derive(Clone, Copy)]
pub struct WideQm31<L: Lanes>([L::Wide; 4]);

impl<L: Lanes> Packed<L> {
    /// The same element in every lane.
    #[inline(always)]
    pub fn splat(x: QM31) -> Self {
        Self(x.to_m31_array().map(|limb| L::splat(limb.0)))
    }

    /// Zero in every lane.
    #[inline(always)]
    pub fn zero() -> Self {
        Self([L::splat(0); 4])
    }

    /// The elements `at..at + N` of limb columns; panics when they do not exist.
    #[inline(always)]
    pub fn load(columns: &[&[u32]; 4], at: usize) -> Self {
        Self([
            L::load(columns[0], at),
            L::load(columns[1], at),
            L::load(columns[2], at),
            L::load(columns[3], at),
        ])
    }

    /// Writes to limb columns; panics when the positions do not exist.
    #[inline(always)]
    pub fn store(self, columns: &mut [&mut [u32]; 4], at: usize) {
        for (column, limb) in columns.iter_mut().zip(self.0) {
            limb.store(column, at);
        }
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(L, L) -> L) -> Self {
        let ([a, b, c, d], [e, g, h, i]) = (self.0, other.0);
        Self([f(a, e), f(b, g), f(c, h), f(d, i)])
    }

    /// Sum.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)]
    pub fn add(self, other: Self) -> Self {
        self.zip(other, L::add)
    }

    /// Difference.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)]
    pub fn sub(self, other: Self) -> Self {
        self.zip(other, L::sub)
    }

    /// Product.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)]
    pub fn mul(self, other: Self) -> Self {
        self.mul_wide(other).reduce()
    }

    /// Product with base field elements.
    #[inline(always)]
    pub fn mul_base(self, other: L) -> Self {
        Self(self.0.map(|limb| limb.mul(other)))
    }

    /// Unreduced product: each limb is a sum of four products of canonical words.
    #[inline(always)]
    pub fn mul_wide(self, other: Self) -> WideQm31<L> {
        let [a0, a1, a2, a3] = self.0;
        let [b0, b1, b2, b3] = other.0;
        // (2 + i)(b2 + b3 i) = w + z i.
        let w = b2.double().sub(b3);
        let z = b2.add(b3.double());
        let (n1, n3, nz) = (b1.neg(), b3.neg(), z.neg());
        let dot = |x0: L, x1: L, x2: L, x3: L| {
            L::wide_add(
                L::wide_add(a0.mul_wide(x0), a1.mul_wide(x1)),
                L::wide_add(a2.mul_wide(x2), a3.mul_wide(x3)),
            )
        };
        WideQm31([
            dot(b0, n1, w, nz),
            dot(b1, b0, z, w),
            dot(b2, n3, b0, n1),
            dot(b3, b2, b1, b0),
        ])
    }

    /// Unreduced product with base field elements.
    #[inline(always)]
    pub fn mul_base_wide(self, other: L) -> WideQm31<L> {
        WideQm31(self.0.map(|limb| limb.mul_wide(other)))
    }

    /// The sum of all lanes.
    #[inline(always)]
    pub fn sum(self) -> QM31 {
        let [a, b, c, d] = self.0.map(|limb| M31::from_u32_unchecked(limb.sum()));
        QM31::from_m31(a, b, c, d)
    }
}

impl<L: Lanes> WideQm31<L> {
    /// Zero.
    #[inline(always)]
    pub fn zero() -> Self {
        Self([L::wide_zero(); 4])
    }

    /// Base field accumulators as extension ones.
    #[inline(always)]
    pub fn from_base(limb: L::Wide) -> Self {
        Self([limb, L::wide_zero(), L::wide_zero(), L::wide_zero()])
    }

    /// Sum modulo 2^64; the caller keeps it from wrapping.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)]
    pub fn add(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([
            L::wide_add(a, e),
            L::wide_add(b, f),
            L::wide_add(c, g),
            L::wide_add(d, h),
        ])
    }

    /// A congruent value with limbs below 2^34.
    #[inline(always)]
    pub fn fold(self) -> Self {
        Self(self.0.map(L::wide_fold))
    }

    /// The canonical elements.
    #[inline(always)]
    pub fn reduce(self) -> Packed<L> {
        Packed(self.0.map(L::wide_reduce))
    }
}
