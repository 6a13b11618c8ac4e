//! The models of the benchmark. All of them are in the binary: the digits with their trained weights, the others as
//! source with weights from a seed.

use std::collections::BTreeMap;
use std::path::Path;

use mlc_compiler::plan::QuantConfig;
use mlc_compiler::{Config, MemoryHost, check};
use mlc_ir::{Bindings, Elem, StackAxis, TensorF32};
use mlc_runtime::inputs::InputFile;

use crate::error::{CliError, Diagnosed};
use crate::input::{self, Bound};
use crate::model::Model;
use crate::pipeline;
use crate::random::{self, Rng};
use crate::weights::Weights;

/// Every suite.
pub(super) const NAMES: [&str; 6] = ["digits", "mlp-784-128-10", "lenet5", "residual16", "blocks", "shapes"];

/// Depths of the Llama of the suite `blocks`, with their names in the report.
const DEPTHS: [(u32, &str); 4] = [
    (1, "llama-1-block"),
    (4, "llama-4-blocks"),
    (16, "llama-16-blocks"),
    (64, "llama-64-blocks"),
];

/// A model of the suite `shapes`: the shape of a published model with random weights of the size that trained ones have.
struct Shape {
    name: &'static str,
    source: &'static [u8],
    config: &'static [(&'static str, &'static str)],
    tokens: i64,
}

/// The suite `shapes`.
const SHAPES: [Shape; 4] = [
    Shape {
        name: "gpt2-124m",
        source: include_bytes!("../../../../stdlib/models/gpt2.mlc"),
        config: &[
            ("vocab", "50257"),
            ("d", "768"),
            ("layers", "12"),
            ("heads", "12"),
            ("hidden", "3072"),
            ("most", "1024"),
            ("last", "true"),
        ],
        tokens: 16,
    },
    Shape {
        name: "smollm2-135m",
        source: include_bytes!("../../../../stdlib/models/llama.mlc"),
        config: &[
            ("vocab", "49152"),
            ("d", "576"),
            ("layers", "30"),
            ("heads", "9"),
            ("kv_heads", "3"),
            ("hidden", "1536"),
            ("theta", "100000"),
            ("tied", "true"),
            ("last", "true"),
        ],
        tokens: 16,
    },
    Shape {
        name: "llama3-8b-block",
        source: include_bytes!("block.mlc"),
        config: &[
            ("d", "4096"),
            ("heads", "32"),
            ("kv_heads", "8"),
            ("hidden", "14336"),
            ("theta", "500000"),
        ],
        tokens: 1,
    },
    Shape {
        name: "qwen3-14b-block",
        source: include_bytes!("block.mlc"),
        config: &[
            ("d", "5120"),
            ("heads", "40"),
            ("kv_heads", "8"),
            ("head_dim", "128"),
            ("hidden", "17408"),
            ("theta", "1000000"),
            ("qk_norm", "true"),
        ],
        tokens: 1,
    },
];

/// The Llama of the suite `blocks`, but for its depth: 49k weights a block.
const LLAMA: [(&str, &str); 8] = [
    ("vocab", "256"),
    ("d", "64"),
    ("heads", "4"),
    ("kv_heads", "2"),
    ("hidden", "192"),
    ("most", "64"),
    ("context", "8"),
    ("tied", "true"),
];

/// A model to prove.
pub(super) struct Case {
    /// As in the report.
    pub(super) name: &'static str,
    /// The model.
    pub(super) model: Model,
    /// What it is calibrated on.
    pub(super) samples: Vec<Bound>,
    /// What is proved.
    pub(super) input: Bound,
    /// Widths: those that the source declares, or the same for every model of a suite.
    pub(super) config: QuantConfig,
}

macro_rules! digits {
    ($file:literal) => {
        include_bytes!(concat!("../../../../examples/digits/", $file))
    };
}

/// The names of a suite's models, in order.
pub(super) fn names(suite: &str) -> Vec<&str> {
    match suite {
        "digits" => vec!["digits-mlp", "digits-cnn"],
        "blocks" => DEPTHS.iter().map(|d| d.1).collect(),
        "shapes" => SHAPES.iter().map(|s| s.name).collect(),
        alone => vec![alone],
    }
}

/// The model of a name in a suite: none or one.
pub(super) fn cases(suite: &str, name: &str) -> Result<Vec<Case>, CliError> {
    let wanted = |own: &str| own == name;
    match suite {
        "shapes" => SHAPES.iter().filter(|s| wanted(s.name)).map(shape).collect(),
        "blocks" => (DEPTHS.iter().filter(|d| wanted(d.1)))
            .map(|(layers, name)| llama(name, *layers))
            .collect(),
        _ => Ok(small(suite)?.into_iter().filter(|c| wanted(c.name)).collect()),
    }
}

/// The models of the other suites.
fn small(suite: &str) -> Result<Vec<Case>, CliError> {
    match suite {
        "digits" => Ok(vec![
            digit("digits-mlp", digits!("mlp.mlc"), digits!("mlp.safetensors"))?,
            digit("digits-cnn", digits!("cnn.mlc"), digits!("cnn.safetensors"))?,
        ]),
        "mlp-784-128-10" => Ok(vec![plain("mlp-784-128-10", include_bytes!("mlp.mlc"), 1, 0.0)?]),
        "lenet5" => Ok(vec![plain("lenet5", include_bytes!("lenet5.mlc"), 1, 0.0)?]),
        "residual16" => Ok(vec![plain("residual16", include_bytes!("residual16.mlc"), 16, -1.0)?]),
        other => Err(CliError::Usage(format!(
            "there is no suite `{other}`; there are {}",
            NAMES.join(", ")
        ))),
    }
}

/// A digits model, calibrated on its samples, on the first of them.
fn digit(name: &'static str, source: &[u8], weights: &[u8]) -> Result<Case, CliError> {
    let weights = Weights::safetensors(Path::new("digits"), weights)?;
    let model = model(name, source, weights, &Config::default())?;
    let declared = input::declared(&model.module, &model.entry);
    let samples = input::parse(Path::new("samples.npy"), digits!("samples/samples.npy"), None)?;
    let InputFile::One(all) = &samples else {
        return Err(CliError::refused("the samples are one tensor"));
    };
    let first = TensorF32 {
        shape: vec![1, 64],
        data: all.data[..64].to_vec(),
    };
    let input = input::bind(&declared, InputFile::One(first), name)?;
    let samples = vec![input::bind(&declared, samples, name)?];
    Ok(Case {
        name,
        model,
        samples,
        input,
        config: QuantConfig::default(),
    })
}

/// A model of real inputs.
fn plain(name: &'static str, source: &[u8], batch: i64, least: f64) -> Result<Case, CliError> {
    generated(name, source, &Config::default(), ("batch", batch), least, held)
}

/// A Llama of so many blocks on eight tokens.
fn llama(name: &'static str, layers: u32) -> Result<Case, CliError> {
    let mut config = Config::default();
    for (key, value) in LLAMA {
        config.set(key, value);
    }
    config.set("layers", &layers.to_string());
    let source = include_bytes!("../../../../stdlib/models/llama.mlc");
    generated(name, source, &config, ("tokens", 8), 0.0, held)
}

/// A published model's shape.
fn shape(shape: &Shape) -> Result<Case, CliError> {
    let mut config = Config::default();
    for (key, value) in shape.config {
        config.set(key, value);
    }
    let dims = ("tokens", shape.tokens);
    let mut case = generated(shape.name, shape.source, &config, dims, -1.0, Weights::Seeded)?;
    pipeline::declare(&case.model, &mut case.config);
    // One token alone attends to nothing but itself: no scores to measure.
    let calibrated = ("tokens", shape.tokens.max(8));
    case.samples = vec![drawn(shape.name, &case.model, calibrated, -1.0)?];
    Ok(case)
}

/// Weights in memory, uniform.
fn held(shapes: BTreeMap<String, Vec<usize>>) -> Weights {
    let tensor = |(name, shape): (String, Vec<usize>)| (name.clone(), random::tensor(1, &name, shape));
    Weights::Tensors(shapes.into_iter().map(tensor).collect())
}

/// A model with weights and one input from a seed, elements of the input uniform in `[least, 1)`, or in the whole vocabulary.
fn generated(
    name: &'static str,
    source: &[u8],
    config: &Config,
    (dim, length): (&str, i64),
    least: f64,
    weights: fn(BTreeMap<String, Vec<usize>>) -> Weights,
) -> Result<Case, CliError> {
    let mut model = model(name, source, Weights::None, config)?;
    // The recipes say which tensors the source wants.
    let mut tensors = BTreeMap::new();
    for weight in model.module.weights.values() {
        for bindings in iterations(&weight.stack) {
            for (name, shape) in weight.recipe.tensors(&bindings).map_err(CliError::refused)? {
                tensors.insert(name, shape.into_iter().map(|n| n as usize).collect());
            }
        }
    }
    model.weights = weights(tensors);
    let input = drawn(name, &model, (dim, length), least)?;
    Ok(Case {
        name,
        model,
        samples: vec![input.clone()],
        input,
        config: QuantConfig::default(),
    })
}

/// An input from a seed.
fn drawn(name: &str, model: &Model, (dim, length): (&str, i64), least: f64) -> Result<Bound, CliError> {
    let declared = input::declared(&model.module, &model.entry);
    let mut rng = Rng::new(2);
    let entry = model.entry();
    let dims = [(dim.to_owned(), length)].into();
    let mut named = BTreeMap::new();
    for (port, id) in entry.inputs.iter().zip(&entry.body.params) {
        let shape = entry.ty(*id).shape.eval(&dims).map_err(CliError::refused)?;
        let elem = entry.ty(*id).elem;
        let uniform = |_| {
            let part = (rng.uniform() + 1.0) / 2.0;
            match elem {
                Elem::Index(below) => (part * below as f64).floor() as f32,
                _ => (least + (1.0 - least) * part) as f32,
            }
        };
        let data = (0..shape.iter().product::<usize>()).map(uniform).collect();
        named.insert(port.name.clone(), TensorF32 { shape, data });
    }
    input::bind(&declared, InputFile::Named(named), name)
}

/// Every binding of the indices of a stack.
fn iterations(stack: &[StackAxis]) -> Vec<Bindings> {
    let one = |all: Vec<Bindings>, axis: &StackAxis| {
        let with = |b: &Bindings, i: u64| {
            let mut b = b.clone();
            b.insert(axis.index.clone(), i as i64);
            b
        };
        all.iter()
            .flat_map(|b| (0..axis.count).map(|i| with(b, i)).collect::<Vec<_>>())
            .collect()
    };
    stack.iter().fold(vec![Bindings::new()], one)
}

fn model(name: &str, source: &[u8], weights: Weights, config: &Config) -> Result<Model, CliError> {
    let path = format!("{name}.mlc");
    let host = MemoryHost([(path.clone(), source.to_vec())].into());
    let checked = check(&host, &path, config);
    match checked.module {
        Some(module) => Ok(Model {
            module,
            quant: checked.quant,
            calibration: Vec::new(),
            weights,
            entry: "main".to_owned(),
            limits: BTreeMap::new(),
            warnings: None,
        }),
        None => Err(CliError::Source(Box::new(Diagnosed {
            diagnostics: checked.diagnostics,
            sources: checked.sources,
            weights: None,
        }))),
    }
}
