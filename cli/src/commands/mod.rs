//! The commands, one file each: its arguments, with an example, and what it does.

mod bench;
mod calibrate;
mod check;
mod compile;
mod completions;
mod explain;
mod export;
mod fmt;
mod generate;
mod inspect;
mod new;
mod opt;
mod prove;
mod run;
mod security;
mod setup;
mod transpile;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use mlc_compiler::plan::QuantPlan;
use mlc_compiler::{QuantTarget, ScaleKind};
use mlc_runtime::backend::cpu::Cpu;
use mlc_verifier::key::{Key, LoadedKey};

use crate::error::{CliError, REJECTED};
use crate::files;
use crate::input::Bound;
use crate::model::Model;
use crate::pipeline::{self, Compiled};
use crate::project::{Project, Source};
use crate::prompt::Prompts;
use crate::ui::Ui;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a project that proves as it stands
    New(new::New),
    /// Parse and type-check a model; all diagnostics in one run
    Check(check::Check),
    /// Format .mlc sources in the one style
    Fmt(fmt::Fmt),
    /// Compile a model to a circuit artefact
    Compile(compile::Compile),
    /// Run passes on textual IR
    Opt(opt::Opt),
    /// Show layers, bounds, tables and predicted cost of a model
    Inspect(inspect::Inspect),
    /// Measure value ranges on sample inputs and write the quantisation plan
    Calibrate(calibrate::Calibrate),
    /// Execute a model on an input
    Run(run::Run),
    /// Commit the weights and write the proving data and the verifying key
    Setup(setup::Setup),
    /// Prove an inference, verify the proof, and report
    Prove(prove::Prove),
    /// Continue a prompt greedily, and prove every token of it
    Generate(generate::Generate),
    /// Verify a proof against a key or a model
    Verify(verify::Verify),
    /// Write a proof as JSON, or make it again from JSON
    Export(export::Export),
    /// Write an ONNX, GGUF or HuggingFace model as readable .mlc beside its weights
    Transpile(transpile::Transpile),
    /// Show the soundness sum of a model's proofs, term by term
    Security(security::Security),
    /// Explain a diagnostic
    Explain(explain::Explain),
    /// Run the benchmark suite
    Bench(bench::Bench),
    /// Print shell completions
    Completions(completions::Completions),
}

/// Runs a command.
pub(crate) fn run(command: &Command, ui: &Ui) -> Result<ExitCode, CliError> {
    match command {
        Command::New(c) => c.run(ui),
        Command::Check(c) => c.run(ui),
        Command::Fmt(c) => c.run(ui),
        Command::Compile(c) => c.run(ui),
        Command::Opt(c) => c.run(ui),
        Command::Inspect(c) => c.run(ui),
        Command::Calibrate(c) => c.run(ui),
        Command::Run(c) => c.run(ui),
        Command::Setup(c) => c.run(ui),
        Command::Prove(c) => c.run(ui),
        Command::Generate(c) => c.run(ui),
        Command::Verify(c) => c.run(ui),
        Command::Export(c) => c.run(ui),
        Command::Transpile(c) => c.run(ui),
        Command::Security(c) => c.run(ui),
        Command::Explain(c) => c.run(ui),
        Command::Bench(c) => c.run(ui),
        Command::Completions(c) => c.run(ui),
    }
}

/// Exit code of something that was looked at and found wanting.
pub(crate) fn rejected() -> ExitCode {
    ExitCode::from(REJECTED)
}

/// The model that most commands take.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// A directory with an mlc.toml or of a HuggingFace model, a .mlc, .onnx or .gguf file, or a compiled circuit
    #[arg(value_name = "MODEL", default_value = ".")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) options: ModelOptions,
}

/// The `config` value that says how many layers a model has.
pub(crate) const LAYERS: &str = "layers";

/// What changes how a model is read.
#[derive(Debug, Args)]
pub(crate) struct ModelOptions {
    /// Set a `config` value of the model
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Compile the first N layers only (sets the `config` value `layers`)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    layers: Option<u32>,
    /// Read the weights from this .safetensors, .gguf or .onnx file
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The entry to run
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// Leave this output out of the statement; of logits that are hidden, the greatest is proved to be it
    #[arg(long, value_name = "OUTPUT")]
    hide: Vec<String>,
    /// Take the fewest bits at which outputs are at this cosine with the f32 model, on the first calibration samples
    #[arg(long, value_name = "COSINE", value_parser = quality)]
    quality: Option<f64>,
}

fn quality(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|q| (0.0..1.0).contains(q));
    value.ok_or_else(|| format!("`{text}` is no cosine; give a number from 0 to below 1, such as 0.99"))
}

/// The input that a command runs a model on.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// The input: .json, .npy, .safetensors, .png, or .txt (a prompt a line); the project's default where it is not given
    #[arg(long, short, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The input as text, which the model's tokenizer.json makes tokens of
    #[arg(long, value_name = "TEXT", conflicts_with = "input")]
    prompt: Option<String>,
}

impl InputArgs {
    /// The runs of what is given: a prompt, a file, or the project's default.
    pub(crate) fn runs(&self, project: &Project, model: &Model) -> Result<Vec<Bound>, CliError> {
        if let Some(text) = &self.prompt {
            return Ok(vec![Prompts::open(&project.root, model)?.bind(text)?]);
        }
        let path = match (&self.input, &project.manifest.run.input) {
            (Some(path), _) => path.to_owned(),
            (None, Some(path)) => project.root.join(path),
            (None, None) => {
                return Err(CliError::Usage(
                    "no input: give `--input FILE` (or `--prompt TEXT` to a language model), or set `input` under [run] in \
                     mlc.toml"
                        .to_owned(),
                ));
            }
        };
        pipeline::read_input(project, model, &path)
    }
}

impl ModelOptions {
    /// The project of a model.
    pub(crate) fn open(&self, model: &Path) -> Result<Project, CliError> {
        let mut project = Project::open(model)?;
        for set in &self.set {
            let (key, value) = set
                .split_once('=')
                .ok_or_else(|| CliError::Usage(format!("`--set {set}` has no `=`; write `--set key=value`")))?;
            project.set.push((key.to_owned(), value.to_owned()));
        }
        if let Some(layers) = self.layers {
            project.set.push((LAYERS.to_owned(), layers.to_string()));
        }
        if let Some(weights) = &self.weights {
            if !weights.exists() {
                return Err(CliError::read(weights, "no such file"));
            }
            project.weights = Some(weights.clone());
        }
        if self.entry.is_some() {
            project.entry.clone_from(&self.entry);
        }
        project.hide.clone_from(&self.hide);
        project.quality = self.quality;
        Ok(project)
    }
}

impl ModelArgs {
    /// The project.
    pub(crate) fn project(&self) -> Result<Project, CliError> {
        self.options.open(&self.model)
    }

    /// The project and its model with its circuit; warnings are printed. `weights` says whether they are needed.
    pub(crate) fn compiled(&self, ui: &Ui, weights: bool) -> Result<(Project, Model, Compiled), CliError> {
        let project = self.project()?;
        let (model, compiled) = compiled(&project, ui, weights)?;
        Ok((project, model, compiled))
    }

    /// The project and its model; warnings are printed.
    pub(crate) fn load(&self, ui: &Ui) -> Result<(Project, Model), CliError> {
        let project = self.project()?;
        let model = load(&project, ui)?;
        Ok((project, model))
    }
}

/// The model of a project; warnings are printed.
pub(crate) fn load(project: &Project, ui: &Ui) -> Result<Model, CliError> {
    let model = Model::load(project)?;
    if let (Some(w), false) = (&model.warnings, ui.is_json()) {
        ui.diagnostics(&w.diagnostics, &w.sources);
    }
    for hint in &model.quant {
        let name = match &hint.target {
            QuantTarget::Model => continue,
            QuantTarget::Weight(name) => name,
            QuantTarget::Value { value, .. } => value,
        };
        if hint.scale == Some(ScaleKind::PerChannel) {
            ui.note(&format!(
                "note: `@quant` at `{name}` asks for a scale for each channel; it gets one for the whole tensor"
            ));
        }
    }
    Ok(model)
}

/// The model of a project with its circuit, which is compiled or was; warnings are printed.
pub(crate) fn compiled(project: &Project, ui: &Ui, weights: bool) -> Result<(Model, Compiled), CliError> {
    if let Source::Circuit(path) = &project.source {
        return pipeline::open_artefact(project, path, weights);
    }
    let model = load(project, ui)?;
    let compiled = pipeline::compile(&model, plan(project, &model, ui)?)?;
    Ok((model, compiled))
}

/// The plan of a model; widths that were chosen for a quality are said.
pub(crate) fn plan(project: &Project, model: &Model, ui: &Ui) -> Result<QuantPlan, CliError> {
    let pipeline::Planned { plan, note } = pipeline::planned(project, model)?;
    note.iter().for_each(|note| ui.note(note));
    if let (Some(quality), Some(reached)) = (plan.quality, &plan.reached) {
        ui.note(&format!(
            "quality {quality}: {} bits for activations and {} for weights: cosine {:.5}, {} committed cells{}",
            plan.config.activation_bits,
            plan.config.weight_bits,
            reached.cosine,
            reached.committed_cells,
            match reached.wider.as_slice() {
                [] => String::new(),
                names => format!("; wider are {}", names.join(", ")),
            }
        ));
    }
    Ok(plan)
}

/// A verifier's key, checked: from its file, or made of a model.
pub(crate) fn verifier_key(key: Option<&Path>, project: Option<&Project>, ui: &Ui) -> Result<LoadedKey, CliError> {
    match (key, project) {
        (Some(path), _) => {
            // The directory that `setup` wrote is as good as the file in it.
            let inside = path.join("verifying.key");
            let path = if path.is_dir() { &inside } else { path };
            let key = Key::decode(&files::read(path)?).map_err(|e| CliError::read(path, e))?;
            key.load()
                .map_err(|e| CliError::Rejected(format!("the key `{}`: {e}", path.display())))
        }
        (None, Some(project)) => {
            let (model, compiled) = compiled(project, ui, true)?;
            Ok(pipeline::proving_key(&Cpu, project, &model, &compiled)?.loaded)
        }
        (None, None) => Err(CliError::Usage(
            "a proof is verified against a key: give `--key FILE`, or a MODEL to make it from".to_owned(),
        )),
    }
}

/// Lengths of a circuit's run-time dimensions from `NAME=N`; where nothing is said, 1, and nothing in states yet.
pub(crate) fn dims(circuit: &mlc_circuit::Circuit, given: &[String]) -> Result<Vec<u32>, CliError> {
    let mut out: Vec<u32> = circuit.dims.iter().map(|d| u32::from(d.before.is_none())).collect();
    for text in given {
        let parsed = text
            .split_once('=')
            .and_then(|(name, n)| Some((name, n.parse::<u32>().ok()?)));
        let (name, n) = parsed.ok_or_else(|| CliError::Usage(format!("`--dim {text}` is not NAME=N")))?;
        let at = circuit.dims.iter().position(|d| d.name == name).ok_or_else(|| {
            let known: Vec<&str> = circuit.dims.iter().map(|d| d.name.as_str()).collect();
            CliError::Usage(format!(
                "the model has no run-time dimension `{name}`; it has {}",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            ))
        })?;
        out[at] = n;
    }
    Ok(out)
}
