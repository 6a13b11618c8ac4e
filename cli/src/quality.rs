//! The fewest bits at which the integers keep a model's meaning: what `mlc calibrate --quality` searches.
//!
//! Widths of activations and weights grow together until the cosine of every output with the f32 model is reached on all
//! samples. Then one bit less is tried again with the values that lose most ([`layer_errors`]) a bit or two wider than the rest:
//! where that reaches the quality with fewer committed cells, the precision is mixed.

use std::collections::BTreeMap;

use mlc_compiler::plan::{QuantPlan, Reached};
use mlc_ir::{Elem, Outputs, Visibility};
use mlc_runtime::calibrate::{LayerError, Tracks, layer_errors};
use mlc_runtime::exec::execute;
use rayon::prelude::*;

use crate::cost;
use crate::error::CliError;
use crate::input::Bound;
use crate::model::Model;
use crate::output::{agreement, outputs};
use crate::pipeline::{self, Compiled};

/// Widths that are tried.
const WIDTHS: std::ops::RangeInclusive<u32> = 6..=14;
/// Weights have at most as many bits: they make bounds of sums grow, and are coarsened for that anyway.
const WEIGHT_WIDTHS: (u32, u32) = (8, 12);
/// Samples that are looked at.
const SAMPLES: usize = 8;
/// Numbers of values that are made wider, and by how much.
const WIDER: [(usize, u32); 4] = [(1, 1), (2, 1), (4, 2), (8, 2)];

struct Search<'a> {
    model: &'a Model,
    samples: &'a [Bound],
    real: Vec<Outputs>,
}

/// The cheapest plan like `plan` whose outputs are at a cosine of at least `quality`; it says what was reached.
pub(crate) fn meet(model: &Model, plan: &QuantPlan, samples: &[Bound], quality: f64) -> Result<QuantPlan, CliError> {
    let entry = model.entry();
    let numbers = (entry.outputs.iter().zip(&entry.body.results))
        .any(|(port, id)| port.visibility == Visibility::Public && matches!(entry.ty(*id).elem, Elem::Real));
    if !numbers {
        return Err(CliError::Usage(
            "`--quality` compares outputs that are numbers, and all of them are hidden: choose the widths with `mlc calibrate \
             --quality` and without `--hide`, and name the plan under [quantise] in mlc.toml"
                .into(),
        ));
    }
    let samples = &samples[..samples.len().min(SAMPLES)];
    if samples.is_empty() {
        return Err(CliError::Usage(
            "`--quality` compares outputs on sample inputs, and there are none: name some with `--data`".into(),
        ));
    }
    let one = |bound: &Bound| {
        let inputs = bound.for_interpreter(&model.module, &model.entry);
        mlc_ir::run(&model.module, &model.entry, &model.weights, &inputs).map_err(CliError::refused)
    };
    let search = Search {
        model,
        samples,
        real: samples.par_iter().map(one).collect::<Result<_, _>>()?,
    };
    let mut best: Option<(f64, u32)> = None;
    let mut before: Option<QuantPlan> = None;
    for bits in WIDTHS {
        let mut wider = plan.clone();
        wider.config.activation_bits = bits;
        wider.config.weight_bits = bits.clamp(WEIGHT_WIDTHS.0, WEIGHT_WIDTHS.1);
        wider.quality = Some(quality);
        // Widths whose sums could pass the limit are no choice.
        let Ok(compiled) = pipeline::compile(model, wider.clone()) else {
            continue;
        };
        let Some(cosine) = search.cosine(&compiled)? else {
            continue;
        };
        if cosine >= quality {
            let whole = search.chosen(wider, &compiled, cosine, Vec::new())?;
            return match before {
                Some(narrow) => search.mixed(&narrow, quality, whole),
                None => Ok(whole),
            };
        }
        if best.is_none_or(|(most, _)| cosine > most) {
            best = Some((cosine, bits));
        }
        before = Some(wider);
    }
    Err(CliError::refused(match best {
        Some((cosine, bits)) => format!(
            "no widths reach a cosine of {quality}: the best is {cosine:.9}, with {bits} bits; `mlc run --layer-errors` names the \
             values that lose most, more samples may widen ranges that are too narrow"
        ),
        None => "no widths give a circuit; `mlc check` says why".to_owned(),
    }))
}

impl Search<'_> {
    /// The least cosine of an output over the samples; `None` where a sample cannot be run at these widths.
    fn cosine(&self, compiled: &Compiled) -> Result<Option<f64>, CliError> {
        let weights = pipeline::integers(self.model, compiled)?;
        let (circuit, entry) = (&compiled.circuit, compiled.entry);
        let mut least = f64::INFINITY;
        for (bound, real) in self.samples.iter().zip(&self.real) {
            let dims = bound.dims_of(circuit);
            let instance = circuit.instantiate(entry, &dims)?;
            let inputs = bound.integers(&instance.entry)?;
            let Ok(execution) = execute(&instance, &weights, &inputs) else {
                return Ok(None);
            };
            let ours = outputs(circuit, entry, &dims, &execution.outputs, None);
            least = least.min(agreement(&ours, real).map_or(1.0, |a| a.cosine));
        }
        Ok(Some(least))
    }

    fn chosen(
        &self,
        mut plan: QuantPlan,
        compiled: &Compiled,
        cosine: f64,
        wider: Vec<String>,
    ) -> Result<QuantPlan, CliError> {
        let dims = self.samples[0].dims_of(&compiled.circuit);
        let cost = cost::predict(&compiled.circuit, compiled.entry, &dims)?;
        plan.reached = Some(Reached {
            cosine,
            committed_cells: cost.committed_cells,
            wider,
        });
        Ok(plan)
    }

    /// `narrow`, which misses the quality, with the values that lose most made wider; or `whole`, if that is cheaper.
    fn mixed(&self, narrow: &QuantPlan, quality: f64, whole: QuantPlan) -> Result<QuantPlan, CliError> {
        let worst = self.worst(narrow)?;
        for (count, more) in WIDER {
            let bits = narrow.config.activation_bits + more;
            let mut plan = narrow.clone();
            let names: Vec<String> = worst.iter().take(count).cloned().collect();
            for name in &names {
                let own = plan.asked.value_bits.entry(name.clone()).or_insert(bits);
                *own = (*own).max(bits);
            }
            let Ok(compiled) = pipeline::compile(self.model, plan.clone()) else {
                continue;
            };
            let Some(cosine) = self.cosine(&compiled)?.filter(|c| *c >= quality) else {
                continue;
            };
            let mixed = self.chosen(plan, &compiled, cosine, names)?;
            let cells = |plan: &QuantPlan| plan.reached.as_ref().map(|r| r.committed_cells);
            return Ok(if cells(&mixed) < cells(&whole) { mixed } else { whole });
        }
        Ok(whole)
    }

    /// Values of the plan by what is lost at them, most first.
    fn worst(&self, plan: &QuantPlan) -> Result<Vec<String>, CliError> {
        let compiled = pipeline::compile(self.model, plan.clone())?;
        let Some(pipeline::Stages { prepared, quantised }) = &compiled.stages else {
            return Ok(Vec::new());
        };
        let tracks = Tracks {
            real: prepared,
            quantised,
        };
        let entry = &self.model.entry;
        let inputs = self.samples[0].for_interpreter(prepared, entry);
        let integers = self.samples[0].for_interpreter(quantised, entry);
        let errors = layer_errors(tracks, entry, &self.model.weights, &inputs, &integers).map_err(CliError::refused)?;
        let mut lost: BTreeMap<String, f64> = BTreeMap::new();
        for (name, db) in losses(&errors) {
            let key = format!("{entry}.{}", name.strip_suffix(".q").unwrap_or(name));
            if plan.values.contains_key(&key) {
                let slot = lost.entry(key).or_insert(db);
                *slot = slot.max(db);
            }
        }
        let mut lost: Vec<(String, f64)> = lost.into_iter().filter(|(_, db)| *db > 0.0).collect();
        lost.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(lost.into_iter().map(|(name, _)| name).collect())
    }
}

/// Decibels that each value is below the one computed before it in its block.
pub(crate) fn losses(errors: &[LayerError]) -> Vec<(&str, f64)> {
    let mut last: BTreeMap<&[i64], f64> = BTreeMap::new();
    let mut out = Vec::with_capacity(errors.len());
    for e in errors {
        // What is exact loses nothing by being finer still.
        let db = e.sqnr_db.min(100.0);
        let before = last.insert(&e.block, db);
        out.push((e.name.as_str(), before.map_or(0.0, |b| b - db)));
    }
    out
}
