//! Whole models: built in the IR, quantised, lowered; `lower` runs the circuit's own checks.

use mlc_ir::{
    Conv2d, Dim, Elem, Formula, GraphBuilder, MaxDistance, Module, Pool, PoolKind, Recipe, Requant, Shape, Stage,
    Table, Template, Type, ValueId, Visibility, Weight,
};

use std::collections::BTreeMap;

use mlc_ir::{Data, Inputs, Observation, ReduceKind, run, run_observed};

use super::{LowerOptions, Lowered, eval, lower};
use crate::passes::tests::{Weights, samples};
use crate::plan::{QuantPlan, ValueRange, WeightStats, round_range, round_up, wanted};
use crate::{CompileOptions, Compiled, compile, prepare};

pub(super) fn weight(g: &mut GraphBuilder<'_>, name: &str, shape: &[i64]) -> ValueId {
    let recipe = Recipe::tensor(&format!("{name}.weight"), shape.iter().map(|d| *d as u64)).unwrap();
    g.weight(name, Weight::real(Shape::new(shape.iter().copied()), recipe))
        .unwrap()
}

pub(super) fn relu(g: &mut GraphBuilder<'_>, x: ValueId) -> ValueId {
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

/// Compiles with a plan measured on random weights and inputs, and compares the circuit with the interpreter of the
/// quantised module, exactly, and with that of the real one, roughly.
pub(super) fn checked(module: Module, seed: u64, tolerance: f64) -> Compiled {
    checked_at(module, seed, tolerance, QuantPlan::default().config.activation_bits)
}

/// As [`checked`], with so many bits of activations and weights.
fn checked_at(module: Module, seed: u64, tolerance: f64, bits: u32) -> Compiled {
    let prepared = prepare(module.clone(), &QuantPlan::default(), &mut |_, _| {}).unwrap();
    let (weights, inputs) = samples(&module, &prepared, seed);
    let mut plan = plan(&prepared, &weights, &inputs);
    (plan.config.activation_bits, plan.config.weight_bits) = (bits, bits);
    let compiled = compile(module, &plan, &CompileOptions::default()).unwrap_or_else(|e| panic!("{e}\n{prepared}"));
    let lowered = Lowered {
        circuit: compiled.circuit.clone(),
        weights: compiled.weights.clone(),
    };
    let real = run(&compiled.prepared, "main", &weights, &inputs).unwrap();
    let entry = &compiled.quantised.entries["main"];
    let mut integers = inputs.clone();
    let mut flat = BTreeMap::new();
    for (port, id) in entry.inputs.iter().zip(&entry.body.params) {
        let Data::Real(tensor) = &inputs.values[&port.name] else {
            let Data::Ints(tensor) = &inputs.values[&port.name] else {
                continue;
            };
            // Circuits count what a mask hides.
            let hides = entry.ty(*id).elem == Elem::Mask;
            let data = tensor.data.iter().map(|v| if hides { 1 - v } else { *v });
            flat.insert(port.name.clone(), data.collect());
            continue;
        };
        let int = entry.ty(*id).elem.int().unwrap();
        let data = tensor.map(|v| ((f64::from(*v) / int.scale).round() as i64).clamp(int.lo, int.hi));
        flat.insert(port.name.clone(), data.data.clone());
        integers.values.insert(port.name.clone(), Data::Ints(data));
    }
    let expected =
        run(&compiled.quantised, "main", &weights, &integers).unwrap_or_else(|e| panic!("{e}\n{}", compiled.quantised));
    let found = eval::run(&lowered, 0, &weights, &inputs.dims, &flat);
    for (name, data) in &found {
        let Data::Ints(tensor) = &expected.values[name] else {
            panic!("{name}")
        };
        assert_eq!(*data, tensor.data, "{name}\n{}", compiled.quantised);
        let Data::Real(tensor) = &real.values[name] else {
            continue;
        };
        let id = entry.body.results[entry.outputs.iter().position(|o| o.name == *name).unwrap()];
        let scale = entry.ty(id).elem.int().unwrap().scale;
        let most = tensor.data.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
        for (q, r) in data.iter().zip(&tensor.data) {
            let error = (*q as f64 * scale - f64::from(*r)).abs();
            assert!(
                error <= tolerance * f64::from(most),
                "{name}: {} for {r}\n{}",
                *q as f64 * scale,
                compiled.quantised
            );
        }
    }
    compiled
}

/// A plan from one run.
pub(super) fn plan(module: &Module, weights: &Weights, inputs: &Inputs) -> QuantPlan {
    let mut plan = QuantPlan::default();
    let entry = &module.entries["main"];
    run_observed(module, "main", weights, inputs, &mut |seen: Observation<'_>| {
        if let Data::Real(tensor) = seen.data {
            let key = format!("main.{}", entry.value(seen.value).name);
            let lo = tensor.data.iter().fold(f64::INFINITY, |m, v| m.min(f64::from(*v)));
            let hi = tensor.data.iter().fold(f64::NEG_INFINITY, |m, v| m.max(f64::from(*v)));
            let slot = plan.values.entry(key).or_insert(ValueRange { lo, hi });
            *slot = round_range(slot.lo.min(lo), slot.hi.max(hi));
        }
    })
    .unwrap();
    for wanted in wanted(module).weights {
        let weight = &module.weights[&wanted.name];
        let mut bindings = vec![mlc_ir::Bindings::new()];
        for axis in &weight.stack {
            bindings = bindings
                .iter()
                .flat_map(|b| {
                    (0..axis.count as i64).map(move |i| {
                        let mut b = b.clone();
                        b.insert(axis.index.clone(), i);
                        b
                    })
                })
                .collect();
        }
        let (mut max_abs, mut most) = (0f64, 0f64);
        for b in &bindings {
            let value = weight.recipe.eval(weights, b).unwrap();
            let mut columns: BTreeMap<Vec<usize>, f64> = BTreeMap::new();
            let strides = mlc_ir::tensor::strides(&value.shape);
            for (i, v) in value.data.iter().enumerate() {
                max_abs = max_abs.max(v.abs());
                let key = (0..value.shape.len())
                    .filter(|a| !wanted.axes.contains(a))
                    .map(|a| i / strides[a] % value.shape[a])
                    .collect();
                *columns.entry(key).or_default() += v.abs();
            }
            most = columns.values().fold(most, |m, v| m.max(*v));
        }
        plan.weights.insert(
            wanted.name,
            WeightStats {
                max_abs: round_up(max_abs),
                column_sum: (!wanted.axes.is_empty()).then(|| round_up(most)),
                axes: wanted.axes,
            },
        );
    }
    plan
}

pub(super) fn linear(g: &mut GraphBuilder<'_>, name: &str, x: ValueId, from: i64, to: i64) -> ValueId {
    let w = weight(g, name, &[to, from]);
    let b = weight(g, &format!("{name}_bias"), &[to]);
    let y = g.named(name).contract("bi,oi->bo", x, w).unwrap();
    g.add(y, b).unwrap()
}

#[test]
fn an_mlp_becomes_two_equations_per_layer() {
    let made = checked(
        module(|g| {
            let x = g.input("image", Visibility::Public, batched(&[64]));
            let h = linear(g, "fc1", x, 64, 32);
            let h = relu(g, h);
            let y = linear(g, "fc2", h, 32, 10);
            let label = g.argmax(y).unwrap();
            g.output("logits", y, Visibility::Public);
            g.output("label", label, Visibility::Public);
        }),
        1,
        0.1,
    );
    let entry = &made.circuit.entries[0];
    assert_eq!(entry.equations.len(), 2);
    assert_eq!(entry.outputs.len(), 1);
    assert_eq!(entry.outputs[0].label, mlc_circuit::Label::ArgMax);
    assert_eq!(made.weights.len(), 4);
}

#[test]
fn a_label_without_its_scores_is_found_by_an_equation() {
    let made = checked(
        module(|g| {
            let x = g.input("image", Visibility::Public, batched(&[64]));
            let h = linear(g, "fc1", x, 64, 32);
            let h = relu(g, h);
            let y = linear(g, "fc2", h, 32, 10);
            let label = g.argmax(y).unwrap();
            g.output("label", label, Visibility::Public);
        }),
        1,
        0.1,
    );
    let entry = &made.circuit.entries[0];
    let [label] = &entry.outputs[..] else {
        panic!("{:?}", entry.outputs)
    };
    assert_eq!(
        (label.name.as_str(), &label.label),
        ("label", &mlc_circuit::Label::Index(10))
    );
    assert_eq!(label.axes, [mlc_circuit::Len::dim(0)]);
    let found = entry.equations.iter().find(|q| q.finds() == Some(0)).unwrap();
    // Weight and bias, each compared and found; a bias has a row for each score.
    assert_eq!(found.products.len(), 4);
    assert!(made.circuit.weights.iter().any(|w| w.outer == [10] && w.row_len == 1));
}

#[test]
fn scores_that_are_no_layer_have_no_label_of_their_own() {
    let module = module(|g| {
        let x = g.input("image", Visibility::Public, batched(&[10]));
        let label = g.argmax(x).unwrap();
        g.output("label", label, Visibility::Public);
    });
    let prepared = crate::prepare(module.clone(), &QuantPlan::default(), &mut |_, _| {}).unwrap();
    let (weights, inputs) = samples(&module, &prepared, 3);
    let plan = plan(&prepared, &weights, &inputs);
    let error = crate::compile(module, &plan, &crate::CompileOptions::default()).unwrap_err();
    assert!(error.to_string().contains("make them an output"), "{error}");
}

#[test]
fn a_cnn_lowers_with_its_pool_and_flattening() {
    let made = checked(
        module(|g| {
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
        }),
        1,
        0.1,
    );
    let entry = &made.circuit.entries[0];
    let cost = super::predict(&made.circuit, 0, &[1]).unwrap();
    assert_eq!(cost.weight_values, 16 * 9 + 16 + 2560 + 10);
    assert_eq!(entry.sites.len(), 1);
    assert!(entry.segments.iter().any(|s| s.table.is_none()));
}

fn batch_of(shape: &[i64]) -> Shape {
    batched(shape).shape
}

#[test]
fn sixteen_imported_residual_blocks_become_one_region() {
    let made = checked(
        module(|g| {
            let x = g.input("x", Visibility::Public, batched(&[8]));
            let mut h = linear(g, "stem", x, 8, 12);
            for l in 0..16 {
                let f = linear(g, &format!("blocks.{l}.up"), h, 12, 16);
                let f = relu(g, f);
                let f = linear(g, &format!("blocks.{l}.down"), f, 16, 12);
                h = g.add(h, f).unwrap();
            }
            let y = linear(g, "head", h, 12, 4);
            g.output("logits", y, Visibility::Public);
        }),
        2,
        0.3,
    );
    let entry = &made.circuit.entries[0];
    // Stem, up, down, the committed end of the stream, head.
    assert_eq!(entry.equations.len(), 5, "{}", made.quantised);
    assert!(
        entry
            .steps
            .iter()
            .any(|s| matches!(s, mlc_circuit::Step::Repeat { count: 16, .. }))
    );
    let up = made
        .circuit
        .weights
        .iter()
        .find(|w| w.name.starts_with("blocks.l.up"))
        .unwrap();
    assert_eq!((up.outer.clone(), up.row_len), (vec![16, 16], 12));
}

#[test]
fn a_chain_without_residual_is_read_one_block_back() {
    let made = checked(
        module(|g| {
            let x = g.input("x", Visibility::Public, batched(&[6]));
            let mut h = x;
            for l in 0..4 {
                h = linear(g, &format!("layer{l}"), h, 6, 6);
                h = relu(g, h);
            }
            g.output("y", h, Visibility::Public);
        }),
        3,
        0.1,
    );
    assert_eq!(made.circuit.entries[0].equations.len(), 2);
}

#[test]
fn convolutions_with_groups_strides_and_dilation() {
    checked(
        module(|g| {
            let x = g.input("x", Visibility::Public, batched(&[4, 9, 7]));
            let w = weight(g, "grouped", &[6, 2, 3, 2]);
            let conv = Conv2d {
                stride: [2, 1],
                pad: [1, 0, 2, 1],
                dilation: [1, 2],
                groups: 2,
            };
            let h = g.conv2d(conv, x, w).unwrap();
            let h = relu(g, h);
            let w = weight(g, "depthwise", &[6, 1, 2, 2]);
            let conv = Conv2d {
                groups: 6,
                ..Conv2d::default()
            };
            let h = g.conv2d(conv, h, w).unwrap();
            g.output("y", h, Visibility::Public);
        }),
        4,
        0.1,
    );
}

#[test]
fn pools_reductions_and_norms() {
    checked(
        module(|g| {
            let x = g.input("x", Visibility::Private, batched(&[3, 8, 8]));
            let w = weight(g, "conv", &[4, 3, 3, 3]);
            let h = g.conv2d(Conv2d::default(), x, w).unwrap();
            let mut parameters = Vec::new();
            for name in ["gamma", "beta", "mean", "var"] {
                let recipe = Recipe::tensor(name, [4]).unwrap();
                let recipe = if name == "var" {
                    Recipe::map(Formula::x() * Formula::x() + 0.5, [recipe])
                } else {
                    recipe
                };
                parameters.push(g.weight(name, Weight::real(Shape::new([4i64]), recipe)).unwrap());
            }
            let h = g.batch_norm(1e-5, h, parameters.try_into().unwrap()).unwrap();
            let h = relu(g, h);
            let max = Pool {
                kind: PoolKind::Max,
                window: [3, 3],
                stride: [2, 2],
                pad: [1; 4],
                count_include_pad: false,
            };
            let a = g.pool(max.clone(), h).unwrap();
            let average = Pool {
                kind: PoolKind::Avg,
                window: [2, 2],
                stride: [2, 2],
                pad: [0; 4],
                count_include_pad: true,
            };
            let b = g.pool(average, h).unwrap();
            let h = g.concat(1, &[a, b]).unwrap();
            let h = g.reduce(ReduceKind::Mean, &[2, 3], false, h).unwrap();
            let y = linear(g, "fc", h, 8, 5);
            g.output("y", y, Visibility::Public);
        }),
        5,
        0.1,
    );
}

#[test]
fn elementwise_operations_and_views() {
    checked(
        module(|g| {
            let x = g.input("x", Visibility::Public, batched(&[4, 6]));
            let a = g.table("tanh", Formula::x().tanh(), x).unwrap();
            let b = g.slice(a, 2, 1i64, 5i64, 1).unwrap();
            let b = g.pad(b, &[0, 0, 2], &[0, 0, 0], 0.0).unwrap();
            let c = g.mul(a, b).unwrap();
            let d = g.sub(x, c).unwrap();
            let d = g.binary(mlc_ir::BinaryOp::Max, d, b).unwrap();
            let d = g.transpose(d, &[0, 2, 1]).unwrap();
            let d = g.reshape(d, batch_of(&[24])).unwrap();
            let d = g.reshape(d, batch_of(&[2, 3, 4])).unwrap();
            let d = g.reduce(ReduceKind::Sum, &[2], true, d).unwrap();
            let half = g.scalar(0.5).unwrap();
            let d = g.mul(d, half).unwrap();
            let d = g.add(d, half).unwrap();
            g.output("y", d, Visibility::Public);
        }),
        6,
        0.1,
    );
}

#[test]
fn softmax_over_the_last_axis() {
    checked(
        module(|g| {
            let x = g.input("x", Visibility::Public, batched(&[8]));
            let h = linear(g, "fc", x, 8, 10);
            let four = g.scalar(4.0).unwrap();
            let h = g.mul(h, four).unwrap();
            let p = g.softmax(h, None).unwrap();
            g.output("p", p, Visibility::Public);
        }),
        7,
        0.1,
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(12))]

    #[test]
    fn random_mlps_are_exact_in_the_circuit_and_near_in_the_reals(
        seed in 0u64..1000, width in 3i64..20, hidden in 2i64..24, out in 1i64..8,
    ) {
        // Outputs may nearly cancel: with eight bits a tenth of what is left can be rounding.
        checked_at(
            module(|g| {
                let x = g.input("x", Visibility::Public, batched(&[width]));
                let h = linear(g, "fc1", x, width, hidden);
                let h = g.table("silu", Formula::x() / (1.0 + (-Formula::x()).exp()), h).unwrap();
                let y = linear(g, "fc2", h, hidden, out);
                g.output("y", y, Visibility::Public);
            }),
            seed,
            0.1,
            12,
        );
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let model = || {
        module(|g| {
            let x = g.input("x", Visibility::Private, batched(&[8]));
            let y = linear(g, "fc", x, 8, 4);
            let y = relu(g, y);
            g.output("y", y, Visibility::Public);
        })
    };
    let bytes = || {
        let made = compile(model(), &QuantPlan::default(), &CompileOptions::default()).unwrap();
        mlc_circuit::format::encode(&made.circuit)
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn a_bound_that_could_wrap_names_layer_and_mending_setting() {
    let wide = module(|g| {
        let x = g.input("x", Visibility::Public, batched(&[1 << 19]));
        let w = weight(g, "wide", &[2, 1 << 19]);
        let y = g.named("wide_layer").contract("bi,oi->bo", x, w).unwrap();
        g.output("y", y, Visibility::Public);
    });
    let error = compile(wide, &QuantPlan::default(), &CompileOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("'wide_layer'") && error.contains("weight_bits"),
        "{error}"
    );
}

/// The lookups of a maximum are at distances of indices: where a clamp saturates, those are not the distances of its values.
#[test]
fn a_clamp_that_may_saturate_is_counted_anew_for_a_maximum() {
    let segments = |greatest: i64| {
        let mut module = Module::new("m", Stage::Quantised);
        let mut g: GraphBuilder<'_> = module.entry("main");
        let x = g.input(
            "x",
            Visibility::Public,
            Type::int(1.0, 0, greatest, Shape::new([2i64, 3])),
        );
        let clamp = Table::tabulate(8, 0, |v| v.min(127) as i32).unwrap();
        let falling = Table::tabulate(7, 0, |v| 127 - v as i32).unwrap();
        g.module_mut().tables.insert("clamp".into(), clamp.into());
        g.module_mut().tables.insert("falling".into(), falling.into());
        let requant = Requant {
            shift: 0,
            table: Template::literal("clamp"),
            scale: 1.0,
            partial: false,
        };
        let t = g.named("t").requant(requant, x).unwrap();
        let lookup = MaxDistance {
            table: Template::literal("falling"),
            scale: 1.0,
        };
        let y = g.named("y").max_distance(lookup, t, None).unwrap();
        g.output("y", y, Visibility::Public);
        g.finish();
        let circuit = lower(&module, &LowerOptions::default()).unwrap().circuit;
        mlc_circuit::check::check(&circuit).unwrap();
        let names = circuit.entries[0].segments.iter().map(|s| s.name.clone());
        names.filter(|name| name.ends_with(".in")).count()
    };
    assert_eq!(segments(127), 0);
    assert_eq!(segments(254), 1);
}
