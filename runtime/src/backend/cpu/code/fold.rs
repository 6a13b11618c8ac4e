//! Folding rows, laying vectors out as matrices, and the opening's sumcheck.

use mlc_verifier::field::{M31, QM31};
use num_traits::{One, Zero};
use rayon::prelude::*;

use crate::backend::code::PositionTerm;
use crate::backend::cpu::simd::{Lanes, Packed, WideQm31, dispatch};
use crate::backend::cpu::{ExtVec, words};

/// Entries that one task handles.
const TASK: usize = 4096;

/// Words of cells that one task folds.
const FOLD_WORDS: usize = 1 << 15;

// Kernels use functions and loops where a closure would do: what is not inlined does not get the instruction set.

/// `sums + x · coeffs[at..]`, limb by limb.
#[inline(always)]
fn add_products<L: Lanes>(sums: [L::Wide; 4], x: L, coeffs: &[&[u32]; 4], at: usize) -> [L::Wide; 4] {
    let mut sums = sums;
    for k in 0..4 {
        sums[k] = L::wide_add(sums[k], x.mul_wide(L::load(coeffs[k], at)));
    }
    sums
}

#[inline(always)]
fn folded<L: Lanes>(sums: [L::Wide; 4]) -> [L::Wide; 4] {
    let [a, b, c, d] = sums;
    [L::wide_fold(a), L::wide_fold(b), L::wide_fold(c), L::wide_fold(d)]
}

/// `out[j] = Σ_i coeffs[i] · cells[j · rows + i]`, with `coeffs` limb by limb, zero-padded to whole registers.
#[inline(always)]
fn fold_rows_kernel<L: Lanes>(cells: &[u32], rows: usize, coeffs: &[&[u32]; 4], out: &mut [QM31]) {
    let whole = rows / L::N * L::N;
    for (column, out) in cells.chunks_exact(rows).zip(out) {
        let mut sums = [L::wide_zero(); 4];
        let mut at = 0;
        // Three products and a folded rest stay below 2^64.
        while at + 3 * L::N <= whole {
            sums = add_products(sums, L::load(column, at), coeffs, at);
            sums = add_products(sums, L::load(column, at + L::N), coeffs, at + L::N);
            sums = add_products(sums, L::load(column, at + 2 * L::N), coeffs, at + 2 * L::N);
            sums = folded::<L>(sums);
            at += 3 * L::N;
        }
        while at < whole {
            sums = folded::<L>(add_products(sums, L::load(column, at), coeffs, at));
            at += L::N;
        }
        if whole < rows {
            let mut tail = [0u32; 16];
            tail[..rows - whole].copy_from_slice(&column[whole..]);
            sums = add_products(sums, L::load(&tail, 0), coeffs, whole);
        }
        let mut limbs = [0; 4];
        for k in 0..4 {
            limbs[k] = L::wide_reduce(sums[k]).sum();
        }
        *out = QM31::from_u32_unchecked(limbs[0], limbs[1], limbs[2], limbs[3]);
    }
}

/// The elements from `at`; those behind the end of `v` are zero.
#[inline(always)]
fn load_padded<L: Lanes>(v: &[&[u32]; 4], at: usize) -> Packed<L> {
    let len = v[0].len();
    if at + L::N <= len {
        Packed::load(v, at)
    } else if at < len {
        let mut out = Packed::zero();
        for (out, limb) in out.0.iter_mut().zip(v) {
            let mut padded = [0u32; 16];
            padded[..len - at].copy_from_slice(&limb[at..len]);
            *out = L::load(&padded, 0);
        }
        out
    } else {
        Packed::zero()
    }
}

#[inline(always)]
fn store_tail<L: Lanes>(x: Packed<L>, out: &mut [&mut [u32]; 4], at: usize, lanes: usize) {
    for (out, limb) in out.iter_mut().zip(x.0) {
        let mut padded = [0u32; 16];
        limb.store(&mut padded, 0);
        out[at..at + lanes].copy_from_slice(&padded[..lanes]);
    }
}

/// Adds `Σ_k high[k] · low[k · out_len + j]` to entry j; `out` is a whole number of registers.
#[inline(always)]
fn positions_kernel<L: Lanes>(high: &[QM31], low: &[u32], out: [&mut [u32]; 4]) {
    let mut out = out;
    let n = out[0].len();
    let mut at = 0;
    while at < n {
        let mut sum = WideQm31::<L>::zero();
        for (k, &h) in high.iter().enumerate() {
            let x = L::load(low, k * n + at);
            sum = sum.add(Packed::<L>::splat(h).mul_base_wide(x));
            // Three products and a folded rest stay below 2^64.
            if k % 3 == 2 {
                sum = sum.fold();
            }
        }
        let [a, b, c, d] = &mut out;
        let here = Packed::<L>::load(&[a, b, c, d], at);
        here.add(sum.reduce()).store(&mut out, at);
        at += L::N;
    }
}

/// The sums over `x` of `a b` at 0 and 2, for `lo` and `hi` halves; `hi` may be shorter, the rest of it is zero.
#[inline(always)]
fn round_kernel<L: Lanes>(a: [[&[u32]; 4]; 2], b: [[&[u32]; 4]; 2]) -> [QM31; 2] {
    let n = a[0][0].len();
    let have = a[1][0].len();
    let mut sums = [WideQm31::<L>::zero(); 2];
    let mut at = 0;
    while at < n {
        let (a0, b0) = (load_padded::<L>(&a[0], at), load_padded::<L>(&b[0], at));
        let zero = a0.mul_wide(b0);
        sums[0] = sums[0].add(zero).fold();
        let two = if at < have {
            let (a1, b1) = (load_padded::<L>(&a[1], at), load_padded::<L>(&b[1], at));
            a1.add(a1).sub(a0).mul_wide(b1.add(b1).sub(b0))
        } else {
            zero
        };
        sums[1] = sums[1].add(two).fold();
        at += L::N;
    }
    [sums[0].reduce().sum(), sums[1].reduce().sum()]
}

/// `out = lo + r (hi - lo)`; `hi` may be shorter, the rest of it is zero.
#[inline(always)]
fn bind_kernel<L: Lanes>(hi: [&[u32]; 4], r: QM31, lo: [&mut [u32]; 4]) {
    let mut lo = lo;
    let r = Packed::<L>::splat(r);
    let n = lo[0].len();
    let mut at = 0;
    while at < n {
        let [a, b, c, d] = &lo;
        let (x, y) = (load_padded::<L>(&[a, b, c, d], at), load_padded::<L>(&hi, at));
        let bound = x.add(r.mul(y.sub(x)));
        if at + L::N <= n {
            bound.store(&mut lo, at);
        } else {
            store_tail(bound, &mut lo, at, n - at);
        }
        at += L::N;
    }
}

dispatch! {
    fn fold_rows_task(cells: &[u32], rows: usize, coeffs: &[&[u32]; 4], out: &mut [QM31]) = fold_rows_kernel;
    fn positions_task(high: &[QM31], low: &[u32], out: [&mut [u32]; 4]) = positions_kernel;
    fn round_task(a: [[&[u32]; 4]; 2], b: [[&[u32]; 4]; 2]) -> [QM31; 2] = round_kernel;
    fn bind_task(hi: [&[u32]; 4], r: QM31, lo: [&mut [u32]; 4]) = bind_kernel;
}

/// `(start, limb slices)` of every task of `size` entries of limb columns.
fn tasks([a, b, c, d]: [&mut [u32]; 4], size: usize) -> Vec<(usize, [&mut [u32]; 4])> {
    a.chunks_mut(size)
        .zip(b.chunks_mut(size))
        .zip(c.chunks_mut(size).zip(d.chunks_mut(size)))
        .enumerate()
        .map(|(i, ((a, b), (c, d)))| (i * size, [a, b, c, d]))
        .collect()
}

fn run(tasks: Vec<(usize, [&mut [u32]; 4])>, f: impl Fn(usize, [&mut [u32]; 4]) + Sync) {
    if tasks.len() == 1 {
        tasks.into_iter().for_each(|(at, out)| f(at, out));
    } else {
        tasks.into_par_iter().for_each(|(at, out)| f(at, out));
    }
}

/// See [`crate::backend::code::Code::fold_rows`].
pub(super) fn fold_rows(cells: &[M31], coeffs: &[QM31]) -> ExtVec {
    let rows = coeffs.len();
    let limbs: [Vec<u32>; 4] = std::array::from_fn(|k| {
        let mut limb: Vec<u32> = coeffs.iter().map(|c| c.to_m31_array()[k].0).collect();
        limb.resize(rows.next_multiple_of(16), 0);
        limb
    });
    let mut out = vec![QM31::zero(); cells.len() / rows];
    let columns = (FOLD_WORDS / rows).max(1);
    out.par_chunks_mut(columns)
        .zip(words(cells).par_chunks(columns * rows))
        .for_each(|(out, cells)| fold_rows_task(cells, rows, &limbs.each_ref().map(Vec::as_slice), out));
    ExtVec::from_values(&out)
}

/// See [`crate::backend::code::Code::concatenate`].
pub(super) fn concatenate(parts: &[(usize, &ExtVec)], len: usize) -> ExtVec {
    let mut out = ExtVec::zeros(len);
    for (offset, part) in parts {
        for (to, from) in out.columns_mut().into_iter().zip(part.columns()) {
            to[*offset..offset + from.len()].copy_from_slice(from);
        }
    }
    out
}

/// See [`crate::backend::code::Code::matrix`].
pub(super) fn matrix(v: &ExtVec, rows: usize, log_cols: u32) -> Vec<M31> {
    let cols = 1usize << log_cols;
    let mut out = vec![M31::zero(); 4 * rows * cols];
    let limbs = v.columns();
    let len = v.len();
    let columns = (TASK / rows).max(1);
    out.par_chunks_mut(4 * rows * columns)
        .enumerate()
        .for_each(|(task, out)| {
            for (i, column) in out.chunks_exact_mut(4 * rows).enumerate() {
                let col = task * columns + i;
                for (row, cells) in column.chunks_exact_mut(4).enumerate() {
                    let at = row * cols + col;
                    if at < len {
                        for (cell, limb) in cells.iter_mut().zip(limbs) {
                            *cell = M31(limb[at]);
                        }
                    }
                }
            }
        });
    out
}

/// See [`crate::backend::code::Code::add_positions`]. The tensor of a position splits into a high part, which carries
/// the weight, and a low part in the base field: a matrix product.
pub(super) fn add_positions(terms: &[PositionTerm], offset: usize, out: &mut ExtVec) {
    let Some(n) = terms.first().map(|t| t.factors.len()) else {
        return;
    };
    let low = n.min(7);
    let width = 1usize << low;
    let mut low_table = vec![M31::zero(); terms.len() * width];
    let mut high_table = vec![QM31::zero(); terms.len() << (n - low)];
    low_table
        .par_chunks_mut(width)
        .zip(terms)
        .for_each(|(row, term)| tensor(&term.factors[..low], M31::one(), row, |a, f| a * f));
    // Transposed to [high index][term] below.
    let high: Vec<Vec<QM31>> = terms
        .par_iter()
        .map(|term| {
            let mut row = vec![QM31::zero(); 1 << (n - low)];
            tensor(&term.factors[low..], term.weight, &mut row, |a, f| a * f);
            row
        })
        .collect();
    high_table.par_chunks_mut(terms.len()).enumerate().for_each(|(h, to)| {
        for (to, row) in to.iter_mut().zip(&high) {
            *to = row[h];
        }
    });
    let [a, b, c, d] = out.columns_mut().map(|limb| &mut limb[offset..offset + (1 << n)]);
    if width < 16 {
        for j in 0..width {
            let mut sum = QM31::zero();
            for (k, &h) in high_table.iter().enumerate() {
                sum += h * low_table[k * width + j];
            }
            for (limb, x) in [&mut *a, &mut *b, &mut *c, &mut *d].into_iter().zip(sum.to_m31_array()) {
                limb[j] = (M31(limb[j]) + x).0;
            }
        }
        return;
    }
    let low_words = words(&low_table);
    let parts: Vec<(usize, [&mut [u32]; 4])> = a
        .chunks_mut(width)
        .zip(b.chunks_mut(width))
        .zip(c.chunks_mut(width).zip(d.chunks_mut(width)))
        .enumerate()
        .map(|(h, ((a, b), (c, d)))| (h, [a, b, c, d]))
        .collect();
    run(parts, |h, out| {
        positions_task(&high_table[h * terms.len()..(h + 1) * terms.len()], low_words, out);
    });
}

/// `out[j] = first · Π_t factors[t]^(bit t of j)`.
fn tensor<T: Copy>(factors: &[M31], first: T, out: &mut [T], mul: impl Fn(T, M31) -> T) {
    out[0] = first;
    for (t, &f) in factors.iter().enumerate() {
        let (done, next) = out.split_at_mut(1 << t);
        for (to, &from) in next.iter_mut().zip(&*done) {
            *to = mul(from, f);
        }
    }
}

/// The halves of a vector in its top variable, cut to the entries that exist.
fn halves(v: &ExtVec, log_len: u32) -> [[&[u32]; 4]; 2] {
    let half = (1usize << (log_len - 1)).min(v.len());
    let columns = v.columns();
    [columns.map(|c| &c[..half]), columns.map(|c| &c[half..])]
}

/// The part of slices that starts at `at` and has at most `len` entries.
fn part<'a>(v: &[&'a [u32]; 4], at: usize, len: usize) -> [&'a [u32]; 4] {
    v.map(|c| &c[at.min(c.len())..(at + len).min(c.len())])
}

/// See [`crate::backend::code::Code::opening_round`].
pub(super) fn opening_round(a: &ExtVec, b: &ExtVec, log_len: u32) -> [QM31; 2] {
    let (a, b) = (halves(a, log_len), halves(b, log_len));
    let n = a[0][0].len();
    let task = |i: usize| {
        round_task(
            [part(&a[0], i * TASK, TASK), part(&a[1], i * TASK, TASK)],
            [part(&b[0], i * TASK, TASK), part(&b[1], i * TASK, TASK)],
        )
    };
    let count = n.div_ceil(TASK);
    let add = |x: [QM31; 2], y: [QM31; 2]| [x[0] + y[0], x[1] + y[1]];
    if count == 1 {
        task(0)
    } else {
        (0..count).into_par_iter().map(task).reduce(|| [QM31::zero(); 2], add)
    }
}

/// See [`crate::backend::code::Code::bind_top_variable`].
pub(super) fn bind_top_variable(v: ExtVec, log_len: u32, r: QM31) -> ExtVec {
    let mut v = v;
    let half = (1usize << (log_len - 1)).min(v.len());
    let [(a, e), (b, f), (c, g), (d, h)] = v.columns_mut().map(|limb| limb.split_at_mut(half));
    let hi: [&[u32]; 4] = [e, f, g, h];
    run(tasks([a, b, c, d], TASK), |at, lo| {
        bind_task(part(&hi, at, TASK), r, lo);
    });
    v.truncate(half);
    v
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Columns;
    use crate::backend::code::Code;
    use crate::backend::cpu::Cpu;
    use crate::backend::cpu::samples::{base, ext};
    use crate::backend::naive::Naive;

    #[test]
    fn folds_agree_with_the_plain_ones() {
        for rows in [1, 2, 15, 16, 40, 63, 256, 1000] {
            let (cells, coeffs) = (base(rows * 37), ext(rows, 1));
            let ours = Cpu.fold_rows(&cells, &coeffs);
            assert_eq!(Cpu.host_ext(&ours), Naive.fold_rows(&cells, &coeffs), "{rows} rows");
        }
        for (len, rows, log_cols) in [(1, 1, 0), (7, 2, 2), (200, 13, 4), (5000, 5, 10), (40000, 10, 12)] {
            let v = ext(len, 2);
            assert_eq!(
                Cpu.matrix(&Cpu.ext(v.clone()), rows, log_cols),
                Naive.matrix(&v, rows, log_cols)
            );
        }
    }

    #[test]
    fn the_sumcheck_agrees_with_the_plain_one() {
        for (len, log_len) in [(1, 1), (2, 1), (3, 2), (17, 5), (1000, 10), (9000, 14), (20000, 15)] {
            let (a, b, r) = (ext(len, 4), ext(len, 5), ext(1, 6)[0]);
            let (ca, cb) = (Cpu.ext(a.clone()), Cpu.ext(b.clone()));
            assert_eq!(
                Cpu.opening_round(&ca, &cb, log_len),
                Naive.opening_round(&a, &b, log_len),
                "{len}"
            );
            assert_eq!(
                Cpu.host_ext(&Cpu.bind_top_variable(ca, log_len, r)),
                Naive.bind_top_variable(a, log_len, r)
            );
        }
    }

    #[test]
    fn positions_agree_with_the_plain_tensor() {
        for n in [0, 1, 3, 4, 6, 7, 9] {
            for count in [1, 2, 5, 50] {
                let terms: Vec<PositionTerm> = (0..count)
                    .map(|k| PositionTerm {
                        factors: base(n),
                        weight: ext(count, 7)[k],
                    })
                    .collect();
                let start = ext(3 << n, 8);
                let mut naive = start.clone();
                Naive.add_positions(&terms, 1 << n, &mut naive);
                let mut ours = Cpu.ext(start);
                Cpu.add_positions(&terms, 1 << n, &mut ours);
                assert_eq!(Cpu.host_ext(&ours), naive, "{n} variables, {count} terms");
            }
        }
    }
}
