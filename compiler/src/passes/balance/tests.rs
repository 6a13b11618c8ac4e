//! Where paths are found and where not; what the pass makes of small modules; and that no output changes by a bit.

use mlc_ir::random::{self, Rng};
use mlc_ir::{Inputs, Module, Stage, run};
use proptest::prelude::*;

use super::*;
use crate::passes::tests::{Weights, samples};
use crate::pipeline::prepare;
use crate::plan::Channels;

/// One key-value head of two channels with a cache, two query heads; a gated feed-forward; both in every block.
const BLOCKS: &str = r#"module "m" real

dim tokens: 1..4
dim past: 0..4 before tokens

weight @v: real[2, 4] committed over (l < 2) = tensor("{l}.v", [2, 4])
weight @vb: real[2] committed over (l < 2) = tensor("{l}.vb", [2])
weight @o: real[4, 4] committed over (l < 2) = tensor("{l}.o", [4, 4])
weight @up: real[3, 4] committed over (l < 2) = tensor("{l}.up", [3, 4])
weight @gate: real[3, 4] committed over (l < 2) = tensor("{l}.gate", [3, 4])
weight @down: real[4, 3] committed over (l < 2) = tensor("{l}.down", [4, 3])

state @values: real[1, past, 2] committed over (l < 2) axis 1

entry "main" {
  input %x: real[tokens, 4] public "x"
  input %p: real[2, 2, tokens, past+tokens] public "p"
  %y: real[tokens, 4] = repeat(%x, %p) {index = l, count = 2, carried = 1} do (%h: real[tokens, 4], %share: real[2, tokens, past+tokens]) {
    %v: real[2, 4] = weight() {name = @v}
    %vb: real[2] = weight() {name = @vb}
    %value: real[tokens, 2] = contract(%h, %v) {einsum = "ti,oi->to"}
    %biased: real[tokens, 2] = add(%value, %vb)
    %head: real[1, tokens, 2] = reshape(%biased) {shape = [1, tokens, 2]}
    %cached: real[1, past+tokens, 2] = state_append(%head) {name = @values}
    %mixed: real[tokens, 1, 2, 2] = contract(%share, %cached) {einsum = "gts,ksc->tkgc"}
    %joined: real[tokens, 4] = reshape(%mixed) {shape = [tokens, 4]}
    %o: real[4, 4] = weight() {name = @o}
    %a: real[tokens, 4] = contract(%joined, %o) {einsum = "ti,oi->to"}
    %s: real[tokens, 4] = add(%h, %a)
    %gate: real[3, 4] = weight() {name = @gate}
    %up: real[3, 4] = weight() {name = @up}
    %down: real[4, 3] = weight() {name = @down}
    %g: real[tokens, 3] = contract(%s, %gate) {einsum = "ti,oi->to"}
    %open: real[tokens, 3] = table(%g) {name = "tanh", formula = fn tanh(x)}
    %u: real[tokens, 3] = contract(%s, %up) {einsum = "ti,oi->to"}
    %gated: real[tokens, 3] = mul(%open, %u)
    %f: real[tokens, 4] = contract(%gated, %down) {einsum = "ti,oi->to"}
    %next: real[tokens, 4] = add(%s, %f)
    yield (%next)
  }
  output %y public "y"
}
"#;

/// Three layers with products between them: the weight in the middle is at the end of one path and at the beginning of another.
const LAYERS: &str = r#"module "m" real

weight @a: real[3, 2] committed = tensor("a", [3, 2])
weight @ab: real[3] committed = tensor("ab", [3])
weight @b: real[3, 3] committed = tensor("b", [3, 3])
weight @c: real[1, 3] committed = tensor("c", [1, 3])

entry "main" {
  input %x: real[4, 2] public "x"
  input %m: real[4, 3] public "m"
  %a: real[3, 2] = weight() {name = @a}
  %ab: real[3] = weight() {name = @ab}
  %b: real[3, 3] = weight() {name = @b}
  %c: real[1, 3] = weight() {name = @c}
  %p: real[4, 3] = contract(%x, %a) {einsum = "ti,oi->to"}
  %q: real[4, 3] = add(%p, %ab)
  %r: real[4, 3] = mul(%q, %m)
  %s: real[4, 3] = contract(%r, %b) {einsum = "ti,oi->to"}
  %t: real[4, 3] = mul(%m, %s)
  %u: real[4, 1] = contract(%t, %c) {einsum = "ti,oi->to"}
  output %u public "y"
}
"#;

fn module(text: &str) -> Module {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}

fn keys(module: &Module) -> Vec<String> {
    paths(module).iter().map(Path::key).collect()
}

fn factors(of: &[(&str, &[&[i8]])]) -> QuantPlan {
    let rows = |rows: &[&[i8]]| rows.iter().map(|r| r.to_vec()).collect::<Vec<_>>();
    QuantPlan {
        channels: of
            .iter()
            .map(|(key, all)| ((*key).to_owned(), Channels::new(&rows(all))))
            .collect(),
        ..QuantPlan::default()
    }
}

#[test]
fn snapshots() {
    let plan = factors(&[
        ("main.value", &[&[1, -2], &[0, 3]]),
        ("main.u", &[&[0, 1, 2], &[-1, 0, 0]]),
    ]);
    insta::assert_snapshot!("blocks", balance(module(BLOCKS), &plan).unwrap());
    let plan = factors(&[("main.p", &[&[1, 0, -1]]), ("main.s", &[&[0, 2, 0]])]);
    insta::assert_snapshot!("layers", balance(module(LAYERS), &plan).unwrap());
}

#[test]
fn a_path_says_what_lies_on_it() {
    let found = paths(&module(BLOCKS));
    assert_eq!(found.len(), 2);
    let names = |all: &[Scaled]| all.iter().map(|v| v.value.clone()).collect::<Vec<_>>();
    let value = &found[0];
    assert_eq!(
        names(&value.values),
        ["value", "biased", "head", "cached", "mixed", "joined"]
    );
    assert_eq!(names(&value.read), ["joined"]);
    // Both query heads read the one head.
    assert_eq!((value.channels, value.blocks()), (2, 2));
    assert_eq!(value.read[0].layout.ids, [0, 1, 0, 1]);
    let ends: Vec<(&str, bool)> = value.ends.iter().map(|e| (e.weight.as_str(), e.divides)).collect();
    assert_eq!(ends, [("v", true), ("vb", true), ("o", false)]);
    assert_eq!(names(&found[1].values), ["u", "gated"]);
}

#[test]
fn what_is_read_otherwise_is_left_alone() {
    assert_eq!(keys(&module(LAYERS)), ["main.p", "main.s"]);
    for (from, to, left) in [
        // An output, or a function of the value.
        ("  output %u", "  output %r public \"r\"\n  output %u", &["main.s"][..]),
        (
            "mul(%q, %m)",
            "table(%q) {name = \"relu\", formula = fn max(x, 0x0p0)}",
            &["main.s"],
        ),
        // A layer that is skipped.
        ("mul(%m, %s)", "mul(%m, %r)", &["main.p"]),
        // Both operands of a product.
        ("mul(%m, %s)", "mul(%s, %s)", &["main.p"]),
        // A bias that is the same for all channels.
        (
            "weight @ab: real[3] committed = tensor(\"ab\", [3])",
            "weight @ab: real[1] committed = tensor(\"ab\", [1])",
            &["main.s"],
        ),
    ] {
        let text = LAYERS.replace(from, to).replace(
            "%ab: real[3] = weight",
            if to.contains("[1] committed") {
                "%ab: real[1] = weight"
            } else {
                "%ab: real[3] = weight"
            },
        );
        assert_eq!(keys(&module(&text)), left, "{to}");
    }
    // A weight that something else reads, too.
    let tied = LAYERS.replace(
        "  output %u",
        "  %again: real[4, 3] = contract(%x, %a) {einsum = \"ti,oi->to\"}\n  output %again public \"z\"\n  output %u",
    );
    assert_eq!(keys(&module(&tied)), ["main.s"]);
    // A cache that is read elsewhere.
    let read = BLOCKS.replace(
        "    %o: real[4, 4] = weight",
        "    %old: real[1, past, 2] = state_read() {name = @values}\n    %o: real[4, 4] = weight",
    );
    assert_eq!(keys(&module(&read)), ["main.u"]);
}

#[test]
fn factors_of_another_model_are_refused() {
    for plan in [
        factors(&[("main.q", &[&[0, 0, 0]])]),
        factors(&[("main.p", &[&[0, 0]])]),
        factors(&[("main.p", &[&[0, 0, 0], &[0, 0, 0]])]),
    ] {
        let error = balance(module(LAYERS), &plan).unwrap_err().to_string();
        assert!(error.contains("not those of this model"), "{error}");
    }
}

#[test]
fn factors_make_channels_and_weights_alike() {
    // A channel that is 10 000 times as great, and one that is 4 times and read by weights 4 times as great.
    assert_eq!(exponents(&[1.0, 1e4, 4.0], &[1.0, 1.0, 4.0]), [0, 7, 0]);
    // What is never seen is like the others, and no factor is beyond the limit.
    assert_eq!(
        exponents(&[0.0, 4.0, 4.0, 1e30], &[1.0, 1.0, 1.0, 1e-30]),
        [0, 0, 0, 15]
    );
    assert_eq!(exponents(&[0.0], &[0.0]), [0]);
}

/// Random factors for every path; outputs and states before and after.
fn keeps(before: &Module, weights: &Weights, inputs: &Inputs, seed: u64) -> Result<usize, TestCaseError> {
    let mut rng = Rng::new(seed);
    let found = paths(before);
    let mut plan = QuantPlan::default();
    for path in &found {
        let mut row = || (0..path.channels).map(|_| rng.below(9) as i8 - 4).collect();
        let rows: Vec<Vec<i8>> = (0..path.blocks()).map(|_| row()).collect();
        plan.channels.insert(path.key(), Channels::new(&rows));
    }
    let after = balance(before.clone(), &plan).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert!(mlc_ir::verify(&after).is_ok(), "{:?}", mlc_ir::verify(&after));
    let outputs = |module: &Module| {
        run(module, "main", weights, inputs).map_err(|e| TestCaseError::fail(format!("{e}\n{module}")))
    };
    prop_assert_eq!(
        outputs(before)?.values,
        outputs(&after)?.values,
        "{}\n{}",
        before,
        after
    );
    Ok(found.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_output_changes(seed: u64) {
        let random = random::module(Stage::Real, seed);
        let weights = Weights(random::weights(&random, seed));
        // Weights are read as tensors of the module before.
        let inputs = random::inputs(&random, seed);
        let plan = QuantPlan::default();
        if let Ok(prepared) = prepare(random.clone(), &plan, &mut |_, _| {}) {
            keeps(&prepared, &weights, &inputs, seed)?;
        }
        let decoder = crate::passes::transformer_tests::decoder(seed, 1 + seed % 3);
        let (weights, inputs) = samples(&decoder, &decoder, seed);
        let prepared = prepare(decoder, &plan, &mut |_, _| {}).unwrap();
        let found = keeps(&prepared, &weights, &inputs, seed)?;
        // Values of every attention.
        prop_assert!(found > 0, "{}", prepared);
    }

    #[test]
    fn no_output_of_blocks_changes(seed: u64) {
        for text in [BLOCKS, LAYERS] {
            let module = module(text);
            let (weights, inputs) = samples(&module, &module, seed);
            prop_assert_eq!(keeps(&module, &weights, &inputs, seed)?, 2);
        }
    }
}
