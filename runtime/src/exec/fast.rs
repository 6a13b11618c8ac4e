//! The fast evaluator: looked-up values are kept as dense tensors, reads are strided walks, contractions are integer
//! matrix products.
//!
//! For a product, an output axis used by both factors is a *batch* axis, one used by the second alone a *column*, any
//! other a *row*; the contracted group is the inner axis of both. A `Before` map reads a tensor of prefix sums; along
//! the repetition that is one running sum per source.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use mlc_circuit::{
    Access, AxisMap, Causal, Equation, FormSource, Instance, Operand, Outer, Product, Read, Reads, SiteRef, Source,
    Weight, check::bounds,
};
use rayon::prelude::*;

use super::gemm::{self, Rows};
use super::reference::Reference;
use super::state::{State, part};
use super::walk::{Iter, Walk};
use super::{Evaluator, ExecError};
use crate::weights::{IntWeights, Piece};

/// Looked-up values, and what is known of each equation.
pub(super) struct Fast {
    /// Values of the columns that are read.
    columns: BTreeMap<(SiteRef, u8), Vec<i32>>,
    /// Sum of the first blocks of a source: their number, the sum.
    running: BTreeMap<(SiteRef, u8), (usize, Vec<i32>)>,
    /// Bounds of each source that is read, and 0: what coordinates outside of it read.
    bounds: Vec<(Source, (i64, i64))>,
    /// Whether range analysis holds for an equation, so that arithmetic modulo 2^32 is exact.
    bounded: Vec<bool>,
}

/// A source tensor with an access to it that has no `Before` map.
struct Tensor<'a> {
    data: Cow<'a, [i32]>,
    shape: Vec<usize>,
    access: Cow<'a, Access>,
    coefficient: i32,
    /// Bounds of what is read, coefficient included.
    bounds: (i64, i64),
}

impl Fast {
    pub(super) fn new(instance: &Instance) -> Self {
        let entry = &instance.entry;
        let mut columns = BTreeMap::new();
        let mut sources = Vec::new();
        for r in entry.equations.iter().flat_map(Equation::all_reads) {
            if let Source::Lookup { site, column } = r.source {
                let len = instance.source_shape(r.source).iter().product();
                columns.entry((site, column)).or_insert_with(|| vec![0; len]);
            }
            if !sources.iter().any(|(s, _)| *s == r.source) {
                sources.push((r.source, source_bounds(instance, r.source)));
            }
        }
        // Bounds are the family's: at a link, a read of the cache is many, of which at most one reads a cell.
        let family = &instance.circuit.entries[instance.entry_index];
        let bounded = family.equations.iter().map(|e| {
            let r = bounds::right(instance.circuit, family, e);
            r.lo > -(1 << 30) && r.hi < 1 << 30
        });
        Self {
            columns,
            running: BTreeMap::new(),
            bounds: sources,
            bounded: bounded.collect(),
        }
    }

    fn data<'a>(&'a self, state: &'a State, source: Source) -> &'a [i32] {
        match source {
            Source::Input(i) => &state.inputs[i as usize],
            Source::Constant(k) => &state.instance.circuit.constants[k as usize].values,
            // Of an equation that finds an output, only scores are evaluated.
            Source::Below(_) => &[],
            Source::Lookup { site, column } => self.columns.get(&(site, column)).map_or(&[], |v| v.as_slice()),
        }
    }

    /// Extends the running sum of a source to its first `blocks` blocks.
    fn run_to(&mut self, key: (SiteRef, u8), blocks: usize, of: usize) {
        let Some(data) = self.columns.get(&key) else { return };
        let block = data.len() / of;
        let (done, sum) = self.running.entry(key).or_insert_with(|| (0, vec![0; block]));
        if *done > blocks {
            (*done, *sum) = (0, vec![0; block]);
        }
        for values in data.chunks_exact(block).take(blocks.min(of)).skip(*done) {
            sum.iter_mut().zip(values).for_each(|(s, v)| *s = s.wrapping_add(*v));
        }
        *done = blocks.min(of);
    }

    /// Running sums that an equation reads at `slice`.
    fn prepare(&mut self, state: &State, e: &Equation, slice: Option<usize>) {
        let Some(l) = slice else { return };
        for r in e.all_reads() {
            if let (Source::Lookup { site, column }, Some(AxisMap::Before { iter: 0 })) =
                (r.source, r.access.axes.first())
            {
                let blocks = state.instance.source_shape(r.source)[0];
                self.run_to((site, column), l, blocks);
            }
        }
    }

    /// The tensor behind a read. `iters` are the iteration axes.
    fn tensor<'a>(&'a self, state: &'a State, r: &'a Read, iters: &[Iter], fixed: bool) -> Tensor<'a> {
        let mut t = Tensor {
            data: Cow::Borrowed(self.data(state, r.source)),
            shape: state.instance.source_shape(r.source),
            access: Cow::Borrowed(&r.access),
            coefficient: r.coefficient,
            bounds: (0, 0),
        };
        let known = self.bounds.iter().find(|(s, _)| *s == r.source);
        let (mut lo, mut hi) = known.map_or((0, 0), |b| b.1);
        for (axis, map) in r.access.axes.iter().enumerate() {
            let &AxisMap::Before { iter } = map else { continue };
            let len = t.shape[axis];
            (lo, hi) = (lo * len as i64, hi * len as i64);
            let along = iters[iter as usize];
            if let (0, true, 0, Source::Lookup { site, column }) = (axis, fixed, iter, r.source)
                && let Some((_, sum)) = self.running.get(&(site, column))
            {
                t.data = Cow::Borrowed(sum);
                t.shape[0] = 1;
                t.access.to_mut().axes[0] = AxisMap::constant(0);
                continue;
            }
            let end = along.start + along.len;
            t.data = Cow::Owned(prefix_sums(&t.data, &t.shape, axis, end));
            t.shape[axis] = end;
            t.access.to_mut().axes[axis] = AxisMap::iter(iter);
        }
        let k = i64::from(r.coefficient);
        t.bounds = ((lo * k).min(hi * k), (lo * k).max(hi * k));
        t
    }
}

/// Bounds of a source's values, with 0 for coordinates outside.
fn source_bounds(instance: &Instance, source: Source) -> (i64, i64) {
    let entry = &instance.entry;
    let (lo, hi) = match source {
        Source::Input(i) => {
            let i = &entry.inputs[i as usize];
            (i.lo.into(), i.hi.into())
        }
        Source::Constant(k) => {
            let values = &instance.circuit.constants[k as usize].values;
            let bound = |v: Option<&i32>| i64::from(v.copied().unwrap_or(0));
            (bound(values.iter().min()), bound(values.iter().max()))
        }
        Source::Below(_) => (0, 1),
        Source::Lookup { site, column } => {
            let table = match site {
                SiteRef::Segment(s) => entry.segments[s as usize].table,
                SiteRef::Virtual(s) => Some(entry.sites[s as usize].table),
            };
            let bounds = table.and_then(|t| instance.table(t).bounds(column as usize));
            bounds.unwrap_or((0, 0))
        }
    };
    (lo.min(0), hi.max(0))
}

/// `out[.., x, ..] = Σ_{y < x} data[.., y, ..]` along `axis`, for `x < end`.
fn prefix_sums(data: &[i32], shape: &[usize], axis: usize, end: usize) -> Vec<i32> {
    let (len, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let mut out = Vec::with_capacity(data.len() / len * end);
    for block in data.chunks_exact(len * inner) {
        let mut sum = vec![0i32; inner];
        for x in 0..end {
            out.extend_from_slice(&sum);
            if let Some(row) = block.chunks_exact(inner).nth(x) {
                sum.iter_mut().zip(row).for_each(|(s, v)| *s = s.wrapping_add(*v));
            }
        }
    }
    out
}

/// A factor of a product, as rows over its own axes of the output.
struct Factor<'a> {
    kind: Kind<'a>,
    rows: usize,
    /// First row of the batch.
    first: usize,
    bounds: (i64, i64),
}

enum Kind<'a> {
    One,
    Reads(&'a [(Walk, Tensor<'a>)]),
    /// Values, row length, position of each row, and where they are.
    Weight(&'a [i16], usize, &'a [usize], (&'a IntWeights, usize)),
}

impl Factor<'_> {
    /// The piece of a weight that rows are, where they lie behind each other.
    fn piece(&self, rows: Range<usize>) -> Option<Piece> {
        let Kind::Weight(_, len, at, (_, weight)) = &self.kind else {
            return None;
        };
        let at = &at[self.first..][rows];
        let (first, last) = (*at.first()?, *at.last()?);
        let part = first..last + len;
        let behind_each_other = last.checked_sub(first) == Some((at.len() - 1) * len);
        behind_each_other.then_some(Piece { weight: *weight, part })
    }
}

impl Rows for Factor<'_> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn fill(&self, row: usize, out: &mut [i32]) {
        let row = self.first + row;
        match &self.kind {
            Kind::One => out.fill(1),
            Kind::Reads(reads) => {
                out.fill(0);
                for (walk, t) in reads.iter() {
                    walk.add(row, &t.data, t.coefficient, out);
                }
            }
            Kind::Weight(values, len, at, _) => {
                for (o, &v) in out.iter_mut().zip(&values[at[row]..at[row] + len]) {
                    *o = v.into();
                }
            }
        }
    }

    fn bounds(&self) -> (i64, i64) {
        self.bounds
    }

    fn in_place(&self, row: usize) -> Option<&[i16]> {
        match &self.kind {
            Kind::Weight(values, len, at, _) => values.get(at[self.first + row]..).and_then(|v| v.get(..*len)),
            _ => None,
        }
    }

    fn at_work(&self, _now: Range<usize>, then: Range<usize>) {
        if let Kind::Weight(.., (weights, _)) = &self.kind {
            weights.read_ahead(self.piece(then).as_ref());
        }
    }

    fn done(&self, rows: Range<usize>) {
        if let (Kind::Weight(.., (weights, _)), Some(piece)) = (&self.kind, self.piece(rows)) {
            weights.release(&piece);
        }
    }
}

/// An operand made ready for one product.
enum Ready<'a> {
    One,
    Reads(Vec<(Walk, Tensor<'a>)>, (i64, i64)),
    Weight(&'a [i16], &'a Weight, Vec<usize>, (&'a IntWeights, usize)),
}

impl<'a> Ready<'a> {
    fn factor(&'a self, rows: usize, first: usize) -> Factor<'a> {
        let (kind, bounds) = match self {
            Ready::One => (Kind::One, (1, 1)),
            Ready::Reads(reads, bounds) => (Kind::Reads(reads), *bounds),
            Ready::Weight(values, w, at, of) => {
                let max = (1i64 << (w.bits - 1)) - 1;
                (Kind::Weight(values, w.row_len as usize, at, *of), (-max, max))
            }
        };
        let first = first * rows;
        Factor {
            kind,
            rows,
            first,
            bounds,
        }
    }
}

fn used(p: &Product, o: &Operand, axis: u8) -> bool {
    match o {
        Operand::One => false,
        Operand::Reads(reads) => reads
            .iter()
            .any(|r| r.access.uses(axis) || r.access.gate(axis).is_some()),
        Operand::Weight { outer, .. } => {
            outer.iter().any(|o| o.axes().contains(&axis)) || (p.group.is_empty() && p.shared.last() == Some(&axis))
        }
    }
}

/// Positions in a row-major tensor of the indices of `axes` (row-major over them).
fn positions(lens: &[usize], strides: &[usize], axes: &[usize]) -> Vec<usize> {
    axes.iter().fold(vec![0], |out, &a| {
        out.iter()
            .flat_map(|&p| (0..lens[a]).map(move |x| p + x * strides[a]))
            .collect()
    })
}

fn row_major(lens: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; lens.len()];
    for i in (1..lens.len()).rev() {
        strides[i - 1] = strides[i] * lens[i];
    }
    strides
}

/// Position in a weight of the row that each index of `axes` (row-major over them) selects.
fn weight_rows(state: &State, w: &Weight, outer: &[Outer], iters: &[Iter], axes: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; iters.len()];
    let mut stride = w.row_len as usize;
    let mut base = 0;
    let mut selected = Vec::new();
    for (o, &len) in outer.iter().zip(&w.outer).rev() {
        match o {
            Outer::Axis { axis, offset } => {
                let i = *axis as usize;
                strides[i] = stride;
                base += (iters[i].start + offset.at(&state.instance.dims).unwrap_or(0)) * stride;
            }
            Outer::Selected { .. } | Outer::Found { .. } => selected.push((o, stride)),
        }
        stride *= len as usize;
    }
    let lens: Vec<usize> = iters.iter().map(|i| i.len).collect();
    let mut at = positions(&lens, &strides, axes);
    at.iter_mut().for_each(|p| *p += base);
    if !selected.is_empty() {
        let mut x: Vec<usize> = iters.iter().map(|i| i.start).collect();
        for (n, p) in at.iter_mut().enumerate() {
            let mut rest = n;
            for &a in axes.iter().rev() {
                x[a] = iters[a].start + rest % lens[a];
                rest /= lens[a];
            }
            *p += selected.iter().map(|(o, s)| state.outer(o, &x) * s).sum::<usize>();
        }
    }
    at
}

impl Fast {
    /// The iteration axes: the output's, the first at `slice`, then `extra`.
    fn iters(state: &State, e: &Equation, slice: Option<usize>, extra: &[mlc_circuit::Len]) -> Vec<Iter> {
        let lens = state.instance.lens(&e.iterations(extra));
        let mut iters: Vec<Iter> = lens.into_iter().map(|len| Iter { start: 0, len }).collect();
        if let (Some(l), Some(first)) = (slice, iters.first_mut()) {
            *first = Iter { start: l, len: 1 };
        }
        iters
    }

    /// Adds linear terms; `None` where an access cannot be compiled.
    fn add_reads(&self, state: &State, e: &Equation, r: &Reads, slice: Option<usize>, acc: &mut [i32]) -> Option<()> {
        let iters = Self::iters(state, e, slice, &r.reduce);
        let t = self.tensor(state, &r.read, &iters, slice.is_some());
        let (out, reduce): (Vec<usize>, Vec<usize>) = (0..iters.len()).partition(|&i| i < e.out.len());
        let summed: usize = reduce.iter().map(|&i| iters[i].len).product();
        if summed <= acc.len() {
            let walk = Walk::new(&t.access, &t.shape, &iters, &reduce, &out)?;
            (0..summed).for_each(|row| walk.add(row, &t.data, t.coefficient, acc));
        } else {
            let walk = Walk::new(&t.access, &t.shape, &iters, &out, &reduce)?;
            for (row, o) in acc.iter_mut().enumerate() {
                *o = o.wrapping_add(walk.sum(row, &t.data).wrapping_mul(t.coefficient));
            }
        }
        Some(())
    }

    fn ready<'a>(
        &'a self,
        state: &'a State,
        o: &'a Operand,
        iters: &[Iter],
        fixed: bool,
        (outer, inner): (&[usize], &[usize]),
    ) -> Option<Ready<'a>> {
        Some(match o {
            Operand::One => Ready::One,
            Operand::Reads(reads) => {
                let mut ready = Vec::with_capacity(reads.len());
                let (mut lo, mut hi) = (0, 0);
                for r in reads {
                    let t = self.tensor(state, r, iters, fixed);
                    let walk = Walk::new(&t.access, &t.shape, iters, outer, inner)?;
                    (lo, hi) = (lo + t.bounds.0, hi + t.bounds.1);
                    ready.push((walk, t));
                }
                Ready::Reads(ready, (lo, hi))
            }
            Operand::Weight { weight, outer: axes } => {
                let w = &state.instance.circuit.weights[*weight as usize];
                let at = weight_rows(state, w, axes, iters, outer);
                let weight = usize::from(*weight);
                Ready::Weight(state.weights.tensor(weight), w, at, (state.weights, weight))
            }
        })
    }

    /// Adds `coefficient · Σ_group a · b`.
    fn add_product(
        &self,
        state: &State,
        e: &Equation,
        p: &Product,
        slice: Option<usize>,
        acc: &mut [i32],
    ) -> Option<()> {
        let iters = Self::iters(state, e, slice, &p.group);
        let rank = e.out.len();
        let fixed = slice.is_some();
        if p.group.is_empty() {
            return self.add_elementwise(state, p, &iters, fixed, acc);
        }
        let (mut batch, mut rows, mut columns) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..rank {
            match (used(p, &p.a, i as u8), used(p, &p.b, i as u8)) {
                (true, true) => batch.push(i),
                (false, true) => columns.push(i),
                _ => rows.push(i),
            }
        }
        let inner: Vec<usize> = (rank..iters.len()).collect();
        let outer = |axes: &[usize]| batch.iter().chain(axes).copied().collect::<Vec<_>>();
        let a = self.ready(state, &p.a, &iters, fixed, (&outer(&rows), &inner))?;
        let b = self.ready(state, &p.b, &iters, fixed, (&outer(&columns), &inner))?;

        let lens: Vec<usize> = iters[..rank].iter().map(|i| i.len).collect();
        let strides = row_major(&lens);
        let [batch_at, row_at, column_at] = [&batch, &rows, &columns].map(|axes| positions(&lens, &strides, axes));
        let k = iters[rank..].iter().map(|i| i.len).product();
        let product = |i: usize| gemm::multiply(k, &a.factor(row_at.len(), i), &b.factor(column_at.len(), i));
        let mut add = |base: usize, c: Vec<i32>| {
            for (row, &m) in c.chunks_exact(column_at.len()).zip(&row_at) {
                for (&v, &n) in row.iter().zip(&column_at) {
                    let o = &mut acc[base + m + n];
                    *o = o.wrapping_add(v.wrapping_mul(p.coefficient));
                }
            }
        };
        // A few batches at a time: their products are in memory together.
        for (start, chunk) in batch_at.chunks(16).enumerate() {
            let products: Vec<Vec<i32>> = (0..chunk.len())
                .into_par_iter()
                .map(|i| product(16 * start + i))
                .collect();
            chunk.iter().zip(products).for_each(|(&base, c)| add(base, c));
        }
        Some(())
    }

    /// A product without contraction.
    fn add_elementwise(&self, state: &State, p: &Product, iters: &[Iter], fixed: bool, acc: &mut [i32]) -> Option<()> {
        let all: Vec<usize> = (0..iters.len()).collect();
        let mut factors = Vec::with_capacity(2);
        for o in [&p.a, &p.b] {
            let mut out = vec![0i32; acc.len()];
            match o {
                Operand::One => out.fill(1),
                Operand::Reads(reads) => {
                    for r in reads {
                        let t = self.tensor(state, r, iters, fixed);
                        let walk = Walk::new(&t.access, &t.shape, iters, &[], &all)?;
                        walk.add(0, &t.data, t.coefficient, &mut out);
                    }
                }
                Operand::Weight { weight, outer } => {
                    let w = &state.instance.circuit.weights[*weight as usize];
                    // The last shared axis runs along the weight's rows.
                    let row = usize::from(*p.shared.last()?);
                    let others: Vec<usize> = all.iter().copied().filter(|&a| a != row).collect();
                    let lens: Vec<usize> = iters.iter().map(|i| i.len).collect();
                    let strides = row_major(&lens);
                    let values = state.weights.tensor(*weight as usize);
                    let to = positions(&lens, &strides, &others);
                    for (to, from) in to.into_iter().zip(weight_rows(state, w, outer, iters, &others)) {
                        let from = &values[from + iters[row].start..][..lens[row]];
                        for (o, &v) in out[to..].iter_mut().step_by(strides[row]).zip(from) {
                            *o = v.into();
                        }
                    }
                }
            }
            factors.push(out);
        }
        for ((o, x), y) in acc.iter_mut().zip(&factors[0]).zip(&factors[1]) {
            *o = o.wrapping_add(x.wrapping_mul(*y).wrapping_mul(p.coefficient));
        }
        Some(())
    }
}

impl Evaluator for Fast {
    fn right(&mut self, state: &State, q: usize, slice: Option<usize>) -> Result<Vec<i32>, ExecError> {
        if !self.bounded[q] {
            return Reference.right(state, q, slice);
        }
        let e = state.equation(q);
        self.prepare(state, e, slice);
        let shape = state.instance.out(e);
        let len = part(shape.iter().product(), &shape, slice).len();
        let mut acc = vec![e.constant as i32; len];
        let reads = e
            .reads
            .iter()
            .try_for_each(|r| self.add_reads(state, e, r, slice, &mut acc));
        let products = e
            .products
            .iter()
            .try_for_each(|p| self.add_product(state, e, p, slice, &mut acc));
        match reads.and(products) {
            Some(()) => Ok(acc),
            None => Reference.right(state, q, slice),
        }
    }

    fn compared(&mut self, state: &State, site: usize, slice: Option<usize>) -> Vec<i32> {
        let s = &state.instance.entry.sites[site];
        let iters = site_iters(state, site, slice);
        let all: Vec<usize> = (0..iters.len()).collect();
        let Some([_, compared]) = s.compared() else {
            return Vec::new();
        };
        let shape = &state.instance.segments[compared as usize].shape;
        match Walk::new(&s.index[1].access, shape, &iters, &[], &all) {
            Some(walk) => {
                let mut out = vec![0; iters.iter().map(|i| i.len).product()];
                walk.add(0, &state.segments[compared as usize], 1, &mut out);
                out
            }
            None => Reference.compared(state, site, slice),
        }
    }

    fn hidden(&mut self, state: &State, site: usize, slice: Option<usize>) -> Option<Vec<i32>> {
        let s = &state.instance.entry.sites[site];
        if s.masks().is_empty() {
            return None;
        }
        let iters = site_iters(state, site, slice);
        let all: Vec<usize> = (0..iters.len()).collect();
        let mut out = vec![0; iters.iter().map(|i| i.len).product()];
        for t in s.masks() {
            match &t.source {
                FormSource::Segment(_) => {}
                FormSource::Input(i) => {
                    let shape = &state.instance.inputs[*i as usize];
                    let Some(walk) = Walk::new(&t.access, shape, &iters, &[], &all) else {
                        return Reference.hidden(state, site, slice);
                    };
                    walk.add(0, &state.inputs[*i as usize], 1, &mut out);
                }
                FormSource::Causal(m) => add_causal(m, m.offset.at(&state.instance.dims)?, &iters, &mut out),
            }
        }
        Some(out)
    }

    fn written(&mut self, state: &State, site: SiteRef, slice: Option<usize>) {
        let (Some(table), keys) = state.lookups(site) else {
            return;
        };
        let shape = match site {
            SiteRef::Segment(s) => state.instance.segments[s as usize].shape.clone(),
            SiteRef::Virtual(s) => state.instance.lens(&state.instance.entry.sites[s as usize].axes),
        };
        let range = part(keys.len(), &shape, slice);
        for ((_, column), values) in self.columns.range_mut((site, 0)..=(site, u8::MAX)) {
            let column = &table.columns[*column as usize];
            for (v, &key) in values[range.clone()].iter_mut().zip(&keys[range.clone()]) {
                *v = column[key as usize];
            }
        }
    }
}

/// The iteration axes of a virtual site, the first at `slice`.
fn site_iters(state: &State, site: usize, slice: Option<usize>) -> Vec<Iter> {
    let lens = state.instance.lens(&state.instance.entry.sites[site].axes);
    let mut iters: Vec<Iter> = lens.into_iter().map(|len| Iter { start: 0, len }).collect();
    if let (Some(l), Some(first)) = (slice, iters.first_mut()) {
        *first = Iter { start: l, len: 1 };
    }
    iters
}

/// Adds 1 wherever a causal mask hides, row by row: what is visible is an interval of columns.
fn add_causal(m: &Causal, offset: usize, iters: &[Iter], out: &mut [i32]) {
    let (row, col) = (m.row as usize, m.col as usize);
    let lens: Vec<usize> = iters.iter().map(|i| i.len).collect();
    let strides = row_major(&lens);
    let others: Vec<usize> = (0..iters.len()).filter(|&a| a != row && a != col).collect();
    let Iter { start, len } = iters[col];
    for base in positions(&lens, &strides, &others) {
        for x in 0..lens[row] {
            let visible = m.visible(iters[row].start + x, offset, start + len);
            let at = base + x * strides[row];
            for c in (start..start + len).filter(|c| !visible.contains(c)) {
                out[at + (c - start) * strides[col]] += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{execute, execute_reference};
    use crate::testing::{self, Block, Case};

    fn agree(case: &Case) {
        let instance = case.circuit.instantiate(0, &case.dims).unwrap();
        let fast = execute(&instance, &case.weights, &case.inputs).unwrap();
        let reference = execute_reference(&instance, &case.weights, &case.inputs, &[]).unwrap();
        assert_eq!(fast, reference);
    }

    #[test]
    fn hand_built_circuits_agree_with_the_reference() {
        agree(&testing::linear_relu(3, 100, 33, 10));
        agree(&testing::linear_relu(20, 64, 70, 10));
        agree(&testing::conv_max_pool(2, 3, 9, 6));
        agree(&testing::residual_blocks(5, 32, 5));
        agree(&testing::tokens_to_logits(3, 10, 17, 20, 8, true));
        agree(&testing::tokens_to_next(3, 10, 17, 20, 8, true));
        agree(&testing::greatest_label(Some(5), 33, 17));
        agree(&testing::greatest_label(None, 3, 10));
        agree(&testing::transformer_block(&Block::rms()));
        agree(&testing::transformer_block(&Block::layer()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn random_circuits_agree_with_the_reference(seed: u64) {
            agree(&testing::random(seed));
        }

        #[test]
        fn random_blocks_agree_with_the_reference(seed: u64) {
            agree(&testing::transformer_block(&Block::random(seed)));
        }
    }
}
