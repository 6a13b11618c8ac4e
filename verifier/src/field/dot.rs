//! Sums of products, reduced once.
//!
//! A product of two words below p is below 2^62, so four of them fit in 64 bits; [`fold`] then takes the sum below 2^34
//! without changing it modulo p, and 2^30 folded sums fit again. The loops run over the four limbs side by side, which
//! compilers turn into vector instructions of whatever width the target has.

use stwo::core::fields::m31::{M31, P};

use super::QM31;
use super::ext::reduce;

/// Congruent to x modulo p, and below 2^34.
#[inline(always)]
fn fold(x: u64) -> u64 {
    (x & u64::from(P)) + (x >> 31)
}

/// The element whose limbs are `sums`.
fn element(sums: [u64; 4]) -> QM31 {
    QM31::from_m31_array(sums.map(reduce))
}

/// `Σ a_i · b_i` over the length of the shorter.
pub fn dot(a: &[QM31], b: &[QM31]) -> QM31 {
    let mut sums = [0u64; 4];
    for (&x, &y) in a.iter().zip(b) {
        for (sum, limb) in sums.iter_mut().zip(x.wide_product(y)) {
            *sum += fold(limb);
        }
    }
    element(sums)
}

/// `Σ weights_i · word(values_i)` over the length of the shorter; words are below p.
#[inline(always)]
fn dot_words<V: Copy>(weights: &[QM31], values: &[V], word: impl Fn(V) -> u32) -> QM31 {
    let mut sums = [0u64; 4];
    let mut four = |weights: &[QM31], values: &[V]| {
        let mut part = [0u64; 4];
        for (w, &v) in weights.iter().zip(values) {
            let v = u64::from(word(v));
            let w = w.to_m31_array();
            for (p, w) in part.iter_mut().zip(w) {
                *p += u64::from(w.0) * v;
            }
        }
        for (sum, p) in sums.iter_mut().zip(part) {
            *sum += fold(p);
        }
    };
    let len = weights.len().min(values.len());
    let (weights, values) = (weights[..len].chunks_exact(4), values[..len].chunks_exact(4));
    four(weights.remainder(), values.remainder());
    weights.zip(values).for_each(|(w, v)| four(w, v));
    element(sums)
}

/// `Σ weights_i · values_i` over the length of the shorter.
pub fn dot_base(weights: &[QM31], values: &[M31]) -> QM31 {
    dot_words(weights, values, |v| v.0)
}

/// `Σ weights_i · values_i` over the length of the shorter, of integers with `|value| < p`.
pub fn dot_integers(weights: &[QM31], values: &[i32]) -> QM31 {
    dot_words(weights, values, |v| {
        debug_assert!(v.unsigned_abs() < P);
        (v as u32).wrapping_add((v >> 31) as u32 & P)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use num_traits::Zero;
    use proptest::prelude::*;

    /// A word among which the extremes are likely.
    fn word() -> impl Strategy<Value = u32> {
        prop_oneof![Just(0), Just(1), Just(P - 1), 0..P]
    }

    fn element() -> impl Strategy<Value = QM31> {
        [word(), word(), word(), word()].prop_map(|l| QM31::from_m31_array(l.map(M31)))
    }

    proptest! {
        #[test]
        fn sums_agree_with_one_product_after_the_other(
            pairs in prop::collection::vec((element(), element(), word(), 1 - (P as i32)..(P as i32)), 0..40),
            more in 0usize..3,
        ) {
            let mut a: Vec<QM31> = pairs.iter().map(|p| p.0).collect();
            let b: Vec<QM31> = pairs.iter().map(|p| p.1).collect();
            let base: Vec<M31> = pairs.iter().map(|p| M31(p.2)).collect();
            let integers: Vec<i32> = pairs.iter().map(|p| p.3).collect();
            let sum = |f: &dyn Fn(usize) -> QM31| (0..pairs.len()).fold(QM31::zero(), |s, i| s + f(i));
            let (products, with_base, with_integers) = (
                sum(&|i| a[i] * b[i]),
                sum(&|i| a[i] * base[i]),
                sum(&|i| a[i] * super::super::m31(integers[i].into())),
            );
            // The shorter one decides.
            a.extend(core::iter::repeat_n(QM31::from(M31(5)), more));
            prop_assert_eq!(dot(&a, &b), products);
            prop_assert_eq!(dot_base(&a, &base), with_base);
            prop_assert_eq!(dot_integers(&a, &integers), with_integers);
        }
    }

    #[test]
    fn long_sums_of_the_greatest_values_fit() {
        let most = QM31::from_u32_unchecked(P - 1, P - 1, P - 1, P - 1);
        let n = 1 << 12;
        let (a, ones) = (alloc::vec![most; n], alloc::vec![M31(P - 1); n]);
        let times = M31(n as u32);
        assert_eq!(dot(&a, &a), most * most * times);
        assert_eq!(dot_base(&a, &ones), most * M31(P - 1) * times);
    }
}
