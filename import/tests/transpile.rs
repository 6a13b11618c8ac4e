//! Transpiled text checks without a diagnostic, and computes what the imported graph computes.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail by panicking

mod common;

use std::path::{Path, PathBuf};

use common::{description, execute, import, inputs, models};
use mlc_compiler::diagnostics::render;
use mlc_compiler::{CheckResult, Config, MemoryHost, check, fmt, syntax::FileId};
use mlc_import::transpile::{Transpiled, transpile};
use mlc_ir::interp::{Data, Inputs, run};
use mlc_ir::{Dim, Formula, Module, Op, RecipeError, Shape, Stage, TensorF32, Type, Visibility, WeightSource};

/// The weights of a text.
struct Weights<'a>(&'a Transpiled);

impl WeightSource for Weights<'_> {
    fn get(&self, name: &str) -> Result<TensorF32, RecipeError> {
        let tensor = self.0.weights.get(name).cloned();
        tensor.ok_or_else(|| RecipeError::Missing(name.to_owned()))
    }

    fn contains(&self, name: &str) -> bool {
        self.0.weights.contains_key(name)
    }
}

fn checked(transpiled: &Transpiled) -> Module {
    let weights = transpiled.weights.iter().map(|(name, tensor)| {
        let shape = tensor.shape.iter().map(|d| *d as u64).collect();
        (name.clone(), shape)
    });
    let config = Config {
        weights: Some(weights.collect()),
        ..Config::default()
    };
    let source = &transpiled.source;
    let result: CheckResult = check(&MemoryHost::single("main.mlc", source), "main.mlc", &config);
    let text = render::full(&result.diagnostics, &result.sources, false);
    assert!(result.diagnostics.is_empty(), "{source}\n{text}");
    result.module.unwrap()
}

/// Inputs under the names of the text, which follow those of the module in order.
fn renamed(inputs: Inputs, from: &Module, to: &Module) -> Inputs {
    let ports = |m: &Module| m.entries["main"].inputs.clone();
    let values = ports(from).into_iter().zip(ports(to)).map(|(a, b)| {
        let value = inputs.values[&a.name].clone();
        (b.name, value)
    });
    Inputs {
        values: values.collect(),
        ..inputs
    }
}

fn round_trip(path: &Path) {
    let imported = import(path);
    let description = description(path);
    let transpiled =
        transpile(&imported.module, &imported.weights).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let module = checked(&transpiled);
    let expected = execute(&imported.module, &imported.weights, &description);
    let given = renamed(inputs(&imported.module, &description), &imported.module, &module);
    let found = run(&module, "main", &Weights(&transpiled), &given).unwrap();
    let ports = |m: &Module| m.entries["main"].outputs.clone();
    assert_eq!(ports(&imported.module).len(), ports(&module).len());
    for (a, b) in ports(&imported.module).iter().zip(ports(&module)) {
        close(&expected.values[&a.name], &found.values[&b.name], path);
    }
}

fn close(a: &Data, b: &Data, path: &Path) {
    assert_eq!(a.shape(), b.shape(), "{}", path.display());
    match (a, b) {
        (Data::Real(a), Data::Real(b)) => {
            for (x, y) in a.data.iter().zip(&b.data) {
                assert!(
                    (x - y).abs() <= 1e-6 * y.abs().max(1.0),
                    "{}: {x} and {y}",
                    path.display()
                );
            }
        }
        (a, b) => assert_eq!(a, b, "{}", path.display()),
    }
}

#[test]
fn every_fixture_survives_the_way_through_text() {
    let groups = [
        "activation",
        "conv",
        "dense",
        "model",
        "pool",
        "quantised",
        "shape",
        "tensorflow",
    ];
    for path in groups.iter().flat_map(|g| models(g)) {
        round_trip(&path);
    }
}

fn digits(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/digits")
        .join(name)
}

#[test]
fn the_text_is_readable() {
    for model in ["mlp.onnx", "cnn.onnx"] {
        let imported = import(&digits(model));
        let transpiled = transpile(&imported.module, &imported.weights).unwrap();
        checked(&transpiled);
        let formatted = fmt::format(FileId(0), &transpiled.source).unwrap();
        insta::assert_snapshot!(model, formatted);
    }
}

#[test]
fn weights_become_safetensors() {
    let imported = import(&digits("mlp.onnx"));
    let transpiled = transpile(&imported.module, &imported.weights).unwrap();
    let bytes = transpiled.safetensors().unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 6);
    assert_eq!(file.tensor("fc1.weight").unwrap().shape(), [48, 64]);
    let stored = safetensors::SafeTensors::deserialize(&std::fs::read(digits("mlp.safetensors")).unwrap())
        .unwrap()
        .tensor("fc1.weight")
        .unwrap()
        .data()
        .to_vec();
    assert_eq!(file.tensor("fc1.weight").unwrap().data(), stored);
}

/// Names, formulas and comments of the standard library stay what the importer takes them for.
#[test]
fn standard_functions_are_those_of_the_library() {
    let plain = [
        "relu",
        "relu6",
        "sigmoid",
        "hard_sigmoid",
        "softplus",
        "silu",
        "hard_swish",
        "mish",
        "softsign",
        "gelu",
        "gelu_tanh",
        "selu",
    ];
    let mut source = format!("import std.activation.{{{}, leaky_relu, elu}}\n", plain.join(", "));
    source += "model M {\ndim batch: runtime max 4\nentry main(x: real[batch, 2]) -> (y: real[batch, 2]) {\n";
    for name in plain {
        source += &format!("let x = {name}(x)\n");
    }
    source += "let x = leaky_relu(x, slope = 0.25)\nelu(x, alpha = 0.5)\n}\n}\n";
    let result = check(&MemoryHost::single("main.mlc", &source), "main.mlc", &Config::default());
    let text = render::full(&result.diagnostics, &result.sources, false);
    let module = result.module.unwrap_or_else(|| panic!("{text}"));
    let transpiled = transpile(&module, &mlc_import::Initialisers::default()).unwrap();
    assert!(!transpiled.source.contains("table "), "{}", transpiled.source);
    let again = checked(&transpiled);
    let formulas = |m: &Module| -> Vec<Formula> {
        let nodes = m.entries["main"].all_nodes();
        let of = |op: &Op| match op {
            Op::Table { formula, .. } => Some(formula.clone()),
            _ => None,
        };
        nodes.into_iter().filter_map(|n| of(&n.op)).collect()
    };
    assert_eq!(formulas(&again), formulas(&module));
    assert_eq!(formulas(&module).len(), 14);
}

/// A region: weights by turn, a value carried.
#[test]
fn regions_become_repeat() {
    let mut module = Module::new("stack", Stage::Real);
    module.declare_dim("batch", 1, 8);
    let mut g = module.entry("main");
    let ty = Type::real(Shape(vec![Dim::runtime("batch"), Dim::fixed(3)]));
    let x = g.input("x", Visibility::Public, ty);
    let carried = g.begin_repeat("l", 4, &[x], &[]).unwrap();
    let recipe = mlc_ir::Recipe::tensor("blocks.{l}.weight", [3, 3]).unwrap();
    let w = g
        .weight("block.weight", mlc_ir::Weight::real(Shape::new([3i64, 3]), recipe))
        .unwrap();
    let h = g.contract("bi,oi->bo", carried[0], w).unwrap();
    let h = g.table("relu", Formula::x().max(0.0), h).unwrap();
    let next = g.add(carried[0], h).unwrap();
    let y = g.end_repeat(&[next]).unwrap()[0];
    g.output("y", y, Visibility::Public);
    g.finish();

    struct Blocks;
    impl WeightSource for Blocks {
        fn get(&self, name: &str) -> Result<TensorF32, RecipeError> {
            let seed = name.bytes().map(f32::from).sum::<f32>() % 7.0;
            let data = (0..9).map(|i| ((i as f32 + seed) * 0.37).sin() * 0.5).collect();
            Ok(TensorF32 {
                shape: vec![3, 3],
                data,
            })
        }

        fn contains(&self, _: &str) -> bool {
            true
        }
    }

    let transpiled = transpile(&module, &Blocks).unwrap();
    assert_eq!(
        transpiled.weights.keys().collect::<Vec<_>>(),
        ["block.weight.0", "block.weight.1", "block.weight.2", "block.weight.3",]
    );
    insta::assert_snapshot!("repeat", fmt::format(FileId(0), &transpiled.source).unwrap());
    let again = checked(&transpiled);
    let mut given = Inputs::default();
    given.dims.insert("batch".to_owned(), 2);
    let data = vec![0.5, -1.0, 2.0, 0.25, 0.0, -0.75];
    given.values.insert(
        "x".to_owned(),
        Data::Real(TensorF32 {
            shape: vec![2, 3],
            data,
        }),
    );
    let a = run(&module, "main", &Blocks, &given).unwrap();
    let given = renamed(given, &module, &again);
    let b = run(&again, "main", &Weights(&transpiled), &given).unwrap();
    close(&a.values["y"], &b.values["y"], Path::new("repeat"));
}
