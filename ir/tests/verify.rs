//! One test per invariant of the IR verifier: a module that violates it, and what is said.

#![allow(clippy::unwrap_used)] // helpers of tests

use mlc_ir::{Module, ValueId, verify};

fn parse(text: &str) -> Module {
    text.parse().unwrap()
}

/// What the verifier says, one line per violation; empty where it accepts.
fn said(module: &Module) -> Vec<String> {
    verify(module)
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn real(body: &str) -> Vec<String> {
    said(&parse(&format!("module \"m\" real dim b: 1..8 {body}")))
}

fn quantised(body: &str) -> Vec<String> {
    said(&parse(&format!("module \"m\" quantised dim b: 1..8 {body}")))
}

fn entry(code: &str) -> Vec<String> {
    real(&format!("entry \"e\" {{ input %x: real[b, 4] public \"x\" {code} }}"))
}

fn quantised_entry(code: &str) -> Vec<String> {
    quantised(&format!(
        "entry \"e\" {{ input %x: int<0x1p0, -8, 7>[b, 4] public \"x\" {code} }}"
    ))
}

const REAL: &str = r#"
module "m" real
dim b: 1..8
dim past: 0..8
weight @w: real[4, 4] committed over (l < 2) = tensor("w.{l}", [4, 4])
state @s: real[past, 4] private over (l < 2) axis 0
entry "e" {
  input %x: real[b, 4] public "x"
  %r: real[b, 4] = repeat(%x) {index = l, count = 2, carried = 1} do (%c: real[b, 4]) {
    %w: real[4, 4] = weight() {name = @w}
    %s: real[b+past, 4] = state_append(%c) {name = @s}
    %y: real[b, 4] = contract(%x, %w) {einsum = "bi,oi->bo"}
    yield (%y)
  }
  output %r public "y"
}
"#;

#[test]
fn a_sound_module_is_accepted() {
    assert!(said(&parse(REAL)).is_empty());
}

#[test]
fn invariant_1_names_and_ranges() {
    let mut module = parse(REAL);
    module.declare_dim("2x", 0, 1);
    module.declare_dim("c", 3, 2);
    assert_eq!(
        said(&module),
        [
            "dimension `2x`: `2x` is no identifier",
            "dimension `c`: its range 3..2 is empty or leaves 2^31"
        ]
    );
    let shadowed = REAL.replace("index = l", "index = b");
    assert!(said(&parse(&shadowed))[0].ends_with("`b` is already a dimension, or the index of a region around"));
}

#[test]
fn invariant_2_dimensions_are_declared_and_lengths_natural() {
    assert_eq!(
        entry("input %y: real[n, b-2] public \"y\""),
        [
            "entry `e`, input `y`: the run-time dimension `n` is not declared",
            "entry `e`, input `y`: the length b-2 can be negative"
        ]
    );
    assert!(
        entry("%y: mask[b, 4] = causal_mask() {rows = b, cols = 4, offset = n}")[0].contains("`n` is not declared")
    );
}

#[test]
fn invariant_3_weights_are_their_recipes() {
    assert_eq!(
        real(
            "weight @a: real[b] public = tensor(\"a\", [4])
             weight @c: real[3] public = tensor(\"c\", [4])
             weight @d: real[4] public = tensor(\"d.{l}\", [4])"
        ),
        [
            "weight `a`: its shape is not constant",
            "weight `c`: its recipe has shape [4], its type [3]",
            "weight `d`: its recipe does not fit: tensor: `l` is not the index of a region that the weight is stacked over"
        ]
    );
}

#[test]
fn invariant_4_bounds_on_sums() {
    let weight = |sum: &str| format!("weight @w: int<0x1p0, 0, 9>[4, 4] public = tensor(\"w\", [4, 4]) abs_sum {sum}");
    assert!(quantised(&weight("[0, 1] <= 5")).is_empty());
    for sum in ["[2] <= 5", "[1, 0] <= 5", "[1] <= -5"] {
        assert!(quantised(&weight(sum))[0].ends_with("is malformed"), "{sum}");
    }
}

#[test]
fn invariant_5_states_grow() {
    let wrong = ["state `s`: a state holds numbers and grows along an axis of run-time length"];
    assert!(real("state @s: real[b, 4] private axis 0").is_empty());
    assert_eq!(real("state @s: real[b, 4] private axis 1"), wrong);
    assert_eq!(real("state @s: real[b, 4] private axis 2"), wrong);
    assert_eq!(real("state @s: mask[b, 4] private axis 0"), wrong);
}

#[test]
fn invariant_6_ports() {
    assert_eq!(
        entry("output %x public \"y\" output %x public \"y\""),
        ["entry `e`, entry `output`: the name `y` is used twice"]
    );
    let mut module = parse(REAL);
    module.entries[0].inputs.clear();
    assert_eq!(said(&module), ["entry `e`, entry `input`: it has 0 ports for 1 values"]);
}

#[test]
fn invariant_7_values_are_defined_once() {
    let mut module = parse(REAL);
    let entry = &mut module.entries[0];
    entry.body.nodes.push(entry.body.nodes[0].clone());
    assert!(said(&module).contains(&"entry `e`, repeat `r`: it is defined twice".to_owned()));

    let mut module = parse(REAL);
    module.entries[0].values[1].name = "x".into();
    assert!(said(&module)[0].ends_with("the name `x` is used twice"));

    let mut module = parse(REAL);
    module.entries[0].body.params.push(ValueId(99));
    assert!(said(&module).contains(&"entry `e`, input `#99`: value number 99 does not exist".to_owned()));
}

#[test]
fn invariant_8_uses_follow_definitions() {
    let leaked = REAL.replace("output %r", "output %y");
    assert_eq!(
        said(&parse(&leaked)),
        ["entry `e`, output ``: it uses `y`, which is not defined before it"]
    );
    let mut module = parse(REAL);
    module.entries[0].body.nodes[0].operands[0] = ValueId(3);
    assert!(said(&module)[0].contains("which is not defined before it"));
}

#[test]
fn invariant_9_types_are_inferred() {
    assert_eq!(
        entry("%y: real[4, b] = softmax(%x)"),
        ["entry `e`, softmax `y`: its type is real[4, b], inference says real[b, 4]"]
    );
    assert_eq!(
        entry("%y: real[4, b] = reshape(%x) {shape = [b, 5]}"),
        ["entry `e`, reshape `y`: cannot reshape [b, 4] to [b, 5]: the number of elements differs"]
    );
    assert_eq!(
        entry("softmax(%x)"),
        ["entry `e`, softmax ``: it defines 0 values, inference 1"]
    );
    let sum = |ty: &str| quantised_entry(&format!("%y: {ty} = add(%x, %x)"));
    assert!(sum("int<0x1p0, -16, 20>[b, 4]").is_empty(), "wider bounds are sound");
    assert!(sum("int<0x1p0, -16, 13>[b, 4]")[0].contains("inference says int<0x1p0, -16, 14>[b, 4]"));
}

#[test]
fn invariant_10_slices_and_positions() {
    let slice = |start: &str, end: &str, ty: &str| {
        entry(&format!(
            "%y: real[{ty}, 4] = slice(%x) {{axis = 0, start = {start}, end = {end}, step = 1}}"
        ))
    };
    assert!(slice("b-1", "b", "1").is_empty());
    assert!(slice("b-2", "b", "2")[0].ends_with("the slice can leave its range"));
    assert!(slice("0", "2", "2")[0].ends_with("the slice can leave its range"));
    assert!(slice("1", "b+1", "b")[0].ends_with("the slice can leave its range"));
    let iota = |vocab| {
        entry(&format!(
            "%y: index<{vocab}>[b] = iota() {{len = b, start = 2, vocab = {vocab}}}"
        ))
    };
    assert!(iota(10).is_empty());
    assert!(iota(9)[0].ends_with("the last position can leave its range"));
}

#[test]
fn invariant_11_numbers_are_proper() {
    for (code, what) in [
        ("%y: real[b, 4] = rms_norm(%x) {eps = nan}", "`eps`"),
        ("%y: real[b, 4] = layer_norm(%x) {eps = -0x1p0}", "`eps`"),
        ("%y: real[1] = const() {value = f32[1]{nan}}", "a constant"),
        (
            "%y: real[b, 5] = pad(%x) {lo = [0, 0], hi = [0, 1], value = nan}",
            "the padding",
        ),
    ] {
        assert!(
            entry(code)[0].ends_with(&format!("{what} is not a proper number")),
            "{code}"
        );
    }
    assert!(quantised("entry \"e\" { input %x: int<-0x1p0, 0, 1>[] public \"x\" }")[0].contains("the scale"));
}

#[test]
fn invariant_12_states_are_appended_once() {
    let append = "%s: real[b+past, 4] = state_append(%c) {name = @s}\n";
    let twice = REAL.replace(append, &format!("{append}{}", append.replace("%s:", "%t:")));
    assert!(said(&parse(&twice))[0].contains("appends to the state `s` once"));
    let unstacked = REAL.replace("private over (l < 2) axis", "private axis");
    assert!(said(&parse(&unstacked))[0].contains("appends to the state `s` once"));
}

#[test]
fn invariant_13_the_real_stage_has_no_integers() {
    let integer = real("entry \"e\" { input %x: int<0x1p0, 0, 1>[] public \"x\" }");
    assert_eq!(
        integer,
        ["entry `e`, input `x`: int<0x1p0, 0, 1> is no element of the real stage"]
    );
    let mut module = parse(REAL);
    module
        .tables
        .insert("t".into(), mlc_ir::Table::tabulate(1, 0, |v| v as i32).unwrap().into());
    assert_eq!(said(&module), ["table `t`: this does not occur in the real stage"]);
    assert!(real("weight @w: real[2] public = tensor(\"w\", [2]) abs_sum [0] <= 5")[0].contains("does not occur"));
    assert!(
        entry("%y: real[b, 4] = requant(%x) {shift = 0, table = \"t\", scale = 0x1p0}")[0]
            .contains("does not occur in the real stage")
    );
}

#[test]
fn invariant_14_the_quantised_stage_has_no_real_numbers() {
    let number = quantised("entry \"e\" { input %x: real[] public \"x\" }");
    assert_eq!(
        number,
        ["entry `e`, input `x`: real is no element of the quantised stage"]
    );
    assert!(quantised_entry("%y: int<0x1p0, -8, 7>[b, 4] = softmax(%x)")[0].contains("quantised stage"));
}

#[test]
fn invariant_15_bounds_stay_below_the_limit() {
    let input = |lo: i64, hi: i64| {
        quantised(&format!(
            "entry \"e\" {{ input %x: int<0x1p0, {lo}, {hi}>[] public \"x\" }}"
        ))
    };
    let limit = 1 << 30;
    assert!(input(1 - limit, limit - 1).is_empty());
    assert!(input(0, limit)[0].contains("are empty or leave"));
    assert!(input(-limit, 0)[0].contains("are empty or leave"));
    assert!(input(1, 0)[0].contains("are empty or leave"));
}

#[test]
fn invariant_16_lookups_are_covered() {
    let mut module = parse(
        "module \"m\" quantised entry \"e\" {
           input %x: int<0x1p0, -16, 13>[4] public \"x\"
           %y: int<0x1p0, -2, 1>[4] = requant(%x) {shift = 2, table = \"t\", scale = 0x1p0}
         }",
    );
    assert_eq!(said(&module), ["entry `e`, requant `y`: the module has no table `t`"]);
    let mut with = |bits, bias, f: fn(i64) -> i32| {
        module
            .tables
            .insert("t".into(), mlc_ir::Table::tabulate(bits, bias, f).unwrap().into());
        said(&module)
    };
    assert!(with(3, 4, |v| v.clamp(-2, 1) as i32).is_empty());
    assert_eq!(
        with(3, 3, |v| v.clamp(-2, 1) as i32),
        ["entry `e`, requant `y`: table `t` takes -3 to 4, but its index can be -4 to 3"]
    );
    for entry in module.entries.values_mut() {
        if let mlc_ir::Op::Requant(requant) = &mut entry.body.nodes[0].op {
            requant.shift = 28;
        }
    }
    assert!(said(&module)[0].ends_with("index bits and shift are 30 together at most"));
}
