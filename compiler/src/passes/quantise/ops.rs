//! One operation.

use mlc_ir::{BinaryOp, Einsum, Formula, Node, Op, PoolKind, ReduceKind, Repeat, Rope, ValueId};

use super::super::PassError;
use super::table::Target;
use super::{Place, Q, Quantiser, power_above, precision, residual};
use crate::passes::expand_norm::INVERSE_ROOT;

/// Bits of cosines and sines.
const ROPE_BITS: u32 = 12;

/// A value that is squared has at least this many steps on either side of 0.
const LEAST_SQUARED: i64 = 63;

/// Bits added below an activation's step where something finer is added to it.
const FINER: i32 = 6;

impl Quantiser<'_, '_> {
    pub(super) fn node(&mut self, node: &Node) -> Result<(), PassError> {
        let place = self.place(node);
        self.g.at(node.span.clone());
        if let Op::Repeat(repeat) = &node.op {
            return self.repeat(node, repeat, &place);
        }
        let Some(result) = node.results.first().copied() else {
            return Ok(());
        };
        let q = match self.fixed_tensor(node) {
            Some(q) => q,
            None if node.op == Op::Softmax => self.softmax(node, &place)?,
            None => Q::Value(self.operation(node, result, &place)?),
        };
        self.map.insert(result, q);
        Ok(())
    }

    fn operation(&mut self, node: &Node, result: ValueId, place: &Place) -> Result<ValueId, PassError> {
        let x = |i: usize| node.operands[i];
        let name = place.layer.clone();
        match &node.op {
            Op::Binary(op) => self.binary(*op, x(0), x(1), result, place),
            Op::Table { name: hint, formula } if hint == INVERSE_ROOT => self.inverse_root(node, formula, place),
            Op::Table { name: hint, formula } => self.function(x(0), formula, hint, result, place),
            Op::Contract(einsum) if x(0) == x(1) => {
                let value = self.squarable(x(0), einsum, place)?;
                self.accumulate(node, &[value, value])
            }
            Op::Contract(einsum) => {
                if let Some(mean) = self.mean_by_shares(node, einsum, place)? {
                    return Ok(mean);
                }
                let sides = [einsum.lhs(), einsum.rhs()];
                let mut operands = Vec::with_capacity(2);
                for (id, labels) in node.operands.iter().zip(sides) {
                    let summed = labels.char_indices().filter(|(_, c)| !einsum.out().contains(*c));
                    let summed: Vec<usize> = summed.map(|(i, _)| i).collect();
                    operands.push(self.product_operand(*id, &summed, place)?);
                }
                self.accumulate(node, &operands)
            }
            Op::Conv2d(_) => {
                let image = self.factor(x(0), place)?;
                let filters = self.product_operand(x(1), &[1, 2, 3], place)?;
                self.accumulate(node, &[image, filters])
            }
            Op::Pool(pool) if pool.kind == PoolKind::Avg => {
                let image = self.factor(x(0), place)?;
                self.accumulate(node, &[image])
            }
            Op::Reduce { kind, .. } if *kind != ReduceKind::Max => {
                let value = self.factor(x(0), place)?;
                self.accumulate(node, &[value])
            }
            Op::Rope(rope) => self.rope(node, rope, place),
            Op::Embedding => {
                let Some(Q::Weight(rows)) = self.map.get(&x(0)).cloned() else {
                    return Err(place.fail("rows are looked up in a weight"));
                };
                let (rows, index) = (self.weight(&rows, &[], place)?, self.value(x(1), place)?);
                self.accumulate(node, &[rows, index])
            }
            Op::Iota { .. } | Op::CausalMask { .. } => Ok(self.g.named(name).push(node.op.clone(), &[])?),
            Op::ArgMax => {
                let value = self.value(x(0), place)?;
                Ok(self.g.named(name).push(node.op.clone(), &[value])?)
            }
            Op::Pool(_) | Op::Reduce { .. } => {
                let value = self.factor(x(0), place)?;
                Ok(self.g.named(name).push(node.op.clone(), &[value])?)
            }
            Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) => {
                let value = self.value(x(0), place)?;
                let out = self.g.named(name).push(node.op.clone(), &[value])?;
                if self.accumulators.contains(&value) {
                    self.accumulators.insert(out);
                }
                if let Some(root) = self.inverse_roots.get(&x(0)).cloned() {
                    self.inverse_roots.insert(result, root);
                }
                Ok(out)
            }
            Op::Slice { .. } => {
                let value = self.factor(x(0), place)?;
                Ok(self.g.named(name).push(node.op.clone(), &[value])?)
            }
            Op::Pad { value: 0.0, .. } => {
                let value = self.factor(x(0), place)?;
                Ok(self.g.named(name).push(node.op.clone(), &[value])?)
            }
            Op::Pad { .. } => Err(place.fail("padding with something other than 0")),
            Op::Concat { .. } => {
                let mut parts = Vec::with_capacity(node.operands.len());
                for id in &node.operands {
                    parts.push(self.at_scale(*id, place)?);
                }
                Ok(self.g.named(name).push(node.op.clone(), &parts)?)
            }
            Op::StateAppend(state) => {
                // What is kept is looked up: its integers are what the next run finds.
                let value = match self.factor(x(0), place)? {
                    known if self.looked_up.contains(&known) => known,
                    other => self.activation(x(0), other, place)?,
                };
                let declared = self.module.states.get(state);
                let declared = declared.ok_or_else(|| place.fail("a state that is not declared"))?;
                let ty = mlc_ir::Type {
                    elem: self.g.ty(value).elem,
                    shape: declared.ty.shape.clone(),
                };
                self.g.declare_state(state, ty, declared.axis, declared.visibility);
                Ok(self.g.named(name).state_append(state, value)?)
            }
            Op::StateRead(_) => {
                Err(place.fail("a state is read where something is appended to it: `append(state, new)`"))
            }
            Op::BatchNorm { .. } => Err(place.fail("a batch norm is folded into weights first (pass fold-norm)")),
            Op::Where => {
                Err(place
                    .fail("a choice by a mask has no integer program; mask the softmax instead: `softmax(x, mask)`"))
            }
            _ => Err(place.fail("this operation has no integer program yet")),
        }
    }

    /// An exact operation whose result is an accumulator.
    fn accumulate(&mut self, node: &Node, operands: &[ValueId]) -> Result<ValueId, PassError> {
        let place = self.place(node);
        let out = self.g.named(place.layer.clone()).push(node.op.clone(), operands)?;
        self.accumulators.insert(out);
        self.bounded(out, &place)?;
        Ok(out)
    }

    /// A value whose squares are summed: as it is where its bounds leave room for the sum, else committed within what
    /// was measured of it.
    fn squarable(&mut self, id: ValueId, einsum: &Einsum, place: &Place) -> Result<ValueId, PassError> {
        let dims = self.entry.ty(id).shape.0.clone();
        let summed = einsum
            .lhs()
            .chars()
            .zip(&dims)
            .filter(|(c, _)| !einsum.out().contains(*c));
        let count = summed.fold(1u64, |n, (_, d)| n.saturating_mul(precision::most(self.module, d)));
        let limit = precision::square_limit(count);
        let value = self.value(id, place)?;
        let fits = !self.accumulators.contains(&value) && self.int(value, place)?.max_abs() <= limit;
        if fits && !self.renormalised.contains(&id) {
            return Ok(value);
        }
        let range = self.ranges.get(&id).map_or(1.0, |r| r.lo.abs().max(r.hi.abs()));
        let greatest = limit.min((1 << (self.plan.config.residual_bits - 1)) - 1);
        if limit < LEAST_SQUARED {
            return Err(PassError::Overflow {
                layer: place.layer.clone(),
                bound: i64::try_from(count)
                    .unwrap_or(i64::MAX)
                    .saturating_mul(LEAST_SQUARED * LEAST_SQUARED),
                mend: format!("a sum of {count} squares leaves too few bits to each; normalise shorter rows"),
                span: place.span.clone(),
            });
        }
        let to = Target {
            scale: if range > 0.0 {
                power_above(range / greatest as f64)
            } else {
                1.0
            },
            lo: -greatest,
            hi: greatest,
        };
        let name = format!("{}.squared", self.name(id));
        let narrow = self.requantise(value, self.measured(id), None, to, &name, "clamp", place)?;
        self.squared.insert(id, narrow);
        Ok(narrow)
    }

    /// Fixed-point rotation: exact, times `2^bits`.
    fn rope(&mut self, node: &Node, rope: &Rope, place: &Place) -> Result<ValueId, PassError> {
        let value = self.factor(node.operands[0], place)?;
        let rope = Rope {
            bits: ROPE_BITS,
            ..rope.clone()
        };
        let out = self.g.named(place.layer.clone()).rope(rope, value)?;
        self.accumulators.insert(out);
        self.bounded(out, place)?;
        Ok(out)
    }

    pub(super) fn product_operand(
        &mut self,
        id: ValueId,
        summed: &[usize],
        place: &Place,
    ) -> Result<ValueId, PassError> {
        match self.map.get(&id).cloned() {
            Some(Q::Weight(w)) => self.weight(&w, summed, place),
            _ => self.factor(id, place),
        }
    }

    /// A function of one value: one lookup.
    pub(super) fn function(
        &mut self,
        x: ValueId,
        formula: &Formula,
        hint: &str,
        result: ValueId,
        place: &Place,
    ) -> Result<ValueId, PassError> {
        let value = self.value(x, place)?;
        let target = self.target(result);
        self.requantise(
            value,
            self.measured(x),
            Some(formula),
            target,
            &place.layer,
            hint,
            place,
        )
    }

    fn binary(
        &mut self,
        op: BinaryOp,
        a: ValueId,
        b: ValueId,
        result: ValueId,
        place: &Place,
    ) -> Result<ValueId, PassError> {
        let name = place.layer.clone();
        let side = |q: Option<&Q>| match q {
            Some(Q::Value(_) | Q::Shares { .. }) | None => (true, None),
            Some(Q::Weight(_)) => (false, None),
            Some(Q::Scalar(v)) => (false, Some(*v)),
        };
        let (left, right) = (side(self.map.get(&a)), side(self.map.get(&b)));
        let (x, other) = match (left.0, right.0) {
            (true, true) => return self.binary_values(op, a, b, result, place),
            (true, false) => (a, b),
            (false, true) => (b, a),
            (false, false) => return Err(place.fail("both operands are weights or constants; fold them into one")),
        };
        let scalar = left.1.or(right.1);
        let swapped = x == b && a != b;
        match (op, scalar) {
            (BinaryOp::Mul, Some(c)) => self.rescale(x, c, &name, place),
            (BinaryOp::Div, Some(c)) if !swapped => self.rescale(x, 1.0 / c, &name, place),
            (BinaryOp::Div, Some(c)) => self.function(x, &(c / Formula::x()), "reciprocal", result, place),
            (BinaryOp::Max, Some(c)) => self.function(x, &Formula::x().max(c), "max", result, place),
            (BinaryOp::Min, Some(c)) => self.function(x, &Formula::x().min(c), "min", result, place),
            (BinaryOp::Add | BinaryOp::Sub, _) => {
                let fine = self.fine(x, place)?;
                let scale = self.int(fine, place)?.scale;
                let term = match (scalar, self.map.get(&other).cloned()) {
                    (Some(c), _) => self.constant(libm::rint(c / scale) as i64, scale)?,
                    (None, Some(Q::Weight(w))) => self.bias(&w, scale, place)?,
                    _ => return Err(place.fail("an operand without value")),
                };
                let operands = if swapped { [term, fine] } else { [fine, term] };
                let out = self.g.named(name).binary(op, operands[0], operands[1])?;
                self.accumulators.insert(out);
                self.bounded(out, place)?;
                Ok(out)
            }
            (BinaryOp::Mul, None) => {
                let value = self.factor(x, place)?;
                let gain = self.product_operand(other, &[], place)?;
                let out = self.g.named(name).mul(value, gain)?;
                self.accumulators.insert(out);
                self.bounded(out, place)?;
                Ok(out)
            }
            _ => Err(place.fail("this operation with a weight has no integer program; fold the weight first")),
        }
    }

    /// A value to which something at a finer scale may be added: an accumulator, or an activation times a power of two.
    fn fine(&mut self, x: ValueId, place: &Place) -> Result<ValueId, PassError> {
        let value = self.value(x, place)?;
        if self.accumulators.contains(&value) {
            return Ok(value);
        }
        let factor = self.constant(1 << FINER, libm::ldexp(1.0, -FINER))?;
        Ok(self.g.mul(value, factor)?)
    }

    /// `c · x`: the same integers at another scale.
    fn rescale(&mut self, x: ValueId, c: f64, name: &str, place: &Place) -> Result<ValueId, PassError> {
        if c == 0.0 || !c.is_finite() {
            return Err(place.fail("a factor that is 0 or not finite"));
        }
        let value = self.value(x, place)?;
        let sign = self.constant(if c < 0.0 { -1 } else { 1 }, libm::fabs(c))?;
        let out = self.g.named(name).mul(value, sign)?;
        if self.accumulators.contains(&value) {
            self.accumulators.insert(out);
        }
        Ok(out)
    }

    fn binary_values(
        &mut self,
        op: BinaryOp,
        a: ValueId,
        b: ValueId,
        result: ValueId,
        place: &Place,
    ) -> Result<ValueId, PassError> {
        let name = place.layer.clone();
        match op {
            BinaryOp::Add | BinaryOp::Sub => {
                let (x, y) = (self.at_scale(a, place)?, self.at_scale(b, place)?);
                Ok(self.g.named(name).binary(op, x, y)?)
            }
            // max(a, b) = b + relu(a - b), min(a, b) = a - relu(a - b), exactly.
            BinaryOp::Max | BinaryOp::Min => {
                let (x, y) = (self.at_scale(a, place)?, self.at_scale(b, place)?);
                let d = self.g.sub(x, y)?;
                let int = self.int(d, place)?;
                let to = Target {
                    scale: int.scale,
                    lo: 0,
                    hi: int.hi.max(1),
                };
                let above = Formula::x().max(0.0);
                let r = self.requantise(d, None, Some(&above), to, &format!("{name}.above"), "above", place)?;
                Ok(if op == BinaryOp::Max {
                    self.g.named(name).add(y, r)?
                } else {
                    self.g.named(name).sub(x, r)?
                })
            }
            BinaryOp::Mul
                if self
                    .inverse_roots
                    .get(&b)
                    .is_some_and(|root| root.of == a && root.again) =>
            {
                self.renormalise(a, b, result, place)
            }
            BinaryOp::Mul => {
                // A norm multiplies what it has squared.
                let known = |id| self.squared.get(&id).copied();
                let (narrow_a, narrow_b) = (known(a), known(b));
                let x = narrow_a.map_or_else(|| self.factor(a, place), Ok)?;
                let y = narrow_b.map_or_else(|| self.factor(b, place), Ok)?;
                let out = self.g.named(name).mul(x, y)?;
                self.accumulators.insert(out);
                self.bounded(out, place)?;
                Ok(out)
            }
            BinaryOp::Div => {
                let x = self.factor(a, place)?;
                let divisor = self.value(b, place)?;
                let (num, den) = (self.target(a), self.target(b));
                let quotient = self.target(result);
                // 1/b at a scale such that the greatest quotient keeps its bits.
                let greatest = self.scales[result.index()].greatest;
                let most = quotient.scale * greatest as f64 / (num.scale * num.hi.max(-num.lo).max(1) as f64);
                let to = Target {
                    scale: most / greatest as f64,
                    lo: -greatest,
                    hi: greatest,
                };
                let _ = den;
                let inverse = 1.0 / Formula::x();
                let r = self.requantise(
                    divisor,
                    self.measured(b),
                    Some(&inverse),
                    to,
                    &format!("{name}.inverse"),
                    "inverse",
                    place,
                )?;
                let out = self.g.named(name).mul(x, r)?;
                self.accumulators.insert(out);
                Ok(out)
            }
            BinaryOp::And => {
                let (x, y) = (self.value(a, place)?, self.value(b, place)?);
                Ok(self.g.named(name).binary(op, x, y)?)
            }
        }
    }

    fn repeat(&mut self, node: &Node, repeat: &Repeat, place: &Place) -> Result<(), PassError> {
        let mut carried = Vec::new();
        for id in &node.operands[..repeat.carried] {
            carried.push(self.at_scale(*id, place)?);
        }
        let mut stacked = Vec::new();
        for id in &node.operands[repeat.carried..] {
            stacked.push(self.value(*id, place)?);
        }
        self.g.named(place.layer.clone());
        let params = self.g.begin_repeat(&repeat.index, repeat.count, &carried, &stacked)?;
        let outside = (
            self.activations.clone(),
            self.accumulators.clone(),
            self.squared.clone(),
        );
        let mut residuals = Vec::new();
        for (i, (param, id)) in params.iter().zip(&repeat.body.params).enumerate() {
            if i < repeat.carried {
                let (mut lo, mut hi) = self.int(*param, place).map(|t| (t.lo, t.hi))?;
                let increments = residual::increments(&repeat.body, i);
                residuals.push(increments.is_some());
                match increments {
                    Some(added) => {
                        for f in added {
                            let t = self.target(f);
                            lo += repeat.count as i64 * t.lo.min(0);
                            hi += repeat.count as i64 * t.hi.max(0);
                        }
                    }
                    None => {
                        let t = self.target(repeat.body.results[i]);
                        // The first value and the block before are two reads, whose bounds a circuit adds.
                        (lo, hi) = (lo.min(0) + t.lo.min(0), hi.max(0) + t.hi.max(0));
                    }
                }
                self.g.widen(*param, lo, hi);
            } else if self.accumulators.contains(&stacked[i - repeat.carried]) {
                self.accumulators.insert(*param);
            }
            self.map.insert(*id, Q::Value(*param));
        }
        for inner in &repeat.body.nodes {
            self.node(inner)?;
        }
        let mut results = Vec::new();
        for (i, id) in repeat.body.results.iter().enumerate() {
            let value = if i < repeat.carried && !residuals[i] {
                self.committed(*id, place)?
            } else {
                self.value(*id, place)?
            };
            results.push(value);
        }
        let inner = std::mem::replace(&mut self.accumulators, outside.1);
        (self.activations, self.squared) = (outside.0, outside.2);
        let last = self.g.end_repeat(&results)?;
        for (i, (id, value)) in node.results.iter().zip(last).enumerate() {
            // The last value of a residual stream sums all blocks.
            let residual = i < repeat.carried && residuals[i];
            if residual || (i >= repeat.carried && inner.contains(&results[i])) {
                self.accumulators.insert(value);
            }
            self.map.insert(*id, Q::Value(value));
        }
        Ok(())
    }

    /// The value of `id` looked up at its own scale within its target.
    fn committed(&mut self, id: ValueId, place: &Place) -> Result<ValueId, PassError> {
        let value = self.value(id, place)?;
        let (int, to) = (self.int(value, place)?, self.target(id));
        let fits = int.scale == to.scale && int.lo >= to.lo && int.hi <= to.hi;
        if fits && !self.accumulators.contains(&value) && self.looked_up.contains(&value) {
            return Ok(value);
        }
        self.activation(id, value, place)
    }
}
