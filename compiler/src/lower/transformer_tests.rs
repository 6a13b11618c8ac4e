//! The parts of transformers: quantised, lowered, and the circuit evaluated against the interpreter, on odd sizes.

use mlc_ir::{Dim, Formula, GraphBuilder, Module, Shape, Stage, Type, ValueId, Visibility};

use super::tests::{checked, linear, weight};

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
    let q = project(g, &format!("{name}.q"), x, d, 2 * group * width);
    let k = project(g, &format!("{name}.k"), x, d, 2 * width);
    let v = project(g, &format!("{name}.v"), x, d, 2 * width);
    let (q, k, v) = (
        heads(g, q, 2 * group, width),
        heads(g, k, 2, width),
        heads(g, v, 2, width),
    );
    let (batch, len) = (Dim::runtime("batch"), Dim::runtime("tokens"));
    let grouped = [batch, Dim::fixed(2), Dim::fixed(group), len, Dim::fixed(width)];
    let q = g.reshape(q, Shape(grouped.to_vec())).unwrap();
    let s = g.contract("bkgtc,bksc->bkgts", q, k).unwrap();
    let scale = g.scalar(1.0 / (width as f32).sqrt()).unwrap();
    let s = g.mul(s, scale).unwrap();
    let p = g.named(format!("{name}.p")).softmax(s, None).unwrap();
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
