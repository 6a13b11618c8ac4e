//! Types of results, and what is said where there is none: one line per case.

#![allow(clippy::unwrap_used)] // helpers of tests

use mlc_ir::{
    BinaryOp, Conv2d, Dim, Einsum, Formula, GraphBuilder, Module, Op, Pool, PoolKind, ReduceKind, Rope, RopeLayout,
    Shape, Stage, Type, ValueId, Visibility,
};

/// The type that `op` gives on operands of the types written, or the error.
fn case(op: Op, operands: &[&str]) -> String {
    let inputs: String = operands
        .iter()
        .enumerate()
        .map(|(i, ty)| format!("input %i{i}: {ty} public \"i{i}\"\n"))
        .collect();
    let text = format!("module \"m\" real dim batch: 1..8 dim tokens: 1..16 entry \"types\" {{ {inputs} }}");
    let mut module: Module = text.parse().unwrap();
    let types: Vec<Type> = module.entries["types"].values.iter().map(|v| v.ty.clone()).collect();
    let mut g = module.entry("e");
    let ids: Vec<ValueId> = types
        .into_iter()
        .map(|ty| g.input("i", Visibility::Public, ty))
        .collect();
    let name = op.name();
    let result = match g.push(op, &ids) {
        Ok(id) => g.ty(id).to_string(),
        Err(error) => error.to_string(),
    };
    format!("{name}({}) => {result}", operands.join(", "))
}

fn einsum(text: &str) -> Op {
    Op::Contract(Einsum::parse(text).unwrap())
}

#[test]
fn contractions_and_windows() {
    let conv = |stride, pad, dilation, groups| {
        Op::Conv2d(Conv2d {
            stride: [stride; 2],
            pad: [pad; 4],
            dilation: [dilation; 2],
            groups,
        })
    };
    let pool = |kind, window, stride, pad, count_include_pad| {
        Op::Pool(Pool {
            kind,
            window: [window; 2],
            stride: [stride; 2],
            pad: [pad; 4],
            count_include_pad,
        })
    };
    let image = "real[batch, 6, 8, 8]";
    let int_image = "int<0x1p-2, -8, 7>[batch, 6, 8, 8]";
    let cases = [
        case(einsum("bik,kj->bij"), &["real[batch, 3, 4]", "real[4, 5]"]),
        case(einsum("bik,kj->bij"), &["real[batch, 3, 4]", "real[3, 5]"]),
        case(einsum("bik,kj->bij"), &["real[batch, 3, 4]", "real[3]"]),
        case(
            einsum("ik,kj->ij"),
            &["int<0x1p-1, -3, 4>[2, 4]", "int<0x1p-2, 0, 10>[4, 5]"],
        ),
        case(
            einsum("ik,kj->ij"),
            &["int<0x1p0, 1, 4>[2, tokens]", "int<0x1p0, 2, 10>[tokens, 5]"],
        ),
        case(einsum("ik,kj->ij"), &["real[2, 4]", "int<0x1p0, 0, 10>[4, 5]"]),
        case(einsum("ik,kj->ij"), &["real[2, 4]", "mask[4, 5]"]),
        case(conv(1, 1, 1, 1), &[image, "real[4, 6, 3, 3]"]),
        case(conv(2, 0, 2, 3), &[image, "real[9, 2, 3, 3]"]),
        case(conv(1, 0, 1, 1), &["real[batch, 6, tokens, 8]", "real[4, 6, 3, 3]"]),
        case(conv(2, 0, 1, 1), &["real[batch, 6, tokens, 8]", "real[4, 6, 3, 3]"]),
        case(conv(2, 0, 1, 1), &["real[batch, 6, 2*tokens, 8]", "real[4, 6, 3, 3]"]),
        case(conv(1, 0, 1, 4), &[image, "real[4, 6, 3, 3]"]),
        case(conv(1, 0, 1, 1), &[image, "real[4, 3, 3, 3]"]),
        case(conv(1, 0, 1, 1), &[image, "real[4, 6, 9, 3]"]),
        case(conv(0, 0, 1, 1), &[image, "real[4, 6, 3, 3]"]),
        case(conv(1, 0, 1, 1), &[int_image, "int<0x1p-3, 1, 2>[4, 6, 2, 2]"]),
        case(
            conv(1, 1, 1, 1),
            &["int<0x1p0, 3, 7>[1, 1, 4, 4]", "int<0x1p0, 1, 2>[1, 1, 2, 2]"],
        ),
        case(pool(PoolKind::Max, 2, 2, 0, false), &[image]),
        case(pool(PoolKind::Max, 2, 2, 2, false), &[image]),
        case(pool(PoolKind::Avg, 2, 1, 1, true), &[int_image]),
        case(pool(PoolKind::Avg, 2, 1, 1, false), &[int_image]),
        case(pool(PoolKind::Avg, 2, 1, 0, false), &["real[6, 8, 8]"]),
    ];
    insta::assert_snapshot!(cases.join("\n"));
}

#[test]
fn elementwise_and_rows() {
    let binary = |op, a, b| case(Op::Binary(op), &[a, b]);
    let reduce = |kind, axes: &[usize], keepdims, x| {
        case(
            Op::Reduce {
                kind,
                axes: axes.to_vec(),
                keepdims,
            },
            &[x],
        )
    };
    let rope = |axis, rotary, bits| {
        Op::Rope(Rope {
            axis,
            start: Dim::fixed(0),
            rotary,
            layout: RopeLayout::Half,
            freq: Formula::x(),
            scale: 1.0,
            bits,
        })
    };
    let (a, b) = ("int<0x1p-2, -8, 7>[batch, 1]", "int<0x1p-2, 1, 3>[5]");
    let cases = [
        binary(BinaryOp::Add, "real[batch, 1, 3]", "real[4, 1]"),
        binary(BinaryOp::Add, "real[batch, 2]", "real[3]"),
        binary(BinaryOp::Add, a, b),
        binary(BinaryOp::Sub, a, b),
        binary(BinaryOp::Mul, a, b),
        binary(BinaryOp::Max, a, b),
        binary(BinaryOp::Min, a, b),
        binary(BinaryOp::Div, a, b),
        binary(BinaryOp::Add, a, "int<0x1p-3, 1, 3>[5]"),
        binary(BinaryOp::Mul, a, "real[5]"),
        binary(BinaryOp::Mul, a, "mask[5]"),
        binary(BinaryOp::And, "mask[batch, 5]", "mask[5]"),
        binary(BinaryOp::And, "mask[batch, 5]", "real[5]"),
        case(
            Op::Table {
                name: "f".into(),
                formula: Formula::x().exp(),
            },
            &["real[batch]"],
        ),
        case(
            Op::Table {
                name: "f".into(),
                formula: Formula::var(1),
            },
            &["real[batch]"],
        ),
        case(Op::Softmax, &["real[batch, 4]", "mask[4]"]),
        case(Op::Softmax, &["real[4]", "mask[batch, 4]"]),
        case(Op::Softmax, &["real[]"]),
        case(Op::Softmax, &[]),
        case(Op::LayerNorm { eps: 0.0 }, &["real[batch, 4]", "real[4]", "real[5]"]),
        case(
            Op::BatchNorm { eps: 0.0 },
            &["real[batch, 4, 2]", "real[4]", "real[4]", "real[4]", "real[2]"],
        ),
        case(
            Op::Where,
            &["mask[batch, 1]", "int<0x1p0, 0, 3>[4]", "int<0x1p0, -5, 1>[]"],
        ),
        case(Op::Where, &["mask[batch, 1]", "real[4]", "index<4>[]"]),
        reduce(ReduceKind::Sum, &[1], false, "int<0x1p0, 2, 3>[batch, 4]"),
        reduce(ReduceKind::Sum, &[0], true, "int<0x1p0, 2, 3>[batch, 4]"),
        reduce(ReduceKind::Mean, &[1], false, "int<0x1p0, 2, 3>[batch, 4]"),
        reduce(ReduceKind::Mean, &[0], false, "int<0x1p0, 2, 3>[batch, 4]"),
        reduce(ReduceKind::Max, &[0, 1], false, "int<0x1p0, 2, 3>[batch, 4]"),
        reduce(ReduceKind::Sum, &[2], false, "real[batch, 4]"),
        reduce(ReduceKind::Sum, &[1, 0], false, "real[batch, 4]"),
        case(rope(0, 4, 6), &["int<0x1p0, -8, 7>[tokens, 6]"]),
        case(rope(0, 3, 0), &["real[tokens, 6]"]),
        case(rope(1, 4, 0), &["real[tokens, 6]"]),
        case(Op::Embedding, &["real[9, 4]", "index<9>[tokens]"]),
        case(Op::Embedding, &["real[9, 4]", "index<10>[tokens]"]),
        case(Op::Embedding, &["real[9, 4]", "real[tokens]"]),
        case(Op::ArgMax, &["real[batch, 4]"]),
        case(Op::ArgMax, &["real[4, batch]"]),
    ];
    insta::assert_snapshot!(cases.join("\n"));
}

#[test]
fn layout() {
    let shape = |dims: &[Dim]| Shape(dims.to_vec());
    let (batch, tokens) = (Dim::runtime("batch"), Dim::runtime("tokens"));
    let slice = |axis, start: i64, end: Dim, step, x| {
        case(
            Op::Slice {
                axis,
                start: start.into(),
                end,
                step,
            },
            &[x],
        )
    };
    let cases = [
        case(
            Op::Reshape(shape(&[batch.clone(), 2i64.into(), 6i64.into()])),
            &["real[batch, 12]"],
        ),
        case(Op::Reshape(shape(&[6i64.into(), batch.times(2)])), &["real[batch, 12]"]),
        case(Op::Reshape(shape(&[batch.clone(), 11i64.into()])), &["real[batch, 12]"]),
        case(Op::Transpose(vec![2, 0, 1]), &["mask[batch, 3, tokens]"]),
        case(Op::Transpose(vec![0, 0, 1]), &["mask[batch, 3, tokens]"]),
        case(Op::Concat { axis: 0 }, &["real[batch, 2]", "real[tokens, 2]"]),
        case(Op::Concat { axis: 1 }, &["real[batch, 2]", "real[tokens, 2]"]),
        case(Op::Concat { axis: 0 }, &["int<0x1p0, 0, 3>[2]", "int<0x1p0, -4, 1>[3]"]),
        case(Op::Concat { axis: 2 }, &["real[batch, 2]"]),
        slice(0, 1, tokens.clone(), 1, "real[tokens, 4]"),
        slice(1, 0, 4i64.into(), 3, "real[tokens, 4]"),
        slice(0, 0, tokens, 2, "real[tokens, 4]"),
        slice(1, 2, 5i64.into(), 1, "real[tokens, 4]"),
        slice(1, 0, 4i64.into(), 0, "real[tokens, 4]"),
        case(
            Op::Pad {
                lo: vec![1, 0],
                hi: vec![0, 2],
                value: 9.0,
            },
            &["int<0x1p0, 0, 3>[tokens, 4]"],
        ),
        case(
            Op::Pad {
                lo: vec![1, 0],
                hi: vec![0, 2],
                value: 0.5,
            },
            &["int<0x1p0, 0, 3>[tokens, 4]"],
        ),
        case(
            Op::Pad {
                lo: vec![1],
                hi: vec![0, 2],
                value: 0.5,
            },
            &["real[tokens, 4]"],
        ),
        case(Op::Broadcast(shape(&[batch.clone(), 4i64.into()])), &["real[4]"]),
        case(Op::Broadcast(shape(&[4i64.into()])), &["real[batch, 4]"]),
        case(Op::Weight("w".into()), &[]),
        case(Op::StateRead("s".into()), &[]),
        case(
            Op::CausalMask {
                rows: batch.clone(),
                cols: batch,
                offset: 0i64.into(),
                window: Some(0),
            },
            &[],
        ),
    ];
    insta::assert_snapshot!(cases.join("\n"));
}

fn region(f: impl FnOnce(&mut GraphBuilder<'_>, ValueId) -> Result<Vec<ValueId>, mlc_ir::InferError>) -> String {
    let mut module = Module::new("m", Stage::Real);
    let mut g = module.entry("e");
    let x = g.input("x", Visibility::Public, Type::real(Shape::new([3i64, 4])));
    match f(&mut g, x) {
        Ok(ids) => ids.iter().map(|id| g.ty(*id).to_string()).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

#[test]
fn regions() {
    let cases = [
        region(|g, x| {
            let p = g.begin_repeat("l", 3, &[x], &[x])?;
            let sum = g.add(p[0], p[1])?;
            g.end_repeat(&[sum, p[1]])
        }),
        region(|g, x| g.begin_repeat("l", 2, &[], &[x])),
        region(|g, x| {
            let p = g.begin_repeat("l", 3, &[x], &[])?;
            let t = g.transpose(p[0], &[1, 0])?;
            g.end_repeat(&[t])
        }),
        region(|g, x| {
            g.begin_repeat("l", 3, &[x], &[])?;
            g.end_repeat(&[])
        }),
        region(|g, x| {
            g.begin_repeat("l", 0, &[x], &[])?;
            g.end_repeat(&[x])
        }),
        region(|g, x| {
            let recipe = mlc_ir::Recipe::tensor("w.{l}", [4]).unwrap();
            g.begin_repeat("l", 3, &[x], &[])?;
            let w = g.weight("w", mlc_ir::Weight::real(Shape::new([4i64]), recipe.clone()))?;
            let y = g.mul(x, w)?;
            g.end_repeat(&[y])?;
            Ok(vec![g.push(Op::Weight("w".into()), &[])?])
        }),
    ];
    insta::assert_snapshot!(cases.join("\n"));
}
