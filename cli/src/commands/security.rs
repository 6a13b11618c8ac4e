use std::process::ExitCode;

use clap::Args;
use mlc_verifier::security::{FLOOR_BITS, Parameters, Schedule};
use serde_json::json;

use super::ModelArgs;
use crate::error::CliError;
use crate::ui::{Ui, table};

/// Arguments of `mlc security`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every term is a proved bound; a term below its target is lifted by proof of work.

Example:
  mlc security examples/digits
  mlc security model.mlc --dim batch=16")]
pub(crate) struct Security {
    #[command(flatten)]
    model: ModelArgs,
    /// Length of a run-time dimension; 1 where it is not given
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
}

impl Security {
    pub(crate) fn run(&self, ui: &Ui) -> Result<ExitCode, CliError> {
        let (_, _, compiled) = self.model.compiled(ui, false)?;
        let dims = super::dims(&compiled.circuit, &self.dim)?;
        let instance = compiled.circuit.instantiate(compiled.entry, &dims)?;
        let schedule = Schedule::new(&instance, &Parameters::of(&compiled.circuit)).map_err(CliError::refused)?;
        let total = schedule.total_bits();
        let json = || {
            let term = |t: &mlc_verifier::commitment::Term| json!({ "name": t.name, "bits": t.bits, "pow_bits": t.pow_bits, "total": t.total() });
            json!({
                "terms": schedule.terms.iter().map(term).collect::<Vec<_>>(),
                "total_bits": total,
                "floor_bits": FLOOR_BITS,
            })
        };
        let text = || {
            let mut rows = vec![["term", "bits", "proof of work", "total"].map(str::to_owned).to_vec()];
            for t in &schedule.terms {
                rows.push(vec![
                    t.name.clone(),
                    format!("{:.1}", t.bits),
                    t.pow_bits.to_string(),
                    format!("{:.1}", t.total()),
                ]);
            }
            format!(
                "{}sum: {total:.1} bits (the verifier's floor is {FLOOR_BITS})",
                table(&rows)
            )
        };
        ui.result(json, text);
        Ok(ExitCode::SUCCESS)
    }
}
