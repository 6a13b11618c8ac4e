//! Block detection: repeated isomorphic chains become one `repeat` region.
//!
//! An entry is cut where a single value is alive: between two cuts lies a step with one input and one output. Steps are
//! compared by structure ([`step::Step::key`]): operations, attributes and constants, with weights known by type alone. A run of equal
//! groups of steps, from and to the same type, at least [`LEAST`] times in a row, becomes one region whose weights are
//! stacked ([`unify`]): committed structure and verifier cost then grow with the logarithm of the depth. Imported models,
//! whose blocks are written out one after another, become what a `repeat` in the language is.
//!
//! **Invariant**: no value changes (bit for bit); afterwards no such run is left at the top of an entry.

mod step;
mod unify;

use std::collections::{BTreeMap, BTreeSet};

use mlc_ir::{Entry, Module, Node, Op, Region, Repeat, StackAxis, Stage, ValueId, Weight};

use super::PassError;
use step::{Step, is_source, steps};

/// Fewest repetitions that are worth a region.
pub const LEAST: usize = 3;

/// Finds repeated blocks.
pub fn block_detect(mut module: Module) -> Result<Module, PassError> {
    if module.stage == Stage::Quantised {
        return Ok(module);
    }
    let names: Vec<String> = module.entries.keys().cloned().collect();
    for name in names {
        let Some(mut entry) = module.entries.get(&name).cloned() else {
            continue;
        };
        while let Some(run) = longest_run(&module, &entry) {
            roll_up(&mut module, &mut entry, &run);
        }
        entry.remove_dead();
        module.entries.insert(name, entry);
    }
    super::rewrite::forget_unused(&mut module);
    Ok(module)
}

/// `count` equal groups of steps.
struct Run {
    /// The groups, in order.
    groups: Vec<Vec<Step>>,
}

fn longest_run(module: &Module, entry: &Entry) -> Option<Run> {
    let steps = steps(entry);
    let keys: Vec<String> = steps.iter().map(|s| s.key(module, entry)).collect();
    let mut best: Option<(usize, usize, usize, usize)> = None;
    for period in 1..=steps.len() / LEAST {
        let mut start = 0;
        while start + period * LEAST <= steps.len() {
            let mut count = 1;
            while start + period * (count + 1) <= steps.len()
                && (0..period).all(|i| keys[start + i] == keys[start + period * count + i])
            {
                count += 1;
            }
            let group = &steps[start..start + period];
            let (input, output) = (group[0].input, group[period - 1].output);
            let fits = entry.ty(input) == entry.ty(output) && group.iter().any(|s| s.has_weight(module, entry));
            if count >= LEAST && fits {
                let covered = count * group.iter().map(|s| s.nodes.len()).sum::<usize>();
                // More nodes first, then shorter groups, then earlier ones.
                if best.is_none_or(|(most, ..)| covered > most) {
                    best = Some((covered, start, period, count));
                }
            }
            start += 1;
        }
    }
    let (_, start, period, count) = best?;
    let groups = (0..count)
        .map(|i| steps[start + i * period..start + (i + 1) * period].to_vec())
        .collect();
    Some(Run { groups })
}

/// An index name that is neither a dimension nor an index yet.
fn index_name(module: &Module, entry: &Entry) -> String {
    let taken: BTreeSet<&str> = entry
        .all_nodes()
        .iter()
        .filter_map(|n| match &n.op {
            Op::Repeat(repeat) => Some(repeat.index.as_str()),
            _ => None,
        })
        .chain(module.dims.keys().map(String::as_str))
        .collect();
    let names = std::iter::once("l".to_owned()).chain((2u32..).map(|i| format!("l{i}")));
    names
        .into_iter()
        .find(|n| !taken.contains(n.as_str()))
        .unwrap_or_default()
}

/// Replaces a run by a region.
fn roll_up(module: &mut Module, entry: &mut Entry, run: &Run) {
    let count = run.groups.len() as u64;
    let index = index_name(module, entry);
    let flat: Vec<Vec<Node>> = run
        .groups
        .iter()
        .map(|steps| steps.iter().flat_map(|s| s.nodes.clone()).collect())
        .collect();
    let (first, last) = (&run.groups[0], &run.groups[run.groups.len() - 1]);
    let (input, inner) = (first[0].input, first[first.len() - 1].output);
    let output = last[last.len() - 1].output;
    let sources: BTreeMap<ValueId, Node> = entry
        .body
        .nodes
        .iter()
        .filter(|n| is_source(&n.op))
        .flat_map(|n| n.results.iter().map(|id| (*id, n.clone())))
        .collect();

    let param_name = format!("{}.{index}", entry.value(input).name);
    let param = entry.new_value(&param_name, entry.ty(input).clone());
    let mut nodes = Vec::new();
    // Source operands of the body, by those of all groups at the same place.
    let mut made: BTreeMap<Vec<ValueId>, ValueId> = BTreeMap::new();
    for (at, node) in flat[0].iter().enumerate() {
        let mut node = node.clone();
        for slot in 0..node.operands.len() {
            let id = node.operands[slot];
            if id == input {
                node.operands[slot] = param;
            }
            if !sources.contains_key(&id) {
                continue;
            }
            let column: Vec<ValueId> = flat.iter().map(|group| group[at].operands[slot]).collect();
            let known = made.get(&column).copied();
            node.operands[slot] = known.unwrap_or_else(|| {
                let (op, name) = source(module, &sources, &column, &index, count);
                let result = entry.new_value(&name, entry.ty(id).clone());
                nodes.push(Node {
                    op,
                    operands: Vec::new(),
                    results: vec![result],
                    span: sources[&id].span.clone(),
                });
                made.insert(column, result);
                result
            });
        }
        nodes.push(node);
    }
    let repeat = Node {
        op: Op::Repeat(Box::new(Repeat {
            index,
            count,
            carried: 1,
            body: Region {
                params: vec![param],
                nodes,
                results: vec![inner],
            },
        })),
        operands: vec![input],
        results: vec![output],
        span: flat[0].first().and_then(|n| n.span.clone()),
    };
    let gone: BTreeSet<ValueId> = flat.iter().flatten().flat_map(|n| n.results.clone()).collect();
    let body = std::mem::take(&mut entry.body.nodes);
    // The region stands where its last block ended: after all that it reads, before all that reads it.
    for node in body {
        if node.results.contains(&output) {
            entry.body.nodes.push(repeat.clone());
        } else if !node.results.iter().any(|id| gone.contains(id)) {
            entry.body.nodes.push(node);
        }
    }
}

/// The operation that stands for the sources at one place of every group.
fn source(
    module: &mut Module,
    sources: &BTreeMap<ValueId, Node>,
    column: &[ValueId],
    index: &str,
    count: u64,
) -> (Op, String) {
    let op = &sources[&column[0]].op;
    let names: Vec<&str> = column
        .iter()
        .filter_map(|id| match &sources[id].op {
            Op::Weight(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    if names.len() < column.len() || names.iter().all(|n| *n == names[0]) {
        let name = names.first().map_or(op.name(), |n| *n).to_owned();
        return (op.clone(), name);
    }
    let weights: Vec<&Weight> = names.iter().filter_map(|n| module.weights.get(*n)).collect();
    let recipe = unify::stacked(&weights.iter().map(|w| &w.recipe).collect::<Vec<_>>(), index);
    let stacked = Weight {
        stack: vec![StackAxis {
            index: index.to_owned(),
            count,
        }],
        recipe,
        ..weights[0].clone()
    };
    let base = unify::name(&names, index);
    let mut name = base.clone();
    let mut n = 0;
    while module.weights.get(&name).is_some_and(|w| *w != stacked) {
        n += 1;
        name = format!("{base}.{n}");
    }
    module.weights.insert(name.clone(), stacked);
    (Op::Weight(name.clone()), name)
}
