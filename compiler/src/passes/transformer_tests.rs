//! Passes on decoders: random ones keep what they compute, and what single steps make of small ones is pinned as text.

use mlc_ir::random::Rng;
use mlc_ir::{
    BinaryOp, Dim, Formula, GraphBuilder, Module, Recipe, Rope, RopeLayout, Shape, Stage, Type, ValueId, Visibility,
    Weight,
};
use proptest::prelude::*;

use super::tests::{kept, samples, snapshot};
use crate::pipeline::{self, PREPARE, QUANTISE};
use crate::plan::QuantPlan;

const VOCABULARY: i64 = 7;
const HEADS: i64 = 2;

/// What is the same in all blocks of a decoder.
struct Style {
    /// Width of a head.
    head: i64,
    /// Layer norms; else norms by the root of the mean square.
    centred: bool,
    gain: bool,
    bias: bool,
    rope: Option<Rope>,
    window: Option<u64>,
    /// Whether a mask that is an input hides positions, too.
    padded: bool,
}

impl Style {
    fn draw(rng: &mut Rng) -> Self {
        let mut one_of = |n: u64| rng.below(n) as i64;
        let head = 4 * (1 + one_of(2));
        let layout = [RopeLayout::Half, RopeLayout::Interleaved][one_of(2) as usize];
        let rope = Rope {
            axis: 1,
            start: Dim::fixed(one_of(3)),
            rotary: (head - 2 * one_of(2)) as u64,
            layout,
            freq: (Formula::x() * -0.7).exp(),
            scale: 1.0,
            bits: 0,
        };
        let padded = one_of(3) == 0;
        Style {
            head,
            centred: one_of(2) == 0,
            gain: one_of(3) > 0,
            bias: one_of(3) > 0,
            rope: (one_of(3) > 0).then_some(rope),
            // A window and padding could hide a row altogether.
            window: (one_of(2) == 0 && !padded).then(|| 1 + one_of(3) as u64),
            padded,
        }
    }

    fn width(&self) -> i64 {
        HEADS * self.head
    }

    fn norm(&self, g: &mut GraphBuilder<'_>, name: &str, x: ValueId) -> ValueId {
        let width = self.width();
        let gain = self.gain.then(|| weight(g, &format!("{name}.gain"), &[width]));
        if !self.centred {
            return g.named(name).rms_norm(1e-3, x, gain).unwrap();
        }
        let bias = (self.gain && self.bias).then(|| weight(g, &format!("{name}.bias"), &[width]));
        g.named(name).layer_norm(1e-3, x, gain, bias).unwrap()
    }

    fn turned(&self, g: &mut GraphBuilder<'_>, x: ValueId) -> ValueId {
        match &self.rope {
            Some(rope) => g.rope(rope.clone(), x).unwrap(),
            None => x,
        }
    }

    fn attention(&self, g: &mut GraphBuilder<'_>, name: &str, x: ValueId, mask: ValueId) -> ValueId {
        let width = self.width();
        let mut part = |part: &str| {
            let name = format!("{name}.{part}");
            let w = weight(g, &name, &[width, width]);
            let mut y = g.named(name.clone()).contract("ti,oi->to", x, w).unwrap();
            if self.bias {
                let b = weight(g, &format!("{name}.bias"), &[width]);
                y = g.add(y, b).unwrap();
            }
            let split = [Dim::runtime("tokens"), Dim::fixed(HEADS), Dim::fixed(self.head)];
            let y = g.reshape(y, Shape(split.to_vec())).unwrap();
            g.transpose(y, &[1, 0, 2]).unwrap()
        };
        let (q, k, v) = (part("q"), part("k"), part("v"));
        let (q, k) = (self.turned(g, q), self.turned(g, k));
        let s = g.contract("htc,hsc->hts", q, k).unwrap();
        let scale = g.scalar(1.0 / (self.head as f32).sqrt()).unwrap();
        let s = g.mul(s, scale).unwrap();
        let p = g.named(format!("{name}.p")).softmax(s, Some(mask)).unwrap();
        let o = g.named(format!("{name}.o")).contract("hts,hsc->thc", p, v).unwrap();
        let o = g
            .reshape(o, Shape(vec![Dim::runtime("tokens"), Dim::fixed(width)]))
            .unwrap();
        let w = weight(g, &format!("{name}.out"), &[width, width]);
        g.named(format!("{name}.out")).contract("ti,oi->to", o, w).unwrap()
    }
}

fn weight(g: &mut GraphBuilder<'_>, name: &str, shape: &[i64]) -> ValueId {
    let recipe = Recipe::tensor(name, shape.iter().map(|d| *d as u64)).unwrap();
    let weight = Weight::real(Shape::new(shape.iter().copied()), recipe);
    g.weight(name, weight).unwrap()
}

/// A decoder over tokens, all of which follows from a seed: norms of both kinds, with gains and biases or without; rotary
/// embeddings of both layouts, of a part or the whole; causal masks, with a window or padding; a head that is tied or not.
pub(super) fn decoder(seed: u64, blocks: u64) -> Module {
    let rng = &mut Rng::new(seed);
    let style = Style::draw(rng);
    let mut module = Module::new("decoder", Stage::Real);
    module.declare_dim("tokens", 1, 5);
    let mut g = module.entry("main");
    let tokens = || Dim::runtime("tokens");
    let ids = Type::index(VOCABULARY as u64, Shape(vec![tokens()]));
    let ids = g.input("ids", Visibility::Public, ids);
    let mut mask = g.causal_mask(tokens(), tokens(), 0i64, style.window).unwrap();
    if style.padded {
        let keep = g.input("keep", Visibility::Public, Type::mask(Shape(vec![tokens()])));
        mask = g.binary(BinaryOp::And, mask, keep).unwrap();
    }
    let table = [VOCABULARY, style.width()];
    let rows = weight(&mut g, "rows", &table);
    let mut x = g.embedding(rows, ids).unwrap();
    for l in 0..blocks {
        let h = style.norm(&mut g, &format!("blocks.{l}.norm"), x);
        let f = style.attention(&mut g, &format!("blocks.{l}"), h, mask);
        x = g.named(format!("blocks.{l}.sum")).add(x, f).unwrap();
    }
    let h = style.norm(&mut g, "last", x);
    let head = if rng.below(2) == 0 {
        rows
    } else {
        weight(&mut g, "head", &table)
    };
    let logits = g.named("logits").contract("ti,vi->tv", h, head).unwrap();
    g.output("logits", logits, Visibility::Public);
    g.finish();
    module
}

/// Runs passes on a random decoder and compares all outputs.
fn preserves(seed: u64, passes: &[&str], tolerance: f64) -> Result<(), TestCaseError> {
    let before = decoder(seed, 1 + seed % 3);
    let (weights, inputs) = samples(&before, &before, seed);
    kept(&before, &weights, &inputs, passes, tolerance)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn expanding_norms_changes_rounding_only(seed: u64) {
        preserves(seed, &["expand-norm"], 1e-4)?;
    }

    #[test]
    fn folding_gains_and_biases_changes_rounding_only(seed: u64) {
        preserves(seed, &["canonicalise", "constant-fold", "cse", "dce", "expand-norm", "fold-norm"], 1e-4)?;
    }

    #[test]
    fn preparing_changes_rounding_only(seed: u64) {
        preserves(seed, PREPARE, 1e-4)?;
    }

    #[test]
    fn what_follows_quantisation_changes_no_bit(seed: u64) {
        let model = decoder(seed, 1 + seed % 3);
        let (weights, inputs) = samples(&model, &model, seed);
        let passes: Vec<&str> = PREPARE.iter().chain(&["quantise"]).copied().collect();
        let quantised = pipeline::run(model, &passes, &QuantPlan::default(), &mut |_, _| {});
        let quantised = quantised.map_err(|e| TestCaseError::fail(e.to_string()))?;
        let (first, rest) = QUANTISE.split_first().unwrap();
        prop_assert_eq!(*first, "quantise");
        kept(&quantised, &weights, &inputs, rest, 0.0)?;
    }
}

/// A layer norm that two layers read: its gain goes into both matrices, its bias through them.
const READ_TWICE: &str = r#"module "m" real

dim tokens: 1..8

weight @gain: real[4] committed = tensor("gain", [4])
weight @bias: real[4] committed = tensor("bias", [4])
weight @a: real[6, 4] committed = tensor("a", [6, 4])
weight @b: real[2, 4] committed = tensor("b", [2, 4])

entry "main" {
  input %x: real[tokens, 4] public "x"
  %gain: real[4] = weight() {name = @gain}
  %bias: real[4] = weight() {name = @bias}
  %n: real[tokens, 4] = layer_norm(%x, %gain, %bias) {eps = 0x1p-20}
  %wa: real[6, 4] = weight() {name = @a}
  %wb: real[2, 4] = weight() {name = @b}
  %a: real[tokens, 6] = contract(%n, %wa) {einsum = "ti,oi->to"}
  %b: real[tokens, 2] = contract(%n, %wb) {einsum = "ti,oi->to"}
  output %a public "a"
  output %b public "b"
}
"#;

/// The same norm, read as it is besides: nothing folds.
const READ_AS_IT_IS: &str = "  output %b public \"b\"\n  output %n public \"n\"\n";

/// A rotary embedding of a part of each row, in pairs of neighbours.
const TURNED: &str = r#"module "m" real

dim tokens: 1..8

entry "main" {
  input %x: real[tokens, 6] public "x"
  %y: real[tokens, 6] = rope(%x) {axis = 0, start = 2, rotary = 4, layout = interleaved, freq = fn exp(neg(x)), scale = 0x1p0, bits = 0}
  output %y public "y"
}
"#;

/// A softmax under a window and padding.
const MASKED: &str = r#"module "m" real

dim tokens: 1..8

entry "main" {
  input %x: real[tokens, 4] public "x"
  input %keep: mask[tokens] public "keep"
  %s: real[tokens, tokens] = contract(%x, %x) {einsum = "tc,sc->ts"}
  %seen: mask[tokens, tokens] = causal_mask() {rows = tokens, cols = tokens, offset = 0, window = 3}
  %both: mask[tokens, tokens] = and(%seen, %keep)
  %p: real[tokens, tokens] = softmax(%s, %both)
  %y: real[tokens, 4] = contract(%p, %x) {einsum = "ts,sc->tc"}
  output %y public "y"
}
"#;

#[test]
fn snapshots_of_norms() {
    let passes = ["expand-norm", "fold-norm", "dce"];
    insta::assert_snapshot!("fold_norm_read_twice", snapshot(READ_TWICE, &passes));
    let read = READ_TWICE.replace("  output %b public \"b\"\n", READ_AS_IT_IS);
    insta::assert_snapshot!("fold_norm_read_as_it_is", snapshot(&read, &passes));
}

#[test]
fn snapshots_of_rotations_and_masks() {
    let without_tables = |text: &str| {
        let after = snapshot(text, &["quantise"]);
        let lines = after.lines().filter(|l| !l.starts_with("table"));
        lines.map(|l| format!("{l}\n")).collect::<String>()
    };
    insta::assert_snapshot!("quantise_rope", without_tables(TURNED));
    insta::assert_snapshot!("quantise_masks", without_tables(MASKED));
}
