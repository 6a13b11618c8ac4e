//! Views: operations that move elements are substitutions of axes, and cost nothing in the proof.
//!
//! Every function returns `None` where the view has no separable affine form (a reshape whose axes do not nest, a slice at
//! a run-time position, padding around a value that is already sliced); the caller names the operation.

use mlc_circuit::Len;

use super::axes::{Affine, Ax, Axes, Read};
use super::lin::{Factor, Lin, Term};

/// `len / by`, where every coefficient is a multiple.
fn divide(len: &Len, by: u32) -> Option<Len> {
    let exact = |n: u32| (by > 0 && n.is_multiple_of(by)).then(|| n / by);
    Some(Len {
        constant: exact(len.constant)?,
        per_dim: len
            .per_dim
            .iter()
            .map(|(d, k)| Some((*d, exact(*k)?)))
            .collect::<Option<_>>()?,
    })
}

pub(crate) fn fixed(len: &Len) -> Option<u32> {
    len.per_dim.is_empty().then_some(len.constant)
}

fn is_one(len: &Len) -> bool {
    *len == Len::fixed(1)
}

/// The same elements in row-major order with dimensions `shape`.
pub(crate) fn reshape(mut x: Lin, shape: &[Len], axes: &mut Axes) -> Option<Lin> {
    let mut rest = x.axes();
    let mut dims = Vec::with_capacity(shape.len());
    for len in shape.iter().rev() {
        let mut need = len.clone();
        let mut group = Vec::new();
        while !is_one(&need) {
            let ax = rest.pop()?;
            let have = axes.len(ax).clone();
            if have == need {
                group.push(ax);
                need = Len::fixed(1);
            } else if let Some(next) = fixed(&have).and_then(|n| divide(&need, n)) {
                group.push(ax);
                need = next;
            } else {
                let (outer, inner) = x.split(ax, fixed(&need)?, axes)?;
                rest.push(outer);
                group.push(inner);
                need = Len::fixed(1);
            }
        }
        group.reverse();
        dims.push(group);
    }
    dims.reverse();
    x.dims = dims;
    rest.is_empty().then_some(x)
}

/// Dimension `i` of the result is dimension `perm[i]`.
pub(crate) fn transpose(mut x: Lin, perm: &[usize]) -> Lin {
    x.dims = perm.iter().map(|p| x.dims[*p].clone()).collect();
    x
}

/// Stretched to `shape` by numpy broadcasting.
pub(crate) fn broadcast(mut x: Lin, shape: &[Len], axes: &mut Axes) -> Option<Lin> {
    let more = shape.len().checked_sub(x.dims.len())?;
    x.dims.splice(0..0, std::iter::repeat_n(Vec::new(), more));
    for (group, len) in x.dims.iter_mut().zip(shape) {
        if group.is_empty() && !is_one(len) {
            group.push(axes.fresh(len.clone()));
        }
    }
    Some(x)
}

/// The outermost axis of dimension `dim` and the length of one of its steps; a length-1 dimension has none.
fn outermost(x: &Lin, dim: usize, axes: &Axes) -> Option<(Option<Ax>, u32)> {
    let Some((first, rest)) = x.dims[dim].split_first() else {
        return Some((None, 1));
    };
    let inner = rest.iter().try_fold(1u32, |n, a| n.checked_mul(axes.fixed(*a)?))?;
    Some((Some(*first), inner))
}

/// `len` positions of dimension `dim` from `start`, `step` apart.
pub(crate) fn slice(mut x: Lin, dim: usize, start: u32, len: &Len, step: u32, axes: &mut Axes) -> Option<Lin> {
    let (Some(ax), inner) = outermost(&x, dim, axes)? else {
        return Some(x);
    };
    if inner > 1 && (step != 1 || !start.is_multiple_of(inner)) {
        return None;
    }
    let (start, len) = (start / inner, divide(len, inner)?);
    let offset = i64::from(start);
    if is_one(&len) {
        x.substitute(ax, &Affine::constant(offset), true, axes)?;
        x.dims[dim].remove(0);
    } else {
        let new = axes.fresh(len);
        let by = Affine {
            offset,
            parts: vec![(new, i64::from(step))],
        };
        x.substitute(ax, &by, true, axes)?;
        x.dims[dim][0] = new;
    }
    Some(x)
}

/// `len` positions of dimension `dim` from `dims[from] + offset`, all of them inside: `None` where the dimension is several
/// axes, or read other than one index after another.
pub(crate) fn slice_from(mut x: Lin, dim: usize, from: u16, offset: i64, len: &Len, axes: &mut Axes) -> Option<Lin> {
    let [ax] = x.dims[dim][..] else { return None };
    let new = (!is_one(len)).then(|| axes.fresh(len.clone()));
    for term in &mut x.terms {
        match term {
            Term::Read { read, .. } => read.count_from(ax, from, offset, new)?,
            Term::Product { a, b, .. } => {
                for factor in [a, b] {
                    match factor {
                        Factor::Reads(reads) => reads
                            .iter_mut()
                            .filter(|r| r.uses(ax))
                            .try_for_each(|r| r.count_from(ax, from, offset, new))?,
                        other if other.uses(ax) => return None,
                        _ => {}
                    }
                }
            }
        }
    }
    x.dims[dim] = new.into_iter().collect();
    Some(x)
}

/// Dimension `dim` moved to position `before` of an axis of length `total`, zero elsewhere.
pub(crate) fn place(mut x: Lin, dim: usize, before: u32, total: &Len, axes: &mut Axes) -> Option<Lin> {
    let (ax, inner) = outermost(&x, dim, axes)?;
    if !before.is_multiple_of(inner) {
        return None;
    }
    let new = axes.fresh(divide(total, inner)?);
    let before = before / inner;
    match ax {
        Some(ax) => {
            let by = Affine {
                offset: -i64::from(before),
                parts: vec![(new, 1)],
            };
            x.substitute(ax, &by, false, axes)?;
            x.dims[dim][0] = new;
        }
        None => {
            let gate = |r: &mut Read| r.gates.push((new, before));
            if x.constant != 0 {
                return None;
            }
            for term in &mut x.terms {
                match term {
                    Term::Read { read, .. } => gate(read),
                    Term::Product {
                        a: Factor::Reads(reads),
                        ..
                    } => reads.iter_mut().for_each(gate),
                    Term::Product { .. } => return None,
                }
            }
            x.dims[dim] = vec![new];
        }
    }
    Some(x)
}

/// Splits the axes of two dimensions until they have the same lengths, innermost first.
pub(crate) fn refine(a: &mut Lin, da: usize, b: &mut Lin, db: usize, axes: &mut Axes) -> Option<()> {
    let (mut i, mut j) = (a.dims[da].len(), b.dims[db].len());
    while i > 0 && j > 0 {
        let (x, y) = (a.dims[da][i - 1], b.dims[db][j - 1]);
        if axes.len(x) == axes.len(y) {
            (i, j) = (i - 1, j - 1);
            continue;
        }
        match (axes.fixed(x), axes.fixed(y)) {
            (left, Some(n)) if left.is_none_or(|m| m > n) => {
                a.split(x, n, axes)?;
                i += 1;
            }
            (Some(n), _) => {
                b.split(y, n, axes)?;
                j += 1;
            }
            _ => return None,
        }
    }
    (i == 0 && j == 0).then_some(())
}

/// Gives two values of one shape the same axes.
pub(crate) fn align(a: &mut Lin, b: &mut Lin, axes: &mut Axes) -> Option<()> {
    for dim in 0..a.dims.len() {
        refine(a, dim, b, dim, axes)?;
        for (to, from) in a.dims[dim].clone().into_iter().zip(b.dims[dim].clone()) {
            b.rename(from, to, axes)?;
        }
    }
    Some(())
}

/// Broadcasts both to `shape` and gives them the same axes; `b` gets fresh ones first.
pub(crate) fn join(a: Lin, b: &Lin, shape: &[Len], axes: &mut Axes) -> Option<(Lin, Lin)> {
    let mut a = broadcast(a, shape, axes)?;
    let mut b = broadcast(b.renewed(axes)?, shape, axes)?;
    align(&mut a, &mut b, axes)?;
    Some((a, b))
}

/// A value and its mask, broadcast to the value, under the same axes.
pub(crate) fn join_mask(mut x: Lin, mask: &Lin, shape: &[Len], axes: &mut Axes) -> Option<(Lin, Lin)> {
    let mut mask = mask.renewed(axes)?;
    let more = shape.len().checked_sub(mask.dims.len())?;
    mask.dims.splice(0..0, std::iter::repeat_n(Vec::new(), more));
    for dim in 0..shape.len() {
        // What the mask does not vary along, it has no axis for.
        if !mask.dims[dim].is_empty() {
            refine(&mut x, dim, &mut mask, dim, axes)?;
            for (to, from) in x.dims[dim].clone().into_iter().zip(mask.dims[dim].clone()) {
                mask.rename(from, to, axes)?;
            }
        }
    }
    Some((x, mask))
}

/// `a + b` under the same axes.
pub(crate) fn sum(mut a: Lin, b: Lin) -> Option<Lin> {
    a.constant = a.constant.checked_add(b.constant)?;
    a.terms.extend(b.terms);
    Some(a)
}
