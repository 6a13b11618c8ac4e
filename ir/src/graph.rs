//! Modules, entries, regions, nodes.
//!
//! A [`Module`] is a family of named [`Entry`]s (prefill, decode) that share dimensions, weights, tables and states.
//! An entry is SSA: every [`ValueId`] is defined once, by a parameter or a node, before its uses. Values live in one arena
//! per entry; a region lists parameters, nodes and results, and the body of a `repeat` may use values defined before it.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::op::Op;
use crate::recipe::Recipe;
use crate::shape::Shape;
use crate::table::Table;
use crate::types::{Span, Stage, Type, Visibility};

/// A value of an entry; an index into [`Entry::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub u32);

impl ValueId {
    /// The index into [`Entry::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Name and type of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Its name, unique in the entry and stable under printing and parsing.
    pub name: String,
    /// Its type.
    pub ty: Type,
}

/// One operation in place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// What it reads.
    pub operands: Vec<ValueId>,
    /// What it defines; one value, but for `repeat`.
    pub results: Vec<ValueId>,
    /// Where it comes from.
    pub span: Option<Span>,
}

/// Straight-line code: parameters, nodes in order, results.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Region {
    /// Values given from outside.
    pub params: Vec<ValueId>,
    /// Nodes, each after what it uses.
    pub nodes: Vec<Node>,
    /// Values handed out.
    pub results: Vec<ValueId>,
}

/// Name and visibility of an input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in statements and files.
    pub name: String,
    /// Who sees it.
    pub visibility: Visibility,
}

/// One named function of the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    /// Every value, by [`ValueId`].
    pub values: Vec<Value>,
    /// One per parameter of the body.
    pub inputs: Vec<Port>,
    /// One per result of the body.
    pub outputs: Vec<Port>,
    /// The code.
    pub body: Region,
}

/// Least and greatest value of a run-time dimension. Bounds of integers hold up to the greatest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DimRange {
    /// Least value, inclusive.
    pub min: u64,
    /// Greatest value, inclusive.
    pub max: u64,
    /// For the length of what earlier runs have left in states: the dimension of what a run appends. The sum of both is
    /// then at most `max`.
    pub before: Option<String>,
}

/// Index and count of an enclosing repeat region: the weight, or state, is one tensor per iteration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackAxis {
    /// Name of the index.
    pub index: String,
    /// Number of iterations.
    pub count: u64,
}

/// A bound on sums of magnitudes, which setup proves: `Σ |w| ≤ bound` over `axes`, whatever the other axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsSum {
    /// The axes summed over, ascending.
    pub axes: Vec<usize>,
    /// The bound, in integers of the weight.
    pub bound: i64,
}

/// A weight: one committed (or public) tensor, shared by all entries.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Its type within one iteration; the shape is constant.
    pub ty: Type,
    /// Enclosing repeat regions over which it is stacked, outermost first; empty outside of regions.
    pub stack: Vec<StackAxis>,
    /// Who sees it.
    pub visibility: Visibility,
    /// How it is computed. Quantised: the recipe gives the integers themselves.
    pub recipe: Recipe,
    /// A bound on its columns (quantised stage).
    pub abs_sum: Option<AbsSum>,
}

/// A tensor that outlives one run of an entry and grows along one axis: a KV cache.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Its type within one iteration, as an entry finds it; `shape[axis]` is the run-time length so far.
    pub ty: Type,
    /// Enclosing repeat regions over which it is stacked, outermost first.
    pub stack: Vec<StackAxis>,
    /// The axis along which it grows.
    pub axis: usize,
    /// Who sees it.
    pub visibility: Visibility,
}

/// A model: named entries and all that they share.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Which arithmetic it is written in.
    pub stage: Stage,
    /// Run-time dimensions, by name.
    pub dims: IndexMap<String, DimRange>,
    /// Weights, by name.
    pub weights: IndexMap<String, Weight>,
    /// Lookup tables, by name (quantised stage).
    pub tables: IndexMap<String, Arc<Table>>,
    /// States, by name.
    pub states: IndexMap<String, State>,
    /// Entries, by name.
    pub entries: IndexMap<String, Entry>,
}

impl Module {
    /// An empty module.
    pub fn new(name: impl Into<String>, stage: Stage) -> Self {
        Module {
            name: name.into(),
            stage,
            dims: IndexMap::new(),
            weights: IndexMap::new(),
            tables: IndexMap::new(),
            states: IndexMap::new(),
            entries: IndexMap::new(),
        }
    }

    /// Declares the run-time dimension `name` with its least and greatest value.
    pub fn declare_dim(&mut self, name: impl Into<String>, min: u64, max: u64) {
        let before = None;
        self.dims.insert(name.into(), DimRange { min, max, before });
    }

    /// Declares the run-time dimension of what earlier runs have left in states, to be followed by one more, `tokens`: their
    /// sum is at most `max`.
    pub fn declare_past(&mut self, name: impl Into<String>, max: u64, tokens: &str) {
        let before = Some(tokens.to_owned());
        self.dims.insert(name.into(), DimRange { min: 0, max, before });
    }

    /// The greatest value of `dim` over the declared ranges; undeclared dimensions count as unbounded.
    pub fn greatest(&self, dim: &crate::Dim) -> i128 {
        crate::infer::extreme(self, dim, true)
    }
}

impl Entry {
    /// The value `id`.
    ///
    /// # Panics
    /// Where `id` is of another entry.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The type of `id`; panics as [`value`](Self::value).
    pub fn ty(&self, id: ValueId) -> &Type {
        &self.value(id).ty
    }

    /// The value called `name`.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values
            .iter()
            .position(|v| v.name == name)
            .map(|i| ValueId(i as u32))
    }

    /// Every node, those of nested regions after the node that holds them.
    pub fn all_nodes(&self) -> Vec<&Node> {
        self.body.all_nodes()
    }
}

impl Region {
    /// Every node, those of nested regions after the node that holds them.
    pub fn all_nodes(&self) -> Vec<&Node> {
        let mut out = Vec::new();
        let mut open = vec![self.nodes.iter()];
        while let Some(nodes) = open.last_mut() {
            let Some(node) = nodes.next() else {
                open.pop();
                continue;
            };
            out.push(node);
            if let Op::Repeat(repeat) = &node.op {
                open.push(repeat.body.nodes.iter());
            }
        }
        out
    }
}

impl Weight {
    /// A committed weight of the real stage.
    pub fn real(shape: Shape, recipe: Recipe) -> Self {
        let ty = Type::real(shape);
        Weight {
            ty,
            stack: Vec::new(),
            visibility: Visibility::Committed,
            recipe,
            abs_sum: None,
        }
    }

    /// The shape of the whole tensor, stack axes first.
    pub fn stacked_shape(&self) -> Shape {
        let stack = self.stack.iter().map(|s| crate::shape::Dim::fixed(s.count as i64));
        Shape(stack.chain(self.ty.shape.0.iter().cloned()).collect())
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.visibility, self.name)
    }
}
