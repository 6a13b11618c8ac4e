//! Test support: circuits with weights and inputs, hand-built and random. Nothing outside of tests uses it.
//!
//! Every case passes [`mlc_circuit::check::check`] and executes. A random case is its seed: tests draw seeds.
//!
//! ```
//! use mlc_runtime::testing;
//! let case = testing::random(7);
//! let instance = case.circuit.instantiate(0, &case.dims).unwrap();
//! let execution = mlc_runtime::exec::execute(&instance, &case.weights, &case.inputs).unwrap();
//! assert_eq!(execution.segments.len(), case.circuit.entries[0].segments.len());
//! ```

mod attention;
mod block;
mod builder;
mod examples;
mod random;
mod rng;

use mlc_circuit::Circuit;

pub use attention::{Mask, cached_attention, tokens_to_logits, tokens_to_next};
pub use block::{Block, Gate, Norm, transformer_block};
pub use builder::{Act, Activation, Builder, Conv, plain};
pub use examples::{conv_max_pool, greatest_label, linear_relu, residual_blocks};
pub use random::random;
pub use rng::Rng;

use crate::weights::IntWeights;

/// A circuit of one entry, and what to run it on.
#[derive(Debug, Clone)]
pub struct Case {
    /// The family.
    pub circuit: Circuit,
    /// Values of its run-time dimensions.
    pub dims: Vec<u32>,
    /// Its weights.
    pub weights: IntWeights,
    /// One tensor per input, within its range.
    pub inputs: Vec<Vec<i32>>,
}

impl Case {
    /// Finishes a builder, at the given dimensions, with arbitrary inputs over their whole range.
    pub fn new(builder: Builder, dims: &[u32]) -> Self {
        let mut rng = builder.rng.clone();
        let (circuit, weights) = builder.finish();
        let inputs = circuit.entries[0]
            .inputs
            .iter()
            .map(|i| {
                let len: usize = i.axes.iter().map(|l| l.at(dims).unwrap_or(0)).product();
                (0..len).map(|_| rng.range(i.lo.into(), i.hi.into()) as i32).collect()
            })
            .collect();
        Self {
            circuit,
            dims: dims.to_vec(),
            weights,
            inputs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(case: &Case) {
        mlc_circuit::check::check(&case.circuit).unwrap();
        IntWeights::new(&case.circuit, case.weights.to_vec()).unwrap();
        let instance = case.circuit.instantiate(0, &case.dims).unwrap();
        crate::exec::execute_reference(&instance, &case.weights, &case.inputs, &[]).unwrap();
    }

    #[test]
    fn hand_built_cases_are_accepted() {
        accepted(&linear_relu(3, 20, 17, 10));
        accepted(&conv_max_pool(2, 1, 8, 5));
        accepted(&residual_blocks(3, 12, 4));
        accepted(&tokens_to_logits(2, 3, 5, 7, 6, true));
        accepted(&tokens_to_next(2, 3, 5, 7, 6, true));
        accepted(&greatest_label(Some(3), 5, 17));
        accepted(&cached_attention(2, 3, 7, 5, 6));
        accepted(&transformer_block(&Block::rms()));
        accepted(&transformer_block(&Block::layer()));
    }

    #[test]
    fn random_blocks_are_accepted() {
        for seed in 0..100 {
            let block = Block::random(seed);
            let case = transformer_block(&block);
            mlc_circuit::check::check(&case.circuit).unwrap_or_else(|e| panic!("seed {seed}, {block:?}: {e}"));
            accepted(&case);
        }
    }

    #[test]
    fn random_cases_are_accepted() {
        for seed in 0..200 {
            let case = random(seed);
            mlc_circuit::check::check(&case.circuit).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            accepted(&case);
        }
    }
}
