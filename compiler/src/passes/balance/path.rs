//! Paths of channels: from a linear map to the linear maps that read it, through what a positive factor per channel passes.

use std::collections::{BTreeMap, BTreeSet};

use mlc_ir::{BinaryOp, Entry, Module, Node, Op, Region, Shape, StackAxis, ValueId};

use super::Layout;

/// A weight at an end of a path, or a bias on it, which takes the factors of the channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The weight.
    pub weight: String,
    /// Channels of its elements.
    pub layout: Layout,
    /// Whether it is divided by the factor of a channel (it makes what is on the path), or multiplied by it.
    pub divides: bool,
    /// Result of the operation that uses it.
    pub(super) user: ValueId,
    /// Which operand of that operation it is.
    pub(super) operand: usize,
}

/// A value on a path: the factor of a channel divides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaled {
    /// Its name in its entry.
    pub value: String,
    /// Channels of its elements.
    pub layout: Layout,
}

/// What lies between a linear map and those that read its channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The entry.
    pub entry: String,
    /// Enclosing regions, outermost first; every iteration has factors of its own.
    pub stack: Vec<StackAxis>,
    /// Number of channels.
    pub channels: usize,
    /// Values on the path; the first is the linear map's result.
    pub values: Vec<Scaled>,
    /// What the last linear maps read.
    pub read: Vec<Scaled>,
    /// Weights that take the factors.
    pub ends: Vec<End>,
}

impl Path {
    /// What a plan calls it.
    pub fn key(&self) -> String {
        let first = self.values.first().map_or("", |v| v.value.as_str());
        format!("{}.{first}", self.entry)
    }

    /// Number of iterations of the regions around it.
    pub fn blocks(&self) -> usize {
        self.stack.iter().map(|a| a.count as usize).product()
    }
}

/// Every path of a module of the real stage, in order of definition.
pub fn paths(module: &Module) -> Vec<Path> {
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for node in module.entries.values().flat_map(|e| e.all_nodes()) {
        match &node.op {
            Op::Weight(name) => *named.entry(name).or_default() += 1,
            Op::StateRead(name) | Op::StateAppend(name) => *states.entry(name).or_default() += 1,
            _ => {}
        }
    }
    let mut out = Vec::new();
    for (name, entry) in &module.entries {
        let mut search = Search {
            module,
            entry_name: name,
            entry,
            uses: crate::passes::rewrite::uses(&entry.body),
            named: &named,
            states: &states,
            stack: Vec::new(),
            out: &mut out,
        };
        search.region(&entry.body);
    }
    out
}

struct Search<'a> {
    module: &'a Module,
    entry_name: &'a str,
    entry: &'a Entry,
    /// Uses of every value, wherever.
    uses: BTreeMap<ValueId, usize>,
    /// How often the module uses weights and states.
    named: &'a BTreeMap<&'a str, usize>,
    states: &'a BTreeMap<&'a str, usize>,
    stack: Vec<StackAxis>,
    out: &'a mut Vec<Path>,
}

impl<'a> Search<'a> {
    fn region(&mut self, region: &'a Region) {
        // Weights of this region that nothing else uses.
        let mut weights = BTreeMap::new();
        let mut readers: BTreeMap<ValueId, Vec<(usize, usize)>> = BTreeMap::new();
        for (i, node) in region.nodes.iter().enumerate() {
            for (k, id) in node.operands.iter().enumerate() {
                readers.entry(*id).or_default().push((i, k));
            }
            if let (Op::Weight(name), [id]) = (&node.op, &node.results[..]) {
                let own = self.module.weights.get(name).is_some_and(|w| w.stack == self.stack);
                if own && self.named.get(name.as_str()) == Some(&1) && self.uses.get(id) == Some(&1) {
                    weights.insert(*id, name.as_str());
                }
            }
        }
        for node in &region.nodes {
            if let Op::Repeat(repeat) = &node.op {
                self.stack.push(StackAxis {
                    index: repeat.index.clone(),
                    count: repeat.count,
                });
                self.region(&repeat.body);
                self.stack.pop();
                continue;
            }
            let walk = Walk {
                search: self,
                region,
                readers: &readers,
                weights: &weights,
                passed: BTreeSet::new(),
                path: Path {
                    entry: self.entry_name.to_owned(),
                    stack: self.stack.clone(),
                    channels: 0,
                    values: Vec::new(),
                    read: Vec::new(),
                    ends: Vec::new(),
                },
            };
            let found = walk.from(node);
            self.out.extend(found);
        }
    }
}

struct Walk<'w, 'a> {
    search: &'w Search<'a>,
    region: &'a Region,
    /// Nodes of the region that use a value, and as which operand.
    readers: &'w BTreeMap<ValueId, Vec<(usize, usize)>>,
    weights: &'w BTreeMap<ValueId, &'a str>,
    /// Nodes that the path has reached.
    passed: BTreeSet<ValueId>,
    path: Path,
}

impl<'a> Walk<'_, 'a> {
    fn shape(&self, id: ValueId) -> &'a Shape {
        &self.search.entry.ty(id).shape
    }

    fn sizes(&self, id: ValueId) -> Option<Vec<usize>> {
        self.shape(id).as_const()
    }

    /// The path that begins with a linear map, where it ends in others.
    fn from(mut self, node: &'a Node) -> Option<Path> {
        let [result] = node.results[..] else { return None };
        let (operand, axes) = made(node, |id| self.weights.contains_key(&id))?;
        let weight = node.operands[operand];
        let sizes = self.sizes(weight)?;
        // Channels are the axes of the weight that the result keeps; `axes` says which of its own each is.
        let of: Vec<Option<usize>> = (0..sizes.len())
            .map(|i| axes.iter().position(|(w, _)| *w == i))
            .collect();
        let channels = Layout::new(axes.iter().map(|(w, _)| sizes[*w]).collect());
        self.path.channels = channels.ids.len();
        let layout = channels.arranged(&of)?;
        let rank = self.shape(result).rank();
        let at: Vec<Option<usize>> = (0..rank).map(|i| axes.iter().position(|(_, r)| *r == i)).collect();
        self.end(weight, layout, true, result, operand);
        self.value(result, channels.arranged(&at)?)?;
        (self.path.channels > 1 && !self.path.read.is_empty()).then_some(self.path)
    }

    fn end(&mut self, weight: ValueId, layout: Layout, divides: bool, user: ValueId, operand: usize) {
        if let Some(name) = self.weights.get(&weight) {
            self.path.ends.push(End {
                weight: (*name).to_owned(),
                layout,
                divides,
                user,
                operand,
            });
        }
    }

    /// Follows a value to all that read it; `None` where one of them is not linear in every channel.
    fn value(&mut self, id: ValueId, layout: Layout) -> Option<()> {
        self.path.values.push(Scaled {
            value: self.search.entry.value(id).name.clone(),
            layout: layout.clone(),
        });
        let readers = self.readers.get(&id)?;
        // Outputs, and what is read in regions inside or goes around this one, is read as it is.
        if self.search.uses.get(&id) != Some(&readers.len()) {
            return None;
        }
        let region = self.region;
        for (at, operand) in readers.clone() {
            let node = &region.nodes[at];
            let result = *node.results.first()?;
            // What is reached twice has two operands on the path.
            if !self.passed.insert(result) {
                return None;
            }
            match self.consumed(node, operand, &layout) {
                Some((other, end)) => {
                    self.end(node.operands[other], end, false, result, other);
                    self.path.read.push(Scaled {
                        value: self.search.entry.value(id).name.clone(),
                        layout: layout.clone(),
                    });
                }
                None => {
                    let next = self.passes(node, operand, &layout, result)?;
                    self.value(result, next)?;
                }
            }
        }
        Some(())
    }

    /// The weight that a linear map sums all channels with, and its channels.
    fn consumed(&self, node: &Node, operand: usize, layout: &Layout) -> Option<(usize, Layout)> {
        match &node.op {
            Op::Contract(einsum) => {
                let labels = [einsum.lhs(), einsum.rhs()];
                let other = 1 - operand;
                if !self.weights.contains_key(&node.operands[other]) {
                    return None;
                }
                let mut varying = labels[operand].char_indices().filter(|(axis, _)| layout.varies(*axis));
                if varying.any(|(_, c)| einsum.out().contains(c)) {
                    return None;
                }
                let axes: Vec<Option<usize>> = labels[other].chars().map(|c| labels[operand].find(c)).collect();
                Some((other, layout.arranged(&axes)?))
            }
            Op::Conv2d(conv) if operand == 0 && conv.groups == 1 && self.weights.contains_key(&node.operands[1]) => {
                Some((1, layout.arranged(&[None, Some(1), None, None])?))
            }
            _ => None,
        }
    }

    /// Channels of the result of an operation that a factor per channel passes.
    fn passes(&mut self, node: &Node, operand: usize, layout: &Layout, result: ValueId) -> Option<Layout> {
        let (from, to) = (self.shape(node.operands[operand]), self.shape(result));
        let still = |axes: &[usize]| axes.iter().all(|a| !layout.varies(*a));
        match &node.op {
            Op::Reshape(_) => layout.reshaped(from, to),
            Op::Transpose(perm) => layout.arranged(&perm.iter().map(|a| Some(*a)).collect::<Vec<_>>()),
            Op::Broadcast(_) => layout.led(to.rank()),
            Op::Slice { axis, .. } => still(&[*axis]).then(|| layout.clone()),
            Op::Pool(_) => still(&[2, 3]).then(|| layout.clone()),
            Op::Reduce { axes, keepdims, .. } => {
                let kept = (0..from.rank()).filter(|a| *keepdims || !axes.contains(a));
                layout
                    .arranged(&kept.map(Some).collect::<Vec<_>>())
                    .filter(|_| still(axes))
            }
            Op::StateAppend(name) => {
                let state = self.search.module.states.get(name)?;
                let own = self.search.states.get(name.as_str()) == Some(&1) && still(&[state.axis]);
                own.then(|| layout.clone())
            }
            Op::Binary(BinaryOp::Mul) => layout.led(to.rank()),
            Op::Binary(BinaryOp::Div) if operand == 0 => layout.led(to.rank()),
            Op::Binary(BinaryOp::Add | BinaryOp::Sub) => {
                let other = 1 - operand;
                let (bias, layout) = (node.operands[other], layout.led(to.rank())?);
                self.weights.get(&bias)?;
                let sizes = self.sizes(bias)?;
                let lead = to.rank().checked_sub(sizes.len())?;
                let axes: Vec<Option<usize>> = (0..sizes.len()).map(|i| Some(i + lead)).collect();
                let own = layout.arranged(&axes)?;
                // A bias that is the same for several channels cannot take the factors of all.
                let whole = (0..sizes.len()).all(|i| !own.varies(i) || own.dims[i] == sizes[i]);
                self.end(bias, whole.then_some(own)?, true, result, other);
                Some(layout)
            }
            Op::Contract(einsum) => {
                let labels = [einsum.lhs(), einsum.rhs()][operand];
                layout.arranged(&einsum.out().chars().map(|c| labels.find(c)).collect::<Vec<_>>())
            }
            _ => None,
        }
    }
}

/// The weight of a linear map as one of its operands, and the pairs of an axis of it and the axis of the result that is that.
fn made(node: &Node, is_weight: impl Fn(ValueId) -> bool) -> Option<(usize, Vec<(usize, usize)>)> {
    match &node.op {
        Op::Contract(einsum) => {
            let labels = [einsum.lhs(), einsum.rhs()];
            let operand = (0..2).find(|i| is_weight(node.operands[*i]))?;
            let axes = labels[operand].char_indices().filter_map(|(axis, c)| {
                let own = !labels[1 - operand].contains(c);
                einsum.out().find(c).filter(|_| own).map(|out| (axis, out))
            });
            let axes: Vec<(usize, usize)> = axes.collect();
            (!axes.is_empty()).then_some((operand, axes))
        }
        Op::Conv2d(_) if is_weight(node.operands[1]) => Some((1, vec![(0, 1)])),
        _ => None,
    }
}
