//! How many bits each value gets.
//!
//! Values have the plan's activation bits, but for the few that are read as they are over many layers, or are one factor of
//! a single product, where more bits cost nothing:
//!
//! - a residual stream between norms, what a norm reads, and its inverse roots (`residual_bits`);
//! - what a gain multiplies (12 bits), what a rotary embedding turns (two bits more than its result);
//! - shares of a softmax, which are small next to 1 ([`SHARE_BITS`]).
//!
//! An annotation on any value of a group decides for the group. Groups whose values are squared are cut to what keeps the
//! sum of squares below the limit ([`square_limit`]).

use std::collections::{BTreeMap, BTreeSet};

use mlc_ir::{BinaryOp, Dim, Elem, Entry, INT_LIMIT, Module, Node, Op, Region, ValueId};

use super::{power_above, residual, softmax};
use crate::passes::expand_norm::INVERSE_ROOT;
use crate::plan::{QuantPlan, ValueRange};

/// Bits of the shares of a softmax, sign included, where they are committed.
pub(super) const SHARE_BITS: u32 = 13;

/// Bits of what a gain multiplies, at least, sign included.
const GAIN_BITS: u32 = 12;

/// Bits of weights that are looked up or multiplied elementwise, sign included: no sum makes their bounds grow.
pub(super) const ELEMENTWISE_WEIGHT_BITS: u32 = 12;

/// Bits that a value wants, and whether an annotation says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wish {
    pub(super) asked: bool,
    pub(super) bits: u32,
}

/// What is known of an entry before any scale is chosen.
pub(super) struct Precision<'a> {
    module: &'a Module,
    plan: &'a QuantPlan,
    ranges: &'a BTreeMap<ValueId, ValueRange>,
    fixed: &'a BTreeSet<ValueId>,
    definitions: BTreeMap<ValueId, &'a Node>,
    /// Carried values of regions: first value, how often, what is added (once: what the next value is).
    carried: BTreeMap<ValueId, (ValueId, u64, Vec<ValueId>)>,
    pub(super) wishes: BTreeMap<ValueId, Wish>,
    /// Squared values, with the number of squares in a sum.
    pub(super) squared: Vec<Squared>,
    /// Contractions and convolutions of two different operands.
    pub(super) products: Vec<Product>,
}

/// A value whose squares are summed by rows.
#[derive(Debug, Clone)]
pub(super) struct Squared {
    pub(super) id: ValueId,
    /// Number of squares in a sum.
    pub(super) count: u64,
    /// The least root mean square of a row that calibration saw.
    least: Option<f64>,
    /// Greatest magnitude of an element.
    range: f64,
}

/// A row's root mean square has at least this many steps where one pass normalises it.
const ONE_PASS_STEPS: f64 = 24.0;

impl Squared {
    /// Whether the steps that a sum of squares leaves room for are too wide for the smallest rows.
    pub(super) fn renormalises(&self) -> bool {
        let step = self.range / square_limit(self.count) as f64;
        self.least.is_some_and(|least| least < ONE_PASS_STEPS * step)
    }
}

/// What calibration measured of a value.
fn plan_range(plan: &QuantPlan, entry_name: &str, entry: &Entry, id: ValueId) -> Option<ValueRange> {
    plan.values
        .get(&format!("{entry_name}.{}", entry.value(id).name))
        .copied()
}

/// A sum of products.
#[derive(Debug, Clone)]
pub(super) struct Product {
    pub(super) operands: [ValueId; 2],
    /// Axes of each operand that are summed.
    pub(super) summed: [Vec<usize>; 2],
    /// Number of products in a sum.
    pub(super) count: u64,
    /// The value that it gives.
    result: ValueId,
    /// What no sum may pass.
    pub(super) limit: f64,
}

/// Greatest magnitude of a sum of products: what a requantisation takes, with room for a bias.
pub(super) const PRODUCT_LIMIT: f64 = (INT_LIMIT / 16 * 7) as f64;

/// Greatest integer whose `count` squares sum to less than what a requantisation takes.
pub(super) fn square_limit(count: u64) -> i64 {
    ((INT_LIMIT as u64 / 2 - 1) / count.max(1)).isqrt() as i64
}

/// Greatest value of a dimension.
pub(super) fn most(module: &Module, dim: &Dim) -> u64 {
    u64::try_from(module.greatest(dim)).unwrap_or(0).max(1)
}

/// A weight or a view of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightName<'a> {
    pub(super) name: &'a str,
    /// Its axes are those of the weight.
    pub(super) upright: bool,
}

/// The weights of an entry and their views.
pub(super) fn weight_names(entry: &Entry) -> BTreeMap<ValueId, WeightName<'_>> {
    let mut names = BTreeMap::new();
    for node in entry.all_nodes() {
        let inner = || names.get(node.operands.first()?).copied();
        let name = match &node.op {
            Op::Weight(name) => Some(WeightName { name, upright: true }),
            Op::Slice { .. } => inner(),
            Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) => {
                inner().map(|w: WeightName<'_>| WeightName { upright: false, ..w })
            }
            _ => None,
        };
        if let (Some(name), Some(id)) = (name, node.results.first()) {
            names.insert(*id, name);
        }
    }
    names
}

impl<'a> Precision<'a> {
    pub(super) fn new(
        module: &'a Module,
        name: &str,
        entry: &'a Entry,
        plan: &'a QuantPlan,
        ranges: &'a BTreeMap<ValueId, ValueRange>,
        fixed: &'a BTreeSet<ValueId>,
    ) -> Self {
        let mut out = Precision {
            module,
            plan,
            ranges,
            fixed,
            definitions: BTreeMap::new(),
            carried: BTreeMap::new(),
            wishes: BTreeMap::new(),
            squared: Vec::new(),
            products: Vec::new(),
        };
        out.region(name, entry, &entry.body);
        for (i, value) in entry.values.iter().enumerate() {
            if let Some(bits) = plan.asked.value_bits.get(&format!("{name}.{}", value.name)) {
                out.wish(
                    ValueId(i as u32),
                    Wish {
                        asked: true,
                        bits: *bits,
                    },
                );
            }
        }
        out
    }

    fn wish(&mut self, id: ValueId, wish: Wish) {
        let slot = self.wishes.entry(id).or_insert(wish);
        *slot = (*slot).max(wish);
    }

    fn wants(&mut self, id: ValueId, bits: u32) {
        self.wish(id, Wish { asked: false, bits });
    }

    fn region(&mut self, name: &str, entry: &'a Entry, region: &'a Region) {
        let fine = self.plan.config.residual_bits;
        for node in &region.nodes {
            for id in &node.results {
                self.definitions.insert(*id, node);
            }
            let Some(result) = node.results.first().copied() else {
                continue;
            };
            match &node.op {
                Op::Contract(einsum) if node.operands[0] == node.operands[1] => {
                    let dims = &entry.ty(node.operands[0]).shape.0;
                    let count = einsum
                        .lhs()
                        .chars()
                        .zip(dims)
                        .filter(|(c, _)| !einsum.out().contains(*c))
                        .fold(1u64, |n, (_, d)| n.saturating_mul(most(self.module, d)));
                    let measured = plan_range(self.plan, name, entry, result);
                    self.squared.push(Squared {
                        id: node.operands[0],
                        count,
                        least: measured.map(|r| libm::sqrt(r.lo.max(0.0) / count as f64)),
                        range: self.range(node.operands[0]),
                    });
                    self.wants(node.operands[0], fine);
                }
                Op::Contract(einsum) => {
                    let summed = [einsum.lhs(), einsum.rhs()].map(|labels| {
                        let axes = labels.char_indices().filter(|(_, c)| !einsum.out().contains(*c));
                        axes.map(|(i, _)| i).collect()
                    });
                    self.product(entry, node, summed);
                }
                Op::Conv2d(_) => self.product(entry, node, [Vec::new(), vec![1, 2, 3]]),
                Op::Table { name: table, .. } if table == INVERSE_ROOT => self.wants(result, fine),
                Op::Reshape(_) if self.is_inverse_root(node.operands[0]) => self.wants(result, fine),
                Op::Binary(BinaryOp::Mul) if entry.ty(node.operands[1]).shape.rank() > 0 => {
                    let (a, b) = (node.operands[0], node.operands[1]);
                    for (x, w) in [(a, b), (b, a)] {
                        if self.fixed.contains(&w) && !self.fixed.contains(&x) {
                            self.wants(x, fine.min(self.plan.config.activation_bits.max(GAIN_BITS)));
                        }
                    }
                }
                Op::Rope(_) => self.wants(node.operands[0], self.plan.config.activation_bits + 2),
                Op::Softmax => {
                    self.wants(result, SHARE_BITS);
                    if let [scores, mask] = node.operands[..] {
                        self.masked_scores(scores, mask);
                    }
                }
                Op::Repeat(repeat) => {
                    for i in 0..repeat.carried {
                        let (count, added) = match residual::increments(&repeat.body, i) {
                            Some(added) => (repeat.count, added),
                            None => (1, vec![repeat.body.results[i]]),
                        };
                        let param = repeat.body.params[i];
                        self.carried.insert(param, (node.operands[i], count, added));
                    }
                    self.region(name, entry, &repeat.body);
                }
                _ => {}
            }
        }
    }

    fn product(&mut self, entry: &Entry, node: &Node, summed: [Vec<usize>; 2]) {
        // The second operand of both operations has all summed axes.
        let dims = &entry.ty(node.operands[1]).shape.0;
        let lens = summed[1].iter().map(|axis| most(self.module, &dims[*axis]));
        self.products.push(Product {
            operands: [node.operands[0], node.operands[1]],
            count: lens.fold(1u64, u64::saturating_mul),
            summed,
            result: node.results[0],
            limit: PRODUCT_LIMIT,
        });
    }

    /// Scores of a masked softmax leave room for what masks add to an index: two bits for one mask, three for more.
    fn masked_scores(&mut self, scores: ValueId, mask: ValueId) {
        let joined = self
            .definitions
            .get(&mask)
            .is_some_and(|n| n.op == Op::Binary(BinaryOp::And));
        let mut at = scores;
        while let Some(node) = self.definitions.get(&at) {
            match &node.op {
                Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Binary(BinaryOp::Mul | BinaryOp::Div) => {
                    at = node.operands[0];
                }
                Op::Contract(_) => {
                    let own = self.products.iter_mut().filter(|p| p.result == at);
                    own.for_each(|p| p.limit = PRODUCT_LIMIT / if joined { 8.0 } else { 4.0 });
                    return;
                }
                _ => return,
            }
        }
    }

    /// Greatest integer of an operand of a product whose own scale cannot change: the numerators of a softmax.
    pub(super) fn numerators(&self, id: ValueId, count: u64) -> Option<i64> {
        match &self.definitions.get(&id)?.op {
            Op::Softmax => Some(softmax::greatest(count)),
            Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) => {
                self.numerators(self.definitions[&id].operands[0], count)
            }
            _ => None,
        }
    }

    fn is_inverse_root(&self, id: ValueId) -> bool {
        let node = self.definitions.get(&id);
        node.is_some_and(|n| matches!(&n.op, Op::Table { name, .. } if name == INVERSE_ROOT))
    }

    fn range(&self, id: ValueId) -> f64 {
        self.ranges.get(&id).map_or(1.0, |r| r.lo.abs().max(r.hi.abs()))
    }

    /// Greatest magnitude, in real units, of the integers that stand for `id` without a lookup of its own: a sum is as
    /// great as its terms together, whatever range was measured for it, and a term reaches to the next power of two.
    pub(super) fn uncommitted(&self, id: ValueId) -> f64 {
        if let Some((first, count, added)) = self.carried.get(&id) {
            let each: f64 = added.iter().map(|f| power_above(self.range(*f))).sum();
            return self.uncommitted(*first) + *count as f64 * each;
        }
        let own = power_above(self.range(id));
        let Some(node) = self.definitions.get(&id) else {
            return own;
        };
        let term = |i: usize| self.uncommitted(node.operands[i]);
        match &node.op {
            Op::Binary(BinaryOp::Add | BinaryOp::Sub) if !node.operands.iter().any(|id| self.fixed.contains(id)) => {
                term(0) + term(1)
            }
            Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) => term(0),
            _ => own,
        }
    }

    /// Bits of every weight that is looked up or multiplied elementwise somewhere: more than those of contractions.
    pub(super) fn weights(module: &Module, plan: &QuantPlan) -> BTreeMap<String, u32> {
        let mut out = BTreeMap::new();
        for entry in module.entries.values() {
            let names = weight_names(entry);
            for node in entry.all_nodes() {
                let elementwise = matches!(node.op, Op::Embedding | Op::Binary(BinaryOp::Mul));
                let real = node.results.iter().all(|id| entry.ty(*id).elem == Elem::Real);
                for weight in node.operands.iter().filter_map(|id| names.get(id)) {
                    if elementwise && real {
                        out.insert(
                            weight.name.to_owned(),
                            ELEMENTWISE_WEIGHT_BITS.max(plan.config.weight_bits),
                        );
                    }
                }
            }
        }
        out.extend(plan.asked.weight_bits.iter().map(|(name, bits)| (name.clone(), *bits)));
        out
    }
}
