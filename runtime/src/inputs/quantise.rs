//! Real inputs to the integers of the statement.

use mlc_circuit::PublicInput;

/// An input has an element that its circuit does not take.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RangeError {
    /// An element is NaN or infinite.
    #[error("input '{name}' is {value} at position {position}; every element must be finite")]
    NotFinite {
        /// The input.
        name: String,
        /// Row-major position.
        position: usize,
        /// The element.
        value: f32,
    },
    /// A token, or another index, that there is not.
    #[error("input '{name}': token {value} at position {position} is not in the vocabulary of {vocabulary}")]
    Vocabulary {
        /// The input.
        name: String,
        /// Row-major position.
        position: usize,
        /// The element.
        value: f32,
        /// How many there are; they are numbered from 0.
        vocabulary: u64,
    },
    /// An index that is no whole number.
    #[error("input '{name}' is {value} at position {position}; tokens are whole numbers")]
    Fraction {
        /// The input.
        name: String,
        /// Row-major position.
        position: usize,
        /// The element.
        value: f32,
    },
    /// Elements are outside of the calibrated range.
    #[error(
        "input '{name}' is {value} at position {position}, {by} outside of the calibrated range [{lo}, {hi}] \
         (elements outside: {count}); calibrate on such inputs, with `data` under [quantise] in mlc.toml or with \
         `mlc calibrate --data`, or clamp with `@quant(clamp = true)` at the input"
    )]
    Outside {
        /// The input.
        name: String,
        /// Row-major position of the element farthest outside.
        position: usize,
        /// The element.
        value: f32,
        /// Its distance from the range.
        by: f64,
        /// Least real number accepted.
        lo: f64,
        /// Greatest real number accepted.
        hi: f64,
        /// Number of elements outside.
        count: usize,
    },
}

/// Refuses what is no index below `vocabulary`; the first such element is named.
pub fn indices(name: &str, vocabulary: u64, values: &[f32]) -> Result<(), RangeError> {
    let known = |v: f32| v >= 0.0 && f64::from(v) < vocabulary as f64;
    let Some(position) = values.iter().position(|v| v.fract() != 0.0 || !known(*v)) else {
        return Ok(());
    };
    let (name, value) = (name.to_owned(), values[position]);
    Err(if !value.is_finite() {
        RangeError::NotFinite { name, position, value }
    } else if value.fract() != 0.0 {
        RangeError::Fraction { name, position, value }
    } else {
        RangeError::Vocabulary {
            name,
            position,
            value,
            vocabulary,
        }
    })
}

/// `round(x / scale)`, half to even, in `f64`. Values outside `[lo, hi]` are clamped where the input says so, else the
/// farthest is the error.
pub fn quantise(input: &PublicInput, values: &[f32]) -> Result<Vec<i32>, RangeError> {
    let (lo, hi) = (f64::from(input.lo), f64::from(input.hi));
    let mut out = Vec::with_capacity(values.len());
    let mut worst: Option<(usize, f64)> = None;
    let mut count = 0;
    for (position, &value) in values.iter().enumerate() {
        if !value.is_finite() {
            return Err(RangeError::NotFinite {
                name: input.name.clone(),
                position,
                value,
            });
        }
        let q = (f64::from(value) / input.scale).round_ties_even();
        let clamped = q.clamp(lo, hi);
        if q != clamped {
            count += 1;
            let by = (q - clamped).abs();
            if worst.is_none_or(|(_, most)| by > most) {
                worst = Some((position, by));
            }
        }
        out.push(clamped as i32);
    }
    match worst {
        Some((position, _)) if !input.clamp => {
            let (lo, hi) = (lo * input.scale, hi * input.scale);
            let value = values[position];
            Err(RangeError::Outside {
                name: input.name.clone(),
                position,
                value,
                by: (f64::from(value) - f64::from(value).clamp(lo, hi)).abs(),
                lo,
                hi,
                count,
            })
        }
        _ => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use mlc_circuit::{InputKind, Len};

    use super::*;

    fn input(clamp: bool) -> PublicInput {
        PublicInput {
            name: "x".into(),
            axes: vec![Len::fixed(4)],
            scale: 0.25,
            lo: -8,
            hi: 8,
            kind: InputKind::Public,
            clamp,
        }
    }

    #[test]
    fn rounds_half_to_even() {
        let values = [0.125, 0.375, -0.125, -0.375, 2.125, -2.0];
        assert_eq!(quantise(&input(false), &values), Ok(vec![0, 2, 0, -2, 8, -8]));
    }

    #[test]
    fn indices_are_whole_and_of_the_vocabulary() {
        assert_eq!(indices("ids", 1024, &[0.0, 1023.0]), Ok(()));
        let error = |values: &[f32]| indices("ids", 1024, values).unwrap_err().to_string();
        assert_eq!(
            error(&[1.0, 2000.0, 3000.0]),
            "input 'ids': token 2000 at position 1 is not in the vocabulary of 1024"
        );
        assert!(error(&[-1.0]).contains("token -1 at position 0"));
        assert!(error(&[1024.0]).contains("token 1024"));
        assert_eq!(
            error(&[3.0, 1.6]),
            "input 'ids' is 1.6 at position 1; tokens are whole numbers"
        );
        assert!(error(&[f32::NAN]).contains("finite"));
    }

    #[test]
    fn the_farthest_element_is_named_or_clamped() {
        let values = [2.5, 0.0, -4.0];
        let error = quantise(&input(false), &values).unwrap_err();
        assert_eq!(
            error.to_string(),
            "input 'x' is -4 at position 2, 2 outside of the calibrated range [-2, 2] (elements outside: 2); \
             calibrate on such inputs, with `data` under [quantise] in mlc.toml or with `mlc calibrate --data`, or clamp with \
             `@quant(clamp = true)` at the input"
        );
        assert_eq!(quantise(&input(true), &values), Ok(vec![8, 0, -8]));
        assert!(matches!(
            quantise(&input(true), &[0.0, f32::NAN]),
            Err(RangeError::NotFinite { position: 1, .. })
        ));
        assert_eq!(quantise(&input(true), &[f32::MAX]), Ok(vec![8]));
    }
}
