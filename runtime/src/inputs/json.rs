//! Nested arrays of numbers in JSON.

use mlc_ir::TensorF32;
use serde_json::Value;

use super::{InputError, InputFile};

pub(super) fn parse(bytes: &[u8]) -> Result<InputFile, InputError> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| InputError::Json(e.to_string()))?;
    match value {
        Value::Object(all) => {
            let tensor = |(name, v): (String, Value)| {
                let tensor = tensor(&v, &format!("'{name}'"))?;
                Ok((name, tensor))
            };
            Ok(InputFile::Named(
                all.into_iter().map(tensor).collect::<Result<_, InputError>>()?,
            ))
        }
        v => Ok(InputFile::One(tensor(&v, "the input")?)),
    }
}

/// The tensor of a value; its shape is that of its first elements.
fn tensor(value: &Value, name: &str) -> Result<TensorF32, InputError> {
    let mut shape = Vec::new();
    let mut first = value;
    while let Value::Array(items) = first {
        shape.push(items.len());
        let Some(item) = items.first() else { break };
        first = item;
    }
    let mut data = Vec::new();
    collect(value, &shape, name, &mut data)?;
    Ok(TensorF32 { shape, data })
}

fn collect(value: &Value, shape: &[usize], at: &str, data: &mut Vec<f32>) -> Result<(), InputError> {
    let refuse = |found| {
        Err(InputError::JsonValue {
            at: at.to_owned(),
            found,
        })
    };
    match (value, shape) {
        (Value::Array(items), [len, inner @ ..]) => {
            if items.len() != *len {
                return Err(InputError::Ragged {
                    at: at.to_owned(),
                    expected: *len,
                    found: items.len(),
                });
            }
            items
                .iter()
                .enumerate()
                .try_for_each(|(i, v)| collect(v, inner, &format!("{at}[{i}]"), data))
        }
        (Value::Array(_), []) => refuse("an array beside a number"),
        (Value::Number(n), []) => {
            data.push(n.as_f64().unwrap_or(f64::NAN) as f32);
            Ok(())
        }
        (Value::Number(_), _) => refuse("a number beside an array"),
        (Value::String(_), _) => refuse("a string"),
        (Value::Bool(_), _) => refuse("a boolean"),
        (Value::Null, _) => refuse("null"),
        (Value::Object(_), _) => refuse("an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<TensorF32, InputError> {
        match parse(text.as_bytes())? {
            InputFile::One(t) => Ok(t),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn arrays_nest() {
        let t = one("[[1, 2.5, -3], [4, 5, 6e-1]]").unwrap();
        assert_eq!((t.shape, t.data), (vec![2, 3], vec![1.0, 2.5, -3.0, 4.0, 5.0, 0.6]));
        assert_eq!(one("7").unwrap().shape, [0usize; 0]);
        assert_eq!(one("[[], []]").unwrap().shape, [2, 0]);
    }

    #[test]
    fn other_things_are_located() {
        let error = |text: &str| one(text).unwrap_err().to_string();
        assert_eq!(error("[[1, 2], [3]]"), "the input[1] has length 1, its neighbours 2");
        assert!(error("[1, [2]]").starts_with("the input[1] is an array beside a number"));
        assert!(error("[[1], 2]").starts_with("the input[1] is a number beside an array"));
        assert!(error("[1, null]").starts_with("the input[1] is null"));
        assert!(error("[1, ").starts_with("not JSON: EOF"));
        assert!(error("\u{0}").starts_with("not JSON"));
        assert!(
            parse(br#"{"x": ["a"]}"#)
                .unwrap_err()
                .to_string()
                .starts_with("'x'[0] is a string")
        );
        let deep = "[".repeat(100_000);
        assert!(error(&deep).starts_with("not JSON"));
    }
}
