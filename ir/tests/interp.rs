//! The interpreter on small tensors whose results are known.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::BTreeMap;

use mlc_ir::{Bindings, Data, Inputs, Module, Outputs, RunError, Tensor, TensorF32, run};

fn tensor<T>(shape: &[usize], data: Vec<T>) -> Tensor<T> {
    Tensor::new(shape.to_vec(), data).unwrap()
}

fn real(shape: &[usize], data: &[f32]) -> Data {
    Data::Real(tensor(shape, data.to_vec()))
}

fn ints(shape: &[usize], data: &[i64]) -> Data {
    Data::Ints(tensor(shape, data.to_vec()))
}

/// Runs the entry's code on `inputs` and gives the output `y`.
fn on(stage: &str, code: &str, inputs: &[(&str, &str, Data)]) -> Result<Data, RunError> {
    let ports: String = inputs
        .iter()
        .map(|(name, ty, _)| format!("input %{name}: {ty} public \"{name}\"\n"))
        .collect();
    let text = format!("module \"m\" {stage}\nentry \"e\" {{ {ports} {code} output %y public \"y\" }}");
    let module: Module = text.parse().unwrap();
    mlc_ir::verify(&module).map_err(|e| e[0].to_string()).unwrap();
    let values = inputs
        .iter()
        .map(|(name, _, data)| ((*name).to_owned(), data.clone()))
        .collect();
    let inputs = Inputs {
        values,
        ..Inputs::default()
    };
    Ok(run(&module, "e", &BTreeMap::new(), &inputs)?.values["y"].clone())
}

fn on_real(code: &str, inputs: &[(&str, &str, Data)]) -> Vec<f32> {
    on("real", code, inputs).unwrap().real().unwrap().data.clone()
}

fn on_ints(code: &str, inputs: &[(&str, &str, Data)]) -> Result<Vec<i64>, RunError> {
    Ok(on("quantised", code, inputs)?.ints().unwrap().data.clone())
}

fn close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (f, e) in found.iter().zip(expected) {
        assert!(
            (f - e).abs() <= 1e-6 * e.abs().max(1.0),
            "{found:?} is not {expected:?}"
        );
    }
}

const X: [f32; 6] = [1.0, -2.0, 3.0, 0.5, 4.0, -1.0];

#[test]
fn contraction_and_broadcasting() {
    let w = real(&[2, 3], &[1.0, 0.0, 2.0, -1.0, 1.0, 0.5]);
    let y = on_real(
        "%p: real[2, 2] = contract(%x, %w) {einsum = \"bi,oi->bo\"} %y: real[2, 2] = add(%p, %b)",
        &[
            ("x", "real[2, 3]", real(&[2, 3], &X)),
            ("w", "real[2, 3]", w),
            ("b", "real[2]", real(&[2], &[10.0, 20.0])),
        ],
    );
    close(&y, &[17.0, 18.5, 8.5, 23.0]);
}

#[test]
fn batched_contraction_with_free_labels_on_both_sides() {
    let a = real(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
    let b = real(&[2, 2, 2], &[1.0, 0.0, 0.0, 1.0, 2.0, 1.0, 1.0, 2.0]);
    let y = on_real(
        "%y: real[1, 2, 2] = contract(%a, %b) {einsum = \"hik,hjk->ihj\"}",
        &[("a", "real[2, 1, 2]", a), ("b", "real[2, 2, 2]", b)],
    );
    close(&y, &[1.0, 2.0, 10.0, 11.0]);
}

#[test]
fn convolution_pads_dilates_steps_and_groups() {
    let image: Vec<f32> = (1..=9).map(|v| v as f32).collect();
    let x = ("x", "real[1, 1, 3, 3]", real(&[1, 1, 3, 3], &image));
    let w = ("w", "real[1, 1, 2, 2]", real(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]));
    let conv = |shape: &str, attributes: &str| {
        on_real(
            &format!("%y: real{shape} = conv2d(%x, %w) {{{attributes}}}"),
            &[x.clone(), w.clone()],
        )
    };
    close(
        &conv(
            "[1, 1, 2, 2]",
            "stride = [1, 1], pad = [0, 0, 0, 0], dilation = [1, 1], groups = 1",
        ),
        &[37.0, 47.0, 67.0, 77.0],
    );
    close(
        &conv(
            "[1, 1, 2, 1]",
            "stride = [2, 2], pad = [1, 0, 0, 0], dilation = [1, 1], groups = 1",
        ),
        &[11.0, 67.0],
    );
    close(
        &conv(
            "[1, 1, 1, 1]",
            "stride = [1, 1], pad = [0, 0, 0, 0], dilation = [2, 2], groups = 1",
        ),
        &[64.0],
    );
    let grouped = on_real(
        "%y: real[1, 2, 1, 1] = conv2d(%x, %w) {stride = [1, 1], pad = [0, 0, 0, 0], dilation = [1, 1], groups = 2}",
        &[
            ("x", "real[1, 2, 1, 1]", real(&[1, 2, 1, 1], &[3.0, 5.0])),
            ("w", "real[2, 1, 1, 1]", real(&[2, 1, 1, 1], &[10.0, 100.0])),
        ],
    );
    close(&grouped, &[30.0, 500.0]);
}

#[test]
fn pools_count_their_padding_or_not() {
    let x = ("x", "real[1, 1, 2, 2]", real(&[1, 1, 2, 2], &[-1.0, -2.0, -3.0, -4.0]));
    let pool = |kind: &str, count: bool| {
        let code = format!(
            "%y: real[1, 1, 2, 2] = pool(%x) {{kind = {kind}, window = [2, 2], stride = [1, 1], pad = [1, 1, 0, 0], \
             count_include_pad = {count}}}"
        );
        on_real(&code, std::slice::from_ref(&x))
    };
    close(&pool("max", false), &[-1.0, -1.0, -1.0, -1.0]);
    close(&pool("avg", false), &[-1.0, -1.5, -2.0, -2.5]);
    close(&pool("avg", true), &[-0.25, -0.75, -1.0, -2.5]);
}

#[test]
fn reductions() {
    let x = || [("x", "real[2, 3]", real(&[2, 3], &X))];
    close(
        &on_real(
            "%y: real[2] = reduce(%x) {kind = sum, axes = [1], keepdims = false}",
            &x(),
        ),
        &[2.0, 3.5],
    );
    close(
        &on_real(
            "%y: real[1, 3] = reduce(%x) {kind = mean, axes = [0], keepdims = true}",
            &x(),
        ),
        &[0.75, 1.0, 1.0],
    );
    close(
        &on_real(
            "%y: real[] = reduce(%x) {kind = max, axes = [0, 1], keepdims = false}",
            &x(),
        ),
        &[4.0],
    );
}

#[test]
fn norms() {
    let x = || ("x", "real[2, 3]", real(&[2, 3], &X));
    let gain = || ("g", "real[3]", real(&[3], &[1.0, 2.0, 3.0]));
    let bias = || ("b", "real[3]", real(&[3], &[0.0, 0.0, 1.0]));
    let rms: f32 = (14.0f32 / 3.0).sqrt();
    let y = on_real("%y: real[2, 3] = rms_norm(%x, %g) {eps = 0x0p0}", &[x(), gain()]);
    close(&y[..3], &[1.0 / rms, -4.0 / rms, 9.0 / rms]);
    let y = on_real(
        "%y: real[2, 3] = layer_norm(%x, %g, %b) {eps = 0x0p0}",
        &[x(), gain(), bias()],
    );
    // Row 0: mean 2/3, variance 38/9.
    let deviation = (38.0f32 / 9.0).sqrt();
    close(
        &y[..3],
        &[
            (1.0 / 3.0) / deviation,
            2.0 * (-8.0 / 3.0) / deviation,
            3.0 * (7.0 / 3.0) / deviation + 1.0,
        ],
    );
    let channel = |name: &'static str, v: f32| (name, "real[1]", real(&[1], &[v]));
    let y = on_real(
        "%y: real[1, 1, 2] = batch_norm(%x, %g, %b, %m, %v) {eps = 0x1p0}",
        &[
            ("x", "real[1, 1, 2]", real(&[1, 1, 2], &[5.0, 9.0])),
            channel("g", 3.0),
            channel("b", 0.5),
            channel("m", 1.0),
            channel("v", 3.0),
        ],
    );
    close(&y, &[6.5, 12.5]);
}

#[test]
fn softmax_leaves_masked_positions_out() {
    let x = ("x", "real[2, 2]", real(&[2, 2], &[0.0, 3f32.ln(), 1000.0, 5.0]));
    close(
        &on_real("%y: real[2, 2] = softmax(%x)", std::slice::from_ref(&x)),
        &[0.25, 0.75, 1.0, 0.0],
    );
    let causal = "%m: mask[2, 2] = causal_mask() {rows = 2, cols = 2, offset = 0}";
    close(
        &on_real(&format!("{causal} %y: real[2, 2] = softmax(%x, %m)"), &[x]),
        &[1.0, 0.0, 1.0, 0.0],
    );
}

#[test]
fn masks() {
    let mask = |attributes: &str| on("real", &format!("%y: mask[2, 4] = causal_mask() {{{attributes}}}"), &[]).unwrap();
    assert_eq!(
        mask("rows = 2, cols = 4, offset = 2"),
        ints(&[2, 4], &[1, 1, 1, 0, 1, 1, 1, 1])
    );
    assert_eq!(
        mask("rows = 2, cols = 4, offset = 2, window = 2"),
        ints(&[2, 4], &[0, 1, 1, 0, 0, 0, 1, 1])
    );
    let y = on_real(
        "%m: mask[2] = and(%a, %b) %y: real[2] = where(%m, %p, %q)",
        &[
            ("a", "mask[2]", ints(&[2], &[1, 1])),
            ("b", "mask[2]", ints(&[2], &[0, 1])),
            ("p", "real[2]", real(&[2], &[1.0, 2.0])),
            ("q", "real[1]", real(&[1], &[9.0])),
        ],
    );
    close(&y, &[9.0, 2.0]);
}

#[test]
fn rotary_embedding_turns_pairs() {
    let rope = |layout: &str| {
        let code = format!(
            "%y: real[2, 5] = rope(%x) {{axis = 0, start = 0, rotary = 4, layout = {layout}, \
             freq = fn select(x, 0x0p0, 0x1.921fb54442d18p0), scale = 0x1p0, bits = 0}}"
        );
        let data = [1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        on_real(&code, &[("x", "real[2, 5]", real(&[2, 5], &data))])
    };
    // Position 0 stays; at position 1 pair 0 turns by a right angle, pair 1 stays, and so does the fifth coordinate.
    close(&rope("half"), &[1.0, 2.0, 3.0, 4.0, 5.0, -3.0, 2.0, 1.0, 4.0, 5.0]);
    close(
        &rope("interleaved"),
        &[1.0, 2.0, 3.0, 4.0, 5.0, -2.0, 1.0, 3.0, 4.0, 5.0],
    );
}

#[test]
fn layout_operations() {
    let x = || [("x", "real[2, 3]", real(&[2, 3], &X))];
    let y = |code: &str| on_real(code, &x());
    close(
        &y("%y: real[3, 2] = transpose(%x) {perm = [1, 0]}"),
        &[1.0, 0.5, -2.0, 4.0, 3.0, -1.0],
    );
    close(&y("%y: real[3, 2] = reshape(%x) {shape = [3, 2]}"), &X);
    close(
        &y("%y: real[2, 2] = slice(%x) {axis = 1, start = 0, end = 3, step = 2}"),
        &[1.0, 3.0, 0.5, -1.0],
    );
    close(
        &y("%y: real[2, 6] = concat(%x, %x) {axis = 1}")[..6],
        &[1.0, -2.0, 3.0, 1.0, -2.0, 3.0],
    );
    close(
        &y("%y: real[3, 4] = pad(%x) {lo = [0, 1], hi = [1, 0], value = 0x1p3}"),
        &[8.0, 1.0, -2.0, 3.0, 8.0, 0.5, 4.0, -1.0, 8.0, 8.0, 8.0, 8.0],
    );
    close(&y("%y: real[2, 2, 3] = broadcast(%x) {shape = [2, 2, 3]}")[6..], &X);
    close(
        &y("%y: real[2, 3] = table(%x) {name = \"relu\", formula = fn max(x, 0x0p0)}")[..3],
        &[1.0, 0.0, 3.0],
    );
}

#[test]
fn indices() {
    let table = ("w", "real[3, 2]", real(&[3, 2], &X));
    let ids = ("i", "index<3>[2]", ints(&[2], &[2, 0]));
    close(
        &on_real("%y: real[2, 2] = embedding(%w, %i)", &[table.clone(), ids]),
        &[4.0, -1.0, 1.0, -2.0],
    );
    let bad = ("i", "index<3>[1]", ints(&[1], &[3]));
    let error = on("real", "%y: real[1, 2] = embedding(%w, %i)", &[table, bad]);
    assert_eq!(
        error,
        Err(RunError::Bounds {
            value: "i".into(),
            at: 0,
            found: 3,
            lo: 0,
            hi: 2
        })
    );
    let ties = ("x", "real[2, 3]", real(&[2, 3], &[1.0, 5.0, 5.0, -1.0, -1.0, -2.0]));
    assert_eq!(
        on("real", "%y: index<3>[2] = argmax(%x)", &[ties]),
        Ok(ints(&[2], &[1, 0]))
    );
    let positions = on("real", "%y: index<9>[3] = iota() {len = 3, start = 4, vocab = 9}", &[]);
    assert_eq!(positions, Ok(ints(&[3], &[4, 5, 6])));
}

#[test]
fn integers_are_exact() {
    let x = || {
        (
            "x",
            "int<0x1p0, -8, 7>[1, 1, 2, 2]",
            ints(&[1, 1, 2, 2], &[-8, 7, 3, -1]),
        )
    };
    let w = (
        "w",
        "int<0x1p-1, -3, 3>[1, 1, 2, 2]",
        ints(&[1, 1, 2, 2], &[3, -3, 1, 2]),
    );
    let conv = "%y: int<0x1p-1, -96, 96>[1, 1, 1, 1] = conv2d(%x, %w) \
                {stride = [1, 1], pad = [0, 0, 0, 0], dilation = [1, 1], groups = 1}";
    assert_eq!(on_ints(conv, &[x(), w]), Ok(vec![-24 - 21 + 3 - 2]));
    let average = "%y: int<0x1p-2, -32, 28>[1, 1, 1, 1] = pool(%x) \
                   {kind = avg, window = [2, 2], stride = [1, 1], pad = [0, 0, 0, 0], count_include_pad = true}";
    assert_eq!(on_ints(average, &[x()]), Ok(vec![1]), "the sum; the scale is a quarter");
    let mean = "%y: int<0x1p-1, -16, 14>[1, 1, 2] = reduce(%x) {kind = mean, axes = [2], keepdims = false}";
    assert_eq!(on_ints(mean, &[x()]), Ok(vec![-5, 6]));
    let too_narrow = ("x", "int<0x1p0, -8, 6>[1, 1, 2, 2]", x().2);
    let error = RunError::Bounds {
        value: "x".into(),
        at: 1,
        found: 7,
        lo: -8,
        hi: 6,
    };
    assert_eq!(
        on_ints("%y: int<0x1p0, -8, 6>[1, 1, 2, 2] = max(%x, %x)", &[too_narrow]),
        Err(error)
    );
}

/// A maximum is no less than what it is the maximum of; the tightest values are attained.
#[test]
fn bounds_that_depend_on_relations_are_inferred() {
    let text = "module \"m\" quantised
        entry \"e\" {
          input %x: int<0x1p-3, -64, 63>[2, 4] public \"x\"
          input %v: int<0x1p-3, -64, 63>[2, 4] public \"v\"
          %m: int<0x1p-3, -64, 63>[2, 1] = reduce(%x) {kind = max, axes = [1], keepdims = true}
          %d: int<0x1p-3, 0, 127>[2, 4] = sub(%m, %x)
          output %d public \"d\"
        }";
    let module: Module = text.parse().unwrap();
    mlc_ir::verify(&module).map_err(|e| e[0].to_string()).unwrap();
    let x = ints(&[2, 4], &[63, -64, -64, -64, 8, 8, 0, 0]);
    let inputs = Inputs {
        values: BTreeMap::from([("v".into(), x.clone()), ("x".into(), x)]),
        ..Inputs::default()
    };
    let outputs = run(&module, "e", &BTreeMap::new(), &inputs).unwrap().values;
    assert_eq!(outputs["d"], ints(&[2, 4], &[0, 127, 127, 127, 0, 0, 8, 8]));

    // Of another value's maximum nothing is known but its interval.
    let unrelated: Module = text.replace("reduce(%x)", "reduce(%v)").parse().unwrap();
    let said = mlc_ir::verify(&unrelated).unwrap_err();
    assert!(
        said[0]
            .to_string()
            .contains("inference says int<0x1p-3, -127, 127>[2, 4]"),
        "{}",
        said[0]
    );
}

#[test]
fn lookups_round_half_up() {
    let text = "module \"m\" quantised
        entry \"e\" {
          input %x: int<0x1p0, -16, 13>[5] public \"x\"
          %y: int<0x1p2, -2, 2>[5] = requant(%x) {shift = 2, table = \"t\", scale = 0x1p2}
          output %y public \"y\"
        }";
    let mut module: Module = text.parse().unwrap();
    module.tables.insert(
        "t".into(),
        mlc_ir::Table::tabulate(3, 4, |v| v.clamp(-2, 2) as i32).unwrap().into(),
    );
    mlc_ir::verify(&module).unwrap();
    let x = ints(&[5], &[-16, -2, 1, 2, 13]);
    let inputs = Inputs {
        values: BTreeMap::from([("x".into(), x)]),
        ..Inputs::default()
    };
    let y = run(&module, "e", &BTreeMap::new(), &inputs).unwrap().values["y"].clone();
    assert_eq!(y, ints(&[5], &[-2, 0, 0, 1, 2]));
}

#[test]
fn quantised_weights_are_the_rounded_recipe_and_keep_their_bounds() {
    let module = |bound: i64, scale: &str| -> Module {
        format!(
            "module \"m\" quantised
             weight @w: int<{scale}, -9, 9>[2, 2] committed = map(fn round(div(x, {scale})), tensor(\"w\", [2, 2])) abs_sum [1] <= {bound}
             entry \"e\" {{ %w: int<{scale}, -9, 9>[2, 2] = weight() {{name = @w}} output %w public \"w\" }}"
        )
        .parse()
        .unwrap()
    };
    let source = BTreeMap::from([("w".to_owned(), tensor(&[2, 2], vec![0.5f32, -0.75, 1.3, 2.0]))]);
    let run = |module: &Module, source: &BTreeMap<String, TensorF32>| run(module, "e", source, &Inputs::default());
    assert_eq!(
        run(&module(7, "0x1p-1"), &source).unwrap().values["w"],
        ints(&[2, 2], &[1, -2, 3, 4])
    );
    let exceeded = RunError::AbsSum {
        weight: "w".into(),
        found: 7,
        bound: 6,
    };
    assert_eq!(run(&module(6, "0x1p-1"), &source), Err(exceeded));
    let outside = RunError::Bounds {
        value: "w".into(),
        at: 2,
        found: 10,
        lo: -9,
        hi: 9,
    };
    assert_eq!(run(&module(99, "0x1p-3"), &source), Err(outside));
    let missing = run(&module(7, "0x1p-1"), &BTreeMap::new()).unwrap_err();
    assert_eq!(missing.to_string(), "weight `w`: there is no tensor `w`");
}

const COUNTER: &str = r#"
module "m" real
dim n: 1..4
dim past: 0..8
weight @w: real[1] committed over (l < 3) = stack(l, tensor("a", [1]), tensor("b", [1]), first_of(tensor("none", [1]), tensor("c.{l+1}", [1])))
state @s: real[past] private over (l < 3) axis 0
entry "e" {
  input %x: real[n] public "x"
  input %k: real[3, n] public "k"
  %y: real[n], %seen: real[3, n+past] = repeat(%x, %k) {index = l, count = 3, carried = 1} do (%c: real[n], %kl: real[n]) {
    %w: real[1] = weight() {name = @w}
    %p: real[n] = mul(%c, %w)
    %q: real[n] = add(%p, %kl)
    %s: real[n+past] = state_append(%q) {name = @s}
    yield (%q, %s)
  }
  output %y public "y"
  output %seen public "seen"
}
"#;

fn counter(past: i64, states: BTreeMap<(String, Vec<i64>), Data>) -> Result<Outputs, RunError> {
    let module: Module = COUNTER.parse().unwrap();
    mlc_ir::verify(&module).map_err(|e| e[0].to_string()).unwrap();
    let one = |v: f32| tensor(&[1], vec![v]);
    let source: BTreeMap<String, TensorF32> = [("a", 2.0), ("b", 3.0), ("c.3", 5.0)]
        .map(|(n, v)| (n.to_owned(), one(v)))
        .into();
    let dims = Bindings::from([("n".into(), 1), ("past".into(), past)]);
    let values = BTreeMap::from([
        ("x".into(), real(&[1], &[1.0])),
        ("k".into(), real(&[3, 1], &[1.0, 10.0, 100.0])),
    ]);
    run(&module, "e", &source, &Inputs { dims, values, states })
}

#[test]
fn regions_carry_slice_collect_and_keep_states() {
    let first = counter(0, BTreeMap::new()).unwrap();
    assert_eq!(first.values["y"], real(&[1], &[195.0]));
    assert_eq!(first.values["seen"], real(&[3, 1], &[3.0, 19.0, 195.0]));
    assert_eq!(first.states.len(), 3);
    let second = counter(1, first.states).unwrap();
    assert_eq!(
        second.values["seen"],
        real(&[3, 2], &[3.0, 3.0, 19.0, 19.0, 195.0, 195.0])
    );
    assert_eq!(second.states[&("s".to_owned(), vec![1])], real(&[2], &[19.0, 19.0]));
}

#[test]
fn what_is_missing_or_misshapen_is_named() {
    assert_eq!(counter(1, BTreeMap::new()), Err(RunError::MissingInput("s".into())));
    assert!(matches!(counter(9, BTreeMap::new()), Err(RunError::DimRange { .. })));
    let x = ("x", "real[2]", real(&[3], &[0.0; 3]));
    let misshapen = on("real", "%y: real[2] = softmax(%x)", &[x]);
    assert_eq!(
        misshapen,
        Err(RunError::Shape {
            value: "x".into(),
            found: vec![3],
            expected: vec![2]
        })
    );
    let x = ("x", "real[1]", ints(&[1], &[0]));
    assert_eq!(
        on("real", "%y: real[1] = softmax(%x)", &[x]),
        Err(RunError::Elements("x".into()))
    );
    let module: Module = COUNTER.parse().unwrap();
    let missing = run(&module, "f", &BTreeMap::new(), &Inputs::default());
    assert_eq!(missing, Err(RunError::NoEntry("f".into())));
}
