//! Every pass keeps what a module computes, on random modules; the quantised module stays within its stated error.

use std::collections::BTreeMap;

use mlc_ir::{Data, Module, RecipeError, Stage, TensorF32, WeightSource, random, run};
use proptest::prelude::*;

use crate::pipeline;
use crate::plan::QuantPlan;

pub(crate) struct Weights(pub(crate) BTreeMap<String, TensorF32>);

impl WeightSource for Weights {
    fn get(&self, name: &str) -> Result<TensorF32, RecipeError> {
        let tensor = self.0.get(name).cloned();
        tensor.ok_or_else(|| RecipeError::Missing(name.to_owned()))
    }

    fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Runs `passes` on the random module of a seed and compares all outputs, to a relative error of `tolerance`.
fn preserves(stage: Stage, seed: u64, passes: &[&str], tolerance: f64) -> Result<(), TestCaseError> {
    let before = random::module(stage, seed);
    let weights = Weights(random::weights(&before, seed));
    let after = pipeline::run(before.clone(), passes, &QuantPlan::default(), &mut |_, _| {});
    let after = after.map_err(|e| TestCaseError::fail(format!("{e}\n{before}")))?;
    prop_assert!(mlc_ir::verify::verify(&after).is_ok());
    let inputs = random::inputs(&before, seed);
    let Ok(expected) = run(&before, "main", &weights, &inputs) else {
        return Ok(());
    };
    let found =
        run(&after, "main", &weights, &inputs).map_err(|e| TestCaseError::fail(format!("{e}\n{before}\n{after}")))?;
    prop_assert!(
        agree(&expected.values, &found.values, tolerance),
        "{expected:?}\n{found:?}\n{before}\n{after}"
    );
    prop_assert!(expected.states.len() == found.states.len());
    Ok(())
}

fn agree(a: &BTreeMap<String, Data>, b: &BTreeMap<String, Data>, tolerance: f64) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|((_, x), (_, y))| match (x, y) {
            (Data::Real(x), Data::Real(y)) => {
                let scale = x
                    .data
                    .iter()
                    .filter(|v| v.is_finite())
                    .fold(1f32, |m, v| m.max(v.abs()));
                x.shape == y.shape
                    && x.data.iter().zip(&y.data).all(|(p, q)| {
                        p == q || !p.is_finite() || f64::from((p - q).abs()) <= tolerance * f64::from(scale)
                    })
            }
            (x, y) => x == y,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn canonicalise_changes_no_bit(seed: u64) {
        preserves(Stage::Real, seed, &["canonicalise"], 0.0)?;
        preserves(Stage::Quantised, seed, &["canonicalise"], 0.0)?;
    }

    #[test]
    fn cse_and_dce_change_no_bit(seed: u64) {
        preserves(Stage::Real, seed, &["cse", "dce"], 0.0)?;
        preserves(Stage::Quantised, seed, &["cse", "dce"], 0.0)?;
    }

    #[test]
    fn layering_changes_no_bit(seed: u64) {
        preserves(Stage::Real, seed, &["layering"], 0.0)?;
        preserves(Stage::Quantised, seed, &["layering"], 0.0)?;
    }

    #[test]
    fn constant_folding_changes_rounding_only(seed: u64) {
        preserves(Stage::Real, seed, &["constant-fold"], 1e-4)?;
    }

    #[test]
    fn norm_folding_changes_rounding_only(seed: u64) {
        preserves(Stage::Real, seed, &["canonicalise", "fold-norm"], 1e-3)?;
    }

    #[test]
    fn lookup_fusion_changes_rounding_only(seed: u64) {
        preserves(Stage::Real, seed, &["lookup-fuse"], 1e-3)?;
    }

    #[test]
    fn block_detection_changes_no_bit(seed: u64) {
        preserves(Stage::Real, seed, &["block-detect"], 0.0)?;
    }

    #[test]
    fn range_analysis_and_placement_change_no_bit(seed: u64) {
        preserves(Stage::Quantised, seed, &["range-analysis"], 0.0)?;
    }
}

/// A module from text.
pub(crate) fn module(text: &str) -> Module {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}
