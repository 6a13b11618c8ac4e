//! The proof file: the fingerprint of a key, a statement and the proof bytes, in one canonical encoding.
//!
//! The fingerprint is a label: it says early and clearly that a proof is for another key, and nothing rests on it. What
//! binds a proof to its key is the transcript, which absorbs the circuit's digest, the root and the parameters of the key
//! that the *verifier* holds.

use alloc::vec::Vec;

use mlc_circuit::format::{Unframed, frame, unframe};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::statement::Statement;
use crate::transcript::Hash;

/// First bytes of a proof file.
pub const MAGIC: &[u8; 8] = b"mlc-prf\0";
/// Version of the format.
pub const VERSION: u32 = 3;
/// A larger file is refused before it is decoded.
pub const MAX_BYTES: usize = 1 << 30;

/// A statement with its proof, and the name of the key that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofFile {
    /// Fingerprint of the key that the prover used (`crate::key::Key::fingerprint`).
    pub key: Hash,
    /// What is claimed.
    pub statement: Statement,
    /// The prover's messages (`crate::transcript`).
    #[serde(with = "crate::bytes")]
    pub proof: Vec<u8>,
}

/// Why bytes are not a proof file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// The magic is missing.
    #[error("not an mlc proof")]
    Magic,
    /// Another version.
    #[error("proof version {found}, this build reads version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Another version of the format of chains.
    #[error("chain version {found}, this build reads version {}", crate::chain::VERSION)]
    ChainVersion {
        /// The version found.
        found: u32,
    },
    /// The body does not decode, is not canonical, or bytes follow it.
    #[error("the proof file is corrupted")]
    Corrupted,
    /// Larger than any proof.
    #[error("the proof file is larger than {MAX_BYTES} bytes")]
    TooLarge,
}

impl ProofFile {
    /// Canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        frame(MAGIC, VERSION, self)
    }

    /// Decodes a proof file; `decode(b).encode() == b` for every accepted `b`. Allocates at most a small multiple of
    /// the input's length.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofFileError> {
        open(MAGIC, VERSION, bytes, |found| ProofFileError::Version { found })
    }
}

/// What a file of proofs holds.
pub(crate) fn open<T: Serialize + DeserializeOwned>(
    magic: &[u8; 8],
    version: u32,
    bytes: &[u8],
    other: impl FnOnce(u32) -> ProofFileError,
) -> Result<T, ProofFileError> {
    if bytes.len() > MAX_BYTES {
        return Err(ProofFileError::TooLarge);
    }
    unframe(magic, version, bytes).map_err(|e| match e {
        Unframed::Magic => ProofFileError::Magic,
        Unframed::Version(found) => other(found),
        Unframed::Corrupted => ProofFileError::Corrupted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn file() -> ProofFile {
        let statement = Statement {
            entry: 0,
            dims: vec![1],
            inputs: vec![vec![1, -2, 3]],
            outputs: vec![vec![-70000]],
            cache: None,
        };
        ProofFile {
            key: [0xab; 32],
            statement,
            proof: vec![1, 2, 3],
        }
    }

    #[test]
    fn round_trip_and_refusals() {
        let bytes = file().encode();
        assert_eq!(ProofFile::decode(&bytes), Ok(file()));
        let mut trailing = bytes.clone();
        trailing.push(0);
        assert_eq!(ProofFile::decode(&trailing), Err(ProofFileError::Corrupted));
        assert_eq!(
            ProofFile::decode(&bytes[..bytes.len() - 1]),
            Err(ProofFileError::Corrupted)
        );
        assert_eq!(ProofFile::decode(b"{}"), Err(ProofFileError::Magic));
        let mut version = bytes;
        for found in [0, 1, VERSION + 1] {
            version[8] = found as u8;
            assert_eq!(ProofFile::decode(&version), Err(ProofFileError::Version { found }));
        }
    }

    proptest! {
        #[test]
        fn accepted_bytes_are_canonical(at in 0usize..80, flip in 1u8..) {
            let mut bytes = file().encode();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(f) = ProofFile::decode(&bytes) {
                prop_assert_eq!(f.encode(), bytes);
            }
        }

        #[test]
        fn any_bytes_decode_to_an_error_or_canonically(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [&MAGIC[..], &VERSION.to_le_bytes(), &body].concat();
            if let Ok(f) = ProofFile::decode(&bytes) {
                prop_assert_eq!(f.encode(), bytes);
            }
        }
    }
}
