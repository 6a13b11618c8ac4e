//! The graph IR of `mlc`: operations, shapes, types, recipes of weights.
//!
//! Pure: no file system, no clock. A front-end makes a [`Module`] through a [`GraphBuilder`]; passes rewrite it; text,
//! verifier and interpreter read it.
//!
//! # Map
//!
//! | file | what |
//! |---|---|
//! | [`formula`] | scalar formulas: what an elementwise function computes, in `f64` through `libm` |
//! | [`shape`] | affine dimensions over run-time lengths, shapes |
//! | [`types`] | element types, the two stages, visibility, spans |
//! | [`op`] | every operation, with its meaning in both stages |
//! | [`graph`] | modules, entries, regions, nodes; weights, states |
//! | [`table`] | lookup tables of the quantised stage |
//! | [`recipe`] | what a weight is made of, and the one evaluator |
//! | [`mod@infer`] | shape and type inference, typed errors |
//! | [`builder`] | one method per operation |
//! | [`mod@verify`] | the IR verifier: the list of invariants, typed violations |
//! | [`interp`] | the interpreter, real and integer: the oracle of passes |
//! | [`random`] | random modules, inputs and weights, for property tests |
//! | `edit.rs` | [`Entry::replace_uses`], [`Entry::remove_dead`], [`Entry::compact`]: what every pass does |
//! | [`text`] | the textual form: `Display` and `FromStr` of [`Module`] |
//!
//! # A model in Rust
//!
//! ```
//! use mlc_ir::{Dim, Formula, Module, Recipe, Shape, Stage, Type, Visibility, Weight};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut module = Module::new("mlp", Stage::Real);
//! module.declare_dim("batch", 1, 64);
//! let mut g = module.entry("main");
//! let x = g.input("image", Visibility::Private, Type::real(Shape(vec![Dim::runtime("batch"), Dim::fixed(64)])));
//!
//! // Sixteen residual blocks with their own weights: one region, weights by template.
//! let carried = g.begin_repeat("l", 16, &[x], &[])?;
//! let recipe = Recipe::tensor("blocks.{l}.weight", [64, 64])?;
//! let w = g.weight("block_w", Weight::real(Shape::new([64i64, 64]), recipe))?;
//! let h = g.contract("bi,oi->bo", carried[0], w)?;
//! let h = g.table("relu", Formula::x().max(0.0), h)?;
//! let next = g.add(carried[0], h)?;
//! let hidden = g.end_repeat(&[next])?[0];
//!
//! let label = g.argmax(hidden)?;
//! g.output("logits", hidden, Visibility::Public);
//! g.output("label", label, Visibility::Public);
//! g.finish();
//!
//! let entry = &module.entries["main"];
//! assert_eq!(entry.ty(label).to_string(), "index<64>[batch]");
//! assert_eq!(module.weights["block_w"].stacked_shape().to_string(), "[16, 64, 64]");
//! # Ok(()) }
//! ```
//!
//! Values of an outer region may be used inside a `repeat` directly. Weights, tables and states belong to the module, so
//! entries share them. A bias is a weight and an [`add`](GraphBuilder::add). Spans: [`GraphBuilder::at`]; names that
//! survive into diagnostics: [`GraphBuilder::named`].

pub mod builder;
mod edit;
pub mod formula;
pub mod graph;
pub mod infer;
pub mod interp;
mod kernel;
pub mod op;
pub mod random;
pub mod recipe;
pub mod shape;
pub mod table;
pub mod tensor;
pub mod text;
pub mod types;
pub mod verify;

pub use builder::GraphBuilder;
pub use formula::Formula;
pub use graph::{AbsSum, DimRange, Entry, Module, Node, Port, Region, StackAxis, State, Value, ValueId, Weight};
pub use infer::{InferError, InferErrorKind, Operand, Origin, Origins, Scope, infer};
pub use interp::{Data, Inputs, Observation, Outputs, RunError, StateKey, run, run_observed};
pub use kernel::KernelError;
pub use op::{
    BinaryOp, Conv2d, Einsum, EinsumError, Literal, MaxDistance, Op, Pool, PoolKind, ReduceKind, Repeat, Requant, Rope,
    RopeLayout,
};
pub use recipe::{Recipe, RecipeError, RecipeShapeError, Template, TemplateError, WeightSource};
pub use shape::{Bindings, Dim, DimError, Shape};
pub use table::Table;
pub use tensor::{Tensor, TensorF32};
pub use text::ParseError;
pub use types::{Elem, INT_LIMIT, IntType, Span, Stage, Type, Visibility};
pub use verify::{VerifyError, Violation, verify};
