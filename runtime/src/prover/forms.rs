//! Linear forms of committed cells and public masks: the keys of virtual lookup sites.

use mlc_circuit::{AxisMap, Causal, FormSource, FormTerm, Instance};
use mlc_verifier::field::{M31, m31};
use num_traits::Zero;

/// The form at every index of `shape`, row-major; `segment` gives a segment's row-major cells, `inputs` are those of the
/// statement.
pub fn evaluate(
    instance: &Instance<'_>,
    terms: &[FormTerm],
    shape: &[usize],
    inputs: &[Vec<i32>],
    segment: impl Fn(u16) -> Vec<M31>,
) -> Vec<M31> {
    let mut out = vec![M31::zero(); shape.iter().product()];
    for t in terms {
        let k = m31(t.coefficient.into());
        match &t.source {
            FormSource::Segment(s) => {
                let cells = segment(*s);
                add(
                    t,
                    &instance.segments[*s as usize].shape,
                    shape,
                    |p| k * cells[p],
                    &mut out,
                );
            }
            FormSource::Input(i) => {
                let values = &inputs[*i as usize];
                let value = |p: usize| k * m31(values[p].into());
                add(t, &instance.inputs[*i as usize], shape, value, &mut out);
            }
            FormSource::Causal(m) => add_causal(m, m.offset.at(&instance.dims).unwrap_or(0), k, shape, &mut out),
        }
    }
    out
}

/// Adds what a term reads at every index.
fn add(t: &FormTerm, cells: &[usize], shape: &[usize], value: impl Fn(usize) -> M31, out: &mut [M31]) {
    let mut x = vec![0usize; shape.len()];
    for o in out {
        let open = t.access.gates.iter().all(|g| x[g.iter as usize] == g.at as usize);
        if let Some(p) = cell(&t.access.axes, cells, &x).filter(|_| open) {
            *o += value(p);
        }
        step(&mut x, shape);
    }
}

/// Adds `k` at every hidden index.
fn add_causal(m: &Causal, offset: usize, k: M31, shape: &[usize], out: &mut [M31]) {
    let (row, col) = (usize::from(m.row), usize::from(m.col));
    let visible: Vec<_> = (0..shape[row]).map(|x| m.visible(x, offset, shape[col])).collect();
    let mut x = vec![0usize; shape.len()];
    for o in out {
        if !visible[x[row]].contains(&x[col]) {
            *o += k;
        }
        step(&mut x, shape);
    }
}

/// The next index, row-major.
fn step(x: &mut [usize], shape: &[usize]) {
    for a in (0..shape.len()).rev() {
        x[a] += 1;
        if x[a] < shape[a] {
            break;
        }
        x[a] = 0;
    }
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
