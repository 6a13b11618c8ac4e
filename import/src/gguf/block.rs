//! Elements of GGUF tensors: numbers, and the blocks of 32 that share a scale.
//!
//! | type | block |
//! |---|---|
//! | Q8_0 | a half `d`, then 32 integers `q` of 8 bits: `d · q` |
//! | Q4_0 | a half `d`, then 16 bytes: number `i` in the low half of byte `i`, number `i + 16` in the high half: `d · (q - 8)` |
//!
//! All of these are exact in `f32`.

/// Elements of a block that shares a scale.
const BLOCK: usize = 32;

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names are ggml's
pub enum Kind {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
}

/// Names of types by their number in ggml; gaps are types that it has given up.
const NAMES: [(u32, &str); 35] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (8, "Q8_0"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (30, "BF16"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl Kind {
    const ALL: [(Kind, &'static str); 5] = [
        (Kind::F32, "F32"),
        (Kind::F16, "F16"),
        (Kind::BF16, "BF16"),
        (Kind::Q8_0, "Q8_0"),
        (Kind::Q4_0, "Q4_0"),
    ];

    /// The type of a number; else what to call it.
    pub(super) fn of(number: u32) -> Result<Self, String> {
        let name = NAMES.iter().find(|(n, _)| *n == number).map(|(_, name)| *name);
        let known = Self::ALL.iter().find(|(_, text)| Some(*text) == name);
        known.map_or_else(
            || Err(name.map_or_else(|| number.to_string(), str::to_owned)),
            |(kind, _)| Ok(*kind),
        )
    }

    /// All of them.
    pub(super) fn names() -> String {
        Self::ALL.map(|(_, name)| name).join(", ")
    }

    /// Elements of a block; rows are whole blocks.
    pub fn block(self) -> usize {
        match self {
            Kind::F32 | Kind::F16 | Kind::BF16 => 1,
            Kind::Q8_0 | Kind::Q4_0 => BLOCK,
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Kind::F32 => 4,
            Kind::F16 | Kind::BF16 => 2,
            Kind::Q8_0 => 2 + BLOCK,
            Kind::Q4_0 => 2 + BLOCK / 2,
        }
    }

    /// The elements, in order.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        fn half(bytes: &[u8]) -> f32 {
            half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
        }
        let blocks = bytes.chunks_exact(self.bytes());
        let mut out = Vec::with_capacity(blocks.len() * self.block());
        match self {
            Kind::F32 => out.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            Kind::F16 => out.extend(blocks.map(half)),
            Kind::BF16 => {
                let bfloat = |b: &[u8; 2]| half::bf16::from_le_bytes(*b).to_f32();
                out.extend(bytes.as_chunks().0.iter().map(bfloat));
            }
            Kind::Q8_0 => blocks.for_each(|block| {
                let scale = half(block);
                out.extend(block[2..].iter().map(|q| scale * f32::from(q.cast_signed())));
            }),
            Kind::Q4_0 => blocks.for_each(|block| {
                let (scale, packed) = (half(block), &block[2..]);
                let number = |q: u8| scale * (f32::from(q) - 8.0);
                out.extend(packed.iter().map(|b| number(b & 15)));
                out.extend(packed.iter().map(|b| number(b >> 4)));
            }),
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_share_a_scale() {
        let scale = half::f16::from_f32(0.25).to_le_bytes();
        let bytes: Vec<u8> = scale
            .into_iter()
            .chain((0..32).map(|i: i8| (i - 16).cast_unsigned()))
            .collect();
        let wanted: Vec<f32> = (0..32).map(|i| 0.25 * (i as f32 - 16.0)).collect();
        assert_eq!(Kind::Q8_0.decode(&bytes), wanted);
        // Number i and number i + 16 share byte i.
        let bytes: Vec<u8> = scale
            .into_iter()
            .chain((0..16).map(|i: u8| i | (15 - i) << 4))
            .collect();
        let low = (0..16).map(|i| 0.25 * (i as f32 - 8.0));
        let high = (0..16).map(|i| 0.25 * (7.0 - i as f32));
        assert_eq!(Kind::Q4_0.decode(&bytes), low.chain(high).collect::<Vec<_>>());
    }

    #[test]
    fn numbers_are_read() {
        assert_eq!(Kind::F32.decode(&1.5f32.to_le_bytes()), [1.5]);
        assert_eq!(Kind::F16.decode(&half::f16::from_f32(-2.0).to_le_bytes()), [-2.0]);
        assert_eq!(Kind::BF16.decode(&half::bf16::from_f32(448.0).to_le_bytes()), [448.0]);
        assert_eq!(Kind::of(8), Ok(Kind::Q8_0));
        assert_eq!(Kind::of(14), Err("Q6_K".to_owned()));
        assert_eq!(Kind::of(4), Err("4".to_owned()));
    }
}
