//! One proof with its report: what `prove` and `bench` share.

use std::path::Path;
use std::time::Instant;

use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::calibrate::Agreement;
use mlc_runtime::prove::{Chain, Proved, prove, prove_journaled, prove_resumable, run_of_chain};
use mlc_runtime::schedule::checkpoint::Checkpoint;
use mlc_runtime::schedule::journal::Journal;
use mlc_runtime::setup::ProvingKey;
use mlc_verifier::chain::{ChainFile, Link, joined};
use mlc_verifier::statement::Statement;

use crate::error::CliError;
use crate::input::Bound;
use crate::model::Model;
use crate::output::{Output, agreement, outputs};
use crate::pipeline::Compiled;
use crate::progress::Progress;
use crate::project::Manifest;
use crate::report::{Report, peak_rss_bytes};

/// How a proof is made.
pub(crate) struct How<'a> {
    /// The fastest of so many counts.
    pub(crate) runs: usize,
    /// Goes on from what this directory holds, and keeps there what it does.
    pub(crate) checkpoint: Option<&'a Path>,
    /// Whether the outputs are compared with those of the f32 model.
    pub(crate) compare: bool,
}

/// A proved chain.
pub(crate) struct ProvedChain {
    /// As of one proof: times and sizes are sums, the outputs those of all links.
    pub(crate) report: Report,
    /// What each link cost.
    pub(crate) links: Vec<LinkCost>,
    /// The file.
    pub(crate) bytes: Vec<u8>,
    /// What the verified chain says as a whole.
    pub(crate) statement: Statement,
    /// Links that were taken from a checkpoint, whole or in part.
    pub(crate) resumed: usize,
}

/// What one link of a chain cost.
pub(crate) struct LinkCost {
    pub(crate) tokens: u32,
    pub(crate) prove_s: f64,
    pub(crate) verify_s: f64,
    pub(crate) proof_bytes: u64,
}

/// What a proof is made of.
pub(crate) struct Session<'a> {
    pub(crate) model: &'a Model,
    pub(crate) compiled: &'a Compiled,
    pub(crate) key: &'a ProvingKey<Cpu>,
    pub(crate) manifest: &'a Manifest,
    /// Seconds that compiling took.
    pub(crate) compile_s: f64,
    /// Seconds that setup, or loading the key, took.
    pub(crate) setup_s: f64,
}

impl Session<'_> {
    /// Executes, proves and verifies; the fastest of `runs` counts. What is reported as output comes from the verified
    /// statement. Gives the report and the bytes of the proof file.
    pub(crate) fn prove(&self, progress: &Progress, bound: &Bound, runs: usize) -> Result<(Report, Vec<u8>), CliError> {
        let how = How {
            runs,
            checkpoint: None,
            compare: true,
        };
        let (report, proof, _) = self.prove_from(progress, bound, &how)?;
        Ok((report, proof))
    }

    /// [`Self::prove`] that goes on from what a checkpoint directory holds, and keeps there what it does. Gives the stages that
    /// were not done again, too.
    pub(crate) fn prove_from(
        &self,
        progress: &Progress,
        bound: &Bound,
        how: &How<'_>,
    ) -> Result<(Report, Vec<u8>, Vec<&'static str>), CliError> {
        let mut resumed = Vec::new();
        let circuit = &self.key.loaded.circuit;
        let dims = bound.dims_of(circuit);
        let integers = bound.integers(&circuit.entries[self.compiled.entry])?;
        let mut best: Option<Proved> = None;
        for _ in 0..how.runs.max(1) {
            let (proved, _) = progress.stage("prove", || match how.checkpoint {
                None => prove(&Cpu, self.key, self.compiled.entry, &dims, &integers),
                Some(dir) => {
                    let proved = prove_resumable(&Cpu, self.key, self.compiled.entry, &dims, &integers, dir);
                    proved.map(|(proved, taken)| {
                        resumed = taken;
                        proved
                    })
                }
            });
            let proved = proved.map_err(CliError::refused)?;
            if best.as_ref().is_none_or(|b| proved.prove < b.prove) {
                best = Some(proved);
            }
        }
        let Some(proved) = best else {
            return Err(CliError::refused("no run was asked for"));
        };
        let peak_rss_bytes = peak_rss_bytes();
        let statement = &proved.file.statement;
        let entry = statement.entry as usize;
        let outputs = outputs(circuit, entry, &statement.dims, &statement.outputs, Some(self.manifest));
        let agreement = match how.compare {
            true => self.agreement(progress, bound, &outputs)?,
            false => None,
        };
        let proof = proved.file.encode();
        let report = Report {
            outputs,
            compile_s: self.compile_s,
            setup_s: self.setup_s,
            execute_s: proved.execute.as_secs_f64(),
            prove_s: proved.prove.as_secs_f64(),
            verify_s: proved.verify.as_secs_f64(),
            proof_bytes: proof.len() as u64,
            peak_rss_bytes,
            committed_cells: proved.committed_cells as u64,
            lookups: proved.lookups as u64,
            security_bits: proved.security_bits,
            agreement,
        };
        Ok((report, proof, resumed))
    }

    /// How near outputs are to those of the f32 model.
    fn agreement(&self, progress: &Progress, bound: &Bound, outputs: &[Output]) -> Result<Option<Agreement>, CliError> {
        let (real, _) = progress.stage("compare with f32", || {
            let inputs = bound.for_interpreter(&self.model.module, &self.model.entry);
            mlc_ir::run(&self.model.module, &self.model.entry, &self.model.weights, &inputs)
        });
        Ok(agreement(outputs, &real.map_err(CliError::refused)?))
    }

    /// Proves `whole` as the links of a chain, the inputs of which are `parts`, and verifies the chain. What is reported comes
    /// from the verified statements.
    pub(crate) fn prove_chain(
        &self,
        progress: &Progress,
        whole: &Bound,
        parts: &[Bound],
        how: &How<'_>,
    ) -> Result<ProvedChain, CliError> {
        let circuit = &self.key.loaded.circuit;
        let entry = self.compiled.entry;
        let mut runs = Vec::with_capacity(parts.len());
        for part in parts {
            runs.push((part.dims_of(circuit), part.integers(&circuit.entries[entry])?));
        }
        let open = |dir| Checkpoint::open(dir, run_of_chain(self.key, entry, &runs));
        let checkpoint = how.checkpoint.map(open).transpose().map_err(CliError::refused)?;
        let mut kept = Vec::new();
        let mut chain = Chain::default();
        let (mut links, mut costs) = (Vec::new(), Vec::new());
        let (mut execute_s, mut cells, mut lookups) = (0.0, 0, 0);
        for (number, (dims, inputs)) in runs.iter().enumerate() {
            if let Some(whole) = &checkpoint {
                kept.push(whole.part(number).map_err(CliError::refused)?);
            }
            let journal = kept.last_mut().map(|c| c as &mut dyn Journal);
            let (proved, _) = progress.stage("prove", || {
                prove_journaled(&Cpu, self.key, entry, dims, inputs, &mut chain, journal)
            });
            let proved = proved.map_err(CliError::refused)?;
            execute_s += proved.execute.as_secs_f64();
            cells += proved.committed_cells as u64;
            lookups += proved.lookups as u64;
            costs.push(LinkCost {
                tokens: chain.appended().last().map_or(0, |a| a.len),
                prove_s: proved.prove.as_secs_f64(),
                verify_s: proved.verify.as_secs_f64(),
                proof_bytes: proved.file.proof.len() as u64,
            });
            links.push(Link {
                statement: proved.file.statement,
                proof: proved.file.proof,
            });
        }
        let resumed = kept.iter().filter(|c| !c.taken().is_empty()).count();
        for checkpoint in kept.into_iter().chain(checkpoint) {
            checkpoint.finish().map_err(CliError::refused)?;
        }
        let peak_rss_bytes = peak_rss_bytes();
        let file = ChainFile {
            key: self.key.loaded.fingerprint,
            links,
        };
        // What is verified is what a reader of the file has.
        let bytes = file.encode();
        let start = Instant::now();
        let file = ChainFile::decode(&bytes).map_err(CliError::refused)?;
        let security_bits = self.key.loaded.verify_chain(&file).map_err(CliError::refused)?;
        let verify_s = start.elapsed().as_secs_f64();
        let statements: Vec<&Statement> = file.links.iter().map(|l| &l.statement).collect();
        let statement = joined(circuit, &statements)
            .ok_or_else(|| CliError::refused("the links of the chain do not make one sequence"))?;
        let outputs = outputs(circuit, entry, &statement.dims, &statement.outputs, Some(self.manifest));
        let agreement = match how.compare {
            true => self.agreement(progress, whole, &outputs)?,
            false => None,
        };
        let report = Report {
            outputs,
            compile_s: self.compile_s,
            setup_s: self.setup_s,
            execute_s,
            prove_s: costs.iter().map(|l| l.prove_s).sum(),
            verify_s,
            proof_bytes: bytes.len() as u64,
            peak_rss_bytes,
            committed_cells: cells,
            lookups,
            security_bits,
            agreement,
        };
        Ok(ProvedChain {
            report,
            links: costs,
            bytes,
            statement,
            resumed,
        })
    }
}
