//! Products: contractions, convolutions, elementwise products, and sums over windows.
//!
//! A contraction sums over the axes that its left operand has for the contracted labels, so a flattened image is contracted
//! over `[channel, row, column]` without being moved. A convolution reads the image at `stride·y + dilation·ky - pad`;
//! no window is ever written out.

use mlc_circuit::Len;
use mlc_ir::{Conv2d, Einsum};

use super::axes::{Affine, Ax, Axes};
use super::lin::{Factor, Lin, Select, Term};
use super::view::{join, refine};
use super::weight::WeightView;

/// `Σ_group x · factor`: the reads of `x` as one product, its constant as another.
fn products(x: &Lin, group: &[Ax], factor: &Factor) -> Option<Vec<Term>> {
    let reads = x.plain_reads()?;
    let mut terms = Vec::new();
    let mut product = |coefficient, a| {
        terms.push(Term::Product {
            coefficient,
            group: group.to_vec(),
            a,
            b: factor.clone(),
        });
    };
    if !reads.is_empty() {
        product(1, Factor::Reads(reads));
    }
    if x.constant != 0 {
        product(x.constant, Factor::One);
    }
    Some(terms)
}

/// The contraction of a value with a weight, whose labels are `labels`; `x_labels` are the value's.
pub(crate) fn contract_weight(
    x: &Lin,
    x_labels: &str,
    w: &WeightView,
    labels: &str,
    einsum: &Einsum,
    stack: Vec<Ax>,
    axes: &mut Axes,
) -> Option<Lin> {
    let x = x.renewed(axes)?;
    let dim_of = |label: char| x_labels.find(label).map(|d| &x.dims[d]);
    let mut dims = Vec::new();
    let (mut perm, mut outer) = (Vec::new(), Vec::new());
    for label in einsum.out().chars() {
        let of_weight = labels.find(label);
        let group = match (dim_of(label), of_weight) {
            (Some(group), _) => group.clone(),
            (None, Some(axis)) if w.dims[axis] > 1 => vec![axes.fresh(Len::fixed(w.dims[axis] as usize))],
            _ => Vec::new(),
        };
        if let Some(axis) = of_weight {
            perm.push(axis);
            outer.extend(group.iter().map(|a| Select::Axis(*a)));
        }
        dims.push(group);
    }
    let mut group = Vec::new();
    let mut summed = Vec::new();
    for label in einsum.contracted() {
        perm.extend(labels.find(label));
        summed.extend(labels.find(label));
        group.extend(dim_of(label)?);
    }
    if group.is_empty() {
        group.push(axes.fresh(Len::fixed(1)));
    }
    let row_len = group.iter().try_fold(1u32, |n, a| n.checked_mul(axes.fixed(*a)?))?;
    let used = w.used(&perm, &summed, stack, outer, None, row_len);
    let terms = products(&x, &group, &Factor::Weight(Box::new(used)))?;
    Some(Lin {
        dims,
        constant: 0,
        terms,
    })
}

/// The contraction of two values.
pub(crate) fn contract_values(a: &Lin, b: &Lin, einsum: &Einsum, axes: &mut Axes) -> Option<Lin> {
    let (mut a, mut b) = (a.renewed(axes)?, b.renewed(axes)?);
    for (da, label) in einsum.lhs().chars().enumerate() {
        if let Some(db) = einsum.rhs().find(label) {
            refine(&mut a, da, &mut b, db, axes)?;
            for (to, from) in a.dims[da].clone().into_iter().zip(b.dims[db].clone()) {
                b.rename(from, to, axes)?;
            }
        }
    }
    let group_of = |label: char| match einsum.lhs().find(label) {
        Some(d) => Some(a.dims[d].clone()),
        None => einsum.rhs().find(label).map(|d| b.dims[d].clone()),
    };
    let dims = einsum.out().chars().map(group_of).collect::<Option<Vec<_>>>()?;
    let mut group = Vec::new();
    for label in einsum.contracted() {
        group.extend(group_of(label)?);
    }
    if group.is_empty() {
        group.push(axes.fresh(Len::fixed(1)));
    }
    if b.constant != 0 {
        return None;
    }
    let factor = Factor::Reads(b.plain_reads()?);
    let terms = products(&a, &group, &factor)?;
    Some(Lin {
        dims,
        constant: 0,
        terms,
    })
}

/// Names of the spatial part of a window.
pub(crate) struct Window {
    pub(crate) size: [u32; 2],
    pub(crate) stride: [u64; 2],
    pub(crate) dilation: [u64; 2],
    pub(crate) pad: [u64; 4],
}

/// Replaces rows and columns of an image by windows: returns the window's axes. Dimensions 2 and 3 of the result have
/// lengths `out`.
pub(crate) fn slide(x: &mut Lin, window: &Window, out: [&Len; 2], axes: &mut Axes) -> Option<Vec<Ax>> {
    let mut inner = Vec::new();
    let padded = window.pad.iter().any(|p| *p > 0);
    for (i, len) in out.into_iter().enumerate() {
        let step = i64::try_from(window.stride[i]).ok()?;
        let tap = i64::try_from(window.dilation[i]).ok()?;
        let offset = -i64::try_from(window.pad[i]).ok()?;
        let mut by = Affine {
            offset,
            parts: Vec::new(),
        };
        let mut group = Vec::new();
        if *len != Len::fixed(1) {
            let ax = axes.fresh(len.clone());
            by.parts.push((ax, step));
            group.push(ax);
        }
        let ax = axes.fresh(Len::fixed(window.size[i] as usize));
        by.parts.push((ax, tap));
        inner.push(ax);
        match x.dims[2 + i][..] {
            [old] => x.substitute(old, &by, !padded, axes)?,
            // An axis of length 1 has one position, at 0: the window is that position.
            [] if window.size[i] == 1 && !padded => {}
            _ => return None,
        }
        x.dims[2 + i] = group;
    }
    Some(inner)
}

/// A convolution; `out` is the shape of the result.
pub(crate) fn conv2d(
    x: &Lin,
    w: &WeightView,
    conv: &Conv2d,
    out: &[Len],
    stack: Vec<Ax>,
    axes: &mut Axes,
) -> Option<Lin> {
    let mut x = x.renewed(axes)?;
    let [filters, per_group, height, width] = w.dims[..] else {
        return None;
    };
    let groups = u32::try_from(conv.groups).ok()?;
    // Channels become [group, channel of the group].
    let channels = groups.checked_mul(per_group)?;
    let mut wanted = Lin {
        dims: vec![Vec::new()],
        constant: 0,
        terms: Vec::new(),
    };
    for n in [groups, per_group] {
        if n > 1 {
            let ax = axes.fresh(Len::fixed(n as usize));
            wanted.dims[0].push(ax);
        }
    }
    let mut group_axes = Vec::new();
    let mut contracted = Vec::new();
    if channels > 1 {
        refine(&mut x, 1, &mut wanted, 0, axes)?;
        let mut left = per_group;
        for ax in x.dims[1].iter().rev() {
            let n = axes.fixed(*ax)?;
            if left > 1 {
                contracted.insert(0, *ax);
                left /= n;
            } else {
                group_axes.insert(0, *ax);
            }
        }
    }
    let window = Window {
        size: [height, width],
        stride: conv.stride,
        dilation: conv.dilation,
        pad: conv.pad,
    };
    contracted.extend(slide(&mut x, &window, [&out[2], &out[3]], axes)?);
    let mut channel_axes = group_axes;
    if filters / groups > 1 {
        channel_axes.push(axes.fresh(Len::fixed((filters / groups) as usize)));
    }
    let outer = channel_axes.iter().map(|a| Select::Axis(*a)).collect();
    let row_len = per_group.checked_mul(height)?.checked_mul(width)?;
    let used = w.used(&[0, 1, 2, 3], &[1, 2, 3], stack, outer, None, row_len);
    let terms = products(&x, &contracted, &Factor::Weight(Box::new(used)))?;
    x.dims[1] = channel_axes;
    Some(Lin {
        dims: x.dims,
        constant: 0,
        terms,
    })
}

/// `a · b` elementwise, broadcast to `shape`.
pub(crate) fn multiply(a: &Lin, b: &Lin, shape: &[Len], axes: &mut Axes) -> Option<Lin> {
    if b.terms.is_empty() {
        let a = super::view::broadcast(a.renewed(axes)?, shape, axes)?;
        return a.scaled(b.constant);
    }
    if a.terms.is_empty() {
        return multiply(b, a, shape, axes);
    }
    let (a, b) = join(a.renewed(axes)?, b, shape, axes)?;
    let factors = Factor::Reads(b.plain_reads()?);
    let plain = Lin {
        constant: 0,
        ..a.clone()
    };
    let mut terms = products(&plain, &[], &factors)?;
    terms.extend(plain.scaled(b.constant)?.terms.into_iter().filter(|_| b.constant != 0));
    let linear = Lin {
        constant: 0,
        ..b.clone()
    };
    terms.extend(linear.scaled(a.constant)?.terms.into_iter().filter(|_| a.constant != 0));
    Some(Lin {
        dims: a.dims,
        constant: a.constant.checked_mul(b.constant)?,
        terms,
    })
}

/// The elements of a weight, each as a product with 1; `index` selects along its first axis, which is then no dimension.
fn elements(w: &WeightView, index: Option<Select>, stack: Vec<Ax>, axes: &mut Axes) -> Lin {
    let mut dims = Vec::new();
    for n in &w.dims[usize::from(index.is_some())..] {
        dims.push(if *n > 1 {
            vec![axes.fresh(Len::fixed(*n as usize))]
        } else {
            Vec::new()
        });
    }
    let mut outer: Vec<Ax> = dims.iter().flatten().copied().collect();
    let row = outer.pop();
    let row_len = row.and_then(|ax| axes.fixed(ax)).unwrap_or(1);
    // A scalar is a contraction over one position.
    let group = if row.is_none() {
        vec![axes.fresh(Len::fixed(1))]
    } else {
        Vec::new()
    };
    let perm: Vec<usize> = (0..w.dims.len()).collect();
    let outer = index.into_iter().chain(outer.into_iter().map(Select::Axis)).collect();
    let used = w.used(&perm, &[], stack, outer, row, row_len);
    Lin {
        dims,
        constant: 0,
        terms: vec![Term::Product {
            coefficient: 1,
            group,
            a: Factor::One,
            b: Factor::Weight(Box::new(used)),
        }],
    }
}

/// A weight as a value (a bias).
pub(crate) fn weight_value(w: &WeightView, stack: Vec<Ax>, axes: &mut Axes) -> Lin {
    elements(w, None, stack, axes)
}

/// Rows of a weight: `index` selects one along its first axis at every position of `dims`, the index's dimensions.
pub(crate) fn rows(w: &WeightView, index: Select, dims: &[Vec<Ax>], stack: Vec<Ax>, axes: &mut Axes) -> Lin {
    let mut out = elements(w, Some(index), stack, axes);
    out.dims.splice(0..0, dims.iter().cloned());
    out
}

/// `x · w` elementwise with a weight (a gain), broadcast to `shape`.
pub(crate) fn multiply_weight(x: &Lin, w: &WeightView, shape: &[Len], stack: Vec<Ax>, axes: &mut Axes) -> Option<Lin> {
    let weight = weight_value(w, stack, axes);
    let (x, weight) = join(x.renewed(axes)?, &weight, shape, axes)?;
    let Some(Term::Product { group, b, .. }) = weight.terms.first() else {
        return None;
    };
    let terms = products(&x, group, b)?;
    Some(Lin {
        dims: x.dims,
        constant: 0,
        terms,
    })
}

/// Sums over axes that are no axes of the value: possible for reads.
pub(crate) fn sum_over(mut x: Lin, over: &[Ax], axes: &Axes) -> Option<Lin> {
    if x.constant != 0 {
        let count = over
            .iter()
            .try_fold(1i64, |n, a| n.checked_mul(axes.fixed(*a)?.into()))?;
        x.constant = x.constant.checked_mul(count)?;
    }
    for term in &mut x.terms {
        match term {
            Term::Read { reduce, .. } => reduce.extend(over),
            // A product of values may sum more; one with a weight sums along the weight's rows.
            Term::Product {
                group,
                a: Factor::Reads(_),
                b: Factor::Reads(_),
                ..
            } => group.extend(over),
            Term::Product { .. } => return None,
        }
    }
    Some(x)
}
