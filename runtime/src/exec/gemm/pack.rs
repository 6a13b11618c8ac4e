//! Blocks of rows as kernels want them: padded to whole vectors, in tiles of rows.

use std::ops::Range;

use rayon::prelude::*;

use super::Rows;
use super::kernel::{BYTE_STEP, TILE, WORD_STEP};

/// Rows of one or two 16-bit limbs, `v = lo + hi·2^15`; or rows in place.
pub(super) struct Packed<'a, R: Rows> {
    from: &'a R,
    range: Range<usize>,
    in_place: bool,
    padded: usize,
    limbs: Vec<Vec<i16>>,
}

impl<'a, R: Rows> Packed<'a, R> {
    pub(super) fn new(from: &'a R, range: Range<usize>, k: usize) -> Self {
        let padded = k.next_multiple_of(WORD_STEP);
        let in_place = padded == k && from.in_place(range.start).is_some();
        let (lo, hi) = from.bounds();
        let split = lo < i16::MIN.into() || hi > i16::MAX.into();
        let zeros = || vec![0i16; range.len() * padded];
        let mut limbs = Vec::new();
        if !in_place && split {
            let (mut low, mut high) = (zeros(), zeros());
            let rows = low.par_chunks_mut(padded).zip(high.par_chunks_mut(padded));
            rows.zip(range.clone()).for_each_init(
                || vec![0i32; k],
                |row, ((low, high), r)| {
                    from.fill(r, row);
                    for ((l, h), v) in low.iter_mut().zip(high).zip(row) {
                        *l = (*v & 0x7fff) as i16;
                        *h = (*v >> 15) as i16;
                    }
                },
            );
            limbs = vec![low, high];
        } else if !in_place {
            let mut low = zeros();
            low.par_chunks_mut(padded).zip(range.clone()).for_each_init(
                || vec![0i32; k],
                |row, (low, r)| {
                    from.fill(r, row);
                    low.iter_mut().zip(row).for_each(|(l, v)| *l = *v as i16);
                },
            );
            limbs = vec![low];
        }
        Self {
            from,
            range,
            in_place,
            padded,
            limbs,
        }
    }

    pub(super) fn limbs(&self) -> usize {
        self.limbs.len().max(1)
    }

    /// Rows `i .. i + TILE` of the block; beyond its end, the last row again.
    pub(super) fn tile(&self, limb: usize, i: usize) -> [&[i16]; TILE] {
        std::array::from_fn(|t| {
            let row = (i + t).min(self.range.len() - 1);
            if self.in_place {
                self.from.in_place(self.range.start + row).unwrap_or_default()
            } else {
                &self.limbs[limb][row * self.padded..(row + 1) * self.padded]
            }
        })
    }
}

/// Rows of bytes: `v + offset` in 8 bits, and the sum of each row.
pub(super) struct PackedBytes {
    rows: usize,
    padded: usize,
    bytes: Vec<u8>,
    sums: Vec<i32>,
}

impl PackedBytes {
    pub(super) fn new(from: &impl Rows, range: Range<usize>, k: usize, offset: i32) -> Self {
        let padded = k.next_multiple_of(BYTE_STEP);
        let mut bytes = vec![0u8; range.len() * padded];
        let mut sums = vec![0i32; range.len()];
        bytes
            .par_chunks_mut(padded)
            .zip(&mut sums)
            .zip(range.clone())
            .for_each_init(
                || vec![0i32; k],
                |row, ((bytes, sum), r)| {
                    from.fill(r, row);
                    *sum = row.iter().sum();
                    bytes.iter_mut().zip(row).for_each(|(b, v)| *b = (*v + offset) as u8);
                },
            );
        Self {
            rows: range.len(),
            padded,
            bytes,
            sums,
        }
    }

    /// As [`Packed::tile`].
    pub(super) fn tile(&self, i: usize) -> [&[u8]; TILE] {
        std::array::from_fn(|t| {
            let row = (i + t).min(self.rows - 1);
            &self.bytes[row * self.padded..(row + 1) * self.padded]
        })
    }

    /// Sums of those rows.
    pub(super) fn sums(&self, i: usize) -> [i32; TILE] {
        std::array::from_fn(|t| self.sums[(i + t).min(self.rows - 1)])
    }
}
