//! Reductions, argmax, gathering of rows.

use super::{KernelError, fail, offset};
use crate::tensor::{Tensor, for_each_index, strides};

/// `f` of the elements along `axes` (ascending), in row-major order.
pub(crate) fn reduce<T: Copy, U>(
    x: &Tensor<T>,
    axes: &[usize],
    keepdims: bool,
    mut f: impl FnMut(&[T]) -> Result<U, KernelError>,
) -> Result<Tensor<U>, KernelError> {
    if axes.iter().any(|a| *a >= x.shape.len()) {
        return fail("reduce", format!("axes {axes:?} of {:?}", x.shape));
    }
    let outer: Vec<usize> = x
        .shape
        .iter()
        .enumerate()
        .map(|(i, d)| if axes.contains(&i) { 1 } else { *d })
        .collect();
    let inner: Vec<usize> = x
        .shape
        .iter()
        .enumerate()
        .map(|(i, d)| if axes.contains(&i) { *d } else { 1 })
        .collect();
    let from = strides(&x.shape);
    let mut data = Vec::new();
    let mut group = Vec::new();
    let mut failed = None;
    for_each_index(&outer, |index| {
        group.clear();
        let base = offset(index, &from);
        for_each_index(&inner, |index| group.push(x.data[base + offset(index, &from)]));
        match f(&group) {
            Ok(value) => data.push(value),
            Err(error) => failed = Some(error),
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let kept = |i: &usize| keepdims || !axes.contains(i);
    let shape = (0..outer.len()).filter(kept).map(|i| outer[i]).collect();
    Ok(Tensor { shape, data })
}

/// Position of the maximum on the last axis; ties to the lowest.
pub(crate) fn argmax<T: Copy + PartialOrd>(x: &Tensor<T>) -> Result<Tensor<i64>, KernelError> {
    let Some(last) = x.shape.len().checked_sub(1) else {
        return fail("argmax", "a scalar has no axis");
    };
    reduce(x, &[last], false, |row| {
        let mut best = 0;
        for (i, value) in row.iter().enumerate() {
            if *value > row[best] {
                best = i;
            }
        }
        if row.is_empty() {
            fail("argmax", "an empty axis has no maximum")
        } else {
            Ok(best as i64)
        }
    })
}

/// The rows of `table` at `index`.
pub(crate) fn gather<T: Copy>(table: &Tensor<T>, index: &Tensor<i64>) -> Result<Tensor<T>, KernelError> {
    let Some((rows, row)) = table.shape.split_first() else {
        return fail("embedding", "a scalar has no rows");
    };
    let width: usize = row.iter().product();
    let mut data = Vec::with_capacity(index.data.len() * width);
    for at in &index.data {
        match usize::try_from(*at).ok().filter(|at| at < rows) {
            Some(at) => data.extend_from_slice(&table.data[at * width..(at + 1) * width]),
            None => return fail("embedding", format!("row {at} of {rows}")),
        }
    }
    Ok(Tensor {
        shape: index.shape.iter().chain(row).copied().collect(),
        data,
    })
}
