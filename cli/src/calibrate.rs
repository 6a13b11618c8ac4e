//! Statistics over sample inputs, in their order: the quantisation plan.
//!
//! Every statistic is a greatest or least value rounded away from zero to 8 significant bits, so neither the order of
//! sums nor the last bit of a sample changes the plan.

use std::collections::BTreeMap;

use mlc_compiler::plan::{QuantConfig, QuantPlan, ValueRange, WantedWeight, WeightStats, round_up, wanted};
use mlc_ir::{Bindings, Data, Module, StackAxis, ValueId, WeightSource, run_observed};

use crate::error::CliError;
use crate::input::Bound;

/// The plan of a module of the real stage: statistics of its weights, and of its values over `samples` of `entry`.
pub(crate) fn calibrate(
    module: &Module,
    entry: &str,
    weights: &dyn WeightSource,
    samples: &[Bound],
    config: QuantConfig,
) -> Result<QuantPlan, CliError> {
    let wanted = wanted(module);
    let mut plan = QuantPlan {
        config,
        ..QuantPlan::default()
    };
    for weight in &wanted.weights {
        plan.weights.insert(weight.name.clone(), statistics(module, weight, weights)?);
    }
    let graph = &module.entries[entry];
    let mut ranges: BTreeMap<ValueId, (f64, f64)> = BTreeMap::new();
    for sample in samples {
        let inputs = sample.for_interpreter(module, entry);
        run_observed(module, entry, weights, &inputs, &mut |seen| {
            if let Data::Real(tensor) = seen.data {
                let range = ranges.entry(seen.value).or_insert((f64::INFINITY, f64::NEG_INFINITY));
                for v in &tensor.data {
                    *range = (range.0.min(f64::from(*v)), range.1.max(f64::from(*v)));
                }
            }
        })
        .map_err(CliError::refused)?;
    }
    for (of, name) in &wanted.values {
        let range = graph.find(name).filter(|_| of == entry).and_then(|id| ranges.get(&id));
        if let Some((lo, hi)) = range.filter(|(lo, hi)| lo <= hi) {
            let (lo, hi) = (round_up(*lo), round_up(*hi));
            plan.values.insert(format!("{of}.{name}"), ValueRange { lo, hi });
        }
    }
    plan.validate().map_err(CliError::refused)?;
    Ok(plan)
}

/// Magnitudes of a weight over all iterations of its regions.
fn statistics(module: &Module, wanted: &WantedWeight, source: &dyn WeightSource) -> Result<WeightStats, CliError> {
    let weight = &module.weights[&wanted.name];
    let (mut max_abs, mut column_sum) = (0f64, 0f64);
    let mut each = |bindings: &Bindings| -> Result<(), CliError> {
        let tensor = weight
            .recipe
            .eval(source, bindings)
            .map_err(|e| CliError::refused(format!("weight `{}`: {e}", wanted.name)))?;
        if let Some(at) = tensor.data.iter().position(|v| !v.is_finite()) {
            return Err(CliError::refused(format!(
                "weight `{}` is {} at position {at}; every weight must be finite",
                wanted.name, tensor.data[at]
            )));
        }
        max_abs = tensor.data.iter().fold(max_abs, |m, v| m.max(v.abs()));
        if !wanted.axes.is_empty() {
            let kept: Vec<usize> = (0..tensor.shape.len()).filter(|a| !wanted.axes.contains(a)).collect();
            let columns: usize = kept.iter().map(|a| tensor.shape[*a]).product();
            let mut sums = vec![0f64; columns];
            for (i, v) in tensor.data.iter().enumerate() {
                sums[column(i, &tensor.shape, &kept)] += v.abs();
            }
            column_sum = sums.into_iter().fold(column_sum, f64::max);
        }
        Ok(())
    };
    iterations(&weight.stack, &mut Bindings::new(), &mut each)?;
    let summed = !wanted.axes.is_empty();
    Ok(WeightStats {
        max_abs: round_up(max_abs),
        column_sum: summed.then(|| round_up(column_sum)),
        axes: wanted.axes.clone(),
    })
}

/// The row-major position of element `i` on the kept axes.
fn column(mut i: usize, shape: &[usize], kept: &[usize]) -> usize {
    let (mut at, mut stride) = (0, 1);
    for axis in (0..shape.len()).rev() {
        if kept.contains(&axis) {
            at += i % shape[axis] * stride;
            stride *= shape[axis];
        }
        i /= shape[axis];
    }
    at
}

/// Calls `f` under every binding of the indices of `stack`, outermost slowest.
pub(crate) fn iterations(
    stack: &[StackAxis],
    bindings: &mut Bindings,
    f: &mut dyn FnMut(&Bindings) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let Some((axis, inner)) = stack.split_first() else {
        return f(bindings);
    };
    for l in 0..axis.count {
        bindings.insert(axis.index.clone(), l as i64);
        iterations(inner, bindings, f)?;
    }
    bindings.remove(&axis.index);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_their_order() {
        let shape = [2, 3, 2];
        let positions: Vec<usize> = (0..12).map(|i| column(i, &shape, &[0, 2])).collect();
        assert_eq!(positions, [0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3]);
    }
}
