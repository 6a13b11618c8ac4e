//! Ranges where the plan has none.
//!
//! Interval arithmetic from the declared input ranges (`config.input_range` where an input has none) and the weights'
//! magnitudes: a product with a weight is within its column sum times the greatest input (number of summands times the
//! greatest weight where the sum is not measured), a formula is sampled over its argument's range, and so on. These
//! ranges are sure but wide: every layer multiplies the slack, so a deep model needs calibration. A carried value of a
//! repeated region is assumed to stay within twice its first range.

use std::collections::BTreeMap;

use mlc_ir::{BinaryOp, Dim, Entry, Formula, Literal, Module, Op, ReduceKind, Region, Shape, ValueId};

use super::{QuantPlan, ValueRange};
use crate::passes::expand_norm::INVERSE_ROOT;

/// Number of samples of a formula over its argument's range.
const SAMPLES: u32 = 1024;

fn range(lo: f64, hi: f64) -> ValueRange {
    let tame = |v: f64| if v.is_nan() { 0.0 } else { v.clamp(-1e30, 1e30) };
    ValueRange {
        lo: tame(lo),
        hi: tame(hi),
    }
}

fn max_abs(r: ValueRange) -> f64 {
    r.lo.abs().max(r.hi.abs())
}

fn hull(a: ValueRange, b: ValueRange) -> ValueRange {
    range(a.lo.min(b.lo), a.hi.max(b.hi))
}

/// Range of a formula over an interval, by sampling.
fn image(formula: &Formula, x: ValueRange) -> ValueRange {
    let step = (x.hi - x.lo) / f64::from(SAMPLES);
    let mut out: Option<ValueRange> = None;
    for i in 0..=SAMPLES {
        let y = formula.eval(x.lo + step * f64::from(i));
        if y.is_finite() {
            let point = range(y, y);
            out = Some(out.map_or(point, |o| hull(o, point)));
        }
    }
    out.unwrap_or(range(0.0, 0.0))
}

/// Ranges of every value of an entry: the plan's, else by interval arithmetic.
pub fn default_ranges(
    module: &Module,
    entry_name: &str,
    entry: &Entry,
    plan: &QuantPlan,
) -> BTreeMap<ValueId, ValueRange> {
    let mut ranges = Ranges {
        module,
        entry,
        entry_name,
        plan,
        weights: BTreeMap::new(),
        roots: BTreeMap::new(),
        out: BTreeMap::new(),
    };
    let [lo, hi] = plan.config.input_range;
    for id in &entry.body.params {
        ranges.set(*id, range(lo, hi));
    }
    ranges.region(&entry.body);
    ranges.out
}

struct Ranges<'a> {
    module: &'a Module,
    entry: &'a Entry,
    entry_name: &'a str,
    plan: &'a QuantPlan,
    weights: BTreeMap<ValueId, &'a str>,
    /// Inverse roots of sums of squares: of which value, and of how many squares.
    roots: BTreeMap<ValueId, (ValueId, f64)>,
    out: BTreeMap<ValueId, ValueRange>,
}

impl<'a> Ranges<'a> {
    fn set(&mut self, id: ValueId, derived: ValueRange) {
        let key = format!("{}.{}", self.entry_name, self.entry.value(id).name);
        let measured = self.plan.values.get(&key).copied();
        self.out.insert(id, measured.unwrap_or(derived));
    }

    fn get(&self, id: ValueId) -> ValueRange {
        self.out.get(&id).copied().unwrap_or(range(-1.0, 1.0))
    }

    fn numel(&self, dims: impl Iterator<Item = Dim>) -> f64 {
        dims.map(|d| (self.module.greatest(&d) as f64).max(1.0)).product()
    }

    fn region(&mut self, region: &'a Region) {
        for node in &region.nodes {
            if let Op::Repeat(repeat) = &node.op {
                for (i, (param, operand)) in repeat.body.params.iter().zip(&node.operands).enumerate() {
                    let first = self.get(*operand);
                    let factor = if i < repeat.carried { 2.0 } else { 1.0 };
                    self.set(*param, range(first.lo * factor, first.hi * factor));
                }
                self.region(&repeat.body);
                for (result, inner) in node.results.iter().zip(&repeat.body.results) {
                    let r = self.get(*inner);
                    self.set(*result, r);
                }
                continue;
            }
            let Some(id) = node.results.first().copied() else {
                continue;
            };
            if let Op::Weight(name) = &node.op {
                self.weights.insert(id, name);
            }
            self.note_root(&node.op, &node.operands, id);
            let derived = self.derive(&node.op, &node.operands, &self.entry.ty(id).shape);
            self.set(id, derived);
        }
    }

    /// Follows a sum of squares through its inverse root and views of that.
    fn note_root(&mut self, op: &Op, operands: &[ValueId], id: ValueId) {
        let root = match op {
            Op::Contract(einsum) if operands[0] == operands[1] => {
                let dims = einsum.lhs().char_indices().filter(|(_, c)| !einsum.out().contains(*c));
                let count = self.numel(dims.map(|(i, _)| self.entry.ty(operands[0]).shape.0[i].clone()));
                Some((operands[0], count))
            }
            Op::Table { name, .. } if name == INVERSE_ROOT => self.roots.get(&operands[0]).copied(),
            Op::Reshape(_) => self.roots.get(&operands[0]).copied(),
            _ => None,
        };
        self.roots.extend(root.map(|root| (id, root)));
    }

    fn derive(&self, op: &Op, operands: &[ValueId], shape: &Shape) -> ValueRange {
        let x = |i: usize| operands.get(i).map_or(range(-1.0, 1.0), |id| self.get(*id));
        match op {
            Op::Weight(name) => {
                let m = self.plan.weight(name).max_abs;
                range(-m, m)
            }
            Op::Const(Literal::Real(t)) => t
                .data
                .iter()
                .fold(range(0.0, 0.0), |r, v| hull(r, range(f64::from(*v), f64::from(*v)))),
            // No element of a row is greater than the root of the sum of its squares.
            Op::Binary(BinaryOp::Mul) if self.roots.get(&operands[1]).is_some_and(|(of, _)| *of == operands[0]) => {
                let m = libm::sqrt(self.roots[&operands[1]].1);
                range(-m, m)
            }
            Op::Binary(op) => binary(*op, x(0), x(1)),
            Op::Table { formula, .. } => image(formula, x(0)),
            Op::Contract(einsum) => {
                let dims = einsum.lhs().char_indices().filter(|(_, c)| !einsum.out().contains(*c));
                let count = self.numel(dims.map(|(i, _)| self.entry.ty(operands[0]).shape.0[i].clone()));
                self.product(operands, count)
            }
            Op::Conv2d(_) => {
                let count = self.numel(self.entry.ty(operands[1]).shape.0[1..].iter().cloned());
                self.product(operands, count)
            }
            Op::Reduce {
                kind: ReduceKind::Sum,
                axes,
                ..
            } => {
                let dims = &self.entry.ty(operands[0]).shape.0;
                let count = self.numel(axes.iter().map(|a| dims[*a].clone()));
                range(x(0).lo.min(0.0) * count, x(0).hi.max(0.0) * count)
            }
            Op::Softmax => range(0.0, 1.0),
            Op::BatchNorm { .. } => range(-4.0, 4.0),
            Op::RmsNorm { .. } | Op::LayerNorm { .. } => {
                let width = shape.0.last().map_or(1.0, |d| self.numel(std::iter::once(d.clone())));
                let gain = operands.get(1).map_or(1.0, |id| max_abs(self.get(*id)));
                let bias = operands.get(2).map_or(0.0, |id| max_abs(self.get(*id)));
                let m = libm::sqrt(width) * gain + bias;
                range(-m, m)
            }
            Op::Where => hull(x(1), x(2)),
            Op::Concat { .. } => operands
                .iter()
                .map(|id| self.get(*id))
                .reduce(hull)
                .unwrap_or(range(0.0, 0.0)),
            Op::Pad { value, .. } => hull(x(0), range(*value, *value)),
            _ => x(0),
        }
    }

    /// Range of a product of `count` summands, by the column sum where one operand is a measured weight.
    fn product(&self, operands: &[ValueId], count: f64) -> ValueRange {
        let (a, b) = (max_abs(self.get(operands[0])), max_abs(self.get(operands[1])));
        let sure = a * b * count;
        let measured = [(0, b), (1, a)].into_iter().filter_map(|(i, other)| {
            let stats = self.plan.weights.get(*self.weights.get(&operands[i])?)?;
            Some(stats.column_sum? * other)
        });
        let m = measured.fold(sure, f64::min);
        range(-m, m)
    }
}

fn binary(op: BinaryOp, a: ValueRange, b: ValueRange) -> ValueRange {
    let corners = |f: fn(f64, f64) -> f64| {
        let all = [f(a.lo, b.lo), f(a.lo, b.hi), f(a.hi, b.lo), f(a.hi, b.hi)];
        range(
            all.into_iter().fold(f64::INFINITY, f64::min),
            all.into_iter().fold(f64::NEG_INFINITY, f64::max),
        )
    };
    match op {
        BinaryOp::Add => corners(|x, y| x + y),
        BinaryOp::Sub => corners(|x, y| x - y),
        BinaryOp::Mul => corners(|x, y| x * y),
        BinaryOp::Div => corners(|x, y| x / y),
        BinaryOp::Max => range(a.lo.max(b.lo), a.hi.max(b.hi)),
        BinaryOp::Min => range(a.lo.min(b.lo), a.hi.min(b.hi)),
        BinaryOp::And => range(0.0, 1.0),
    }
}
