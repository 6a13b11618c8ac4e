//! Blake2s over many messages at once: one message per lane.
//!
//! The compression function of `mlc_verifier::commitment::blake2s`, word for word, on registers. Leaves and nodes
//! differ from it in nothing but how the message words get into their lanes; groups that do not fill a register go
//! through the scalar function.

use mlc_verifier::commitment::blake2s::{IV, LEAF, NODE, PLAIN, SIGMA, hash_leaf, hash_node};
use mlc_verifier::field::M31;
use mlc_verifier::transcript::{Hash, Transcript};
use rayon::prelude::*;

use crate::backend::cpu::simd::{Lanes, dispatch};

/// Leaves or nodes that one task hashes.
const TASK: usize = 512;
/// Nonces that one task tries.
const NONCES: u64 = 4096;

#[inline(always)]
fn mix<L: Lanes>(v: &mut [L; 16], a: usize, b: usize, c: usize, d: usize, x: L, y: L) {
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(x);
    v[d] = v[d].xor(v[a]).rotr(16);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = v[b].xor(v[c]).rotr(12);
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(y);
    v[d] = v[d].xor(v[a]).rotr(8);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = v[b].xor(v[c]).rotr(7);
}

#[inline(always)]
fn compress<L: Lanes>(h: &mut [L; 8], m: &[L; 16], count: u64, last: bool) {
    let mut v = [L::splat(0); 16];
    for i in 0..8 {
        v[i] = h[i];
        v[8 + i] = L::splat(IV[i]);
    }
    v[12] = L::splat(IV[4] ^ count as u32);
    v[13] = L::splat(IV[5] ^ (count >> 32) as u32);
    if last {
        v[14] = L::splat(!IV[6]);
    }
    // Not unrolled: the schedule's look-ups run beside the vector units, and ten copies take minutes to compile.
    for s in &SIGMA {
        mix(&mut v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
        mix(&mut v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
        mix(&mut v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
        mix(&mut v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
        mix(&mut v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
        mix(&mut v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
        mix(&mut v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
        mix(&mut v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
    }
    for i in 0..8 {
        h[i] = h[i].xor(v[i]).xor(v[i + 8]);
    }
}

/// Sixteen message words of `L::N` messages, each `stride` words after the one before.
#[inline(always)]
fn transposed<L: Lanes>(words: &[u32], at: usize, stride: usize) -> [L; 16] {
    let mut m = [L::splat(0); 16];
    // 16 / N tiles of N x N words.
    for tile in 0..16 / L::N {
        for lane in 0..L::N {
            m[tile * L::N + lane] = L::load(words, at + lane * stride + tile * L::N);
        }
        let mut block = 1;
        while block < L::N {
            for i in 0..L::N {
                if i & block == 0 {
                    let (a, b) = (tile * L::N + i, tile * L::N + i + block);
                    (m[a], m[b]) = m[a].interleave(m[b], block);
                }
            }
            block *= 2;
        }
    }
    m
}

#[inline(always)]
fn store<L: Lanes>(h: &[L; 8], out: &mut [Hash]) {
    let mut words = [[0u32; 16]; 8];
    for (w, h) in words.iter_mut().zip(h) {
        h.store(w, 0);
    }
    for (lane, hash) in out.iter_mut().enumerate() {
        for (bytes, w) in hash.chunks_exact_mut(4).zip(&words) {
            bytes.copy_from_slice(&w[lane].to_le_bytes());
        }
    }
}

#[inline(always)]
fn splats<L: Lanes>(words: &[u32; 8]) -> [L; 8] {
    let mut out = [L::splat(0); 8];
    for (out, &w) in out.iter_mut().zip(words) {
        *out = L::splat(w);
    }
    out
}

/// Hashes `L::N` messages of `len` words each, one after the other in `words`.
#[inline(always)]
fn hash_group<L: Lanes>(initial: &[u32; 8], words: &[u32], len: usize, out: &mut [Hash]) {
    let mut h = splats(initial);
    let blocks = len.div_ceil(16).max(1);
    for i in 0..blocks {
        let last = i + 1 == blocks;
        let m = if 16 * (i + 1) <= len {
            transposed::<L>(words, 16 * i, len)
        } else {
            // The last block of a message whose length is no multiple of sixteen words, padded with zeros.
            let mut padded = [0u32; 16 * 16];
            for lane in 0..L::N {
                let tail = &words[lane * len + 16 * i..(lane + 1) * len];
                padded[16 * lane..16 * lane + tail.len()].copy_from_slice(tail);
            }
            transposed::<L>(&padded, 0, 16)
        };
        let count = if last { 4 * len } else { 64 * (i + 1) };
        compress(&mut h, &m, count as u64, last);
    }
    store(&h, out);
}

#[inline(always)]
fn leaves_kernel<L: Lanes>(words: &[u32], rows: usize, out: &mut [Hash]) {
    let mut groups = out.chunks_exact_mut(L::N);
    let mut at = 0;
    for group in groups.by_ref() {
        hash_group::<L>(&LEAF, &words[at..at + L::N * rows], rows, group);
        at += L::N * rows;
    }
    for hash in groups.into_remainder() {
        *hash = hash_leaf(bytemuck::cast_slice::<u32, M31>(&words[at..at + rows]));
        at += rows;
    }
}

#[inline(always)]
fn nodes_kernel<L: Lanes>(below: &[Hash], out: &mut [Hash]) {
    let mut groups = out.chunks_exact_mut(L::N);
    let mut children = below;
    for group in groups.by_ref() {
        let (now, rest) = children.split_at(2 * L::N);
        let mut words = [0u32; 16 * 16];
        for (w, bytes) in words.iter_mut().zip(now.as_flattened().chunks_exact(4)) {
            *w = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        hash_group::<L>(&NODE, &words[..16 * L::N], 16, group);
        children = rest;
    }
    for (hash, pair) in groups.into_remainder().iter_mut().zip(children.chunks_exact(2)) {
        *hash = hash_node(&pair[0], &pair[1]);
    }
}

/// Tries `from..from + NONCES`; `from` is a multiple of it. The smallest nonce whose first digest word, as a
/// big-endian integer, is zero under `mask`.
#[inline(always)]
fn nonces_kernel<L: Lanes>(prefix: &[u8; 37], mask: u32, from: u64) -> Option<u64> {
    let mut words = [0u32; 16];
    for (w, bytes) in words.iter_mut().zip(prefix[..36].chunks_exact(4)) {
        *w = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let steps: [u32; 16] = std::array::from_fn(|lane| (lane as u32) << 8);
    let steps = L::load(&steps, 0);
    let mut m = [L::splat(0); 16];
    for (m, &w) in m.iter_mut().zip(&words) {
        *m = L::splat(w);
    }
    let mut base = from;
    while base < from + NONCES {
        // The nonce starts at byte 37; the lanes differ in its lowest bits, which no carry leaves.
        let low = u32::from(prefix[36]) | ((base as u32) << 8);
        m[9] = L::splat(low).wrapping_add(steps);
        m[10] = L::splat((base >> 24) as u32);
        m[11] = L::splat((base >> 56) as u32);
        let mut h = splats(&PLAIN);
        compress(&mut h, &m, 45, true);
        let mut first = [u32::MAX; 16];
        h[0].and(L::splat(mask)).store(&mut first, 0);
        if let Some(lane) = first[..L::N].iter().position(|&w| w == 0) {
            return Some(base + lane as u64);
        }
        base += L::N as u64;
    }
    None
}

dispatch! {
    fn leaves_task(words: &[u32], rows: usize, out: &mut [Hash]) = leaves_kernel;
    fn nodes_task(below: &[Hash], out: &mut [Hash]) = nodes_kernel;
    fn nonces_task(prefix: &[u8; 37], mask: u32, from: u64) -> Option<u64> = nonces_kernel;
}

/// The leaves of columns of `rows` words, in the calling thread.
pub(super) fn leaves(words: &[u32], rows: usize, out: &mut [Hash]) {
    leaves_task(words, rows, out);
}

/// The parents of a layer.
pub(super) fn parents(below: &[Hash]) -> Vec<Hash> {
    let mut out = vec![[0; 32]; below.len() / 2];
    if out.len() <= TASK {
        nodes_task(below, &mut out);
    } else {
        out.par_chunks_mut(TASK)
            .zip(below.par_chunks(2 * TASK))
            .for_each(|(out, below)| nodes_task(below, out));
    }
    out
}

/// The smallest nonce that reaches `bits` leading zero bits.
pub(super) fn grind(transcript: &Transcript, bits: u32) -> u64 {
    let prefix = transcript.nonce_prefix(bits);
    // Leading bits of the digest's first four bytes; the rest of a longer proof of work is checked by the transcript.
    let leading = u32::MAX.checked_shl(32 - bits.min(32)).unwrap_or(0);
    let mask = leading.swap_bytes();
    let search = |task: u64| {
        let mut from = task * NONCES;
        let end = from + NONCES;
        // A hit of the mask that fails the whole test (only above 32 bits) resumes behind it, one nonce at a time.
        match nonces_task(&prefix, mask, from) {
            Some(hit) if transcript.nonce_works(bits, hit) => return Some(hit),
            Some(hit) => from = hit + 1,
            None => return None,
        }
        (from..end).find(|&n| transcript.nonce_works(bits, n))
    };
    if let Some(hit) = search(0) {
        return hit;
    }
    let mut next = 1;
    loop {
        let width = 16 * rayon::current_num_threads() as u64;
        let hit = (next..next + width).into_par_iter().filter_map(search).min();
        if let Some(hit) = hit {
            return hit;
        }
        next += width;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_agree_with_the_scalar_hash() {
        for rows in [1, 3, 15, 16, 17, 32, 40, 256] {
            for count in [1usize, 2, 8, 16, 33] {
                let cells: Vec<u32> = (0..(rows * count) as u32)
                    .map(|i| i.wrapping_mul(2654435761) >> 1)
                    .collect();
                let mut out = vec![[0; 32]; count];
                leaves(&cells, rows, &mut out);
                let scalar: Vec<Hash> = cells
                    .chunks_exact(rows)
                    .map(|c| hash_leaf(bytemuck::cast_slice(c)))
                    .collect();
                assert_eq!(out, scalar, "{rows} x {count}");
            }
        }
        for count in [2, 4, 32, 64, 2048] {
            let below: Vec<Hash> = (0..count).map(|i| std::array::from_fn(|k| (i * 7 + k) as u8)).collect();
            let scalar: Vec<Hash> = below.chunks_exact(2).map(|c| hash_node(&c[0], &c[1])).collect();
            assert_eq!(parents(&below), scalar);
        }
    }

    #[test]
    fn the_smallest_nonce_is_found() {
        for seed in 0..20u8 {
            let t = Transcript::new(&[seed]);
            for bits in [1, 3, 8, 13] {
                let smallest = (0..).find(|&n| t.nonce_works(bits, n)).unwrap();
                assert_eq!(grind(&t, bits), smallest);
            }
        }
    }
}
