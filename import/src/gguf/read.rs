//! The bytes of a GGUF file: metadata, and where each tensor lies.
//!
//! Versions 2 and 3, little-endian: magic, version, two counts, key-value pairs, descriptions of tensors, then the tensors, each
//! at a multiple of the alignment. Source: `docs/gguf.md` of ggml. The bytes are not trusted: every length is held against
//! what is left of the file before anything is reserved for it, and every tensor lies within the file.

use std::collections::BTreeMap;
use std::ops::Range;

use super::block::Kind;

const MAGIC: &[u8; 4] = b"GGUF";
/// Key of the alignment, and what it is where no one says.
const ALIGNMENT: &str = "general.alignment";
const DEFAULT_ALIGNMENT: u64 = 32;
/// Most axes of a tensor.
const MAX_AXES: u32 = 4;
/// Arrays within arrays.
const MAX_DEPTH: u32 = 4;

/// Why bytes are not a GGUF file that is read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It begins with something else.
    #[error("not a GGUF file")]
    Magic,
    /// Another version, or another order of bytes.
    #[error("GGUF version {0}; versions 2 and 3, little-endian, are read")]
    Version(u32),
    /// It ends within something.
    #[error("not a whole GGUF file: it ends at byte {at}, within {what}")]
    Truncated {
        /// Bytes of the file.
        at: usize,
        /// What is missing a part.
        what: &'static str,
    },
    /// A value that the format does not have.
    #[error("not a GGUF file: {0}")]
    Invalid(String),
    /// A tensor beyond the end.
    #[error("tensor `{name}` lies outside of the file: it would end at byte {end} of {len}")]
    Outside {
        /// The tensor.
        name: String,
        /// Where it would end.
        end: u64,
        /// Bytes of the file.
        len: usize,
    },
    /// Elements without a reader.
    #[error(
        "tensor `{name}` has elements of type {found}; {} are read: make a file of one of them with `llama-quantize \
         --allow-requantize IN.gguf OUT.gguf Q8_0`, or better from the original weights",
        Kind::names()
    )]
    Kind {
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
}

/// A metadata value; arrays are skipped, since only tokenizers have long ones.
#[derive(Debug, Clone, PartialEq)]
pub enum Meta {
    /// Of any width.
    Integer(i128),
    /// Of either width; the shortest decimal that is the same `f32` where it was one.
    Real(f64),
    /// `true` or `false`.
    Bool(bool),
    /// UTF-8, or what is left of it.
    Text(String),
    /// An array of so many values.
    Array(u64),
}

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Type of its elements.
    pub kind: Kind,
    /// Its axes, outermost first.
    pub shape: Vec<usize>,
    /// Its bytes within the file.
    pub bytes: Range<usize>,
}

/// What stands before the tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// By key.
    pub meta: BTreeMap<String, Meta>,
    /// By name.
    pub tensors: BTreeMap<String, Described>,
}

/// Reads the header of a file whose bytes these are.
pub fn parse(bytes: &[u8]) -> Result<Header, FormatError> {
    let mut r = Reader { bytes, at: 0 };
    if r.take(4, "its magic").ok() != Some(MAGIC.as_slice()) {
        return Err(FormatError::Magic);
    }
    let version = r.u32("the version")?;
    if !(2..=3).contains(&version) {
        return Err(FormatError::Version(version));
    }
    let (tensors, pairs) = (r.u64("the counts")?, r.u64("the counts")?);
    let mut meta = BTreeMap::new();
    for _ in 0..pairs {
        let key = r.text("a key")?;
        let kind = r.u32("a value")?;
        let value = r.value(kind, 0)?;
        if let Some(key) = insert(&mut meta, key, value) {
            return Err(FormatError::Invalid(format!("the key `{key}` occurs twice")));
        }
    }
    let alignment = match meta.get(ALIGNMENT) {
        None => DEFAULT_ALIGNMENT,
        Some(Meta::Integer(n)) if (1..=1 << 20).contains(n) => *n as u64,
        Some(other) => return Err(FormatError::Invalid(format!("`{ALIGNMENT}` is {other:?}"))),
    };
    let mut described = Vec::new();
    for _ in 0..tensors {
        described.push(r.tensor()?);
    }
    let start = (r.at as u64).next_multiple_of(alignment);
    let mut placed = BTreeMap::new();
    for (name, kind, shape, offset) in described {
        let bytes = place(bytes.len(), &name, kind, &shape, start, alignment, offset)?;
        if let Some(name) = insert(&mut placed, name, Described { kind, shape, bytes }) {
            return Err(FormatError::Invalid(format!("the tensor `{name}` occurs twice")));
        }
    }
    Ok(Header { meta, tensors: placed })
}

/// Inserts what is new; else gives the key back.
fn insert<V>(map: &mut BTreeMap<String, V>, key: String, value: V) -> Option<String> {
    if map.contains_key(&key) {
        return Some(key);
    }
    map.insert(key, value);
    None
}

/// The bytes of a tensor at `offset` behind `start`.
fn place(
    len: usize,
    name: &str,
    kind: Kind,
    shape: &[usize],
    start: u64,
    alignment: u64,
    offset: u64,
) -> Result<Range<usize>, FormatError> {
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(kind.block()) {
        return Err(FormatError::Invalid(format!(
            "the rows of tensor `{name}` have {row} elements, no whole blocks of {}",
            kind.block()
        )));
    }
    if !offset.is_multiple_of(alignment) {
        return Err(FormatError::Invalid(format!(
            "tensor `{name}` begins at {offset}, which is no multiple of {alignment}"
        )));
    }
    let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d as u64));
    let size = elements.and_then(|n| (n / kind.block() as u64).checked_mul(kind.bytes() as u64));
    let begin = start.checked_add(offset);
    let end = begin.zip(size).and_then(|(begin, size)| begin.checked_add(size));
    match (begin, end) {
        (Some(begin), Some(end)) if end <= len as u64 => Ok(begin as usize..end as usize),
        _ => Err(FormatError::Outside {
            name: name.to_owned(),
            end: end.unwrap_or(u64::MAX),
            len,
        }),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: u64, what: &'static str) -> Result<&'a [u8], FormatError> {
        let rest = &self.bytes[self.at..];
        let cut = FormatError::Truncated {
            at: self.bytes.len(),
            what,
        };
        let n = usize::try_from(n).map_err(|_| cut.clone())?;
        let taken = rest.get(..n).ok_or(cut)?;
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FormatError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, FormatError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, FormatError> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn text(&mut self, what: &'static str) -> Result<String, FormatError> {
        let len = self.u64(what)?;
        Ok(String::from_utf8_lossy(self.take(len, what)?).into_owned())
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<Meta, FormatError> {
        let what = "a value";
        Ok(match kind {
            0 => Meta::Integer(u8::from_le_bytes(self.array(what)?).into()),
            1 => Meta::Integer(i8::from_le_bytes(self.array(what)?).into()),
            2 => Meta::Integer(u16::from_le_bytes(self.array(what)?).into()),
            3 => Meta::Integer(i16::from_le_bytes(self.array(what)?).into()),
            4 => Meta::Integer(self.u32(what)?.into()),
            5 => Meta::Integer(i32::from_le_bytes(self.array(what)?).into()),
            6 => {
                let value = f32::from_le_bytes(self.array(what)?);
                Meta::Real(value.to_string().parse().unwrap_or(f64::from(value)))
            }
            7 => Meta::Bool(self.array::<1>(what)? != [0]),
            8 => Meta::Text(self.text(what)?),
            9 => {
                let (kind, count) = (self.u32(what)?, self.u64(what)?);
                if depth == MAX_DEPTH {
                    return Err(FormatError::Invalid("arrays nested too deeply".to_owned()));
                }
                match fixed(kind) {
                    Some(size) => {
                        self.take(count.saturating_mul(size), what)?;
                    }
                    // Every one of them is at least a length, so the loop ends with the file.
                    None => {
                        for _ in 0..count {
                            self.value(kind, depth + 1)?;
                        }
                    }
                }
                Meta::Array(count)
            }
            10 => Meta::Integer(self.u64(what)?.into()),
            11 => Meta::Integer(i64::from_le_bytes(self.array(what)?).into()),
            12 => Meta::Real(f64::from_le_bytes(self.array(what)?)),
            other => return Err(FormatError::Invalid(format!("there is no type {other} of values"))),
        })
    }

    /// Name, type, shape and offset of a tensor.
    fn tensor(&mut self) -> Result<(String, Kind, Vec<usize>, u64), FormatError> {
        let what = "the description of a tensor";
        let name = self.text(what)?;
        let axes = self.u32(what)?;
        if axes > MAX_AXES {
            return Err(FormatError::Invalid(format!("tensor `{name}` has {axes} axes")));
        }
        let mut shape = Vec::new();
        for _ in 0..axes {
            let length = self.u64(what)?;
            shape.push(
                usize::try_from(length)
                    .map_err(|_| FormatError::Invalid(format!("an axis of tensor `{name}` has length {length}")))?,
            );
        }
        // In the file the innermost is first.
        shape.reverse();
        let number = self.u32(what)?;
        let offset = self.u64(what)?;
        match Kind::of(number) {
            Ok(kind) => Ok((name, kind, shape, offset)),
            Err(found) => Err(FormatError::Kind { name, found }),
        }
    }
}

/// Bytes of a value of a type; `None` for texts, arrays and what is no type.
fn fixed(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }

    /// A file with one key of each kind that is skipped or kept, and one tensor of two rows.
    fn file(kind: u32, offset: u64, dims: &[u64]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(1u64.to_le_bytes());
        out.extend(4u64.to_le_bytes());
        text(&mut out, "general.architecture");
        out.extend(8u32.to_le_bytes());
        text(&mut out, "llama");
        text(&mut out, "llama.attention.layer_norm_rms_epsilon");
        out.extend(6u32.to_le_bytes());
        out.extend(1e-5f32.to_le_bytes());
        text(&mut out, "tokens");
        out.extend(9u32.to_le_bytes());
        out.extend(8u32.to_le_bytes());
        out.extend(2u64.to_le_bytes());
        text(&mut out, "a");
        text(&mut out, "b");
        text(&mut out, "scores");
        out.extend(9u32.to_le_bytes());
        out.extend(6u32.to_le_bytes());
        out.extend(2u64.to_le_bytes());
        out.extend([0; 8]);
        text(&mut out, "w");
        out.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend([7; 24]);
        out
    }

    #[test]
    fn a_whole_file_is_read() {
        let bytes = file(0, 0, &[3, 2]);
        let header = parse(&bytes).unwrap();
        assert_eq!(header.meta["general.architecture"], Meta::Text("llama".to_owned()));
        assert_eq!(header.meta["llama.attention.layer_norm_rms_epsilon"], Meta::Real(1e-5));
        assert_eq!(header.meta["tokens"], Meta::Array(2));
        assert_eq!(header.tensors["w"].shape, [2, 3]);
        assert_eq!(bytes[header.tensors["w"].bytes.clone()], [7; 24]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let says = |bytes: &[u8], text: &str| {
            let error = parse(bytes).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        let good = file(0, 0, &[3, 2]);
        says(b"GGML", "not a GGUF file");
        says(&[], "not a GGUF file");
        let mut version = good.clone();
        version[4..8].copy_from_slice(&1u32.to_le_bytes());
        says(&version, "version 1; versions 2 and 3");
        version[4..8].copy_from_slice(&3u32.to_be_bytes());
        says(&version, "little-endian");
        for cut in 4..good.len() {
            let error = parse(&good[..cut]).unwrap_err();
            assert!(
                matches!(error, FormatError::Truncated { .. } | FormatError::Outside { .. }),
                "{cut}: {error}"
            );
        }
        says(&file(0, 32, &[3, 2]), "`w` lies outside of the file");
        says(&file(0, u64::MAX - 31, &[3, 2]), "`w` lies outside of the file");
        says(&file(0, 0, &[u64::MAX, 2]), "`w` lies outside of the file");
        says(&file(0, 0, &[1 << 40, 1 << 40]), "`w` lies outside of the file");
        says(&file(0, 7, &[3, 2]), "no multiple of 32");
        says(&file(8, 0, &[3, 2]), "no whole blocks of 32");
        says(&file(12, 0, &[256]), "type Q4_K; F32, F16, BF16, Q8_0, Q4_0 are read");
        says(&file(99, 0, &[256]), "type 99;");
        says(&file(0, 0, &[1; 5]), "5 axes");
        // Counts beyond all bounds.
        for at in [8, 16] {
            let mut counts = good.clone();
            counts[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
            assert!(parse(&counts).is_err());
        }
    }

    proptest! {
        /// Damage gives an error or another file, never a panic, and tensors stay within it.
        #[test]
        fn damage_is_survived(edits in prop::collection::vec((0usize..400, any::<u8>()), 1..6)) {
            let mut bytes = file(0, 0, &[3, 2]);
            for (at, value) in edits {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            if let Ok(header) = parse(&bytes) {
                prop_assert!(header.tensors.values().all(|t| t.bytes.end <= bytes.len()));
            }
        }
    }
}
