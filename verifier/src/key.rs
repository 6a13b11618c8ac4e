//! Keys: the trust root of a verifier.
//!
//! A key holds the circuit family, the parameters, the weights' root and the setup proof. Loading it checks all of
//! them once; its fingerprint names model and weights. Nothing of a key is ever taken from a proof.

use alloc::{string::String, vec::Vec};

use mlc_circuit::check::{self, CheckError};
use mlc_circuit::format::{self, FormatError, Unframed, frame, unframe};
use mlc_circuit::{Circuit, WeightLayout};
use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};
use stwo::core::vcs::blake2_hash::Blake2sHasher;

use crate::inference::{self, VerifyError};
use crate::proof_file::ProofFile;
use crate::security::{Parameters, weights_shape};
use crate::setup::{self, SetupError};
use crate::statement::Statement;
use crate::transcript::{Hash, Message};

/// First bytes of a key.
pub const MAGIC: &[u8; 8] = b"mlc-vkey";
/// Version of the key format and of the protocol behind it.
pub const VERSION: u32 = 1;

/// A verifying key as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The circuit artefact (`mlc_circuit::format`).
    #[serde(with = "crate::bytes")]
    pub circuit: Vec<u8>,
    /// Parameters of the proof system.
    pub params: Parameters,
    /// Root of the weights; `None` for a circuit without weights.
    pub weights_root: Option<Hash>,
    /// Proof that the weights keep their declared bounds; empty without weights.
    #[serde(with = "crate::bytes")]
    pub setup_proof: Vec<u8>,
}

/// Why a key is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The magic is missing.
    #[error("not an mlc verifying key")]
    Magic,
    /// Another version.
    #[error("verifying key version {found}, this build reads version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The body does not decode, or bytes follow it.
    #[error("the verifying key is corrupted")]
    Corrupted,
    /// The circuit artefact is refused.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The circuit breaks a rule that soundness rests on.
    #[error(transparent)]
    Circuit(#[from] CheckError),
    /// A root is missing or superfluous.
    #[error("the key has {what} but its circuit does not agree")]
    Weights {
        /// What the key has.
        what: &'static str,
    },
    /// The setup proof is refused.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

impl Key {
    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        frame(MAGIC, VERSION, self)
    }

    /// Decodes a key; `decode(b).encode() == b` for every accepted `b`.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        unframe(MAGIC, VERSION, bytes).map_err(|e| match e {
            Unframed::Magic => KeyError::Magic,
            Unframed::Version(found) => KeyError::Version { found },
            Unframed::Corrupted => KeyError::Corrupted,
        })
    }

    /// Names the key: Blake2s of its bytes without the setup proof (which proves the rest, and may be remade).
    pub fn fingerprint(&self) -> Hash {
        let mut hash = Blake2sHasher::new();
        hash.update(MAGIC);
        hash.update(&VERSION.to_le_bytes());
        let named = Named {
            circuit: &self.circuit,
            params: self.params,
            weights_root: self.weights_root,
            setup_proof: &[],
        };
        // Hashing owned bytes and integers cannot fail.
        postcard::serialize_with_flavor(&named, Hashed(hash)).unwrap_or_default()
    }

    /// [`Self::fingerprint`] in hexadecimal.
    pub fn fingerprint_hex(&self) -> String {
        hex(&self.fingerprint())
    }

    /// Checks the circuit and the setup proof.
    pub fn load(&self) -> Result<LoadedKey, KeyError> {
        let circuit = format::decode(&self.circuit)?;
        check::check(&circuit)?;
        self.params.check().map_err(|e| SetupError::Proof(e.into()))?;
        let digest = format::digest_of(&self.circuit);
        let has_weights = weights_shape(&WeightLayout::new(&circuit), &self.params).is_some();
        match (&self.weights_root, has_weights) {
            (Some(root), true) => setup::verify(&circuit, &digest, root, &self.params, &self.setup_proof)?,
            (None, false) if self.setup_proof.is_empty() => {}
            (None, false) => return Err(KeyError::Weights { what: "a setup proof" }),
            (Some(_), false) => {
                return Err(KeyError::Weights {
                    what: "a root of weights",
                });
            }
            (None, true) => {
                return Err(KeyError::Weights {
                    what: "no root of weights",
                });
            }
        }
        Ok(LoadedKey {
            circuit,
            digest,
            params: self.params,
            weights_root: self.weights_root,
            fingerprint: self.fingerprint(),
        })
    }
}

/// The fields of a [`Key`] that name it, encoded as they are there.
#[derive(Serialize)]
struct Named<'k> {
    #[serde(with = "crate::bytes")]
    circuit: &'k [u8],
    params: Parameters,
    weights_root: Option<Hash>,
    #[serde(with = "crate::bytes")]
    setup_proof: &'k [u8],
}

/// Hashes what is serialised.
struct Hashed(Blake2sHasher);

impl Flavor for Hashed {
    type Output = Hash;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.update(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Hash> {
        Ok(self.0.finalize().0)
    }
}

/// A hash in lower-case hexadecimal.
pub fn hex(hash: &Hash) -> String {
    hash.iter().map(|b| alloc::format!("{b:02x}")).collect()
}

/// A key whose circuit and setup proof have been checked.
#[derive(Debug, Clone)]
pub struct LoadedKey {
    /// The circuit family.
    pub circuit: Circuit,
    /// Its digest.
    pub digest: Hash,
    /// Parameters of the proof system.
    pub params: Parameters,
    /// Root of the weights.
    pub weights_root: Option<Hash>,
    /// Names the key ([`Key::fingerprint`]).
    pub fingerprint: Hash,
}

/// Why a proof file is not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FileError {
    /// It says itself that it is for another key: another model, other weights or other parameters.
    #[error("this proof is for key {}, the given key is {}", hex(.named), hex(.given))]
    OtherKey {
        /// The fingerprint in the file.
        named: Hash,
        /// That of the verifier's key.
        given: Hash,
    },
    /// It carries on a cache that the file does not prove.
    #[error("this is link {link} of a chain, which proves nothing without the links before it: verify the chain")]
    Link {
        /// Number of links before it.
        link: usize,
    },
    /// The proof does not hold under this key.
    #[error(transparent)]
    Proof(#[from] VerifyError),
}

impl LoadedKey {
    /// Verifies a proof file. One that names another key is refused before its proof is read; one that names this key
    /// gains nothing by it. A later link of a chain is refused: see [`crate::chain`].
    pub fn verify_file(&self, file: &ProofFile) -> Result<(), FileError> {
        self.named_by(file)?;
        Ok(self.verify(&file.statement, &file.proof)?)
    }

    /// Refuses a file that names another key, or that is a later link of a chain.
    fn named_by(&self, file: &ProofFile) -> Result<(), FileError> {
        let read = file.statement.cache.as_ref().map_or(0, |c| c.read.len());
        if read > 0 {
            return Err(FileError::Link { link: read });
        }
        if file.key != self.fingerprint {
            return Err(FileError::OtherKey {
                named: file.key,
                given: self.fingerprint,
            });
        }
        Ok(())
    }

    /// [`Self::verify_file`], and where each message of the proof stands and what it is: to show a proof, not to trust it.
    pub fn messages(&self, file: &ProofFile) -> Result<Vec<Message>, FileError> {
        self.named_by(file)?;
        let (root, statement) = (self.weights_root.as_ref(), &file.statement);
        let listed = inference::messages(&self.circuit, &self.digest, root, &self.params, statement, &file.proof);
        Ok(listed?)
    }

    /// Verifies the proof of a statement.
    pub fn verify(&self, statement: &Statement, proof: &[u8]) -> Result<(), VerifyError> {
        inference::verify(
            &self.circuit,
            &self.digest,
            self.weights_root.as_ref(),
            &self.params,
            statement,
            proof,
        )
    }
}
