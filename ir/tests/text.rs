//! The textual form: what is printed parses to the same module, and broken texts are refused with their position.

#![allow(clippy::unwrap_used)] // helpers of tests

use mlc_ir::{
    BinaryOp, Conv2d, Dim, Formula, Module, Pool, PoolKind, Recipe, ReduceKind, Requant, Rope, RopeLayout, Shape, Span,
    Stage, Table, Template, Type, Visibility, Weight,
};

fn parse(text: &str) -> Module {
    text.parse().unwrap()
}

fn round_trip(module: &Module) -> String {
    let text = module.to_string();
    assert_eq!(parse(&text).to_string(), text);
    assert_eq!(&parse(&text), module);
    text
}

fn span(start: u32, end: u32) -> Option<Span> {
    Some(Span {
        file: "cnn.mlc".into(),
        start,
        end,
    })
}

fn real<D: Into<Dim>, const N: usize>(dims: [D; N]) -> Type {
    Type::real(Shape::new(dims))
}

#[test]
fn a_convolutional_network() {
    let mut module = Module::new("cnn", Stage::Real);
    module.declare_dim("batch", 1, 64);
    let mut g = module.entry("main");
    let image = g.input(
        "image",
        Visibility::Private,
        Type::real(Shape(vec!["batch".into(), 1i64.into(), 8i64.into(), 8i64.into()])),
    );
    let w = g
        .weight(
            "conv1",
            Weight::real(
                Shape::new([4i64, 1, 3, 3]),
                Recipe::tensor("conv1.weight", [4, 1, 3, 3]).unwrap(),
            ),
        )
        .unwrap();
    let conv = Conv2d {
        pad: [1; 4],
        ..Conv2d::default()
    };
    let x = g.at(span(10, 32)).named("/conv1/Conv").conv2d(conv, image, w).unwrap();
    let x = g.table("relu", Formula::x().max(0.0), x).unwrap();
    let pool = Pool {
        kind: PoolKind::Max,
        window: [2, 2],
        stride: [2, 2],
        pad: [0; 4],
        count_include_pad: false,
    };
    let x = g.at(None).pool(pool, x).unwrap();
    let x = g.reduce(ReduceKind::Mean, &[2, 3], false, x).unwrap();
    let label = g.argmax(x).unwrap();
    g.output("logits", x, Visibility::Public);
    g.output("label", label, Visibility::Public);
    g.finish();
    insta::assert_snapshot!(round_trip(&module));
}

#[test]
fn a_transformer_block_with_cache() {
    let mut module = Module::new("llama", Stage::Real);
    module.declare_dim("tokens", 1, 128);
    module.declare_dim("past", 0, 384);
    let (tokens, past) = (Dim::runtime("tokens"), Dim::runtime("past"));
    let total = tokens.plus(&past);
    let mut g = module.entry("decode");
    let ids = g.input("ids", Visibility::Public, Type::index(32, Shape(vec![tokens.clone()])));
    let table = g
        .weight(
            "embed",
            Weight::real(Shape::new([32i64, 8]), Recipe::tensor("embed.weight", [32, 8]).unwrap()),
        )
        .unwrap();
    let x = g.embedding(table, ids).unwrap();
    let mask = g
        .causal_mask(tokens.clone(), total.clone(), past.clone(), None)
        .unwrap();
    let c = g.begin_repeat("l", 2, &[x], &[]).unwrap();
    let gain = g
        .weight(
            "gain",
            Weight::real(Shape::new([8i64]), Recipe::tensor("l.{l}.norm", [8]).unwrap()),
        )
        .unwrap();
    let h = g.rms_norm(1e-5, c[0], Some(gain)).unwrap();
    let heads = |name: &str| {
        let recipe = Recipe::tensor("l.{l}.qkv", [24, 8]).unwrap();
        let at = ["q", "k", "v"].iter().position(|n| *n == name).unwrap() as i64 * 8;
        Weight::real(Shape::new([2i64, 4, 8]), recipe.slice(0, at, 8).reshape([2, 4, 8]))
    };
    let rope = |start: &Dim| Rope {
        axis: 0,
        start: start.clone(),
        rotary: 4,
        layout: RopeLayout::Half,
        freq: Formula::from(1e4).pow(Formula::x() * -0.5),
        scale: 1.0,
        bits: 0,
    };
    let mut project = |name: &str| {
        let w = g.weight(name, heads(name)).unwrap();
        g.contract("td,hed->the", h, w).unwrap()
    };
    let (q, k, v) = (project("q"), project("k"), project("v"));
    let q = g.rope(rope(&past), q).unwrap();
    let k = g.rope(rope(&past), k).unwrap();
    let cache = Type::real(Shape(vec![past.clone(), 2i64.into(), 4i64.into()]));
    g.declare_state("k_cache", cache.clone(), 0, Visibility::Private);
    g.declare_state("v_cache", cache, 0, Visibility::Private);
    let k = g.state_append("k_cache", k).unwrap();
    let v = g.state_append("v_cache", v).unwrap();
    let scores = g.contract("the,she->hts", q, k).unwrap();
    let weights = g.softmax(scores, Some(mask)).unwrap();
    let mixed = g.contract("hts,she->the", weights, v).unwrap();
    let mixed = g.reshape(mixed, Shape(vec![tokens.clone(), 8i64.into()])).unwrap();
    let next = g.add(c[0], mixed).unwrap();
    let last = g.end_repeat(&[next]).unwrap()[0];
    let last = g.slice(last, 0, tokens.plus_const(-1), tokens, 1).unwrap();
    let logits = g.contract("td,vd->tv", last, table).unwrap();
    let token = g.argmax(logits).unwrap();
    g.output("token", token, Visibility::Public);
    g.finish();
    insta::assert_snapshot!(round_trip(&module));
}

#[test]
fn a_quantised_layer() {
    let mut module = Module::new("q", Stage::Quantised);
    module.declare_dim("batch", 1, 16);
    let clamp = Table::tabulate(10, 512, |v| v.clamp(0, 127) as i32).unwrap();
    module.tables.insert("relu8".into(), clamp.into());
    let mut g = module.entry("main");
    let x = g.input(
        "x",
        Visibility::Private,
        Type::int(0.0625, -128, 127, Shape(vec!["batch".into(), 4i64.into()])),
    );
    let recipe = Recipe::tensor("fc", [3, 4]).unwrap().quantise(0.5, -127, 127);
    let w = Weight {
        ty: Type::int(0.5, -127, 127, Shape::new([3i64, 4])),
        abs_sum: Some(mlc_ir::AbsSum {
            axes: vec![1],
            bound: 250,
        }),
        ..Weight::real(Shape::scalar(), recipe)
    };
    let w = g.weight("fc", w).unwrap();
    let acc = g.contract("bi,oi->bo", x, w).unwrap();
    assert_eq!(g.ty(acc).to_string(), "int<0x1p-5, -32000, 32000>[batch, 3]");
    let y = g
        .requant(
            Requant {
                shift: 6,
                table: Template::literal("relu8"),
                scale: 0.25,
                partial: false,
            },
            acc,
        )
        .unwrap();
    let two = g.binary(BinaryOp::Max, y, y).unwrap();
    g.output("y", two, Visibility::Public);
    g.finish();
    insta::assert_snapshot!(round_trip(&module));
}

#[test]
fn broken_texts_are_refused_where_they_break() {
    let refused = |text: &str| text.parse::<Module>().unwrap_err().to_string();
    let entry = |code: &str| refused(&format!("module \"m\" real\nentry \"e\" {{ {code} }}"));
    let deep = format!(
        "module \"m\" real // \"\nweight @w: real[] public = {}",
        "map(".repeat(100_000)
    );
    let all = [
        refused(""),
        refused("module \"m\" float"),
        refused("module \"m\" real dimm b: 1..2"),
        refused("module \"m\" real weight @w: reel[2] public = tensor(\"a\", [2])"),
        entry("%y: real[] = softmax(x)"),
        entry("%y: real[] = softmax(%x) {axis = 1} atop"),
        refused("module \"m\" real dim inf: 1..2"),
        refused("module \"m\" real dim b: 1..2 dim b: 1..2"),
        refused("module \"\\u{d800}\" real"),
        refused("module \"m\" quantised table @t bits 1 bias 0 hash \"00\" = [1, 2]"),
        refused("module \"m\" quantised table @t bits 2 bias 0 hash \"00\" = [1 x 99999999999]"),
        refused("module \"m\" quantised table @t bits 2 bias 0 hash \"00\" = [-2147483648..2147483647]"),
        refused("module \"m\" real weight @w: real[2] public = tensr(\"a\", [2])"),
        refused("module \"m\" real weight @w: real[2] public = map(fn exp(x, x), tensor(\"a\", [2]))"),
        refused(&deep),
        entry("%y: real[] = softmax(%x)"),
        entry("input %x: real[] public \"x\" input %x: real[] public \"x\""),
        entry("input %x: real[] public \"x\" %y: real[] = sofmax(%x)"),
        entry("input %x: real[] public \"x\" %y: real[] = softmax(%x) {axis = 1}"),
        entry("input %x: real[] public \"x\" %y: real[] = transpose(%x)"),
        entry("input %x: real[] public \"x\" %y: real[] = transpose(%x) {perm = [0x1p0]}"),
        entry("input %x: int<0x1.0p0, 0, 1>[] public \"x\""),
        entry("%y: real[1] = const() {value = f32[1]{0x1.0000001p0}}"),
        entry("%y: real[1] = const() {value = f32[2]{0x1p0}}"),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn blanks_and_comments_are_free() {
    let text = "// first\nmodule  \"m\"real dim b :1 .. 2// x\nentry\"e\"{input%x:real[ b,2 ]public\"x\" output %x private \"y\"}";
    assert_eq!(
        parse(text).to_string(),
        "module \"m\" real\n\ndim b: 1..2\n\nentry \"e\" {\n  input %x: real[b, 2] public \"x\"\n  output %x private \"y\"\n}\n"
    );
}

#[test]
fn every_type_has_its_spelling() {
    let types = [
        real(["b", "t"]),
        Type::index(7, Shape::scalar()),
        Type::mask(Shape::new([2i64])),
    ];
    assert_eq!(types.map(|t| t.to_string()).join(" "), "real[b, t] index<7>[] mask[2]");
}
