//! Integer matrix products modulo 2^32: `C = A · Bᵀ` for rows that are packed on the fly.
//!
//! Callers know that the true result lies in (-2^30, 2^30), so neither partial sums nor the order matter, and values
//! beyond 16 bits are split into two limbs, `v = hi·2^15 + lo`. The kernel is chosen by *proved* bounds of the
//! operands:
//! - unsigned 8 x signed 8 bits (AVX-512 VNNI): a signed first operand is offset by 128, and 128 · Σ_k b taken off;
//! - 16 x 16 bits (AVX-512 VNNI, AVX-512BW, AVX2, portable), with one or two limbs per operand.
//!
//! Rows are packed in blocks that stay in the second-level cache; weights whose rows need no padding are read in
//! place. A convolution's patches are rows like any others, so no patch matrix is ever whole in memory.

mod kernel;
mod pack;

use std::ops::Range;

use rayon::prelude::*;

use kernel::{Isa, TILE};
use pack::{Packed, PackedBytes};

/// A matrix whose rows are produced on demand.
pub(super) trait Rows: Sync {
    /// Number of rows.
    fn rows(&self) -> usize;
    /// Writes row `row`; `out` has one entry per column.
    fn fill(&self, row: usize, out: &mut [i32]);
    /// Proved least and greatest entry.
    fn bounds(&self) -> (i64, i64);
    /// The row as it lies in memory, where it does.
    fn in_place(&self, row: usize) -> Option<&[i16]>;
    /// Says which rows are worked on now, and which after them.
    fn at_work(&self, _now: Range<usize>, _then: Range<usize>) {}
    /// Says that these rows are done.
    fn done(&self, _rows: Range<usize>) {}
}

/// Bytes of a packed block.
const BLOCK_BYTES: usize = 1 << 21;
/// Rows of a task.
const TASK_ROWS: usize = 64;
/// Fewest rows of `a` for which packing `b` to bytes pays.
const BYTE_ROWS: usize = 16;

/// `c[m·N + n] = Σ_k a[m, k] · b[n, k]` modulo 2^32, for `N = b.rows()`.
pub(super) fn multiply(k: usize, a: &impl Rows, b: &impl Rows) -> Vec<i32> {
    multiply_with(Isa::best(), k, a, b)
}

fn multiply_with(isa: Isa, k: usize, a: &impl Rows, b: &impl Rows) -> Vec<i32> {
    let (m, n) = (a.rows(), b.rows());
    let mut c = vec![0i32; m * n];
    let block = (BLOCK_BYTES / (2 * k.max(1))).next_multiple_of(TASK_ROWS);
    let fits = |(lo, hi): (i64, i64), l: i64, h: i64| lo >= l && hi <= h;
    let bytes = isa.has_bytes()
        && m >= BYTE_ROWS
        && fits(b.bounds(), -128, 127)
        && (fits(a.bounds(), 0, 255) || fits(a.bounds(), -128, 127));
    for n0 in (0..n).step_by(block) {
        let nb = n0..(n0 + block).min(n);
        b.at_work(nb.clone(), nb.end..(nb.end + block).min(n));
        let width = nb.len();
        if bytes {
            let offset = if a.bounds().0 < 0 { 128 } else { 0 };
            let pb = PackedBytes::new(b, nb.clone(), k, 0);
            for m0 in (0..m).step_by(block) {
                let mb = m0..(m0 + block).min(m);
                let pa = PackedBytes::new(a, mb.clone(), k, offset);
                tasks(mb.len(), width, |i, j, tile| {
                    *tile = isa.bytes(pa.tile(i), pb.tile(j));
                    for row in tile.iter_mut() {
                        for (c, s) in row.iter_mut().zip(pb.sums(j)) {
                            *c = c.wrapping_sub(offset.wrapping_mul(s));
                        }
                    }
                })
                .store(&mut c, m0, nb.start, n);
            }
            b.done(nb);
            continue;
        }
        let pb = Packed::new(b, nb.clone(), k);
        for m0 in (0..m).step_by(block) {
            let mb = m0..(m0 + block).min(m);
            let pa = Packed::new(a, mb.clone(), k);
            tasks(mb.len(), width, |i, j, tile| {
                let single = mb.len() == 1;
                for x in 0..pa.limbs() {
                    for y in 0..pb.limbs() {
                        let (ra, rb) = (pa.tile(x, i), pb.tile(y, j));
                        let shift = 15 * (x + y) as u32;
                        if single {
                            let [row] = isa.words([ra[0]], rb);
                            add(&mut tile[0], &row, shift);
                        } else {
                            for (t, row) in tile.iter_mut().zip(&isa.words(ra, rb)) {
                                add(t, row, shift);
                            }
                        }
                    }
                }
            })
            .store(&mut c, m0, nb.start, n);
        }
        b.done(nb);
    }
    c
}

fn add(to: &mut [i32; TILE], row: &[i32; TILE], shift: u32) {
    for (t, r) in to.iter_mut().zip(row) {
        *t = t.wrapping_add(r.wrapping_shl(shift));
    }
}

/// Results of the tasks of one block of `c`.
struct Tasks {
    rows: usize,
    columns: usize,
    tasks: Vec<Vec<i32>>,
}

/// Computes a block of `rows x columns` by tiles, `compute(first row, first column, tile)`; tasks run in parallel.
fn tasks(rows: usize, columns: usize, compute: impl Fn(usize, usize, &mut [[i32; TILE]; TILE]) + Sync) -> Tasks {
    let across = columns.div_ceil(TASK_ROWS);
    let count = rows.div_ceil(TASK_ROWS) * across;
    let task = |t: usize| {
        let (r0, c0) = (t / across * TASK_ROWS, t % across * TASK_ROWS);
        let (height, width) = (TASK_ROWS.min(rows - r0), TASK_ROWS.min(columns - c0));
        let mut out = vec![0i32; height * width];
        // Columns outermost: a tile of `b`, often read from memory, serves all rows of the task.
        for j in (0..width).step_by(TILE) {
            for i in (0..height).step_by(TILE) {
                let mut tile = [[0i32; TILE]; TILE];
                compute(r0 + i, c0 + j, &mut tile);
                for (x, row) in tile.iter().enumerate().take(height - i) {
                    let n = TILE.min(width - j);
                    out[(i + x) * width + j..][..n].copy_from_slice(&row[..n]);
                }
            }
        }
        out
    };
    Tasks {
        rows,
        columns,
        tasks: (0..count).into_par_iter().map(task).collect(),
    }
}

impl Tasks {
    /// Copies the block to `(m0, n0)` of a matrix with `n` columns.
    fn store(self, c: &mut [i32], m0: usize, n0: usize, n: usize) {
        let across = self.columns.div_ceil(TASK_ROWS);
        for (t, values) in self.tasks.iter().enumerate() {
            let (r0, c0) = (t / across * TASK_ROWS, t % across * TASK_ROWS);
            let width = TASK_ROWS.min(self.columns - c0);
            debug_assert_eq!(values.len(), width * TASK_ROWS.min(self.rows - r0));
            for (i, row) in values.chunks_exact(width).enumerate() {
                c[(m0 + r0 + i) * n + n0 + c0..][..width].copy_from_slice(row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    struct Dense {
        columns: usize,
        values: Vec<i32>,
        words: Vec<i16>,
    }

    impl Dense {
        fn new(rng: &mut Rng, rows: usize, columns: usize, lo: i64, hi: i64, in_place: bool) -> Self {
            let mut values: Vec<i32> = (0..rows * columns).map(|_| rng.range(lo, hi) as i32).collect();
            // The extremes occur.
            if let [a, b, ..] = &mut values[..] {
                (*a, *b) = (lo as i32, hi as i32);
            }
            let words = if in_place {
                values.iter().map(|&v| v as i16).collect()
            } else {
                vec![]
            };
            Self { columns, values, words }
        }
    }

    impl Rows for Dense {
        fn rows(&self) -> usize {
            self.values.len() / self.columns
        }
        fn fill(&self, row: usize, out: &mut [i32]) {
            out.copy_from_slice(&self.values[row * self.columns..][..self.columns]);
        }
        fn bounds(&self) -> (i64, i64) {
            let (lo, hi) = (self.values.iter().min(), self.values.iter().max());
            ((*lo.unwrap()).into(), (*hi.unwrap()).into())
        }
        fn in_place(&self, row: usize) -> Option<&[i16]> {
            self.words.get(row * self.columns..(row + 1) * self.columns)
        }
    }

    #[test]
    fn every_kernel_is_exact_modulo_2_to_32() {
        let mut rng = Rng::new(5);
        let ranges = [
            (0, 255),
            (-128, 127),
            (-1, 0),
            (-32768, 32767),
            (-(1 << 30) + 1, (1 << 30) - 1),
        ];
        for round in 0..60 {
            let (m, n) = (rng.pick(&[1, 2, 3, 5, 16, 17, 70]), rng.pick(&[1, 3, 4, 8, 65]));
            let k = rng.pick(&[1, 9, 31, 32, 33, 64, 100, 256]);
            let (ra, rb) = (ranges[round % 5], ranges[round / 5 % 5]);
            let a = Dense::new(&mut rng, m, k, ra.0, ra.1, false);
            let in_place = rb.1 <= 32767 && rng.once_in(2);
            let b = Dense::new(&mut rng, n, k, rb.0, rb.1, in_place);
            let mut expected = Vec::new();
            for x in a.values.chunks_exact(k) {
                for y in b.values.chunks_exact(k) {
                    let dot = x
                        .iter()
                        .zip(y)
                        .fold(0i32, |s, (&x, &y)| s.wrapping_add(x.wrapping_mul(y)));
                    expected.push(dot);
                }
            }
            for isa in Isa::available() {
                assert_eq!(
                    multiply_with(isa, k, &a, &b),
                    expected,
                    "{isa:?} {m}x{n}x{k} {ra:?} {rb:?}"
                );
            }
        }
    }
}
