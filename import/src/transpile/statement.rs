//! Operations as statements: one `let` each, weights and tables declared where they are first used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use mlc_ir::formula::{Binary, Unary};
use mlc_ir::{
    BinaryOp, Bindings, Dim, Elem, Entry, Formula, Literal, Module, Node, Op, Pool, PoolKind, ReduceKind, Region, Rope,
    RopeLayout, Shape, StackAxis, TensorF32, Type, ValueId, Visibility,
};

use super::TranspileError;
use super::expression::{dim, formula, list, number, shape, short};
use super::layer::{self, Layer};
use super::names::{Names, camel, identifier, stored};
use crate::onnx::formula::{elu, leaky_relu, standard};

/// What a stored tensor holds.
pub(super) enum Stored {
    /// A constant of the graph.
    Constant(TensorF32),
    /// A weight of the module, in one turn of the regions around it.
    Weight(String, Bindings),
    /// A weight of the module under the shape that a layer of the library declares.
    Reshaped(String, Vec<usize>),
}

type Text = Result<String, TranspileError>;

/// Collects the text of a module.
pub(super) struct Writer<'m> {
    module: &'m Module,
    names: Names,
    /// Imports: module and name.
    imports: BTreeSet<(&'static str, &'static str)>,
    /// Tables of the file: formula to name, and their declarations.
    tables: BTreeMap<String, String>,
    declared: Vec<String>,
    /// Weight declarations of the model, and the tensors they bind.
    weights: Vec<String>,
    bound: BTreeMap<String, String>,
    stored: Vec<(String, Stored)>,
    stored_names: BTreeSet<String>,
    /// Weight declarations that stand before the next statement.
    pending: Vec<String>,
}

/// The text so far of the values of one entry.
struct Scope<'m> {
    entry: &'m Entry,
    values: BTreeMap<ValueId, String>,
    /// Weights by the value that they are, declared when first used.
    weights: BTreeMap<ValueId, &'m str>,
    stack: Vec<StackAxis>,
}

impl<'m> Writer<'m> {
    pub(super) fn new(module: &'m Module) -> Self {
        let mut names = Names::default();
        for name in module.dims.keys() {
            names.of(name, name);
        }
        for (name, _) in standard() {
            names.of(&format!("std {name}"), name);
        }
        for name in ["leaky_relu", "elu"] {
            names.of(&format!("std {name}"), name);
        }
        Writer {
            module,
            names,
            imports: BTreeSet::new(),
            tables: BTreeMap::new(),
            declared: Vec::new(),
            weights: Vec::new(),
            bound: BTreeMap::new(),
            stored: Vec::new(),
            stored_names: BTreeSet::new(),
            pending: Vec::new(),
        }
    }

    /// The text, and the tensors that it binds.
    pub(super) fn write(mut self) -> Result<(String, Vec<(String, Stored)>), TranspileError> {
        let mut entries = String::new();
        for (name, entry) in &self.module.entries {
            entries.push('\n');
            entries.push_str(&self.entry(name, entry)?);
        }
        let mut out = format!("//! {}.\n", self.module.name.replace(['\n', '\r'], " "));
        if !self.imports.is_empty() {
            let mut modules: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for (module, name) in &self.imports {
                modules.entry(module).or_default().push(name);
            }
            out.push('\n');
            for (module, names) in modules {
                let _ = writeln!(out, "import std.{module}.{{{}}}", names.join(", "));
            }
        }
        if !self.declared.is_empty() {
            let _ = write!(out, "\n{}", self.declared.concat());
        }
        let _ = writeln!(out, "\nmodel {} {{", camel(&self.module.name));
        for (name, range) in &self.module.dims {
            let min = if range.min == 1 {
                String::new()
            } else {
                format!(" min {}", range.min)
            };
            let _ = writeln!(out, "    dim {name}: runtime{min} max {}", range.max);
        }
        if !self.weights.is_empty() {
            let _ = write!(out, "\n{}", self.weights.concat());
        }
        out.push_str(&entries);
        out.push_str("}\n");
        Ok((out, self.stored))
    }

    fn entry(&mut self, name: &str, entry: &'m Entry) -> Text {
        let mut scope = Scope {
            entry,
            values: BTreeMap::new(),
            weights: BTreeMap::new(),
            stack: Vec::new(),
        };
        let mut inputs = Vec::new();
        for (port, id) in entry.inputs.iter().zip(&entry.body.params) {
            let name = self.names.fresh(&port.name);
            inputs.push(format!("{name}: {}{}", visibility(port.visibility), ty(entry.ty(*id))));
            scope.values.insert(*id, name);
        }
        let mut outputs = Vec::new();
        let mut taken = BTreeSet::new();
        for (port, id) in entry.outputs.iter().zip(&entry.body.results) {
            let stem = identifier(&port.name);
            let mut numbered = (2u32..).map(|n| format!("{stem}_{n}"));
            let mut name = stem.clone();
            while !taken.insert(name.clone()) {
                name = numbered.next().unwrap_or_default();
            }
            let kind = format!("{}{}", visibility(port.visibility), ty(entry.ty(*id)));
            outputs.push((name, kind, *id));
        }
        let mut body = String::new();
        self.region(&mut scope, &entry.body, "        ", &mut body)?;
        let mut results = Vec::new();
        for (name, _, id) in &outputs {
            let value = self.value(&scope, *id)?;
            results.push(if outputs.len() == 1 {
                value
            } else {
                format!("{name} = {value}")
            });
        }
        let result = match results.as_slice() {
            [one] => one.clone(),
            many => format!("({})", many.join(", ")),
        };
        let types: Vec<String> = outputs.iter().map(|(n, t, _)| format!("{n}: {t}")).collect();
        Ok(format!(
            "    entry {}({}) -> ({}) {{\n{body}        {result}\n    }}\n",
            identifier(name),
            inputs.join(", "),
            types.join(", ")
        ))
    }

    fn region(
        &mut self,
        scope: &mut Scope<'m>,
        region: &'m Region,
        indent: &str,
        out: &mut String,
    ) -> Result<(), TranspileError> {
        let (layers, inner) = layer::find(self.module, scope.entry, region);
        for (at, node) in region.nodes.iter().enumerate() {
            if inner.contains(&at) {
                continue;
            }
            if let Op::Repeat(repeat) = &node.op {
                self.repeat(scope, node, repeat, indent, out)?;
                continue;
            }
            let Some(result) = node.results.first() else {
                continue;
            };
            let text = match &node.op {
                Op::Weight(name) => {
                    scope.weights.insert(*result, name);
                    continue;
                }
                Op::Const(literal) => {
                    let text = self.literal(scope, *result, literal)?;
                    scope.values.insert(*result, text);
                    continue;
                }
                _ => match layers.get(&at) {
                    Some(layer) => self.layer(scope, layer)?,
                    None => self.operation(scope, node)?,
                },
            };
            for line in std::mem::take(&mut self.pending) {
                let _ = write!(out, "{indent}{line}");
            }
            let name = match layers.get(&at) {
                Some(layer) => self.names.fresh(&layer.name),
                None => self.names.fresh(&scope.entry.value(*result).name),
            };
            let _ = writeln!(out, "{indent}let {name} = {text}");
            scope.values.insert(*result, name);
        }
        Ok(())
    }

    fn value(&mut self, scope: &Scope<'_>, id: ValueId) -> Text {
        if let Some(name) = scope.weights.get(&id) {
            return self.weight(scope, name);
        }
        match scope.values.get(&id) {
            Some(text) => Ok(text.clone()),
            None => Err(no_form(scope.entry, id, "a value without definition")),
        }
    }

    /// `repeat l in 0..n carrying h { … }`
    fn repeat(
        &mut self,
        scope: &mut Scope<'m>,
        node: &'m Node,
        repeat: &'m mlc_ir::Repeat,
        indent: &str,
        out: &mut String,
    ) -> Result<(), TranspileError> {
        let first = node.results.first().copied().unwrap_or(ValueId(0));
        if repeat.body.params.len() != repeat.carried || repeat.body.results.len() != repeat.carried {
            return Err(no_form(scope.entry, first, "a region with stacked or collected values"));
        }
        let mut carried = Vec::new();
        for (operand, param) in node.operands.iter().zip(&repeat.body.params) {
            let name = self.names.fresh(&scope.entry.value(*operand).name);
            let _ = writeln!(out, "{indent}let {name} = {}", self.value(scope, *operand)?);
            scope.values.insert(*param, name.clone());
            carried.push(name);
        }
        let index = self.names.of(&format!("index {}", repeat.index), &repeat.index);
        let _ = writeln!(
            out,
            "{indent}repeat {index} in 0..{} carrying {} {{",
            repeat.count,
            carried.join(", ")
        );
        scope.stack.push(StackAxis {
            index: repeat.index.clone(),
            count: repeat.count,
        });
        let inner = format!("{indent}    ");
        let outside = self.bound.clone();
        let result = self.region(scope, &repeat.body, &inner, out);
        // What depends on the index is declared inside, and known only there.
        let weights = &self.module.weights;
        let kept =
            |weight: &String| outside.contains_key(weight) || weights.get(weight).is_none_or(|w| w.stack.is_empty());
        self.bound.retain(|weight, _| kept(weight));
        scope.stack.pop();
        result?;
        let mut next = Vec::new();
        for id in &repeat.body.results {
            next.push(self.value(scope, *id)?);
        }
        for line in std::mem::take(&mut self.pending) {
            let _ = write!(out, "{inner}{line}");
        }
        let next = match next.as_slice() {
            [one] => one.clone(),
            many => format!("({})", many.join(", ")),
        };
        let _ = writeln!(out, "{inner}{next}\n{indent}}}");
        for (id, name) in node.results.iter().zip(carried) {
            scope.values.insert(*id, name);
        }
        Ok(())
    }

    /// Declares a weight at its first use: in the model, or inside the region whose index it depends on.
    fn weight(&mut self, scope: &Scope<'_>, weight: &str) -> Text {
        if let Some(known) = self.bound.get(weight) {
            return Ok(known.clone());
        }
        let Some(declared) = self.module.weights.get(weight) else {
            return Err(TranspileError::Weight {
                weight: weight.to_owned(),
                error: mlc_ir::RecipeError::Missing(weight.to_owned()),
            });
        };
        let name = self.names.fresh(weight);
        let mut template = stored(weight);
        let mut turns = vec![(template.clone(), Bindings::new())];
        for axis in &declared.stack {
            let index = self.names.of(&format!("index {}", axis.index), &axis.index);
            template.push_str(&format!(".{{{index}}}"));
            let each = |(name, bindings): &(String, Bindings)| {
                let (name, bindings) = (name.clone(), bindings.clone());
                (0..axis.count).map(move |i| {
                    let mut bindings = bindings.clone();
                    bindings.insert(axis.index.clone(), i as i64);
                    (format!("{name}.{i}"), bindings)
                })
            };
            turns = turns.iter().flat_map(each).collect();
        }
        // Two names may differ only in what `stored` replaced, or be another's with the number of a turn.
        let weights = &self.module.weights;
        let taken = |n: &String| self.stored_names.contains(n) || (n != weight && weights.contains_key(n));
        let mut suffix = String::new();
        while turns.iter().any(|(n, _)| taken(&format!("{n}{suffix}"))) {
            suffix.push('_');
        }
        template.push_str(&suffix);
        for (turn, bindings) in turns {
            let turn = format!("{turn}{suffix}");
            self.stored_names.insert(turn.clone());
            self.stored.push((turn, Stored::Weight(weight.to_owned(), bindings)));
        }
        let seen = match declared.visibility {
            Visibility::Committed => "",
            other => visibility(other),
        };
        let line = format!("weight {name}: {seen}{} from \"{template}\"\n", ty(&declared.ty));
        if declared.stack.is_empty() {
            self.weights.push(format!("    {line}"));
        } else {
            self.pending.push(line);
        }
        if !declared.stack.is_empty() && scope.stack.is_empty() {
            return Err(TranspileError::Operation {
                value: weight.to_owned(),
                what: "a stacked weight outside of its region",
            });
        }
        self.bound.insert(weight.to_owned(), name.clone());
        Ok(name)
    }

    /// Single numbers are written out, other constants stored.
    fn literal(&mut self, scope: &Scope<'_>, id: ValueId, literal: &Literal) -> Text {
        let Literal::Real(tensor) = literal else {
            return Err(no_form(scope.entry, id, "a constant of integers"));
        };
        if let ([], [value]) = (tensor.shape.as_slice(), tensor.data.as_slice()) {
            return Ok(short(*value));
        }
        let label = &scope.entry.value(id).name;
        let name = self.names.fresh(&format!("{label}_constant"));
        let mut key = stored(&name);
        while !self.stored_names.insert(key.clone()) {
            key.push('_');
        }
        let line = format!("    weight {name}: {} from \"{key}\"\n", ty(scope.entry.ty(id)));
        self.weights.push(line);
        self.stored.push((key, Stored::Constant((**tensor).clone())));
        Ok(name)
    }

    fn operation(&mut self, scope: &Scope<'_>, node: &Node) -> Text {
        let mut x = Vec::new();
        for id in &node.operands {
            x.push(self.value(scope, *id)?);
        }
        let own = node.results.first().copied().unwrap_or(ValueId(0));
        let from = node.operands.first().map(|id| scope.entry.ty(*id));
        let from = from.map(|t| t.shape.clone()).unwrap_or_default();
        let given = x.join(", ");
        Ok(match &node.op {
            Op::Binary(op) => match (op, x.as_slice()) {
                (BinaryOp::Add, [a, b]) => format!("{a} + {b}"),
                (BinaryOp::Sub, [a, b]) => format!("{a} - {b}"),
                (BinaryOp::Mul, [a, b]) => format!("{a} * {b}"),
                (BinaryOp::Div, [a, b]) => format!("{a} / {b}"),
                (BinaryOp::Max, _) => format!("max({given})"),
                (BinaryOp::Min, _) => format!("min({given})"),
                _ => return Err(no_form(scope.entry, own, "`and` of masks")),
            },
            Op::Table { name, formula } => self.table(name, formula, &given),
            Op::Contract(einsum) => {
                let spaced = |labels: &str| labels.chars().map(String::from).collect::<Vec<_>>().join(" ");
                let equation = [einsum.lhs(), einsum.rhs()].map(spaced).join(", ");
                format!("einsum(\"{equation} -> {}\", {given})", spaced(einsum.out()))
            }
            Op::Conv2d(conv) => {
                let mut text = format!("conv2d({given}");
                option(&mut text, "stride", pair(&conv.stride), conv.stride == [1, 1]);
                option(&mut text, "padding", sides(&conv.pad), conv.pad == [0; 4]);
                option(&mut text, "dilation", pair(&conv.dilation), conv.dilation == [1, 1]);
                option(&mut text, "groups", conv.groups.to_string(), conv.groups == 1);
                text + ")"
            }
            Op::Pool(pool) => pooling(pool, &given),
            Op::Reduce { kind, axes, keepdims } => {
                let name = match kind {
                    ReduceKind::Sum => "sum",
                    ReduceKind::Mean => "mean",
                    ReduceKind::Max => "amax",
                };
                let axis = match axes.as_slice() {
                    [one] => one.to_string(),
                    many => list(many),
                };
                let mut text = format!("{name}({given}, axis = {axis}");
                option(&mut text, "keepdims", "true".to_owned(), !keepdims);
                text + ")"
            }
            Op::BatchNorm { eps } => format!("normalize_batch({given}, eps = {})", number(*eps)),
            Op::RmsNorm { eps } => format!("normalize_rms({given}, eps = {})", number(*eps)),
            Op::LayerNorm { eps } => format!("normalize_layer({given}, eps = {})", number(*eps)),
            Op::Softmax => format!("softmax({given})"),
            Op::Embedding => format!("gather_rows({given})"),
            Op::Where => format!("select({given})"),
            Op::ArgMax => format!("argmax({given})"),
            Op::Rope(rope) => self.rope(rope, &given),
            Op::Reshape(to) if is_flatten(&from, to) => format!("flatten({given})"),
            Op::Reshape(to) => format!("reshape({given}, {})", shape(to)),
            Op::Broadcast(to) => format!("broadcast({given}, {})", shape(to)),
            Op::Transpose(perm) => format!("transpose({given}, {})", list(perm)),
            Op::Concat { axis } => format!("concat({given}, axis = {axis})"),
            Op::Pad { lo, hi, value } => {
                let mut text = format!("pad({given}, {}, {}", list(lo), list(hi));
                option(&mut text, "value", number(*value), *value == 0.0);
                text + ")"
            }
            Op::Slice { axis, start, end, step } => {
                return slice(&given, &from, *axis, start, end, *step)
                    .ok_or_else(|| no_form(scope.entry, own, "a slice with this step"));
            }
            Op::Iota { len, start, vocab } => {
                let mut text = format!("positions({}, {vocab}", dim(len));
                option(&mut text, "start", dim(start), start.as_const() == Some(0));
                text + ")"
            }
            Op::CausalMask {
                rows,
                cols,
                offset,
                window,
            } => {
                let mut text = format!("causal_mask({}, {}", dim(rows), dim(cols));
                option(&mut text, "offset", dim(offset), offset.as_const() == Some(0));
                let seen = window.map(|w| w.to_string()).unwrap_or_default();
                option(&mut text, "window", seen, window.is_none());
                text + ")"
            }
            other => return Err(no_form(scope.entry, own, other.name())),
        })
    }

    /// The call of an elementwise function: builtin, of the standard library, or of this file.
    fn table(&mut self, name: &str, f: &Formula, x: &str) -> String {
        match f {
            Formula::Unary(Unary::Neg, a) if **a == Formula::x() => return format!("-{x}"),
            Formula::Unary(op, a) if **a == Formula::x() => return format!("{}({x})", op.name()),
            _ => {}
        }
        if let Some((known, _)) = standard().into_iter().find(|(_, g)| g == f) {
            self.imports.insert(("activation", known));
            return format!("{known}({x})");
        }
        if let Some((known, parameter, value)) = with_parameter(f) {
            self.imports.insert(("activation", known));
            return format!("{known}({x}, {parameter} = {})", number(value));
        }
        format!("{}({x})", self.declare(name, f))
    }

    /// A call of `linear` or `conv`, and the tensors that it binds.
    fn layer(&mut self, scope: &Scope<'_>, layer: &Layer) -> Text {
        for (weight, name, shape) in &layer.weights {
            self.stored_names.insert(name.clone());
            let tensor = Stored::Reshaped(weight.clone(), shape.clone());
            self.stored.push((name.clone(), tensor));
        }
        let x = self.value(scope, layer.x)?;
        let mut text = match &layer.window {
            None => {
                self.imports.insert(("linear", "linear"));
                format!("linear({x}, {}, \"{}\"", layer.out, layer.name)
            }
            Some((size, conv)) => {
                self.imports.insert(("conv", "conv"));
                let mut text = format!("conv({x}, {}, \"{}\"", layer.out, layer.name);
                option(&mut text, "kernel", size.to_string(), *size == 3);
                option(&mut text, "stride", conv.stride[0].to_string(), conv.stride[0] == 1);
                option(&mut text, "padding", conv.pad[0].to_string(), conv.pad[0] == 0);
                option(
                    &mut text,
                    "dilation",
                    conv.dilation[0].to_string(),
                    conv.dilation[0] == 1,
                );
                option(&mut text, "groups", conv.groups.to_string(), conv.groups == 1);
                text
            }
        };
        option(&mut text, "bias", "false".to_owned(), layer.bias);
        Ok(text + ")")
    }

    fn declare(&mut self, name: &str, f: &Formula) -> String {
        let key = f.to_string();
        if let Some(known) = self.tables.get(&key) {
            return known.clone();
        }
        let name = self.names.fresh(name);
        self.declared.push(format!("table {name}(x) = {}\n", formula(f)));
        self.tables.insert(key, name.clone());
        name
    }

    fn rope(&mut self, rope: &Rope, x: &str) -> String {
        let freq = self.declare("freq", &rope.freq);
        let mut text = format!("rope({x}, {freq}");
        option(&mut text, "start", dim(&rope.start), rope.start.as_const() == Some(0));
        option(&mut text, "axis", rope.axis.to_string(), false);
        option(&mut text, "rotary", rope.rotary.to_string(), false);
        let half = rope.layout == RopeLayout::Half;
        option(&mut text, "layout", "\"interleaved\"".to_owned(), half);
        option(&mut text, "scale", number(rope.scale), rope.scale == 1.0);
        text + ")"
    }
}

/// `leaky_relu` and `elu` with their parameter.
fn with_parameter(f: &Formula) -> Option<(&'static str, &'static str, f64)> {
    let Formula::Select(parts) = f else {
        return None;
    };
    let Formula::Binary(Binary::Mul, product) = &parts.2 else {
        return None;
    };
    let Formula::Const(c) = product.0 else {
        return None;
    };
    let known = [("leaky_relu", "slope", leaky_relu(c)), ("elu", "alpha", elu(c))];
    let found = known.into_iter().find(|(_, _, g)| g == f);
    found.map(|(name, parameter, _)| (name, parameter, c))
}

/// `, name = value`, unless it is the default.
fn option(text: &mut String, name: &str, value: String, default: bool) {
    if !default {
        let _ = write!(text, ", {name} = {value}");
    }
}

/// One number where both are equal.
fn pair(values: &[u64; 2]) -> String {
    if values[0] == values[1] {
        values[0].to_string()
    } else {
        list(values)
    }
}

/// Top, left, bottom, right as one number, two, or four.
fn sides(pad: &[u64; 4]) -> String {
    let [top, left, bottom, right] = pad;
    if top == bottom && left == right {
        pair(&[*top, *left])
    } else {
        list(pad)
    }
}

fn pooling(pool: &Pool, x: &str) -> String {
    let name = match pool.kind {
        PoolKind::Max => "max_pool2d",
        PoolKind::Avg => "avg_pool2d",
    };
    let mut text = format!("{name}({x}, {}", pair(&pool.window));
    option(&mut text, "stride", pair(&pool.stride), pool.stride == pool.window);
    option(&mut text, "padding", sides(&pool.pad), pool.pad == [0; 4]);
    let default = pool.kind == PoolKind::Max || pool.count_include_pad;
    option(&mut text, "count_include_pad", "false".to_owned(), default);
    text + ")"
}

/// True where all axes but the first are joined into one.
fn is_flatten(from: &Shape, to: &Shape) -> bool {
    let joined = from.0.iter().skip(1).try_fold(Dim::fixed(1), |n, d| n.try_mul(d));
    from.rank() > 1 && to.rank() == 2 && from.0.first() == to.0.first() && to.0.get(1) == joined.as_ref()
}

/// `x[:, a..b]`. A step is a reshape into groups of that size, of which the first member is kept.
fn slice(x: &str, from: &Shape, axis: usize, start: &Dim, end: &Dim, step: u64) -> Option<String> {
    let before: String = (0..axis).map(|_| ":, ").collect();
    if step == 1 {
        let to = if Some(end) == from.0.get(axis) {
            String::new()
        } else {
            dim(end)
        };
        return Some(format!("{x}[{before}{}..{to}]", dim(start)));
    }
    let (start, end, extent) = (start.as_const()?, end.as_const()?, from.0.get(axis)?.as_const()?);
    let step = i64::try_from(step).ok()?;
    let count = (end - start + step - 1) / step;
    let stop = (start + count * step).min(extent);
    let missing = start + count * step - stop;
    let mut text = format!("{x}[{before}{start}..{stop}]");
    if missing > 0 {
        let side = |n: i64| list((0..from.rank()).map(|i| if i == axis { n } else { 0 }));
        text = format!("pad({text}, {}, {})", side(0), side(missing));
    }
    let mut dims = from.0.clone();
    dims.splice(axis..=axis, [Dim::fixed(count), Dim::fixed(step)]);
    Some(format!("reshape({text}, {})[{before}:, 0]", shape(&Shape(dims))))
}

fn visibility(v: Visibility) -> &'static str {
    match v {
        Visibility::Public => "public ",
        Visibility::Private => "private ",
        Visibility::Committed => "committed ",
    }
}

fn ty(t: &Type) -> String {
    let dims = shape(&t.shape);
    match t.elem {
        Elem::Index(bound) => format!("index({bound}){dims}"),
        Elem::Mask => format!("mask{dims}"),
        Elem::Real | Elem::Int(_) => format!("real{dims}"),
    }
}

fn no_form(entry: &Entry, id: ValueId, what: &'static str) -> TranspileError {
    TranspileError::Operation {
        value: entry.values.get(id.index()).map(|v| v.name.clone()).unwrap_or_default(),
        what,
    }
}
