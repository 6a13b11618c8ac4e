//! The weights of an imported model, by name.
//!
//! Elements stay in the bytes of the file (or in the file beside it, read when asked for) and become `f32` in
//! [`WeightSource::get`]. Integers are exact up to 2^24, which covers the 8-bit weights of quantised models; the 32-bit
//! biases of those are rounded like any real number.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use mlc_ir::{RecipeError, TensorF32, WeightSource};

use crate::error::TensorError;

/// Type of a stored element, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the usual ones
pub enum DType {
    F32,
    F64,
    F16,
    BF16,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 => 8,
        }
    }

    /// True for floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
    }

    /// The element in `bytes`, which are [`size`](Self::size) many.
    fn real(self, bytes: &[u8]) -> f64 {
        match self {
            DType::F32 => f32::from_le_bytes(array(bytes)).into(),
            DType::F64 => f64::from_le_bytes(array(bytes)),
            DType::F16 => half::f16::from_le_bytes(array(bytes)).to_f64(),
            DType::BF16 => half::bf16::from_le_bytes(array(bytes)).to_f64(),
            _ => self.integer(bytes) as f64,
        }
    }

    /// The element in `bytes`; unsigned 64-bit numbers saturate, floating-point numbers are truncated.
    fn integer(self, bytes: &[u8]) -> i64 {
        match self {
            DType::I8 => i8::from_le_bytes(array(bytes)).into(),
            DType::U8 | DType::Bool => u8::from_le_bytes(array(bytes)).into(),
            DType::I16 => i16::from_le_bytes(array(bytes)).into(),
            DType::U16 => u16::from_le_bytes(array(bytes)).into(),
            DType::I32 => i32::from_le_bytes(array(bytes)).into(),
            DType::U32 => u32::from_le_bytes(array(bytes)).into(),
            DType::I64 => i64::from_le_bytes(array(bytes)),
            DType::U64 => i64::try_from(u64::from_le_bytes(array(bytes))).unwrap_or(i64::MAX),
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 => self.real(bytes) as i64,
        }
    }
}

/// The first `N` bytes, zeros where there are fewer.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

/// Where the bytes of a tensor are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Data {
    Here(Vec<u8>),
    File { path: PathBuf, offset: u64 },
}

/// A tensor of the model's file. The number of bytes is the product of `shape` and the element's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<u64>,
    pub(crate) data: Data,
}

/// Bytes read from a file at a time.
const CHUNK: usize = 1 << 20;

impl Stored {
    /// Number of elements; `None` where the shape overflows.
    pub(crate) fn numel(shape: &[u64]) -> Option<u64> {
        shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d))
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> u64 {
        Self::numel(&self.shape).unwrap_or(u64::MAX)
    }

    /// Calls `f` with every element's bytes, in row-major order.
    fn for_each(&self, mut f: impl FnMut(&[u8])) -> Result<(), TensorError> {
        let size = self.dtype.size();
        match &self.data {
            Data::Here(bytes) => bytes.chunks_exact(size).for_each(f),
            Data::File { path, offset } => {
                let fail = |e: std::io::Error| TensorError::External {
                    location: path.display().to_string(),
                    why: e.to_string(),
                };
                let mut file = File::open(path).map_err(fail)?;
                file.seek(SeekFrom::Start(*offset)).map_err(fail)?;
                let mut left = self.len().saturating_mul(size as u64);
                let mut buffer = vec![0; CHUNK];
                while left > 0 {
                    let n = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                    file.read_exact(&mut buffer[..n]).map_err(fail)?;
                    buffer[..n].chunks_exact(size).for_each(&mut f);
                    left -= n as u64;
                }
            }
        }
        Ok(())
    }

    /// The elements as integers.
    pub(crate) fn integers(&self) -> Result<Vec<i64>, TensorError> {
        let mut out = Vec::new();
        self.for_each(|bytes| out.push(self.dtype.integer(bytes)))?;
        Ok(out)
    }

    /// The first element as a real number.
    pub(crate) fn first(&self) -> Option<f64> {
        let mut first = None;
        let read = self.for_each(|bytes| first = first.or(Some(self.dtype.real(bytes))));
        read.ok().and(first)
    }

    /// With the least finite number in place of `-inf`, where all elements are that or 0: a mask to be added to scores.
    pub(crate) fn finite_mask(mut self) -> Stored {
        const HIDDEN: [u8; 4] = f32::NEG_INFINITY.to_le_bytes();
        if let (DType::F32, Data::Here(bytes)) = (self.dtype, &mut self.data) {
            let elements = bytes.as_chunks_mut::<4>().0;
            if elements.iter().all(|e| *e == HIDDEN || *e == [0; 4]) {
                let hidden = elements.iter_mut().filter(|e| **e == HIDDEN);
                hidden.for_each(|e| *e = f32::MIN.to_le_bytes());
            }
        }
        self
    }

    /// Fails where an element is NaN or infinite.
    pub(crate) fn check_finite(&self) -> Result<(), TensorError> {
        if !self.dtype.is_float() {
            return Ok(());
        }
        let (mut position, mut found) = (0u64, None);
        self.for_each(|bytes| {
            let value = self.dtype.real(bytes) as f32;
            if !value.is_finite() && found.is_none() {
                found = Some((position, value));
            }
            position += 1;
        })?;
        match found {
            None => Ok(()),
            Some((position, value)) => Err(TensorError::NotFinite {
                position,
                value: value.to_string(),
            }),
        }
    }

    fn tensor(&self) -> Result<TensorF32, TensorError> {
        let mut data = Vec::new();
        self.for_each(|bytes| data.push(self.dtype.real(bytes) as f32))?;
        let shape = self.shape.iter().map(|d| *d as usize).collect();
        let found = data.len() as u64;
        TensorF32::new(shape, data).ok_or_else(|| TensorError::Length {
            shape: self.shape.clone(),
            needed: Some(self.len()),
            found,
        })
    }
}

/// Initialisers and constants of a model: what the recipes of its weights name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Initialisers {
    tensors: IndexMap<String, Stored>,
}

impl Initialisers {
    pub(crate) fn insert(&mut self, name: String, tensor: Stored) {
        self.tensors.insert(name, tensor);
    }

    /// Names, in the order of the file.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of the tensor `name`, outermost axis first.
    pub fn shape(&self, name: &str) -> Option<&[u64]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }

    /// Element type of the tensor `name` as the file stores it.
    pub fn dtype(&self, name: &str) -> Option<DType> {
        self.tensors.get(name).map(|t| t.dtype)
    }
}

impl WeightSource for Initialisers {
    fn get(&self, name: &str) -> Result<TensorF32, RecipeError> {
        let tensor = self
            .tensors
            .get(name)
            .ok_or_else(|| RecipeError::Missing(name.to_owned()))?;
        tensor.tensor().map_err(|e| RecipeError::Unreadable {
            name: name.to_owned(),
            why: e.to_string(),
        })
    }

    fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}

/// The path of `location` below `folder`; refuses what leaves it.
pub(crate) fn below(folder: &Path, location: &str) -> Result<PathBuf, TensorError> {
    let relative = Path::new(location);
    let inside = relative
        .components()
        .all(|c| matches!(c, std::path::Component::Normal(_) | std::path::Component::CurDir));
    if !inside || location.is_empty() {
        return Err(TensorError::Outside(location.to_owned()));
    }
    Ok(folder.join(relative))
}
