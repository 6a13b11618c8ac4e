//! Values as symbolic right sides of equations.
//!
//! Until it is committed, a value is a [`Lin`]: a constant, reads and products over iteration axes, plus the grouping of
//! those axes into the value's dimensions (`dims[d]` lists the axes whose row-major index is coordinate `d`; a dimension
//! of length 1 has none). Views rearrange it; only a requantisation or an output writes an equation.

use mlc_circuit::Len;
use mlc_ir::{Recipe, StackAxis};

use super::axes::{Affine, Ax, Axes, Map, Read, Tensor};

/// What selects the index of an outer axis of a weight.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Select {
    /// The axis itself, which is as long as the weight's.
    Axis(Ax),
    /// `axis + offset`; the weight's axis has length `len`.
    From { ax: Ax, offset: Len, len: u32 },
    /// A public input at these axes, one per axis of the input; the weight's axis has length `len`.
    Input { input: u16, axes: Vec<Ax>, len: u32 },
    /// An output of indices at these axes, one per axis of the output; the weight's axis has length `len`.
    Found { output: u16, axes: Vec<Ax>, len: u32 },
}

impl Select {
    fn axes(&self) -> &[Ax] {
        match self {
            Select::Axis(ax) | Select::From { ax, .. } => std::slice::from_ref(ax),
            Select::Input { axes, .. } | Select::Found { axes, .. } => axes,
        }
    }

    /// Replaces `ax`; only a whole axis can be split.
    fn substitute(self, ax: Ax, new: &[Ax]) -> Option<Vec<Self>> {
        if !self.axes().contains(&ax) {
            return Some(vec![self]);
        }
        match (self, new) {
            (Select::Axis(_), new) => Some(new.iter().map(|a| Select::Axis(*a)).collect()),
            (Select::From { offset, len, .. }, [only]) => Some(vec![Select::From { ax: *only, offset, len }]),
            (Select::Input { input, axes, len }, [only]) => {
                let axes = axes.into_iter().map(|a| if a == ax { *only } else { a }).collect();
                Some(vec![Select::Input { input, axes, len }])
            }
            // What is found is an output: nothing reshapes it.
            _ => None,
        }
    }
}

/// A weight as it is used: the recipe gives `outer ++ row` in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WeightUse {
    pub(crate) name: String,
    pub(crate) recipe: Recipe,
    /// Regions over which it is stacked, with their axes.
    pub(crate) stack: Vec<(StackAxis, Ax)>,
    /// What selects a column, after the stack's axes.
    pub(crate) outer: Vec<Select>,
    /// Without contraction: the axis along the row; `None` for a contraction over the product's group.
    pub(crate) row: Option<Ax>,
    /// Number of values of a column.
    pub(crate) row_len: u32,
    pub(crate) bits: u8,
    pub(crate) scale: f64,
    pub(crate) column_sum: u64,
}

impl WeightUse {
    pub(crate) fn uses(&self, ax: Ax) -> bool {
        self.outer.iter().any(|s| s.axes().contains(&ax))
            || self.row == Some(ax)
            || self.stack.iter().any(|s| s.1 == ax)
    }

    fn substitute(&mut self, ax: Ax, by: &Affine, axes: &Axes) -> Option<()> {
        if !self.uses(ax) {
            return Some(());
        }
        // A rename, or a split into axes that run through the same positions in the same order.
        let new: Vec<Ax> = by.parts.iter().map(|p| p.0).collect();
        if by.offset != 0 || Affine::group(axes, &new).as_ref() != Some(by) {
            return None;
        }
        let renames = matches!(new[..], [only] if axes.len(only) == axes.len(ax));
        let size = |list: &[Ax]| list.iter().try_fold(1u64, |n, a| n.checked_mul(axes.fixed(*a)?.into()));
        if !renames && size(&new).is_none_or(|n| size(&[ax]) != Some(n)) {
            return None;
        }
        if let Some(slot) = self.stack.iter_mut().find(|s| s.1 == ax) {
            let [only] = new[..] else { return None };
            slot.1 = only;
        } else if self.outer.iter().any(|s| s.axes().contains(&ax)) {
            let outer = std::mem::take(&mut self.outer);
            let replaced = outer.into_iter().map(|s| s.substitute(ax, &new));
            self.outer = replaced.collect::<Option<Vec<_>>>()?.concat();
        } else if let Some((last, before)) = new.split_last() {
            self.outer.extend(before.iter().map(|a| Select::Axis(*a)));
            self.row = Some(*last);
            self.row_len = axes.fixed(*last)?;
        }
        Some(())
    }
}

/// A factor of a product.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Factor {
    One,
    Reads(Vec<Read>),
    Weight(Box<WeightUse>),
}

impl Factor {
    pub(crate) fn uses(&self, ax: Ax) -> bool {
        match self {
            Factor::One => false,
            Factor::Reads(reads) => reads.iter().any(|r| r.uses(ax)),
            Factor::Weight(w) => w.uses(ax),
        }
    }

    fn substitute(&mut self, ax: Ax, by: &Affine, in_range: bool, axes: &Axes) -> Option<()> {
        match self {
            Factor::One => in_range.then_some(()),
            Factor::Reads(reads) => reads.iter_mut().try_for_each(|r| r.substitute(ax, by, in_range, axes)),
            Factor::Weight(w) if in_range => w.substitute(ax, by, axes),
            Factor::Weight(_) => None,
        }
    }
}

/// One summand.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Term {
    /// A read, summed over axes that are no axes of the value.
    Read { read: Read, reduce: Vec<Ax> },
    /// `coefficient · Σ_group a · b`.
    Product {
        coefficient: i64,
        group: Vec<Ax>,
        a: Factor,
        b: Factor,
    },
}

impl Term {
    fn substitute(&mut self, ax: Ax, by: &Affine, in_range: bool, axes: &Axes) -> Option<()> {
        match self {
            Term::Read { read, .. } => read.substitute(ax, by, in_range, axes),
            Term::Product { a, b, .. } if in_range => {
                a.substitute(ax, by, true, axes)?;
                b.substitute(ax, by, true, axes)
            }
            // One factor that vanishes outside is enough.
            Term::Product { a, b, .. } => {
                let (mut strict, mut free) = (a.clone(), b.clone());
                if strict.substitute(ax, by, false, axes).is_some() && free.substitute(ax, by, true, axes).is_some() {
                    (*a, *b) = (strict, free);
                    return Some(());
                }
                b.substitute(ax, by, false, axes)?;
                a.substitute(ax, by, true, axes)
            }
        }
    }

    fn scale(&mut self, by: i64) -> Option<()> {
        let coefficient = match self {
            Term::Read { read, .. } => &mut read.coefficient,
            Term::Product { coefficient, .. } => coefficient,
        };
        *coefficient = coefficient.checked_mul(by)?;
        Some(())
    }

    /// Every read in it.
    pub(crate) fn reads(&self) -> Vec<&Read> {
        match self {
            Term::Read { read, .. } => vec![read],
            Term::Product { a, b, .. } => [a, b]
                .into_iter()
                .flat_map(|f| match f {
                    Factor::Reads(reads) => reads.iter().collect(),
                    _ => Vec::new(),
                })
                .collect(),
        }
    }
}

/// A value: `constant + Σ terms` for every index of its axes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lin {
    pub(crate) dims: Vec<Vec<Ax>>,
    pub(crate) constant: i64,
    pub(crate) terms: Vec<Term>,
}

impl Lin {
    /// Its axes, outermost first.
    pub(crate) fn axes(&self) -> Vec<Ax> {
        self.dims.iter().flatten().copied().collect()
    }

    /// The whole tensor read by the identity, under fresh axes; axes of length 1 are read at 0.
    pub(crate) fn of_tensor(tensor: Tensor, lens: &[Len], outer: &[Ax], axes: &mut Axes) -> Self {
        let mut dims = Vec::new();
        let mut maps: Vec<Map> = outer.iter().map(|a| Map::Affine(Affine::axis(*a))).collect();
        let mut all: Vec<Len> = outer.iter().map(|a| axes.len(*a).clone()).collect();
        for len in lens {
            if *len == Len::fixed(1) {
                maps.push(Map::Affine(Affine::constant(0)));
                dims.push(Vec::new());
            } else {
                let ax = axes.fresh(len.clone());
                maps.push(Map::Affine(Affine::axis(ax)));
                dims.push(vec![ax]);
            }
            all.push(len.clone());
        }
        let read = Read {
            coefficient: 1,
            tensor,
            maps,
            lens: all,
            gates: Vec::new(),
        };
        Lin::read(dims, read)
    }

    /// One read with these dimensions.
    pub(crate) fn read(dims: Vec<Vec<Ax>>, read: Read) -> Self {
        Lin {
            dims,
            constant: 0,
            terms: vec![Term::Read {
                read,
                reduce: Vec::new(),
            }],
        }
    }

    /// Replaces an axis in every term. `dims` are the caller's to mend.
    pub(crate) fn substitute(&mut self, ax: Ax, by: &Affine, in_range: bool, axes: &Axes) -> Option<()> {
        if !in_range && self.constant != 0 {
            return None;
        }
        self.terms
            .iter_mut()
            .try_for_each(|t| t.substitute(ax, by, in_range, axes))
    }

    /// Renames an axis everywhere.
    pub(crate) fn rename(&mut self, from: Ax, to: Ax, axes: &Axes) -> Option<()> {
        self.substitute(from, &Affine::axis(to), true, axes)?;
        for ax in self.dims.iter_mut().flatten() {
            if *ax == from {
                *ax = to;
            }
        }
        Some(())
    }

    /// The same value under fresh axes, its summed axes included.
    pub(crate) fn renewed(&self, axes: &mut Axes) -> Option<Self> {
        let mut out = self.clone();
        for ax in self.axes() {
            let new = axes.fresh(axes.len(ax).clone());
            out.rename(ax, new, axes)?;
        }
        for term in &mut out.terms {
            let inner = match term {
                Term::Read { reduce, .. } => std::mem::take(reduce),
                Term::Product { group, .. } => std::mem::take(group),
            };
            let mut renamed = Vec::with_capacity(inner.len());
            for ax in inner {
                let new = axes.fresh(axes.len(ax).clone());
                term.substitute(ax, &Affine::axis(new), true, axes)?;
                renamed.push(new);
            }
            match term {
                Term::Read { reduce, .. } => *reduce = renamed,
                Term::Product { group, .. } => *group = renamed,
            }
        }
        Some(out)
    }

    /// `by · self`.
    pub(crate) fn scaled(mut self, by: i64) -> Option<Self> {
        if by == 0 {
            self.terms.clear();
        }
        self.constant = self.constant.checked_mul(by)?;
        self.terms.iter_mut().try_for_each(|t| t.scale(by))?;
        Some(self)
    }

    /// Its reads, where there is nothing else but the constant: then it may be a factor of a product.
    pub(crate) fn plain_reads(&self) -> Option<Vec<Read>> {
        self.terms
            .iter()
            .map(|t| match t {
                Term::Read { read, reduce } if reduce.is_empty() => Some(read.clone()),
                _ => None,
            })
            .collect()
    }

    /// Splits axis `ax` into an outer and an inner axis, the inner of length `inner`.
    pub(crate) fn split(&mut self, ax: Ax, inner: u32, axes: &mut Axes) -> Option<(Ax, Ax)> {
        let len = axes.len(ax).clone();
        let divide = |n: u32| n.is_multiple_of(inner).then(|| n / inner);
        let outer = Len {
            constant: divide(len.constant)?,
            per_dim: len
                .per_dim
                .iter()
                .map(|(d, k)| Some((*d, divide(*k)?)))
                .collect::<Option<_>>()?,
        };
        let (hi, lo) = (axes.fresh(outer), axes.fresh(Len::fixed(inner as usize)));
        let by = Affine {
            offset: 0,
            parts: vec![(hi, i64::from(inner)), (lo, 1)],
        };
        self.substitute(ax, &by, true, axes)?;
        for group in &mut self.dims {
            if let Some(at) = group.iter().position(|a| *a == ax) {
                group.splice(at..=at, [hi, lo]);
            }
        }
        Some((hi, lo))
    }
}
