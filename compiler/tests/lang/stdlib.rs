//! The standard library: every block compiles, and activations have their known values.

use crate::common::{check_text, rendered};
use mlc_compiler::check::STDLIB;
use mlc_compiler::syntax::{FileId, ast::ItemKind, parse};
use mlc_compiler::{CheckResult, Config};
use mlc_ir::Op;

/// A model of one entry around an expression, with imports of all that the library declares.
fn model(inputs: &str, output: &str, value: &str) -> CheckResult {
    let mut text = String::new();
    for (module, source) in STDLIB {
        let names: Vec<String> = parse(FileId(0), source)
            .0
            .items
            .iter()
            .filter_map(|item| match &item.kind {
                ItemKind::Callable(c) => Some(c.name.text.clone()),
                ItemKind::Table(t) => Some(t.name.text.clone()),
                _ => None,
            })
            .collect();
        text += &format!("import std.{module}.{{{}}}\n", names.join(", "));
    }
    text += &format!(
        "model M {{\n    dim n: runtime max 8\n    dim past: runtime min 0 max 8\n    \
         entry main({inputs}) -> (y: {output}) {{\n        {value}\n    }}\n}}\n"
    );
    check_text(&text, &Config::default())
}

#[test]
fn every_block_compiles() {
    let cases = [
        ("x: real[n, 6]", "real[n, 4]", "linear_transposed(x, 4, \"c\")"),
        ("x: real[n, 6]", "real[n, 4]", "linear(x, 4, \"c\", bias = false)"),
        (
            "x: real[n, 2, 9, 9]",
            "real[n, 4, 4, 4]",
            "conv(x, 4, \"c\", stride = 2, groups = 2, bias = false)",
        ),
        (
            "x: real[n, 2, 9, 9]",
            "real[n, 2, 1, 1]",
            "global_avg_pool2d(batch_norm(x, \"bn\"))",
        ),
        (
            "x: real[2, n, 6]",
            "real[2, n, 6]",
            "rms_norm(layer_norm(layer_norm(x, \"a\"), \"b\", bias = false), \"c\")",
        ),
        (
            "t: index(9)[2, n]",
            "real[2, n, 6]",
            "embedding(t, 9, 6, \"w\") + position_embedding(n, 6, 8, \"p\")",
        ),
        (
            "t: index(2)[2, n]",
            "real[2, n, 6]",
            "segment_embedding(t, 2, 6, \"s\") + first_segment(6, 2, \"s\")",
        ),
        (
            "x: real[2, n, 6]",
            "real[2, 6]",
            "unit(cls_pooling(x)) + mean_pooling(x)",
        ),
        (
            "x: real[2, n, 6], keep: real[2, n]",
            "real[2, 6]",
            "masked_mean_pooling(x, keep)",
        ),
        ("x: real[2, n, 6]", "real[2, n, 9]", "lm_head(x, 9, \"w\")"),
        (
            "x: real[n, 6]",
            "real[n, 6]",
            "feed_forward(x, 24, \"up\", \"down\", act = gelu_tanh)",
        ),
        ("x: real[n, 6]", "real[n, 6]", "gated_feed_forward(x, 24, \"mlp\")"),
        (
            "x: real[2, n, 8]",
            "real[2, n, 8]",
            "self_attention(x, 2, \"q\", \"k\", \"v\", \"o\")",
        ),
        (
            "x: real[1, n, 8]",
            "real[1, n, 8]",
            "gqa(x, 4, 2, past, \"a\", window = 4, qk_norm = true)",
        ),
        (
            "x: real[2, n, 8]",
            "real[2, n, 8]",
            "rotary(x, freq = rotary_frequency_linear(width = 8, factor = 2.0))",
        ),
        (
            "x: real[2, n, 8]",
            "real[2, n, 8]",
            "rotary(x, freq = rotary_frequency_llama3(theta = 500000.0, width = 8, factor = 8.0), layout = \"interleaved\")",
        ),
        (
            "x: real[1, n, 8]",
            "real[1, n, 8]",
            "transformer_block(x, 4, 1, 16, past, \"b\", attention_bias = true, act = gelu)",
        ),
    ];
    for (inputs, output, value) in cases {
        let result = model(inputs, output, value);
        assert!(result.diagnostics.is_empty(), "{value}:\n{}", rendered(&result));
        let errors = mlc_ir::verify::verify(&result.module.unwrap()).err();
        assert!(errors.is_none(), "{value}: {errors:?}");
    }
}

/// The value at `x` of the one table of a model.
fn table_at(function: &str, x: f64) -> f64 {
    let result = model("x: real[n]", "real[n]", &format!("{function}(x)"));
    assert!(result.diagnostics.is_empty(), "{function}:\n{}", rendered(&result));
    let module = result.module.unwrap();
    let nodes = module.entries["main"].all_nodes();
    let formula = nodes.iter().find_map(|n| {
        if let Op::Table { formula, .. } = &n.op {
            Some(formula)
        } else {
            None
        }
    });
    formula.unwrap().eval(x)
}

#[test]
fn activations_have_the_values_of_pytorch() {
    // torch.nn.functional at -1.5 and 0.7, in float64.
    let known = [
        ("relu", 0.0, 0.7),
        ("relu6", 0.0, 0.7),
        ("leaky_relu", -0.015, 0.7),
        ("elu", -0.776_869_839_851_570_2, 0.7),
        ("sigmoid", 0.182_425_523_806_356_4, 0.668_187_772_168_166),
        ("hard_sigmoid", 0.25, 0.616_666_666_666_666_6),
        ("softplus", 0.201_413_277_982_752_8, 1.103_186_048_885_458),
        ("silu", -0.273_638_285_709_534_6, 0.467_731_440_517_716_3),
        ("hard_swish", -0.375, 0.431_666_666_666_666_6),
        ("softsign", -0.6, 0.411_764_705_882_352_9),
        ("gelu", -0.100_210_801_690_998_6, 0.530_625_344_355_263_2),
        ("tanh", -0.905_148_253_644_866_4, 0.604_367_777_117_163_5),
        ("exp", 0.223_130_160_148_429_8, 2.013_752_707_470_476_6),
        ("identity", -1.5, 0.7),
    ];
    for (name, low, high) in known {
        for (x, wanted) in [(-1.5, low), (0.7, high)] {
            let found = table_at(name, x);
            assert!((found - wanted).abs() < 1e-6, "{name}({x}) is {found}, not {wanted}");
        }
    }
    // Approximations of gelu, and what saturates.
    assert!((table_at("gelu_tanh", 0.7) - table_at("gelu", 0.7)).abs() < 1e-3);
    assert!((table_at("gelu_quick", 0.7) - table_at("gelu", 0.7)).abs() < 2e-2);
    assert!((table_at("mish", 0.7) - 0.7 * f64::tanh(f64::ln(1.0 + f64::exp(0.7)))).abs() < 1e-12);
    assert!((table_at("selu", -30.0) + 1.758_099_340_847_376).abs() < 1e-9);
    assert!((table_at("softplus", 80.0) - 80.0).abs() < 1e-12);
}
