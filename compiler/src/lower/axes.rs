//! Symbolic iteration axes and the separable reads over them.
//!
//! Lowering names every iteration axis by an [`Ax`] of its entry, and positions appear only when an equation is written
//! out ([`super::emit`]). A read keeps one [`Map`] per axis of its tensor; reshapes, slices, windows and padding are
//! substitutions `axis := offset + Σ stride · axis'` ([`Read::substitute`]). Invariant, as in
//! [`mlc_circuit::Access`]: an axis occurs in at most one map of a read.

use mlc_circuit::{Len, Source};

/// An iteration axis of an entry; an index into [`Axes`].
pub(crate) type Ax = u32;

/// Lengths of the axes of an entry.
#[derive(Debug, Default)]
pub(crate) struct Axes(Vec<Len>);

impl Axes {
    /// A fresh axis.
    pub(crate) fn fresh(&mut self, len: Len) -> Ax {
        self.0.push(len);
        (self.0.len() - 1) as Ax
    }

    /// Its length.
    pub(crate) fn len(&self, ax: Ax) -> &Len {
        &self.0[ax as usize]
    }

    /// Its length, where it is constant.
    pub(crate) fn fixed(&self, ax: Ax) -> Option<u32> {
        let len = self.len(ax);
        len.per_dim.is_empty().then_some(len.constant)
    }
}

/// `offset + Σ stride · axis`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Affine {
    pub(crate) offset: i64,
    pub(crate) parts: Vec<(Ax, i64)>,
}

impl Affine {
    /// The axis itself.
    pub(crate) fn axis(ax: Ax) -> Self {
        Affine {
            offset: 0,
            parts: vec![(ax, 1)],
        }
    }

    /// A constant coordinate.
    pub(crate) fn constant(offset: i64) -> Self {
        Affine {
            offset,
            parts: Vec::new(),
        }
    }

    /// The row-major index of a group of axes, all of constant length but the first.
    pub(crate) fn group(axes: &Axes, group: &[Ax]) -> Option<Self> {
        let mut parts = Vec::with_capacity(group.len());
        let mut stride = 1i64;
        for (i, ax) in group.iter().enumerate().rev() {
            parts.push((*ax, stride));
            if i > 0 {
                stride = stride.checked_mul(i64::from(axes.fixed(*ax)?))?;
            }
        }
        parts.reverse();
        Some(Affine { offset: 0, parts })
    }

    fn is_axis(&self, ax: Ax) -> bool {
        self.offset == 0 && self.parts == [(ax, 1)]
    }
}

/// One coordinate of a read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Map {
    Affine(Affine),
    /// The sum over all coordinates strictly below the axis.
    Before(Ax),
    /// An affine coordinate that counts from a run-time dimension.
    From(u16, Affine),
}

impl Map {
    pub(crate) fn uses(&self, ax: Ax) -> bool {
        match self {
            Map::Affine(a) | Map::From(_, a) => a.parts.iter().any(|p| p.0 == ax),
            Map::Before(b) => *b == ax,
        }
    }
}

/// What a read reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tensor {
    /// A tensor of the circuit.
    Source(Source),
    /// A value that a repeated region carries, until the region is closed.
    Carried(usize),
    /// A causal mask over rows and columns, by its number in the entry: 1 where hidden. No number, only a mask.
    Causal(usize),
}

/// `coefficient · tensor[maps]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Read {
    pub(crate) coefficient: i64,
    pub(crate) tensor: Tensor,
    pub(crate) maps: Vec<Map>,
    /// Lengths of the tensor's axes.
    pub(crate) lens: Vec<Len>,
    /// `(axis, value)`: the read happens only there.
    pub(crate) gates: Vec<(Ax, u32)>,
}

impl Read {
    /// True where the read depends on the axis.
    pub(crate) fn uses(&self, ax: Ax) -> bool {
        self.maps.iter().any(|m| m.uses(ax)) || self.gates.iter().any(|g| g.0 == ax)
    }

    /// True where a coordinate of the axis outside of its range reads zero.
    fn is_exact(&self, ax: Ax, axes: &Axes) -> bool {
        self.maps
            .iter()
            .zip(&self.lens)
            .any(|(m, len)| matches!(m, Map::Affine(a) if a.is_axis(ax)) && len == axes.len(ax))
    }

    /// Replaces `ax` by `dims[dim] + offset`, plus `new` if there is one; `None` where it is not a coordinate by itself.
    pub(crate) fn count_from(&mut self, ax: Ax, dim: u16, offset: i64, new: Option<Ax>) -> Option<()> {
        if self.gates.iter().any(|g| g.0 == ax) {
            return None;
        }
        let map = self.maps.iter_mut().find(|m| m.uses(ax))?;
        let Map::Affine(affine) = map else { return None };
        if affine.parts != [(ax, 1)] {
            return None;
        }
        let parts = new.into_iter().map(|new| (new, 1)).collect();
        let offset = affine.offset.checked_add(offset)?;
        *map = Map::From(dim, Affine { offset, parts });
        Some(())
    }

    /// Replaces `ax`; `None` where no separable read does that. `in_range`: the new coordinate stays within the axis.
    pub(crate) fn substitute(&mut self, ax: Ax, by: &Affine, in_range: bool, axes: &Axes) -> Option<()> {
        if !in_range && !self.is_exact(ax, axes) {
            return None;
        }
        for map in &mut self.maps {
            match map {
                Map::Affine(affine) | Map::From(_, affine) => {
                    let Some(at) = affine.parts.iter().position(|p| p.0 == ax) else {
                        continue;
                    };
                    let stride = affine.parts.remove(at).1;
                    affine.offset = affine.offset.checked_add(stride.checked_mul(by.offset)?)?;
                    for (new, k) in by.parts.iter().rev() {
                        affine.parts.insert(at, (*new, stride.checked_mul(*k)?));
                    }
                }
                Map::Before(before) if *before == ax => match by.parts[..] {
                    [(new, 1)] if by.offset == 0 => *before = new,
                    _ => return None,
                },
                Map::Before(_) => {}
            }
        }
        for gate in &mut self.gates {
            if gate.0 == ax {
                match by.parts[..] {
                    [(new, 1)] if by.offset == 0 => gate.0 = new,
                    _ => return None,
                }
            }
        }
        Some(())
    }
}
