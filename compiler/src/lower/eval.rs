//! Plain evaluation of a circuit, for tests: the definition of equations, digits and maxima written down.

use std::collections::BTreeMap;

use mlc_circuit::{
    Access, AxisMap, Circuit, Entry, FormSource, FormTerm, InputKind, Left, Len, Operand, Outer, Read, SiteRef, Source,
    Step,
};
use mlc_ir::{Bindings, WeightSource};

use super::Lowered;

/// Calls `f` with every index of `shape`, row-major.
fn each(shape: &[usize], mut f: impl FnMut(&[usize])) {
    let count: usize = shape.iter().product();
    let mut index = vec![0; shape.len()];
    for mut n in 0..count {
        for axis in (0..shape.len()).rev() {
            index[axis] = n % shape[axis];
            n /= shape[axis];
        }
        f(&index);
    }
}

fn flat(shape: &[usize], index: &[usize]) -> usize {
    shape.iter().zip(index).fold(0, |at, (n, i)| at * n + i)
}

struct State<'a> {
    circuit: &'a Circuit,
    entry: &'a Entry,
    dims: Vec<u32>,
    weights: Vec<Vec<i64>>,
    inputs: Vec<Vec<i64>>,
    cells: Vec<Vec<i64>>,
    outputs: Vec<Vec<i64>>,
}

impl State<'_> {
    fn shape(&self, axes: &[Len]) -> Vec<usize> {
        axes.iter().map(|a| a.at(&self.dims).unwrap()).collect()
    }

    /// Sum of `value` over the cells that the access reads at `x`.
    fn sum(&self, access: &Access, shape: &[usize], x: &[usize], value: &dyn Fn(&[usize]) -> i64) -> i64 {
        if access.gates.iter().any(|g| x[g.iter as usize] != g.at as usize) {
            return 0;
        }
        let ranges: Vec<std::ops::Range<usize>> = access
            .axes
            .iter()
            .zip(shape)
            .map(|(map, n)| match map {
                AxisMap::Before { iter } => 0..x[*iter as usize].min(*n),
                AxisMap::From { .. } => unreachable!("an instance counts from numbers"),
                AxisMap::Affine { offset, parts } => {
                    let y = parts.iter().fold(i64::from(*offset), |y, (i, k)| {
                        y + x[*i as usize] as i64 * i64::from(*k)
                    });
                    usize::try_from(y).ok().filter(|y| y < n).map_or(0..0, |y| y..y + 1)
                }
            })
            .collect();
        let sizes: Vec<usize> = ranges.iter().map(ExactSizeIterator::len).collect();
        let mut total = 0;
        each(&sizes, |at| {
            let cell: Vec<usize> = at.iter().zip(&ranges).map(|(i, r)| r.start + i).collect();
            total += value(&cell);
        });
        total
    }

    fn read(&self, read: &Read, x: &[usize]) -> i64 {
        let value = match read.source {
            Source::Input(i) => {
                let shape = self.shape(&self.entry.inputs[i as usize].axes);
                self.sum(&read.access, &shape, x, &|cell| {
                    self.inputs[i as usize][flat(&shape, cell)]
                })
            }
            Source::Below(_) => unreachable!("only scores are evaluated of an equation that finds an output"),
            Source::Constant(k) => {
                let k = &self.circuit.constants[k as usize];
                let shape: Vec<usize> = k.axes.iter().map(|n| *n as usize).collect();
                self.sum(&read.access, &shape, x, &|cell| k.values[flat(&shape, cell)].into())
            }
            Source::Lookup { site, column } => {
                let (table, axes) = match site {
                    SiteRef::Segment(s) => {
                        let s = &self.entry.segments[s as usize];
                        (s.table.unwrap(), &s.axes)
                    }
                    SiteRef::Virtual(v) => (self.entry.sites[v as usize].table, &self.entry.sites[v as usize].axes),
                };
                let shape = self.shape(axes);
                let column = &self.circuit.tables[table as usize].columns[column as usize];
                self.sum(&read.access, &shape, x, &|cell| {
                    column[self.index(site, &shape, cell)].into()
                })
            }
        };
        i64::from(read.coefficient) * value
    }

    fn index(&self, site: SiteRef, shape: &[usize], cell: &[usize]) -> usize {
        let index = match site {
            SiteRef::Segment(s) => self.cells[s as usize][flat(shape, cell)],
            SiteRef::Virtual(v) => self.entry.sites[v as usize]
                .index
                .iter()
                .map(|t| i64::from(t.coefficient) * self.term(t, cell))
                .sum(),
        };
        usize::try_from(index).unwrap()
    }

    /// What a term of a virtual index reads, without its factor.
    fn term(&self, t: &FormTerm, x: &[usize]) -> i64 {
        match &t.source {
            FormSource::Segment(s) => {
                let shape = self.shape(&self.entry.segments[*s as usize].axes);
                let value = |at: &[usize]| self.cells[*s as usize][flat(&shape, at)];
                self.sum(&t.access, &shape, x, &value)
            }
            FormSource::Input(i) => {
                let shape = self.shape(&self.entry.inputs[*i as usize].axes);
                let value = |at: &[usize]| self.inputs[*i as usize][flat(&shape, at)];
                self.sum(&t.access, &shape, x, &value)
            }
            FormSource::Causal(m) => {
                let last = x[m.row as usize] + m.offset.at(&self.dims).unwrap();
                let col = x[m.col as usize];
                i64::from(col > last || m.window.is_some_and(|w| col + w as usize <= last))
            }
        }
    }

    fn operand(&self, operand: &Operand, x: &[usize], out: usize, group: &[usize], last: Option<u8>) -> i64 {
        match operand {
            Operand::One => 1,
            Operand::Reads(reads) => reads.iter().map(|r| self.read(r, x)).sum(),
            Operand::Weight { weight, outer } => {
                let w = &self.circuit.weights[*weight as usize];
                let mut at = 0;
                for (i, n) in outer.iter().zip(&w.outer) {
                    let index = match i {
                        Outer::Axis { axis, offset } => x[*axis as usize] + offset.at(&self.dims).unwrap(),
                        Outer::Selected { input, axes } => {
                            let shape = self.shape(&self.entry.inputs[*input as usize].axes);
                            let cell: Vec<usize> = axes.iter().map(|a| x[*a as usize]).collect();
                            usize::try_from(self.inputs[*input as usize][flat(&shape, &cell)]).unwrap()
                        }
                        Outer::Found { .. } => unreachable!("nothing is found before the scores are"),
                    };
                    at = at * *n as usize + index;
                }
                let row = if group.is_empty() {
                    x[last.unwrap() as usize]
                } else {
                    flat(group, &x[out..])
                };
                self.weights[*weight as usize][at * w.row_len as usize + row]
            }
        }
    }

    fn equation(&mut self, at: usize, block: Option<usize>) {
        let entry = self.entry;
        let output = entry.equations[at].finds();
        let q = match output {
            Some(_) => &entry.equations[at].scores(),
            None => &entry.equations[at],
        };
        let shape = self.shape(&q.out);
        let mut found = Vec::new();
        each(&shape, |x| {
            if block.is_some_and(|l| x[0] != l) {
                return;
            }
            let mut right = q.constant;
            for r in &q.reads {
                each(&self.shape(&r.reduce), |inner| {
                    right += self.read(&r.read, &[x, inner].concat())
                });
            }
            for p in &q.products {
                let group = self.shape(&p.group);
                let last = p.shared.last().copied();
                each(&group, |inner| {
                    let x = [x, inner].concat();
                    let product = self.operand(&p.a, &x, shape.len(), &group, last)
                        * self.operand(&p.b, &x, shape.len(), &group, last);
                    right += i64::from(p.coefficient) * product;
                });
            }
            found.push((flat(&shape, x), right));
        });
        if let Some(output) = output {
            // So far it is the scores, negated.
            let row = shape.last().copied().unwrap();
            for (x, scores) in found.chunks_mut(row).enumerate() {
                let greatest = scores.iter().map(|s| -s.1).max().unwrap();
                let at = scores.iter().position(|s| -s.1 == greatest).unwrap();
                self.outputs[output as usize][x] = at as i64;
                for (j, s) in scores.iter_mut().enumerate() {
                    s.1 += greatest - i64::from(j < at);
                }
            }
        }
        for (cell, right) in found {
            match &q.left {
                Left::Output(o) => self.outputs[*o as usize][cell] = right,
                Left::Cells(cells) => {
                    for (i, (coefficient, segment)) in cells.iter().enumerate() {
                        let digit = match cells.get(i + 1) {
                            Some((next, _)) => (right / coefficient) % (next / coefficient),
                            None => right / coefficient,
                        };
                        let table = entry.segments[*segment as usize].table;
                        let rows = table.map_or(1 << 16, |t| self.circuit.tables[t as usize].rows());
                        assert!(right >= 0 && digit < rows as i64, "'{}': {right}", q.name);
                        self.cells[*segment as usize][cell] = digit;
                    }
                }
            }
        }
    }

    fn maximum(&mut self, site: usize, block: Option<usize>) {
        let v = &self.entry.sites[site];
        let all = self.shape(&v.axes);
        let m = v.compared().unwrap()[0] as usize;
        let shape = self.shape(&self.entry.segments[m].axes);
        let mut found = vec![0; shape.iter().product()];
        each(&all, |x| {
            if v.masks().iter().any(|t| self.term(t, x) != 0) {
                return;
            }
            let value = self.term(&v.index[1], x);
            let slot = &mut found[flat(&shape, &x[..shape.len()])];
            *slot = value.max(*slot);
        });
        each(&shape, |x| {
            if block.is_none_or(|l| x[0] == l) {
                self.cells[m][flat(&shape, x)] = found[flat(&shape, x)];
            }
        });
    }

    fn steps(&mut self, steps: &[Step], block: Option<usize>) {
        for step in steps {
            match step {
                Step::Equation(q) => self.equation(*q as usize, block),
                Step::Max { site } => self.maximum(*site as usize, block),
                Step::Repeat { count, steps } => (0..*count as usize).for_each(|l| self.steps(steps, Some(l))),
            }
        }
    }
}

/// The integers of every weight, in row-major order of `[outer.., row_len]`.
fn weights(lowered: &Lowered, source: &dyn WeightSource) -> Vec<Vec<i64>> {
    let mut out = Vec::new();
    for recipe in &lowered.weights {
        let counts: Vec<usize> = recipe.stack.iter().map(|s| s.count as usize).collect();
        let mut data = Vec::new();
        each(&counts, |index| {
            let names = recipe.stack.iter().map(|s| s.index.clone());
            let bindings: Bindings = names.zip(index.iter().map(|i| *i as i64)).collect();
            data.extend(
                recipe
                    .recipe
                    .eval(source, &bindings)
                    .unwrap()
                    .data
                    .iter()
                    .map(|v| *v as i64),
            );
        });
        let weight = &lowered.circuit.weights[recipe.weight];
        let columns = data.chunks(weight.row_len as usize);
        for column in columns {
            let sum: i64 = column.iter().map(|v| v.abs()).sum();
            assert!(
                sum as u64 <= weight.column_sum,
                "{}: {sum} > {}",
                weight.name,
                weight.column_sum
            );
        }
        out.push(data);
    }
    out
}

/// Outputs of an entry by name, row-major.
pub(crate) fn run(
    lowered: &Lowered,
    entry: usize,
    source: &dyn WeightSource,
    dims: &Bindings,
    inputs: &BTreeMap<String, Vec<i64>>,
) -> BTreeMap<String, Vec<i64>> {
    let circuit = &lowered.circuit;
    let dims: Vec<u32> = circuit.dims.iter().map(|d| dims[&d.name] as u32).collect();
    let instance = circuit.instantiate(entry, &dims).unwrap();
    let entry = &*instance.entry;
    let size = |axes: &[Len]| axes.iter().map(|a| a.at(&dims).unwrap()).product::<usize>();
    let mut state = State {
        circuit,
        entry,
        weights: weights(lowered, source),
        inputs: entry.inputs.iter().map(|i| inputs[&i.name].clone()).collect(),
        cells: entry.segments.iter().map(|s| vec![0; size(&s.axes)]).collect(),
        outputs: entry.outputs.iter().map(|o| vec![0; size(&o.axes)]).collect(),
        dims: dims.clone(),
    };
    for input in &entry.inputs {
        if let InputKind::Private { segment } = input.kind {
            let table = &circuit.tables[entry.segments[segment as usize].table.unwrap() as usize];
            state.cells[segment as usize] = inputs[&input.name]
                .iter()
                .map(|v| table.columns[0].iter().position(|t| i64::from(*t) == *v).unwrap() as i64)
                .collect();
        }
    }
    state.steps(&entry.steps, None);
    entry
        .outputs
        .iter()
        .map(|o| o.name.clone())
        .zip(state.outputs)
        .collect()
}
