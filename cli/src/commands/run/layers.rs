//! `mlc run --layer-errors`: signal to quantisation noise of every value, over the blocks of a model.

use std::process::ExitCode;

use mlc_runtime::calibrate::{LayerError, Tracks, layer_errors};
use serde_json::{Value, json};

use crate::commands::{self, InputArgs};
use crate::error::CliError;
use crate::pipeline;
use crate::project::Project;
use crate::quality::losses;
use crate::ui::Ui;

/// How many of the values that lose most are named.
const NAMED: usize = 5;

/// One value over all of its blocks.
struct Layer<'a> {
    name: &'a str,
    worst: &'a LayerError,
    saturated: f64,
    /// Decibels below the value that was computed before it, in the block where that is most.
    lost: f64,
}

/// Runs both programs on the first input and prints the report.
pub(super) fn report(project: &Project, input: &InputArgs, ui: &Ui) -> Result<ExitCode, CliError> {
    let (model, compiled) = commands::compiled(project, ui, true)?;
    let Some(pipeline::Stages { prepared, quantised }) = &compiled.stages else {
        return Err(CliError::Usage(
            "a compiled circuit has no f32 track to compare with; name the model that it was compiled from".into(),
        ));
    };
    let runs = input.runs(project, &model)?;
    let Some(bound) = runs.first() else {
        return Err(CliError::Usage("there is no input to run on".into()));
    };
    let tracks = Tracks {
        real: prepared,
        quantised,
    };
    let inputs = bound.for_interpreter(prepared, &model.entry);
    let integers = bound.for_interpreter(quantised, &model.entry);
    let errors = layer_errors(tracks, &model.entry, &model.weights, &inputs, &integers).map_err(CliError::refused)?;
    ui.result(
        || json!({ "layers": errors.iter().map(json_of).collect::<Vec<_>>() }),
        || text_of(&errors),
    );
    Ok(ExitCode::SUCCESS)
}

fn json_of(e: &LayerError) -> Value {
    json!({
        "name": e.name,
        "block": e.block,
        "sqnr_db": e.sqnr_db.is_finite().then_some(e.sqnr_db),
        "cosine": e.cosine,
        "saturated": e.saturated,
    })
}

/// One row a value, in the order of computation.
fn layers(errors: &[LayerError]) -> Vec<Layer<'_>> {
    let mut out: Vec<Layer<'_>> = Vec::new();
    for (e, (_, lost)) in errors.iter().zip(losses(errors)) {
        match out.iter_mut().find(|l| l.name == e.name) {
            Some(layer) => {
                if e.sqnr_db < layer.worst.sqnr_db {
                    layer.worst = e;
                }
                layer.saturated = layer.saturated.max(e.saturated);
                layer.lost = layer.lost.max(lost);
            }
            None => out.push(Layer {
                name: &e.name,
                worst: e,
                saturated: e.saturated,
                lost,
            }),
        }
    }
    out
}

fn text_of(errors: &[LayerError]) -> String {
    let mut layers = layers(errors);
    let width = layers.iter().map(|l| l.name.len()).max().unwrap_or(0).max(5);
    let mut text = format!(
        "{:width$}  {:>9}  {:>9}  {:>9}  {:>5}\n",
        "value", "SQNR dB", "cosine", "saturated", "block"
    );
    for l in &layers {
        let block: Vec<String> = l.worst.block.iter().map(i64::to_string).collect();
        text += &format!(
            "{:width$}  {:>9.1}  {:>9.6}  {:>7.2} %  {:>5}\n",
            l.name,
            l.worst.sqnr_db,
            l.worst.cosine,
            l.saturated * 100.0,
            block.join(".")
        );
    }
    layers.sort_by(|a, b| b.lost.total_cmp(&a.lost));
    for l in layers.iter().take(NAMED).filter(|l| l.lost > 0.0) {
        text += &format!("most is lost at {}: {:.1} dB\n", l.name, l.lost);
    }
    text
}
