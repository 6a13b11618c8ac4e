//! Pooling.

use mlc_ir::{Op, Pool, PoolKind, ReduceKind};

use super::super::context::Context;
use super::super::node::Node;
use super::Outputs;
use super::convolution::{image, restore, window};
use crate::error::{malformed, unsupported};

/// `MaxPool`, without indices.
pub(super) fn max(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    if node.outputs() > 1 && node.wants(1) {
        return unsupported("the second output (indices) of MaxPool", "the first output works");
    }
    pool(ctx, node, PoolKind::Max)
}

/// `AveragePool`, with padding counted or not.
pub(super) fn average(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    pool(ctx, node, PoolKind::Avg)
}

fn pool(ctx: &mut Context<'_, '_>, node: &Node<'_>, kind: PoolKind) -> Outputs {
    let x = ctx.input(node, 0)?;
    let rank = ctx.shape(&x)?.rank();
    let (x, extent) = image(ctx, &x)?;
    let Some(kernel) = node.ints("kernel_shape")? else {
        return malformed("`kernel_shape` is missing");
    };
    if kernel.len() + 2 != rank || kernel.iter().any(|k| *k < 1) {
        return malformed(format!("`kernel_shape` is {kernel:?} on a tensor of {rank} axes"));
    }
    let size: Vec<u64> = kernel.iter().map(|k| *k as u64).collect();
    let window = window(node, &size, &extent)?;
    if window.dilation != [1, 1] {
        return unsupported("a dilated pool", "pooling with `dilations = 1` works");
    }
    let count_include_pad = node.flag("count_include_pad", false)?;
    if kind == PoolKind::Avg && count_include_pad && window.extra != [0, 0] {
        return unsupported(
            "`ceil_mode` together with `count_include_pad`",
            "either of the two works, or pad explicitly",
        );
    }
    let pool = Pool {
        kind,
        window: window.size,
        stride: window.stride,
        pad: window.pad,
        count_include_pad,
    };
    let x = ctx.graph(&x)?;
    let y = ctx.apply(Op::Pool(pool), &[x])?;
    Ok(vec![restore(ctx, &y, rank)?])
}

/// `GlobalAveragePool`: the mean over all but the first two axes.
pub(super) fn global_average(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    global(ctx, node, ReduceKind::Mean)
}

/// `GlobalMaxPool`.
pub(super) fn global_max(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    global(ctx, node, ReduceKind::Max)
}

fn global(ctx: &mut Context<'_, '_>, node: &Node<'_>, kind: ReduceKind) -> Outputs {
    let x = ctx.input(node, 0)?;
    let rank = ctx.shape(&x)?.rank();
    if rank < 3 {
        return malformed(format!("an image has at least 3 axes, not {rank}"));
    }
    let x = ctx.graph(&x)?;
    let axes = (2..rank).collect();
    Ok(vec![ctx.apply(
        Op::Reduce {
            kind,
            axes,
            keepdims: true,
        },
        &[x],
    )?])
}
