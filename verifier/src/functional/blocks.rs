//! `Σ_blocks eq(z, first + block) · Π_a f_a(block_a)` over the row-major block indices of a layout.
//!
//! The lengths of the axes are odd, so `eq` of a position does not factor over them. Three ways around the table of all
//! positions:
//! - an outermost axis of few entries (rows that tokens name) is walked entry by entry;
//! - a long outermost axis that is itself weighted by `eq` (all rows of an embedding) is summed bit by bit: position
//!   `first + m · b + t` is an addition with carry, and all that bit i sees of the bits below it is the carry, one of m + 2
//!   values, and whether b is still below the length;
//! - the innermost axis is contracted with what `eq` of the low bits gives for each way in which a row may start there: as
//!   many as the power of two above its length, however many rows there are.

use alloc::{vec, vec::Vec};

use num_traits::{One, Zero};

use super::evaluate::Blocks;
use crate::field::{QM31, dot, eq_index, eq_range, eq_table};

/// `Σ_blocks eq(z, first + block) · Π_a axes_a(block_a)`, the block indices row-major; with each axis its length.
pub(super) fn contract(axes: &[(usize, Blocks)], z: &[QM31], first: usize) -> QM31 {
    let Some(((outer_len, outer), rest)) = axes.split_first() else {
        return eq_index(z, first);
    };
    let stride: usize = rest.iter().map(|a| a.0).product();
    match outer {
        Blocks::Sparse(entries) => {
            return entries
                .iter()
                .map(|&(b, w)| w * contract(rest, z, first + b * stride))
                .sum();
        }
        // The steps bit by bit cost 4 (stride + 2) products each.
        Blocks::Eq(point) if 4 * (stride + 2) * z.len() < stride * outer_len => {
            return bit_by_bit(point, *outer_len, &outer_product(rest), z, first);
        }
        _ => {}
    }
    let count = stride * outer_len;
    let Some(((len, last), rest)) = axes.split_last() else {
        return QM31::zero();
    };
    let mut data = rows(&table(last, *len), z, first, count / len);
    for (len, blocks) in rest.iter().rev() {
        data = match blocks {
            Blocks::Sparse(entries) => data
                .chunks_exact(*len)
                .map(|row| entries.iter().map(|&(b, w)| row[b] * w).sum())
                .collect(),
            _ => {
                let weights = table(blocks, *len);
                data.chunks_exact(*len).map(|row| dot(row, &weights)).collect()
            }
        };
    }
    data.iter().copied().sum()
}

/// An axis' weights laid out.
fn table(blocks: &Blocks, len: usize) -> Vec<QM31> {
    match blocks {
        Blocks::Eq(point) => eq_table(point, len),
        Blocks::Dense(weights) => weights.clone(),
        Blocks::Sparse(entries) => {
            let mut out = vec![QM31::zero(); len];
            entries.iter().for_each(|&(b, w)| out[b] += w);
            out
        }
    }
}

/// The weights of all axes together, row-major.
fn outer_product(axes: &[(usize, Blocks)]) -> Vec<QM31> {
    axes.iter().fold(vec![QM31::one()], |acc, (len, blocks)| {
        let own = table(blocks, *len);
        acc.iter().flat_map(|&x| own.iter().map(move |&y| x * y)).collect()
    })
}

/// `Σ_t weights_t · eq(z, first + row · len + t)` for each of `count` rows, `len` being the number of weights.
fn rows(weights: &[QM31], z: &[QM31], first: usize, count: usize) -> Vec<QM31> {
    let len = weights.len();
    let bits = mlc_circuit::bits_for(len).min(z.len());
    let size = 1usize << bits;
    if len == 1 || count < 2 * size || len > size {
        let eq = eq_range(z, first, count * len);
        return eq.chunks_exact(len).map(|row| dot(row, weights)).collect();
    }
    let (high, low) = z.split_at(z.len() - bits);
    let low = eq_table(low, size);
    // A row that starts at place s of a piece of `size` positions: its part there, and its part in the next piece.
    let starts: Vec<(QM31, QM31)> = (0..size)
        .map(|s| {
            let here = len.min(size - s);
            (dot(&low[s..], &weights[..here]), dot(&low, &weights[here..]))
        })
        .collect();
    let piece = first >> bits;
    let last = (first + count * len - 1) >> bits;
    let high = eq_range(high, piece, last - piece + 1);
    (0..count)
        .map(|row| {
            let at = first + row * len;
            let (here, next) = starts[at & (size - 1)];
            let piece = (at >> bits) - piece;
            match high.get(piece + 1) {
                Some(&h) if !next.is_zero() => high[piece] * here + h * next,
                _ => high[piece] * here,
            }
        })
        .collect()
}

/// `Σ_{b < len} eq(point, b) Σ_t inner_t · eq(z, first + b · inner.len() + t)`, from the lowest bit up.
fn bit_by_bit(point: &[QM31], len: usize, inner: &[QM31], z: &[QM31], first: usize) -> QM31 {
    let m = inner.len();
    // Sums by carry (counted from that of `first` alone) and by whether the bits of b so far are below those of `len`.
    let mut sums = vec![[QM31::zero(); 2]; m + 2];
    for (t, &w) in inner.iter().enumerate() {
        sums[t][0] = w;
    }
    let bit = |x: usize, i: usize| (x >> i) & 1;
    for i in 0..z.len() {
        let up = |point: &[QM31]| point.len().checked_sub(i + 1).map(|k| point[k]);
        let z = up(z).unwrap_or(QM31::zero());
        // Behind its variables b has zeros.
        let b = up(point).unwrap_or(QM31::zero());
        let of_b = [QM31::one() - b, b];
        let weights = of_b.map(|w| {
            let one = w * z;
            [w - one, one]
        });
        let (carry, next) = (first >> i, first >> (i + 1));
        let mut above = vec![[QM31::zero(); 2]; m + 2];
        for (c, sums) in sums.iter().enumerate() {
            for (b, weights) in weights.iter().enumerate() {
                let total = carry + c + m * b;
                let to = &mut above[(total >> 1) - next];
                let w = weights[total & 1];
                for (below, &sum) in sums.iter().enumerate() {
                    let below = match (b, bit(len, i)) {
                        (0, 1) => 1,
                        (1, 0) => 0,
                        _ => below,
                    };
                    to[below] += sum * w;
                }
            }
        }
        sums = above;
    }
    // No carry is left: the position is inside the space.
    let carry = first >> z.len();
    if carry != 0 {
        return QM31::zero();
    }
    let [not_below, below] = sums[0];
    if len >> z.len() == 0 { below } else { below + not_below }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::Transcript;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Each way against the sum over all positions.
        #[test]
        fn contractions_agree_with_positions(
            axes in prop::collection::vec((prop_oneof![Just(1usize), Just(3), Just(17), 1usize..40], 0u8..3), 0..4),
            first in 0usize..200,
            more in 0usize..3,
            seed in any::<u8>(),
        ) {
            let mut t = Transcript::new(&[seed]);
            let count: usize = axes.iter().map(|a| a.0).product();
            let z = t.draw_many(mlc_circuit::bits_for(first + count) + more);
            let axes: Vec<(usize, Blocks)> = axes
                .into_iter()
                .map(|(n, kind)| match kind {
                    0 => (n, Blocks::Eq(t.draw_many(mlc_circuit::bits_for(n)))),
                    1 => (n, Blocks::Dense(t.draw_many(n))),
                    _ => (n, Blocks::Sparse([0, n - 1, n / 2, n - 1].map(|b| (b, t.draw())).to_vec())),
                })
                .collect();
            let weights = outer_product(&axes);
            let want: QM31 = weights.iter().enumerate().map(|(i, &w)| w * eq_index(&z, first + i)).sum();
            prop_assert_eq!(contract(&axes, &z, first), want);
        }

        /// Long outer axes bit by bit, up to the very end of the space.
        #[test]
        fn additions_bit_by_bit_agree_with_positions(
            len in prop_oneof![Just(1usize), Just(64), Just(63), Just(65), 1usize..700],
            m in 1usize..8,
            first in prop_oneof![Just(0usize), 0usize..300],
            more in 0usize..3,
            seed in any::<u8>(),
        ) {
            let mut t = Transcript::new(&[seed]);
            let point = t.draw_many(mlc_circuit::bits_for(len));
            let inner = t.draw_many(m);
            for first in [first, (first + len * m).next_power_of_two() - len * m] {
                let z = t.draw_many(mlc_circuit::bits_for(first + len * m) + more);
                let mut want = QM31::zero();
                for b in 0..len {
                    for (t, &w) in inner.iter().enumerate() {
                        want += eq_index(&point, b) * w * eq_index(&z, first + b * m + t);
                    }
                }
                prop_assert_eq!(bit_by_bit(&point, len, &inner, &z, first), want);
            }
        }

        #[test]
        fn rows_agree_with_positions(
            len in 1usize..20,
            count in 1usize..100,
            first in 0usize..100,
            more in 0usize..2,
            seed in any::<u8>(),
        ) {
            let mut t = Transcript::new(&[seed]);
            let weights = t.draw_many(len);
            let z = t.draw_many(mlc_circuit::bits_for(first + len * count) + more);
            let want: Vec<QM31> = (0..count)
                .map(|r| weights.iter().enumerate().map(|(t, &w)| w * eq_index(&z, first + r * len + t)).sum())
                .collect();
            prop_assert_eq!(rows(&weights, &z, first, count), want);
        }
    }
}
