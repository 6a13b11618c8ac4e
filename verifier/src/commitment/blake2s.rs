//! Blake2s-256 with a personalisation: the hash of commitment leaves and nodes.
//!
//! Exactly RFC 7693 with the parameter block of the Blake2 specification (digest length 32, fanout 1, depth 1) and
//! an 8-byte personalisation, so `hashlib.blake2s(data, person=b"mlc-leaf")` gives the same bytes. The compression
//! function is written out because the initial state carries the personalisation and because the prover's
//! many-lane kernels mirror it word for word.

use crate::field::M31;
use crate::transcript::Hash;

/// The initialisation vector.
pub const IV: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];

/// The message schedule: `SIGMA[round][i]` is the message word used at place `i`.
pub const SIGMA: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

/// The chaining value before the first block, for a personalisation.
const fn initial(person: &[u8; 8]) -> [u32; 8] {
    let mut h = IV;
    // digest length 32, no key, fanout 1, depth 1.
    h[0] ^= 0x0101_0020;
    h[6] ^= u32::from_le_bytes([person[0], person[1], person[2], person[3]]);
    h[7] ^= u32::from_le_bytes([person[4], person[5], person[6], person[7]]);
    h
}

/// Chaining value before the first block of a leaf.
pub const LEAF: [u32; 8] = initial(b"mlc-leaf");
/// Chaining value before the one block of a node.
pub const NODE: [u32; 8] = initial(b"mlc-node");
/// Chaining value of plain Blake2s-256 (the transcript's hash).
pub const PLAIN: [u32; 8] = initial(&[0; 8]);

/// The Blake2s compression function: `count` is the number of message bytes up to and including this block.
pub fn compress(h: &mut [u32; 8], block: &[u32; 16], count: u64, last: bool) {
    let mut v = [0u32; 16];
    v[..8].copy_from_slice(h);
    v[8..].copy_from_slice(&IV);
    v[12] ^= count as u32;
    v[13] ^= (count >> 32) as u32;
    if last {
        v[14] = !v[14];
    }
    // Each round by itself, so that the schedule's indices are constants: a quarter fewer instructions.
    round::<0>(&mut v, block);
    round::<1>(&mut v, block);
    round::<2>(&mut v, block);
    round::<3>(&mut v, block);
    round::<4>(&mut v, block);
    round::<5>(&mut v, block);
    round::<6>(&mut v, block);
    round::<7>(&mut v, block);
    round::<8>(&mut v, block);
    round::<9>(&mut v, block);
    for i in 0..8 {
        h[i] ^= v[i] ^ v[i + 8];
    }
}

#[inline(always)]
fn round<const R: usize>(v: &mut [u32; 16], block: &[u32; 16]) {
    let s = const { SIGMA[R] };
    mix(v, 0, 4, 8, 12, block[s[0]], block[s[1]]);
    mix(v, 1, 5, 9, 13, block[s[2]], block[s[3]]);
    mix(v, 2, 6, 10, 14, block[s[4]], block[s[5]]);
    mix(v, 3, 7, 11, 15, block[s[6]], block[s[7]]);
    mix(v, 0, 5, 10, 15, block[s[8]], block[s[9]]);
    mix(v, 1, 6, 11, 12, block[s[10]], block[s[11]]);
    mix(v, 2, 7, 8, 13, block[s[12]], block[s[13]]);
    mix(v, 3, 4, 9, 14, block[s[14]], block[s[15]]);
}

#[inline(always)]
fn mix(v: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize, x: u32, y: u32) {
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(x);
    v[d] = (v[d] ^ v[a]).rotate_right(16);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(12);
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(y);
    v[d] = (v[d] ^ v[a]).rotate_right(8);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(7);
}

fn digest(h: &[u32; 8]) -> Hash {
    let mut out = [0; 32];
    for (o, w) in out.chunks_exact_mut(4).zip(h) {
        o.copy_from_slice(&w.to_le_bytes());
    }
    out
}

/// The leaf of one codeword column: its field elements as 4-byte little-endian integers.
pub fn hash_leaf(column: &[M31]) -> Hash {
    let mut h = LEAF;
    let blocks = column.len().div_ceil(16).max(1);
    for i in 0..blocks {
        let words = &column[(16 * i).min(column.len())..(16 * i + 16).min(column.len())];
        let mut block = [0u32; 16];
        for (b, w) in block.iter_mut().zip(words) {
            *b = w.0;
        }
        let last = i + 1 == blocks;
        let count = if last { 4 * column.len() } else { 64 * (i + 1) };
        compress(&mut h, &block, count as u64, last);
    }
    digest(&h)
}

/// The parent of two nodes.
pub fn hash_node(left: &Hash, right: &Hash) -> Hash {
    let mut block = [0u32; 16];
    for (b, c) in block.iter_mut().zip(left.chunks_exact(4).chain(right.chunks_exact(4))) {
        *b = u32::from_le_bytes([c[0], c[1], c[2], c[3]]);
    }
    let mut h = NODE;
    compress(&mut h, &block, 64, true);
    digest(&h)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    fn hex(h: &Hash) -> String {
        h.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn digests_are_those_of_hashlib() {
        // hashlib.blake2s(…, person=…) of CPython.
        assert_eq!(
            hex(&hash_leaf(&[])),
            "200ea2931fa2613b5ca1505a2c56c48e0337ba02579ddaf4e928fa6f5e2ceb49"
        );
        let words = |bytes: Vec<u8>| -> Vec<M31> {
            bytes
                .chunks_exact(4)
                .map(|c| M31(u32::from_le_bytes([c[0], c[1], c[2], c[3]])))
                .collect()
        };
        assert_eq!(
            hex(&hash_leaf(&words((0..12).collect()))),
            "56f600735111659c95e0c69c9005328e55a8d305ecb2125efc2813875afe955e"
        );
        assert_eq!(
            hex(&hash_leaf(&words((0..1028u32).map(|i| (i % 251) as u8).collect()))),
            "6b047931ee768999198fc87472041a0ee3fc00d2650a87da7e3a81a8d54b8e8a"
        );
        let left: Hash = core::array::from_fn(|i| i as u8);
        let right: Hash = core::array::from_fn(|i| 32 + i as u8);
        assert_eq!(
            hex(&hash_node(&left, &right)),
            "6c1475a57f520cec2a7fee7397dcd4c129b3885fdc32180d0f90b6f283581fd3"
        );
    }
}
