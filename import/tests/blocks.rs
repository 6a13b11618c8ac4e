//! Transformers as both exporters of PyTorch write them: every chain of small operators is found again as the one operation
//! that it is, and the blocks as one region.
//!
//! The models are those of `scripts/models/make_exports.py`; `cli/tests/exports.rs` runs them.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail by panicking

use std::path::Path;

use mlc_compiler::pipeline::prepare;
use mlc_compiler::plan::QuantPlan;
use mlc_import::{Options, import_file};
use mlc_ir::{Module, Op, Region};

/// A prepared module.
fn prepared(model: &str, exporter: &str) -> Module {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli/tests/fixtures/exports");
    let path = folder.join(model).join(format!("{exporter}.onnx"));
    let imported = import_file(&path, &Options::default()).unwrap();
    prepare(imported.module, &QuantPlan::default(), &mut |_, _| {}).unwrap()
}

/// The block that is repeated three times; there is no other.
fn block(module: &Module) -> &Region {
    let regions: Vec<_> = module.entries["main"]
        .body
        .nodes
        .iter()
        .filter_map(|n| match &n.op {
            Op::Repeat(repeat) => Some(repeat),
            _ => None,
        })
        .collect();
    let [repeat] = regions.as_slice() else {
        panic!("{} regions", regions.len());
    };
    assert_eq!((repeat.count, repeat.carried), (3, 1));
    &repeat.body
}

/// What a block computes, without names, weights and views.
fn operations(module: &Module) -> Vec<String> {
    let view = |op: &Op| matches!(op, Op::Weight(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Slice { .. });
    let nodes = block(module).nodes.iter().filter(|n| !view(&n.op));
    let mut all: Vec<String> = nodes
        .map(|n| match &n.op {
            Op::Table { name, .. } => format!("table {name}"),
            op => op.name().to_owned(),
        })
        .collect();
    all.sort();
    all
}

/// The entry's text.
fn text(module: &Module) -> String {
    let text = module.to_string();
    text[text.find("\nentry").unwrap() + 1..].to_owned()
}

macro_rules! exports {
    ($($model:ident),*) => {
        $(
            #[test]
            fn $model() {
                let module = prepared(stringify!($model), "dynamo");
                insta::assert_snapshot!(text(&module));
                assert_eq!(
                    operations(&module),
                    operations(&prepared(stringify!($model), "script"))
                );
            }
        )*
    };
}

exports!(bert, gpt2, llama, qwen2, qwen3);
