//! Input files, and their quantisation.
//!
//! | file | gives |
//! |---|---|
//! | `.json` | nested arrays of numbers, or an object of them by input name |
//! | `.npy` | one array of floats or integers |
//! | `.safetensors` | named tensors |
//! | `.png` | an 8-bit grey image `[h, w]` or colour image `[3, h, w]`, in 0 to 1 |
//!
//! Quantisation is `round(x / scale)`, half to even, in `f64`, which every platform computes alike: `verify` does it
//! again on a user's input.

mod json;
mod npy;
mod png;
mod quantise;

use std::collections::BTreeMap;

use mlc_ir::TensorF32;

pub use quantise::{RangeError, indices, quantise};

use crate::weights::{FileError, TensorError, TensorFiles};

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Nested arrays.
    Json,
    /// An array of numpy.
    Npy,
    /// Named tensors.
    Safetensors,
    /// An image.
    Png,
}

impl Format {
    /// By the file's extension.
    pub fn of(path: &std::path::Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match extension.as_str() {
            "json" => Self::Json,
            "npy" => Self::Npy,
            "safetensors" => Self::Safetensors,
            "png" => Self::Png,
            _ => return None,
        })
    }
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub enum InputFile {
    /// One tensor, for a model of one input.
    One(TensorF32),
    /// Pixels, to be reshaped to the model's input.
    Image(TensorF32),
    /// Tensors by the name of the input.
    Named(BTreeMap<String, TensorF32>),
}

/// Why a file gives no input.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InputError {
    /// The JSON text does not parse.
    #[error("not JSON: {0}")]
    Json(String),
    /// Something else than nested arrays of numbers.
    #[error("{at} is {found}; an input is nested arrays of numbers, or an object of them by input name")]
    JsonValue {
        /// Where, as a path of indices.
        at: String,
        /// What is there.
        found: &'static str,
    },
    /// Arrays of different lengths side by side.
    #[error("{at} has length {found}, its neighbours {expected}")]
    Ragged {
        /// Where, as a path of indices.
        at: String,
        /// Of the first neighbour.
        expected: usize,
        /// There.
        found: usize,
    },
    /// Not a `.npy` file, or one of a kind that is not read.
    #[error("not a readable .npy file: {0}")]
    Npy(String),
    /// Not a PNG file, or one of a kind that is not read.
    #[error("not a readable PNG image: {0}")]
    Png(String),
    /// Not a safetensors file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A tensor of a safetensors file.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// An element is NaN or infinite.
    #[error("element {position} is {value}; every element must be finite")]
    NotFinite {
        /// Row-major position.
        position: usize,
        /// The element.
        value: f32,
    },
    /// The file has no tensor for an input.
    #[error("the file has no input '{0}'")]
    Missing(String),
    /// The file has a tensor that is no input.
    #[error("the model has no input '{0}'")]
    Unknown(String),
    /// One tensor, but several inputs.
    #[error("the model has {0} inputs; give them by name, in a JSON object or a safetensors file")]
    Unnamed(usize),
    /// An input has another shape.
    #[error("input '{name}' has shape {found:?}, the model wants {expected:?}")]
    Shape {
        /// The input.
        name: String,
        /// Of the file.
        found: Vec<usize>,
        /// Of the model.
        expected: Vec<usize>,
    },
}

/// Reads a file's bytes; every element is finite.
pub fn parse(format: Format, bytes: &[u8]) -> Result<InputFile, InputError> {
    let file = match format {
        Format::Json => json::parse(bytes)?,
        Format::Npy => InputFile::One(npy::parse(bytes)?),
        Format::Png => InputFile::Image(png::parse(bytes)?),
        Format::Safetensors => {
            let files = TensorFiles::from_bytes("input", bytes.to_vec())?;
            let names: Vec<String> = files.shapes().map(|(name, _)| name.to_owned()).collect();
            let tensor = |name: String| Ok((name.clone(), files.tensor(&name)?));
            InputFile::Named(names.into_iter().map(tensor).collect::<Result<_, TensorError>>()?)
        }
    };
    let tensors: Vec<&TensorF32> = match &file {
        InputFile::One(t) | InputFile::Image(t) => vec![t],
        InputFile::Named(all) => all.values().collect(),
    };
    for t in tensors {
        if let Some(position) = t.data.iter().position(|v| !v.is_finite()) {
            return Err(InputError::NotFinite {
                position,
                value: t.data[position],
            });
        }
    }
    Ok(file)
}

impl InputFile {
    /// The shape of the tensor for input `name` of a model of `inputs` inputs: run-time dimensions follow from it.
    pub fn shape(&self, name: &str, inputs: usize) -> Option<&[usize]> {
        match self {
            InputFile::One(t) => (inputs == 1).then_some(&t.shape),
            InputFile::Image(_) => None,
            InputFile::Named(all) => all.get(name).map(|t| t.shape.as_slice()),
        }
    }

    /// One tensor per input, in order, of the given names and shapes. Axes of length 1 may be left out or added; an
    /// image takes any shape of as many elements.
    pub fn tensors(self, inputs: &[(&str, Vec<usize>)]) -> Result<Vec<TensorF32>, InputError> {
        let mut named = match self {
            InputFile::Named(all) => all,
            InputFile::Image(mut t) => {
                let [(name, shape)] = inputs else {
                    return Err(InputError::Unnamed(inputs.len()));
                };
                if t.data.len() == shape.iter().product::<usize>() {
                    t.shape = shape.clone();
                }
                BTreeMap::from([((*name).to_owned(), t)])
            }
            InputFile::One(t) => {
                let [(name, _)] = inputs else {
                    return Err(InputError::Unnamed(inputs.len()));
                };
                BTreeMap::from([((*name).to_owned(), t)])
            }
        };
        let mut out = Vec::with_capacity(inputs.len());
        for (name, shape) in inputs {
            let mut t = named
                .remove(*name)
                .ok_or_else(|| InputError::Missing((*name).to_owned()))?;
            let long = |s: &[usize]| s.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
            if long(&t.shape) != long(shape) {
                return Err(InputError::Shape {
                    name: (*name).to_owned(),
                    found: t.shape,
                    expected: shape.clone(),
                });
            }
            t.shape = shape.clone();
            out.push(t);
        }
        match named.into_keys().next() {
            Some(name) => Err(InputError::Unknown(name)),
            None => Ok(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(shape: &[usize]) -> InputFile {
        let len = shape.iter().product();
        InputFile::One(TensorF32::new(shape.to_vec(), vec![0.5; len]).unwrap())
    }

    #[test]
    fn tensors_are_fitted_to_inputs() {
        let want = [("x", vec![1, 2, 3])];
        assert_eq!(one(&[2, 3]).tensors(&want).unwrap()[0].shape, [1, 2, 3]);
        let error = one(&[3, 2]).tensors(&want).unwrap_err();
        assert_eq!(
            error.to_string(),
            "input 'x' has shape [3, 2], the model wants [1, 2, 3]"
        );
        let image = InputFile::Image(TensorF32::new(vec![3, 2], vec![0.0; 6]).unwrap());
        assert_eq!(image.tensors(&[("x", vec![1, 6])]).unwrap()[0].shape, [1, 6]);
        let two = [("x", vec![2]), ("y", vec![2])];
        assert_eq!(one(&[2]).tensors(&two), Err(InputError::Unnamed(2)));
        let named = parse(Format::Json, br#"{"y": [3, 4], "x": [1, 2]}"#).unwrap();
        assert_eq!(named.clone().tensors(&two).unwrap()[1].data, [3.0, 4.0]);
        assert_eq!(named.clone().tensors(&two[..1]), Err(InputError::Unknown("y".into())));
        assert_eq!(named.tensors(&[("z", vec![2])]), Err(InputError::Missing("z".into())));
    }

    #[test]
    fn formats_by_extension() {
        let of = |p: &str| Format::of(std::path::Path::new(p));
        assert_eq!(of("a/b.PNG"), Some(Format::Png));
        assert_eq!(of("b.npy"), Some(Format::Npy));
        assert_eq!((of("b"), of("b.txt")), (None, None));
    }

    #[test]
    fn not_finite_elements_are_refused() {
        let error = parse(Format::Json, b"[1, 1e60]").unwrap_err();
        assert_eq!(error.to_string(), "element 1 is inf; every element must be finite");
    }
}
