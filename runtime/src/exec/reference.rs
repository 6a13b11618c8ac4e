//! The reference evaluator: the definition of equations and maxima, one output at a time, in `i64`.

use mlc_circuit::{Access, AxisMap, Equation, FormSource, FormTerm, Operand, Product, Read};

use super::state::State;
use super::{Evaluator, ExecError};

/// Plain loops over iterations.
pub(super) struct Reference;

/// Calls `f` with every index of `shape` in row-major order, the first axis restricted to `slice`.
pub(super) fn for_each_index(shape: &[usize], slice: Option<usize>, mut f: impl FnMut(&[usize])) {
    let mut x = vec![0usize; shape.len()];
    let mut end = shape.to_vec();
    if let Some(l) = slice {
        x[0] = l;
        end[0] = l + 1;
    }
    let start = x.clone();
    if start.iter().zip(&end).any(|(s, e)| s >= e) {
        return;
    }
    loop {
        f(&x);
        let mut a = shape.len();
        loop {
            if a == 0 {
                return;
            }
            a -= 1;
            x[a] += 1;
            if x[a] < end[a] {
                break;
            }
            x[a] = start[a];
        }
    }
}

/// Σ of `value(position)` over the cells that iteration `x` reads in a tensor of `shape`.
fn sum_cells(access: &Access, shape: &[usize], x: &[usize], value: &impl Fn(usize) -> i64) -> i64 {
    if access.gates.iter().any(|g| x[g.iter as usize] != g.at as usize) {
        return 0;
    }
    // Positions of the cells read so far, axis by axis.
    let mut positions = vec![0usize];
    for (map, &len) in access.axes.iter().zip(shape) {
        let coordinates = match map {
            AxisMap::Before { iter } => 0..x[*iter as usize].min(len),
            // An instance has none of these.
            AxisMap::From { .. } => 0..0,
            AxisMap::Affine { offset, parts } => {
                let y = parts
                    .iter()
                    .fold(i64::from(*offset), |y, p| y + x[p.0 as usize] as i64 * i64::from(p.1));
                match usize::try_from(y) {
                    Ok(y) if y < len => y..y + 1,
                    _ => 0..0,
                }
            }
        };
        positions = positions
            .iter()
            .flat_map(|&p| coordinates.clone().map(move |y| p * len + y))
            .collect();
    }
    positions.into_iter().map(value).sum()
}

fn read(state: &State, r: &Read, x: &[usize]) -> i64 {
    let shape = state.instance.source_shape(r.source);
    i64::from(r.coefficient) * sum_cells(&r.access, &shape, x, &|at| state.value(r.source, at))
}

fn operand(state: &State, p: &Product, o: &Operand, x: &[usize], group: &[usize], shape: &[usize]) -> i64 {
    match o {
        Operand::One => 1,
        Operand::Reads(reads) => reads.iter().map(|r| read(state, r, x)).sum(),
        Operand::Weight { weight, outer } => {
            let w = &state.instance.circuit.weights[*weight as usize];
            let column = outer
                .iter()
                .zip(&w.outer)
                .fold(0, |at, (o, &len)| at * len as usize + state.outer(o, x));
            let rank = shape.len() - group.len();
            let k = match p.shared.last() {
                Some(&last) if group.is_empty() => x[last as usize],
                _ => x[rank..].iter().zip(group).fold(0, |k, (&i, &len)| k * len + i),
            };
            state.weights.tensor(*weight as usize)[column * w.row_len as usize + k].into()
        }
    }
}

fn right_at(state: &State, e: &Equation, x: &[usize]) -> i64 {
    let out = state.instance.out(e);
    let mut acc = e.constant;
    let inner = |axes: &[usize], f: &mut dyn FnMut(&[usize])| {
        let mut y = x.to_vec();
        y.resize(x.len() + axes.len(), 0);
        for_each_index(axes, None, |r| {
            y[x.len()..].copy_from_slice(r);
            f(&y);
        });
    };
    for r in &e.reads {
        inner(&state.instance.lens(&r.reduce), &mut |y| acc += read(state, &r.read, y));
    }
    for p in &e.products {
        let group = state.instance.lens(&p.group);
        let shape: Vec<usize> = out.iter().chain(&group).copied().collect();
        let mut sum = 0;
        inner(&group, &mut |y| {
            sum += operand(state, p, &p.a, y, &group, &shape) * operand(state, p, &p.b, y, &group, &shape);
        });
        acc += i64::from(p.coefficient) * sum;
    }
    acc
}

/// Whether a mask hides the lookup at `x`: 1 or 0.
fn mask(state: &State, t: &FormTerm, x: &[usize]) -> i32 {
    match &t.source {
        FormSource::Segment(_) => 0,
        FormSource::Input(i) => {
            let values = &state.inputs[*i as usize];
            sum_cells(&t.access, &state.instance.inputs[*i as usize], x, &|at| {
                values[at].into()
            }) as i32
        }
        FormSource::Causal(m) => {
            let last = x[m.row as usize] + m.offset.at(&state.instance.dims).unwrap_or(0);
            let col = x[m.col as usize];
            i32::from(col > last || m.window.is_some_and(|w| col as i64 <= last as i64 - i64::from(w)))
        }
    }
}

impl Evaluator for Reference {
    fn right(&mut self, state: &State, q: usize, slice: Option<usize>) -> Result<Vec<i32>, ExecError> {
        let e = state.equation(q);
        let mut out = Vec::new();
        let mut wrong = None;
        for_each_index(&state.instance.out(e), slice, |x| {
            let value = right_at(state, e, x);
            if value.unsigned_abs() >= 1 << 30 && wrong.is_none() {
                wrong = Some((out.len(), value));
            }
            out.push(value as i32);
        });
        match wrong {
            None => Ok(out),
            Some((position, value)) => Err(ExecError::Overflow {
                equation: e.name.clone(),
                position,
                value,
            }),
        }
    }

    fn compared(&mut self, state: &State, site: usize, slice: Option<usize>) -> Vec<i32> {
        let s = &state.instance.entry.sites[site];
        let source = &s.index[1];
        let mut out = Vec::new();
        let Some([_, compared]) = s.compared() else { return out };
        let cells = &state.segments[compared as usize];
        let shape = &state.instance.segments[compared as usize].shape;
        for_each_index(&state.instance.lens(&s.axes), slice, |x| {
            out.push(sum_cells(&source.access, shape, x, &|at| cells[at].into()) as i32);
        });
        out
    }

    fn hidden(&mut self, state: &State, site: usize, slice: Option<usize>) -> Option<Vec<i32>> {
        let s = &state.instance.entry.sites[site];
        if s.masks().is_empty() {
            return None;
        }
        let mut out = Vec::new();
        for_each_index(&state.instance.lens(&s.axes), slice, |x| {
            out.push(s.masks().iter().map(|t| mask(state, t, x)).sum());
        });
        Some(out)
    }
}
