//! Folding integer rows by extension elements: the weights' side of a contraction.

use mlc_verifier::field::{M31, QM31};
use num_traits::Zero;
use rayon::prelude::*;

use super::cpu::Cpu;
use super::cpu::simd::{Level, level};
use super::naive::Naive;

/// Primitives on integer matrices.
pub trait IntegerOps {
    /// `Σ_(r, c) in rows c · values[r · row + k]` for every `k < row`.
    fn fold_integers(&self, values: &[i16], row: usize, rows: &[(usize, QM31)]) -> Vec<QM31>;
}

impl IntegerOps for Naive {
    fn fold_integers(&self, values: &[i16], row: usize, rows: &[(usize, QM31)]) -> Vec<QM31> {
        let mut out = vec![QM31::zero(); row];
        for &(r, c) in rows {
            for (o, &w) in out.iter_mut().zip(&values[r * row..(r + 1) * row]) {
                *o += c * mlc_verifier::field::m31(w.into());
            }
        }
        out
    }
}

/// Columns that one task folds: four accumulators of this many 64-bit words stay in the first-level cache.
const TILE: usize = 64;
/// |w| ≤ 2^15 and limbs below 2^31: sums of this many products stay below 2^61.
const ROWS: usize = 1 << 15;

impl IntegerOps for Cpu {
    fn fold_integers(&self, values: &[i16], row: usize, rows: &[(usize, QM31)]) -> Vec<QM31> {
        let level = level();
        let rows: Vec<(usize, [i32; 4])> = rows
            .iter()
            .map(|(r, c)| (r * row, c.to_m31_array().map(|l| l.0 as i32)))
            .collect();
        let mut out = vec![QM31::zero(); row];
        out.par_chunks_mut(TILE).enumerate().for_each(|(tile, out)| {
            for rows in rows.chunks(ROWS) {
                let mut acc = [[0i64; TILE]; 4];
                fold_tile(level, &mut acc, values, tile * TILE, out.len(), rows);
                for (k, o) in out.iter_mut().enumerate() {
                    let limb = |j: usize| M31::from_u32_unchecked(acc[j][k].rem_euclid((1 << 31) - 1) as u32);
                    *o += QM31::from_m31(limb(0), limb(1), limb(2), limb(3));
                }
            }
        });
        out
    }
}

fn fold_tile(
    level: Level,
    acc: &mut [[i64; TILE]; 4],
    values: &[i16],
    at: usize,
    len: usize,
    rows: &[(usize, [i32; 4])],
) {
    match level {
        // SAFETY: `level` has found the instruction set on this machine.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { fold_tile_avx512(acc, values, at, len, rows) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { fold_tile_avx2(acc, values, at, len, rows) },
        _ => fold_tile_plain(acc, values, at, len, rows),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn fold_tile_avx512(acc: &mut [[i64; TILE]; 4], values: &[i16], at: usize, len: usize, rows: &[(usize, [i32; 4])]) {
    fold_tile_plain(acc, values, at, len, rows);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fold_tile_avx2(acc: &mut [[i64; TILE]; 4], values: &[i16], at: usize, len: usize, rows: &[(usize, [i32; 4])]) {
    fold_tile_plain(acc, values, at, len, rows);
}

#[inline(always)]
fn fold_tile_plain(acc: &mut [[i64; TILE]; 4], values: &[i16], at: usize, len: usize, rows: &[(usize, [i32; 4])]) {
    if len == TILE {
        for (start, l) in rows {
            let Some(w) = values[start + at..].first_chunk::<TILE>() else {
                return;
            };
            for k in 0..TILE {
                let w = i64::from(w[k]);
                // Within ROWS rows nothing can overflow.
                acc[0][k] = acc[0][k].wrapping_add(w * i64::from(l[0]));
                acc[1][k] = acc[1][k].wrapping_add(w * i64::from(l[1]));
                acc[2][k] = acc[2][k].wrapping_add(w * i64::from(l[2]));
                acc[3][k] = acc[3][k].wrapping_add(w * i64::from(l[3]));
            }
        }
        return;
    }
    for (start, l) in rows {
        for (k, &w) in values[start + at..start + at + len].iter().enumerate() {
            for (acc, &l) in acc.iter_mut().zip(l) {
                acc[k] = acc[k].wrapping_add(i64::from(w) * i64::from(l));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_backends_agree(row in 1usize..200, count in 0usize..9, seed in any::<u64>()) {
            let mut s = seed;
            let mut next = || { s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); (s >> 33) as u32 };
            let values: Vec<i16> = (0..row * 10).map(|_| next() as i16).collect();
            let rows: Vec<(usize, QM31)> = (0..count)
                .map(|_| (next() as usize % 10, QM31::from_u32_unchecked(next() % 0x7fff_ffff, next() % 0x7fff_ffff, 0, 0x7fff_fffe)))
                .collect();
            prop_assert_eq!(Cpu.fold_integers(&values, row, &rows), Naive.fold_integers(&values, row, &rows));
        }
    }
}
