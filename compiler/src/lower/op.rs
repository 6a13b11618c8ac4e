//! One operation of the quantised IR.

use mlc_circuit::Len;
use mlc_ir::table::requant_input;
use mlc_ir::{BinaryOp, Bindings, Literal, Node, Op, PoolKind, ReduceKind, Repeat, StackAxis, ValueId};

use super::axes::{Affine, Ax, Tensor};
use super::builder::Function;
use super::lin::{Lin, Select};
use super::linear::{self, Window};
use super::weight::WeightView;
use super::{EntryLowering, Index, LowerError, Place, Val, view};

/// Greatest number of masks of one maximum.
const MOST_MASKS: usize = 3;

const NO_FORM: &str = "this view of the value has no separable affine form; requantise the value first";

impl EntryLowering<'_> {
    pub(super) fn node(&mut self, node: &Node) -> Result<(), LowerError> {
        let layer = node.results.first().map(|id| self.entry.value(*id).name.clone());
        let place = Place {
            layer: layer.unwrap_or_else(|| node.op.name().to_owned()),
            op: node.op.name(),
            span: node.span.clone(),
        };
        if let Op::Repeat(repeat) = &node.op {
            return self.repeat(node, repeat, &place);
        }
        let Some(result) = node.results.first().copied() else {
            return Ok(());
        };
        let value = self.value(node, result, &place)?;
        self.vals.insert(result, value);
        Ok(())
    }

    fn value(&mut self, node: &Node, result: ValueId, place: &Place) -> Result<Val, LowerError> {
        let shape = self.entry.ty(result).shape.clone();
        if let Some(view) = self.weight_view(node, place)? {
            return Ok(Val::Weight(view));
        }
        let no_form = || place.fail(NO_FORM);
        let operand = |i: usize| node.operands[i];
        let lin = match &node.op {
            Op::Const(literal) => constant(literal)
                .ok_or_else(|| place.fail("a constant tensor whose elements differ; make it a weight"))?,
            Op::Binary(op) => self.binary(*op, operand(0), operand(1), &shape, place)?,
            Op::Contract(einsum) => {
                let (a, b) = (operand(0), operand(1));
                match (self.weight_of(a), self.weight_of(b)) {
                    (None, Some(w)) => self.contract(b, einsum.lhs(), a, einsum.rhs(), &w, einsum, place)?,
                    (Some(w), None) => self.contract(a, einsum.rhs(), b, einsum.lhs(), &w, einsum, place)?,
                    (Some(_), Some(_)) => return Err(place.fail("a product of two weights; fold it into one weight")),
                    (None, None) => {
                        let (a, b) = (self.factor(a, place)?, self.factor(b, place)?);
                        linear::contract_values(&a, &b, einsum, &mut self.b.axes).ok_or_else(no_form)?
                    }
                }
            }
            Op::Conv2d(conv) => {
                let x = self.factor(operand(0), place)?;
                let w = self
                    .weight_of(operand(1))
                    .ok_or_else(|| place.fail("the filters of a convolution are a weight"))?;
                let stack = self.stack_axes(&w, place)?;
                let out = self.shape(&shape, place)?;
                linear::conv2d(&x, &w, conv, &out, stack, &mut self.b.axes).ok_or_else(no_form)?
            }
            Op::Requant(requant) => {
                let table = requant
                    .table
                    .expand(&Bindings::new())
                    .ok()
                    .and_then(|name| self.module.tables.get(&name).cloned())
                    .ok_or_else(|| place.fail("a table of its own for every block; blocks share their tables"))?;
                let int = self.entry.ty(operand(0)).elem.int();
                let int = int.ok_or_else(|| place.fail("a requantisation of something other than numbers"))?;
                let x = self.lin(operand(0), place)?;
                let function = Function {
                    shift: requant.shift,
                    table,
                    proved: (
                        requant_input(int.lo, requant.shift),
                        requant_input(int.hi, requant.shift),
                    ),
                    partial: requant.partial,
                };
                self.b.commit(&place.layer, x, function)
            }
            Op::MaxDistance(lookup) => {
                let table = lookup
                    .table
                    .expand(&Bindings::new())
                    .ok()
                    .and_then(|name| self.module.tables.get(&name).cloned())
                    .ok_or_else(|| place.fail("a table of its own for every block; blocks share their tables"))?;
                let int = self.entry.ty(operand(0)).elem.int();
                let int = int.ok_or_else(|| place.fail("a maximum of something other than numbers"))?;
                let x = self.lin(operand(0), place)?;
                let x = self.b.counted(&place.layer, x, int);
                let x = x.ok_or_else(|| place.fail("scores of more than 16 bits; requantise them first"))?;
                let mut x = x.renewed(&mut self.b.axes).ok_or_else(no_form)?;
                let mut masks = Vec::new();
                if let Some(mask) = node.operands.get(1) {
                    let mask = self.lin(*mask, place)?;
                    let to = self.shape(&shape, place)?;
                    let (scores, mask) = view::join_mask(x, &mask, &to, &mut self.b.axes).ok_or_else(no_form)?;
                    x = scores;
                    masks = mask.plain_reads().ok_or_else(no_form)?;
                }
                if masks.len() > MOST_MASKS {
                    return Err(place.fail("a softmax with more than three masks; join them in one input"));
                }
                let over = x.dims.last().cloned().unwrap_or_default();
                self.b
                    .max_distance(&place.layer, &x, &over, table, masks, self.shared)
                    .ok_or_else(|| place.fail("a maximum over more than 2^16 positions"))?
            }
            Op::Pool(pool) => {
                let out = self.shape(&shape, place)?;
                let window = Window {
                    size: pool.window.map(|w| u32::try_from(w).unwrap_or(u32::MAX)),
                    stride: pool.stride,
                    dilation: [1, 1],
                    pad: pool.pad,
                };
                let mut x = self.lin(operand(0), place)?;
                if pool.kind == PoolKind::Max {
                    x = self.comparable(operand(0), x, place)?;
                }
                x = x.renewed(&mut self.b.axes).ok_or_else(no_form)?;
                let over = linear::slide(&mut x, &window, [&out[2], &out[3]], &mut self.b.axes).ok_or_else(no_form)?;
                match pool.kind {
                    PoolKind::Max => self.maximum(&x, &over, place)?,
                    PoolKind::Avg => linear::sum_over(x, &over, &self.b.axes).ok_or_else(no_form)?,
                }
            }
            Op::Reduce { kind, axes, keepdims } => {
                let mut x = self.lin(operand(0), place)?;
                if *kind == ReduceKind::Max {
                    x = self.comparable(operand(0), x, place)?;
                }
                let mut x = x.renewed(&mut self.b.axes).ok_or_else(no_form)?;
                let mut over: Vec<Ax> = Vec::new();
                for axis in axes {
                    over.extend(std::mem::take(&mut x.dims[*axis]));
                }
                if !keepdims {
                    let mut i = 0;
                    x.dims.retain(|_| {
                        i += 1;
                        !axes.contains(&(i - 1))
                    });
                }
                match kind {
                    ReduceKind::Max if over.is_empty() => x,
                    ReduceKind::Max => self.maximum(&x, &over, place)?,
                    ReduceKind::Sum | ReduceKind::Mean => {
                        linear::sum_over(x, &over, &self.b.axes).ok_or_else(no_form)?
                    }
                }
            }
            Op::Rope(rope) => {
                let x = self.factor(operand(0), place)?;
                self.rope(&x, rope, &shape, place)?
            }
            Op::Iota { len, start, .. } => {
                let (len, offset) = (self.len(len, place)?, self.len(start, place)?);
                let ax = self.b.axes.fresh(len);
                return Ok(Val::Index(Index {
                    dims: vec![vec![ax]],
                    input: None,
                    offset,
                }));
            }
            Op::Embedding => self.embedding(operand(0), operand(1), place)?,
            Op::CausalMask {
                rows,
                cols,
                offset,
                window,
            } => {
                let lens = [self.len(rows, place)?, self.len(cols, place)?];
                let window = window.map(|w| u32::try_from(w).unwrap_or(u32::MAX));
                self.b.causal.push((self.len(offset, place)?, window));
                Lin::of_tensor(Tensor::Causal(self.b.causal.len() - 1), &lens, &[], &mut self.b.axes)
            }
            Op::Where => {
                return Err(place.fail(
                    "a choice by a mask has no relation in the circuit; mask the softmax instead: `softmax(x, mask)`",
                ));
            }
            Op::Reshape(_) if let Some(Val::Index(index)) = self.vals.get(&operand(0)) => {
                // Axes of length 1 come and go; the others stay as they are.
                let axes: Vec<Ax> = index.dims.iter().flatten().copied().collect();
                let (input, offset) = (index.input, index.offset.clone());
                let mut rest = axes.into_iter().peekable();
                let mut dims = Vec::new();
                for len in self.shape(&shape, place)? {
                    let next = rest.next_if(|ax| *self.b.axes.len(*ax) == len);
                    if next.is_none() && len != Len::fixed(1) {
                        return Err(no_form());
                    }
                    dims.push(next.into_iter().collect());
                }
                return Ok(Val::Index(Index { dims, input, offset }));
            }
            Op::ArgMax => return Ok(Val::ArgMax(operand(0))),
            Op::Reshape(to) => {
                let to = self.shape(to, place)?;
                let x = self.lin(operand(0), place)?;
                view::reshape(x.renewed(&mut self.b.axes).ok_or_else(no_form)?, &to, &mut self.b.axes)
                    .ok_or_else(no_form)?
            }
            Op::Transpose(perm) => view::transpose(self.lin(operand(0), place)?, perm),
            Op::Broadcast(to) => {
                let to = self.shape(to, place)?;
                let x = self.lin(operand(0), place)?;
                view::broadcast(x, &to, &mut self.b.axes).ok_or_else(no_form)?
            }
            Op::Slice { axis, start, step, .. } => {
                let len = self.len(&shape.0[*axis], place)?;
                let step = u32::try_from(*step).map_err(|_| no_form())?;
                let x = self.lin(operand(0), place)?;
                let x = x.renewed(&mut self.b.axes).ok_or_else(no_form)?;
                if let Some((dim, offset)) = self.counted_from(start).filter(|_| step == 1) {
                    let sliced = view::slice_from(x, *axis, dim, offset, &len, &mut self.b.axes);
                    return sliced.map(Val::Lin).ok_or_else(no_form);
                }
                let position = |d: &mlc_ir::Dim| d.as_const().and_then(|v| u32::try_from(v).ok());
                let start = position(start).ok_or_else(|| {
                    place.fail("a slice that starts at other than a constant and one run-time dimension")
                })?;
                view::slice(x, *axis, start, &len, step, &mut self.b.axes).ok_or_else(no_form)?
            }
            Op::Pad { lo, value, .. } => {
                if *value != 0.0 {
                    return Err(place.fail("padding with something other than 0"));
                }
                let to = self.shape(&shape, place)?;
                let x = self.lin(operand(0), place)?;
                let from = self.shape(&self.entry.ty(operand(0)).shape.clone(), place)?;
                let mut x = x.renewed(&mut self.b.axes).ok_or_else(no_form)?;
                for (dim, before) in lo.iter().enumerate() {
                    if from[dim] != to[dim] {
                        let before = u32::try_from(*before).map_err(|_| no_form())?;
                        x = view::place(x, dim, before, &to[dim], &mut self.b.axes).ok_or_else(no_form)?;
                    }
                }
                x
            }
            Op::StateAppend(name) => self.append(name, operand(0), &shape, place)?,
            Op::Concat { axis } => self.concat(&node.operands, *axis, &shape, place)?,
            _ => {
                return Err(place.fail("this operation has no relation in the circuit yet"));
            }
        };
        Ok(Val::Lin(lin))
    }

    /// A run-time dimension and what is added to it.
    fn counted_from(&self, d: &mlc_ir::Dim) -> Option<(u16, i64)> {
        let [(name, 1)] = d.terms().collect::<Vec<_>>()[..] else {
            return None;
        };
        let dim = u16::try_from(self.module.dims.get_index_of(name)?).ok()?;
        Some((dim, d.constant()))
    }

    /// Rows of a weight at indices.
    fn embedding(&mut self, rows: ValueId, index: ValueId, place: &Place) -> Result<Lin, LowerError> {
        let w = self
            .weight_of(rows)
            .ok_or_else(|| place.fail("rows are looked up in a weight"))?;
        let Some(Val::Index(index)) = self.vals.get(&index) else {
            return Err(place.fail("rows are selected by an input of indices, or by positions"));
        };
        let mut index = index.clone();
        // Each use has axes of its own.
        for ax in index.dims.iter_mut().flatten() {
            *ax = self.b.axes.fresh(self.b.axes.len(*ax).clone());
        }
        let axes: Vec<Ax> = index.dims.iter().flatten().copied().collect();
        let len = w.dims[0];
        let select = match (index.input, &axes[..]) {
            (Some(input), _) => Select::Input { input, axes, len },
            (None, [ax]) => Select::From {
                ax: *ax,
                offset: index.offset,
                len,
            },
            (None, _) => return Err(place.fail("positions run along one axis")),
        };
        let stack = self.stack_axes(&w, place)?;
        Ok(linear::rows(&w, select, &index.dims, stack, &mut self.b.axes))
    }

    fn weight_of(&self, id: ValueId) -> Option<WeightView> {
        match self.vals.get(&id) {
            Some(Val::Weight(view)) => Some(view.clone()),
            _ => None,
        }
    }

    /// A weight, or a view of one.
    fn weight_view(&self, node: &Node, place: &Place) -> Result<Option<WeightView>, LowerError> {
        if let Op::Weight(name) = &node.op {
            let weight = self.module.weights.get(name);
            let view = weight.and_then(|w| WeightView::new(name, w));
            return view
                .map(Some)
                .ok_or_else(|| place.fail("the weight is no integer tensor of constant shape"));
        }
        let Some(view) = node.operands.first().and_then(|id| self.weight_of(*id)) else {
            return Ok(None);
        };
        Ok(match &node.op {
            Op::Transpose(perm) => Some(view.transpose(perm)),
            Op::Reshape(shape) => {
                let dims = shape.as_const().unwrap_or_default();
                Some(view.reshape(dims.into_iter().map(|d| d as u32).collect()))
            }
            Op::Slice { axis, start, end, step } => {
                let position = |d: &mlc_ir::Dim| d.as_const().and_then(|v| u32::try_from(v).ok());
                match (position(start), position(end), u32::try_from(*step)) {
                    (Some(start), Some(end), Ok(step)) if step > 0 => {
                        Some(view.slice(*axis, start, end.saturating_sub(start).div_ceil(step), step))
                    }
                    _ => None,
                }
            }
            _ => None,
        })
    }

    /// A value in a form that may be a factor of a product.
    fn factor(&mut self, id: ValueId, place: &Place) -> Result<Lin, LowerError> {
        let x = self.lin(id, place)?;
        if x.plain_reads().is_none() {
            return Err(place.fail("an operand is an accumulator; requantise it first"));
        }
        Ok(x)
    }

    #[allow(clippy::too_many_arguments)] // both operands with their labels, and where
    fn contract(
        &mut self,
        _weight: ValueId,
        x_labels: &str,
        x: ValueId,
        labels: &str,
        w: &WeightView,
        einsum: &mlc_ir::Einsum,
        place: &Place,
    ) -> Result<Lin, LowerError> {
        let x = self.factor(x, place)?;
        let stack = self.stack_axes(w, place)?;
        linear::contract_weight(&x, x_labels, w, labels, einsum, stack, &mut self.b.axes)
            .ok_or_else(|| place.fail(NO_FORM))
    }

    fn binary(
        &mut self,
        op: BinaryOp,
        a: ValueId,
        b: ValueId,
        shape: &mlc_ir::Shape,
        place: &Place,
    ) -> Result<Lin, LowerError> {
        let no_form = || place.fail(NO_FORM);
        let out = self.shape(shape, place)?;
        match op {
            BinaryOp::Add | BinaryOp::Sub => {
                let (a, b) = (self.lin(a, place)?, self.lin(b, place)?);
                let b = if op == BinaryOp::Sub {
                    b.scaled(-1).ok_or_else(no_form)?
                } else {
                    b
                };
                let a = a.renewed(&mut self.b.axes).ok_or_else(no_form)?;
                let (a, b) = view::join(a, &b, &out, &mut self.b.axes).ok_or_else(no_form)?;
                view::sum(a, b).ok_or_else(no_form)
            }
            // Masks count what is hidden: hidden by one of them is hidden.
            BinaryOp::And => {
                let (a, b) = (self.lin(a, place)?, self.lin(b, place)?);
                let a = a.renewed(&mut self.b.axes).ok_or_else(no_form)?;
                let (a, b) = view::join(a, &b, &out, &mut self.b.axes).ok_or_else(no_form)?;
                view::sum(a, b).ok_or_else(no_form)
            }
            BinaryOp::Mul => match (self.weight_of(a), self.weight_of(b)) {
                (Some(_), Some(_)) => Err(place.fail("a product of two weights; fold it into one weight")),
                (Some(w), None) => self.gain(b, &w, &out, place),
                (None, Some(w)) => self.gain(a, &w, &out, place),
                (None, None) => {
                    let (a, b) = (self.lin(a, place)?, self.lin(b, place)?);
                    linear::multiply(&a, &b, &out, &mut self.b.axes)
                        .ok_or_else(|| place.fail("an operand is an accumulator; requantise it first"))
                }
            },
            _ => Err(place.fail("this operation has no relation in the circuit")),
        }
    }

    fn gain(&mut self, x: ValueId, w: &WeightView, out: &[Len], place: &Place) -> Result<Lin, LowerError> {
        let x = self.lin(x, place)?;
        let stack = self.stack_axes(w, place)?;
        if x.terms.is_empty() {
            let weight = linear::weight_value(w, stack, &mut self.b.axes);
            return view::broadcast(weight, out, &mut self.b.axes)
                .and_then(|w| w.scaled(x.constant))
                .ok_or_else(|| place.fail(NO_FORM));
        }
        linear::multiply_weight(&x, w, out, stack, &mut self.b.axes)
            .ok_or_else(|| place.fail("an operand is an accumulator; requantise it first"))
    }

    fn comparable(&mut self, id: ValueId, x: Lin, place: &Place) -> Result<Lin, LowerError> {
        let int = self.entry.ty(id).elem.int();
        let int = int.ok_or_else(|| place.fail("a maximum of something other than numbers"))?;
        self.b
            .comparable(&place.layer, x, int)
            .ok_or_else(|| place.fail("a maximum of an accumulator of more than 16 bits; requantise it first"))
    }

    fn maximum(&mut self, x: &Lin, over: &[Ax], place: &Place) -> Result<Lin, LowerError> {
        self.b
            .maximum(&place.layer, x, over, self.shared)
            .ok_or_else(|| place.fail("a maximum over more than 2^16 positions"))
    }

    fn concat(
        &mut self,
        parts: &[ValueId],
        axis: usize,
        shape: &mlc_ir::Shape,
        place: &Place,
    ) -> Result<Lin, LowerError> {
        let no_form = || place.fail(NO_FORM);
        let out = self.shape(shape, place)?;
        let mut before = 0u32;
        let mut total: Option<Lin> = None;
        for (i, part) in parts.iter().enumerate() {
            let x = self.lin(*part, place)?.renewed(&mut self.b.axes).ok_or_else(no_form)?;
            let placed = view::place(x, axis, before, &out[axis], &mut self.b.axes).ok_or_else(no_form)?;
            total = Some(match total {
                None => placed,
                Some(sum) => {
                    let (a, b) = view::join(sum, &placed, &out, &mut self.b.axes).ok_or_else(no_form)?;
                    view::sum(a, b).ok_or_else(no_form)?
                }
            });
            if i + 1 < parts.len() {
                let len = self.entry.ty(*part).shape.0[axis].as_const();
                let len = len.and_then(|n| u32::try_from(n).ok());
                before += len.ok_or_else(|| place.fail("a part of run-time length before another"))?;
            }
        }
        total.ok_or_else(no_form)
    }

    fn repeat(&mut self, node: &Node, repeat: &Repeat, place: &Place) -> Result<(), LowerError> {
        let stack = StackAxis {
            index: repeat.index.clone(),
            count: repeat.count,
        };
        let mut operands = Vec::with_capacity(node.operands.len());
        for id in &node.operands {
            operands.push(self.lin(*id, place)?);
        }
        let stacked = operands.split_off(repeat.carried);
        let (params, initials) = self.b.open_region(stack, &operands).map_err(|why| place.fail(why))?;
        let block = self.b.region_axes();
        let mut values = params;
        for value in stacked {
            let sliced = value.renewed(&mut self.b.axes).and_then(|mut value| {
                if let [ax] = value.dims[0][..] {
                    value.substitute(ax, &Affine::axis(*block.first()?), true, &self.b.axes)?;
                }
                value.dims.remove(0);
                Some(value)
            });
            values.push(sliced.ok_or_else(|| place.fail(NO_FORM))?);
        }
        for (id, value) in repeat.body.params.iter().zip(values) {
            self.vals.insert(*id, Val::Lin(value));
        }
        for inner in &repeat.body.nodes {
            self.node(inner)?;
        }
        let mut results = Vec::with_capacity(repeat.body.results.len());
        for id in &repeat.body.results {
            results.push(self.lin(*id, place)?);
        }
        let last = self.b.close_region(&initials, results).map_err(|why| place.fail(why))?;
        for (id, value) in node.results.iter().zip(last) {
            self.vals.insert(*id, Val::Lin(value));
        }
        Ok(())
    }
}

/// A constant of equal integers.
fn constant(literal: &Literal) -> Option<Lin> {
    let Literal::Integers { data, .. } = literal else {
        return None;
    };
    let value = *data.data.first()?;
    if data.data.iter().any(|v| *v != value) {
        return None;
    }
    // Lengths above 1 are constant too; without terms a dimension needs no axis.
    Some(Lin {
        dims: vec![Vec::new(); data.shape.len()],
        constant: value,
        terms: Vec::new(),
    })
}
