//! The whole compiler: a module of the real stage and a plan to a circuit.

use mlc_circuit::Circuit;
use mlc_ir::Module;
use thiserror::Error;

use crate::lower::{self, LowerError, LowerOptions, WeightRecipe};
use crate::passes::PassError;
use crate::pipeline::{self, QUANTISE};
use crate::plan::{PlanError, QuantPlan};

/// Choices of a compilation; none changes what the model computes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompileOptions {
    /// How lowering lays out cells.
    pub lower: LowerOptions,
}

/// Why a model does not compile. Every variant that is the user's names the layer and what mends it.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CompileError {
    /// The plan is out of range.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A pass refuses.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// The quantised module has no circuit.
    #[error(transparent)]
    Lower(#[from] LowerError),
}

/// A compiled model.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// The circuit family; inputs and outputs carry their scales and labels.
    pub circuit: Circuit,
    /// One recipe per weight of the circuit, in order.
    pub weights: Vec<WeightRecipe>,
    /// The module after the passes of the real stage: what calibration and the f32 track run.
    pub prepared: Module,
    /// The module that was lowered.
    pub quantised: Module,
}

/// Compiles a module of the real stage.
pub fn compile(module: Module, plan: &QuantPlan, options: &CompileOptions) -> Result<Compiled, CompileError> {
    compile_observed(module, plan, options, &mut |_, _| {})
}

/// Compiles; `after` sees the module after every pass.
pub fn compile_observed(
    module: Module,
    plan: &QuantPlan,
    options: &CompileOptions,
    after: pipeline::AfterPass<'_>,
) -> Result<Compiled, CompileError> {
    plan.validate()?;
    let prepared = pipeline::prepare(module, plan, after)?;
    let quantised = pipeline::run(prepared.clone(), QUANTISE, plan, after)?;
    let lowered = lower::lower(&quantised, &options.lower)?;
    let mut circuit = lowered.circuit;
    for entry in &mut circuit.entries {
        for input in &mut entry.inputs {
            input.clamp = plan.asked.clamp.contains(&format!("{}.{}", entry.name, input.name));
        }
    }
    Ok(Compiled {
        circuit,
        weights: lowered.weights,
        prepared,
        quantised,
    })
}
