//! `#[serde(with = "bytes")]`: a vector of bytes copied at once. The postcard encoding is that of a sequence of `u8`, which
//! serde would take one by one.

use alloc::vec::Vec;
use core::fmt::{Formatter, Result as FmtResult};

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    from.deserialize_bytes(Bytes)
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut Formatter<'_>) -> FmtResult {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct AtOnce(#[serde(with = "crate::bytes")] Vec<u8>);

    #[test]
    fn the_encoding_is_that_of_a_sequence() {
        for n in [0, 1, 127, 128, 70_000] {
            let bytes: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
            let encoded = postcard::to_allocvec(&bytes).unwrap();
            assert_eq!(postcard::to_allocvec(&AtOnce(bytes.clone())).unwrap(), encoded);
            assert_eq!(postcard::from_bytes::<AtOnce>(&encoded), Ok(AtOnce(bytes)));
            assert!(postcard::from_bytes::<AtOnce>(&encoded[..encoded.len() - 1]).is_err());
        }
        // A length without bytes allocates nothing.
        assert!(postcard::from_bytes::<AtOnce>(&[0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    }
}
