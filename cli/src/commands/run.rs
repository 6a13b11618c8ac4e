mod layers;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use mlc_ir::{Data, Entry, Op, Outputs, ValueId, Visibility};
use mlc_runtime::exec::execute;
use rayon::prelude::*;
use serde_json::{Map, Value};

use super::{InputArgs, ModelArgs};
use crate::error::CliError;
use crate::input::Bound;
use crate::output::{Output, agreement, agreement_json, argmax, doubt, json_of, label_of, outputs};
use crate::pipeline;
use crate::project::Source;
use crate::ui::Ui;

/// Which arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Track {
    /// The integers that a proof is about.
    Int,
    /// The real model.
    F32,
    /// Both, and how near they are.
    Both,
}

/// Arguments of `mlc run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mlc run examples/digits --input examples/digits/samples/01_label6.png
  mlc run model.onnx --input x.npy --track both --output-format json")]
pub(crate) struct Run {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    input: InputArgs,
    /// Which arithmetic to run
    #[arg(long, value_enum, default_value = "int")]
    track: Track,
    /// Show how far the values of every layer are from the f32 model's, the worst by name
    #[arg(long, conflicts_with = "track")]
    layer_errors: bool,
}

impl Run {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let project = self.model.project()?;
        if self.layer_errors {
            return layers::report(&project, &self.input, ui);
        }
        let artefact = matches!(project.source, Source::Circuit(_));
        let (model, compiled) = if self.track == Track::F32 && !artefact {
            (super::load(&project, ui)?, None)
        } else {
            let (model, compiled) = super::compiled(&project, ui, true)?;
            (model, Some(compiled))
        };
        let runs = self.input.runs(&project, &model)?;
        let (mut ints, mut reals): (Vec<Vec<Output>>, Vec<Outputs>) = (Vec::new(), Vec::new());
        if let Some(compiled) = compiled.filter(|_| self.track != Track::F32) {
            let weights = pipeline::integers(&model, &compiled)?;
            for bound in &runs {
                let dims = bound.dims_of(&compiled.circuit);
                let instance = compiled.circuit.instantiate(compiled.entry, &dims)?;
                let inputs = bound.integers(&instance.entry)?;
                let execution = execute(&instance, &weights, &inputs).map_err(CliError::refused)?;
                let (circuit, entry) = (&compiled.circuit, compiled.entry);
                ints.push(outputs(
                    circuit,
                    entry,
                    &dims,
                    &execution.outputs,
                    Some(&project.manifest),
                ));
            }
        }
        if self.track != Track::Int {
            let one = |bound: &Bound| {
                let inputs = bound.for_interpreter(&model.module, &model.entry);
                mlc_ir::run(&model.module, &model.entry, &model.weights, &inputs).map_err(CliError::refused)
            };
            // The interpreter uses one core.
            reals = runs.par_iter().map(one).collect::<Result<_, _>>()?;
        }
        let int = join(ints);
        let real = join_real(&reals, &project.manifest, model.entry());
        let shown = if self.track == Track::F32 { &real } else { &int };
        let compared = (self.track == Track::Both).then(|| agreement(&int, &as_outputs(&real)));
        let far = doubt(compared.as_ref().and_then(Option::as_ref));
        far.iter().for_each(|line| ui.note(line));
        ui.result(
            || {
                let mut out = Map::new();
                out.insert("output".into(), json_of(shown));
                out.insert("label".into(), label_of(shown));
                if let Some(a) = &compared {
                    out.insert("output_f32".into(), json_of(&real));
                    out.insert("label_f32".into(), label_of(&real));
                    out.insert("agreement".into(), agreement_json(a.as_ref()));
                }
                Value::Object(out)
            },
            || {
                let mut text: String = shown.iter().map(|o| o.summary() + "\n").collect();
                if label_of(shown) != Value::Null {
                    text += &format!("label {}\n", label_of(shown));
                }
                if let Some(Some(a)) = &compared {
                    text += &format!(
                        "cosine {:.6} with the f32 model, max error {:.4}, top-1 {:.1} %\n",
                        a.cosine,
                        a.max_abs_error,
                        a.top1 * 100.0
                    );
                }
                text
            },
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// The outputs of several runs as those of one, along the first axis.
fn join(mut runs: Vec<Vec<Output>>) -> Vec<Output> {
    // A single number of each run is a list of them.
    if runs.len() > 1 {
        let single = runs.iter_mut().flatten().filter(|o| o.tensor.shape.is_empty());
        single.for_each(|o| o.tensor.shape = vec![1]);
    }
    let mut runs = runs.into_iter();
    let Some(mut all) = runs.next() else { return Vec::new() };
    let mut shapes: Vec<Vec<Vec<usize>>> = all.iter().map(|o| vec![o.tensor.shape.clone()]).collect();
    for run in runs {
        for (shapes, output) in shapes.iter_mut().zip(&run) {
            shapes.push(output.tensor.shape.clone());
        }
        for (to, from) in all.iter_mut().zip(run) {
            if let (Some(n), Some(m)) = (to.tensor.shape.first_mut(), from.tensor.shape.first()) {
                *n += m;
            }
            to.tensor.data.extend(from.tensor.data);
            if let (Some(to), Some(from)) = (&mut to.labels, from.labels) {
                to.extend(from);
            }
        }
    }
    for (output, shapes) in all.iter_mut().zip(shapes) {
        if shapes.iter().any(|s| s.get(1..) != shapes[0].get(1..)) {
            output.parts = shapes;
        }
    }
    all
}

/// Real outputs of the statement in the form of integer ones.
fn join_real(runs: &[Outputs], manifest: &crate::project::Manifest, entry: &Entry) -> Vec<Output> {
    let public: Vec<(&str, ValueId)> = (entry.outputs.iter().zip(&entry.body.results))
        .filter(|(port, _)| port.visibility == Visibility::Public)
        .map(|(port, id)| (port.name.as_str(), *id))
        .collect();
    // Positions whose scores are not shown are outputs of their own.
    let found = |id: ValueId| {
        let by = entry.body.nodes.iter().find(|n| n.results.contains(&id));
        by.is_some_and(|n| n.op == Op::ArgMax && public.iter().all(|p| p.1 != n.operands[0]))
    };
    let one = |run: &Outputs| {
        let real = |(name, data): (&String, &Data)| {
            let table = manifest.outputs.get(name).cloned().unwrap_or_default();
            let (_, id) = public.iter().find(|p| p.0 == name.as_str())?;
            let indices = found(*id);
            let (tensor, labels) = match data {
                Data::Real(tensor) => {
                    let tensor = tensor.map(|v| f64::from(*v));
                    let labels = table.scores.then(|| argmax(&tensor.shape, &tensor.data));
                    (tensor, labels)
                }
                Data::Ints(tensor) if indices => {
                    let labels = tensor.data.iter().map(|v| usize::try_from(*v).unwrap_or(0)).collect();
                    (tensor.map(|v| *v as f64), Some(labels))
                }
                _ => return None,
            };
            Some(Output {
                name: name.clone(),
                indices,
                labels,
                names: table.names,
                tensor,
                parts: Vec::new(),
            })
        };
        run.values.iter().filter_map(real).collect()
    };
    join(runs.iter().map(one).collect())
}

fn as_outputs(real: &[Output]) -> Outputs {
    let data = |o: &Output| match o.indices {
        true => Data::Ints(o.tensor.map(|v| *v as i64)),
        false => Data::Real(o.tensor.map(|v| *v as f32)),
    };
    Outputs {
        values: real.iter().map(|o| (o.name.clone(), data(o))).collect(),
        ..Outputs::default()
    }
}
