//! Layers: a product or a convolution with the weight `NAME.weight` and the bias `NAME.bias`, which the text writes as
//! `linear(x, 10, "NAME")` and `conv(x, 8, "NAME")` of the standard library.

use std::collections::BTreeMap;

use mlc_ir::{BinaryOp, Conv2d, Dim, Entry, Module, Node, Op, Region, Shape, ValueId, Visibility};

use super::names::stored;

/// One layer of a region.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layer {
    /// What it is applied to.
    pub(super) x: ValueId,
    /// Common part of the names of its weights.
    pub(super) name: String,
    /// The weights: name in the module, name in the file, shape in the file.
    pub(super) weights: Vec<(String, String, Vec<usize>)>,
    /// Number of outputs.
    pub(super) out: usize,
    /// Size of the square window, and the convolution's attributes; `None` for a product.
    pub(super) window: Option<(usize, Conv2d)>,
    /// Whether there is a bias.
    pub(super) bias: bool,
}

/// The layers of `region`: by index of the node whose result is the layer's; and the indices of nodes that only serve them.
pub(super) fn find(module: &Module, entry: &Entry, region: &Region) -> (BTreeMap<usize, Layer>, Vec<usize>) {
    let uses = uses(entry);
    let producer: BTreeMap<ValueId, &Node> = region
        .nodes
        .iter()
        .filter_map(|n| n.results.first().map(|r| (*r, n)))
        .collect();
    let mut layers = BTreeMap::new();
    let mut inner = Vec::new();
    for (i, node) in region.nodes.iter().enumerate() {
        let Some(mut layer) = product(module, entry, node, &producer, &uses) else {
            continue;
        };
        let own = node.results.first().copied();
        let sum = region
            .nodes
            .iter()
            .position(|n| own.is_some_and(|own| is_sum_of(n, own)));
        let bias = sum.and_then(|at| {
            let [_, bias] = region.nodes[at].operands.as_slice() else {
                return None;
            };
            let (weight, shape) = weight(module, producer.get(bias)?, &uses)?;
            let mut expected = vec![Dim::from(layer.out)];
            if layer.window.is_some() {
                expected.extend([Dim::fixed(1), Dim::fixed(1)]);
            }
            (weight == format!("{}.bias", layer.name) && *shape == Shape(expected)).then_some((at, weight))
        });
        match bias {
            Some((at, weight)) if own.is_some_and(|own| uses.values.get(&own) == Some(&1)) => {
                layer.weights.push((weight.clone(), weight, vec![layer.out]));
                layer.bias = true;
                layers.insert(at, layer);
                inner.push(i);
            }
            _ => {
                layers.insert(i, layer);
            }
        }
    }
    (layers, inner)
}

/// How often values and weights are used in an entry.
struct Uses {
    values: BTreeMap<ValueId, usize>,
    weights: BTreeMap<String, usize>,
}

fn uses(entry: &Entry) -> Uses {
    let mut out = Uses {
        values: BTreeMap::new(),
        weights: BTreeMap::new(),
    };
    let mut weight_of = BTreeMap::new();
    for node in entry.all_nodes() {
        if let (Op::Weight(name), Some(result)) = (&node.op, node.results.first()) {
            weight_of.insert(*result, name.clone());
        }
        let mut read = node.operands.clone();
        if let Op::Repeat(repeat) = &node.op {
            read.extend(&repeat.body.results);
        }
        for id in read {
            *out.values.entry(id).or_insert(0) += 1;
            if let Some(name) = weight_of.get(&id) {
                *out.weights.entry(name.clone()).or_insert(0) += 1;
            }
        }
    }
    for id in &entry.body.results {
        *out.values.entry(*id).or_insert(0) += 1;
    }
    out
}

fn is_sum_of(node: &Node, value: ValueId) -> bool {
    matches!(node.op, Op::Binary(BinaryOp::Add)) && node.operands.first() == Some(&value)
}

/// The weight that `node` reads, where nothing else reads it and its name can stand in a text.
fn weight<'m>(module: &'m Module, node: &Node, uses: &Uses) -> Option<(String, &'m Shape)> {
    let Op::Weight(name) = &node.op else {
        return None;
    };
    let weight = module.weights.get(name)?;
    let plain = stored(name) == *name && weight.stack.is_empty() && weight.visibility == Visibility::Committed;
    (plain && module.entries.len() == 1 && uses.weights.get(name) == Some(&1)).then(|| (name.clone(), &weight.ty.shape))
}

fn product(
    module: &Module,
    entry: &Entry,
    node: &Node,
    producer: &BTreeMap<ValueId, &Node>,
    uses: &Uses,
) -> Option<Layer> {
    let [x, w] = node.operands.as_slice() else {
        return None;
    };
    let (weight, shape) = weight(module, producer.get(w)?, uses)?;
    let name = weight.strip_suffix(".weight")?.to_owned();
    let sizes = shape.as_const()?;
    let window = match &node.op {
        Op::Contract(einsum) => {
            // "…k, ok -> …o"
            let (lead, k) = einsum.lhs().split_at(einsum.lhs().len().checked_sub(1)?);
            let o = einsum.out().strip_prefix(lead)?;
            let linear = o.len() == 1 && o != k && einsum.rhs() == format!("{o}{k}");
            if !linear {
                return None;
            }
            None
        }
        Op::Conv2d(conv) => {
            let [_, _, height, width] = sizes.as_slice() else {
                return None;
            };
            let even = conv.stride[0] == conv.stride[1] && conv.dilation[0] == conv.dilation[1];
            let padded = conv.pad.iter().all(|p| *p == conv.pad[0]);
            if height != width || !even || !padded || entry.ty(*x).shape.rank() != 4 {
                return None;
            }
            Some((*height, conv.clone()))
        }
        _ => return None,
    };
    Some(Layer {
        x: *x,
        out: *sizes.first()?,
        weights: vec![(weight.clone(), weight, sizes)],
        name,
        window,
        bias: false,
    })
}
