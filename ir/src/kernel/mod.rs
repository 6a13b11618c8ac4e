//! Plain loops over dense tensors, generic in the element: shared by the recipe evaluator and the interpreter.
//!
//! These are oracles: each is the definition written down, with every precondition checked.

mod rows;
mod window;

pub(crate) use rows::{argmax, gather, reduce};
pub(crate) use window::{conv2d, pool};

use thiserror::Error;

use crate::op::Einsum;
use crate::tensor::{Tensor, for_each_index, strides};

/// Shapes that an operation does not accept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{op}: {why}")]
pub struct KernelError {
    /// The operation.
    pub op: &'static str,
    /// What does not fit.
    pub why: String,
}

fn fail<T>(op: &'static str, why: impl Into<String>) -> Result<T, KernelError> {
    Err(KernelError { op, why: why.into() })
}

/// Offset of `index` under `strides`.
fn offset(index: &[usize], strides: &[usize]) -> usize {
    index.iter().zip(strides).map(|(i, s)| i * s).sum()
}

/// `len` positions of `axis` from `start`, `step` apart.
pub(crate) fn slice<T: Copy>(
    x: &Tensor<T>,
    axis: usize,
    start: usize,
    len: usize,
    step: usize,
) -> Result<Tensor<T>, KernelError> {
    let Some(extent) = x.shape.get(axis) else {
        return fail("slice", format!("no axis {axis} in {:?}", x.shape));
    };
    let last = len.saturating_sub(1).saturating_mul(step).saturating_add(start);
    if step == 0 || (len > 0 && last >= *extent) || start > *extent {
        return fail("slice", format!("positions {start} to {last} of an axis of {extent}"));
    }
    let mut shape = x.shape.clone();
    shape[axis] = len;
    let from = strides(&x.shape);
    let mut data = Vec::new();
    for_each_index(&shape, |index| {
        let moved = (start + index[axis] * step) * from[axis];
        data.push(x.data[offset(index, &from) - index[axis] * from[axis] + moved]);
    });
    Ok(Tensor { shape, data })
}

/// Axis `i` of the result is axis `perm[i]` of `x`.
pub(crate) fn transpose<T: Copy>(x: &Tensor<T>, perm: &[usize]) -> Result<Tensor<T>, KernelError> {
    let mut sorted = perm.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.shape.len()) {
        return fail(
            "transpose",
            format!("{perm:?} is no permutation of the axes of {:?}", x.shape),
        );
    }
    let shape: Vec<usize> = perm.iter().map(|a| x.shape[*a]).collect();
    let from = strides(&x.shape);
    let from: Vec<usize> = perm.iter().map(|a| from[*a]).collect();
    let mut data = Vec::with_capacity(x.data.len());
    for_each_index(&shape, |index| data.push(x.data[offset(index, &from)]));
    Ok(Tensor { shape, data })
}

/// The same elements with other axes.
pub(crate) fn reshape<T>(x: Tensor<T>, shape: Vec<usize>) -> Result<Tensor<T>, KernelError> {
    let from = x.shape;
    match Tensor::new(shape.clone(), x.data) {
        Some(tensor) => Ok(tensor),
        None => fail("reshape", format!("{from:?} to {shape:?}")),
    }
}

/// Tensors joined along `axis`.
pub(crate) fn concat<T: Copy>(parts: &[&Tensor<T>], axis: usize) -> Result<Tensor<T>, KernelError> {
    let Some(first) = parts.first().filter(|p| axis < p.shape.len()) else {
        return fail("concat", format!("no axis {axis}"));
    };
    let outside = |p: &Tensor<T>| {
        let mut shape = p.shape.clone();
        if let Some(d) = shape.get_mut(axis) {
            *d = 0;
        }
        shape
    };
    if let Some(other) = parts.iter().find(|p| outside(p) != outside(first)) {
        return fail(
            "concat",
            format!("{:?} and {:?} differ outside of axis {axis}", first.shape, other.shape),
        );
    }
    let mut shape = first.shape.clone();
    shape[axis] = parts.iter().map(|p| p.shape[axis]).sum();
    let rows: usize = first.shape[..axis].iter().product();
    let mut data = Vec::with_capacity(shape.iter().product());
    for row in 0..rows {
        for part in parts {
            let chunk: usize = part.shape[axis..].iter().product();
            data.extend_from_slice(&part.data[row * chunk..(row + 1) * chunk]);
        }
    }
    Ok(Tensor { shape, data })
}

/// The common shape of numpy broadcasting.
pub(crate) fn broadcast_shape(shapes: &[&[usize]]) -> Result<Vec<usize>, KernelError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for shape in shapes {
        for (slot, d) in out[rank - shape.len()..].iter_mut().zip(shape.iter()) {
            if *slot == 1 {
                *slot = *d;
            } else if *d != 1 && *d != *slot {
                return fail("broadcast", format!("{shapes:?}"));
            }
        }
    }
    Ok(out)
}

/// Strides that read a tensor of `shape` at indices of the broadcast shape of rank `rank`.
pub(crate) fn broadcast_strides(shape: &[usize], rank: usize) -> Vec<usize> {
    let own = strides(shape)
        .into_iter()
        .zip(shape)
        .map(|(s, d)| if *d == 1 { 0 } else { s });
    std::iter::repeat_n(0, rank - shape.len()).chain(own).collect()
}

/// `f` of the elements of all inputs, with numpy broadcasting.
pub(crate) fn zip<T: Copy, U>(inputs: &[&Tensor<T>], mut f: impl FnMut(&[T]) -> U) -> Result<Tensor<U>, KernelError> {
    let shapes: Vec<&[usize]> = inputs.iter().map(|t| t.shape.as_slice()).collect();
    let shape = broadcast_shape(&shapes)?;
    let strides: Vec<Vec<usize>> = shapes.iter().map(|s| broadcast_strides(s, shape.len())).collect();
    let mut data = Vec::new();
    let mut values = Vec::with_capacity(inputs.len());
    for_each_index(&shape, |index| {
        values.clear();
        values.extend(inputs.iter().zip(&strides).map(|(t, s)| t.data[offset(index, s)]));
        data.push(f(&values));
    });
    Ok(Tensor { shape, data })
}

/// `x` stretched to `shape`.
pub(crate) fn broadcast<T: Copy>(x: &Tensor<T>, shape: &[usize]) -> Result<Tensor<T>, KernelError> {
    if broadcast_shape(&[&x.shape, shape])? != shape {
        return fail("broadcast", format!("{:?} to {shape:?}", x.shape));
    }
    let strides = broadcast_strides(&x.shape, shape.len());
    let mut data = Vec::new();
    for_each_index(shape, |index| data.push(x.data[offset(index, &strides)]));
    Ok(Tensor {
        shape: shape.to_vec(),
        data,
    })
}

/// `value` before and after every axis.
pub(crate) fn pad<T: Copy>(x: &Tensor<T>, lo: &[u64], hi: &[u64], value: T) -> Result<Tensor<T>, KernelError> {
    if lo.len() != x.shape.len() || hi.len() != x.shape.len() {
        return fail(
            "pad",
            format!("{} and {} paddings for {:?}", lo.len(), hi.len(), x.shape),
        );
    }
    let widths = x.shape.iter().zip(lo.iter().zip(hi));
    let shape: Vec<usize> = widths.map(|(d, (lo, hi))| d + *lo as usize + *hi as usize).collect();
    let from = strides(&x.shape);
    let mut data = Vec::new();
    for_each_index(&shape, |index| {
        let inside = index
            .iter()
            .zip(lo)
            .map(|(i, lo)| i.checked_sub(*lo as usize))
            .collect::<Option<Vec<usize>>>();
        let inside = inside.filter(|at| at.iter().zip(&x.shape).all(|(i, d)| i < d));
        data.push(inside.map_or(value, |at| x.data[offset(&at, &from)]));
    });
    Ok(Tensor { shape, data })
}

/// Sums of a contraction computed side by side.
const TOGETHER: usize = 8;

/// A contraction; `step(sum, a, b)` adds one product, in row-major order of the contracted labels.
pub(crate) fn contract<T: Copy, S: Copy>(
    einsum: &Einsum,
    lhs: &Tensor<T>,
    rhs: &Tensor<T>,
    zero: S,
    step: impl Fn(S, T, T) -> S,
) -> Result<Tensor<S>, KernelError> {
    let labels: Vec<char> = einsum.out().chars().chain(einsum.contracted()).collect();
    let sides = [(einsum.lhs(), &lhs.shape), (einsum.rhs(), &rhs.shape)];
    let mut extents = Vec::with_capacity(labels.len());
    for (names, shape) in sides {
        if names.len() != shape.len() {
            return fail(
                "contract",
                format!("`{names}` labels {} axes, not {shape:?}", names.len()),
            );
        }
    }
    for label in &labels {
        let mut found = sides
            .iter()
            .filter_map(|(names, shape)| names.find(*label).map(|i| shape[i]));
        let extent = found.next().unwrap_or(1);
        if found.any(|d| d != extent) {
            return fail("contract", format!("label `{label}` has two lengths"));
        }
        extents.push(extent);
    }
    let side_strides = |names: &str, shape: &[usize]| -> Vec<usize> {
        let own = strides(shape);
        labels.iter().map(|l| names.find(*l).map_or(0, |i| own[i])).collect()
    };
    let (left, right) = (
        side_strides(einsum.lhs(), &lhs.shape),
        side_strides(einsum.rhs(), &rhs.shape),
    );
    let free = einsum.out().len();
    let (out_shape, inner_shape) = (extents[..free].to_vec(), &extents[free..]);
    // Where the cells of a sum lie, from its first ones.
    let offsets = |shape: &[usize], left: &[usize], right: &[usize]| {
        let mut out = Vec::with_capacity(shape.iter().product());
        for_each_index(shape, |index| out.push((offset(index, left), offset(index, right))));
        out
    };
    let firsts = offsets(&out_shape, &left[..free], &right[..free]);
    let terms = offsets(inner_shape, &left[free..], &right[free..]);
    let mut data = Vec::with_capacity(firsts.len());
    // Each sum in its order; several at a time, as none waits for another.
    let mut groups = firsts.chunks_exact(TOGETHER);
    for group in &mut groups {
        let mut sums = [zero; TOGETHER];
        for &(l, r) in &terms {
            for (sum, &(a, b)) in sums.iter_mut().zip(group) {
                *sum = step(*sum, lhs.data[a + l], rhs.data[b + r]);
            }
        }
        data.extend(sums);
    }
    for &(a, b) in groups.remainder() {
        let terms = terms.iter();
        data.push(terms.fold(zero, |sum, &(l, r)| step(sum, lhs.data[a + l], rhs.data[b + r])));
    }
    Ok(Tensor { shape: out_shape, data })
}
