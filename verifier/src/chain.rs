//! Chains of proofs that carry a KV cache: what makes links one run. See docs/protocol/cache.md.
//!
//! A link alone is a proof relative to the pieces of the cache that its statement names. Links are a chain where each names
//! what all before it have appended, in order, so that the whole says what one run over all of their inputs would.

use alloc::vec::Vec;

use mlc_circuit::chain::{self, MAX_LINKS};
use mlc_circuit::format::frame;
use mlc_circuit::{ChainDims, Circuit, InputKind, Len};
use serde::{Deserialize, Serialize};

use crate::inference::VerifyError;
use crate::key::{LoadedKey, hex};
use crate::proof_file::{self, ProofFileError};
use crate::security::{FLOOR_BITS, Schedule};
use crate::statement::Statement;
use crate::transcript::Hash;

/// First bytes of a chain file.
pub const MAGIC: &[u8; 8] = b"mlc-chn\0";
/// Version of the format.
pub const VERSION: u32 = 1;

/// One proof of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What is claimed.
    pub statement: Statement,
    /// The prover's messages.
    pub proof: Vec<u8>,
}

/// The links of a chain, and the name of the key that they are for (a label, as in [`crate::proof_file`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainFile {
    /// Fingerprint of the key that the prover used.
    pub key: Hash,
    /// The links, in order.
    pub links: Vec<Link>,
}

/// Why a chain is not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ChainError {
    /// There are no links, or more than a cache has pieces.
    #[error("a chain has 1 to {} links, this one has {links}", MAX_LINKS + 1)]
    Links {
        /// How many.
        links: usize,
    },
    /// It is for another key.
    #[error("this chain is for key {}, the given key is {}", hex(.named), hex(.given))]
    OtherKey {
        /// The fingerprint in the file.
        named: Hash,
        /// That of the verifier's key.
        given: Hash,
    },
    /// A link's proof does not hold.
    #[error("link {link}: {error}")]
    Proof {
        /// The link, from 0.
        link: usize,
        /// Why.
        error: VerifyError,
    },
    /// A link has no cache.
    #[error("link {link} has no cache to carry on")]
    NoCache {
        /// The link, from 0.
        link: usize,
    },
    /// A link runs another entry, or at other dimensions.
    #[error("link {link} runs another entry than the first link, or other dimensions than those of the cache differ")]
    Run {
        /// The link, from 0.
        link: usize,
    },
    /// A link reads other pieces than those that the links before it have appended.
    #[error(
        "link {link} carries on another cache: its piece {piece} is not what link {piece} of this chain appended (the links are out of order, or of several chains)"
    )]
    Piece {
        /// The link, from 0.
        link: usize,
        /// The first piece that differs.
        piece: usize,
    },
    /// All errors together pass the floor.
    #[error("the links together have {bits:.1} bits of security, below the floor of {FLOOR_BITS}")]
    Floor {
        /// The sum.
        bits: f64,
    },
}

impl ChainFile {
    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        frame(MAGIC, VERSION, self)
    }

    /// Whether bytes begin as those of a chain.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Decodes a chain; `decode(b).encode() == b` for every accepted `b`. Allocates at most a small multiple of the input's
    /// length.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofFileError> {
        proof_file::open(MAGIC, VERSION, bytes, |found| ProofFileError::ChainVersion { found })
    }
}

/// Checks that statements follow each other: one entry, the same dimensions but for those of the cache, and each reads exactly
/// what all before it have appended. That their proofs hold is not checked here.
pub fn continues(circuit: &Circuit, links: &[&Statement]) -> Result<(), ChainError> {
    let Some(first) = links.first().filter(|_| links.len() <= MAX_LINKS + 1) else {
        return Err(ChainError::Links { links: links.len() });
    };
    let chain = circuit.chain_dims();
    let mut appended: Vec<(u32, Hash)> = Vec::with_capacity(links.len());
    for (link, statement) in links.iter().enumerate() {
        let (Some(cache), Some(chain)) = (&statement.cache, chain) else {
            return Err(ChainError::NoCache { link });
        };
        let of_run = |dim: usize| dim != usize::from(chain.past) && dim != usize::from(chain.tokens);
        let same = (0..first.dims.len()).all(|d| !of_run(d) || statement.dims.get(d) == first.dims.get(d));
        if statement.entry != first.entry || statement.dims.len() != first.dims.len() || !same {
            return Err(ChainError::Run { link });
        }
        let read = cache.read.iter().map(|p| (p.len, p.root));
        if !read.clone().eq(appended.iter().copied()) {
            let piece = read.zip(&appended).take_while(|(a, b)| a == *b).count();
            return Err(ChainError::Piece { link, piece });
        }
        let tokens = statement.dims.get(usize::from(chain.tokens)).copied().unwrap_or(0);
        appended.push((tokens, cache.appended));
    }
    Ok(())
}

/// What a chain says as a whole: the statement of one run over the inputs of all links, joined along the axes of what they
/// append. It is none that a proof is of, and means something only where the chain has been verified.
///
/// `None` where there is no such statement: an output that is not one of every position (it is what *each* link says), an axis
/// that has the cache's length too, an input that all links have as a whole and that differs.
pub fn joined(circuit: &Circuit, links: &[&Statement]) -> Option<Statement> {
    let chain = circuit.chain_dims()?;
    let first = links.first()?;
    let entry = circuit.entries.get(first.entry as usize)?;
    let tokens = |s: &Statement| s.dims.get(usize::from(chain.tokens)).copied();
    let total = links.iter().try_fold(0u32, |sum, s| sum.checked_add(tokens(s)?))?;
    let inputs = (entry.inputs.iter().enumerate()).map(|(i, input)| {
        let parts = links.iter().map(|s| s.inputs.get(i).map(Vec::as_slice));
        let parts: Vec<&[i32]> = parts.collect::<Option<_>>()?;
        match (input.kind, grown(&input.axes, chain)) {
            (InputKind::Private { .. }, _) => Some(Vec::new()),
            (_, Grown::Not) => parts.windows(2).all(|p| p[0] == p[1]).then(|| parts[0].to_vec()),
            (_, Grown::Along(axis)) => join(&input.axes, axis, links, chain, &parts),
            (_, Grown::Otherwise) => None,
        }
    });
    let outputs = (entry.outputs.iter().enumerate()).map(|(i, output)| {
        let parts = links.iter().map(|s| s.outputs.get(i).map(Vec::as_slice));
        let parts: Vec<&[i32]> = parts.collect::<Option<_>>()?;
        match grown(&output.axes, chain) {
            Grown::Along(axis) => join(&output.axes, axis, links, chain, &parts),
            Grown::Not | Grown::Otherwise => None,
        }
    });
    let mut dims = first.dims.clone();
    *dims.get_mut(usize::from(chain.tokens))? = total;
    *dims.get_mut(usize::from(chain.past))? = 0;
    Some(Statement {
        entry: first.entry,
        dims,
        inputs: inputs.collect::<Option<_>>()?,
        outputs: outputs.collect::<Option<_>>()?,
        cache: None,
    })
}

/// How the axes of a tensor depend on what a link appends.
enum Grown {
    Not,
    /// One of them has its length.
    Along(usize),
    Otherwise,
}

fn grown(axes: &[Len], chain: ChainDims) -> Grown {
    let depends = |l: &Len| l.depends_on(chain.tokens) || l.depends_on(chain.past);
    let mut on = (0..axes.len()).filter(|&i| depends(&axes[i]));
    match (on.next(), on.next()) {
        (None, _) => Grown::Not,
        (Some(axis), None) if axes[axis] == Len::dim(chain.tokens) => Grown::Along(axis),
        _ => Grown::Otherwise,
    }
}

/// Tensors, one of each link, put behind each other along an axis.
fn join(axes: &[Len], axis: usize, links: &[&Statement], chain: ChainDims, parts: &[&[i32]]) -> Option<Vec<i32>> {
    let dims = &links.first()?.dims;
    let (blocks, inner) = (chain::size(&axes[..axis], dims)?, chain::size(&axes[axis + 1..], dims)?);
    let tokens = |s: &Statement| s.dims.get(usize::from(chain.tokens)).copied();
    let each = links.iter().zip(parts).map(|(s, part)| {
        let cells = (tokens(s)? as usize).checked_mul(inner)?;
        Some((cells, *part))
    });
    chain::join(blocks, &each.collect::<Option<Vec<_>>>()?)
}

impl LoadedKey {
    /// Verifies a chain; the bits of the sum of all error terms. A chain that names another key is refused before its proofs
    /// are read.
    pub fn verify_chain(&self, file: &ChainFile) -> Result<f64, ChainError> {
        if file.key != self.fingerprint {
            return Err(ChainError::OtherKey {
                named: file.key,
                given: self.fingerprint,
            });
        }
        let statements: Vec<&Statement> = file.links.iter().map(|l| &l.statement).collect();
        continues(&self.circuit, &statements)?;
        let refused = |link: usize| move |error: VerifyError| ChainError::Proof { link, error };
        let mut error = 0.0;
        for (link, l) in file.links.iter().enumerate() {
            error += libm::exp2(-self.bits(&l.statement).map_err(refused(link))?);
        }
        let bits = -libm::log2(error);
        if bits < FLOOR_BITS {
            return Err(ChainError::Floor { bits });
        }
        for (link, l) in file.links.iter().enumerate() {
            self.verify(&l.statement, &l.proof).map_err(refused(link))?;
        }
        Ok(bits)
    }

    /// Bits of the sum of a statement's error terms.
    fn bits(&self, statement: &Statement) -> Result<f64, VerifyError> {
        let instance = self
            .circuit
            .instantiate_link(statement.entry as usize, &statement.dims, &statement.links())?;
        Ok(Schedule::new(&instance, &self.params)?.total_bits())
    }
}
