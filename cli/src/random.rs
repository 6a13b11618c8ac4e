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

/// The generator of a tensor.
fn of_name(seed: u64, name: &str) -> Rng {
    let start = Rng::new(seed).next();
    Rng::new(
        name.bytes()
            .fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)),
    )
}

/// A tensor whose elements follow from a seed and the tensor's name: uniform within `1/sqrt(inputs)`, where the inputs
/// are all axes but the first.
pub(crate) fn tensor(seed: u64, name: &str, shape: Vec<usize>) -> TensorF32 {
    let mut rng = of_name(seed, name);
    let inputs: usize = shape.iter().skip(1).product();
    let most = 1.0 / (inputs.max(1) as f64).sqrt();
    let data = (0..shape.iter().product::<usize>())
        .map(|_| (rng.uniform() * most) as f32)
        .collect();
    TensorF32 { shape, data }
}

/// A tensor of the size that trained language models have: deviation 0.02, gains of norms (vectors that are called
/// weights) around 1. Four uniform numbers are added up for each element, which is close to normal.
pub(crate) fn trained(seed: u64, name: &str, shape: Vec<usize>) -> TensorF32 {
    let mut rng = of_name(seed, name);
    let gain = shape.len() == 1 && name.ends_with("weight");
    let mean = if gain { 1.0 } else { 0.0 };
    let mut element = || {
        let bits = rng.next();
        let sum: u64 = (0..4).map(|k| (bits >> (16 * k)) & 0xffff).sum();
        // The sum has mean 2 · (2^16 - 1) and variance 2^32 / 3.
        let normal = (sum as f64 - 131_070.0) / 65_536.0 * 1.732_050_807_568_877_2;
        (mean + 0.02 * normal) as f32
    };
    let data = (0..shape.iter().product::<usize>()).map(|_| element()).collect();
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

    #[test]
    fn sizes_are_those_of_trained_models() {
        let moments = |t: TensorF32| {
            let n = t.data.len() as f64;
            let mean = t.data.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let square = t.data.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
            (mean, square.sqrt())
        };
        for (name, shape, mean) in [("a.weight", vec![100, 1000], 0.0), ("norm.weight", vec![100_000], 1.0)] {
            let (m, deviation) = moments(trained(1, name, shape));
            assert!(
                (m - mean).abs() < 0.001 && (deviation - 0.02).abs() < 0.001,
                "{m} {deviation}"
            );
        }
    }
}
