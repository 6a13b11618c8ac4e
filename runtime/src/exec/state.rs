//! The integers computed so far: digits, table checks, maxima, and the looked-up values.

use std::collections::BTreeMap;

use mlc_circuit::{CellTree, Equation, InputKind, Instance, Left, Outer, SiteRef, Source, Table};

use super::{Appended, ExecError, Execution};
use crate::weights::IntWeights;

/// Cells, indices and outputs in the making; what is not computed yet is 0.
pub(super) struct State<'a> {
    pub(super) instance: &'a Instance<'a>,
    pub(super) weights: &'a IntWeights,
    pub(super) inputs: &'a [Vec<i32>],
    pub(super) segments: Vec<Vec<i32>>,
    pub(super) sites: Vec<Vec<i32>>,
    outputs: Vec<Vec<i32>>,
    /// Of equations that find an output, what is evaluated before it is known.
    scores: BTreeMap<usize, Equation>,
}

/// The part of a row-major tensor at `slice` of its first axis.
pub(super) fn part(len: usize, shape: &[usize], slice: Option<usize>) -> std::ops::Range<usize> {
    match slice {
        None => 0..len,
        Some(l) => {
            let one: usize = shape[1..].iter().product();
            l * one..(l + 1) * one
        }
    }
}

/// The first value that is no key of `table`: a cell without table must only be non-negative.
fn no_key(values: &[i32], table: Option<&Table>) -> Option<(usize, i64)> {
    let rows = table.map_or(1 << 30, Table::rows) as u32;
    let at = values.iter().position(|&v| v as u32 >= rows)?;
    Some((at, values[at].into()))
}

fn table_name(table: Option<&Table>) -> String {
    match table {
        Some(t) => format!("table '{}' (0 to {})", t.name, t.rows() - 1),
        None => "the non-negative integers".into(),
    }
}

impl<'a> State<'a> {
    /// Checks inputs and weights, and fills the segments of private inputs and of the cache.
    pub(super) fn new(
        instance: &'a Instance<'a>,
        weights: &'a IntWeights,
        inputs: &'a [Vec<i32>],
        earlier: &[Appended],
    ) -> Result<Self, ExecError> {
        let entry = &instance.entry;
        let zeros = |shape: Vec<usize>| vec![0i32; shape.iter().product()];
        let mut state = Self {
            instance,
            weights,
            inputs,
            segments: instance.segments.iter().map(|l| vec![0; l.len()]).collect(),
            sites: entry.sites.iter().map(|s| zeros(instance.lens(&s.axes))).collect(),
            outputs: instance.outputs.iter().cloned().map(zeros).collect(),
            scores: (entry.equations.iter().enumerate())
                .filter(|(_, q)| q.finds().is_some())
                .map(|(id, q)| (id, q.scores()))
                .collect(),
        };
        state.check_weights()?;
        if inputs.len() != entry.inputs.len() {
            return Err(ExecError::InputCount {
                expected: entry.inputs.len(),
                given: inputs.len(),
            });
        }
        for ((input, shape), values) in entry.inputs.iter().zip(&instance.inputs).zip(inputs) {
            let expected: usize = shape.iter().product();
            if values.len() != expected {
                return Err(ExecError::InputLen {
                    name: input.name.clone(),
                    expected,
                    given: values.len(),
                });
            }
            let (lo, hi) = (input.lo, input.hi);
            if let Some(position) = values.iter().position(|v| !(lo..=hi).contains(v)) {
                let value = values[position];
                return Err(ExecError::InputRange {
                    name: input.name.clone(),
                    position,
                    value,
                    lo,
                    hi,
                    by: if value < lo {
                        lo.abs_diff(value)
                    } else {
                        hi.abs_diff(value)
                    },
                });
            }
            if let InputKind::Private { segment } = input.kind {
                let segment = segment as usize;
                let Some(table) = entry.segments[segment].table.map(|t| instance.table(t)) else {
                    continue; // excluded by the circuit's checks
                };
                for (position, (&value, cell)) in values.iter().zip(&mut state.segments[segment]).enumerate() {
                    *cell = value - lo;
                    let key = *cell as usize;
                    let known = key < table.rows()
                        && (table.columns.is_empty() || table.columns.iter().any(|c| c[key] == value));
                    if !known {
                        return Err(ExecError::InputTable {
                            name: input.name.clone(),
                            position,
                            value,
                            table: table.name.clone(),
                        });
                    }
                }
            }
        }
        state.read_cache(earlier)?;
        Ok(state)
    }

    /// Fills the segments that earlier links of a chain have appended.
    fn read_cache(&mut self, earlier: &[Appended]) -> Result<(), ExecError> {
        let instance = self.instance;
        let lens: Vec<u32> = earlier.iter().map(|a| a.len).collect();
        if lens != instance.links {
            return Err(ExecError::CacheLinks {
                expected: instance.links.clone(),
                given: lens,
            });
        }
        for (link, appended) in (0u16..).zip(earlier) {
            let ids: Vec<usize> = instance.segments_of(CellTree::Earlier(link)).collect();
            if ids.len() != appended.cells.len() {
                return Err(ExecError::CacheCells { link });
            }
            for (&id, cells) in ids.iter().zip(&appended.cells) {
                let table = instance.entry.segments[id].table.map(|t| instance.table(t));
                if cells.len() != self.segments[id].len() || no_key(cells, table).is_some() {
                    return Err(ExecError::CacheCells { link });
                }
                self.segments[id].copy_from_slice(cells);
            }
        }
        Ok(())
    }

    fn check_weights(&self) -> Result<(), ExecError> {
        let expected = &self.instance.circuit.weights;
        let given = self.weights;
        if expected.len() != given.len() {
            return Err(ExecError::WeightCount {
                expected: expected.len(),
                given: given.len(),
            });
        }
        for (w, values) in expected.iter().zip(given.iter()) {
            let len = w.outer.iter().map(|&n| n as usize).product::<usize>() * w.row_len as usize;
            if values.len() != len {
                return Err(ExecError::WeightLen {
                    name: w.name.clone(),
                    expected: len,
                    given: values.len(),
                });
            }
        }
        Ok(())
    }

    /// The table and the keys of a set of lookups; a segment may have no table.
    pub(super) fn lookups(&self, site: SiteRef) -> (Option<&'a Table>, &[i32]) {
        let instance = self.instance;
        let entry = &instance.entry;
        match site {
            SiteRef::Segment(s) => {
                let table = entry.segments[s as usize].table;
                (table.map(|t| self.instance.table(t)), &self.segments[s as usize])
            }
            SiteRef::Virtual(s) => (
                Some(self.instance.table(entry.sites[s as usize].table)),
                &self.sites[s as usize],
            ),
        }
    }

    /// The equation as its right side is evaluated: of one that finds an output, the scores alone.
    pub(super) fn equation(&self, q: usize) -> &Equation {
        self.scores.get(&q).unwrap_or(&self.instance.entry.equations[q])
    }

    /// The value of a source at a row-major position.
    pub(super) fn value(&self, source: Source, at: usize) -> i64 {
        match source {
            Source::Input(i) => self.inputs[i as usize][at].into(),
            Source::Constant(k) => self.instance.circuit.constants[k as usize].values[at].into(),
            Source::Below(o) => {
                let scores = self.instance.source_shape(source).pop().unwrap_or(1);
                i64::from((at % scores) < self.outputs[o as usize][at / scores] as usize)
            }
            Source::Lookup { site, column } => match self.lookups(site) {
                (Some(table), keys) => table.columns[column as usize][keys[at] as usize].into(),
                (None, _) => 0,
            },
        }
    }

    /// Finds an output from `right`, which is `-S(x, j)`, and makes of it `S(x, a(x)) - S(x, j) - [j < a(x)]`.
    pub(super) fn find(&mut self, q: usize, output: u16, right: &mut [i32]) {
        let shape = self.instance.out(&self.instance.entry.equations[q]);
        let scores = shape.last().copied().unwrap_or(1);
        let found = &mut self.outputs[output as usize];
        for (a, row) in found.iter_mut().zip(right.chunks_exact_mut(scores)) {
            let greatest = (1..row.len()).fold(0, |best, j| if row[j] < row[best] { j } else { best });
            let least = row[greatest];
            for (j, v) in row.iter_mut().enumerate() {
                *v = v.wrapping_sub(least).wrapping_sub(i32::from(j < greatest));
            }
            *a = greatest as i32;
        }
    }

    /// Writes the right side of an equation: an output whole, or the digits of the left side.
    pub(super) fn write(&mut self, q: usize, slice: Option<usize>, mut right: Vec<i32>) -> Result<(), ExecError> {
        let instance = self.instance;
        let entry = &instance.entry;
        let e = &entry.equations[q];
        let shape = self.instance.out(e);
        let range = part(shape.iter().product(), &shape, slice);
        if let Some(at) = right.iter().position(|v| v.unsigned_abs() >= 1 << 30) {
            return Err(ExecError::Overflow {
                equation: e.name.clone(),
                position: range.start + at,
                value: right[at].into(),
            });
        }
        match &e.left {
            Left::Output(o) => self.outputs[*o as usize][range].copy_from_slice(&right),
            Left::Cells(cells) => {
                for (i, &(k, s)) in cells.iter().enumerate() {
                    let digits = &mut self.segments[s as usize][range.clone()];
                    match cells.get(i + 1) {
                        None => digits.copy_from_slice(&right),
                        // `right` is in units of k; the digit is what remains modulo the next unit.
                        Some(&(next, _)) => split(&mut right, digits, (next / k) as i32),
                    }
                    let segment = &entry.segments[s as usize];
                    let table = segment.table.map(|t| self.instance.table(t));
                    if let Some((at, value)) = no_key(digits, table) {
                        if let (true, Some(table)) = (e.partial, table) {
                            let rows = table.rows() as u64;
                            return Err(ExecError::Uncalibrated {
                                layer: e.name.clone(),
                                position: range.start + at,
                                percent: (2 * value - rows as i64).unsigned_abs() * 100 / rows,
                            });
                        }
                        return Err(ExecError::Cell {
                            segment: segment.name.clone(),
                            position: range.start + at,
                            value,
                            table: table_name(table),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// The index of a weight's outer axis at iteration `x`.
    pub(super) fn outer(&self, o: &Outer, x: &[usize]) -> usize {
        match o {
            Outer::Axis { axis, offset } => x[*axis as usize] + offset.at(&self.instance.dims).unwrap_or(0),
            Outer::Selected { input, axes } => {
                let shape = &self.instance.inputs[*input as usize];
                let at = axes.iter().zip(shape).fold(0, |at, (&a, n)| at * n + x[a as usize]);
                // Inputs have been checked to lie in their range, which the circuit's checks have to be one of indices.
                self.inputs[*input as usize][at] as usize
            }
            Outer::Found { output, axes } => {
                let shape = &self.instance.outputs[*output as usize];
                let at = axes.iter().zip(shape).fold(0, |at, (&a, n)| at * n + x[a as usize]);
                self.outputs[*output as usize][at] as usize
            }
        }
    }

    /// Writes the maxima over the trailing axes of `compared`, and the lookup indices `maximum - compared`. Where
    /// `hidden` is not 0, a position does not count, and its index is raised by the masks' factor.
    pub(super) fn write_max(
        &mut self,
        site: usize,
        slice: Option<usize>,
        mut compared: Vec<i32>,
        hidden: Option<Vec<i32>>,
    ) -> Result<(), ExecError> {
        let instance = self.instance;
        let entry = &instance.entry;
        let s = &entry.sites[site];
        let shape = self.instance.lens(&s.axes);
        let Some([maximum, _]) = s.compared() else {
            return Ok(()); // excluded by the circuit's checks
        };
        let maximum = maximum as usize;
        let leading = entry.segments[maximum].axes.len();
        let window: usize = shape[leading..].iter().product();
        let cells = part(self.segments[maximum].len(), &shape[..leading], slice);
        let maxima = &mut self.segments[maximum][cells.clone()];
        match hidden {
            None => {
                for (m, row) in maxima.iter_mut().zip(compared.chunks_exact_mut(window)) {
                    *m = row.iter().copied().max().unwrap_or(0);
                    row.iter_mut().for_each(|t| *t = *m - *t);
                }
            }
            Some(hidden) => {
                let factor = s.masks().first().map_or(0, |t| t.coefficient);
                let rows = compared.chunks_exact_mut(window).zip(hidden.chunks_exact(window));
                for (i, (m, (row, hidden))) in maxima.iter_mut().zip(rows).enumerate() {
                    let visible = row.iter().zip(hidden).filter(|(_, h)| **h == 0);
                    *m = visible.map(|(t, _)| *t).max().ok_or_else(|| ExecError::Hidden {
                        site: s.name.clone(),
                        position: cells.start + i,
                    })?;
                    row.iter_mut().zip(hidden).for_each(|(t, h)| *t = *m - *t + factor * h);
                }
            }
        }
        let table = entry.segments[maximum].table.map(|t| self.instance.table(t));
        if let Some((at, value)) = no_key(&self.segments[maximum][cells.clone()], table) {
            return Err(ExecError::Cell {
                segment: entry.segments[maximum].name.clone(),
                position: cells.start + at,
                value,
                table: table_name(table),
            });
        }
        let range = part(self.sites[site].len(), &shape, slice);
        let table = Some(self.instance.table(s.table));
        if let Some((at, value)) = no_key(&compared, table) {
            return Err(ExecError::Cell {
                segment: s.name.clone(),
                position: range.start + at,
                value,
                table: table_name(table),
            });
        }
        self.sites[site][range].copy_from_slice(&compared);
        Ok(())
    }

    pub(super) fn finish(self) -> Execution {
        Execution {
            segments: self.segments,
            virtual_sites: self.sites,
            outputs: self.outputs,
        }
    }
}

/// `digits = right mod ratio`, `right = right div ratio`, rounding towards -∞.
fn split(right: &mut [i32], digits: &mut [i32], ratio: i32) {
    if ratio.count_ones() == 1 {
        let (shift, mask) = (ratio.trailing_zeros(), ratio - 1);
        for (r, d) in right.iter_mut().zip(digits) {
            *d = *r & mask;
            *r >>= shift;
        }
    } else {
        for (r, d) in right.iter_mut().zip(digits) {
            *d = r.rem_euclid(ratio);
            *r = r.div_euclid(ratio);
        }
    }
}
