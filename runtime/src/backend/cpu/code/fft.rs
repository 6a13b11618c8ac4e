//! Encoding: the circle FFT on column-major matrices, in cache-sized pieces.
//!
//! A butterfly of layer t pairs position q with q + 2^t and acts on whole columns, so with column-major cells it acts
//! on contiguous words whatever the size of the matrix. The message fills the first of the `2^log_inv_rate` blocks of
//! the codeword and the rest is zero, so the top `log_inv_rate` layers are copies: each block is an FFT of the message
//! with twiddles of its own.
//!
//! The layers of a block are done in groups from the top, each group on pieces that fit in the cache: strips of a few
//! columns at the group's stride are gathered, transformed and put back. The last group is contiguous, and its columns
//! are hashed while they are there.

use std::ops::Range;

use mlc_verifier::commitment::TreeShape;
use mlc_verifier::field::{M31, P};
use mlc_verifier::transcript::Hash;
use rayon::prelude::*;

use super::blake2s;
use crate::backend::code::twiddles;
use crate::backend::cpu::simd::{Lanes, dispatch};
use crate::backend::cpu::words;

/// Words of a piece: 512 KiB, half of the second-level cache of current server cores.
const PIECE: usize = 1 << 17;

/// A group of layers `low..high` of every block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    low: u32,
    high: u32,
}

/// Splits `log_cols` layers into groups, the top one first, such that the contiguous last group fits in a piece and
/// the others have strips of at least one column there. Only a single column larger than a piece exceeds it.
fn groups(rows: usize, log_cols: u32) -> Vec<Group> {
    let fits = (PIECE / rows).max(2).ilog2();
    let mut out = Vec::new();
    let mut high = log_cols;
    while high > fits {
        // Balance the groups that are left.
        let left = high.div_ceil(fits);
        let layers = high.div_ceil(left);
        out.push(Group {
            low: high - layers,
            high,
        });
        high -= layers;
    }
    out.push(Group { low: 0, high });
    out
}

/// A pointer to the codeword that tasks write disjoint columns through.
#[derive(Clone, Copy)]
struct Shared(*mut u32);

// SAFETY: the tasks of one pass write disjoint columns and read only those or the message.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The words `at..at + len`.
    ///
    /// # Safety
    /// They lie in the codeword, and no other task holds any of them.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    unsafe fn slice(&self, at: usize, len: usize) -> &mut [u32] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), len) }
    }
}

/// The given blocks (of `2^log_cols` positions each) of the codewords of `cells` (whole columns, at most `2^log_cols`),
/// and the leaves of their columns.
pub(super) fn encode(cells: &[M31], shape: &TreeShape, which: Range<usize>) -> (Vec<M31>, Vec<Hash>) {
    let rows = shape.rows;
    let n = shape.log_cols;
    let block_words = rows << n;
    let message = words(cells);
    let tw = twiddles(shape.log_domain(), n);
    let mut code = vec![0u32; block_words * which.len()];
    let mut leaves = vec![[0; 32]; which.len() << n];
    let groups = groups(rows, n);

    for (pass, &Group { low, high }) in groups.iter().enumerate() {
        if low == 0 {
            // Contiguous pieces of 2^high columns: transform, then hash.
            let piece = rows << high;
            code.par_chunks_mut(piece)
                .zip(leaves.par_chunks_mut(1 << high))
                .enumerate()
                .for_each(|(at, (data, leaves))| {
                    if pass == 0 {
                        let len = message.len().min(data.len());
                        data[..len].copy_from_slice(&message[..len]);
                    }
                    transform(data, rows, &tw[..high as usize], (which.start << (n - high)) + at);
                    blake2s::leaves(data, rows, leaves);
                });
            continue;
        }
        // Strips of `width` columns, 2^low columns apart.
        let strips = 1usize << (high - low);
        let width = (PIECE / (rows * strips)).clamp(1, 1 << low);
        let width = 1 << width.ilog2();
        let per_outer = (1usize << low) / width;
        let outers = which.len() << (n - high);
        let shared = Shared(code.as_mut_ptr());
        (0..outers * per_outer).into_par_iter().for_each_init(
            || vec![0u32; strips * width * rows],
            |scratch, task| {
                let (outer, stripe) = (task / per_outer, task % per_outer);
                let first = ((outer << high) + stripe * width) * rows;
                let strip_words = width * rows;
                for (k, strip) in scratch.chunks_exact_mut(strip_words).enumerate() {
                    let at = first + (k << low) * rows;
                    if pass == 0 {
                        let at = at % block_words;
                        let have = message.len().saturating_sub(at).min(strip_words);
                        strip[..have].copy_from_slice(&message[at.min(message.len())..][..have]);
                        strip[have..].fill(0);
                    } else {
                        // SAFETY: columns of this task only.
                        strip.copy_from_slice(unsafe { shared.slice(at, strip_words) });
                    }
                }
                let above = (which.start << (n - high)) + outer;
                transform(scratch, strip_words, &tw[low as usize..high as usize], above);
                for (k, strip) in scratch.chunks_exact(strip_words).enumerate() {
                    // SAFETY: columns of this task only.
                    unsafe { shared.slice(first + (k << low) * rows, strip_words) }.copy_from_slice(strip);
                }
            },
        );
    }
    (bytemuck::cast_vec(code), leaves)
}

/// All layers `tw` (lowest first) of `2^tw.len()` columns of `width` words; `outer` is the bits of the position above
/// them.
fn transform(data: &mut [u32], width: usize, tw: &[Vec<M31>], outer: usize) {
    let mut t = tw.len();
    // Pairs of layers; an odd one is done first, alone.
    if t % 2 == 1 {
        t -= 1;
        let groups = tw.len() - 1 - t;
        let span = width << t;
        for (h, part) in data.chunks_exact_mut(2 * span).enumerate() {
            let (a, b) = part.split_at_mut(span);
            radix2(a, b, tw[t][(outer << groups) + h].0);
        }
    }
    while t > 0 {
        t -= 2;
        let groups = tw.len() - 2 - t;
        let span = width << t;
        for (h, part) in data.chunks_exact_mut(4 * span).enumerate() {
            let (low, high) = part.split_at_mut(2 * span);
            let (a, b) = low.split_at_mut(span);
            let (c, d) = high.split_at_mut(span);
            let h = (outer << groups) + h;
            radix4(a, b, c, d, [tw[t + 1][h].0, tw[t][2 * h].0, tw[t][2 * h + 1].0]);
        }
    }
}

/// `(a, b) <- (a + wb, a - wb)`.
#[inline(always)]
fn butterfly<L: Lanes>(a: L, b: L, w: L) -> (L, L) {
    let product = b.mul(w);
    (a.add(product), a.sub(product))
}

#[inline(always)]
fn four<L: Lanes>([a, b, c, d]: [L; 4], [w, w0, w1]: [L; 3]) -> [L; 4] {
    let (a, c) = butterfly(a, c, w);
    let (b, d) = butterfly(b, d, w);
    let (a, b) = butterfly(a, b, w0);
    let (c, d) = butterfly(c, d, w1);
    [a, b, c, d]
}

#[inline(always)]
fn radix2_kernel<L: Lanes>(a: &mut [u32], b: &mut [u32], w: u32) {
    let wide = L::splat(w);
    let whole = a.len() / L::N * L::N;
    let mut at = 0;
    while at < whole {
        let (x, y) = butterfly(L::load(a, at), L::load(b, at), wide);
        x.store(a, at);
        y.store(b, at);
        at += L::N;
    }
    for (x, y) in a[whole..].iter_mut().zip(&mut b[whole..]) {
        (*x, *y) = scalar(*x, *y, w);
    }
}

#[inline(always)]
fn radix4_kernel<L: Lanes>(a: &mut [u32], b: &mut [u32], c: &mut [u32], d: &mut [u32], w: [u32; 3]) {
    let wide = [L::splat(w[0]), L::splat(w[1]), L::splat(w[2])];
    let len = a.len();
    let (b, c, d) = (&mut b[..len], &mut c[..len], &mut d[..len]);
    let whole = len / L::N * L::N;
    let mut at = 0;
    while at < whole {
        let x = [L::load(a, at), L::load(b, at), L::load(c, at), L::load(d, at)];
        let [p, q, r, s] = four(x, wide);
        p.store(a, at);
        q.store(b, at);
        r.store(c, at);
        s.store(d, at);
        at += L::N;
    }
    if whole == len {
        return;
    }
    if len - whole < 3 {
        for i in whole..len {
            (a[i], c[i]) = scalar(a[i], c[i], w[0]);
            (b[i], d[i]) = scalar(b[i], d[i], w[0]);
            (a[i], b[i]) = scalar(a[i], b[i], w[1]);
            (c[i], d[i]) = scalar(c[i], d[i], w[2]);
        }
        return;
    }
    // The words that do not fill a register go through padded ones.
    let mut tails = [[0u32; 16]; 4];
    for (tail, span) in tails.iter_mut().zip([&*a, &*b, &*c, &*d]) {
        tail[..len - whole].copy_from_slice(&span[whole..]);
    }
    let [p, q, r, s] = &tails;
    let out = four([L::load(p, 0), L::load(q, 0), L::load(r, 0), L::load(s, 0)], wide);
    for ((tail, x), span) in tails.iter_mut().zip(out).zip([a, b, c, d]) {
        x.store(tail, 0);
        span[whole..].copy_from_slice(&tail[..len - whole]);
    }
}

fn scalar(a: u32, b: u32, w: u32) -> (u32, u32) {
    let product = M31(b) * M31(w);
    debug_assert!(a < P);
    ((M31(a) + product).0, (M31(a) - product).0)
}

dispatch! {
    fn radix2(a: &mut [u32], b: &mut [u32], w: u32) = radix2_kernel;
    fn radix4(a: &mut [u32], b: &mut [u32], c: &mut [u32], d: &mut [u32], w: [u32; 3]) = radix4_kernel;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::code::Code;
    use crate::backend::naive::Naive;

    #[test]
    fn groups_cover_all_layers_within_the_piece() {
        for rows in [1, 3, 40, 256, 1024, 4096] {
            for log_cols in 0..24 {
                let g = groups(rows, log_cols);
                assert_eq!(g[0].high, log_cols);
                assert_eq!(g.last().unwrap().low, 0);
                assert!(g.windows(2).all(|w| w[0].low == w[1].high && w[0].high > w[0].low));
                assert!(g.iter().all(|g| rows << (g.high - g.low) <= PIECE.max(2 * rows)));
            }
        }
    }

    #[test]
    fn encoding_in_pieces_is_the_plain_fft() {
        for (rows, log_cols, log_inv_rate, cols) in [
            (1024, 7, 1, 128),
            (1024, 13, 1, 8000),
            (100, 11, 2, 2048),
            (7, 15, 1, 30000),
            (1, 17, 1, 1 << 17),
        ] {
            let shape = TreeShape {
                rows,
                log_cols,
                log_inv_rate,
            };
            let cells: Vec<M31> = (0..(rows * cols) as u32)
                .map(|i| M31(i.wrapping_mul(2654435761) >> 1).min(M31(P - 1)))
                .collect();
            let blocks = 1 << log_inv_rate;
            let (code, leaves) = encode(&cells, &shape, 0..blocks);
            assert!(code == Naive.encode(&cells, &shape), "{rows} x 2^{log_cols}");
            assert!(leaves == Naive.hash_columns(&code, rows));
            let parts: Vec<_> = (0..blocks).map(|b| encode(&cells, &shape, b..b + 1)).collect();
            assert!(
                parts.iter().flat_map(|p| &p.0).eq(&code),
                "{rows} x 2^{log_cols}, block by block"
            );
            assert!(parts.iter().flat_map(|p| &p.1).eq(&leaves));
            assert!(Naive.encode_block(&cells, &shape, blocks - 1) == parts[blocks - 1]);
        }
    }
}
