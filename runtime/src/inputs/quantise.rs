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
    /// Elements are outside of the calibrated range.
    #[error(
        "input '{name}' is {value} at position {position}, {by} outside of the calibrated range [{lo}, {hi}] \
         (elements outside: {count}); calibrate on such inputs, or clamp with `@quant(clamp = true)` at the input"
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
    fn the_farthest_element_is_named_or_clamped() {
        let values = [2.5, 0.0, -4.0];
        let error = quantise(&input(false), &values).unwrap_err();
        assert_eq!(
            error.to_string(),
            "input 'x' is -4 at position 2, 2 outside of the calibrated range [-2, 2] (elements outside: 2); \
             calibrate on such inputs, or clamp with `@quant(clamp = true)` at the input"
        );
        assert_eq!(quantise(&input(true), &values), Ok(vec![8, 0, -8]));
        assert!(matches!(
            quantise(&input(true), &[0.0, f32::NAN]),
            Err(RangeError::NotFinite { position: 1, .. })
        ));
        assert_eq!(quantise(&input(true), &[f32::MAX]), Ok(vec![8]));
    }
}
