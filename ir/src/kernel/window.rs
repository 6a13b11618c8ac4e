//! Convolution and pooling.

use super::{KernelError, fail, offset};
use crate::op::{Conv2d, Pool};
use crate::tensor::{Tensor, for_each_index, strides};

/// Number of positions of a window along one axis.
fn positions(extent: usize, pad: u64, span: u64, stride: u64) -> Option<usize> {
    let room = (extent as u64).checked_add(pad)?.checked_sub(span)?;
    usize::try_from(room.checked_div(stride)?.checked_add(1)?).ok()
}

/// Where tap `tap` of the window at `position` lies in the image; `None` in the padding.
fn source(position: usize, tap: usize, stride: u64, dilation: u64, pad: u64, extent: usize) -> Option<usize> {
    let padded = position as u64 * stride + tap as u64 * dilation;
    padded.checked_sub(pad).map(|at| at as usize).filter(|at| *at < extent)
}

/// A convolution; `step(sum, x, w)` adds one product, in the order channel, row, column; padding adds nothing.
pub(crate) fn conv2d<T: Copy, S: Copy>(
    conv: &Conv2d,
    x: &Tensor<T>,
    w: &Tensor<T>,
    zero: S,
    mut step: impl FnMut(S, T, T) -> S,
) -> Result<Tensor<S>, KernelError> {
    let ([n, c, h, width], [o, per_group, kh, kw]) = (dims4(&x.shape)?, dims4(&w.shape)?);
    let groups = conv.groups as usize;
    if groups == 0 || o % groups != 0 || per_group * groups != c {
        return fail(
            "conv2d",
            format!("{c} channels, filters {:?}, {groups} groups", w.shape),
        );
    }
    let [top, left, bottom, right] = conv.pad;
    let span = |k: usize, dilation: u64| (k as u64).saturating_sub(1) * dilation + 1;
    let rows = positions(h, top + bottom, span(kh, conv.dilation[0]), conv.stride[0]);
    let cols = positions(width, left + right, span(kw, conv.dilation[1]), conv.stride[1]);
    let (Some(rows), Some(cols)) = (rows, cols) else {
        return fail("conv2d", format!("filters {:?} do not fit in {:?}", w.shape, x.shape));
    };
    let (xs, ws) = (strides(&x.shape), strides(&w.shape));
    let shape = vec![n, o, rows, cols];
    let mut data = Vec::new();
    for_each_index(&shape, |at| {
        let first_channel = at[1] / (o / groups) * per_group;
        let mut sum = zero;
        for_each_index(&[per_group, kh, kw], |tap| {
            let row = source(at[2], tap[1], conv.stride[0], conv.dilation[0], top, h);
            let col = source(at[3], tap[2], conv.stride[1], conv.dilation[1], left, width);
            if let (Some(row), Some(col)) = (row, col) {
                let pixel = x.data[offset(&[at[0], first_channel + tap[0], row, col], &xs)];
                sum = step(sum, pixel, w.data[offset(&[at[1], tap[0], tap[1], tap[2]], &ws)]);
            }
        });
        data.push(sum);
    });
    Ok(Tensor { shape, data })
}

/// `f` of the window's elements inside the image, at every position.
pub(crate) fn pool<T: Copy, U>(
    pool: &Pool,
    x: &Tensor<T>,
    mut f: impl FnMut(&[T]) -> U,
) -> Result<Tensor<U>, KernelError> {
    let [n, c, h, w] = dims4(&x.shape)?;
    let [top, left, bottom, right] = pool.pad;
    let rows = positions(h, top + bottom, pool.window[0], pool.stride[0]);
    let cols = positions(w, left + right, pool.window[1], pool.stride[1]);
    let (Some(rows), Some(cols)) = (rows, cols) else {
        return fail(
            "pool",
            format!("a window of {:?} does not fit in {:?}", pool.window, x.shape),
        );
    };
    let xs = strides(&x.shape);
    let shape = vec![n, c, rows, cols];
    let mut data = Vec::new();
    let mut seen = Vec::new();
    for_each_index(&shape, |at| {
        seen.clear();
        for_each_index(&pool.window.map(|k| k as usize), |tap| {
            let row = source(at[2], tap[0], pool.stride[0], 1, top, h);
            let col = source(at[3], tap[1], pool.stride[1], 1, left, w);
            if let (Some(row), Some(col)) = (row, col) {
                seen.push(x.data[offset(&[at[0], at[1], row, col], &xs)]);
            }
        });
        data.push(f(&seen));
    });
    Ok(Tensor { shape, data })
}

fn dims4(shape: &[usize]) -> Result<[usize; 4], KernelError> {
    match shape {
        [a, b, c, d] => Ok([*a, *b, *c, *d]),
        _ => fail("conv2d", format!("{shape:?} has not four axes")),
    }
}
