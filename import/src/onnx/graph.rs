//! The file as a checked list of nodes: decoded, every value defined once, nodes in an order of use.
//!
//! Decoding is tract's (`tract_onnx::pb`). Everything after that trusts: the operator sets are known, a value has one
//! definition, a node comes after what it uses. The names of the file are kept as they are.

use std::collections::{BTreeMap, BTreeSet};

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};
use tract_onnx::prelude::Framework;

use crate::error::ImportError;

/// Oldest operator set read.
const LEAST_OPSET: i64 = 7;
/// Newest operator set read.
const MOST_OPSET: i64 = 24;

/// Decodes the bytes of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<ModelProto, ImportError> {
    let fail = |why: &str| ImportError::NotOnnx { why: why.to_owned() };
    if bytes.is_empty() {
        return Err(fail("the file is empty"));
    }
    let mut reader = bytes;
    tract_onnx::onnx()
        .proto_model_for_read(&mut reader)
        .map_err(|e| fail(&e.to_string()))
}

/// The graph, and the version of the standard operator set.
pub(super) fn graph(model: &ModelProto) -> Result<(&GraphProto, i64), ImportError> {
    let fail = |why: &str| ImportError::NotOnnx { why: why.to_owned() };
    let graph = model.graph.as_ref().ok_or_else(|| fail("it holds no graph"))?;
    let opset = model.opset_import.iter().find(|o| is_standard(&o.domain));
    let opset = opset.ok_or_else(|| fail("it names no operator set"))?.version;
    if !(LEAST_OPSET..=MOST_OPSET).contains(&opset) {
        return Err(ImportError::Opset {
            found: opset,
            least: LEAST_OPSET,
            most: MOST_OPSET,
        });
    }
    if graph.output.is_empty() {
        return Err(fail("its graph has no output"));
    }
    Ok((graph, opset))
}

/// True for the domain of the standard operators.
pub(super) fn is_standard(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// What a node is called in diagnostics: its name, or its first output, or its operator.
pub(super) fn name(node: &NodeProto) -> &str {
    let output = || node.output.iter().map(String::as_str).find(|o| !o.is_empty());
    if node.name.is_empty() {
        output().unwrap_or(&node.op_type)
    } else {
        &node.name
    }
}

/// Nodes in an order in which each comes after what it uses; those of one rank stay in the order of the file.
///
/// `known` are the values that inputs and initialisers define.
pub(super) fn order<'g>(graph: &'g GraphProto, known: &BTreeSet<&str>) -> Result<Vec<&'g NodeProto>, Vec<ImportError>> {
    let mut errors = Vec::new();
    let mut producer: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for value in node.output.iter().filter(|v| !v.is_empty()) {
            if known.contains(value.as_str()) || producer.insert(value, i).is_some() {
                errors.push(ImportError::Redefined {
                    node: name(node).to_owned(),
                    operator: node.op_type.clone(),
                    value: value.clone(),
                });
            }
        }
    }
    // Number of inputs that a node still waits for, and who waits for whom.
    let mut waits = vec![0usize; graph.node.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
    for (i, node) in graph.node.iter().enumerate() {
        for value in node.input.iter().filter(|v| !v.is_empty()) {
            if known.contains(value.as_str()) {
                continue;
            }
            match producer.get(value.as_str()) {
                Some(from) => {
                    waits[i] += 1;
                    users[*from].push(i);
                }
                None => errors.push(ImportError::Undefined {
                    node: name(node).to_owned(),
                    operator: node.op_type.clone(),
                    value: value.clone(),
                }),
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut ready: BTreeSet<usize> = (0..waits.len()).filter(|i| waits[*i] == 0).collect();
    let mut sorted = Vec::with_capacity(waits.len());
    let mut done = vec![false; waits.len()];
    while let Some(i) = ready.pop_first() {
        sorted.push(&graph.node[i]);
        done[i] = true;
        for user in &users[i] {
            waits[*user] -= 1;
            if waits[*user] == 0 {
                ready.insert(*user);
            }
        }
    }
    match done.iter().position(|d| !d) {
        None => Ok(sorted),
        Some(_) => Err(vec![cycle(graph, &producer, &done)]),
    }
}

/// The first node of the file that lies on a cycle: follows unfinished producers until one repeats.
fn cycle(graph: &GraphProto, producer: &BTreeMap<&str, usize>, done: &[bool]) -> ImportError {
    let waiting = |i: usize| {
        let inputs = graph.node[i].input.iter();
        let mut from = inputs.filter_map(|v| producer.get(v.as_str()).map(|p| (v, *p)));
        from.find(|(_, p)| !done[*p])
    };
    let mut at = done.iter().position(|d| !d).unwrap_or(0);
    let mut seen = BTreeSet::new();
    while seen.insert(at) {
        at = waiting(at).map_or(at, |(_, p)| p);
    }
    // `at` is on the cycle; walk it once more for its first node of the file.
    let start = at;
    let mut first = at;
    loop {
        at = waiting(at).map_or(start, |(_, p)| p);
        first = first.min(at);
        if at == start {
            break;
        }
    }
    ImportError::Cycle {
        node: name(&graph.node[first]).to_owned(),
        operator: graph.node[first].op_type.clone(),
        value: waiting(first).map(|(v, _)| v.clone()).unwrap_or_default(),
    }
}
