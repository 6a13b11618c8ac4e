//! The parts of transformers: quantised, lowered, and the circuit evaluated against the interpreter, on odd sizes.

use mlc_ir::{BinaryOp, Dim, Formula, GraphBuilder, Module, Rope, RopeLayout, Shape, Stage, Type, ValueId, Visibility};

use super::tests::{checked, linear, weight};
use crate::plan::QuantPlan;
use crate::{CompileOptions, compile};

fn tokens(shape: &[i64]) -> Type {
    let lead = [Dim::runtime("batch"), Dim::runtime("tokens")];
    Type::real(Shape(
        lead.into_iter().chain(shape.iter().map(|d| Dim::fixed(*d))).collect(),
    ))
}

fn module(build: impl FnOnce(&mut GraphBuilder<'_>)) -> Module {
    let mut module = Module::new("transformer", Stage::Real);
    module.declare_dim("batch", 1, 3);
    module.declare_dim("tokens", 1, 9);
    let mut g = module.entry("main");
    build(&mut g);
    g.finish();
    module
}

fn project(g: &mut GraphBuilder<'_>, name: &str, x: ValueId, from: i64, to: i64) -> ValueId {
    let w = weight(g, name, &[to, from]);
    g.named(name).contract("bti,oi->bto", x, w).unwrap()
}

fn heads(g: &mut GraphBuilder<'_>, x: ValueId, heads: i64, width: i64) -> ValueId {
    let x = g.reshape(x, tokens(&[heads, width]).shape).unwrap();
    g.transpose(x, &[0, 2, 1, 3]).unwrap()
}

/// Attention with `group` query heads to each of two key heads.
fn attention(g: &mut GraphBuilder<'_>, name: &str, x: ValueId, d: i64, group: i64, width: i64) -> ValueId {
    masked_attention(g, name, x, d, [group, width], None, &|_, x| x)
}

fn masked_attention(
    g: &mut GraphBuilder<'_>,
    name: &str,
    x: ValueId,
    d: i64,
    [group, width]: [i64; 2],
    mask: Option<ValueId>,
    turn: &dyn Fn(&mut GraphBuilder<'_>, ValueId) -> ValueId,
) -> ValueId {
    let q = project(g, &format!("{name}.q"), x, d, 2 * group * width);
    let k = project(g, &format!("{name}.k"), x, d, 2 * width);
    let v = project(g, &format!("{name}.v"), x, d, 2 * width);
    let (q, k, v) = (
        heads(g, q, 2 * group, width),
        heads(g, k, 2, width),
        heads(g, v, 2, width),
    );
    let (q, k) = (turn(g, q), turn(g, k));
    let (batch, len) = (Dim::runtime("batch"), Dim::runtime("tokens"));
    let grouped = [batch, Dim::fixed(2), Dim::fixed(group), len, Dim::fixed(width)];
    let q = g.reshape(q, Shape(grouped.to_vec())).unwrap();
    let s = g.contract("bkgtc,bksc->bkgts", q, k).unwrap();
    let scale = g.scalar(1.0 / (width as f32).sqrt()).unwrap();
    let s = g.mul(s, scale).unwrap();
    let p = g.named(format!("{name}.p")).softmax(s, mask).unwrap();
    let o = g
        .named(format!("{name}.o"))
        .contract("bkgts,bksc->btkgc", p, v)
        .unwrap();
    let o = g.reshape(o, tokens(&[2 * group * width]).shape).unwrap();
    project(g, &format!("{name}.out"), o, 2 * group * width, d)
}

#[test]
fn an_rms_norm_whose_gain_folds_into_what_reads_it() {
    let made = checked(
        module(|g| {
            let x = g.input("x", Visibility::Public, tokens(&[24]));
            let gain = weight(g, "gain", &[24]);
            let h = g.named("norm").rms_norm(1e-5, x, Some(gain)).unwrap();
            let (a, b) = (project(g, "a", h, 24, 7), project(g, "b", h, 24, 7));
            let y = g.mul(a, b).unwrap();
            g.output("y", y, Visibility::Public);
        }),
        1,
        0.05,
    );
    assert!(
        made.weights
            .iter()
            .all(|w| !made.circuit.weights[w.weight].name.starts_with("gain"))
    );
}

#[test]
fn a_layer_norm_with_gain_and_bias_in_the_residual_stream() {
    checked(
        module(|g| {
            let x = g.input("x", Visibility::Public, tokens(&[24]));
            let f = project(g, "f", x, 24, 24);
            let h = g.named("sum").add(x, f).unwrap();
            let (gain, bias) = (weight(g, "gain", &[24]), weight(g, "bias", &[24]));
            let h = g.named("norm").layer_norm(1e-5, h, Some(gain), Some(bias)).unwrap();
            let f = project(g, "g", h, 24, 24);
            let y = g.add(h, f).unwrap();
            g.output("y", y, Visibility::Public);
        }),
        2,
        0.05,
    );
}

#[test]
fn attention_of_grouped_heads() {
    for (seed, group) in [(3, 1), (4, 3)] {
        checked(
            module(|g| {
                let x = g.input("x", Visibility::Public, tokens(&[12]));
                let y = attention(g, "attn", x, 12, group, 5);
                g.output("y", y, Visibility::Public);
            }),
            seed,
            0.06,
        );
    }
}

#[test]
fn blocks_of_a_transformer_with_norms_before() {
    let made = checked(
        module(|g| {
            let mut x = g.input("x", Visibility::Public, tokens(&[12]));
            for l in 0..3 {
                let gain = weight(g, &format!("{l}.gain1"), &[12]);
                let h = g.named(format!("{l}.norm1")).rms_norm(1e-5, x, Some(gain)).unwrap();
                let a = attention(g, &format!("{l}.attn"), h, 12, 2, 3);
                x = g.named(format!("{l}.mid")).add(x, a).unwrap();
                let gain = weight(g, &format!("{l}.gain2"), &[12]);
                let h = g.named(format!("{l}.norm2")).rms_norm(1e-5, x, Some(gain)).unwrap();
                let gate = project(g, &format!("{l}.gate"), h, 12, 20);
                let gate = g
                    .table("silu", Formula::x() / (1.0 + (-Formula::x()).exp()), gate)
                    .unwrap();
                let up = project(g, &format!("{l}.up"), h, 12, 20);
                let h = g.mul(gate, up).unwrap();
                let f = project(g, &format!("{l}.down"), h, 20, 12);
                x = g.named(format!("{l}.out")).add(x, f).unwrap();
            }
            let h = g.named("norm").rms_norm(1e-5, x, None).unwrap();
            let y = project(g, "head", h, 12, 9);
            g.output("y", y, Visibility::Public);
        }),
        5,
        0.1,
    );
    let region = |s: &mlc_circuit::Step| matches!(s, mlc_circuit::Step::Repeat { count: 3, .. });
    assert!(made.circuit.entries[0].steps.iter().any(region), "{}", made.quantised);
}

#[test]
fn blocks_of_a_transformer_with_norms_after() {
    let made = checked(
        module(|g| {
            let mut x = g.input("x", Visibility::Public, tokens(&[12]));
            for l in 0..3 {
                for part in ["attn", "mlp"] {
                    let name = format!("{l}.{part}");
                    let f = if part == "attn" {
                        attention(g, &name, x, 12, 1, 6)
                    } else {
                        let h = project(g, &format!("{name}.up"), x, 12, 20);
                        let gelu = 0.5 * Formula::x() * (1.0 + (Formula::x() / 2f64.sqrt()).erf());
                        let h = g.table("gelu", gelu, h).unwrap();
                        project(g, &format!("{name}.down"), h, 20, 12)
                    };
                    let s = g.named(format!("{name}.sum")).add(x, f).unwrap();
                    let gain = weight(g, &format!("{name}.gain"), &[12]);
                    let bias = weight(g, &format!("{name}.bias"), &[12]);
                    x = g
                        .named(format!("{name}.norm"))
                        .layer_norm(1e-12, s, Some(gain), Some(bias))
                        .unwrap();
                }
            }
            g.output("y", x, Visibility::Public);
        }),
        6,
        0.1,
    );
    let region = |s: &mlc_circuit::Step| matches!(s, mlc_circuit::Step::Repeat { count: 3, .. });
    assert!(made.circuit.entries[0].steps.iter().any(region), "{}", made.quantised);
}

#[test]
fn a_softmax_over_many_positions_is_normalised_before() {
    checked(
        module(|g| {
            let x = g.input(
                "x",
                Visibility::Public,
                Type::real(Shape(vec![Dim::runtime("batch"), Dim::fixed(12)])),
            );
            let s = linear(g, "scores", x, 12, 200);
            let p = g.softmax(s, None).unwrap();
            let v = linear(g, "values", p, 200, 5);
            g.output("y", v, Visibility::Public);
        }),
        7,
        0.1,
    );
}

fn rope(layout: RopeLayout, rotary: u64) -> impl Fn(&mut GraphBuilder<'_>, ValueId) -> ValueId {
    move |g, x| {
        let rope = Rope {
            axis: 2,
            start: Dim::fixed(3),
            rotary,
            layout,
            freq: (Formula::x() * -0.7).exp(),
            scale: 1.0,
            bits: 0,
        };
        g.rope(rope, x).unwrap()
    }
}

#[test]
fn rotary_embeddings_of_both_layouts_in_part_and_whole() {
    for (seed, layout, rotary) in [
        (11, RopeLayout::Half, 6),
        (12, RopeLayout::Half, 4),
        (13, RopeLayout::Interleaved, 6),
        (14, RopeLayout::Interleaved, 2),
    ] {
        let made = checked(
            module(|g| {
                let x = g.input("x", Visibility::Public, tokens(&[10]));
                let y = masked_attention(g, "attn", x, 10, [1, 6], None, &rope(layout, rotary));
                g.output("y", y, Visibility::Public);
            }),
            seed,
            0.06,
        );
        // Queries and keys turn by the same constants.
        assert_eq!(made.circuit.constants.len(), 3);
    }
}

/// The constants of a rotation: cosines and 1, sines with either sign, in units of 2^-12; a position a line.
#[test]
fn constants_of_rotary_embeddings() {
    let mut text = String::new();
    for layout in [RopeLayout::Half, RopeLayout::Interleaved] {
        let mut turned = module(|g| {
            let x = g.input("x", Visibility::Public, tokens(&[2, 6]));
            let x = g.transpose(x, &[0, 2, 1, 3]).unwrap();
            let y = rope(layout, 4)(g, x);
            g.output("y", y, Visibility::Public);
        });
        turned.declare_dim("tokens", 1, 3);
        let made = compile(turned, &QuantPlan::default(), &CompileOptions::default()).unwrap();
        for constant in &made.circuit.constants {
            text += &format!("{layout:?} {}\n", constant.name);
            for row in constant.values.chunks(6) {
                text += &format!("{row:?}\n");
            }
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn causal_masks_windows_and_padding() {
    for (seed, window, padded) in [(21, None, false), (22, Some(3), false), (23, None, true)] {
        checked(
            module(|g| {
                let x = g.input("x", Visibility::Public, tokens(&[10]));
                let len = Dim::runtime("tokens");
                let mut mask = g.causal_mask(len.clone(), len.clone(), 0i64, window).unwrap();
                if padded {
                    let lead = Shape(vec![Dim::runtime("batch"), len.clone()]);
                    let keep = g.input("keep", Visibility::Public, Type::mask(lead));
                    let ones = [Dim::runtime("batch"), Dim::fixed(1), Dim::fixed(1), Dim::fixed(1), len];
                    let keep = g.reshape(keep, Shape(ones.to_vec())).unwrap();
                    mask = g.binary(BinaryOp::And, keep, mask).unwrap();
                }
                let y = masked_attention(g, "attn", x, 10, [2, 3], Some(mask), &|_, x| x);
                g.output("y", y, Visibility::Public);
            }),
            seed,
            0.06,
        );
    }
}

#[test]
fn tokens_positions_and_a_tied_head() {
    let made = checked(
        module(|g| {
            let lead = Shape(vec![Dim::runtime("batch"), Dim::runtime("tokens")]);
            let ids = g.input("ids", Visibility::Public, Type::index(23, lead));
            let rows = weight(g, "rows", &[23, 12]);
            let places = weight(g, "places", &[16, 12]);
            let x = g.embedding(rows, ids).unwrap();
            let at = g.iota(Dim::runtime("tokens"), 2i64, 16).unwrap();
            let at = g.embedding(places, at).unwrap();
            let x = g.add(x, at).unwrap();
            let mask = g
                .causal_mask(Dim::runtime("tokens"), Dim::runtime("tokens"), 0i64, None)
                .unwrap();
            let gain = weight(g, "gain", &[12]);
            let h = g.named("norm").rms_norm(1e-5, x, Some(gain)).unwrap();
            let f = masked_attention(g, "attn", h, 12, [2, 4], Some(mask), &rope(RopeLayout::Half, 4));
            let x = g.named("stream").add(x, f).unwrap();
            let h = g.named("last").rms_norm(1e-5, x, None).unwrap();
            let y = g.named("logits").contract("bti,vi->btv", h, rows).unwrap();
            g.output("y", y, Visibility::Public);
        }),
        31,
        0.06,
    );
    let rows = made.circuit.weights.iter().filter(|w| w.name.starts_with("rows"));
    assert_eq!(rows.count(), 1, "{}", made.quantised);
}

fn refused(module: Module) -> String {
    compile(module, &QuantPlan::default(), &CompileOptions::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn what_has_no_circuit_is_refused_with_what_to_do() {
    let state = module(|g| {
        let x = g.input("x", Visibility::Public, tokens(&[4]));
        let shape = Shape(vec![Dim::runtime("batch"), Dim::runtime("past"), Dim::fixed(4)]);
        g.module_mut().declare_dim("past", 0, 8);
        g.declare_state("cache", Type::real(shape), 1, Visibility::Private);
        let y = g.state_append("cache", x).unwrap();
        g.output("y", y, Visibility::Public);
    });
    let error = refused(state);
    assert!(
        error.contains("what is appended to a state") || error.contains("before tokens"),
        "{error}"
    );

    let private = module(|g| {
        let lead = Shape(vec![Dim::runtime("batch"), Dim::runtime("tokens")]);
        let ids = g.input("ids", Visibility::Private, Type::index(23, lead));
        let rows = weight(g, "rows", &[23, 4]);
        let y = g.embedding(rows, ids).unwrap();
        g.output("y", y, Visibility::Public);
    });
    let error = refused(private);
    assert!(error.contains("'ids'") && error.contains("public"), "{error}");

    let choice = module(|g| {
        let x = g.input("x", Visibility::Public, tokens(&[4]));
        let y = g.input("y", Visibility::Public, tokens(&[4]));
        let keep = g.input("keep", Visibility::Public, Type::mask(tokens(&[4]).shape));
        let z = g.choose(keep, x, y).unwrap();
        g.output("z", z, Visibility::Public);
    });
    let error = refused(choice);
    assert!(error.contains("where") && error.contains("mask"), "{error}");
}

#[test]
fn annotated_bits_and_clamps_are_honoured() {
    let model = || {
        module(|g| {
            let x = g.input("x", Visibility::Public, tokens(&[6]));
            let h = project(g, "fc", x, 6, 6);
            let h = g.named("act").table("tanh", Formula::x().tanh(), h).unwrap();
            let y = project(g, "head", h, 6, 3);
            g.output("y", y, Visibility::Public);
        })
    };
    let mut plan = QuantPlan::default();
    plan.asked.value_bits.insert("main.act".into(), 12);
    plan.asked.weight_bits.insert("fc".into(), 5);
    plan.asked.clamp.insert("main.x".into());
    let made = compile(model(), &plan, &CompileOptions::default()).unwrap();
    let entry = &made.quantised.entries["main"];
    let act = entry.ty(entry.find("act").unwrap()).elem.int().unwrap();
    assert_eq!(act.max_abs(), 2047);
    let bits = |name: &str| made.circuit.weights.iter().find(|w| w.name == name).map(|w| w.bits);
    assert_eq!((bits("fc"), bits("head")), (Some(5), Some(8)));
    assert!(made.circuit.entries[0].inputs[0].clamp);
}
