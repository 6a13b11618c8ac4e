//! Where a model's weights come from: a safetensors file, the initialisers of an ONNX file, or a seed.

use std::collections::BTreeMap;
use std::path::Path;

use blake2::{Blake2s256, Digest};
use mlc_import::Initialisers;
use mlc_ir::{RecipeError, TensorF32, WeightSource};

use crate::error::CliError;

/// Weights by name.
pub(crate) enum Weights {
    /// A model without weights.
    None,
    /// A safetensors file, decoded.
    Tensors(BTreeMap<String, TensorF32>),
    /// Of an ONNX file.
    Onnx(Box<Initialisers>),
}

impl Weights {
    /// Reads a safetensors file: every element finite, every type a number that `f32` holds.
    pub(crate) fn safetensors(path: &Path, bytes: &[u8]) -> Result<Self, CliError> {
        Ok(Weights::Tensors(read_safetensors(path, bytes)?))
    }

    /// Name and shape of every tensor.
    pub(crate) fn shapes(&self) -> Option<BTreeMap<String, Vec<u64>>> {
        match self {
            Weights::Tensors(t) => {
                let shape = |t: &TensorF32| t.shape.iter().map(|d| *d as u64).collect();
                Some(t.iter().map(|(n, t)| (n.clone(), shape(t))).collect())
            }
            _ => None,
        }
    }

    /// A digest of all values with their names and shapes.
    pub(crate) fn digest(&self) -> Result<[u8; 32], CliError> {
        let mut h = Blake2s256::new();
        let mut add = |name: &str, t: &TensorF32| {
            h.update((name.len() as u64).to_le_bytes());
            h.update(name);
            h.update((t.shape.len() as u64).to_le_bytes());
            t.shape.iter().for_each(|d| h.update((*d as u64).to_le_bytes()));
            let bytes: Vec<u8> = t.data.iter().flat_map(|v| v.to_le_bytes()).collect();
            h.update(bytes);
        };
        match self {
            Weights::None => {}
            Weights::Tensors(tensors) => tensors.iter().for_each(|(n, t)| add(n, t)),
            Weights::Onnx(initialisers) => {
                for name in initialisers.names() {
                    add(name, &initialisers.get(name).map_err(CliError::refused)?);
                }
            }
        }
        Ok(h.finalize().into())
    }
}

impl WeightSource for Weights {
    fn get(&self, name: &str) -> Result<TensorF32, RecipeError> {
        match self {
            Weights::None => Err(RecipeError::Missing(name.to_owned())),
            Weights::Tensors(t) => WeightSource::get(t, name),
            Weights::Onnx(i) => i.get(name),
        }
    }

    fn contains(&self, name: &str) -> bool {
        match self {
            Weights::None => false,
            Weights::Tensors(t) => t.contains_key(name),
            Weights::Onnx(i) => i.contains(name),
        }
    }
}

/// Every tensor of a safetensors file.
pub(crate) fn read_safetensors(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, TensorF32>, CliError> {
    let file = safetensors::SafeTensors::deserialize(bytes)
        .map_err(|e| CliError::read(path, format!("not a safetensors file: {e}")))?;
    let mut out = BTreeMap::new();
    for (name, view) in file.tensors() {
        let data = reals(view.dtype(), view.data()).ok_or_else(|| {
            CliError::refused(format!(
                "weight `{name}` in `{}` has elements of type {:?}; F64, F32, F16, BF16, I8 and U8 are read",
                path.display(),
                view.dtype()
            ))
        })?;
        if let Some(at) = data.iter().position(|v| !v.is_finite()) {
            return Err(CliError::refused(format!(
                "weight `{name}` in `{}` is {} at position {at}; every weight must be finite",
                path.display(),
                data[at]
            )));
        }
        let tensor = TensorF32::new(view.shape().to_vec(), data)
            .ok_or_else(|| CliError::read(path, format!("tensor `{name}` has another length than its shape")))?;
        out.insert(name, tensor);
    }
    Ok(out)
}

/// Elements as `f32`; `None` for types that are no weights.
fn reals(dtype: safetensors::Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    use safetensors::Dtype;
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|b| f(*b)).collect()
    }
    Some(match dtype {
        Dtype::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F16 => each(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        Dtype::I8 => each(bytes, |b: [u8; 1]| f32::from(b[0] as i8)),
        Dtype::U8 => each(bytes, |b: [u8; 1]| f32::from(b[0])),
        _ => return None,
    })
}
