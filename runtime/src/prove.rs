//! From parsed inputs to a verified proof file.

use std::time::{Duration, Instant};

use mlc_circuit::InstanceError;
use mlc_verifier::key::FileError;
use mlc_verifier::proof_file::{ProofFile, ProofFileError};
use mlc_verifier::security::{Schedule, ScheduleError};

use crate::backend::Backend;
use crate::exec::{ExecError, Execution, execute};
use crate::prover::channel::Honest;
use crate::prover::inference::{self, CommittedWeights};
use crate::setup::ProvingKey;

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The circuit has no such instance.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The parameters are refused.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The inputs cannot be executed.
    #[error(transparent)]
    Execute(#[from] ExecError),
    /// The prover's own proof is refused: corrupted proving data, or a defect.
    #[error("the proof was made but does not verify ({0}); the key directory may be corrupted: run `mlc setup` again")]
    SelfCheck(FileError),
    /// The prover's own proof file does not decode: a defect.
    #[error("the proof was made but its file does not decode: {0}")]
    Encoding(ProofFileError),
}

/// A verified proof and how it came about.
pub struct Proved {
    /// Statement and proof.
    pub file: ProofFile,
    /// All integers of the run.
    pub execution: Execution,
    /// Time to execute.
    pub execute: Duration,
    /// Time from parsed inputs to proof bytes, execution included.
    pub prove: Duration,
    /// Time to verify, decoding included.
    pub verify: Duration,
    /// Committed cells: witness and channels.
    pub committed_cells: usize,
    /// Lookups.
    pub lookups: usize,
    /// Bits of the soundness sum.
    pub security_bits: f64,
}

/// Executes `inputs` (one row-major integer tensor per input) at `dims`, proves the run and verifies the proof.
pub fn prove<B: Backend>(
    backend: &B,
    key: &ProvingKey<B>,
    entry: usize,
    dims: &[u32],
    inputs: &[Vec<i32>],
) -> Result<Proved, ProveError> {
    let start = Instant::now();
    let loaded = &key.loaded;
    let instance = loaded.circuit.instantiate(entry, dims)?;
    let schedule = Schedule::new(&instance, &loaded.params)?;
    let execution = {
        let _span = tracing::info_span!("execute").entered();
        execute(&instance, &key.integers, inputs)?
    };
    let execute = start.elapsed();
    let statement = inference::statement(&instance, inputs, &execution);
    let weights = CommittedWeights {
        integers: &key.integers,
        cells: key.cells.as_ref(),
        tree: key.tree(),
    };
    let proof = {
        let _span = tracing::info_span!("prove").entered();
        inference::prove(
            backend,
            &instance,
            &schedule,
            &loaded.digest,
            &weights,
            &statement,
            &execution,
            &mut Honest,
        )
    };
    let prove = start.elapsed();
    let file = ProofFile {
        key: loaded.fingerprint,
        statement,
        proof,
    };
    let bytes = file.encode();
    let start = Instant::now();
    let file = {
        let _span = tracing::info_span!("verify").entered();
        let file = ProofFile::decode(&bytes).map_err(ProveError::Encoding)?;
        loaded.verify_file(&file).map_err(ProveError::SelfCheck)?;
        file
    };
    Ok(Proved {
        file,
        execution,
        execute,
        prove,
        verify: start.elapsed(),
        committed_cells: instance.cells + instance.channel_cells,
        lookups: instance.lookups(),
        security_bits: schedule.total_bits(),
    })
}
