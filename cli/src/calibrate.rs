//! The quantisation plan of a model: statistics of its weights, and of its values over sample inputs.
//!
//! The values are computed once, as they are. From the ranges of their channels follow the factors that balance these
//! ([`balance`]), and from both the ranges of the divided values: factors are powers of two, so that nothing is rounded.

use std::collections::BTreeSet;

use mlc_compiler::passes::balance::{self, Layout, Path};
use mlc_compiler::plan::{Channels, QuantConfig, QuantPlan, ValueRange, WeightStats, wanted};
use mlc_compiler::prepare;
use mlc_ir::{Module, WeightSource};
use mlc_runtime::calibrate::{
    ChannelRanges, ChannelsOf, Range, round_range, value_ranges, weight_channels, weight_range,
};

use crate::error::CliError;
use crate::input::Bound;

/// What is calibrated.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// As the front-end made it.
    pub(crate) module: &'a Module,
    pub(crate) entry: &'a str,
    pub(crate) weights: &'a (dyn WeightSource + Sync),
    /// Values, as `entry.value`, whose ranges the source declares: they keep their unit.
    pub(crate) declared: &'a BTreeSet<String>,
}

/// The plan of a model over `samples` of its entry.
pub(crate) fn calibrate(of: Subject<'_>, samples: &[Bound], config: QuantConfig) -> Result<QuantPlan, CliError> {
    let mut plan = QuantPlan {
        config,
        ..QuantPlan::default()
    };
    let plain = prepare(of.module.clone(), &plan, &mut |_, _| {}).map_err(CliError::refused)?;
    let samples: Vec<_> = samples.iter().map(|s| s.for_interpreter(&plain, of.entry)).collect();
    let mut paths = balance::paths(&plain);
    // Without samples there is nothing to choose factors by.
    paths.retain(|p| !samples.is_empty() && p.entry == of.entry && keeps_units(p, of.declared));
    let channels: Vec<ChannelsOf<'_>> = paths.iter().flat_map(measured).collect();
    let mut seen = value_ranges(&plain, of.entry, of.weights, &samples, &channels).map_err(CliError::refused)?;
    for path in &paths {
        let exponents = exponents(&plain, path, &seen.channels, of.weights)?;
        if exponents.iter().flatten().all(|e| *e == 0) {
            continue;
        }
        for scaled in &path.values {
            if let Some(range) = divided(&seen.channels, &scaled.value, &exponents) {
                seen.values.insert(scaled.value.clone(), range);
            }
        }
        plan.channels.insert(path.key(), Channels::new(&exponents));
    }

    let module = prepare(of.module.clone(), &plan, &mut |_, _| {}).map_err(CliError::refused)?;
    let wanted = wanted(&module);
    for weight in &wanted.weights {
        let range = weight_range(&module, &weight.name, &weight.axes, of.weights).map_err(CliError::refused)?;
        plan.weights.insert(
            weight.name.clone(),
            WeightStats {
                max_abs: range.max_abs,
                column_sum: range.column_sum,
                axes: weight.axes.clone(),
            },
        );
    }
    for (entry, name) in &wanted.values {
        if let Some(range) = seen.values.get(name).filter(|_| entry == of.entry) {
            let (lo, hi) = (range.lo, range.hi);
            plan.values.insert(format!("{entry}.{name}"), ValueRange { lo, hi });
        }
    }
    plan.validate().map_err(CliError::refused)?;
    Ok(plan)
}

/// Whether no value on a path has a declared range, which would be of the value as it is.
pub(crate) fn keeps_units(path: &Path, declared: &BTreeSet<String>) -> bool {
    let of = |value: &str| declared.contains(&format!("{}.{value}", path.entry));
    !path.values.iter().any(|v| of(&v.value))
}

fn measured(path: &Path) -> impl Iterator<Item = ChannelsOf<'_>> {
    path.values.iter().map(|scaled| ChannelsOf {
        value: &scaled.value,
        stack: &path.stack,
        count: path.channels,
        each: each(&scaled.layout),
    })
}

fn each(layout: &Layout) -> Box<mlc_runtime::calibrate::EachChannel<'_>> {
    Box::new(|shape, f| layout.each(shape, f))
}

/// Exponents of the factors of a path, iteration by iteration.
fn exponents(
    module: &Module,
    path: &Path,
    seen: &ChannelRanges,
    weights: &(dyn WeightSource + Sync),
) -> Result<Vec<Vec<i8>>, CliError> {
    let all = path.blocks() * path.channels;
    let (mut read, mut by) = (vec![0f64; all], vec![0f64; all]);
    for scaled in &path.read {
        let ranges = seen.get(&scaled.value).into_iter().flatten().flatten();
        for (most, range) in read.iter_mut().zip(ranges) {
            *most = range.map_or(*most, |r| most.max(r.lo.abs()).max(r.hi.abs()));
        }
    }
    for end in path.ends.iter().filter(|e| !e.divides) {
        let channels = weight_channels(module, &end.weight, path.channels, &*each(&end.layout), weights);
        let channels = channels.map_err(CliError::refused)?;
        for (most, own) in by.iter_mut().zip(channels.into_iter().flatten()) {
            *most = most.max(own);
        }
    }
    // All iterations together: they have one scale.
    let exponents = balance::exponents(&read, &by);
    Ok(exponents.chunks(path.channels).map(<[i8]>::to_vec).collect())
}

/// The range of a value whose channels are divided.
fn divided(seen: &ChannelRanges, value: &str, exponents: &[Vec<i8>]) -> Option<Range> {
    let mut out: Option<Range> = None;
    let ranges = seen.get(value)?.iter().flatten().zip(exponents.iter().flatten());
    for (range, exponent) in ranges {
        let factor = 1.0 / balance::factor(*exponent);
        if let Some(r) = range {
            let (lo, hi) = (r.lo * factor, r.hi * factor);
            out = Some(out.map_or(Range { lo, hi }, |o| Range {
                lo: o.lo.min(lo),
                hi: o.hi.max(hi),
            }));
        }
    }
    out.map(round_range)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mlc_compiler::{CompileOptions, compile};
    use mlc_ir::{Formula, GraphBuilder, Recipe, Shape, Stage, TensorF32, Type, Visibility, Weight};
    use mlc_runtime::calibrate::{Tracks, layer_errors};

    use super::*;

    const WIDTH: i64 = 8;
    const HIDDEN: i64 = 16;

    fn weight(g: &mut GraphBuilder<'_>, name: &str, shape: [i64; 2]) -> mlc_ir::ValueId {
        let recipe = Recipe::tensor(name, shape.map(|d| d as u64)).unwrap();
        g.weight(name, Weight::real(Shape::new(shape), recipe)).unwrap()
    }

    /// `down(tanh(gate(x)) · up(x))`.
    fn gated() -> Module {
        let mut module = Module::new("m", Stage::Real);
        let mut g = module.entry("main");
        let x = g.input("x", Visibility::Public, Type::real(Shape::new([16, WIDTH])));
        let w = weight(&mut g, "gate", [HIDDEN, WIDTH]);
        let gate = g.named("gate").contract("ti,oi->to", x, w).unwrap();
        let gate = g.named("open").table("tanh", Formula::x().tanh(), gate).unwrap();
        let w = weight(&mut g, "up", [HIDDEN, WIDTH]);
        let up = g.named("up").contract("ti,oi->to", x, w).unwrap();
        let h = g.named("h").mul(gate, up).unwrap();
        let w = weight(&mut g, "down", [WIDTH, HIDDEN]);
        let y = g.named("y").contract("ti,oi->to", h, w).unwrap();
        g.output("y", y, Visibility::Public);
        g.finish();
        module
    }

    /// Small numbers; the one hidden channel of number 5 is a hundred times what the others are, and read by weights that
    /// are a hundredth.
    fn weights() -> BTreeMap<String, TensorF32> {
        let tensor = |name: &str, rows: i64, columns: i64| {
            let (rows, columns) = (rows as usize, columns as usize);
            let value = |i: usize| {
                let small = ((i * 7919 + name.len() * 31) % 199) as f32 / 199.0 - 0.5;
                match name {
                    "up" if i / columns == 5 => small * 100.0,
                    "down" if i % columns == 5 => small / 100.0,
                    _ => small,
                }
            };
            let data = (0..rows * columns).map(value).collect();
            (name.to_owned(), TensorF32::new(vec![rows, columns], data).unwrap())
        };
        [
            tensor("gate", HIDDEN, WIDTH),
            tensor("up", HIDDEN, WIDTH),
            tensor("down", WIDTH, HIDDEN),
        ]
        .into()
    }

    /// Decibels of the output with 8 bits, where `declared` values keep their unit; and the plan.
    fn output(declared: &[&str]) -> (f64, QuantPlan) {
        let (module, weights) = (gated(), weights());
        let data = (0..16 * WIDTH as usize).map(|i| ((i * 6007) % 257) as f32 / 128.5 - 1.0);
        let sample = Bound {
            dims: Default::default(),
            tensors: vec![TensorF32::new(vec![16, WIDTH as usize], data.collect()).unwrap()],
            file: "sample".into(),
        };
        let subject = Subject {
            module: &module,
            entry: "main",
            weights: &weights,
            declared: &declared.iter().map(|v| (*v).to_owned()).collect(),
        };
        let plan = calibrate(subject, std::slice::from_ref(&sample), QuantConfig::default()).unwrap();
        let compiled = compile(module, &plan, &CompileOptions::default()).unwrap();
        let (real, quantised) = (&compiled.prepared, &compiled.quantised);
        let inputs = sample.for_interpreter(real, "main");
        let integers = sample.for_interpreter(quantised, "main");
        let errors = layer_errors(Tracks { real, quantised }, "main", &weights, &inputs, &integers).unwrap();
        let y = errors.iter().find(|e| e.name == "y").unwrap();
        (y.sqnr_db, plan)
    }

    #[test]
    fn a_channel_that_stands_out_does_not_take_the_bits_of_the_others() {
        let (plain, without) = output(&["main.h"]);
        let (balanced, with) = output(&[]);
        assert!(without.channels.is_empty() && with.channels.contains_key("main.up"));
        assert!(balanced > plain + 12.0, "{plain} dB, balanced {balanced} dB");
        assert!(balanced > 30.0, "{balanced} dB");
        // Ranges are those of the divided values.
        let most = |plan: &QuantPlan| plan.values["main.up"].hi.max(-plan.values["main.up"].lo);
        let (before, after) = (most(&without), most(&with));
        assert!(before > 4.0 * after, "{before}, balanced {after}");
    }
}
