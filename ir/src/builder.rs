//! Building entries: one method per operation, types inferred, names made unique.
//!
//! ```
//! use mlc_ir::{Dim, Module, Recipe, Shape, Stage, Type, Visibility, Weight};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut module = Module::new("tiny", Stage::Real);
//! module.declare_dim("batch", 1, 64);
//! let mut g = module.entry("main");
//! let x = g.input("x", Visibility::Private, Type::real(Shape(vec![Dim::runtime("batch"), Dim::fixed(4)])));
//! let w = g.weight("fc", Weight::real(Shape::new([3i64, 4]), Recipe::tensor("fc.weight", [3, 4])?))?;
//! let y = g.contract("bi,oi->bo", x, w)?;
//! g.output("y", y, Visibility::Public);
//! g.finish();
//! # Ok(()) }
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::formula::Formula;
use crate::graph::{Entry, Module, Node, Port, Region, StackAxis, State, Value, ValueId, Weight};
use crate::infer::{InferError, InferErrorKind, Operand, Origin, Origins, Scope, infer};
use crate::op::{BinaryOp, Conv2d, Einsum, Literal, MaxDistance, Op, Pool, ReduceKind, Repeat, Requant, Rope};
use crate::shape::{Dim, Shape};
use crate::tensor::TensorF32;
use crate::types::{Elem, Span, Type, Visibility};

type Built = Result<ValueId, InferError>;

/// Builds one entry of a module. Dropping it without [`finish`](Self::finish) leaves the module's entries as they were.
#[derive(Debug)]
pub struct GraphBuilder<'m> {
    module: &'m mut Module,
    name: String,
    entry: Entry,
    frames: Vec<Frame>,
    names: BTreeSet<String>,
    counters: BTreeMap<String, u64>,
    origins: Origins,
    span: Option<Span>,
    label: Option<String>,
}

/// A region under construction; the entry's own body is the first.
#[derive(Debug, Default)]
struct Frame {
    region: Region,
    axis: Option<StackAxis>,
    operands: Vec<ValueId>,
    carried: usize,
    span: Option<Span>,
    label: Option<String>,
}

impl Module {
    /// Starts the entry `name`; [`GraphBuilder::finish`] adds it, replacing one of that name.
    pub fn entry(&mut self, name: impl Into<String>) -> GraphBuilder<'_> {
        GraphBuilder {
            module: self,
            name: name.into(),
            entry: Entry::default(),
            frames: vec![Frame::default()],
            names: BTreeSet::new(),
            counters: BTreeMap::new(),
            origins: Origins::new(),
            span: None,
            label: None,
        }
    }
}

impl GraphBuilder<'_> {
    /// Operations added from here on come from `span`.
    pub fn at(&mut self, span: Option<Span>) -> &mut Self {
        self.span = span;
        self
    }

    /// The next value defined is called `name` (with a suffix where it is taken).
    pub fn named(&mut self, name: impl Into<String>) -> &mut Self {
        self.label = Some(name.into());
        self
    }

    /// The module being built.
    pub fn module(&self) -> &Module {
        self.module
    }

    /// The module being built, to declare dimensions, tables, states.
    pub fn module_mut(&mut self) -> &mut Module {
        self.module
    }

    /// The type of a value.
    pub fn ty(&self, value: ValueId) -> &Type {
        self.entry.ty(value)
    }

    /// Widens the bounds of an integer so that they hold `lo..=hi`: for a carried value, whose bounds hold in every
    /// iteration. Call it before the value is used; other values are left alone.
    pub fn widen(&mut self, value: ValueId, lo: i64, hi: i64) {
        if let Elem::Int(int) = &mut self.entry.values[value.index()].ty.elem {
            (int.lo, int.hi) = (int.lo.min(lo), int.hi.max(hi));
        }
    }

    /// The enclosing repeat regions, outermost first.
    pub fn stack(&self) -> Vec<StackAxis> {
        self.frames.iter().filter_map(|f| f.axis.clone()).collect()
    }

    /// An input of the entry.
    pub fn input(&mut self, name: &str, visibility: Visibility, ty: Type) -> ValueId {
        let id = self.define(Some(name.to_owned()), "input", ty);
        self.entry.inputs.push(Port {
            name: name.to_owned(),
            visibility,
        });
        self.frames[0].region.params.push(id);
        id
    }

    /// Makes `value`, of the entry's own body, the output `name`.
    pub fn output(&mut self, name: &str, value: ValueId, visibility: Visibility) {
        self.entry.outputs.push(Port {
            name: name.to_owned(),
            visibility,
        });
        self.frames[0].region.results.push(value);
    }

    /// Adds the entry to the module.
    ///
    /// # Panics
    /// Where a region begun was not ended.
    pub fn finish(mut self) {
        assert_eq!(self.frames.len(), 1, "a repeat region was not ended");
        self.entry.body = std::mem::take(&mut self.frames[0].region);
        self.module.entries.insert(self.name, self.entry);
    }

    /// Adds any operation (`repeat` through [`begin_repeat`](Self::begin_repeat)); returns its first result.
    pub fn push(&mut self, op: Op, operands: &[ValueId]) -> Built {
        let span = self.span.clone();
        let label = self.label.take();
        let results = self.push_node(op, operands.to_vec(), span, label)?;
        Ok(results[0])
    }

    fn push_node(
        &mut self,
        op: Op,
        operands: Vec<ValueId>,
        span: Option<Span>,
        label: Option<String>,
    ) -> Result<Vec<ValueId>, InferError> {
        let stack = self.stack();
        let scope = Scope {
            module: self.module,
            values: &self.entry.values,
            stack: &stack,
            origins: &self.origins,
        };
        let views: Vec<Operand<'_>> = operands
            .iter()
            .map(|id| Operand {
                id: *id,
                ty: self.entry.ty(*id),
            })
            .collect();
        let types = infer(scope, &op, &views).map_err(|kind| InferError {
            op: op.name(),
            value: label.clone().unwrap_or_else(|| op.name().to_owned()),
            span: span.clone(),
            kind: Box::new(kind),
        })?;
        let prefix = match &op {
            Op::Weight(name) => name,
            op => op.name(),
        };
        let results: Vec<ValueId> = types
            .into_iter()
            .map(|ty| self.define(label.clone(), prefix, ty))
            .collect();
        if let (Some(origin), Some(id)) = (Origin::of(&op, &operands), results.first()) {
            self.origins.insert(*id, origin);
        }
        let node = Node {
            op,
            operands,
            results: results.clone(),
            span,
        };
        if let Some(frame) = self.frames.last_mut() {
            frame.region.nodes.push(node);
        }
        Ok(results)
    }

    fn define(&mut self, label: Option<String>, prefix: &str, ty: Type) -> ValueId {
        let name = match label {
            Some(label) if !self.names.contains(&label) => label,
            label => self.fresh(label.as_deref().unwrap_or(prefix)),
        };
        self.names.insert(name.clone());
        let id = ValueId(self.entry.values.len() as u32);
        self.entry.values.push(Value { name, ty });
        id
    }

    fn fresh(&mut self, prefix: &str) -> String {
        let counter = self.counters.entry(prefix.to_owned()).or_insert(0);
        loop {
            let name = format!("{prefix}_{counter}");
            *counter += 1;
            if !self.names.contains(&name) {
                return name;
            }
        }
    }

    /// Starts a region repeated `count` times with index `index`; returns its parameters: the carried values, then one
    /// slice of each value of `stacked` (`[count, …]`).
    pub fn begin_repeat(
        &mut self,
        index: &str,
        count: u64,
        carried: &[ValueId],
        stacked: &[ValueId],
    ) -> Result<Vec<ValueId>, InferError> {
        let label = self.label.take();
        let mut params = Vec::new();
        let mut types: Vec<(String, Type)> = Vec::new();
        for id in carried {
            let value = self.entry.value(*id);
            types.push((value.name.clone(), value.ty.clone()));
        }
        for id in stacked {
            let value = self.entry.value(*id);
            if value.ty.shape.0.first() != Some(&Dim::fixed(count as i64)) {
                return Err(InferError {
                    op: "repeat",
                    value: value.name.clone(),
                    span: self.span.clone(),
                    kind: Box::new(InferErrorKind::Attribute(
                        "the first axis of a stacked operand is the number of iterations",
                    )),
                });
            }
            types.push((
                value.name.clone(),
                value.ty.with_shape(Shape(value.ty.shape.0[1..].to_vec())),
            ));
        }
        for (name, ty) in types {
            params.push(self.define(None, &format!("{name}.{index}"), ty));
        }
        self.frames.push(Frame {
            region: Region {
                params: params.clone(),
                ..Region::default()
            },
            axis: Some(StackAxis {
                index: index.to_owned(),
                count,
            }),
            operands: carried.iter().chain(stacked).copied().collect(),
            carried: carried.len(),
            span: self.span.clone(),
            label,
        });
        Ok(params)
    }

    /// Ends the innermost region: `results` are the carried values' next values, then values to collect. Returns the
    /// carried values' last values, then the collected ones (`[count, …]`).
    ///
    /// # Panics
    /// Where no region is open.
    pub fn end_repeat(&mut self, results: &[ValueId]) -> Result<Vec<ValueId>, InferError> {
        assert!(self.frames.len() > 1, "no repeat region is open");
        let Some(Frame {
            mut region,
            axis: Some(axis),
            operands,
            carried,
            span,
            label,
        }) = self.frames.pop()
        else {
            return Ok(Vec::new());
        };
        region.results = results.to_vec();
        let op = Op::Repeat(Box::new(Repeat {
            index: axis.index,
            count: axis.count,
            carried,
            body: region,
        }));
        self.push_node(op, operands, span, label)
    }

    /// Declares the weight `name` (where the module has none of that name) and uses it. Its stack axes are set to the
    /// enclosing regions whose index its recipe mentions.
    pub fn weight(&mut self, name: &str, mut weight: Weight) -> Built {
        if !self.module.weights.contains_key(name) {
            let used = weight.recipe.indices();
            weight.stack = self.stack().into_iter().filter(|a| used.contains(&a.index)).collect();
            self.module.weights.insert(name.to_owned(), weight);
        }
        self.push(Op::Weight(name.to_owned()), &[])
    }

    /// Declares the state `name` (where the module has none of that name), stacked over all enclosing regions.
    pub fn declare_state(&mut self, name: &str, ty: Type, axis: usize, visibility: Visibility) {
        let stack = self.stack();
        self.module.states.entry(name.to_owned()).or_insert(State {
            ty,
            stack,
            axis,
            visibility,
        });
    }

    /// A constant of real numbers.
    pub fn constant(&mut self, tensor: TensorF32) -> Built {
        self.push(Op::Const(Literal::Real(tensor.into())), &[])
    }

    /// A constant scalar.
    pub fn scalar(&mut self, value: f32) -> Built {
        self.constant(TensorF32::scalar(value))
    }

    /// `a + b`, broadcasting.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> Built {
        self.push(Op::Binary(BinaryOp::Add), &[a, b])
    }

    /// `a - b`, broadcasting.
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Built {
        self.push(Op::Binary(BinaryOp::Sub), &[a, b])
    }

    /// `a · b`, broadcasting.
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Built {
        self.push(Op::Binary(BinaryOp::Mul), &[a, b])
    }

    /// `a / b`, broadcasting.
    pub fn div(&mut self, a: ValueId, b: ValueId) -> Built {
        self.push(Op::Binary(BinaryOp::Div), &[a, b])
    }

    /// Any elementwise function of two tensors.
    pub fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> Built {
        self.push(Op::Binary(op), &[a, b])
    }

    /// The formula, called `name`, elementwise.
    pub fn table(&mut self, name: &str, formula: Formula, x: ValueId) -> Built {
        self.push(
            Op::Table {
                name: name.to_owned(),
                formula,
            },
            &[x],
        )
    }

    /// One lookup (quantised stage).
    pub fn requant(&mut self, requant: Requant, acc: ValueId) -> Built {
        self.push(Op::Requant(requant), &[acc])
    }

    /// A lookup at the distance to the row's maximum, of the positions that `mask` keeps (quantised stage).
    pub fn max_distance(&mut self, lookup: MaxDistance, t: ValueId, mask: Option<ValueId>) -> Built {
        let operands: Vec<ValueId> = std::iter::once(t).chain(mask).collect();
        self.push(Op::MaxDistance(lookup), &operands)
    }

    /// The contraction `einsum`, like `"bik,kj->bij"`.
    pub fn contract(&mut self, einsum: &str, a: ValueId, b: ValueId) -> Built {
        match Einsum::parse(einsum) {
            Ok(einsum) => self.push(Op::Contract(einsum), &[a, b]),
            Err(error) => Err(InferError {
                op: "contract",
                value: self.label.take().unwrap_or_else(|| einsum.to_owned()),
                span: self.span.clone(),
                kind: Box::new(InferErrorKind::Attribute(error.why)),
            }),
        }
    }

    /// A two-dimensional convolution.
    pub fn conv2d(&mut self, conv: Conv2d, x: ValueId, w: ValueId) -> Built {
        self.push(Op::Conv2d(conv), &[x, w])
    }

    /// Pooling.
    pub fn pool(&mut self, pool: Pool, x: ValueId) -> Built {
        self.push(Op::Pool(pool), &[x])
    }

    /// A reduction over `axes` (any order).
    pub fn reduce(&mut self, kind: ReduceKind, axes: &[usize], keepdims: bool, x: ValueId) -> Built {
        let axes: BTreeSet<usize> = axes.iter().copied().collect();
        self.push(
            Op::Reduce {
                kind,
                axes: axes.into_iter().collect(),
                keepdims,
            },
            &[x],
        )
    }

    /// Batch normalisation with `[gamma, beta, mean, variance]`.
    pub fn batch_norm(&mut self, eps: f64, x: ValueId, parameters: [ValueId; 4]) -> Built {
        let [gamma, beta, mean, variance] = parameters;
        self.push(Op::BatchNorm { eps }, &[x, gamma, beta, mean, variance])
    }

    /// Softmax over the last axis, of the positions that `mask` keeps.
    pub fn softmax(&mut self, x: ValueId, mask: Option<ValueId>) -> Built {
        let operands: Vec<ValueId> = std::iter::once(x).chain(mask).collect();
        self.push(Op::Softmax, &operands)
    }

    /// Root-mean-square normalisation of the last axis.
    pub fn rms_norm(&mut self, eps: f64, x: ValueId, gain: Option<ValueId>) -> Built {
        let operands: Vec<ValueId> = std::iter::once(x).chain(gain).collect();
        self.push(Op::RmsNorm { eps }, &operands)
    }

    /// Layer normalisation of the last axis; a bias needs a gain.
    pub fn layer_norm(&mut self, eps: f64, x: ValueId, gain: Option<ValueId>, bias: Option<ValueId>) -> Built {
        let operands: Vec<ValueId> = std::iter::once(x).chain(gain).chain(gain.and(bias)).collect();
        self.push(Op::LayerNorm { eps }, &operands)
    }

    /// Rotary position embedding.
    pub fn rope(&mut self, rope: Rope, x: ValueId) -> Built {
        self.push(Op::Rope(rope), &[x])
    }

    /// Rows of `weight` at `index`.
    pub fn embedding(&mut self, weight: ValueId, index: ValueId) -> Built {
        self.push(Op::Embedding, &[weight, index])
    }

    /// Positions `start..start + len` as indices below `vocab`.
    pub fn iota(&mut self, len: impl Into<Dim>, start: impl Into<Dim>, vocab: u64) -> Built {
        self.push(
            Op::Iota {
                len: len.into(),
                start: start.into(),
                vocab,
            },
            &[],
        )
    }

    /// The causal mask `[rows, cols]`: `col ≤ row + offset`.
    pub fn causal_mask(
        &mut self,
        rows: impl Into<Dim>,
        cols: impl Into<Dim>,
        offset: impl Into<Dim>,
        window: Option<u64>,
    ) -> Built {
        self.push(
            Op::CausalMask {
                rows: rows.into(),
                cols: cols.into(),
                offset: offset.into(),
                window,
            },
            &[],
        )
    }

    /// `a` where `mask` is true, else `b`.
    pub fn choose(&mut self, mask: ValueId, a: ValueId, b: ValueId) -> Built {
        self.push(Op::Where, &[mask, a, b])
    }

    /// Position of the maximum on the last axis.
    pub fn argmax(&mut self, x: ValueId) -> Built {
        self.push(Op::ArgMax, &[x])
    }

    /// The same elements with other axes.
    pub fn reshape(&mut self, x: ValueId, shape: Shape) -> Built {
        self.push(Op::Reshape(shape), &[x])
    }

    /// Axis `i` of the result is axis `perm[i]` of `x`.
    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Built {
        self.push(Op::Transpose(perm.to_vec()), &[x])
    }

    /// Values joined along `axis`.
    pub fn concat(&mut self, axis: usize, parts: &[ValueId]) -> Built {
        self.push(Op::Concat { axis }, parts)
    }

    /// Positions `start..end` of `axis`.
    pub fn slice(&mut self, x: ValueId, axis: usize, start: impl Into<Dim>, end: impl Into<Dim>, step: u64) -> Built {
        self.push(
            Op::Slice {
                axis,
                start: start.into(),
                end: end.into(),
                step,
            },
            &[x],
        )
    }

    /// `value` before and after every axis.
    pub fn pad(&mut self, x: ValueId, lo: &[u64], hi: &[u64], value: f64) -> Built {
        self.push(
            Op::Pad {
                lo: lo.to_vec(),
                hi: hi.to_vec(),
                value,
            },
            &[x],
        )
    }

    /// `x` stretched to `shape`.
    pub fn broadcast(&mut self, x: ValueId, shape: Shape) -> Built {
        self.push(Op::Broadcast(shape), &[x])
    }

    /// The state as the entry found it.
    pub fn state_read(&mut self, state: &str) -> Built {
        self.push(Op::StateRead(state.to_owned()), &[])
    }

    /// The state with `x` appended.
    pub fn state_append(&mut self, state: &str, x: ValueId) -> Built {
        self.push(Op::StateAppend(state.to_owned()), &[x])
    }
}
