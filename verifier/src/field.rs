//! The two fields of the protocol and the multilinear helpers every move uses.
//!
//! `M31` is the base field (p = 2^31 - 1) in which witness, weights and tables live; it is stwo's. [`QM31`] is its
//! degree-four extension, from which every challenge is drawn: stwo's field in a type of our own ([`ext`]).
//!
//! **Bit order.** A point `r` over `n` variables lists the challenge of the *most significant* index bit first:
//! index `i` of a vector has bit `n - 1 - k` paired with `r[k]`. Sumchecks bind `r[0]` (the top bit) first.

use alloc::vec::Vec;

use num_traits::{One, Zero};
pub use stwo::core::fields::m31::{M31, P};

mod dot;
pub mod ext;
pub use dot::{dot, dot_base, dot_integers};
pub use ext::QM31;

/// The field element of a signed integer with `|x| < p`.
pub fn m31(x: i64) -> M31 {
    M31::from_u32_unchecked(x.rem_euclid(P as i64) as u32)
}

/// The extension element of a signed integer with `|x| < p`.
pub fn qm31(x: i64) -> QM31 {
    m31(x).into()
}

/// `2^k` as an extension element.
pub fn pow2(k: u32) -> QM31 {
    // 2^31 = 1 in M31.
    M31::from_u32_unchecked(1 << (k % 31)).into()
}

/// `eq(a, b) = Π_k (a_k b_k + (1 - a_k)(1 - b_k))`; the slices have equal length.
pub fn eq_points(a: &[QM31], b: &[QM31]) -> QM31 {
    debug_assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(QM31::one(), |acc, (&x, &y)| {
        let xy = x * y;
        acc * (xy + xy + QM31::one() - x - y)
    })
}

/// `eq(point, index)` for one hypercube vertex.
pub fn eq_index(point: &[QM31], index: usize) -> QM31 {
    let n = point.len();
    point.iter().enumerate().fold(QM31::one(), |acc, (k, &r)| {
        if (index >> (n - 1 - k)) & 1 == 1 {
            acc * r
        } else {
            acc * (QM31::one() - r)
        }
    })
}

/// The first `len` entries of `eq(point, ·)`, in index order. `len` is at most `2^point.len()`.
pub fn eq_table(point: &[QM31], len: usize) -> Vec<QM31> {
    eq_range(point, 0, len)
}

/// `eq(point, i)` for `start <= i < start + count`, which is at most `2^point.len()`: one product for each pair of entries
/// and level.
pub fn eq_range(point: &[QM31], start: usize, count: usize) -> Vec<QM31> {
    let mut out = Vec::with_capacity(count);
    if count == 0 {
        return out;
    }
    debug_assert!((start + count - 1).checked_shr(point.len() as u32).unwrap_or(0) == 0);
    out.push(QM31::one());
    for (k, &r) in point.iter().enumerate() {
        // After this step `out` holds the prefixes of k + 1 bits of the indices in the range.
        let rest = (point.len() - 1 - k) as u32;
        let (first, last) = (start >> rest, (start + count - 1) >> rest);
        // The first prefix may be an odd child: then its even sibling is not wanted.
        let skip = first & 1;
        let parents = out.len();
        out.resize(last - first + 1, QM31::zero());
        for parent in (0..parents).rev() {
            let e = out[parent];
            let hi = e * r;
            if let Some(o) = out.get_mut(2 * parent + 1 - skip) {
                *o = hi;
            }
            if 2 * parent >= skip {
                out[2 * parent - skip] = e - hi;
            }
        }
    }
    out
}

/// The multilinear extension of a zero-padded vector at `point`; `values.len() <= 2^point.len()`.
pub fn mle(values: &[QM31], point: &[QM31]) -> QM31 {
    dot(&eq_table(point, values.len()), values)
}

/// The powers `1, x, …, x^(n-1)`.
pub fn powers(x: QM31, n: usize) -> Vec<QM31> {
    let mut out = Vec::with_capacity(n);
    let mut p = QM31::one();
    for _ in 0..n {
        out.push(p);
        p *= x;
    }
    out
}

/// The number of variables that index `len` entries: `ceil(log2(len))`, 0 for `len <= 1`.
pub fn bits_for(len: usize) -> usize {
    len.max(1).next_power_of_two().trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(n: usize) -> Vec<QM31> {
        (0..n as u32)
            .map(|i| QM31::from_u32_unchecked(7 + i, 3 * i + 1, 11, i * i + 5))
            .collect()
    }

    #[test]
    fn eq_table_agrees_with_eq_index_at_every_length() {
        for n in 0..6 {
            let r = point(n);
            for len in 0..=(1usize << n) {
                let t = eq_table(&r, len);
                assert_eq!(t.len(), len);
                for (i, &e) in t.iter().enumerate() {
                    assert_eq!(e, eq_index(&r, i));
                }
            }
        }
    }

    #[test]
    fn ranges_of_eq_agree_with_eq_index() {
        for n in 0..6 {
            let r = point(n);
            for start in 0..1usize << n {
                for count in 0..=(1usize << n) - start {
                    let want: Vec<QM31> = (start..start + count).map(|i| eq_index(&r, i)).collect();
                    assert_eq!(eq_range(&r, start, count), want, "{n} variables from {start}");
                }
            }
        }
    }

    #[test]
    fn eq_points_on_vertices_is_equality() {
        let r = point(4);
        for i in 0..16usize {
            let v: Vec<QM31> = (0..4).map(|k| qm31(((i >> (3 - k)) & 1) as i64)).collect();
            assert_eq!(eq_points(&r, &v), eq_index(&r, i));
        }
    }

    #[test]
    fn bits_cover_their_length() {
        for (len, bits) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1024, 10), (1025, 11)] {
            assert_eq!(bits_for(len), bits);
        }
    }
}
