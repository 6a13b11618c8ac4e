//! Linear forms of committed cells and public masks: the keys of virtual lookup sites.

use mlc_circuit::{AxisMap, Causal, FormSource, FormTerm, Instance};
use mlc_verifier::field::{M31, m31};
use num_traits::Zero;
use rayon::prelude::*;

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

/// Adds what a term reads at every index, row by row along the last axis, which at most one coordinate uses.
fn add(t: &FormTerm, cells: &[usize], shape: &[usize], value: impl Fn(usize) -> M31 + Sync, out: &mut [M31]) {
    let len = shape.last().copied().unwrap_or(1);
    out.par_chunks_mut(len).enumerate().for_each(|(row, out)| {
        let x = index(row, &shape[..shape.len().saturating_sub(1)]);
        // Indices of the row that read, their first cell and the distance of cells.
        let (mut from, mut to) = (0i64, len as i64);
        for g in &t.access.gates {
            let at = i64::from(g.at);
            match x.get(g.iter as usize) {
                Some(&x) if x as i64 != at => return,
                Some(_) => {}
                None => (from, to) = (from.max(at), to.min(at + 1)),
            }
        }
        let (mut base, mut stride) = (0i64, 0i64);
        for (map, &n) in t.access.axes.iter().zip(cells) {
            // The circuit's checks allow only affine maps here.
            let AxisMap::Affine { offset, parts } = map else { return };
            let (mut y, mut step) = (i64::from(*offset), 0);
            for &(iter, by) in parts {
                match x.get(iter as usize) {
                    Some(&x) => y += x as i64 * i64::from(by),
                    None => step = i64::from(by),
                }
            }
            if step == 0 {
                if !(0..n as i64).contains(&y) {
                    return;
                }
            } else {
                from = from.max((-y + step - 1).div_euclid(step));
                to = to.min((n as i64 - 1 - y).div_euclid(step) + 1);
            }
            (base, stride) = (base * n as i64 + y, stride * n as i64 + step);
        }
        for j in from..to {
            out[j as usize] += value((base + j * stride) as usize);
        }
    });
}

/// Adds `k` at every hidden index.
fn add_causal(m: &Causal, offset: usize, k: M31, shape: &[usize], out: &mut [M31]) {
    let (row, col) = (usize::from(m.row), usize::from(m.col));
    let visible: Vec<_> = (0..shape[row]).map(|x| m.visible(x, offset, shape[col])).collect();
    let len = shape[shape.len() - 1];
    let last = shape.len() - 1;
    out.par_chunks_mut(len).enumerate().for_each(|(at, out)| {
        let x = index(at, &shape[..last]);
        if col == last {
            let visible = &visible[x[row]];
            out[..visible.start].iter_mut().for_each(|o| *o += k);
            out[visible.end..].iter_mut().for_each(|o| *o += k);
            return;
        }
        for (j, o) in out.iter_mut().enumerate() {
            let r = if row == last { j } else { x[row] };
            if !visible[r].contains(&x[col]) {
                *o += k;
            }
        }
    });
}

/// The index of a row-major position.
fn index(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut x = vec![0; shape.len()];
    for (x, &n) in x.iter_mut().zip(shape).rev() {
        *x = at % n;
        at /= n;
    }
    x
}
