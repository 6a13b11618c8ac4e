//! Random modules, for property tests of the IR and of passes.
//!
//! Everything follows from a seed, and every module is accepted by the [verifier](crate::verify()): operations are drawn at
//! random and kept where inference accepts them. Sizes are small, so that the interpreter is fast.

mod quantised;
mod real;
mod rng;

use std::collections::BTreeMap;

pub use rng::Rng;

use crate::builder::GraphBuilder;
use crate::graph::{Module, StackAxis, ValueId};
use crate::interp::{Data, Inputs};
use crate::op::Op;
use crate::recipe::Recipe;
use crate::shape::{Bindings, Dim, Shape};
use crate::tensor::{Tensor, TensorF32};
use crate::types::{Elem, Span, Stage, Visibility};

/// A module of one entry, `main`, in the given stage.
pub fn module(stage: Stage, seed: u64) -> Module {
    let mut module = Module::new("random", stage);
    module.declare_dim("batch", 1, 3);
    module.declare_dim("tokens", 1, 4);
    let rng = Rng::new(seed);
    let mut maker = Maker {
        g: module.entry("main"),
        rng,
        pool: Vec::new(),
        weights: 0,
    };
    match stage {
        Stage::Real => maker.real(),
        Stage::Quantised => maker.quantised(),
    }
    maker.g.finish();
    module
}

/// Random inputs of the entry `main`, with random run-time dimensions.
pub fn inputs(module: &Module, seed: u64) -> Inputs {
    let mut rng = Rng::new(seed ^ 0x5eed);
    let mut inputs = Inputs::default();
    for (name, range) in &module.dims {
        // The first run: nothing is in states yet.
        let max = if range.before.is_some() { range.min } else { range.max };
        inputs
            .dims
            .insert(name.clone(), rng.within(range.min as i64, max as i64));
    }
    let Some(entry) = module.entries.get("main") else {
        return inputs;
    };
    for (port, id) in entry.inputs.iter().zip(&entry.body.params) {
        let ty = entry.ty(*id);
        let shape = ty.shape.eval(&inputs.dims).unwrap_or_default();
        let count = shape.iter().product::<usize>();
        let mut ints = |lo, hi| (0..count).map(|_| rng.extreme(lo, hi)).collect();
        let data = match ty.elem {
            Elem::Int(int) => Data::Ints(Tensor {
                shape,
                data: ints(int.lo, int.hi),
            }),
            Elem::Index(vocab) => Data::Ints(Tensor {
                shape,
                data: ints(0, vocab as i64 - 1),
            }),
            Elem::Mask => Data::Ints(Tensor {
                shape,
                data: ints(0, 1),
            }),
            Elem::Real => Data::Real(Tensor {
                shape,
                data: (0..count).map(|_| rng.real()).collect(),
            }),
        };
        inputs.values.insert(port.name.clone(), data);
    }
    inputs
}

/// Random contents for every tensor that the module's recipes name.
pub fn weights(module: &Module, seed: u64) -> BTreeMap<String, TensorF32> {
    let mut rng = Rng::new(seed ^ 0x3e16);
    let mut out = BTreeMap::new();
    for weight in module.weights.values() {
        for bindings in iterations(&weight.stack) {
            fill(&weight.recipe, &bindings, &mut rng, &mut out);
        }
    }
    out
}

fn iterations(stack: &[StackAxis]) -> Vec<Bindings> {
    let mut all = vec![Bindings::new()];
    for axis in stack {
        let with = |b: &Bindings, i: u64| {
            let mut b = b.clone();
            b.insert(axis.index.clone(), i as i64);
            b
        };
        all = all
            .iter()
            .flat_map(|b| (0..axis.count).map(move |i| with(b, i)))
            .collect();
    }
    all
}

fn fill(recipe: &Recipe, bindings: &Bindings, rng: &mut Rng, out: &mut BTreeMap<String, TensorF32>) {
    if let Recipe::Tensor { name, shape } = recipe
        && let Ok(name) = name.expand(bindings)
    {
        let shape: Vec<usize> = shape.iter().map(|d| *d as usize).collect();
        let data = (0..shape.iter().product()).map(|_| rng.real()).collect();
        out.insert(name, Tensor { shape, data });
    }
    for input in recipe.inputs() {
        fill(input, bindings, rng, out);
    }
}

/// Draws operations; `pool` holds the values that may be used.
struct Maker<'m> {
    g: GraphBuilder<'m>,
    rng: Rng,
    pool: Vec<ValueId>,
    weights: u64,
}

impl Maker<'_> {
    fn pick(&mut self) -> ValueId {
        let at = self.rng.below(self.pool.len() as u64) as usize;
        self.pool[at]
    }

    /// Adds the operation where inference accepts it.
    fn try_push(&mut self, op: Op, operands: &[ValueId]) -> Option<ValueId> {
        if self.rng.below(4) == 0 {
            let start = self.rng.below(100) as u32;
            self.g.at(Some(Span {
                file: "random \"model\".mlc".into(),
                start,
                end: start + 7,
            }));
        }
        if self.rng.below(6) == 0 {
            self.g.named("/odd name/\"0\"");
        }
        let id = self.g.push(op, operands).ok()?;
        self.pool.push(id);
        Some(id)
    }

    fn input(&mut self, name: &str, elem: Elem) {
        let batch = Dim::runtime("batch");
        let dims = match self.rng.below(4) {
            0 => vec![batch, Dim::fixed(2), Dim::fixed(5), Dim::fixed(6)],
            1 => vec![batch, Dim::runtime("tokens"), Dim::fixed(4)],
            2 => vec![Dim::runtime("tokens"), Dim::fixed(4)],
            _ => vec![batch, Dim::fixed(4)],
        };
        let ty = crate::Type {
            elem,
            shape: Shape(dims),
        };
        let id = self.g.input(name, Visibility::Private, ty);
        self.pool.push(id);
    }

    /// A recipe of that shape; names are templates where a region is open.
    fn recipe(&mut self, shape: &[u64]) -> Recipe {
        self.weights += 1;
        let hole = self
            .g
            .stack()
            .last()
            .map_or_else(String::new, |a| format!(".{{{}}}", a.index));
        let name = format!("w{}{hole}", self.weights);
        let plain = |shape: Vec<u64>| Recipe::tensor(&name, shape).unwrap_or(Recipe::FirstOf(Vec::new()));
        let gain = |shape: &[u64]| {
            let len = shape.iter().rev().take(1).product::<u64>() as usize;
            Recipe::constant(Tensor {
                shape: vec![len],
                data: vec![0.75; len],
            })
        };
        match (self.rng.below(5), shape) {
            (0, [a, b]) => plain(vec![*b, *a]).transpose([1, 0]),
            (1, [a, rest @ ..]) => {
                let whole = std::iter::once(a + 2).chain(rest.iter().copied()).collect();
                plain(whole).slice(0, 1i64, *a)
            }
            (2, [_, ..]) => plain(shape.to_vec()).times(gain(shape)),
            (3, _) => plain(vec![shape.iter().product()]).reshape(shape.to_vec()),
            _ => plain(shape.to_vec()),
        }
    }
}
