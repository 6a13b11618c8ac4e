//! SplitMix64: small, seeded, the same everywhere.

/// A source of pseudo-random numbers.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The sequence that follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }

    /// An integer in `lo..=hi`.
    pub fn within(&mut self, lo: i64, hi: i64) -> i64 {
        let span = hi.abs_diff(lo).saturating_add(1);
        lo.wrapping_add(self.below(span) as i64)
    }

    /// As [`within`](Self::within), but often one of the ends.
    pub fn extreme(&mut self, lo: i64, hi: i64) -> i64 {
        match self.below(4) {
            0 => lo,
            1 => hi,
            _ => self.within(lo, hi),
        }
    }

    /// A multiple of 1/256 in [-2, 2).
    pub fn real(&mut self) -> f32 {
        (self.below(1024) as f32 - 512.0) / 256.0
    }
}
