//! Repeated regions: one more axis on every tensor made inside.
//!
//! While the body is lowered a carried value is a placeholder. At the end its definition is known and replaces the
//! placeholder in every equation of the body:
//!
//! - a **residual** stream, next = carried + f, is virtual: `H(l) = H(0) + Σ_{m<l} f(m)`, reads of `f` at every earlier
//!   block ([`Map::Before`]);
//! - any other next value g is read one block back, `[l = 0] · H(0) + g(l - 1)`.
//!
//! The carried value and what is added to it are reads (no products), so that they can be factors; the quantise pass
//! commits them.

use mlc_circuit as c;
use mlc_circuit::{Len, SiteRef, Source};
use mlc_ir::StackAxis;

use super::axes::{Affine, Ax, Axes, Map, Read, Tensor};
use super::builder::{EntryBuilder, OpenRegion};
use super::lin::{Factor, Lin, Term};
use super::view::join;

/// The first value of a carried one.
#[derive(Debug)]
pub(crate) struct Initial {
    value: Lin,
    placeholder: usize,
}

/// What a placeholder stands for: reads over the axes `axes` and the region's.
struct Definition {
    placeholder: usize,
    axes: Vec<Ax>,
    reads: Vec<Read>,
}

/// True where every coordinate of `map` is within an axis of length `len`.
fn in_range(map: &Affine, len: &Len, axes: &Axes) -> bool {
    if let [(ax, 1)] = map.parts[..]
        && map.offset == 0
    {
        return axes.len(ax) == len;
    }
    let greatest = map.parts.iter().try_fold(map.offset, |sum, (ax, k)| {
        Some(sum + k * (i64::from(axes.fixed(*ax)?) - 1))
    });
    map.offset >= 0 && super::view::fixed(len).is_some_and(|n| greatest.is_some_and(|g| g < i64::from(n)))
}

impl Definition {
    /// The reads that replace one read of the placeholder.
    fn replace(&self, read: &Read, axes: &Axes) -> Option<Vec<Read>> {
        let mut out = Vec::with_capacity(self.reads.len());
        for defined in &self.reads {
            let mut new = defined.clone();
            new.coefficient = new.coefficient.checked_mul(read.coefficient)?;
            for (ax, map) in self.axes.iter().zip(&read.maps) {
                let Map::Affine(affine) = map else { return None };
                new.substitute(*ax, affine, in_range(affine, axes.len(*ax), axes), axes)?;
            }
            new.gates.extend(&read.gates);
            out.push(new);
        }
        Some(out)
    }
}

/// Replaces placeholders in terms; `None` where a placeholder is used in a way that its definition does not allow.
fn resolve(terms: &mut Vec<Term>, definitions: &[Definition], axes: &Axes) -> Option<()> {
    let of = |read: &Read| match read.tensor {
        Tensor::Carried(k) => definitions.iter().find(|d| d.placeholder == k),
        Tensor::Source(_) | Tensor::Causal(_) => None,
    };
    let mut out = Vec::with_capacity(terms.len());
    for mut term in std::mem::take(terms) {
        match &mut term {
            Term::Read { read, reduce } => {
                if let Some(definition) = of(read) {
                    let reads = definition.replace(read, axes)?;
                    out.extend(reads.into_iter().map(|read| Term::Read {
                        read,
                        reduce: reduce.clone(),
                    }));
                    continue;
                }
            }
            Term::Product { a, b, .. } => {
                for factor in [a, b] {
                    if let Factor::Reads(reads) = factor {
                        let mut new = Vec::with_capacity(reads.len());
                        for read in reads.iter() {
                            match of(read) {
                                Some(definition) => new.extend(definition.replace(read, axes)?),
                                None => new.push(read.clone()),
                            }
                        }
                        *reads = new;
                    }
                }
            }
        }
        out.push(term);
    }
    *terms = out;
    Some(())
}

/// A read of a segment of the region at this block: its first coordinate is the block, nothing else depends on it.
fn at_block(read: &Read, block: Ax) -> bool {
    let segment = matches!(
        read.tensor,
        Tensor::Source(Source::Lookup {
            site: SiteRef::Segment(_),
            ..
        })
    );
    segment
        && read.maps.first() == Some(&Map::Affine(Affine::axis(block)))
        && read.maps[1..].iter().all(|m| !m.uses(block))
        && read.gates.iter().all(|g| g.0 != block)
}

fn with_block(reads: &[Read], map: &Map) -> Vec<Read> {
    let mut reads = reads.to_vec();
    for read in &mut reads {
        read.maps[0] = map.clone();
    }
    reads
}

impl EntryBuilder {
    /// Opens a region. Returns the carried values' placeholders, and what closing it needs.
    pub(crate) fn open_region(
        &mut self,
        stack: StackAxis,
        carried: &[Lin],
    ) -> Result<(Vec<Lin>, Vec<Initial>), &'static str> {
        if self.region.is_some() {
            return Err("regions do not nest in a circuit; unroll the inner one");
        }
        let ax = self.axes.fresh(Len::fixed(stack.count as usize));
        let mut params = Vec::new();
        let mut initials = Vec::new();
        for (placeholder, value) in carried.iter().enumerate() {
            let value = value
                .renewed(&mut self.axes)
                .ok_or("a carried value has no plain form")?;
            if value.plain_reads().is_none() || value.constant != 0 {
                return Err("the first value of a carried one is not committed");
            }
            let lens: Vec<Len> = value.axes().iter().map(|a| self.axes.len(*a).clone()).collect();
            let mut param = Lin::of_tensor(Tensor::Carried(placeholder), &lens, &[], &mut self.axes);
            let mut flat = param.axes().into_iter();
            param.dims = value
                .dims
                .iter()
                .map(|g| flat.by_ref().take(g.len()).collect())
                .collect();
            params.push(param);
            initials.push(Initial { value, placeholder });
        }
        self.region = Some(OpenRegion {
            stack,
            ax,
            steps: Vec::new(),
            first_equation: self.equations.len(),
        });
        Ok((params, initials))
    }

    /// Closes the region: `results` are the carried values' next values, then values to collect. Returns the carried
    /// values' last values and the collected ones.
    pub(crate) fn close_region(&mut self, initials: &[Initial], results: Vec<Lin>) -> Result<Vec<Lin>, &'static str> {
        let Some(region) = self.region.take() else {
            return Err("no region is open");
        };
        let block = region.ax;
        let count = region.stack.count as usize;
        let mut definitions = Vec::new();
        let mut last = Vec::new();
        for (initial, next) in initials.iter().zip(&results) {
            let axes = initial.value.axes();
            let shape: Vec<Len> = initial.value.dims.iter().map(|g| self.group_len(g)).collect();
            let (value, next) = join(initial.value.clone(), next, &shape, &mut self.axes)
                .ok_or("the next value of a carried one has other axes")?;
            if value.axes() != axes {
                return Err("the next value of a carried one splits its axes");
            }
            let mut reads = next
                .plain_reads()
                .filter(|_| next.constant == 0)
                .ok_or("the next value of a carried one is not committed")?;
            let first = value.plain_reads().unwrap_or_default();
            let own = |r: &Read| {
                r.tensor == Tensor::Carried(initial.placeholder)
                    && r.coefficient == 1
                    && r.gates.is_empty()
                    && r.maps.iter().eq(axes
                        .iter()
                        .map(|a| Map::Affine(Affine::axis(*a)))
                        .collect::<Vec<_>>()
                        .iter())
            };
            let residual = reads.iter().position(own).map(|at| reads.remove(at)).is_some();
            if !reads.iter().all(|r| at_block(r, block)) {
                return Err(
                    "the next value of a carried one is neither committed in the block nor added to the carried value",
                );
            }
            let mut defined = first.clone();
            if residual {
                defined.extend(with_block(&reads, &Map::Before(block)));
            } else {
                defined.iter_mut().for_each(|r| r.gates.push((block, 0)));
                let back = Affine {
                    offset: -1,
                    parts: vec![(block, 1)],
                };
                defined.extend(with_block(&reads, &Map::Affine(back)));
            }
            definitions.push(Definition {
                placeholder: initial.placeholder,
                axes,
                reads: defined,
            });
            let mut terms = Vec::new();
            if residual {
                let all = self.axes.fresh(Len::fixed(count));
                let summed = with_block(&reads, &Map::Affine(Affine::axis(all)));
                terms.extend(first.into_iter().map(|read| Term::Read {
                    read,
                    reduce: Vec::new(),
                }));
                terms.extend(summed.into_iter().map(|read| Term::Read {
                    read,
                    reduce: vec![all],
                }));
            } else {
                let at = Map::Affine(Affine::constant(count as i64 - 1));
                terms.extend(with_block(&reads, &at).into_iter().map(|read| Term::Read {
                    read,
                    reduce: Vec::new(),
                }));
            }
            last.push(Lin {
                dims: value.dims,
                constant: 0,
                terms,
            });
        }
        const MISUSE: &str = "the carried value is used in a way that has no affine form (commit it first)";
        for equation in &mut self.equations[region.first_equation..] {
            resolve(&mut equation.terms, &definitions, &self.axes).ok_or(MISUSE)?;
        }
        for mut collected in results.into_iter().skip(initials.len()) {
            resolve(&mut collected.terms, &definitions, &self.axes).ok_or(MISUSE)?;
            let mut group = Vec::new();
            let by = if count == 1 {
                Affine::constant(0)
            } else {
                let ax = self.axes.fresh(Len::fixed(count));
                group.push(ax);
                Affine::axis(ax)
            };
            collected.substitute(block, &by, true, &self.axes).ok_or(MISUSE)?;
            collected.dims.insert(0, group);
            last.push(collected);
        }
        self.steps.push(c::Step::Repeat {
            count: region.stack.count as u32,
            steps: region.steps,
        });
        Ok(last)
    }

    /// Length of a dimension whose inner axes are constant.
    pub(crate) fn group_len(&self, group: &[Ax]) -> Len {
        let Some((first, rest)) = group.split_first() else {
            return Len::fixed(1);
        };
        let inner = rest
            .iter()
            .fold(1u32, |n, a| n.saturating_mul(self.axes.fixed(*a).unwrap_or(1)));
        let first = self.axes.len(*first);
        Len {
            constant: first.constant.saturating_mul(inner),
            per_dim: first
                .per_dim
                .iter()
                .map(|(d, k)| (*d, k.saturating_mul(inner)))
                .collect(),
        }
    }
}
