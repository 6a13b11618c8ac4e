//! From a file to a module: read, check, translate node by node, name the outputs.

mod context;
pub(crate) mod formula;
mod graph;
mod inputs;
mod layout;
mod mask;
mod node;
mod ops;
mod rotary;
mod tensor;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mlc_ir::{Module, Stage, Visibility};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use self::context::Context;
use self::node::Node;
use self::value::Value;
use crate::error::{ImportError, ImportErrors, NodeError, TensorError};
use crate::initialisers::Initialisers;

/// What an import may be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the module; where it is not given, that of the file without its ending, or the graph's own.
    pub name: Option<String>,
    /// Greatest number of inputs at once, where the model leaves it open; bounds hold up to it.
    pub max_batch: u64,
    /// Greatest length of a sequence, where the model leaves it open.
    pub max_tokens: u64,
    /// Who sees the inputs.
    pub inputs: Visibility,
    /// Who sees the outputs.
    pub outputs: Visibility,
}

impl Default for Options {
    /// Up to 64 inputs of up to 512 tokens; inputs and outputs in the statement.
    fn default() -> Self {
        Options {
            name: None,
            max_batch: 64,
            max_tokens: 512,
            inputs: Visibility::Public,
            outputs: Visibility::Public,
        }
    }
}

/// The node of the file that a value of the module comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its name, or its first output where it has none.
    pub node: String,
    /// Its operator.
    pub operator: String,
}

/// A model read from a file.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The graph, one entry called `main`, real stage. Names of values are the names of nodes.
    pub module: Module,
    /// What the recipes of the module's weights name.
    pub weights: Initialisers,
    /// Where values of the module come from, by name: later diagnostics name the node.
    pub origins: BTreeMap<String, Origin>,
}

/// Imports the model in `path`; external data is looked for beside it, and nowhere else.
pub fn import_file(path: &Path, options: &Options) -> Result<Imported, ImportErrors> {
    let bytes = std::fs::read(path).map_err(|source| ImportError::File {
        path: path.to_owned(),
        source,
    })?;
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("."),
    };
    let mut options = options.clone();
    if options.name.is_none() {
        options.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    }
    import_bytes(&bytes, Some(folder), &options)
}

/// Imports a model from the bytes of its file; `folder` is where its external data may be.
pub fn import_bytes(bytes: &[u8], folder: Option<&Path>, options: &Options) -> Result<Imported, ImportErrors> {
    import_model(graph::decode(bytes)?, folder, options)
}

fn import_model(mut model: ModelProto, folder: Option<&Path>, options: &Options) -> Result<Imported, ImportErrors> {
    let initialisers = match &mut model.graph {
        Some(graph) => std::mem::take(&mut graph.initializer),
        None => Vec::new(),
    };
    let (graph, opset) = graph::graph(&model)?;
    let name = match (&options.name, graph.name.as_str()) {
        (Some(name), _) => name.clone(),
        (None, "") => "model".to_owned(),
        (None, name) => name.to_owned(),
    };
    let mut module = Module::new(name, Stage::Real);
    let mut ctx = Context::new(module.entry("main"), folder);

    let mut errors = Vec::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for sparse in &graph.sparse_initializer {
        let name = sparse.values.as_ref().map(|v| v.name.clone()).unwrap_or_default();
        let kind = TensorError::Type("sparse".to_owned());
        errors.push(ImportError::Tensor { name, kind });
    }
    let names: Vec<String> = initialisers.iter().map(|t| t.name.clone()).collect();
    for (proto, name) in initialisers.into_iter().zip(&names) {
        let stored = match known.insert(name) {
            true => tensor::read(proto, folder),
            false => Err(TensorError::Twice),
        };
        let stored = stored.map_err(|kind| NodeError::Tensor(name.clone(), kind));
        match stored.and_then(|stored| ctx.store(name, stored)) {
            Ok(value) => ctx.define(name, value),
            Err(error) => {
                ctx.define(name, Value::Unknown);
                errors.push(error.at("", ""));
            }
        }
    }
    inputs::declare(&mut ctx, graph, &mut known, options, &mut errors);
    let nodes = match graph::order(graph, &known) {
        Ok(nodes) => nodes,
        Err(more) => {
            errors.extend(more);
            return Err(ImportErrors::some(errors));
        }
    };
    for (index, proto) in nodes.iter().enumerate() {
        translate(&mut ctx, index, proto, opset, &mut errors);
    }
    outputs(&mut ctx, graph, options, &mut errors);
    ImportErrors::check(errors)?;

    let Context {
        builder,
        initialisers: weights,
        made_by,
        recognised,
        ..
    } = ctx;
    builder.finish();
    let mut origins = BTreeMap::new();
    if let Some(entry) = module.entries.get("main") {
        for (id, node) in made_by {
            let origin = Origin {
                node: graph::name(nodes[node]).to_owned(),
                operator: nodes[node].op_type.clone(),
            };
            origins.insert(entry.value(id).name.clone(), origin);
        }
    }
    if recognised {
        forget_unused(&mut module);
    }
    Ok(Imported {
        module,
        weights,
        origins,
    })
}

/// Forgets operations and weights that no output needs.
fn forget_unused(module: &mut Module) {
    let mut used = BTreeSet::new();
    for entry in module.entries.values_mut() {
        entry.remove_dead();
        used.extend(entry.all_nodes().into_iter().filter_map(|n| match &n.op {
            mlc_ir::Op::Weight(name) => Some(name.clone()),
            _ => None,
        }));
    }
    module.weights.retain(|name, _| used.contains(name));
}

/// Translates one node and defines its outputs; what follows from an earlier error is passed over.
fn translate(ctx: &mut Context<'_, '_>, index: usize, proto: &NodeProto, opset: i64, errors: &mut Vec<ImportError>) {
    let name = graph::name(proto);
    let node = Node { proto, opset };
    ctx.enter(index, name, &snake(&proto.op_type));
    let translation = match graph::is_standard(&proto.domain) {
        true => ops::translation(&proto.op_type),
        false => None,
    };
    let unknown = |name: &String| matches!(ctx.lookup(name), Some(Value::Unknown));
    let result = match translation {
        None => Err(NodeError::Unsupported {
            what: format!("operator {}", proto.op_type),
            hint: ops::hint(&proto.op_type, &proto.domain),
        }),
        Some(_) if proto.input.iter().any(unknown) => Ok(Vec::new()),
        Some(translation) => {
            translation(ctx, &node).and_then(|values| match (values.len()..node.outputs()).find(|i| node.wants(*i)) {
                Some(i) => Err(NodeError::Unsupported {
                    what: format!("output {i}"),
                    hint: "the outputs before it work".to_owned(),
                }),
                None => Ok(values),
            })
        }
    };
    let values = result.unwrap_or_else(|error| {
        errors.push(error.at(name, &proto.op_type));
        Vec::new()
    });
    let mut values = values.into_iter();
    for output in &proto.output {
        let value = values.next().unwrap_or(Value::Unknown);
        if !output.is_empty() {
            ctx.define(output, value);
        }
    }
}

/// Names the outputs of the graph.
fn outputs(ctx: &mut Context<'_, '_>, graph: &GraphProto, options: &Options, errors: &mut Vec<ImportError>) {
    let mut seen = BTreeSet::new();
    for output in &graph.output {
        let name = &output.name;
        let fail = |why: String| ImportError::Output {
            name: name.clone(),
            why,
        };
        if !seen.insert(name) {
            errors.push(fail("it is listed twice".to_owned()));
            continue;
        }
        let value = match ctx.lookup(name) {
            None => {
                errors.push(fail("no node, input or weight of the file defines it".to_owned()));
                continue;
            }
            Some(Value::Unknown) => continue,
            Some(value) => value.clone(),
        };
        match ctx.graph(&value) {
            Ok(id) => ctx.builder.output(name, id, options.outputs),
            Err(error) => errors.push(fail(error.at(name, "output").to_string())),
        }
    }
}

/// `LeakyRelu` as `leaky_relu`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
