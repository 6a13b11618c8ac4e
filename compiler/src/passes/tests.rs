//! Every pass keeps what a module computes, on random modules; what it makes of small ones is pinned as text.

use std::collections::BTreeMap;

use mlc_ir::{Data, Elem, Inputs, Module, RecipeError, Stage, TensorF32, WeightSource, random, run};
use proptest::prelude::*;

use super::PassError;
use crate::pipeline;
use crate::plan::QuantPlan;

pub(crate) struct Weights(pub(crate) BTreeMap<String, TensorF32>);

impl WeightSource for Weights {
    fn get(&self, name: &str) -> Result<TensorF32, RecipeError> {
        let tensor = self.0.get(name).cloned();
        tensor.ok_or_else(|| RecipeError::Missing(name.to_owned()))
    }

    fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Runs `passes` on the random module of a seed and compares all outputs, to a relative error of `tolerance`.
fn preserves(stage: Stage, seed: u64, passes: &[&str], tolerance: f64) -> Result<(), TestCaseError> {
    let before = random::module(stage, seed);
    let weights = Weights(random::weights(&before, seed));
    kept(&before, &weights, &random::inputs(&before, seed), passes, tolerance)
}

/// Runs `passes` on a module and compares all outputs, to a relative error of `tolerance`.
pub(crate) fn kept(
    before: &Module,
    weights: &Weights,
    inputs: &Inputs,
    passes: &[&str],
    tolerance: f64,
) -> Result<(), TestCaseError> {
    let after = pipeline::run(before.clone(), passes, &QuantPlan::default(), &mut |_, _| {});
    let after = match after {
        // A value that a circuit cannot commit: nothing is computed otherwise.
        Err(PassError::Unsupported { why, .. }) => return Err(TestCaseError::reject(why)),
        after => after.map_err(|e| TestCaseError::fail(format!("{e}\n{before}")))?,
    };
    prop_assert!(mlc_ir::verify::verify(&after).is_ok());
    let outputs = |module: &Module| {
        run(module, "main", weights, inputs).map_err(|e| TestCaseError::fail(format!("{e}\n{module}\nfrom\n{before}")))
    };
    let (expected, found) = (outputs(before)?, outputs(&after)?);
    prop_assert!(
        agree(&expected.values, &found.values, tolerance),
        "{expected:?}\n{found:?}\n{before}\n{after}"
    );
    prop_assert!(expected.states.len() == found.states.len());
    Ok(())
}

/// Weights and inputs of the sizes that models have: weights within 1 over the root of what is summed, inputs within ±1,
/// masks that keep the first position of every row. `recipes` is the module whose weights name the tensors.
pub(crate) fn samples(module: &Module, recipes: &Module, seed: u64) -> (Weights, Inputs) {
    let mut weights = Weights(random::weights(recipes, seed));
    for tensor in weights.0.values_mut() {
        let fan: usize = tensor.shape.iter().skip(1).product();
        let scale = 1.0 / (fan as f32).sqrt();
        let tame = |v: &mut f32| *v = v.rem_euclid(2.0).mul_add(scale, -scale);
        tensor.data.iter_mut().for_each(tame);
    }
    let mut inputs = random::inputs(module, seed);
    let source = &module.entries["main"];
    for (port, id) in source.inputs.iter().zip(&source.body.params) {
        match inputs.values.get_mut(&port.name).unwrap() {
            Data::Real(tensor) => tensor.data.iter_mut().for_each(|v| *v = v.rem_euclid(2.0) - 1.0),
            Data::Ints(mask) if source.ty(*id).elem == Elem::Mask => {
                let width = *mask.shape.last().unwrap();
                mask.data.iter_mut().step_by(width).for_each(|bit| *bit = 1);
            }
            Data::Ints(_) => {}
        }
    }
    (weights, inputs)
}

fn agree(a: &BTreeMap<String, Data>, b: &BTreeMap<String, Data>, tolerance: f64) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|((_, x), (_, y))| match (x, y) {
            (Data::Real(x), Data::Real(y)) => {
                let scale = x
                    .data
                    .iter()
                    .filter(|v| v.is_finite())
                    .fold(1f32, |m, v| m.max(v.abs()));
                x.shape == y.shape
                    && x.data.iter().zip(&y.data).all(|(p, q)| {
                        p == q || !p.is_finite() || f64::from((p - q).abs()) <= tolerance * f64::from(scale)
                    })
            }
            (x, y) => x == y,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn canonicalise_changes_no_bit(seed: u64) {
        preserves(Stage::Real, seed, &["canonicalise"], 0.0)?;
        preserves(Stage::Quantised, seed, &["canonicalise"], 0.0)?;
    }

    #[test]
    fn cse_and_dce_change_no_bit(seed: u64) {
        preserves(Stage::Real, seed, &["cse", "dce"], 0.0)?;
        preserves(Stage::Quantised, seed, &["cse", "dce"], 0.0)?;
    }

    #[test]
    fn layering_changes_no_bit(seed: u64) {
        preserves(Stage::Real, seed, &["layering"], 0.0)?;
        preserves(Stage::Quantised, seed, &["layering"], 0.0)?;
    }

    #[test]
    fn constant_folding_changes_rounding_only(seed: u64) {
        preserves(Stage::Real, seed, &["constant-fold"], 1e-4)?;
    }

    #[test]
    fn norm_folding_changes_rounding_only(seed: u64) {
        preserves(Stage::Real, seed, &["canonicalise", "fold-norm"], 1e-3)?;
    }

    #[test]
    fn finding_norms_changes_rounding_only(seed: u64) {
        preserves(Stage::Real, seed, &["find-norm"], 1e-3)?;
    }

    #[test]
    fn lookup_fusion_changes_rounding_only(seed: u64) {
        preserves(Stage::Real, seed, &["lookup-fuse"], 1e-3)?;
    }

    #[test]
    fn block_detection_changes_no_bit(seed: u64) {
        preserves(Stage::Real, seed, &["block-detect"], 0.0)?;
    }

    #[test]
    fn range_analysis_changes_no_bit(seed: u64) {
        preserves(Stage::Quantised, seed, &["range-analysis"], 0.0)?;
    }

    #[test]
    fn commitment_placement_changes_no_bit(seed: u64) {
        preserves(Stage::Quantised, seed, &["commitment-placement"], 0.0)?;
    }
}

/// A module from text.
fn module(text: &str) -> Module {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

/// The text before, the passes, the text after.
pub(super) fn snapshot(text: &str, passes: &[&str]) -> String {
    let after = pipeline::run(module(text), passes, &QuantPlan::default(), &mut |_, _| {});
    after.unwrap_or_else(|e| panic!("{e}")).to_string()
}

/// One model that has something for every pass.
const CNN: &str = r#"module "cnn" real

dim batch: 1..8

weight @conv: real[4, 1, 3, 3] committed = tensor("conv.weight", [4, 1, 3, 3])
weight @bias: real[4] committed = tensor("conv.bias", [4])
weight @gamma: real[4] committed = tensor("bn.weight", [4])
weight @beta: real[4] committed = tensor("bn.bias", [4])
weight @mean: real[4] committed = tensor("bn.running_mean", [4])
weight @var: real[4] committed = tensor("bn.running_var", [4])
weight @fc: real[10, 36] committed = tensor("fc.weight", [10, 36])

entry "main" {
  input %image: real[batch, 1, 8, 8] public "image"
  %conv: real[4, 1, 3, 3] = weight() {name = @conv}
  %c: real[batch, 4, 6, 6] = conv2d(%image, %conv) {dilation = [1, 1], groups = 1, pad = [0, 0, 0, 0], stride = [1, 1]}
  %unused: real[batch, 4, 6, 6] = add(%c, %c)
  %bias: real[4] = weight() {name = @bias}
  %shaped: real[4, 1, 1] = reshape(%bias) {shape = [4, 1, 1]}
  %b: real[batch, 4, 6, 6] = add(%shaped, %c)
  %gamma: real[4] = weight() {name = @gamma}
  %beta: real[4] = weight() {name = @beta}
  %mean: real[4] = weight() {name = @mean}
  %var: real[4] = weight() {name = @var}
  %n: real[batch, 4, 6, 6] = batch_norm(%b, %gamma, %beta, %mean, %var) {eps = 0x1p-10}
  %p: real[batch, 4, 3, 3] = pool(%n) {count_include_pad = false, kind = max, pad = [0, 0, 0, 0], stride = [2, 2], window = [2, 2]}
  %flat: real[batch, 36] = reshape(%p) {shape = [batch, 36]}
  %zero: real[] = const() {value = f32[]{0x0p0}}
  %r: real[batch, 36] = max(%flat, %zero)
  %fc: real[10, 36] = weight() {name = @fc}
  %logits: real[batch, 10] = contract(%r, %fc) {einsum = "bi,oi->bo"}
  output %logits public "logits"
}
"#;

#[test]
fn snapshots_of_the_real_stage() {
    insta::assert_snapshot!("canonicalise", snapshot(CNN, &["canonicalise"]));
    insta::assert_snapshot!("constant_fold", snapshot(CNN, &["constant-fold"]));
    insta::assert_snapshot!("cse", snapshot(DUPLICATES, &["cse"]));
    insta::assert_snapshot!("dce", snapshot(CNN, &["dce"]));
    insta::assert_snapshot!(
        "fold_norm",
        snapshot(CNN, &["canonicalise", "constant-fold", "dce", "fold-norm"])
    );
    insta::assert_snapshot!("expand_norm", snapshot(DECODER, &["expand-norm"]));
    insta::assert_snapshot!("lookup_fuse", snapshot(CNN, &["dce", "lookup-fuse"]));
    insta::assert_snapshot!("block_detect", snapshot(BLOCKS, &["block-detect"]));
    insta::assert_snapshot!("prepare", snapshot(CNN, pipeline::PREPARE));
}

/// GELU by erf and by tanh, and SiLU, as exporters write them; a gate, whose operands are functions of two values; a square.
const ACTIVATIONS: &str = r#"module "activations" real

entry "main" {
  input %x: real[2, 4] public "x"
  input %y: real[2, 4] public "y"
  %root2: real[] = const() {value = f32[]{0x1.6a09e6p0}}
  %one: real[] = const() {value = f32[]{0x1p0}}
  %half: real[] = const() {value = f32[]{0x1p-1}}
  %scaled: real[2, 4] = div(%x, %root2)
  %erf: real[2, 4] = table(%scaled) {name = "erf", formula = fn erf(x)}
  %shifted: real[2, 4] = add(%erf, %one)
  %product: real[2, 4] = mul(%x, %shifted)
  %gelu: real[2, 4] = mul(%product, %half)
  %cube: real[2, 4] = table(%y) {name = "pow", formula = fn pow(x, 0x1.8p1)}
  %inner: real[2, 4] = add(%y, %cube)
  %tanh: real[2, 4] = table(%inner) {name = "tanh", formula = fn tanh(x)}
  %above: real[2, 4] = add(%tanh, %one)
  %gelu_tanh: real[2, 4] = mul(%y, %above)
  %sigmoid: real[2, 4] = table(%gelu) {name = "sigmoid", formula = fn div(0x1p0, add(0x1p0, exp(neg(x))))}
  %gate: real[2, 4] = mul(%sigmoid, %gelu_tanh)
  %square: real[2, 4] = mul(%gate, %gate)
  output %square public "out"
}
"#;

#[test]
fn activations_of_several_operations_become_one_function() {
    insta::assert_snapshot!(
        "lookup_fuse_activations",
        snapshot(ACTIVATIONS, &["dce", "lookup-fuse"])
    );
}

/// A LayerNorm of seven operations with its gain, an RMSNorm by a reciprocal root, and what only looks like one: a mean of
/// the squares of something else.
const NORMS: &str = r#"module "norms" real

weight @gain: real[4] committed = tensor("gain", [4])

entry "main" {
  input %x: real[2, 4] public "x"
  input %y: real[2, 4] public "y"
  %eps: real[] = const() {value = f32[]{0x1p-10}}
  %mean: real[2, 1] = reduce(%x) {kind = mean, axes = [1], keepdims = true}
  %c: real[2, 4] = sub(%x, %mean)
  %squares: real[2, 4] = table(%c) {name = "pow", formula = fn pow(x, 0x1p1)}
  %variance: real[2, 1] = reduce(%squares) {kind = mean, axes = [1], keepdims = true}
  %sum: real[2, 1] = add(%variance, %eps)
  %root: real[2, 1] = table(%sum) {name = "sqrt", formula = fn sqrt(x)}
  %normal: real[2, 4] = div(%c, %root)
  %gain: real[4] = weight() {name = @gain}
  %layer: real[2, 4] = mul(%normal, %gain)
  %own: real[2, 4] = mul(%y, %y)
  %rows: real[2] = reduce(%own) {kind = mean, axes = [1], keepdims = false}
  %column: real[2, 1] = reshape(%rows) {shape = [2, 1]}
  %inverse: real[2, 1] = table(%column) {name = "rsqrt", formula = fn div(0x1p0, sqrt(add(x, 0x1p-20)))}
  %rms: real[2, 4] = mul(%inverse, %y)
  %other: real[2, 4] = div(%y, %root)
  %all: real[2, 4] = add(%layer, %rms)
  %out: real[2, 4] = add(%all, %other)
  output %out public "out"
}
"#;

#[test]
fn norms_of_several_operations_become_one() {
    insta::assert_snapshot!("find_norm", snapshot(NORMS, &["find-norm"]));
}

/// Four heads of queries over two of keys and values, which are repeated.
const GROUPS: &str = r#"module "m" real

entry "main" {
  input %q: real[1, 4, 5, 3] public "q"
  input %k: real[1, 2, 5, 3] public "k"
  input %v: real[1, 2, 5, 3] public "v"
  %k1: real[1, 2, 1, 5, 3] = reshape(%k) {shape = [1, 2, 1, 5, 3]}
  %k2: real[1, 2, 2, 5, 3] = broadcast(%k1) {shape = [1, 2, 2, 5, 3]}
  %k3: real[1, 4, 5, 3] = reshape(%k2) {shape = [1, 4, 5, 3]}
  %k4: real[1, 4, 3, 5] = transpose(%k3) {perm = [0, 1, 3, 2]}
  %s: real[1, 4, 5, 5] = contract(%q, %k4) {einsum = "abik,abko->abio"}
  %v1: real[1, 2, 1, 5, 3] = reshape(%v) {shape = [1, 2, 1, 5, 3]}
  %v2: real[1, 2, 2, 5, 3] = broadcast(%v1) {shape = [1, 2, 2, 5, 3]}
  %v3: real[1, 4, 5, 3] = reshape(%v2) {shape = [1, 4, 5, 3]}
  %y: real[1, 4, 5, 3] = contract(%s, %v3) {einsum = "abik,abko->abio"}
  output %y public "y"
}
"#;

#[test]
fn repeated_heads_are_read_once() {
    insta::assert_snapshot!("find_groups", snapshot(GROUPS, &["find-groups"]));
    let module: Module = GROUPS.parse().unwrap();
    let inputs = random::inputs(&module, 7);
    kept(&module, &Weights(BTreeMap::new()), &inputs, &["find-groups"], 1e-9).unwrap();
}

#[test]
fn snapshots_of_the_quantised_stage() {
    let tables_last = |text: String| {
        let lines = text.lines().filter(|l| !l.starts_with("table"));
        lines.map(|l| format!("{l}\n")).collect::<String>()
    };
    let quantised = |passes: &[&str]| tables_last(snapshot(BLOCKS, passes));
    insta::assert_snapshot!("quantise", quantised(&["block-detect", "quantise"]));
    insta::assert_snapshot!(
        "range_analysis",
        quantised(&["block-detect", "quantise", "range-analysis"])
    );
    insta::assert_snapshot!(
        "commitment_placement",
        tables_last(snapshot(PRODUCTS, &["commitment-placement"]))
    );
    let all: Vec<&str> = pipeline::PREPARE.iter().chain(pipeline::QUANTISE).copied().collect();
    insta::assert_snapshot!("quantise_decoder", tables_last(snapshot(DECODER, &all)));
    insta::assert_snapshot!("layering", snapshot(BRANCHES, &["layering"]));
}

const DUPLICATES: &str = r#"module "m" real

weight @w: real[2, 2] committed = tensor("w", [2, 2])

entry "main" {
  input %x: real[2, 2] public "x"
  %a: real[2, 2] = weight() {name = @w}
  %b: real[2, 2] = weight() {name = @w}
  %p: real[2, 2] = contract(%x, %a) {einsum = "bi,oi->bo"}
  %q: real[2, 2] = contract(%x, %b) {einsum = "bi,oi->bo"}
  %y: real[2, 2] = add(%p, %q)
  output %y public "y"
}
"#;

const BLOCKS: &str = r#"module "m" real

weight @w0: real[2, 2] committed = tensor("blocks.0.w", [2, 2])
weight @w1: real[2, 2] committed = tensor("blocks.1.w", [2, 2])
weight @w2: real[2, 2] committed = tensor("blocks.2.w", [2, 2])

entry "main" {
  input %x: real[3, 2] public "x"
  %a0: real[2, 2] = weight() {name = @w0}
  %p0: real[3, 2] = contract(%x, %a0) {einsum = "bi,oi->bo"}
  %h0: real[3, 2] = add(%x, %p0)
  %a1: real[2, 2] = weight() {name = @w1}
  %p1: real[3, 2] = contract(%h0, %a1) {einsum = "bi,oi->bo"}
  %h1: real[3, 2] = add(%h0, %p1)
  %a2: real[2, 2] = weight() {name = @w2}
  %p2: real[3, 2] = contract(%h1, %a2) {einsum = "bi,oi->bo"}
  %h2: real[3, 2] = add(%h1, %p2)
  output %h2 public "y"
}
"#;

/// Tokens, a norm whose gain folds, rotary embedding, masked attention, a norm with gain and bias, a tied head.
const DECODER: &str = r#"module "m" real

dim tokens: 1..8

weight @rows: real[10, 4] committed = tensor("rows", [10, 4])
weight @gain: real[4] committed = tensor("gain", [4])
weight @bias: real[4] committed = tensor("bias", [4])
weight @q: real[4, 4] committed = tensor("q", [4, 4])
weight @k: real[4, 4] committed = tensor("k", [4, 4])

entry "main" {
  input %ids: index<10>[tokens] public "ids"
  %rows: real[10, 4] = weight() {name = @rows}
  %gain: real[4] = weight() {name = @gain}
  %bias: real[4] = weight() {name = @bias}
  %wq: real[4, 4] = weight() {name = @q}
  %wk: real[4, 4] = weight() {name = @k}
  %x: real[tokens, 4] = embedding(%rows, %ids)
  %h: real[tokens, 4] = rms_norm(%x, %gain) {eps = 0x1p-20}
  %q: real[tokens, 4] = contract(%h, %wq) {einsum = "ti,oi->to"}
  %k: real[tokens, 4] = contract(%h, %wk) {einsum = "ti,oi->to"}
  %qr: real[tokens, 4] = rope(%q) {axis = 0, start = 0, rotary = 4, layout = half, freq = fn exp(neg(x)), scale = 0x1p0, bits = 0}
  %s: real[tokens, tokens] = contract(%qr, %k) {einsum = "tc,sc->ts"}
  %seen: mask[tokens, tokens] = causal_mask() {rows = tokens, cols = tokens, offset = 0}
  %p: real[tokens, tokens] = softmax(%s, %seen)
  %o: real[tokens, 4] = contract(%p, %k) {einsum = "ts,sc->tc"}
  %y: real[tokens, 4] = add(%x, %o)
  %n: real[tokens, 4] = layer_norm(%y, %gain, %bias) {eps = 0x1p-20}
  %z: real[tokens, 4] = add(%n, %x)
  %logits: real[tokens, 10] = contract(%z, %rows) {einsum = "ti,vi->tv"}
  output %logits public "logits"
}
"#;

/// A product of products: the inner one is committed.
const PRODUCTS: &str = r#"module "m" quantised

entry "main" {
  input %x: int<0x1p0, -7, 7>[3] public "x"
  %square: int<0x1p0, -49, 49>[3] = mul(%x, %x)
  %dot: int<0x1p0, -1029, 1029>[] = contract(%square, %x) {einsum = "i,i->"}
  output %dot public "y"
}
"#;

/// Two branches, listed one after the other.
const BRANCHES: &str = r#"module "m" quantised

entry "main" {
  input %x: int<0x1p0, -7, 7>[3, 4] public "x"
  %a: int<0x1p0, -7, 7>[3, 1] = reduce(%x) {axes = [1], keepdims = true, kind = max}
  %b: int<0x1p0, -14, 14>[3, 4] = sub(%a, %x)
  %c: int<0x1p0, -14, 14>[3, 1] = reduce(%b) {axes = [1], keepdims = true, kind = max}
  %d: int<0x1p0, -14, 14>[3, 4] = add(%x, %x)
  %e: int<0x1p0, -28, 28>[3, 4] = sub(%d, %c)
  output %e public "y"
}
"#;
