//! How far the integer outputs are from the real model's.

use mlc_circuit::PublicOutput;

/// Closeness of two tracks of one output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Cosine of the angle between them; 1 where both are zero.
    pub cosine: f64,
    /// Greatest distance of an element.
    pub max_abs_error: f64,
    /// Part of the rows (over the last axis) whose greatest element is at the same index, the lowest at ties.
    pub top1: f64,
}

/// The real numbers that an output's integers stand for.
pub fn dequantise(output: &PublicOutput, integers: &[i32]) -> Vec<f64> {
    integers.iter().map(|&q| f64::from(q) * output.scale).collect()
}

fn argmax(row: &[f64]) -> usize {
    // Strictly greater: the lowest index wins at ties.
    let best = row.iter().enumerate().fold(
        (0, f64::NEG_INFINITY),
        |best, (i, &v)| {
            if v > best.1 { (i, v) } else { best }
        },
    );
    best.0
}

impl Agreement {
    /// Compares a track with the reference, both row-major with a last axis of `row`; sums run in order. `None` where
    /// lengths differ or are no multiple of `row`.
    pub fn of(reference: &[f64], track: &[f64], row: usize) -> Option<Self> {
        if reference.len() != track.len() || row == 0 || reference.is_empty() || !reference.len().is_multiple_of(row) {
            return None;
        }
        let (mut dot, mut a, mut b, mut max_abs_error) = (0.0, 0.0, 0.0, 0.0f64);
        for (&x, &y) in reference.iter().zip(track) {
            dot += x * y;
            a += x * x;
            b += y * y;
            max_abs_error = max_abs_error.max((x - y).abs());
        }
        let same = reference
            .chunks_exact(row)
            .zip(track.chunks_exact(row))
            .filter(|(x, y)| argmax(x) == argmax(y))
            .count();
        let norms = a.sqrt() * b.sqrt();
        let cosine = if norms > 0.0 {
            dot / norms
        } else if a == b {
            1.0
        } else {
            0.0
        };
        Some(Self {
            cosine,
            max_abs_error,
            top1: same as f64 / (reference.len() / row) as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlc_circuit::Label;

    #[test]
    fn by_hand() {
        let a = Agreement::of(&[1.0, 0.0, 3.0, 4.0], &[1.0, 0.5, 4.0, 4.0], 2).unwrap();
        assert_eq!(a.max_abs_error, 1.0);
        // The second row ties at 4, so its label is the first.
        assert_eq!(a.top1, 0.5);
        assert!((a.cosine - 29.0 / (26.0f64.sqrt() * 33.25f64.sqrt())).abs() < 1e-12);
        assert_eq!(Agreement::of(&[0.0], &[0.0], 1).unwrap().cosine, 1.0);
        assert_eq!(Agreement::of(&[0.0], &[1.0], 1).unwrap().cosine, 0.0);
        assert_eq!(Agreement::of(&[0.0, 1.0], &[1.0], 1), None);
    }

    #[test]
    fn integers_stand_for_multiples_of_the_scale() {
        let output = PublicOutput {
            name: "y".into(),
            axes: vec![],
            scale: 0.25,
            label: Label::None,
        };
        assert_eq!(dequantise(&output, &[-3, 8]), [-0.75, 2.0]);
    }
}
