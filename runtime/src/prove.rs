//! From parsed inputs to a verified proof file.

use std::path::Path;
use std::time::{Duration, Instant};

use blake2::{Blake2s256, Digest};
use mlc_circuit::InstanceError;
use mlc_verifier::key::FileError;
use mlc_verifier::proof_file::{ProofFile, ProofFileError};
use mlc_verifier::security::{Schedule, ScheduleError};
use mlc_verifier::transcript::Hash;

use crate::backend::Backend;
use crate::exec::{Appended, ExecError, Execution, execute_after};
use crate::prover::channel::Honest;
use crate::prover::inference::{self, CommittedCache};
use crate::prover::vector::CommittedVector;
use crate::schedule::checkpoint::{Checkpoint, CheckpointError};
use crate::schedule::journal::{Journal, Kept, read_all};
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
    /// A checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
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

/// The cache of a chain of proofs, as the prover carries it from link to link (docs/protocol/cache.md).
pub struct Chain<B: Backend> {
    appended: Vec<Appended>,
    vectors: Vec<CommittedVector<B>>,
}

impl<B: Backend> Default for Chain<B> {
    fn default() -> Self {
        Self {
            appended: Vec::new(),
            vectors: Vec::new(),
        }
    }
}

impl<B: Backend> Chain<B> {
    /// Lengths of the links so far.
    pub fn links(&self) -> Vec<u32> {
        self.appended.iter().map(|a| a.len).collect()
    }

    /// What the links so far have appended.
    pub fn appended(&self) -> &[Appended] {
        &self.appended
    }
}

/// Executes `inputs` (one row-major integer tensor per input) at `dims`, proves the run and verifies the proof. Of a model
/// with a cache, this is the first link of a chain.
pub fn prove<B: Backend>(
    backend: &B,
    key: &ProvingKey<B>,
    entry: usize,
    dims: &[u32],
    inputs: &[Vec<i32>],
) -> Result<Proved, ProveError> {
    prove_link(backend, key, entry, dims, inputs, &mut Chain::default())
}

/// [`prove`] that keeps in `dir` what it has done of a long proof, and goes on from what is kept there: of the same run, else it
/// is refused. When the proof is made, what was kept is removed. Gives the stages that were not done again, too.
pub fn prove_resumable<B: Backend>(
    backend: &B,
    key: &ProvingKey<B>,
    entry: usize,
    dims: &[u32],
    inputs: &[Vec<i32>],
    dir: &Path,
) -> Result<(Proved, Vec<&'static str>), ProveError> {
    let mut checkpoint = Checkpoint::open(dir, run_of(key, entry, dims, inputs))?;
    let chain = &mut Chain::default();
    let proved = prove_journaled(backend, key, entry, dims, inputs, chain, Some(&mut checkpoint))?;
    let taken = checkpoint.taken().to_vec();
    checkpoint.finish()?;
    Ok((proved, taken))
}

/// Names a run: what its proof is a function of.
pub fn run_of<B: Backend>(key: &ProvingKey<B>, entry: usize, dims: &[u32], inputs: &[Vec<i32>]) -> Hash {
    let mut bytes = key.loaded.fingerprint.to_vec();
    (entry as u32).write(&mut bytes);
    dims.to_vec().write(&mut bytes);
    inputs.to_vec().write(&mut bytes);
    Blake2s256::digest(&bytes).into()
}

/// Names a chain: the runs that its links are, each with its dimensions and inputs.
pub fn run_of_chain<B: Backend>(key: &ProvingKey<B>, entry: usize, links: &[(Vec<u32>, Vec<Vec<i32>>)]) -> Hash {
    let runs = links.iter().flat_map(|(dims, inputs)| run_of(key, entry, dims, inputs));
    Blake2s256::digest(runs.collect::<Vec<u8>>()).into()
}

/// [`prove`] for the next link of a chain, which it becomes part of. Of the dimensions, that of the cache is the chain's.
pub fn prove_link<B: Backend>(
    backend: &B,
    key: &ProvingKey<B>,
    entry: usize,
    dims: &[u32],
    inputs: &[Vec<i32>],
    chain: &mut Chain<B>,
) -> Result<Proved, ProveError> {
    prove_journaled(backend, key, entry, dims, inputs, chain, None)
}

/// [`prove_link`] that keeps outcomes of stages in a journal, and takes those that it has.
pub fn prove_journaled<B: Backend>(
    backend: &B,
    key: &ProvingKey<B>,
    entry: usize,
    dims: &[u32],
    inputs: &[Vec<i32>],
    chain: &mut Chain<B>,
    mut journal: Option<&mut dyn Journal>,
) -> Result<Proved, ProveError> {
    let start = Instant::now();
    let loaded = &key.loaded;
    let links = chain.links();
    let dims = loaded.circuit.dims_after(dims, &links);
    let instance = loaded.circuit.instantiate_link(entry, &dims, &links)?;
    let schedule = Schedule::new(&instance, &loaded.params)?;
    let execution = {
        let _span = tracing::info_span!("execute").entered();
        // There is no transcript yet: the run alone names this stage.
        let known = journal.as_mut().and_then(|j| j.get("execution", &[0; 32]));
        match known.and_then(|bytes| read_all::<Execution>(&bytes)) {
            Some(execution) if execution.fits(&instance) => execution,
            _ => {
                let execution = execute_after(&instance, &key.integers, inputs, &chain.appended)?;
                if let Some(journal) = &mut journal {
                    let mut bytes = Vec::new();
                    execution.write(&mut bytes);
                    journal.put("execution", &[0; 32], &bytes);
                }
                execution
            }
        }
    };
    let execute = start.elapsed();
    let appended = inference::commit_appended(backend, &instance, &schedule, &execution, &mut Honest);
    let cache = CommittedCache {
        appended: appended.as_ref(),
        earlier: &chain.vectors,
    };
    let statement = inference::statement(&instance, inputs, &execution, cache.statement(&instance));
    let mut prove = start.elapsed();
    // A proof that was made is taken where it verifies, which says all there is to say of it.
    let known = journal.as_mut().and_then(|j| j.get("proof", &[0; 32]));
    let checked = |proof: Vec<u8>| -> Result<(ProofFile, Duration), ProveError> {
        let file = ProofFile {
            key: loaded.fingerprint,
            statement: statement.clone(),
            proof,
        };
        let bytes = file.encode();
        let start = Instant::now();
        let _span = tracing::info_span!("verify").entered();
        let file = ProofFile::decode(&bytes).map_err(ProveError::Encoding)?;
        // Also a later link, which by itself is no proof for others.
        let verified = loaded.verify(&file.statement, &file.proof);
        verified.map_err(|e| ProveError::SelfCheck(e.into()))?;
        Ok((file, start.elapsed()))
    };
    let (file, verify) = match known.and_then(|proof| checked(proof).ok()) {
        Some(found) => found,
        None => {
            let proof = {
                let _span = tracing::info_span!("prove").entered();
                let inner: Option<&mut dyn Journal> = match &mut journal {
                    Some(journal) => Some(&mut **journal),
                    None => None,
                };
                inference::prove(
                    backend,
                    &instance,
                    &schedule,
                    &loaded.digest,
                    &key.committed(),
                    &cache,
                    &statement,
                    &execution,
                    &mut Honest,
                    inner,
                )
            };
            prove = start.elapsed();
            if let Some(journal) = &mut journal {
                journal.put("proof", &[0; 32], &proof);
            }
            checked(proof)?
        }
    };
    chain.appended.extend(execution.appended(&instance));
    chain.vectors.extend(appended);
    Ok(Proved {
        file,
        execution,
        execute,
        prove,
        verify,
        committed_cells: instance.cells() + instance.channel_cells,
        lookups: instance.lookups(),
        security_bits: schedule.total_bits(),
    })
}
