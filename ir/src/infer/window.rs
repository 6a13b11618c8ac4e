//! Convolution and pooling.

use super::{InferErrorKind, Inferred, Operand, Scope, constant, interval, linear, number, rank, same};
use crate::op::{Conv2d, Pool, PoolKind};
use crate::shape::{Dim, Shape};
use crate::types::{Elem, Type};

/// Number of positions of a window of `window` cells, `dilation` apart, in `extent + pad` cells.
fn positions(extent: &Dim, pad: u64, window: u64, dilation: u64, stride: u64) -> Result<Dim, InferErrorKind> {
    let fail =
        InferErrorKind::Attribute("window, step, dilation and padding are below 2^31, all but padding at least 1");
    if window == 0 || stride == 0 || dilation == 0 || window.max(stride).max(dilation).max(pad) >= 1 << 31 {
        return Err(fail);
    }
    let span = dilation.saturating_mul(window - 1) + 1;
    let span = i64::try_from(span).map_err(|_| fail)?;
    let room = extent.plus_const(pad as i64 - span);
    match room.as_const() {
        Some(room) if room < 0 => Err(InferErrorKind::Window {
            window: span as u64,
            extent: extent.plus_const(pad as i64),
        }),
        Some(room) => Ok(Dim::fixed(room / stride as i64 + 1)),
        None if stride == 1 => Ok(room.plus_const(1)),
        // With a run-time length the quotient is affine only where the step divides it.
        None => match room.minus(&Dim::fixed(room.constant())).exact_div(stride as i64) {
            Some(runtime) => Ok(runtime.plus_const(room.constant().div_euclid(stride as i64) + 1)),
            None => Err(InferErrorKind::Stride {
                stride,
                extent: extent.clone(),
            }),
        },
    }
}

pub(super) fn conv2d(scope: Scope<'_>, conv: &Conv2d, x: &Type, w: Operand<'_>) -> Inferred {
    let w_ty = w.ty;
    number(0, x)?;
    number(1, w_ty)?;
    rank(0, x, 4)?;
    rank(1, w_ty, 4)?;
    let filters = constant("the number of filters", &w_ty.shape.0[0])?;
    let channels = constant("the number of channels", &x.shape.0[1])?;
    let window = [
        constant("the height of a filter", &w_ty.shape.0[2])?,
        constant("the width of a filter", &w_ty.shape.0[3])?,
    ];
    if conv.groups == 0 || !channels.is_multiple_of(conv.groups) || !filters.is_multiple_of(conv.groups) {
        return Err(InferErrorKind::Attribute(
            "the number of groups divides channels and filters",
        ));
    }
    let per_group = channels / conv.groups;
    same("channels per group", &Dim::from(per_group as usize), &w_ty.shape.0[1])?;
    let [top, left, bottom, right] = conv.pad;
    let pads = [top.saturating_add(bottom), left.saturating_add(right)];
    let mut dims = vec![x.shape.0[0].clone(), w_ty.shape.0[0].clone()];
    for i in 0..2 {
        dims.push(positions(
            &x.shape.0[2 + i],
            pads[i],
            window[i],
            conv.dilation[i],
            conv.stride[i],
        )?);
    }
    let elem = match (x.elem, w_ty.elem) {
        (Elem::Int(a), Elem::Int(b)) => {
            let taps = per_group.saturating_mul(window[0]).saturating_mul(window[1]);
            let padded = conv.pad.iter().any(|p| *p > 0);
            let generic = interval::sum(taps, padded, interval::product(a, b));
            let proved = scope
                .weight(w)
                .and_then(|w| w.abs_sum.as_ref())
                .filter(|s| s.axes == [1, 2, 3])
                .map(|s| s.bound);
            let (lo, hi) = linear::tighten(generic, proved, a);
            interval::int(a.scale * b.scale, lo, hi)
        }
        (Elem::Real, Elem::Real) => Elem::Real,
        (left, right) => return Err(InferErrorKind::Kinds { left, right }),
    };
    Ok(Type {
        elem,
        shape: Shape(dims),
    })
}

pub(super) fn pool(pool: &Pool, x: &Type) -> Inferred {
    number(0, x)?;
    rank(0, x, 4)?;
    let [top, left, bottom, right] = pool.pad;
    if top.max(bottom) >= pool.window[0] || left.max(right) >= pool.window[1] {
        return Err(InferErrorKind::Attribute("padding of a pool is less than its window"));
    }
    let pads = [top.saturating_add(bottom), left.saturating_add(right)];
    let mut dims = x.shape.0[..2].to_vec();
    for (i, pad) in pads.into_iter().enumerate() {
        dims.push(positions(&x.shape.0[2 + i], pad, pool.window[i], 1, pool.stride[i])?);
    }
    let elem = match (x.elem, pool.kind) {
        (Elem::Int(int), PoolKind::Avg) => {
            let padded = pads != [0, 0];
            if padded && !pool.count_include_pad {
                return Err(InferErrorKind::Attribute(
                    "an integer average divides by the whole window",
                ));
            }
            let cells = pool.window[0].saturating_mul(pool.window[1]);
            let (lo, hi) = interval::sum(cells, padded, (int.lo.into(), int.hi.into()));
            interval::int(int.scale / cells as f64, lo, hi)
        }
        (elem, _) => elem,
    };
    Ok(Type {
        elem,
        shape: Shape(dims),
    })
}
