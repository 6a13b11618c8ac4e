//! What calibration has to measure.

use mlc_ir::{Elem, Module, Op, Region, ValueId};
use std::collections::BTreeMap;

/// Statistics wanted of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Keys of [`super::QuantPlan::values`]: `(entry, value)`, in order of definition.
    pub values: Vec<(String, String)>,
    /// Weights with the axes of their column sums.
    pub weights: Vec<WantedWeight>,
}

/// Statistics wanted of a weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedWeight {
    /// Its name.
    pub name: String,
    /// Axes to sum |w| over; empty where only the greatest |w| is wanted.
    pub axes: Vec<usize>,
}

/// The statistics wanted of a module of the real stage: of every real value that is no weight, and of every weight.
pub fn wanted(module: &Module) -> Wanted {
    let mut values = Vec::new();
    let mut columns: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (name, entry) in &module.entries {
        let mut weights: BTreeMap<ValueId, &str> = BTreeMap::new();
        for node in entry.all_nodes() {
            if let (Op::Weight(weight), Some(id)) = (&node.op, node.results.first()) {
                weights.insert(*id, weight);
            }
        }
        for (i, value) in entry.values.iter().enumerate() {
            if value.ty.elem == Elem::Real && !weights.contains_key(&ValueId(i as u32)) {
                values.push((name.clone(), value.name.clone()));
            }
        }
        summed(&entry.body, &weights, &mut columns);
    }
    let weights = module
        .weights
        .keys()
        .map(|name| WantedWeight {
            name: name.clone(),
            axes: columns.get(name).cloned().unwrap_or_default(),
        })
        .collect();
    Wanted { values, weights }
}

/// The contracted axes of weights that are operands of contractions and convolutions; the first use counts.
fn summed(region: &Region, weights: &BTreeMap<ValueId, &str>, out: &mut BTreeMap<String, Vec<usize>>) {
    for node in &region.nodes {
        let mut note = |id: ValueId, axes: Vec<usize>| {
            if let Some(name) = weights.get(&id) {
                out.entry((*name).to_owned()).or_insert(axes);
            }
        };
        match &node.op {
            Op::Conv2d(_) => note(node.operands[1], vec![1, 2, 3]),
            Op::Contract(einsum) => {
                for (id, labels) in node.operands.iter().zip([einsum.lhs(), einsum.rhs()]) {
                    let axes = labels.char_indices().filter(|(_, c)| !einsum.out().contains(*c));
                    note(*id, axes.map(|(i, _)| i).collect());
                }
            }
            Op::Repeat(repeat) => summed(&repeat.body, weights, out),
            _ => {}
        }
    }
}
