//! Fitting tensors to the inputs of an entry: which lengths the run-time dimensions have.

use std::collections::BTreeMap;

use mlc_circuit::{Circuit, Len};
use mlc_ir::{Dim, TensorF32};
use mlc_runtime::inputs::{InputFile, indices};

use super::Bound;
use crate::error::CliError;

/// A length, affine in run-time dimensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Axis {
    constant: i64,
    terms: Vec<(String, i64)>,
}

/// An input as it is declared.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    /// Its name.
    pub(crate) name: String,
    /// Its axes.
    pub(crate) axes: Vec<Axis>,
    /// How many tokens there are, where its elements are tokens, or other indices.
    pub(crate) vocabulary: Option<u64>,
}

impl From<&Dim> for Axis {
    fn from(dim: &Dim) -> Self {
        Axis {
            constant: dim.constant(),
            terms: dim.terms().map(|(n, k)| (n.to_owned(), k)).collect(),
        }
    }
}

/// What is known of a length, and the one unknown dimension with its coefficient.
type Solved<'a> = (i64, Option<(&'a str, i64)>);

impl Axis {
    pub(crate) fn of(len: &Len, circuit: &Circuit) -> Self {
        let name = |d: u16| circuit.dims.get(usize::from(d)).map_or("?", |d| &d.name).to_owned();
        Axis {
            constant: len.constant.into(),
            terms: len.per_dim.iter().map(|(d, k)| (name(*d), i64::from(*k))).collect(),
        }
    }

    /// Names of the dimensions that it follows from.
    pub(crate) fn dims(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|(name, _)| name.as_str())
    }

    /// The length where all dimensions are known, else 0.
    pub(crate) fn length(&self, dims: &BTreeMap<String, i64>) -> usize {
        let known = self.solve(dims).ok().filter(|(_, open)| open.is_none());
        known.map_or(0, |(length, _)| usize::try_from(length).unwrap_or(0))
    }

    /// What is known of the length, and the one dimension that is not: `known + factor · dim`.
    fn solve(&self, dims: &BTreeMap<String, i64>) -> Result<Solved<'_>, ()> {
        let mut known = self.constant;
        let mut open = None;
        for (name, factor) in &self.terms {
            match dims.get(name) {
                Some(value) => known += factor * value,
                None if open.is_none() => open = Some((name.as_str(), *factor)),
                None => return Err(()),
            }
        }
        Ok((known, open))
    }
}

impl std::fmt::Display for Axis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        for (name, factor) in &self.terms {
            parts.push(if *factor == 1 {
                name.clone()
            } else {
                format!("{factor}*{name}")
            });
        }
        if self.constant != 0 || parts.is_empty() {
            parts.push(self.constant.to_string());
        }
        f.write_str(&parts.join(" + "))
    }
}

/// The key of tokens in what HuggingFace's tokenizers give.
const INPUT_IDS: &str = "input_ids";

/// Fits what is given to what is declared. `name` is the file's, for messages.
pub(crate) fn bind(declared: &[Declared], given: InputFile, file: &str) -> Result<Bound, CliError> {
    let mut named = match given {
        InputFile::Named(mut named) => {
            // What HuggingFace calls the tokens of a text, whatever the model does.
            if let [only] = declared
                && only.vocabulary.is_some()
                && !named.contains_key(&only.name)
                && let Some(tensor) = named.remove(INPUT_IDS)
            {
                named.insert(only.name.clone(), tensor);
            }
            named
        }
        InputFile::One(tensor) | InputFile::Image(tensor) => match declared {
            [only] => [(only.name.clone(), tensor)].into(),
            _ => {
                let names: Vec<&str> = declared.iter().map(|d| d.name.as_str()).collect();
                return Err(CliError::refused(format!(
                    "`{file}` holds one tensor, the model takes {}; give a JSON object or a safetensors file by name",
                    names.join(", ")
                )));
            }
        },
    };
    let mut dims = BTreeMap::new();
    let mut tensors = Vec::new();
    for input in declared {
        let tensor = named.remove(&input.name).ok_or_else(|| {
            let found: Vec<&str> = named.keys().map(String::as_str).collect();
            CliError::refused(format!(
                "`{file}` has no input `{}`{}",
                input.name,
                if found.is_empty() {
                    String::new()
                } else {
                    format!("; it has {}", found.join(", "))
                }
            ))
        })?;
        tensors.push(fit(input, tensor, &mut dims, file)?);
    }
    if let Some(name) = named.keys().next() {
        return Err(CliError::refused(format!(
            "`{file}` has `{name}`, which is no input of the model"
        )));
    }
    let file = file.to_owned();
    Ok(Bound { dims, tensors, file })
}

fn fit(
    input: &Declared,
    mut tensor: TensorF32,
    dims: &mut BTreeMap<String, i64>,
    file: &str,
) -> Result<TensorF32, CliError> {
    let mismatch = |shape: &[usize]| {
        let axes: Vec<String> = input.axes.iter().map(Axis::to_string).collect();
        CliError::refused(format!(
            "`{file}`: input `{}` has shape {shape:?}, the model takes [{}]{}",
            input.name,
            axes.join(", "),
            if input.vocabulary.is_some() && shape.len() > 1 {
                "; give each sequence in a file of its own"
            } else {
                ""
            }
        ))
    };
    let found = tensor.shape.clone();
    if let Some(vocabulary) = input.vocabulary {
        let checked = indices(&input.name, vocabulary, &tensor.data);
        checked.map_err(|e| CliError::refused(format!("`{file}`: {e}")))?;
    }
    if same_rank(&input.axes, &found, dims) {
        return Ok(tensor);
    }
    // Several sequences are not one long one.
    let before = found.split_last().map_or(&[][..], |(_, before)| before);
    if input.vocabulary.is_some() && before.iter().any(|n| *n != 1) {
        return Err(mismatch(&found));
    }
    // The same elements under other axes: one open length at most.
    let mut fixed: i64 = 1;
    let mut open: Option<(i64, &str, i64)> = None;
    for axis in &input.axes {
        match axis.solve(dims) {
            Ok((length, None)) => fixed = fixed.saturating_mul(length),
            Ok((known, Some((name, factor)))) if open.is_none() => open = Some((known, name, factor)),
            _ => return Err(mismatch(&found)),
        }
    }
    let count = tensor.data.len() as i64;
    if fixed <= 0 || count % fixed != 0 {
        return Err(mismatch(&found));
    }
    match open {
        None if count == fixed => {}
        Some((known, name, factor)) => {
            let rest = count / fixed - known;
            if factor == 0 || rest <= 0 || rest % factor != 0 {
                return Err(mismatch(&found));
            }
            dims.insert(name.to_owned(), rest / factor);
        }
        None => return Err(mismatch(&found)),
    }
    tensor.shape = input.axes.iter().map(|a| a.length(dims)).collect();
    Ok(tensor)
}

/// Fits axis by axis; binds dimensions only where all fit.
fn same_rank(axes: &[Axis], shape: &[usize], dims: &mut BTreeMap<String, i64>) -> bool {
    if axes.len() != shape.len() {
        return false;
    }
    let mut bound = dims.clone();
    for (axis, length) in axes.iter().zip(shape) {
        let length = *length as i64;
        match axis.solve(&bound) {
            Ok((known, None)) if known == length => {}
            Ok((known, Some((name, factor)))) if factor != 0 && (length - known) % factor == 0 && length > known => {
                bound.insert(name.to_owned(), (length - known) / factor);
            }
            _ => return false,
        }
    }
    *dims = bound;
    true
}

/// Cuts a bound input along `dim` into parts of at most `most`, where `dim` is the first axis of every input that has it.
pub(crate) fn chunks(declared: &[Declared], bound: Bound, dim: &str, most: u64) -> Vec<Bound> {
    let total = bound.dims.get(dim).copied().unwrap_or(1);
    let most = i64::try_from(most).unwrap_or(i64::MAX).max(1);
    let plain = |a: &Axis| a.constant == 0 && a.terms == [(dim.to_owned(), 1)];
    let first = |d: &Declared| d.axes.first().is_some_and(plain);
    let mentions = |d: &Declared| d.axes.iter().skip(1).any(|a| a.terms.iter().any(|(n, _)| n == dim));
    if total <= most || !declared.iter().all(|d| first(d) && !mentions(d)) {
        return vec![bound];
    }
    let mut out = Vec::new();
    let mut start = 0;
    while start < total {
        let length = most.min(total - start);
        let part = |t: &TensorF32| {
            let row = t.data.len() / total as usize;
            let mut shape = t.shape.clone();
            shape[0] = length as usize;
            TensorF32 {
                shape,
                data: t.data[start as usize * row..(start + length) as usize * row].to_vec(),
            }
        };
        let mut dims = bound.dims.clone();
        dims.insert(dim.to_owned(), length);
        out.push(Bound {
            dims,
            tensors: bound.tensors.iter().map(part).collect(),
            file: bound.file.clone(),
        });
        start += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Declared {
        let fixed = |n| Axis {
            constant: n,
            terms: vec![],
        };
        let batch = Axis {
            constant: 0,
            terms: vec![("batch".into(), 1)],
        };
        Declared {
            name: "x".into(),
            axes: vec![batch, fixed(1), fixed(2), fixed(2)],
            vocabulary: None,
        }
    }

    fn tokens() -> Declared {
        let one = |constant, terms| Axis { constant, terms };
        Declared {
            name: "ids".into(),
            axes: vec![one(1, vec![]), one(0, vec![("tokens".into(), 1)])],
            vocabulary: Some(8),
        }
    }

    fn tensor(shape: &[usize]) -> InputFile {
        let count = shape.iter().product::<usize>();
        InputFile::One(TensorF32::new(shape.to_vec(), (0..count).map(|v| v as f32).collect()).unwrap())
    }

    #[test]
    fn shapes_fit_or_are_named() {
        for shape in [&[3usize, 1, 2, 2][..], &[3, 4], &[12], &[3, 2, 2]] {
            let bound = bind(&[image()], tensor(shape), "f").unwrap();
            assert_eq!(bound.dims["batch"], 3);
            assert_eq!(bound.tensors[0].shape, [3, 1, 2, 2]);
        }
        let error = bind(&[image()], tensor(&[3, 5]), "f").unwrap_err().to_string();
        assert_eq!(
            error,
            "`f`: input `x` has shape [3, 5], the model takes [batch, 1, 2, 2]"
        );
    }

    #[test]
    fn sequences_are_not_joined() {
        for shape in [&[4usize][..], &[1, 4], &[1, 1, 4]] {
            let bound = bind(&[tokens()], tensor(shape), "f").unwrap();
            assert_eq!((bound.dims["tokens"], &bound.tensors[0].shape[..]), (4, &[1, 4][..]));
        }
        for shape in [&[2usize, 2][..], &[4, 1], &[2, 1, 2]] {
            let error = bind(&[tokens()], tensor(shape), "f").unwrap_err().to_string();
            assert_eq!(
                error,
                format!(
                    "`f`: input `ids` has shape {shape:?}, the model takes [1, tokens]; give each sequence in a file of its own"
                )
            );
        }
        let named =
            |name: &str| InputFile::Named([(name.to_owned(), TensorF32::new(vec![2], vec![1.0, 7.0]).unwrap())].into());
        assert_eq!(bind(&[tokens()], named("input_ids"), "f").unwrap().dims["tokens"], 2);
        assert!(
            bind(&[tokens()], named("x"), "f")
                .unwrap_err()
                .to_string()
                .contains("has no input `ids`")
        );
    }

    #[test]
    fn long_batches_are_cut() {
        let bound = bind(&[image()], tensor(&[5, 4]), "f").unwrap();
        let parts = chunks(&[image()], bound, "batch", 2);
        let lengths: Vec<i64> = parts.iter().map(|p| p.dims["batch"]).collect();
        assert_eq!(lengths, [2, 2, 1]);
        assert_eq!(parts[2].tensors[0].data, [16.0, 17.0, 18.0, 19.0]);
    }
}
