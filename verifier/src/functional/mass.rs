//! Sums of `eq` over ranges of positions, in one step per variable.

use alloc::{vec, vec::Vec};

use mlc_circuit::BlockLayout;
use num_traits::{One, Zero};

use crate::field::{QM31, dot, eq_index, eq_points, eq_range};

/// `Σ_positions eq(point, position)` over a tensor's cells.
pub fn mass(layout: &BlockLayout, point: &[QM31]) -> QM31 {
    let k = layout.block_bits();
    let high = &point[..point.len() - k as usize];
    let (start, count) = (layout.offset >> k, layout.len() >> k);
    prefix_mass(high, start + count) - prefix_mass(high, start)
}

/// `Σ_positions eq(a, position) · eq(b, position)` over a tensor's cells; `a` and `b` may have different lengths
/// (the shorter space is the start of the longer one).
pub fn joint_mass(layout: &BlockLayout, a: &[QM31], b: &[QM31]) -> QM31 {
    let (long, short) = if a.len() < b.len() { (b, a) } else { (a, b) };
    let (top, long) = long.split_at(long.len() - short.len());
    let inside = top.iter().fold(QM31::one(), |acc, &r| acc * (QM31::one() - r));
    let end = layout.offset + layout.len();
    inside * (prefix_joint_mass(long, short, end) - prefix_joint_mass(long, short, layout.offset))
}

/// `Σ_cells eq(a, position) · eq(b, position)` over a tensor's cells, which lie at their places in two spaces: the layouts
/// differ in their offsets only.
pub fn shifted_joint_mass((layout, a): (&BlockLayout, &[QM31]), (other, b): (&BlockLayout, &[QM31])) -> QM31 {
    if layout.offset == other.offset {
        return joint_mass(layout, a, b);
    }
    let k = layout.block_bits() as usize;
    let ((high_a, low_a), (high_b, low_b)) = (a.split_at(a.len() - k), b.split_at(b.len() - k));
    let count = layout.len() >> k;
    let blocks = |high: &[QM31], offset: usize| eq_range(high, offset >> k, count);
    eq_points(low_a, low_b) * dot(&blocks(high_a, layout.offset), &blocks(high_b, other.offset))
}

/// `Σ_{x < len} eq(point, x)`.
pub fn prefix_mass(point: &[QM31], len: usize) -> QM31 {
    // Walk the bits of `len`: each 1 bit closes a subcube below it.
    let n = point.len();
    if len >= 1 << n {
        return QM31::one();
    }
    let mut acc = QM31::zero();
    let mut path = QM31::one();
    for (k, &r) in point.iter().enumerate() {
        let hi = path * r;
        if (len >> (n - 1 - k)) & 1 == 1 {
            acc += path - hi;
            path = hi;
        } else {
            path -= hi;
        }
    }
    acc
}

/// `Σ_{x < len} eq(a, x) · eq(b, x)`, for points of equal length.
pub fn prefix_joint_mass(a: &[QM31], b: &[QM31], len: usize) -> QM31 {
    debug_assert_eq!(a.len(), b.len());
    let n = a.len();
    // Per variable: both factors at 1, and the sum of both values.
    let steps: Vec<(QM31, QM31)> = a
        .iter()
        .zip(b)
        .map(|(&x, &y)| {
            let one = x * y;
            (one, one + one + QM31::one() - x - y)
        })
        .collect();
    // What the variables from k on give over their whole cube.
    let mut below = vec![QM31::one(); n + 1];
    for k in (0..n).rev() {
        below[k] = below[k + 1] * steps[k].1;
    }
    if len >= 1 << n {
        return below[0];
    }
    let (mut acc, mut path) = (QM31::zero(), QM31::one());
    for (k, &(one, both)) in steps.iter().enumerate() {
        let (hi, lo) = (path * one, path * (both - one));
        if (len >> (n - 1 - k)) & 1 == 1 {
            acc += lo * below[k + 1];
            path = hi;
        } else {
            path = lo;
        }
    }
    acc
}

/// `eq(point, index)` where the index's low bits are left to `rest`: helper for aligned vectors in a flat space.
pub fn block_weight(point: &[QM31], offset: usize, low_bits: usize) -> QM31 {
    eq_index(&point[..point.len() - low_bits], offset >> low_bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(n: usize, seed: u32) -> Vec<QM31> {
        (0..n as u32)
            .map(|i| QM31::from_u32_unchecked(seed * 7 + i, 3 * i + seed, 11 + seed * i, i * i + 5))
            .collect()
    }

    proptest! {
        #[test]
        fn masses_agree_with_sums_over_cells(
            shape in prop::collection::vec(prop_oneof![Just(1usize), Just(3), Just(17), Just(20), 1usize..13], 0..3),
            skipped in 0usize..5,
            elsewhere in 0usize..4,
            seed in 1u32..1000,
            more in 0usize..3,
        ) {
            let mut l = BlockLayout::new(shape);
            l.offset = skipped << l.block_bits();
            let bits = mlc_circuit::bits_for(l.offset + l.len());
            let (z, y) = (point(bits, seed), point(bits + more, seed + 1));
            let sum = |f: &dyn Fn(usize) -> QM31| l.positions().into_iter().map(f).sum::<QM31>();
            prop_assert_eq!(mass(&l, &z), sum(&|p| eq_index(&z, p)));
            let joint = sum(&|p| eq_index(&z, p) * eq_index(&y, p));
            prop_assert_eq!(joint_mass(&l, &z, &y), joint);
            prop_assert_eq!(joint_mass(&l, &y, &z), joint);
            prop_assert_eq!(shifted_joint_mass((&l, &z), (&l, &y)), joint);
            // The same cells at another place of another space.
            let mut other = l.clone();
            other.offset = elsewhere << l.block_bits();
            let x = point(mlc_circuit::bits_for(other.offset + other.len()), seed + 2);
            let pairs = l.positions().into_iter().zip(other.positions());
            let apart: QM31 = pairs.map(|(p, q)| eq_index(&z, p) * eq_index(&x, q)).sum();
            prop_assert_eq!(shifted_joint_mass((&l, &z), (&other, &x)), apart);
        }
    }

    #[test]
    fn prefixes_agree_with_sums() {
        let (z, y) = (point(6, 3), point(6, 4));
        for len in 0..=64 {
            let (e, f) = (eq_range(&z, 0, len), eq_range(&y, 0, len));
            assert_eq!(prefix_mass(&z, len), e.iter().copied().sum());
            assert_eq!(prefix_joint_mass(&z, &y, len), crate::field::dot(&e, &f));
        }
    }
}
