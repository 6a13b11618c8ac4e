mod suites;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use mlc_runtime::backend::cpu::Cpu;
use serde_json::Value;

use super::{InputArgs, ModelOptions};
use crate::cost::{self, Cost};
use crate::error::CliError;
use crate::input::Bound;
use crate::model::Model;
use crate::pipeline::{self, Compiled};
use crate::progress::Progress;
use crate::project::Manifest;
use crate::session::Session;
use crate::ui::{Ui, bytes, seconds, table};
use suites::Case;

/// Arguments of `mlc bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Weights of the larger models are random, from a fixed seed. The fastest of the runs counts. What
`inspect` estimates stands in brackets. The suite `shapes` has the shapes of published models of up
to 330 million weights: it takes minutes and gigabytes of memory and disk.

Example:
  mlc bench --suite digits
  mlc bench --suite lenet5,residual16 --json > bench.json
  mlc bench --suite shapes --only gpt2-124m --runs 1
  mlc bench --model path/to/hf-model --prompt \"A sentence.\"")]
pub(crate) struct Bench {
    /// Which models; all but `shapes` where none is named
    #[arg(long, value_name = "SUITE", value_delimiter = ',', value_parser = suites::NAMES)]
    suite: Vec<String>,
    /// Only the model of this name, of those that are selected
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    only: Option<String>,
    /// A model of your own, in place of the suites; it is calibrated as `prove` does
    #[arg(long, value_name = "MODEL", conflicts_with = "suite")]
    model: Option<PathBuf>,
    #[command(flatten)]
    options: ModelOptions,
    #[command(flatten)]
    input: InputArgs,
    /// Print a list of reports as JSON, each with a `name`
    #[arg(long)]
    json: bool,
    /// Proofs of each model
    #[arg(long, default_value_t = 3, value_name = "N")]
    runs: usize,
}

impl Bench {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let wanted: Vec<&str> = match self.suite.is_empty() {
            true => suites::NAMES.into_iter().filter(|name| *name != "shapes").collect(),
            false => self.suite.iter().map(String::as_str).collect(),
        };
        let json = self.json || ui.is_json();
        let (mut reports, mut costs): (Vec<Value>, Vec<Cost>) = Default::default();
        let mut add = |name: &str, measured: (Value, Cost)| {
            if !json {
                ui.note(&format!(
                    "{name}: proved in {}",
                    seconds(number(&measured.0, "prove_s"))
                ));
            }
            reports.push(measured.0);
            costs.push(measured.1);
        };
        if let Some(path) = &self.model {
            add(&path.display().to_string(), self.own(ui, path)?);
        } else {
            let only = self.only.as_deref();
            let named: Vec<&str> = wanted.iter().flat_map(|suite| suites::names(suite)).collect();
            if let Some(only) = only.filter(|only| !named.contains(only)) {
                return Err(CliError::Usage(format!(
                    "there is no model `{only}` here; there are {}",
                    named.join(", ")
                )));
            }
            for suite in wanted {
                for name in suites::names(suite) {
                    if only.is_none_or(|only| only == name) {
                        for case in suites::cases(suite, name)? {
                            add(case.name, self.case(ui, &case)?);
                        }
                    }
                }
            }
        }
        if json {
            ui.json(&Value::Array(reports));
        } else {
            ui.print(&text(&reports, &costs));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A model of a suite.
    fn case(&self, ui: &Ui, case: &Case) -> Result<(Value, Cost), CliError> {
        let progress = Progress::new(ui, 3 + self.runs as u64);
        let (compiled, compile_s) = progress.stage("compile", || {
            let plan = pipeline::calibrated(&case.model, &case.samples, case.config.clone())?;
            pipeline::compile(&case.model, plan)
        });
        let compiled = (compiled?, compile_s);
        self.measure(
            &progress,
            case.name,
            &case.model,
            compiled,
            &Manifest::default(),
            &case.input,
        )
    }

    /// A model of the user's.
    fn own(&self, ui: &Ui, path: &Path) -> Result<(Value, Cost), CliError> {
        let progress = Progress::new(ui, 3 + self.runs as u64);
        let project = self.options.open(path)?;
        let (opened, compile_s) = progress.stage("compile", || super::compiled(&project, ui, true));
        let (model, compiled) = opened?;
        let input = super::prove::one(self.input.runs(&project, &model)?)?;
        let name = path.display().to_string();
        self.measure(
            &progress,
            &name,
            &model,
            (compiled, compile_s),
            &project.manifest,
            &input,
        )
    }

    fn measure(
        &self,
        progress: &Progress,
        name: &str,
        model: &Model,
        (compiled, compile_s): (Compiled, f64),
        manifest: &Manifest,
        input: &Bound,
    ) -> Result<(Value, Cost), CliError> {
        let (key, setup_s) = progress.stage("setup", || {
            pipeline::setup_key(&Cpu, model, &compiled, &std::env::temp_dir())
        });
        let session = Session {
            model,
            compiled: &compiled,
            key: &key?,
            manifest,
            compile_s,
            setup_s,
        };
        let (report, _) = session.prove(progress, input, self.runs)?;
        let mut report = report.json();
        if let Some(map) = report.as_object_mut() {
            map.insert("name".to_owned(), name.into());
        }
        let cost = cost::predict(&compiled.circuit, compiled.entry, &input.dims_of(&compiled.circuit))?;
        Ok((report, cost))
    }
}

fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or(0.0)
}

fn text(reports: &[Value], costs: &[Cost]) -> String {
    let head = [
        "name", "prove", "verify", "proof", "setup", "execute", "compile", "memory", "cosine",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (r, cost) in reports.iter().zip(costs) {
        let mut row = vec![r["name"].as_str().unwrap_or_default().to_owned()];
        let measured = seconds(number(r, "prove_s"));
        row.push(format!("{measured} ({})", seconds(cost.prove_s)));
        row.push(seconds(number(r, "verify_s")));
        let measured = bytes(number(r, "proof_bytes") as u64);
        row.push(format!("{measured} ({})", bytes(cost.proof_bytes)));
        row.extend(["setup_s", "execute_s", "compile_s"].map(|k| seconds(number(r, k))));
        // The peak of the process: that of setup, and of the models before.
        let (measured, most) = (
            number(r, "peak_rss_bytes") as u64,
            cost.memory_bytes.max(cost.setup_memory_bytes),
        );
        row.push(format!("{} ({})", bytes(measured), bytes(most)));
        row.push(format!("{:.6}", r["agreement"]["cosine"].as_f64().unwrap_or(0.0)));
        rows.push(row);
    }
    table(&rows)
}
