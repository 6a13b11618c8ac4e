//! The extension of degree four: F = M31(i, u), i² = -1, u² = 2 + i, elements a + bi + (c + di)u.
//!
//! Field and basis are those of stwo's `QM31` (a test compares every operation). It is a type of its own because most of
//! what prover and verifier do outside of the SIMD kernels is multiplying such elements, and stwo's product is a call of
//! its own that reduces each of its base products: here it is inlined, and each limb is a sum of four products below p²,
//! reduced once.
//!
//! **Invariant.** Limbs are canonical: below p.

use core::fmt::{Debug, Display, Formatter, Result};
use core::iter::Sum;
use core::ops::{Add, AddAssign, Mul, MulAssign, Neg, Sub, SubAssign};

use num_traits::{One, Zero};
use stwo::core::fields::m31::{M31, P};

/// An element a + bi + (c + di)u of the extension.
#[derive(Copy, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct QM31([M31; 4]);

/// `x mod p`, for any x.
#[inline(always)]
pub(super) fn reduce(x: u64) -> M31 {
    // Below 2^31 + 2^33, then at most p + 5.
    let x = (x & u64::from(P)) + (x >> 31);
    let x = ((x & u64::from(P)) + (x >> 31)) as u32;
    M31(x.min(x.wrapping_sub(P)))
}

/// The sum of two canonical words.
#[inline(always)]
fn add(a: M31, b: M31) -> M31 {
    let s = a.0 + b.0;
    M31(s.min(s.wrapping_sub(P)))
}

/// The difference of two canonical words.
#[inline(always)]
fn sub(a: M31, b: M31) -> M31 {
    let d = a.0.wrapping_sub(b.0);
    M31(d.min(d.wrapping_add(P)))
}

impl QM31 {
    /// From limbs below p.
    #[inline(always)]
    pub const fn from_u32_unchecked(a: u32, b: u32, c: u32, d: u32) -> Self {
        Self([M31(a), M31(b), M31(c), M31(d)])
    }

    /// From limbs.
    #[inline(always)]
    pub const fn from_m31(a: M31, b: M31, c: M31, d: M31) -> Self {
        Self([a, b, c, d])
    }

    /// From limbs.
    #[inline(always)]
    pub const fn from_m31_array(limbs: [M31; 4]) -> Self {
        Self(limbs)
    }

    /// The limbs.
    #[inline(always)]
    pub const fn to_m31_array(self) -> [M31; 4] {
        self.0
    }

    /// The limbs as wide integers.
    #[inline(always)]
    const fn wide(self) -> [u64; 4] {
        let [a, b, c, d] = self.0;
        [a.0 as u64, b.0 as u64, c.0 as u64, d.0 as u64]
    }

    /// The limbs of a product, each below 4p² and so in 64 bits, not reduced.
    #[inline(always)]
    pub(super) fn wide_product(self, other: Self) -> [u64; 4] {
        // Added where two products are subtracted.
        const OFFSET: u64 = 2 * (P as u64) * (P as u64);
        let [_, _, a2, a3] = self.0;
        // (2 + i)(a2 + a3 i)
        let r2 = u64::from(sub(add(a2, a2), a3).0);
        let r3 = u64::from(add(add(a3, a3), a2).0);
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (self.wide(), other.wide());
        [
            a0 * b0 + r2 * b2 + (OFFSET - a1 * b1 - r3 * b3),
            a0 * b1 + a1 * b0 + r2 * b3 + r3 * b2,
            a0 * b2 + a2 * b0 + (OFFSET - a1 * b3 - a3 * b1),
            a0 * b3 + a1 * b2 + a2 * b1 + a3 * b0,
        ]
    }

    /// `self · self`.
    #[inline(always)]
    #[must_use]
    pub fn square(self) -> Self {
        self * self
    }

    /// `1 / self`; panics for 0.
    #[must_use]
    pub fn inverse(self) -> Self {
        // With x = a + bu over the field of i: 1/x = (a - bu) / (a² - (2 + i)b²).
        let [a0, a1, b0, b1] = self.0;
        let square = |x: M31, y: M31| ((x + y) * (x - y), (x + x) * y);
        let ((s0, s1), (t0, t1)) = (square(a0, a1), square(b0, b1));
        // (2 + i)(t0 + t1 i)
        let (n0, n1) = (s0 - (t0 + t0 - t1), s1 - (t1 + t1 + t0));
        let scale = (n0 * n0 + n1 * n1).inverse();
        let (d0, d1) = (n0 * scale, -n1 * scale);
        self.conjugate() * Self([d0, d1, M31(0), M31(0)])
    }

    /// a - bu for a + bu.
    fn conjugate(self) -> Self {
        let [a0, a1, b0, b1] = self.0;
        Self([a0, a1, -b0, -b1])
    }
}

impl From<M31> for QM31 {
    #[inline(always)]
    fn from(x: M31) -> Self {
        Self([x, M31(0), M31(0), M31(0)])
    }
}

impl Zero for QM31 {
    #[inline(always)]
    fn zero() -> Self {
        Self([M31(0); 4])
    }

    #[inline(always)]
    fn is_zero(&self) -> bool {
        *self == Self::zero()
    }
}

impl One for QM31 {
    #[inline(always)]
    fn one() -> Self {
        M31(1).into()
    }
}

impl Add for QM31 {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        Self([add(a[0], b[0]), add(a[1], b[1]), add(a[2], b[2]), add(a[3], b[3])])
    }
}

impl Sub for QM31 {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        let (a, b) = (self.0, other.0);
        Self([sub(a[0], b[0]), sub(a[1], b[1]), sub(a[2], b[2]), sub(a[3], b[3])])
    }
}

impl Mul for QM31 {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let [a, b, c, d] = self.wide_product(other);
        Self([reduce(a), reduce(b), reduce(c), reduce(d)])
    }
}

impl Neg for QM31 {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self::zero() - self
    }
}

impl Add<M31> for QM31 {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: M31) -> Self {
        let [a, b, c, d] = self.0;
        Self([add(a, other), b, c, d])
    }
}

impl Sub<M31> for QM31 {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: M31) -> Self {
        let [a, b, c, d] = self.0;
        Self([sub(a, other), b, c, d])
    }
}

impl Mul<M31> for QM31 {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: M31) -> Self {
        let k = u64::from(other.0);
        let [a, b, c, d] = self.wide();
        Self([reduce(a * k), reduce(b * k), reduce(c * k), reduce(d * k)])
    }
}

impl Mul<QM31> for M31 {
    type Output = QM31;

    #[inline(always)]
    fn mul(self, other: QM31) -> QM31 {
        other * self
    }
}

impl<T> AddAssign<T> for QM31
where
    Self: Add<T, Output = Self>,
{
    #[inline(always)]
    fn add_assign(&mut self, other: T) {
        *self = *self + other;
    }
}

impl<T> SubAssign<T> for QM31
where
    Self: Sub<T, Output = Self>,
{
    #[inline(always)]
    fn sub_assign(&mut self, other: T) {
        *self = *self - other;
    }
}

impl<T> MulAssign<T> for QM31
where
    Self: Mul<T, Output = Self>,
{
    #[inline(always)]
    fn mul_assign(&mut self, other: T) {
        *self = *self * other;
    }
}

impl Sum for QM31 {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::zero(), |a, b| a + b)
    }
}

impl Display for QM31 {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let [a, b, c, d] = self.0;
        write!(f, "({a} + {b}i) + ({c} + {d}i)u")
    }
}

impl Debug for QM31 {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use stwo::core::fields::FieldExpOps;
    use stwo::core::fields::qm31::QM31 as Oracle;

    /// Limbs among which the extremes are likely.
    fn limb() -> impl Strategy<Value = M31> {
        prop_oneof![Just(0), Just(1), Just(P - 1), Just(P - 2), 0..P].prop_map(M31)
    }

    fn limbs() -> impl Strategy<Value = [M31; 4]> {
        [limb(), limb(), limb(), limb()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn every_operation_is_that_of_stwo(a in limbs(), b in limbs(), k in limb()) {
            let (x, y) = (QM31::from_m31_array(a), QM31::from_m31_array(b));
            let (s, t) = (Oracle::from_m31_array(a), Oracle::from_m31_array(b));
            prop_assert_eq!((x + y).to_m31_array(), (s + t).to_m31_array());
            prop_assert_eq!((x - y).to_m31_array(), (s - t).to_m31_array());
            prop_assert_eq!((x * y).to_m31_array(), (s * t).to_m31_array());
            prop_assert_eq!((-x).to_m31_array(), (-s).to_m31_array());
            prop_assert_eq!((x + k).to_m31_array(), (s + k).to_m31_array());
            prop_assert_eq!((x - k).to_m31_array(), (s - k).to_m31_array());
            prop_assert_eq!((x * k).to_m31_array(), (s * k).to_m31_array());
            prop_assert_eq!(x.square(), x * x);
            if !x.is_zero() {
                prop_assert_eq!(x.inverse().to_m31_array(), s.inverse().to_m31_array());
            }
            let (mut z, mut w) = (x, x);
            z += y;
            w -= y;
            prop_assert_eq!(z - x, x - w);
            z *= k;
            prop_assert_eq!(z, (x + y) * k);
        }
    }

    #[test]
    fn sums_of_products_fit() {
        // 4p² is the most that a limb of an unreduced product reaches.
        let most = QM31::from_u32_unchecked(P - 1, P - 1, P - 1, P - 1);
        let limit = 4 * u128::from(P) * u128::from(P);
        assert!(limit < 1 << 64);
        assert!(most.wide_product(most).iter().all(|&l| u128::from(l) < limit));
        for x in [0, 1, u64::from(P), u64::from(P) * u64::from(P), u64::MAX] {
            assert_eq!(u64::from(reduce(x).0), x % u64::from(P));
        }
    }
}
