//! Convolution and the geometry of windows, shared with pooling.

use mlc_ir::{BinaryOp, Conv2d, Op, Shape};

use super::super::context::Context;
use super::super::layout::known;
use super::super::node::Node;
use super::super::value::Value;
use super::Outputs;
use crate::error::{NodeError, malformed, unsupported};

/// Steps and padding of a window over an image, or over one axis as an image of height 1.
pub(super) struct Window {
    pub(super) size: [u64; 2],
    pub(super) stride: [u64; 2],
    pub(super) dilation: [u64; 2],
    /// Top, left, bottom, right.
    pub(super) pad: [u64; 4],
    /// Padding that rounding up added at the bottom and on the right, part of `pad`.
    pub(super) extra: [u64; 2],
}

/// Reads the attributes of a window of `size` over an image of `extent`; `rank` is 1 or 2.
pub(super) fn window(node: &Node<'_>, size: &[u64], extent: &Shape) -> Result<Window, NodeError> {
    let rank = size.len();
    let pair = |list: Vec<u64>, filler: u64| match list.as_slice() {
        [a] => [filler, *a],
        [a, b, ..] => [*a, *b],
        [] => [filler; 2],
    };
    let two = |name: &str| match rank {
        1 => node.sizes::<1>(name, 1).map(|v| pair(v.to_vec(), 1)),
        _ => node.sizes::<2>(name, 1),
    };
    let size = pair(size.to_vec(), 1);
    let (stride, dilation) = (two("strides")?, two("dilations")?);
    if size
        .iter()
        .chain(&stride)
        .chain(&dilation)
        .any(|v| *v == 0 || *v >= 1 << 31)
    {
        return malformed("a window, step or dilation is 0 or above 2^31");
    }
    let mut pad = match rank {
        1 => node.sizes::<2>("pads", 0).map(|[l, r]| [0, l, 0, r])?,
        _ => node.sizes::<4>("pads", 0)?,
    };
    if pad.iter().any(|p| *p >= 1 << 31) {
        return malformed("a padding is above 2^31");
    }
    let span = |i: usize| dilation[i] * (size[i] - 1) + 1;
    let auto = node.string("auto_pad")?.unwrap_or("NOTSET");
    match auto {
        "NOTSET" => {}
        "VALID" => pad = [0; 4],
        "SAME_UPPER" | "SAME_LOWER" => {
            pad = [0; 4];
            for i in 2 - rank..2 {
                let length = known(&extent.0[i])?;
                let outputs = length.div_ceil(stride[i]);
                let total = (outputs.saturating_sub(1) * stride[i] + span(i)).saturating_sub(length);
                let before = if auto == "SAME_UPPER" {
                    total / 2
                } else {
                    total.div_ceil(2)
                };
                (pad[i], pad[i + 2]) = (before, total - before);
            }
        }
        other => return malformed(format!("`auto_pad` is `{other}`")),
    }
    let mut extra = [0; 2];
    if node.flag("ceil_mode", false)? {
        for i in 2 - rank..2 {
            let length = known(&extent.0[i])?;
            let padded = length + pad[i] + pad[i + 2];
            let Some(room) = padded.checked_sub(span(i)) else {
                continue;
            };
            let mut last = room.div_ceil(stride[i]) * stride[i];
            // A window that starts beyond the image is left out.
            if last >= length + pad[i] {
                last -= stride[i];
            }
            extra[i] = (last + span(i)).saturating_sub(padded);
            pad[i + 2] += extra[i];
        }
    }
    Ok(Window {
        size,
        stride,
        dilation,
        pad,
        extra,
    })
}

/// An image `[n, c, h, w]`; signals `[n, c, w]` get height 1. Other ranks are refused.
pub(super) fn image(ctx: &mut Context<'_, '_>, x: &Value) -> Result<(Value, Shape), NodeError> {
    let shape = ctx.shape(x)?;
    let image = match shape.rank() {
        4 => shape.clone(),
        3 => {
            let mut dims = shape.0.clone();
            dims.insert(2, 1i64.into());
            Shape(dims)
        }
        rank => {
            return unsupported(
                format!("{} over {} axes", "a window", rank.saturating_sub(2)),
                "images [batch, channels, height, width] and signals [batch, channels, length] work",
            );
        }
    };
    let x = ctx.reshaped(x, image.clone())?;
    Ok((x, Shape(image.0[2..].to_vec())))
}

/// Back to `rank` axes: an image of height 1 becomes a signal.
pub(super) fn restore(ctx: &mut Context<'_, '_>, y: &Value, rank: usize) -> Result<Value, NodeError> {
    if rank == 4 {
        return Ok(y.clone());
    }
    let mut dims = ctx.shape(y)?.0;
    dims.remove(2);
    ctx.reshaped(y, Shape(dims))
}

/// `Conv` over one or two axes, with a bias per filter.
pub(super) fn conv(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let (x, w) = (ctx.input(node, 0)?, ctx.input(node, 1)?);
    let rank = ctx.shape(&x)?.rank();
    let (x, extent) = image(ctx, &x)?;
    if ctx.shape(&w)?.rank() != rank {
        return malformed("the weight has another number of axes than the input");
    }
    let (w, _) = image(ctx, &w)?;
    let filters = ctx.shape(&w)?;
    let mut size = Vec::new();
    for dim in &filters.0[6 - rank..] {
        size.push(known(dim)?);
    }
    if let Some(given) = node.ints("kernel_shape")?
        && !given.iter().map(|v| *v as u64).eq(size.iter().copied())
    {
        return malformed(format!("`kernel_shape` is {given:?}, the weight's {size:?}"));
    }
    let window = window(node, &size, &extent)?;
    let groups = node.int_or("group", 1)?;
    let Ok(groups) = u64::try_from(groups) else {
        return malformed(format!("`group` is {groups}"));
    };
    let conv = Conv2d {
        stride: window.stride,
        pad: window.pad,
        dilation: window.dilation,
        groups,
    };
    let operands = [ctx.graph(&x)?, ctx.graph(&w)?];
    let mut y = ctx.push(Op::Conv2d(conv), &operands)?;
    if let Some(bias) = ctx.optional(node, 2) {
        let shape = ctx.shape(&bias)?;
        if shape.rank() != 1 {
            return malformed(format!("the bias has shape {shape}, one number a filter expected"));
        }
        let column = Shape(vec![shape.0[0].clone(), 1i64.into(), 1i64.into()]);
        let bias = ctx.reshaped(&bias, column)?;
        let bias = ctx.graph(&bias)?;
        y = ctx.push(Op::Binary(BinaryOp::Add), &[y, bias])?;
    }
    let y = ctx.tensor(y);
    Ok(vec![restore(ctx, &y, rank)?])
}
