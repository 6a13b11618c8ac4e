//! Canonical bytes and digest of a circuit.
//!
//! The artefact is a magic, a version and the postcard encoding; decoding refuses other versions and trailing bytes.
//! The digest is Blake2s over the same bytes, so it covers tables with their contents.

use alloc::vec::Vec;

use blake2::{Blake2s256, Digest};
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Circuit;

/// First bytes of a circuit artefact.
pub const MAGIC: &[u8; 8] = b"mlc-circ";
/// Version of the format, bumped on every change of [`Circuit`].
pub const VERSION: u32 = 5;

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
    frame(MAGIC, VERSION, circuit)
}

/// Decodes an artefact; `encode(decode(b)) == b` for every accepted `b`.
pub fn decode(bytes: &[u8]) -> Result<Circuit, FormatError> {
    unframe(MAGIC, VERSION, bytes).map_err(|e| match e {
        Unframed::Magic => FormatError::Magic,
        Unframed::Version(found) => FormatError::Version { found },
        Unframed::Corrupted => FormatError::Corrupted,
    })
}

/// A file of this project: magic, version (four bytes, little-endian), the postcard encoding of a value.
pub fn frame<T: Serialize>(magic: &[u8; 8], version: u32, value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(magic);
    out.extend_from_slice(&version.to_le_bytes());
    // Serialising owned vectors, strings and integers to memory cannot fail.
    out.extend_from_slice(&postcard::to_allocvec(value).unwrap_or_default());
    out
}

/// Why bytes are not what [`frame`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unframed {
    /// Another magic.
    Magic,
    /// Another version: this one.
    Version(u32),
    /// The value does not decode, is not encoded in the one canonical way, or bytes follow it.
    Corrupted,
}

/// The value of [`frame`]'s bytes; `frame(unframe(b)) == b` for every accepted `b`. Allocates at most a small multiple of the
/// bytes' length.
pub fn unframe<T: Serialize + DeserializeOwned>(magic: &[u8; 8], version: u32, bytes: &[u8]) -> Result<T, Unframed> {
    let rest = bytes.strip_prefix(magic).ok_or(Unframed::Magic)?;
    let (found, body) = rest.split_first_chunk::<4>().ok_or(Unframed::Corrupted)?;
    let found = u32::from_le_bytes(*found);
    if found != version {
        return Err(Unframed::Version(found));
    }
    let value: T = postcard::from_bytes(body).map_err(|_| Unframed::Corrupted)?;
    if is_encoding(&value, body) {
        Ok(value)
    } else {
        Err(Unframed::Corrupted)
    }
}

/// Whether `bytes` are the postcard encoding of a value, byte by byte: what decodes to a value need not be, as an integer
/// may be written with more bytes than it needs. Nothing is laid out for it.
fn is_encoding<T: Serialize>(value: &T, bytes: &[u8]) -> bool {
    postcard::serialize_with_flavor(value, Expected(bytes)).is_ok()
}

/// Serialises to these bytes, or fails.
struct Expected<'b>(&'b [u8]);

impl Flavor for Expected<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    #[inline]
    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        let equal = match self.0.split_at_checked(data.len()) {
            None => false,
            Some((here, rest)) => {
                self.0 = rest;
                // A few bytes just written: a call of `memcmp` would wait for them.
                if data.len() <= 16 {
                    here.iter().zip(data).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
                } else {
                    here == data
                }
            }
        };
        if equal {
            Ok(())
        } else {
            Err(postcard::Error::SerializeBufferFull)
        }
    }

    fn finalize(self) -> postcard::Result<()> {
        match self.0 {
            [] => Ok(()),
            _ => Err(postcard::Error::SerializeBufferFull),
        }
    }
}

/// The digest that a statement names.
pub fn digest(circuit: &Circuit) -> [u8; 32] {
    digest_of(&encode(circuit))
}

/// [`digest`] of the circuit that is [`decode`]d from `bytes`: they are its one encoding.
pub fn digest_of(bytes: &[u8]) -> [u8; 32] {
    Blake2s256::digest(bytes).into()
}
