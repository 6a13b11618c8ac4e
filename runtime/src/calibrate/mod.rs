//! Statistics over sample inputs and weights, from which scales are chosen; and how far the integers are from the
//! real model.
//!
//! Minima, maxima and largest sums do not depend on the order of samples, each sum runs in row-major order, and all
//! results are rounded outward to 8 significant bits: the same model and samples give the same plan anywhere.

mod agreement;
mod channels;
mod layers;
mod round;

use std::collections::BTreeMap;

use mlc_ir::interp::{self, Data, Inputs, RunError};
use mlc_ir::{Module, Op, RecipeError, Tensor, WeightSource};
use rayon::prelude::*;

pub use agreement::{Agreement, dequantise};
pub use channels::{ChannelRanges, ChannelsOf, EachChannel, weight_channels};
pub use layers::{LayerError, Tracks, layer_errors};
pub use round::{round_down, round_range, round_up};

use crate::weights::bindings;

/// Least and greatest value seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Least.
    pub lo: f64,
    /// Greatest.
    pub hi: f64,
}

/// Magnitudes of a weight, over all iterations of its regions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightRange {
    /// Greatest |w|.
    pub max_abs: f64,
    /// Greatest Σ |w| over the summed axes; `None` where there are none.
    pub column_sum: Option<f64>,
}

/// Why there are no statistics.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CalibrateError {
    /// A sample cannot be run.
    #[error("sample {sample}: {error}")]
    Sample {
        /// Its position.
        sample: usize,
        /// Why.
        error: RunError,
    },
    /// A value is NaN or infinite.
    #[error("sample {sample}: '{value}' is {found}")]
    NotFinite {
        /// Position of the sample.
        sample: usize,
        /// Name of the value.
        value: String,
        /// What it is.
        found: f32,
    },
    /// The module has no such weight.
    #[error("the model has no weight '{0}'")]
    NoWeight(String),
    /// A weight has no axis of that number.
    #[error("weight '{name}' has no axis {axis}")]
    Axis {
        /// The weight.
        name: String,
        /// The axis.
        axis: usize,
    },
    /// A weight has no value.
    #[error("weight '{name}': {error}")]
    Weight {
        /// The weight.
        name: String,
        /// Why.
        error: RecipeError,
    },
}

/// What samples show of the values of an entry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Ranges of every real value that is no weight, by name, over all iterations; rounded outward.
    pub values: BTreeMap<String, Range>,
    /// Ranges of the channels that were asked for, as they are.
    pub channels: ChannelRanges,
}

/// Ranges of the values of an entry, by name, over all samples. The module is of the real stage.
pub fn value_ranges(
    module: &Module,
    entry: &str,
    weights: &(dyn WeightSource + Sync),
    samples: &[Inputs],
    channels: &[ChannelsOf<'_>],
) -> Result<Seen, CalibrateError> {
    let one = |(sample, inputs): (usize, &Inputs)| one_sample(module, entry, weights, (sample, inputs), channels);
    let each: Vec<Result<Seen, CalibrateError>> = samples.par_iter().enumerate().map(one).collect();
    let mut all = Seen::default();
    for seen in each {
        let seen = seen?;
        for (name, r) in seen.values {
            widen(&mut all.values, &name, r);
        }
        channels::merge(&mut all.channels, seen.channels);
    }
    all.values.values_mut().for_each(|r| *r = round_range(*r));
    Ok(all)
}

fn widen(all: &mut BTreeMap<String, Range>, name: &str, r: Range) {
    match all.get_mut(name) {
        Some(known) => (known.lo, known.hi) = (known.lo.min(r.lo), known.hi.max(r.hi)),
        None => {
            all.insert(name.to_owned(), r);
        }
    }
}

fn one_sample(
    module: &Module,
    entry: &str,
    weights: &dyn WeightSource,
    (sample, inputs): (usize, &Inputs),
    channels: &[ChannelsOf<'_>],
) -> Result<Seen, CalibrateError> {
    let mut seen = Seen::default();
    let mut wrong = None;
    let known = module.entries.get(entry);
    let nodes = known.map(|e| e.all_nodes()).unwrap_or_default();
    let is_weight = |id| {
        nodes
            .iter()
            .any(|n| matches!(n.op, Op::Weight(_)) && n.results.contains(&id))
    };
    let weight_values: Vec<bool> = known
        .map(|e| {
            (0..e.values.len())
                .map(|i| is_weight(mlc_ir::ValueId(i as u32)))
                .collect()
        })
        .unwrap_or_default();
    interp::run_observed(module, entry, weights, inputs, &mut |o| {
        let (Some(entry), Data::Real(tensor)) = (known, o.data) else {
            return;
        };
        if weight_values[o.value.index()] || tensor.data.is_empty() {
            return;
        }
        let name = &entry.value(o.value).name;
        let mut r = Range {
            lo: f64::INFINITY,
            hi: f64::NEG_INFINITY,
        };
        for &v in &tensor.data {
            if !v.is_finite() && wrong.is_none() {
                wrong = Some((name.clone(), v));
            }
            (r.lo, r.hi) = (r.lo.min(v.into()), r.hi.max(v.into()));
        }
        widen(&mut seen.values, name, r);
        if let Some(of) = channels.iter().find(|of| of.value == name) {
            of.observe(&tensor.shape, &tensor.data, o.bindings, &mut seen.channels);
        }
    })
    .map_err(|error| CalibrateError::Sample { sample, error })?;
    match wrong {
        None => Ok(seen),
        Some((value, found)) => Err(CalibrateError::NotFinite { sample, value, found }),
    }
}

/// Magnitudes of a weight; `axes` are summed for the column sums, whatever the other axes. Rounded upward.
pub fn weight_range(
    module: &Module,
    name: &str,
    axes: &[usize],
    source: &(dyn WeightSource + Sync),
) -> Result<WeightRange, CalibrateError> {
    let weight = module
        .weights
        .get(name)
        .ok_or_else(|| CalibrateError::NoWeight(name.to_owned()))?;
    let one = |b| {
        let tensor = weight.recipe.eval(source, &b).map_err(|error| CalibrateError::Weight {
            name: name.to_owned(),
            error,
        })?;
        if let Some(&axis) = axes.iter().find(|&&a| a >= tensor.shape.len()) {
            return Err(CalibrateError::Axis {
                name: name.to_owned(),
                axis,
            });
        }
        let max_abs = tensor.data.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        Ok((max_abs, column_sum(&tensor, axes)))
    };
    let each: Vec<Result<(f64, f64), CalibrateError>> = bindings(&weight.stack).into_par_iter().map(one).collect();
    let (mut max_abs, mut sum) = (0.0f64, 0.0f64);
    for result in each {
        let (m, s) = result?;
        (max_abs, sum) = (max_abs.max(m), sum.max(s));
    }
    Ok(WeightRange {
        max_abs: round_up(max_abs),
        column_sum: (!axes.is_empty()).then(|| round_up(sum)),
    })
}

/// Greatest Σ |w| over `axes`; every sum in row-major order.
fn column_sum(tensor: &Tensor<f64>, axes: &[usize]) -> f64 {
    // Strides in the tensor of sums: 0 along summed axes.
    let mut strides = vec![0; tensor.shape.len()];
    let mut len = 1;
    for (axis, n) in tensor.shape.iter().enumerate().rev() {
        if !axes.contains(&axis) {
            strides[axis] = len;
            len *= n;
        }
    }
    let mut sums = vec![0.0f64; len];
    let mut index = vec![0; tensor.shape.len()];
    let mut at = 0;
    for v in &tensor.data {
        sums[at] += v.abs();
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < tensor.shape[axis] {
                break;
            }
            at -= strides[axis] * index[axis];
            index[axis] = 0;
        }
    }
    sums.into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use mlc_ir::{Dim, Formula, GraphBuilder, Recipe, Shape, Stage, TensorF32, Type, Visibility, Weight};

    use super::*;

    fn module() -> Module {
        let mut module = Module::new("m", Stage::Real);
        module.declare_dim("batch", 1, 8);
        let mut g: GraphBuilder = module.entry("main");
        let shape = Shape(vec![Dim::runtime("batch"), Dim::fixed(2)]);
        let x = g.input("x", Visibility::Public, Type::real(shape));
        let carried = g.begin_repeat("l", 2, &[x], &[]).unwrap();
        let recipe = Recipe::tensor("w.{l}", [2, 2]).unwrap();
        let w = g.weight("w", Weight::real(Shape::new([2i64, 2]), recipe)).unwrap();
        let h = g.contract("bi,oi->bo", carried[0], w).unwrap();
        let h = g.table("relu", Formula::x().max(0.0), h).unwrap();
        let y = g.end_repeat(&[h]).unwrap()[0];
        g.output("y", y, Visibility::Public);
        g.finish();
        module
    }

    fn weights(second: f32) -> BTreeMap<String, TensorF32> {
        let tensor = |data: [f32; 4]| TensorF32::new(vec![2, 2], data.to_vec()).unwrap();
        BTreeMap::from([
            ("w.0".into(), tensor([1.0, -2.0, 3.0, 0.5])),
            ("w.1".into(), tensor([1.0, 1.0, -0.001, second])),
        ])
    }

    fn sample(values: [f32; 2]) -> Inputs {
        Inputs {
            dims: BTreeMap::from([("batch".into(), 1)]),
            values: BTreeMap::from([(
                "x".into(),
                Data::Real(TensorF32::new(vec![1, 2], values.to_vec()).unwrap()),
            )]),
            states: BTreeMap::new(),
        }
    }

    #[test]
    fn ranges_over_samples_and_iterations() {
        let samples = [sample([1.0, 0.5]), sample([-2.0, 1.0])];
        let ranges = value_ranges(&module(), "main", &weights(0.0), &samples, &[])
            .unwrap()
            .values;
        let range = |name: &str| ranges[name];
        assert_eq!(range("x"), Range { lo: -2.0, hi: 1.0 });
        // First sample: [0, 3.25] then [3.25, 0]; second: [-4, -5.5] then zeros.
        assert!(
            ranges.values().any(|r| *r == Range { lo: -5.5, hi: 3.25 }),
            "{ranges:?}"
        );
        assert!(!ranges.contains_key("w"), "{ranges:?}");
        // The order of samples does not matter.
        let swapped = [samples[1].clone(), samples[0].clone()];
        assert_eq!(
            value_ranges(&module(), "main", &weights(0.0), &swapped, &[])
                .unwrap()
                .values,
            ranges
        );
    }

    #[test]
    fn magnitudes_of_a_stacked_weight() {
        let r = weight_range(&module(), "w", &[1], &weights(0.25)).unwrap();
        assert_eq!((r.max_abs, r.column_sum), (3.0, Some(3.5)));
        let r = weight_range(&module(), "w", &[0, 1], &weights(0.25)).unwrap();
        assert_eq!(r.column_sum, Some(6.5));
        let r = weight_range(&module(), "w", &[], &weights(0.25)).unwrap();
        assert_eq!(r.column_sum, None);
    }

    #[test]
    fn errors_name_sample_value_and_weight() {
        let samples = [sample([1.0, 0.5]), sample([f32::MAX, f32::MAX])];
        let error = value_ranges(&module(), "main", &weights(0.0), &samples, &[]).unwrap_err();
        assert!(matches!(error, CalibrateError::NotFinite { sample: 1, .. }), "{error}");
        let error = value_ranges(&module(), "other", &weights(0.0), &samples, &[]).unwrap_err();
        assert!(matches!(error, CalibrateError::Sample { sample: 0, .. }), "{error}");
        let error = weight_range(&module(), "v", &[], &weights(0.0)).unwrap_err();
        assert_eq!(error.to_string(), "the model has no weight 'v'");
        assert!(matches!(
            weight_range(&module(), "w", &[2], &weights(0.0)),
            Err(CalibrateError::Axis { axis: 2, .. })
        ));
    }
}
