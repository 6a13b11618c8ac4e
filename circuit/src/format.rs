//! Canonical bytes and digest of a circuit.
//!
//! The artefact is a magic, a version and the postcard encoding; decoding refuses other versions and trailing bytes.
//! The digest is Blake2s over the same bytes, so it covers tables with their contents.

use alloc::vec::Vec;

use blake2::{Blake2s256, Digest};

use crate::Circuit;

/// First bytes of a circuit artefact.
pub const MAGIC: &[u8; 8] = b"mlc-circ";
/// Version of the format, bumped on every change of [`Circuit`].
pub const VERSION: u32 = 4;

/// Why bytes are not a circuit artefact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The magic is missing.
    #[error("not an mlc circuit artefact")]
    Magic,
    /// Another version.
    #[error("circuit artefact version {found}, this build reads version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The body does not decode, or bytes follow it.
    #[error("the circuit artefact is corrupted")]
    Corrupted,
}

/// The canonical artefact bytes.
pub fn encode(circuit: &Circuit) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    // Serialising owned vectors, strings and integers to memory cannot fail.
    out.extend_from_slice(&postcard::to_allocvec(circuit).unwrap_or_default());
    out
}

/// Decodes an artefact; `encode(decode(b)) == b` for every accepted `b`.
pub fn decode(bytes: &[u8]) -> Result<Circuit, FormatError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(FormatError::Magic)?;
    let (version, body) = rest.split_first_chunk::<4>().ok_or(FormatError::Corrupted)?;
    let found = u32::from_le_bytes(*version);
    if found != VERSION {
        return Err(FormatError::Version { found });
    }
    let (circuit, rest) = postcard::take_from_bytes::<Circuit>(body).map_err(|_| FormatError::Corrupted)?;
    if !rest.is_empty() || encode(&circuit) != bytes {
        return Err(FormatError::Corrupted);
    }
    Ok(circuit)
}

/// The digest that a statement names.
pub fn digest(circuit: &Circuit) -> [u8; 32] {
    let mut h = Blake2s256::new();
    h.update(encode(circuit));
    h.finalize().into()
}
