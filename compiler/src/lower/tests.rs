//! Whole models: built in the IR, quantised, lowered; `lower` runs the circuit's own checks.

use mlc_ir::{
    Conv2d, Dim, Formula, GraphBuilder, Module, Pool, PoolKind, Recipe, Shape, Stage, Type, ValueId, Visibility, Weight,
};

use super::{LowerOptions, Lowered, lower};
use crate::passes::quantise::quantise;
use crate::passes::range_analysis::range_analysis;
use crate::plan::QuantPlan;

fn weight(g: &mut GraphBuilder<'_>, name: &str, shape: &[i64]) -> ValueId {
    let recipe = Recipe::tensor(&format!("{name}.weight"), shape.iter().map(|d| *d as u64)).unwrap();
    g.weight(name, Weight::real(Shape::new(shape.iter().copied()), recipe))
        .unwrap()
}

fn relu(g: &mut GraphBuilder<'_>, x: ValueId) -> ValueId {
    g.table("relu", Formula::x().max(0.0), x).unwrap()
}

fn batched(shape: &[i64]) -> Type {
    let dims = std::iter::once(Dim::runtime("batch")).chain(shape.iter().map(|d| Dim::fixed(*d)));
    Type::real(Shape(dims.collect()))
}

fn module(build: impl FnOnce(&mut GraphBuilder<'_>)) -> Module {
    let mut module = Module::new("test", Stage::Real);
    module.declare_dim("batch", 1, 64);
    let mut g = module.entry("main");
    build(&mut g);
    g.finish();
    module
}

fn lowered(module: &Module) -> Lowered {
    let plan = QuantPlan::default();
    let quantised = range_analysis(quantise(module, &plan).unwrap(), &plan).unwrap();
    lower(&quantised, &LowerOptions::default()).unwrap_or_else(|e| panic!("{e}\n{quantised}"))
}

fn linear(g: &mut GraphBuilder<'_>, name: &str, x: ValueId, from: i64, to: i64) -> ValueId {
    let w = weight(g, name, &[to, from]);
    let b = weight(g, &format!("{name}_bias"), &[to]);
    let y = g.named(name).contract("bi,oi->bo", x, w).unwrap();
    g.add(y, b).unwrap()
}

#[test]
fn an_mlp_becomes_two_equations_per_layer() {
    let made = lowered(&module(|g| {
        let x = g.input("image", Visibility::Public, batched(&[64]));
        let h = linear(g, "fc1", x, 64, 32);
        let h = relu(g, h);
        let y = linear(g, "fc2", h, 32, 10);
        let label = g.argmax(y).unwrap();
        g.output("logits", y, Visibility::Public);
        g.output("label", label, Visibility::Public);
    }));
    let entry = &made.circuit.entries[0];
    assert_eq!(entry.equations.len(), 2);
    assert_eq!(entry.outputs.len(), 1);
    assert_eq!(entry.outputs[0].label, mlc_circuit::Label::ArgMax);
    assert_eq!(made.weights.len(), 4);
}

#[test]
fn a_cnn_lowers_with_its_pool_and_flattening() {
    let made = lowered(&module(|g| {
        let x = g.input("image", Visibility::Private, batched(&[1, 8, 8]));
        let w = weight(g, "conv", &[16, 1, 3, 3]);
        let conv = Conv2d {
            pad: [1; 4],
            ..Conv2d::default()
        };
        let h = g.conv2d(conv, x, w).unwrap();
        let b = weight(g, "conv_bias", &[16]);
        let b = g.reshape(b, Shape::new([1i64, 16, 1, 1])).unwrap();
        let h = g.add(h, b).unwrap();
        let h = relu(g, h);
        let pool = Pool {
            kind: PoolKind::Max,
            window: [2, 2],
            stride: [2, 2],
            pad: [0; 4],
            count_include_pad: false,
        };
        let h = g.pool(pool, h).unwrap();
        let h = g
            .reshape(h, Shape(vec![Dim::runtime("batch"), Dim::fixed(256)]))
            .unwrap();
        let y = linear(g, "fc", h, 256, 10);
        g.output("logits", y, Visibility::Public);
    }));
    let entry = &made.circuit.entries[0];
    assert_eq!(entry.sites.len(), 1);
    assert!(entry.segments.iter().any(|s| s.table.is_none()));
}
