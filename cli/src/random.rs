//! Numbers from a seed, the same on every machine: weights of `mlc new` and of the benchmark models.

use mlc_ir::TensorF32;

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// A tensor whose elements follow from a seed and the tensor's name: uniform within `1/sqrt(inputs)`, where the inputs
/// are all axes but the first.
pub(crate) fn tensor(seed: u64, name: &str, shape: Vec<usize>) -> TensorF32 {
    let start = Rng::new(seed).next();
    let mut rng = Rng::new(
        name.bytes()
            .fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)),
    );
    let inputs: usize = shape.iter().skip(1).product();
    let most = 1.0 / (inputs.max(1) as f64).sqrt();
    let data = (0..shape.iter().product::<usize>())
        .map(|_| (rng.uniform() * most) as f32)
        .collect();
    TensorF32 { shape, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers() {
        let w = tensor(1, "w", vec![2, 4]);
        assert_eq!(w, tensor(1, "w", vec![2, 4]));
        assert!(w.data.iter().all(|v| v.abs() <= 0.5) && w.data[0] != w.data[1]);
        assert_ne!(w, tensor(2, "w", vec![2, 4]));
        assert_ne!(w, tensor(1, "v", vec![2, 4]));
    }
}
