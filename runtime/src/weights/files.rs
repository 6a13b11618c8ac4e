//! Named tensors in safetensors files, mapped into memory: a tensor is decoded when it is asked for.
//!
//! Of linear layers that are packed to four bits ([`Packing`]), one sees the tensor that they stand for, `X.weight`; it is
//! unpacked when it is asked for, too.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, UncheckedAdvice};
use mlc_ir::{RecipeError, TensorF32, WeightSource};
use safetensors::{Dtype, SafeTensors};

use super::int4::{Layer, Packing, Part, Parts, QUANTIZATION};

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The file cannot be opened or mapped.
    #[error("cannot read '{path}': {why}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// It is not a safetensors file, or a truncated one.
    #[error("'{path}' is not a whole safetensors file: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Two files hold a tensor of the same name.
    #[error("tensor '{name}' is in '{first}' and in '{second}'")]
    Duplicate {
        /// The tensor.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The tensors of a packed layer do not fit together.
    #[error("the packed layer '{name}' of '{path}' cannot be read: {why}")]
    Packed {
        /// The layer.
        name: String,
        /// The file with its `qweight`.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Why a tensor is not read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TensorError {
    /// No file has it.
    #[error("there is no tensor '{0}'")]
    Missing(String),
    /// Its elements are no weights.
    #[error("tensor '{name}' of '{path}' has elements of type {dtype}; F64, F32, F16, BF16, I8 and U8 are read")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
        /// The file.
        path: PathBuf,
    },
    /// An element is NaN or infinite (as `f32`).
    #[error("tensor '{name}' of '{path}' is {value} at position {position}; every weight must be finite")]
    NotFinite {
        /// The tensor.
        name: String,
        /// Row-major position.
        position: usize,
        /// The element.
        value: f32,
        /// The file.
        path: PathBuf,
    },
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(m) => m,
            Bytes::Owned(v) => v,
        }
    }
}

#[derive(Debug)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

/// A packed layer `X`, which is seen as `X.weight`.
#[derive(Debug)]
struct Packed {
    /// `X`.
    name: String,
    shape: [usize; 2],
    layer: Layer,
}

/// Names of a packed layer's tensors, behind its own.
const PARTS: [&str; 4] = ["qweight", "qzeros", "scales", "g_idx"];

/// A tensor as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its elements, little-endian, row-major.
    pub bytes: &'a [u8],
}

/// Tensors of one or more safetensors files (shards), by name.
#[derive(Debug, Default)]
pub struct TensorFiles {
    files: Vec<(PathBuf, Bytes)>,
    /// Of the files.
    entries: BTreeMap<String, Entry>,
    /// What the metadata of the first file that has it says of packed weights.
    quantization: Option<String>,
    packing: Option<Packing>,
    /// By the name that is seen.
    packed: BTreeMap<String, Packed>,
}

impl TensorFiles {
    /// Drops what is resident of the files: it is read again when it is asked for.
    pub fn release(&self) {
        for (_, bytes) in &self.files {
            if let Bytes::Mapped(map) = bytes {
                // SAFETY: the map is of a file and read-only, so a dropped page has the same bytes when it is read again.
                let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
            }
        }
    }

    /// Maps files. They must not be changed while they are in use.
    pub fn open<P: AsRef<Path>>(paths: &[P]) -> Result<Self, FileError> {
        let mut out = Self::default();
        for path in paths {
            let path = path.as_ref();
            let io = |e: std::io::Error| FileError::Io {
                path: path.to_owned(),
                why: e.to_string(),
            };
            let file = File::open(path).map_err(io)?;
            // SAFETY: the map is read-only; the documentation asks that nobody changes the file meanwhile.
            let map = unsafe { Mmap::map(&file) }.map_err(io)?;
            out.add(path, Bytes::Mapped(map))?;
        }
        Ok(out)
    }

    /// A file that is already in memory; `path` names it in errors.
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self, FileError> {
        let mut out = Self::default();
        out.add(path.as_ref(), Bytes::Owned(bytes))?;
        Ok(out)
    }

    fn add(&mut self, path: &Path, bytes: Bytes) -> Result<(), FileError> {
        let format = |e: safetensors::SafeTensorError| FileError::Format {
            path: path.to_owned(),
            why: e.to_string(),
        };
        let tensors = SafeTensors::deserialize(&bytes).map_err(format)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(format)?;
        let said = header.metadata().as_ref().and_then(|m| m.get(QUANTIZATION));
        self.quantization = self.quantization.take().or(said.cloned());
        let file = self.files.len();
        for (name, view) in tensors.tensors() {
            let start = view.data().as_ptr().addr() - bytes.as_ptr().addr();
            let entry = Entry {
                file,
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: start..start + view.data().len(),
            };
            if let Some(first) = self.entries.get(&name) {
                return Err(FileError::Duplicate {
                    name,
                    first: self.files[first.file].0.clone(),
                    second: path.to_owned(),
                });
            }
            self.entries.insert(name, entry);
        }
        self.files.push((path.to_owned(), bytes));
        Ok(())
    }

    /// What the files' own metadata say of packed weights: the JSON text of a `quantization_config`.
    pub fn quantization(&self) -> Option<&str> {
        self.quantization.as_deref()
    }

    /// A tensor that looks like one of a packed layer, of which nobody has said how it is packed.
    pub fn unexplained(&self) -> Option<&str> {
        let words = |(name, e): &(&String, &Entry)| e.dtype == Dtype::I32 && name.ends_with(".qweight");
        match self.packing {
            Some(_) => None,
            None => self.entries.iter().find(words).map(|(name, _)| name.as_str()),
        }
    }

    /// Sees the packed layers of the files as what they stand for: `X.weight` in place of `X.qweight`, `X.qzeros`, `X.scales`
    /// and `X.g_idx`.
    pub fn unpack(&mut self, packing: Packing) -> Result<(), FileError> {
        let mut packed = BTreeMap::new();
        for (name, entry) in &self.entries {
            let Some(layer) = name.strip_suffix(".qweight") else {
                continue;
            };
            let path = self.files[entry.file].0.clone();
            let refused = |why: String| FileError::Packed {
                name: layer.to_owned(),
                path: path.clone(),
                why,
            };
            let parts = self.parts(layer).map_err(refused)?;
            let weight = format!("{layer}.weight");
            if self.entries.contains_key(&weight) {
                return Err(refused(format!("it has the tensor {weight} besides its qweight")));
            }
            let fitting = packing.layer(&parts).map_err(refused)?;
            let view = Packed {
                name: layer.to_owned(),
                shape: fitting.shape(),
                layer: fitting,
            };
            packed.insert(weight, view);
        }
        (self.packed, self.packing) = (packed, Some(packing));
        Ok(())
    }

    /// How packed layers are read, where [`unpack`](Self::unpack) was told.
    pub fn packing(&self) -> Option<&Packing> {
        self.packing.as_ref()
    }

    fn part(&self, name: &str) -> Option<Part<'_>> {
        let e = self.entries.get(name)?;
        Some(Part {
            dtype: e.dtype,
            shape: &e.shape,
            bytes: &self.files[e.file].1[e.bytes.clone()],
        })
    }

    /// The tensors of a packed layer.
    fn parts(&self, layer: &str) -> Result<Parts<'_>, String> {
        let part = |name: &str| self.part(&format!("{layer}.{name}"));
        let must = |name: &str| part(name).ok_or_else(|| format!("there is no tensor {layer}.{name}"));
        let [qweight, qzeros, scales, g_idx] = PARTS;
        Ok(Parts {
            qweight: must(qweight)?,
            qzeros: must(qzeros)?,
            scales: must(scales)?,
            g_idx: part(g_idx),
        })
    }

    /// Whether a stored tensor is seen only as a part of a packed layer.
    fn hidden(&self, name: &str) -> bool {
        name.rsplit_once('.')
            .is_some_and(|(layer, part)| PARTS.contains(&part) && self.packed.contains_key(&format!("{layer}.weight")))
    }

    /// Names and shapes of all tensors, packed layers as what they stand for.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let plain = self.entries.iter().filter(|(name, _)| !self.hidden(name));
        let packed = self.packed.iter().map(|(name, p)| (name.as_str(), p.shape.as_slice()));
        plain.map(|(name, e)| (name.as_str(), e.shape.as_slice())).chain(packed)
    }

    /// The file that stores a tensor.
    pub fn file_of(&self, name: &str) -> Option<&Path> {
        self.entries.get(name).map(|e| self.files[e.file].0.as_path())
    }

    /// All tensors as they are stored, by name.
    pub fn stored(&self) -> impl Iterator<Item = Stored<'_>> {
        self.entries.iter().map(|(name, e)| Stored {
            name,
            dtype: e.dtype,
            shape: &e.shape,
            bytes: &self.files[e.file].1[e.bytes.clone()],
        })
    }

    /// Decodes a tensor to `f32`; every element is finite.
    pub fn tensor(&self, name: &str) -> Result<TensorF32, TensorError> {
        let missing = || TensorError::Missing(name.to_owned());
        let (path, tensor) = match self.packed.get(name) {
            Some(packed) => {
                let stored = format!("{}.qweight", packed.name);
                let entry = self.entries.get(&stored).ok_or_else(missing)?;
                let parts = self.parts(&packed.name).map_err(TensorError::Missing)?;
                let tensor = TensorF32 {
                    shape: packed.shape.to_vec(),
                    data: packed.layer.unpack(&parts),
                };
                (&self.files[entry.file].0, tensor)
            }
            None => {
                let entry = self.entries.get(name).ok_or_else(missing)?;
                let (path, file) = &self.files[entry.file];
                let data = floats(entry.dtype, &file[entry.bytes.clone()]).ok_or_else(|| TensorError::Dtype {
                    name: name.to_owned(),
                    dtype: format!("{:?}", entry.dtype),
                    path: path.clone(),
                })?;
                let shape = entry.shape.clone();
                (path, TensorF32 { shape, data })
            }
        };
        match tensor.data.iter().position(|v| !v.is_finite()) {
            Some(position) => Err(TensorError::NotFinite {
                name: name.to_owned(),
                position,
                value: tensor.data[position],
                path: path.clone(),
            }),
            None => Ok(tensor),
        }
    }
}

/// Elements as `f32`; `None` for types that are no weights.
pub(crate) fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|b| f(*b)).collect()
    }
    Some(match dtype {
        Dtype::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F16 => each(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        // Weights of models that were quantised before; every such integer is exact in `f32`.
        Dtype::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
        Dtype::U8 => each(bytes, |b: [u8; 1]| f32::from(b[0])),
        _ => return None,
    })
}

impl WeightSource for TensorFiles {
    fn get(&self, name: &str) -> Result<TensorF32, RecipeError> {
        self.tensor(name).map_err(|e| match e {
            TensorError::Missing(name) => RecipeError::Missing(name),
            TensorError::Dtype { name, dtype, path } => RecipeError::Unreadable {
                name,
                why: format!(
                    "its elements in `{}` are {dtype}; F64, F32, F16, BF16, I8 and U8 are read",
                    path.display()
                ),
            },
            TensorError::NotFinite {
                name,
                position,
                value,
                path,
            } => RecipeError::Unreadable {
                name,
                why: format!(
                    "it is {value} at position {position} in `{}`; every weight must be finite",
                    path.display()
                ),
            },
        })
    }

    fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name) || self.packed.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{TensorView, serialize};

    use super::*;

    fn file(tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        serialize(views, None).unwrap()
    }

    #[test]
    fn floats_of_every_width_are_read_from_a_mapped_file() {
        let values = [1.5f32, -2.0, 0.25, 448.0];
        let bytes = |f: &dyn Fn(f32) -> Vec<u8>| values.iter().flat_map(|v| f(*v)).collect::<Vec<u8>>();
        let data = file(&[
            (
                "f64",
                Dtype::F64,
                vec![4],
                bytes(&|v| f64::from(v).to_le_bytes().to_vec()),
            ),
            ("f32", Dtype::F32, vec![2, 2], bytes(&|v| v.to_le_bytes().to_vec())),
            (
                "f16",
                Dtype::F16,
                vec![4, 1],
                bytes(&|v| half::f16::from_f32(v).to_le_bytes().to_vec()),
            ),
            (
                "bf16",
                Dtype::BF16,
                vec![4],
                bytes(&|v| half::bf16::from_f32(v).to_le_bytes().to_vec()),
            ),
        ]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        std::fs::write(&path, data).unwrap();
        let files = TensorFiles::open(&[&path]).unwrap();
        for name in ["f64", "f32", "f16", "bf16"] {
            assert_eq!(files.get(name).unwrap().data, values, "{name}");
        }
        assert_eq!(files.get("f32").unwrap().shape, [2, 2]);
        assert!(files.contains("f16") && !files.contains("f8"));
        assert_eq!(files.get("f8"), Err(RecipeError::Missing("f8".into())));
        assert!(matches!(
            TensorFiles::open(&[&path, &path]),
            Err(FileError::Duplicate { .. })
        ));
    }

    #[test]
    fn small_integers_are_read_as_they_are() {
        let bytes = vec![0, 1, 127, 128, 255];
        let data = file(&[
            ("i8", Dtype::I8, vec![5], bytes.clone()),
            ("u8", Dtype::U8, vec![5, 1], bytes),
        ]);
        let files = TensorFiles::from_bytes("w", data).unwrap();
        assert_eq!(files.tensor("i8").unwrap().data, [0.0, 1.0, 127.0, -128.0, -1.0]);
        assert_eq!(files.tensor("u8").unwrap().data, [0.0, 1.0, 127.0, 128.0, 255.0]);
    }

    #[test]
    fn bad_tensors_are_named() {
        let bytes: Vec<u8> = [1.0, f32::NAN].iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
        let wide: Vec<u8> = 1e300f64.to_le_bytes().to_vec();
        let data = file(&[
            ("nan", Dtype::F32, vec![2], bytes),
            ("wide", Dtype::F64, vec![1], wide),
            ("int", Dtype::I64, vec![1], vec![0; 8]),
        ]);
        let files = TensorFiles::from_bytes("w", data.clone()).unwrap();
        assert_eq!(
            files.tensor("nan").unwrap_err().to_string(),
            "tensor 'nan' of 'w' is NaN at position 1; every weight must be finite"
        );
        assert!(matches!(
            files.tensor("wide"),
            Err(TensorError::NotFinite { position: 0, .. })
        ));
        assert!(matches!(files.tensor("int"), Err(TensorError::Dtype { dtype, .. }) if dtype == "I64"));
        for cut in [0, 7, 20, data.len() - 1] {
            let cut = TensorFiles::from_bytes("w", data[..cut].to_vec());
            assert!(matches!(cut, Err(FileError::Format { .. })));
        }
        assert!(matches!(
            TensorFiles::open(&["/nonexistent"]),
            Err(FileError::Io { .. })
        ));
    }
}
