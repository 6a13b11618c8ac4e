//! The quantisation plan of a model: statistics of its weights, and of its values over sample inputs.

use mlc_compiler::plan::{QuantConfig, QuantPlan, ValueRange, WeightStats, wanted};
use mlc_ir::{Module, WeightSource};
use mlc_runtime::calibrate::{value_ranges, weight_range};

use crate::error::CliError;
use crate::input::Bound;

/// The plan of a prepared module over `samples` of `entry`.
pub(crate) fn calibrate(
    module: &Module,
    entry: &str,
    weights: &(dyn WeightSource + Sync),
    samples: &[Bound],
    config: QuantConfig,
) -> Result<QuantPlan, CliError> {
    let wanted = wanted(module);
    let mut plan = QuantPlan {
        config,
        ..QuantPlan::default()
    };
    for weight in &wanted.weights {
        let range = weight_range(module, &weight.name, &weight.axes, weights).map_err(CliError::refused)?;
        plan.weights.insert(
            weight.name.clone(),
            WeightStats {
                max_abs: range.max_abs,
                column_sum: range.column_sum,
                axes: weight.axes.clone(),
            },
        );
    }
    let samples: Vec<_> = samples.iter().map(|s| s.for_interpreter(module, entry)).collect();
    let ranges = value_ranges(module, entry, weights, &samples).map_err(CliError::refused)?;
    for (of, name) in &wanted.values {
        if let Some(range) = ranges.get(name).filter(|_| of == entry) {
            let (lo, hi) = (range.lo, range.hi);
            plan.values.insert(format!("{of}.{name}"), ValueRange { lo, hi });
        }
    }
    plan.validate().map_err(CliError::refused)?;
    Ok(plan)
}
