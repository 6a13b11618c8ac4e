//! Lookup tables of the quantised stage.

use std::fmt::Write as _;

use blake2::{Blake2s256, Digest};

/// Greatest number of index bits of a table.
pub const MAX_TABLE_BITS: u32 = 16;

/// A function on integers as the list of its values: index `t` stands for the input `t - bias`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    bits: u32,
    bias: i64,
    values: Vec<i32>,
    min: i32,
    max: i32,
}

impl Table {
    /// A table of `2^bits` values; `None` where their number is another, or `bits` is above [`MAX_TABLE_BITS`].
    pub fn new(bits: u32, bias: i64, values: Vec<i32>) -> Option<Self> {
        if bits > MAX_TABLE_BITS || values.len() != 1 << bits {
            return None;
        }
        let (min, max) = (*values.iter().min()?, *values.iter().max()?);
        Some(Table {
            bits,
            bias,
            values,
            min,
            max,
        })
    }

    /// The table of `f` over `-bias ≤ input < 2^bits - bias`.
    pub fn tabulate(bits: u32, bias: i64, f: impl FnMut(i64) -> i32) -> Option<Self> {
        if bits > MAX_TABLE_BITS {
            return None;
        }
        Table::new(
            bits,
            bias,
            (0..1i64 << bits).map(|t| t.saturating_sub(bias)).map(f).collect(),
        )
    }

    /// Number of index bits.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The index of input 0.
    pub fn bias(&self) -> i64 {
        self.bias
    }

    /// The values, by index.
    pub fn values(&self) -> &[i32] {
        &self.values
    }

    /// Least value.
    pub fn min(&self) -> i32 {
        self.min
    }

    /// Greatest value.
    pub fn max(&self) -> i32 {
        self.max
    }

    /// Least and greatest input.
    pub fn domain(&self) -> (i64, i64) {
        (
            self.bias.saturating_neg(),
            (1i64 << self.bits).saturating_sub(1).saturating_sub(self.bias),
        )
    }

    /// The value at `input`; `None` outside of the domain.
    pub fn get(&self, input: i64) -> Option<i32> {
        let index = usize::try_from(input.checked_add(self.bias)?).ok()?;
        self.values.get(index).copied()
    }

    /// Blake2s-256 of bits (4 bytes), bias (8 bytes) and values (4 bytes each), little-endian.
    pub fn content_hash(&self) -> [u8; 32] {
        let mut hash = Blake2s256::new();
        hash.update(self.bits.to_le_bytes());
        hash.update(self.bias.to_le_bytes());
        for value in &self.values {
            hash.update(value.to_le_bytes());
        }
        hash.finalize().into()
    }

    /// The content hash in hexadecimal.
    pub fn hash_text(&self) -> String {
        self.content_hash().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// The table's input for an accumulator: `(acc + half) >> shift`, with `half = 2^(shift-1)` where `shift > 0`.
pub fn requant_input(acc: i64, shift: u32) -> i64 {
    let half = if shift == 0 { 0 } else { 1i64 << (shift - 1) };
    acc.saturating_add(half) >> shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_is_shifted_by_the_bias() {
        let clamp = Table::tabulate(4, 8, |v| v.clamp(-3, 3) as i32).unwrap();
        assert_eq!(clamp.domain(), (-8, 7));
        assert_eq!(
            (clamp.get(-8), clamp.get(2), clamp.get(7), clamp.get(8)),
            (Some(-3), Some(2), Some(3), None)
        );
        assert_eq!((clamp.min(), clamp.max()), (-3, 3));
        assert!(Table::new(4, 0, vec![0; 15]).is_none());
        assert!(Table::tabulate(17, 0, |_| 0).is_none());
    }

    #[test]
    fn rounding_is_half_up() {
        assert_eq!(
            [-3, -2, -1, 0, 1, 2, 3].map(|a| requant_input(a, 1)),
            [-1, -1, 0, 0, 1, 1, 2]
        );
        assert_eq!(requant_input(-7, 0), -7);
    }
}
