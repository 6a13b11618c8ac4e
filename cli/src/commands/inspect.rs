use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mlc_circuit::{Circuit, Instance, Left, Operand, SiteRef};
use serde_json::{Value, json};

use super::ModelArgs;
use crate::cost;
use crate::draw;
use crate::error::CliError;
use crate::files;
use crate::pipeline::{self, Compiled};
use crate::ui::{Ui, bytes, seconds, table};

/// Arguments of `mlc inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Bounds, cells, lookups and security are exact; times, sizes and memory are estimates from shapes.

Example:
  mlc inspect examples/digits
  mlc inspect model.mlc --dim batch=16 --svg drawing.svg")]
pub(crate) struct Inspect {
    #[command(flatten)]
    model: ModelArgs,
    /// Length of a run-time dimension; 1 where it is not given
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
    /// Draw the circuit for Graphviz
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
    /// Draw the circuit
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Inspect {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let (_, _, compiled) = self.model.compiled(ui, false)?;
        let circuit = &compiled.circuit;
        let dims = super::dims(circuit, &self.dim)?;
        let instance = circuit.instantiate(compiled.entry, &dims)?;
        let cost = cost::predict(circuit, compiled.entry, &dims)?;
        if let Some(path) = &self.dot {
            files::write_atomic(path, draw::dot(circuit, compiled.entry).as_bytes())?;
        }
        if let Some(path) = &self.svg {
            files::write_atomic(path, draw::svg(circuit, compiled.entry).as_bytes())?;
        }
        ui.result(
            || {
                json!({
                    "model": circuit.name,
                    "digest": pipeline::digest_hex(circuit),
                    "dims": circuit.dims.iter().zip(&dims)
                        .map(|(d, n)| json!({ "name": d.name, "value": n, "max": d.max })).collect::<Vec<_>>(),
                    "layers": layers(&instance),
                    "weights": weights(&compiled),
                    "tables": tables(&instance),
                    "cost": cost.json(),
                })
            },
            || text(&compiled, &instance, &cost),
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn multiplications(instance: &Instance<'_>, e: &mlc_circuit::Equation) -> u64 {
    let size = |lens: &[mlc_circuit::Len]| {
        lens.iter()
            .map(|l| l.at(&instance.dims).unwrap_or(0) as u64)
            .product::<u64>()
    };
    let products = e
        .products
        .iter()
        .filter(|p| !matches!(p.a, Operand::One) && !matches!(p.b, Operand::One));
    products.map(|p| size(&e.out) * size(&p.group)).sum()
}

/// One object for each equation.
fn layers(instance: &Instance<'_>) -> Vec<Value> {
    let entry = &instance.entry;
    let one = |e: &mlc_circuit::Equation| {
        let shape: Vec<usize> = e.out.iter().map(|l| l.at(&instance.dims).unwrap_or(0)).collect();
        let segments: Vec<u16> = match &e.left {
            Left::Cells(cells) => cells.iter().map(|(_, s)| *s).collect(),
            Left::Output(_) => Vec::new(),
        };
        let cells: usize = segments.iter().map(|s| instance.segments[usize::from(*s)].len()).sum();
        let columns = segments.iter().filter_map(|s| entry.segments[usize::from(*s)].table);
        let table = columns.map(|t| instance.table(t)).find(|t| !t.columns.is_empty());
        json!({
            "name": e.name,
            "shape": shape,
            "multiplications": multiplications(instance, e),
            "committed_cells": cells,
            "table": table.map(|t| &t.name),
            "bounds": table.and_then(|t| t.bounds(0)).map(|(lo, hi)| json!([lo, hi])),
        })
    };
    entry.equations.iter().map(one).collect()
}

fn weights(compiled: &Compiled) -> Vec<Value> {
    let weights = compiled.circuit.weights.iter().enumerate();
    weights
        .map(|(i, w)| {
            let shape: Vec<u32> = w.outer.iter().copied().chain([w.row_len]).collect();
            json!({
                "name": w.name,
                "shape": shape,
                "bits": w.bits,
                "column_sum": w.column_sum,
                "scale": compiled.recipes.iter().find(|r| r.weight == i).map(|r| r.scale),
            })
        })
        .collect()
}

fn tables(instance: &Instance<'_>) -> Vec<Value> {
    let circuit: &Circuit = instance.circuit;
    let lookups = |t: u16| {
        let sites = instance.sites.iter().filter(|s| s.table == t);
        sites.map(|s| s.layout.len()).sum::<usize>()
    };
    let one = |(i, t): (usize, &mlc_circuit::Table)| json!({ "name": t.name, "rows": t.rows(), "columns": t.columns.len(), "lookups": lookups(i as u16) });
    circuit.tables.iter().enumerate().map(one).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join("×"),
        other => other.to_string(),
    }
}

/// Objects as a table, with these keys as columns.
fn columns(objects: &[Value], keys: &[&str]) -> String {
    let mut rows = vec![keys.iter().map(|k| k.replace('_', " ")).collect::<Vec<_>>()];
    rows.extend(objects.iter().map(|o| keys.iter().map(|k| cell(&o[*k])).collect()));
    table(&rows)
}

fn text(compiled: &Compiled, instance: &Instance<'_>, cost: &cost::Cost) -> String {
    let circuit = &compiled.circuit;
    let mut layers = layers(instance);
    for layer in &mut layers {
        if let Some([lo, hi]) = layer["bounds"].as_array().map(Vec::as_slice) {
            layer["bounds"] = format!("[{lo}, {hi}]").into();
        }
    }
    let sites = &instance.entry.sites;
    let maxima = instance
        .sites
        .iter()
        .filter(|s| matches!(s.site, SiteRef::Virtual(_)))
        .count();
    let dims = circuit.dims.iter().zip(&instance.dims);
    let dims: Vec<String> = dims
        .map(|(d, n)| format!("{} = {n} (up to {})", d.name, d.max))
        .collect();
    let mut out = format!("{}  {}\n", circuit.name, pipeline::digest_hex(circuit));
    if !dims.is_empty() {
        out += &format!("{}\n", dims.join(", "));
    }
    out += "\nLayers\n";
    out += &columns(
        &layers,
        &["name", "shape", "multiplications", "committed_cells", "table", "bounds"],
    );
    if !sites.is_empty() {
        out += &format!("and {maxima} sets of lookups at linear forms (maxima)\n");
    }
    out += "\nWeights\n";
    out += &columns(&weights(compiled), &["name", "shape", "bits", "column_sum", "scale"]);
    out += "\nTables\n";
    out += &columns(&tables(instance), &["name", "rows", "columns", "lookups"]);
    out += &format!(
        "\n{} committed cells, {} lookups, {:.1} bits of security\n\
         Estimated: prove in about {}, a proof of about {}, {} of memory; {} of memory to make the key, once\n",
        cost.committed_cells,
        cost.lookups,
        cost.security_bits,
        seconds(cost.prove_s),
        bytes(cost.proof_bytes),
        bytes(cost.memory_bytes),
        bytes(cost.setup_memory_bytes),
    );
    out
}
