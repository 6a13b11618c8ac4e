//! Linear forms of committed cells: the keys of virtual lookup sites.

use mlc_circuit::{AxisMap, FormTerm};
use mlc_verifier::field::{M31, m31};
use num_traits::Zero;

/// The form at every index of `shape`, row-major; `segment` gives a segment's row-major cells and shape.
pub fn evaluate(terms: &[FormTerm], shape: &[usize], segment: impl Fn(u16) -> (Vec<M31>, Vec<usize>)) -> Vec<M31> {
    let mut out = vec![M31::zero(); shape.iter().product()];
    for t in terms {
        let (cells, cell_shape) = segment(t.segment);
        let k = m31(t.coefficient.into());
        let mut x = vec![0usize; shape.len()];
        for o in &mut out {
            if let Some(p) = cell(&t.access.axes, &cell_shape, &x) {
                *o += k * cells[p];
            }
            for a in (0..shape.len()).rev() {
                x[a] += 1;
                if x[a] < shape[a] {
                    break;
                }
                x[a] = 0;
            }
        }
    }
    out
}

/// The cell that an iteration reads, if it is inside the tensor.
fn cell(axes: &[AxisMap], shape: &[usize], x: &[usize]) -> Option<usize> {
    let mut p = 0;
    for (map, &n) in axes.iter().zip(shape) {
        let AxisMap::Affine { offset, parts } = map else {
            return None;
        };
        let y = i64::from(*offset)
            + parts
                .iter()
                .map(|p| x[p.0 as usize] as i64 * i64::from(p.1))
                .sum::<i64>();
        if !(0..n as i64).contains(&y) {
            return None;
        }
        p = p * n + y as usize;
    }
    Some(p)
}
