//! Linear algebra on long vectors: SIMD on pieces, pieces on threads.

use mlc_verifier::field::{M31, P, QM31};
use num_traits::Zero;
use rayon::prelude::*;

use super::simd::{Lanes, Packed, Scalar, WideQm31, dispatch};
use super::split::{Cols, ColsMut, PIECE, map_pieces};
use super::{Cpu, ExtVec, words};
use crate::backend::VectorOps;
use crate::backend::fractions::Numerators;

/// `out[j] += outer[(offset + j) / n] · inner[(offset + j) % n]`.
#[inline(always)]
fn add_outer_kernel<L: Lanes>(mut out: ColsMut<'_>, offset: usize, len: usize, outer: &[QM31], inner: Cols<'_>) {
    let n = inner.len();
    let mut j = 0;
    while j < len {
        let (row, column) = ((offset + j) / n, (offset + j) % n);
        let end = (j + n - column).min(len);
        // Many rows of a sum over part of a tensor weigh nothing.
        if outer[row].is_zero() {
            j = end;
            continue;
        }
        // Column of element j of the piece: j + base, modulo 2^64.
        let base = column.wrapping_sub(j);
        let factor = Packed::<L>::splat(outer[row]);
        while j + L::N <= end {
            let product = Packed::<L>::load(&inner.0, j.wrapping_add(base)).mul(factor);
            out.load::<L>(j).add(product).store(&mut out.0, j);
            j += L::N;
        }
        let factor = Packed::<Scalar>::splat(outer[row]);
        while j < end {
            let product = Packed::<Scalar>::load(&inner.0, j.wrapping_add(base)).mul(factor);
            out.load::<Scalar>(j).add(product).store(&mut out.0, j);
            j += 1;
        }
    }
}

/// `Σ_i inner[i] · values[i]`; `values` is no longer than `inner`.
#[inline(always)]
fn inner_product_kernel<L: Lanes>(values: &[u32], inner: Cols<'_>) -> QM31 {
    let whole = values.len() / L::N * L::N;
    let mut sums = WideQm31::<L>::zero();
    let mut j = 0;
    while j < whole {
        // A product and a folded rest stay below 2^64.
        sums = sums
            .add(Packed::<L>::load(&inner.0, j).mul_base_wide(L::load(values, j)))
            .fold();
        j += L::N;
    }
    let mut rest = WideQm31::<Scalar>::zero();
    while j < values.len() {
        rest = rest
            .add(Packed::<Scalar>::load(&inner.0, j).mul_base_wide(Scalar::load(values, j)))
            .fold();
        j += 1;
    }
    sums.reduce().sum() + rest.reduce().sum()
}

/// `out[j] = constant - keys[j]`: only the first limb differs from the constant's.
#[inline(always)]
fn differences_kernel<L: Lanes>(out: ColsMut<'_>, constant: QM31, keys: &[u32]) {
    let [first, b, c, d] = out.0;
    let [limb, y, z, w] = constant.to_m31_array();
    b.fill(y.0);
    c.fill(z.0);
    d.fill(w.0);
    let whole = keys.len() / L::N * L::N;
    let mut j = 0;
    while j < whole {
        L::splat(limb.0).sub(L::load(keys, j)).store(first, j);
        j += L::N;
    }
    while j < keys.len() {
        Scalar::splat(limb.0).sub(Scalar::load(keys, j)).store(first, j);
        j += 1;
    }
}

/// `out[j] += value`.
#[inline(always)]
fn add_constant_kernel<L: Lanes>(mut out: ColsMut<'_>, len: usize, value: QM31) {
    let whole = len / L::N * L::N;
    let mut j = 0;
    while j < whole {
        out.load::<L>(j).add(Packed::splat(value)).store(&mut out.0, j);
        j += L::N;
    }
    while j < len {
        out.load::<Scalar>(j).add(Packed::splat(value)).store(&mut out.0, j);
        j += 1;
    }
}

/// `out[j] = Σ_(start, c) c · values[start + from + j]`.
#[inline(always)]
fn combine_rows_kernel<L: Lanes>(values: &[u32], rows: &[(usize, QM31)], from: usize, out: &mut [QM31]) {
    let whole = out.len() / L::N * L::N;
    let mut j = 0;
    while j < whole {
        let mut sum = WideQm31::<L>::zero();
        for &(start, c) in rows {
            let x = L::load(values, start + from + j);
            sum = sum.add(Packed::<L>::splat(c).mul_base_wide(x)).fold();
        }
        let mut limbs = [[0u32; 16]; 4];
        let [a, b, c, d] = &mut limbs;
        sum.reduce().store(&mut [a, b, c, d], 0);
        for (k, out) in out[j..j + L::N].iter_mut().enumerate() {
            *out = QM31::from_u32_unchecked(limbs[0][k], limbs[1][k], limbs[2][k], limbs[3][k]);
        }
        j += L::N;
    }
    for (j, out) in out.iter_mut().enumerate().skip(whole) {
        let mut sum = WideQm31::<Scalar>::zero();
        for &(start, c) in rows {
            let x = Scalar::load(values, start + from + j);
            sum = sum.add(Packed::<Scalar>::splat(c).mul_base_wide(x)).fold();
        }
        *out = sum.reduce().sum();
    }
}

dispatch! {
    pub(super) fn add_constant_piece(out: ColsMut<'_>, len: usize, value: QM31) = add_constant_kernel;
    fn combine_rows_piece(values: &[u32], rows: &[(usize, QM31)], from: usize, out: &mut [QM31]) = combine_rows_kernel;
    pub(super) fn add_outer_piece(out: ColsMut<'_>, offset: usize, len: usize, outer: &[QM31], inner: Cols<'_>) = add_outer_kernel;
    fn inner_product_row(values: &[u32], inner: Cols<'_>) -> QM31 = inner_product_kernel;
    pub(super) fn differences_piece(out: ColsMut<'_>, constant: QM31, keys: &[u32]) = differences_kernel;
}

/// The key `cell + shift` of a signed cell.
fn key_of(cell: u32, shift: u32) -> usize {
    (M31(cell) + M31(shift)).0 as usize
}

/// Limb sums of two tasks.
fn add_sums(mut a: Vec<[u64; 4]>, b: Vec<[u64; 4]>) -> Vec<[u64; 4]> {
    for (a, b) in a.iter_mut().zip(b) {
        for k in 0..4 {
            a[k] += b[k];
        }
    }
    a
}

fn reduced(sums: Vec<[u64; 4]>) -> Vec<QM31> {
    let limb = |s: u64| M31((s % u64::from(P)) as u32);
    sums.into_iter()
        .map(|[a, b, c, d]| QM31::from_m31(limb(a), limb(b), limb(c), limb(d)))
        .collect()
}

/// Adds the weights `from ..` to the sums of their keys.
fn push_piece(cells: &[u32], shift: u32, weights: &Numerators<'_, Cpu>, from: usize, sums: &mut [[u64; 4]]) {
    let mut add = |cells: &[u32], value: &dyn Fn(usize) -> [u32; 4]| {
        for (j, &cell) in cells.iter().enumerate() {
            if let Some(s) = sums.get_mut(key_of(cell, shift)) {
                let limbs = value(j);
                for k in 0..4 {
                    s[k] += u64::from(limbs[k]);
                }
            }
        }
    };
    let limbs = |v: QM31| v.to_m31_array().map(|l| l.0);
    match weights {
        Numerators::Constant(value) => add(cells, &|_| limbs(*value)),
        Numerators::Units { unit, values } => {
            let mut done = 0;
            while done < cells.len() {
                let at = from + done;
                let stop = (done + unit - at % unit).min(cells.len());
                let value = values[at / unit];
                if !value.is_zero() {
                    let value = limbs(value);
                    add(&cells[done..stop], &|_| value);
                }
                done = stop;
            }
        }
        Numerators::Scaled { .. } | Numerators::Outer { .. } => {
            let mut piece = ExtVec::zeros(cells.len());
            let (outer, inner, from) = match weights {
                Numerators::Outer { outer, inner } => (&outer[..], *inner, from),
                Numerators::Scaled {
                    scale,
                    values,
                    from: start,
                } => (std::slice::from_ref(scale), *values, start + from),
                _ => return,
            };
            let rows = from / inner.len()..(from + cells.len()).div_ceil(inner.len());
            if outer[rows].iter().all(Zero::is_zero) {
                return;
            }
            add_outer_piece(ColsMut::of(&mut piece), from, cells.len(), outer, Cols::of(inner));
            let [a, b, c, d] = piece.columns();
            add(cells, &|j| [a[j], b[j], c[j], d[j]]);
        }
    }
}

/// Keys that one task counts: enough that clearing and adding up a table of its own is a small part.
fn task_keys(rows: usize) -> usize {
    (8 * rows).max(1 << 14)
}

impl VectorOps for Cpu {
    fn constant(&self, value: QM31, len: usize) -> ExtVec {
        let [a, b, c, d] = value.to_m31_array();
        ExtVec::from_limbs([vec![a.0; len], vec![b.0; len], vec![c.0; len], vec![d.0; len]])
    }

    fn add_outer(&self, out: &mut ExtVec, at: usize, outer: &[QM31], inner: &ExtVec) {
        let len = outer.len() * inner.len();
        map_pieces(
            ColsMut::of(out).range(at, at + len),
            len,
            &|offset, len, out| add_outer_piece(out, offset, len, outer, Cols::of(inner)),
            &|(), ()| (),
        );
    }

    fn add_scaled(&self, out: &mut ExtVec, at: usize, scale: QM31, values: &ExtVec) {
        self.add_outer(out, at, &[scale], values);
    }

    fn inner_product(&self, values: &Vec<M31>, at: usize, outer: &[QM31], inner: &ExtVec) -> QM31 {
        let n = inner.len();
        let values = &words(values)[at..at + outer.len() * n];
        let row = |(o, values): (&QM31, &[u32])| *o * inner_product_row(values, Cols::of(inner));
        if values.len() < 1 << 12 {
            return outer.iter().zip(values.chunks(n)).map(row).sum();
        }
        // The sum is exact, so its order is free.
        let rows = (1 << 12) / n + 1;
        outer
            .par_chunks(rows)
            .zip(values.par_chunks(rows * n))
            .map(|(outer, values)| outer.iter().zip(values.chunks(n)).map(row).sum())
            .reduce(QM31::zero, |a: QM31, b| a + b)
    }

    fn push_forward(&self, keys: &[i32], weights: &ExtVec, rows: usize) -> Vec<QM31> {
        let columns = weights.columns();
        let task = task_keys(rows);
        let sums = keys
            .par_chunks(task)
            .enumerate()
            .map(|(t, keys)| {
                // Fewer than 2^32 limbs below 2^31: no sum wraps.
                let mut sums = vec![[0u64; 4]; rows];
                let [a, b, c, d] = columns.map(|c| &c[t * task..t * task + keys.len()]);
                for (j, &key) in keys.iter().enumerate() {
                    if let Some(s) = sums.get_mut(key as u32 as usize) {
                        s[0] += u64::from(a[j]);
                        s[1] += u64::from(b[j]);
                        s[2] += u64::from(c[j]);
                        s[3] += u64::from(d[j]);
                    }
                }
                sums
            })
            .reduce_with(add_sums)
            .unwrap_or_else(|| vec![[0; 4]; rows]);
        reduced(sums)
    }

    fn push_cells(
        &self,
        cells: &Vec<M31>,
        at: usize,
        shift: u32,
        weights: &Numerators<'_, Self>,
        (len, rows): (usize, usize),
    ) -> Vec<QM31> {
        let cells = &words(cells)[at..at + len];
        let task = task_keys(rows);
        let sums = cells
            .par_chunks(task)
            .enumerate()
            .map(|(t, cells)| {
                // Fewer than 2^32 limbs below 2^31: no sum wraps.
                let mut sums = vec![[0u64; 4]; rows];
                for (p, cells) in cells.chunks(PIECE).enumerate() {
                    push_piece(cells, shift, weights, t * task + p * PIECE, &mut sums);
                }
                sums
            })
            .reduce_with(add_sums)
            .unwrap_or_else(|| vec![[0; 4]; rows]);
        reduced(sums)
    }

    fn count_cells(&self, cells: &Vec<M31>, (at, len): (usize, usize), shift: u32, rows: usize) -> Vec<u32> {
        words(&cells[at..at + len])
            .par_chunks(task_keys(rows))
            .map(|cells| {
                let mut counts = vec![0u32; rows];
                for &cell in cells {
                    if let Some(c) = counts.get_mut(key_of(cell, shift)) {
                        *c += 1;
                    }
                }
                counts
            })
            .reduce_with(|mut a, b| {
                a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                a
            })
            .unwrap_or_else(|| vec![0; rows])
    }

    fn combine_rows(&self, values: &[M31], rows: &[(usize, QM31)], len: usize) -> Vec<QM31> {
        let mut out = vec![QM31::zero(); len];
        let values = words(values);
        // About 2^14 products per task.
        let piece = ((1 << 14) / rows.len().max(1)).next_multiple_of(16);
        if len <= piece {
            combine_rows_piece(values, rows, 0, &mut out);
        } else {
            out.par_chunks_mut(piece)
                .enumerate()
                .for_each(|(p, out)| combine_rows_piece(values, rows, p * piece, out));
        }
        out
    }

    fn histogram(&self, keys: &[i32], rows: usize) -> Vec<u32> {
        keys.par_chunks(task_keys(rows))
            .map(|keys| {
                let mut counts = vec![0u32; rows];
                for &key in keys {
                    if let Some(c) = counts.get_mut(key as u32 as usize) {
                        *c += 1;
                    }
                }
                counts
            })
            .reduce_with(|mut a, b| {
                a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                a
            })
            .unwrap_or_else(|| vec![0; rows])
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{base, ext};
    use super::*;
    use crate::backend::Columns;
    use crate::backend::naive::Naive;
    use mlc_verifier::field::m31;

    #[test]
    fn outer_products_agree_with_the_plain_ones() {
        for (outer, inner, at) in [
            (1, 1, 0),
            (3, 5, 2),
            (7, 17, 1),
            (5, 1024, 0),
            (40, 100, 3),
            (2, 5000, 7),
        ] {
            let (o, i) = (ext(outer, 1), ext(inner, 2));
            let start = ext(at + outer * inner + 3, 3);
            let mut naive = start.clone();
            Naive.add_outer(&mut naive, at, &o, &i);
            let mut ours = Cpu.ext(start);
            Cpu.add_outer(&mut ours, at, &o, &Cpu.ext(i.clone()));
            assert_eq!(Cpu.host_ext(&ours), naive, "{outer} x {inner}");

            let values = base(at + outer * inner + 1);
            assert_eq!(
                Cpu.inner_product(&values, at, &o, &Cpu.ext(i.clone())),
                Naive.inner_product(&values, at, &o, &i)
            );
        }
    }

    #[test]
    fn combined_rows_agree_with_the_plain_ones() {
        let values = base(40_000);
        for (count, len) in [(0, 5), (1, 1), (3, 17), (16, 1024), (100, 300), (2, 20_000)] {
            let rows: Vec<(usize, QM31)> = ext(count, 8)
                .into_iter()
                .enumerate()
                .map(|(k, c)| (k * 97, c))
                .collect();
            assert_eq!(
                Cpu.combine_rows(&values, &rows, len),
                Naive.combine_rows(&values, &rows, len)
            );
        }
    }

    #[test]
    fn fractions_of_lookups_agree_with_the_plain_ones() {
        for len in [1, 15, 16, 17, 3000, 20000] {
            let keys = base(len + 5);
            for rows in [1, 100, 1 << 12] {
                let keys: Vec<i32> = keys[..len].iter().map(|k| k.0 as i32 % (2 * rows) - rows / 2).collect();
                let weights = ext(len, 6);
                let rows = rows as usize;
                assert_eq!(
                    Cpu.push_forward(&keys, &Cpu.ext(weights.clone()), rows),
                    Naive.push_forward(&keys, &weights, rows)
                );
                assert_eq!(Cpu.histogram(&keys, rows), Naive.histogram(&keys, rows));

                // Signed cells, keys from -half on and some outside of the table.
                let half = rows as u32 / 2;
                let cells: Vec<M31> = keys.iter().chain(&[0]).map(|&k| m31(k.into())).collect();
                assert_eq!(
                    Cpu.count_cells(&cells, (1, len - 1), half, rows),
                    Naive.count_cells(&cells, (1, len - 1), half, rows)
                );
                let shapes = [(7, vec![3, 500]), (600, vec![0, 1, 2]), (len, vec![1])];
                for (inner, zero) in shapes {
                    let mut outer = ext(len.div_ceil(inner), 7);
                    zero.iter()
                        .for_each(|&z| outer.iter_mut().skip(z).take(1).for_each(|o| *o = QM31::zero()));
                    let vector = ext(inner, 8);
                    let on_cpu = Cpu.ext(vector.clone());
                    let outer = || outer.clone();
                    let ours = Numerators::Outer {
                        outer: outer(),
                        inner: &on_cpu,
                    };
                    let plain = Numerators::Outer {
                        outer: outer(),
                        inner: &vector,
                    };
                    assert_eq!(
                        Cpu.push_cells(&cells, 1, half, &ours, (len, rows)),
                        Naive.push_cells(&cells, 1, half, &plain, (len, rows))
                    );
                    let ours = Numerators::Units {
                        unit: inner,
                        values: outer(),
                    };
                    let plain = Numerators::Units {
                        unit: inner,
                        values: outer(),
                    };
                    assert_eq!(
                        Cpu.push_cells(&cells, 1, half, &ours, (len, rows)),
                        Naive.push_cells(&cells, 1, half, &plain, (len, rows))
                    );
                }
            }
        }
    }
}
