//! From a model to a plan, a circuit, integer weights and a proving key; plans and keys are cached by content.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mlc_circuit::{Circuit, format};
use mlc_compiler::lower::WeightRecipe;
use mlc_compiler::passes::balance;
use mlc_compiler::pipeline::{PASSES, prepare};
use mlc_compiler::plan::{QuantConfig, QuantPlan};
use mlc_compiler::{Artefact, CompileOptions, QuantTarget, compile_observed};
use mlc_ir::{Module, Visibility};
use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::setup::{ProvingKey, setup_in};
use mlc_runtime::weights::{IntWeights, WeightPlan, quantise};
use mlc_verifier::security::Parameters;

use crate::cache::{Cache, hash, hex};
use crate::calibrate::{Subject, calibrate, keeps_units};
use crate::error::CliError;
use crate::files;
use crate::input::{self, Bound};
use crate::model::{self, Model};
use crate::project::Project;
use crate::prompt::{self, Prompts};
use crate::quality;
use crate::samples::Samples;
use crate::weights::Weights;

/// A model as it is quantised, and its integers: values of one have the names of the other.
pub(crate) struct Stages {
    pub(crate) prepared: Module,
    pub(crate) quantised: Module,
}

/// A model with its circuit.
pub(crate) struct Compiled {
    /// The module before and after quantisation; `None` where the circuit came from an artefact.
    pub(crate) stages: Option<Stages>,
    /// The circuit family.
    pub(crate) circuit: Circuit,
    /// How its weights are computed.
    pub(crate) recipes: Vec<WeightRecipe>,
    /// Index of the entry to run.
    pub(crate) entry: usize,
}

/// Reads an input file for the model's entry; one part for every run that it takes.
pub(crate) fn read_input(project: &Project, model: &Model, path: &Path) -> Result<Vec<Bound>, CliError> {
    if path.extension().is_some_and(|e| e == "txt") {
        return Prompts::open(&project.root, model)?.lines(&files::read_text(path)?);
    }
    let declared = input::declared(&model.module, &model.entry);
    let names: Vec<&str> = declared.iter().map(|d| d.name.as_str()).collect();
    let given = input::read(path, &names, &project.manifest)?;
    let bound = input::bind(&declared, given, &path.display().to_string())?;
    // The first axis of an input is its batch.
    let batch = model
        .module
        .dims
        .iter()
        .find(|(name, range)| bound.dims.get(*name).is_some_and(|v| *v as u64 > range.max));
    let runs = match batch {
        Some((name, range)) => input::chunks(&declared, bound, name, range.max),
        None => vec![bound],
    };
    runs.iter().try_for_each(|bound| prompt::fits(model, bound))?;
    Ok(runs)
}

/// A plan, and what a user has to know of it.
pub(crate) struct Planned {
    pub(crate) plan: QuantPlan,
    pub(crate) note: Option<String>,
}

/// The plan that settings and source ask for: one that was written, else one calibrated on the data, else defaults.
///
/// Widths are those of mlc.toml, else of the model's annotation, else of the plan; ranges, bits and clamps that the source
/// declares by name stand before those of a written plan.
pub(crate) fn planned(project: &Project, model: &Model) -> Result<Planned, CliError> {
    let table = &project.manifest.quantise;
    let written = match &table.plan {
        Some(path) => {
            let path = project.root.join(path);
            let text = files::read_text(&path)?;
            Some(QuantPlan::parse(&text).map_err(|e| CliError::read(&path, e))?)
        }
        None => None,
    };
    let is_written = written.is_some();
    // Widths that were chosen for a quality are the plan's.
    let chosen = written.as_ref().is_some_and(|plan| plan.quality.is_some());
    let mut plan = written.unwrap_or_default();
    if !chosen {
        declare(model, &mut plan.config);
    }
    set(&mut plan.config.activation_bits, table.activation_bits);
    set(&mut plan.config.weight_bits, table.weight_bits);
    set(&mut plan.config.table_bits, table.table_bits);
    set(&mut plan.config.softmax_bits, table.softmax_bits);
    plan.validate().map_err(CliError::refused)?;
    if is_written {
        let wanted = project.quality.filter(|_| plan.quality != project.quality);
        return match wanted {
            None => Ok(Planned {
                plan: annotated(model, plan)?,
                note: None,
            }),
            Some(quality) => Err(CliError::Usage(format!(
                "`plan` under [quantise] names the widths, so none are chosen for `--quality {quality}`; take it out, or write \
                 another with `mlc calibrate --quality {quality} -o FILE`"
            ))),
        };
    }

    let samples = Samples::of(project, model)?;
    let note = samples.note(model);
    let settings = plan.to_text().map_err(CliError::refused)?;
    let (text, weights) = (model.module.to_string(), model.weights.digest()?);
    let mut parts = vec![
        METHOD.to_vec(),
        model.entry.as_bytes().to_vec(),
        settings.into_bytes(),
        format!("{:?}", model.quant).into_bytes(),
        text.into_bytes(),
        weights.to_vec(),
        samples.bytes(),
    ];
    let mut plan = cached(project, &parts, || calibrated(model, &samples.runs, plan.config))?;
    if let Some(quality) = project.quality {
        parts.push(quality.to_le_bytes().to_vec());
        plan = cached(project, &parts, || quality::meet(model, &plan, &samples.runs, quality))?;
    }
    Ok(Planned { plan, note })
}

/// Plans that were calibrated otherwise are made anew.
const METHOD: &[u8] = b"channels that stand out are balanced";

/// The plan in the cache that follows from `parts`, made where it is missing or cannot be used.
fn cached(
    project: &Project,
    parts: &[Vec<u8>],
    make: impl FnOnce() -> Result<QuantPlan, CliError>,
) -> Result<QuantPlan, CliError> {
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let path = Cache::of(&project.root)
        .path("plans", &hash(&parts))?
        .with_extension("toml");
    if let Some(plan) = files::read_text(&path).ok().and_then(|t| QuantPlan::parse(&t).ok()) {
        return Ok(plan);
    }
    let plan = make()?;
    files::write_atomic(&path, plan.to_text().map_err(CliError::refused)?.as_bytes())?;
    Ok(plan)
}

/// The plan of a model by its statistics over samples.
pub(crate) fn calibrated(model: &Model, samples: &[Bound], config: QuantConfig) -> Result<QuantPlan, CliError> {
    let subject = Subject {
        module: &model.module,
        entry: &model.entry,
        weights: &model.weights,
        declared: &declared(model),
    };
    annotated(model, calibrate(subject, samples, config)?)
}

/// Values, as `entry.value`, whose ranges the source declares.
fn declared(model: &Model) -> BTreeSet<String> {
    let ranges = model.quant.iter().filter_map(|hint| match &hint.target {
        QuantTarget::Value { entry, value } => hint.range.map(|_| format!("{entry}.{value}")),
        _ => None,
    });
    ranges.collect()
}

/// A plan with what the source declares of single values and weights.
fn annotated(model: &Model, mut plan: QuantPlan) -> Result<QuantPlan, CliError> {
    let prepared = prepare(model.module.clone(), &plan, &mut |_, _| {}).map_err(CliError::refused)?;
    let declared = declared(model);
    let mut divided = balance::paths(&prepared)
        .into_iter()
        .filter(|p| plan.channels.contains_key(&p.key()));
    if let Some(path) = divided.find(|p| !keeps_units(p, &declared)) {
        return Err(CliError::refused(format!(
            "the plan divides the channels of `{}` by factors, and since then the source declares the range of a value on their \
             way; calibrate the plan anew",
            path.key()
        )));
    }
    plan.apply_hints(&model.quant, &model.module, &prepared);
    plan.validate().map_err(CliError::refused)?;
    Ok(plan)
}

/// Sets the widths that a source declares for the whole model.
pub(crate) fn declare(model: &Model, config: &mut QuantConfig) {
    for hint in model.quant.iter().filter(|h| h.target == QuantTarget::Model) {
        set(&mut config.activation_bits, hint.activations);
        set(&mut config.weight_bits, hint.weights);
    }
}

fn set(to: &mut u32, value: Option<u32>) {
    *to = value.unwrap_or(*to);
}

/// What `mlc compile` writes of a compiled model.
pub(crate) fn artefact(project: &Project, model: &Model, compiled: &Compiled) -> Artefact {
    let file = project.weight_file();
    let name = file.as_deref().and_then(Path::file_name);
    Artefact {
        module: model.module.clone(),
        circuit: compiled.circuit.clone(),
        recipes: compiled.recipes.clone(),
        entry: model.entry.clone(),
        weights: name.map(|n| n.to_string_lossy().into_owned()),
    }
}

/// A circuit that was compiled before, with its model. Weights are looked for beside it, under the name of the file that it
/// was compiled with or its own; where they are `needed` they must be there.
pub(crate) fn open_artefact(project: &Project, path: &Path, needed: bool) -> Result<(Model, Compiled), CliError> {
    if let Some((key, _)) = project.set.first() {
        return Err(CliError::Usage(format!(
            "`{}` is compiled: `{key}` can no more be set; run `mlc compile` with `--set {key}=…`",
            path.display()
        )));
    }
    if let Some(quality) = project.quality {
        return Err(CliError::Usage(format!(
            "`{}` is compiled, with its widths: run `mlc compile` with `--quality {quality}`",
            path.display()
        )));
    }
    let artefact = Artefact::decode(&files::read(path)?).map_err(|e| CliError::read(path, e))?;
    let named = artefact.weights.as_ref().map(|name| project.root.join(name));
    let beside = Some(path.with_extension("safetensors"));
    let found = [named.clone(), beside].into_iter().flatten().find(|p| p.exists());
    let weights = match project.weights.as_ref().or(found.as_ref()) {
        Some(path) => Weights::open(path)?,
        None if needed && !artefact.circuit.weights.is_empty() => {
            let name = named.unwrap_or_else(|| path.with_extension("safetensors"));
            return Err(CliError::Usage(format!(
                "`{}` needs its weights and there is no `{}`; give the file with `--weights FILE`",
                path.display(),
                name.display()
            )));
        }
        None => Weights::None,
    };
    let asked = project.entry.as_deref().unwrap_or(&artefact.entry);
    let entry_name = model::entry_name(&artefact.module, Some(asked))?;
    let entry = entry_index(&artefact.circuit, &entry_name)?;
    let outputs = &artefact.module.entries[&entry_name].outputs;
    let shown = |name: &str| (outputs.iter()).all(|o| o.name != name || o.visibility != Visibility::Private);
    let settings = project.manifest.outputs.iter().filter(|o| o.1.private).map(|o| o.0);
    if let Some(name) = project.hide.iter().chain(settings).find(|name| shown(name)) {
        return Err(CliError::Usage(format!(
            "`{}` is compiled: `{name}` can no more be left out of the statement; run `mlc compile` with `--hide {name}`",
            path.display()
        )));
    }
    let model = Model {
        module: artefact.module,
        quant: Vec::new(),
        calibration: Vec::new(),
        weights,
        entry: entry_name,
        limits: BTreeMap::new(),
        warnings: None,
    };
    let compiled = Compiled {
        stages: None,
        circuit: artefact.circuit,
        recipes: artefact.recipes,
        entry,
    };
    Ok((model, compiled))
}

fn entry_index(circuit: &Circuit, name: &str) -> Result<usize, CliError> {
    circuit
        .entry(name)
        .ok_or_else(|| CliError::refused(format!("the circuit has no entry `{name}`")))
}

/// Compiles by a plan.
pub(crate) fn compile(model: &Model, plan: QuantPlan) -> Result<Compiled, CliError> {
    observed(model, plan, &mut |_, _| {})
}

/// The graph after each of the named passes, where they run, with a line that says so.
pub(crate) fn print_after(model: &Model, plan: &QuantPlan, passes: &[String]) -> Result<Vec<String>, CliError> {
    if let Some(name) = passes.iter().find(|name| !PASSES.iter().any(|p| p.name == **name)) {
        return Err(CliError::Usage(format!(
            "there is no pass `{name}`; `mlc opt --list` lists them"
        )));
    }
    let mut out = Vec::new();
    if !passes.is_empty() {
        observed(model, plan.clone(), &mut |name, module| {
            if passes.iter().any(|p| p == name) {
                out.push(format!("// after {name}\n{module}"));
            }
        })?;
    }
    Ok(out)
}

fn observed(model: &Model, plan: QuantPlan, after: &mut dyn FnMut(&str, &Module)) -> Result<Compiled, CliError> {
    let lowered = compile_observed(model.module.clone(), &plan, &CompileOptions::default(), after);
    let lowered = lowered.map_err(CliError::refused)?;
    let circuit = lowered.circuit;
    let entry = entry_index(&circuit, &model.entry)?;
    Ok(Compiled {
        stages: Some(Stages {
            prepared: lowered.prepared,
            quantised: lowered.quantised,
        }),
        circuit,
        recipes: lowered.weights,
        entry,
    })
}

/// The integers of a circuit's weights.
pub(crate) fn integers(model: &Model, compiled: &Compiled) -> Result<IntWeights, CliError> {
    let plan = |r: &WeightRecipe| WeightPlan {
        weight: r.weight,
        recipe: r.recipe.clone(),
        stack: r.stack.clone(),
    };
    let plans: Vec<WeightPlan> = compiled.recipes.iter().map(plan).collect();
    quantise(&compiled.circuit, &plans, &model.weights).map_err(CliError::refused)
}

/// The directory of a compiled model's key, by circuit, weights and parameters.
pub(crate) fn key_directory(project: &Project, model: &Model, compiled: &Compiled) -> Result<PathBuf, CliError> {
    let params = Parameters::of(&compiled.circuit);
    let digest = hash(&[
        &format::digest(&compiled.circuit),
        &model.weights.digest()?,
        format!("{:?}", compiled.recipes).as_bytes(),
        format!("{params:?}").as_bytes(),
        env!("CARGO_PKG_VERSION").as_bytes(),
    ]);
    Cache::of(&project.root).path("keys", &digest)
}

/// Where a proof has the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Residence {
    InMemory,
    /// In their file, each in memory while it is worked on.
    InFile,
}

/// The cached proving key of a compiled model, made where it is missing or cannot be used.
pub(crate) fn proving_key(
    backend: &Cpu,
    project: &Project,
    model: &Model,
    compiled: &Compiled,
) -> Result<ProvingKey<Cpu>, CliError> {
    proving_key_with(backend, project, model, compiled, Residence::InMemory)
}

/// [`proving_key`] with the weights where they are said to be; a key that has just been made has them in memory.
pub(crate) fn proving_key_with(
    backend: &Cpu,
    project: &Project,
    model: &Model,
    compiled: &Compiled,
    weights: Residence,
) -> Result<ProvingKey<Cpu>, CliError> {
    let dir = key_directory(project, model, compiled)?;
    let load = || match weights {
        Residence::InMemory => ProvingKey::load(backend, &dir),
        Residence::InFile => ProvingKey::load_mapped(backend, &dir),
    };
    if dir.join("verifying.key").exists()
        && let Ok(key) = load()
        && key.loaded.digest == format::digest(&compiled.circuit)
    {
        return Ok(key);
    }
    let key = setup_key(backend, model, compiled, &dir)?;
    key.save(&dir).map_err(|e| CliError::write(&dir, e))?;
    Ok(key)
}

/// A new proving key; a large codeword is put into `dir`, which is created, until the key is saved.
pub(crate) fn setup_key(
    backend: &Cpu,
    model: &Model,
    compiled: &Compiled,
    dir: &Path,
) -> Result<ProvingKey<Cpu>, CliError> {
    let integers = integers(model, compiled)?;
    let params = Parameters::of(&compiled.circuit);
    setup_in(backend, &compiled.circuit, integers, params, dir).map_err(CliError::refused)
}

/// Hexadecimal digest of a circuit.
pub(crate) fn digest_hex(circuit: &Circuit) -> String {
    hex(&format::digest(circuit))
}
