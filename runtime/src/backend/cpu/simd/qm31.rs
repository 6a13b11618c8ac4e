//! `N` extension elements as four registers of limbs.
//!
//! QM31 is CM31[u] with u² = 2 + i and CM31 = M31[i] with i² = -1; the limbs of (a + bi) + (c + di)u are a, b, c, d.
//! A product is sixteen limb products; each of the four results is a sum of four, which fits in 64 bits, so it is
//! reduced once.

use mlc_verifier::field::QM31;

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
        let [a, b, c, d] = x.to_m31_array();
        Self([L::splat(a.0), L::splat(b.0), L::splat(c.0), L::splat(d.0)])
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
        let [a, b, c, d] = self.0;
        a.store(columns[0], at);
        b.store(columns[1], at);
        c.store(columns[2], at);
        d.store(columns[3], at);
    }

    /// Sum.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)]
    pub fn add(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a.add(e), b.add(f), c.add(g), d.add(h)])
    }

    /// Difference.
    #[inline(always)]
    #[allow(clippy::should_implement_trait)]
    pub fn sub(self, other: Self) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
        Self([a.sub(e), b.sub(f), c.sub(g), d.sub(h)])
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
        let [a, b, c, d] = self.0;
        Self([a.mul(other), b.mul(other), c.mul(other), d.mul(other)])
    }

    /// Unreduced product: each limb is a sum of four products of canonical words.
    #[inline(always)]
    pub fn mul_wide(self, other: Self) -> WideQm31<L> {
        let [b0, b1, b2, b3] = other.0;
        // (2 + i)(b2 + b3 i) = w + z i.
        let w = b2.double().sub(b3);
        let z = b2.add(b3.double());
        let (n1, n3, nz) = (b1.neg(), b3.neg(), z.neg());
        WideQm31([
            dot(self.0, [b0, n1, w, nz]),
            dot(self.0, [b1, b0, z, w]),
            dot(self.0, [b2, n3, b0, n1]),
            dot(self.0, [b3, b2, b1, b0]),
        ])
    }

    /// Unreduced product with base field elements.
    #[inline(always)]
    pub fn mul_base_wide(self, other: L) -> WideQm31<L> {
        let [a, b, c, d] = self.0;
        WideQm31([
            a.mul_wide(other),
            b.mul_wide(other),
            c.mul_wide(other),
            d.mul_wide(other),
        ])
    }

    /// The sum of all lanes.
    #[inline(always)]
    pub fn sum(self) -> QM31 {
        let [a, b, c, d] = self.0;
        QM31::from_u32_unchecked(a.sum(), b.sum(), c.sum(), d.sum())
    }
}

/// A sum of four limb products. A function and not a closure, and the arrays above are spelt out rather than mapped:
/// what the compiler does not inline does not get the instruction set.
#[inline(always)]
fn dot<L: Lanes>(a: [L; 4], b: [L; 4]) -> L::Wide {
    L::wide_add(
        L::wide_add(a[0].mul_wide(b[0]), a[1].mul_wide(b[1])),
        L::wide_add(a[2].mul_wide(b[2]), a[3].mul_wide(b[3])),
    )
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
        let [a, b, c, d] = self.0;
        Self([L::wide_fold(a), L::wide_fold(b), L::wide_fold(c), L::wide_fold(d)])
    }

    /// The canonical elements.
    #[inline(always)]
    pub fn reduce(self) -> Packed<L> {
        let [a, b, c, d] = self.0;
        Packed([
            L::wide_reduce(a),
            L::wide_reduce(b),
            L::wide_reduce(c),
            L::wide_reduce(d),
        ])
    }
}
