//! Shapes: what moves elements without computing, and what computes shapes.

use mlc_ir::{Dim, Op, Shape};
use tract_onnx::pb::tensor_proto::DataType;

use super::super::context::Context;
use super::super::node::{Node, axes, axis};
use super::super::value::{Ints, Value};
use super::Outputs;
use crate::error::{NodeError, malformed, unsupported};

/// Operators that do nothing in inference: `Identity`, `Dropout`, `Cast` between floating-point types.
pub(super) fn same(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    if node.proto.op_type == "Cast" && matches!(x, Value::Lazy(_)) {
        let to = i32::try_from(node.int_or("to", 0)?)
            .ok()
            .and_then(|t| DataType::try_from(t).ok());
        let index = matches!(&x, Value::Lazy(l) if ctx.ty(l.base).elem != mlc_ir::Elem::Real);
        let float = matches!(
            to,
            Some(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
        );
        if float == index {
            let to = to.map_or("an unknown type", |t| t.as_str_name()).to_lowercase();
            return unsupported(
                format!("a cast to {to}"),
                "casts between floating-point types, and of indices to integers, do nothing and work; Floor and Round \
                 give whole numbers",
            );
        }
    }
    if node.proto.op_type == "Dropout" {
        if node.wants(1) {
            return unsupported("the mask of Dropout as output", "export the model in `eval()` mode");
        }
        if let Some(training) = ctx.optional(node, 2)
            && ctx.scalar(&training) != Some(0.0)
        {
            return unsupported("Dropout in training mode", "export the model in `eval()` mode");
        }
    }
    Ok(vec![x])
}

/// `Shape`, or part of it.
pub(super) fn shape(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let dims = ctx.shape(&x)?.0;
    let rank = dims.len() as i64;
    let bound = |v: i64| if v < 0 { v.saturating_add(rank) } else { v }.clamp(0, rank) as usize;
    let (start, end) = (bound(node.int_or("start", 0)?), bound(node.int_or("end", rank)?));
    let data = dims.get(start..end.max(start)).unwrap_or_default().to_vec();
    Ok(vec![list(data)])
}

/// `Size`: the number of elements.
pub(super) fn size(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let numel = ctx.shape(&x)?.0.iter().try_fold(Dim::fixed(1), |n, d| n.try_mul(d));
    let Some(numel) = numel else {
        return unsupported("a product of run-time lengths", "export with one of them fixed");
    };
    Ok(vec![Value::Ints(Ints {
        shape: Vec::new(),
        data: vec![numel],
        constant: None,
    })])
}

fn list(data: Vec<Dim>) -> Value {
    Value::Ints(Ints {
        shape: vec![data.len()],
        data,
        constant: None,
    })
}

/// `Reshape`: 0 keeps a length (unless `allowzero`), -1 is what is left.
pub(super) fn reshape(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let (x, target) = (ctx.input(node, 0)?, ctx.input(node, 1)?);
    let from = ctx.shape(&x)?;
    let keep_zero = node.flag("allowzero", false)?;
    let mut dims = ctx.ints("shape", &target)?.data;
    let mut free = None;
    for (i, dim) in dims.iter_mut().enumerate() {
        match dim.as_const() {
            Some(0) if !keep_zero => match from.0.get(i) {
                Some(kept) => *dim = kept.clone(),
                None => return malformed(format!("axis {i} is to be kept, but there is none")),
            },
            Some(-1) if free.replace(i).is_some() => return malformed("-1 occurs twice in a shape"),
            Some(v) if v < -1 => return malformed(format!("a length is {v}")),
            _ => {}
        }
    }
    if let Some(free) = free {
        let others: Vec<&Dim> = dims
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != free)
            .map(|(_, d)| d)
            .collect();
        let Some(rest) = quotient(&from.0, &others) else {
            return malformed(format!(
                "cannot reshape {from}: the length left for -1 is not a whole number"
            ));
        };
        dims[free] = rest;
    }
    Ok(vec![ctx.reshaped(&x, Shape(dims))?])
}

/// The product of `whole` divided by that of `parts`, where it is affine.
fn quotient(whole: &[Dim], parts: &[&Dim]) -> Option<Dim> {
    let mut left: Vec<Dim> = whole.iter().filter(|d| !d.is_const()).cloned().collect();
    let product = |list: Vec<i64>| list.into_iter().try_fold(1i64, i64::checked_mul);
    let numerator = product(whole.iter().filter_map(Dim::as_const).collect())?;
    let mut denominator = product(parts.iter().filter_map(|d| d.as_const()).collect())?;
    for part in parts.iter().filter(|d| !d.is_const()) {
        match left.iter().position(|d| d == *part) {
            Some(i) => {
                left.remove(i);
            }
            // A multiple of one of the lengths, such as `2*batch`.
            None => {
                let ratio = left
                    .iter()
                    .enumerate()
                    .find_map(|(i, d)| (2..=4096).find(|k| d.times(*k) == **part).map(|k| (i, k)));
                let (i, k) = ratio?;
                left.remove(i);
                denominator = denominator.checked_mul(k)?;
            }
        }
    }
    let product = left.iter().try_fold(Dim::fixed(numerator), |n, d| n.try_mul(d))?;
    product.exact_div(denominator)
}

/// `Flatten`: two axes, split before `axis`.
pub(super) fn flatten(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let shape = ctx.shape(&x)?;
    let rank = shape.rank();
    let at = node.int_or("axis", 1)?;
    let at = if at == rank as i64 { rank } else { axis(at, rank)? };
    let product = |dims: &[Dim]| dims.iter().try_fold(Dim::fixed(1), |n, d| n.try_mul(d));
    let (Some(rows), Some(columns)) = (product(&shape.0[..at]), product(&shape.0[at..])) else {
        return unsupported("a product of run-time lengths", "export with one of them fixed");
    };
    Ok(vec![ctx.reshaped(&x, Shape(vec![rows, columns]))?])
}

/// `Transpose`; without `perm` all axes are reversed.
pub(super) fn transpose(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let rank = ctx.shape(&x)?.rank();
    let perm = match node.ints("perm")? {
        Some(perm) => axes(perm, rank)?,
        None => (0..rank).rev().collect(),
    };
    if perm.len() != rank {
        return malformed(format!("`perm` has {} axes, the tensor {rank}", perm.len()));
    }
    Ok(vec![ctx.transposed(&x, &perm)?])
}

/// `Squeeze`: axes of length 1 dropped, all of them where none is named.
pub(super) fn squeeze(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let shape = ctx.shape(&x)?;
    let one = Dim::fixed(1);
    let gone = match named_axes(ctx, node)? {
        Some(list) => axes(&list, shape.rank())?,
        None => (0..shape.rank()).filter(|i| shape.0[*i] == one).collect(),
    };
    if let Some(bad) = gone.iter().find(|i| shape.0[**i] != one) {
        return malformed(format!("axis {bad} has length {}, not 1", shape.0[*bad]));
    }
    let kept = shape.0.iter().enumerate().filter(|(i, _)| !gone.contains(i));
    let kept = Shape(kept.map(|(_, d)| d.clone()).collect());
    Ok(vec![ctx.reshaped(&x, kept)?])
}

/// `Unsqueeze`: axes of length 1 put in.
pub(super) fn unsqueeze(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let x = ctx.input(node, 0)?;
    let shape = ctx.shape(&x)?;
    let Some(list) = named_axes(ctx, node)? else {
        return malformed("`axes` is missing");
    };
    let rank = shape.rank() + list.len();
    let new = axes(&list, rank)?;
    let mut old = shape.0.into_iter();
    let mut dims = Vec::new();
    for i in 0..rank {
        dims.extend(if new.contains(&i) {
            Some(Dim::fixed(1))
        } else {
            old.next()
        });
    }
    Ok(vec![ctx.reshaped(&x, Shape(dims))?])
}

/// Axes as an attribute (before set 13) or an input.
fn named_axes(ctx: &Context<'_, '_>, node: &Node<'_>) -> Result<Option<Vec<i64>>, NodeError> {
    match (node.ints("axes")?, ctx.optional(node, 1)) {
        (Some(list), _) => Ok(Some(list.to_vec())),
        (None, Some(value)) => ctx.known_ints("axes", &value).map(Some),
        (None, None) => Ok(None),
    }
}

/// `Concat`.
pub(super) fn concat(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let mut parts = Vec::new();
    for i in 0..node.proto.input.len() {
        parts.push(ctx.input(node, i)?);
    }
    let Some(first) = parts.first() else {
        return malformed("nothing to join");
    };
    let Some(at) = node.int("axis")? else {
        return malformed("`axis` is missing");
    };
    let at = axis(at, ctx.shape(first)?.rank())?;
    Ok(vec![ctx.joined(&parts, at)?])
}

/// `Expand`: broadcasting both ways.
pub(super) fn expand(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let (x, target) = (ctx.input(node, 0)?, ctx.input(node, 1)?);
    let target = Shape(ctx.ints("shape", &target)?.data);
    let from = ctx.shape(&x)?;
    let Some(shape) = from.broadcast(&target) else {
        return malformed(format!("{from} does not stretch to {target}"));
    };
    Ok(vec![ctx.stretched(&x, shape)?])
}

/// `Tile`: copies side by side.
pub(super) fn tile(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let (mut x, repeats) = (ctx.input(node, 0)?, ctx.input(node, 1)?);
    let repeats = ctx.known_ints("repeats", &repeats)?;
    if repeats.len() != ctx.shape(&x)?.rank() {
        return malformed(format!("{} repeats for {} axes", repeats.len(), ctx.shape(&x)?.rank()));
    }
    for (at, count) in repeats.into_iter().enumerate() {
        if !(1..=256).contains(&count) {
            return unsupported(
                format!("{count} copies"),
                "1 to 256 copies work; Expand stretches an axis of 1",
            );
        }
        let copies = vec![x.clone(); count as usize];
        x = ctx.joined(&copies, at)?;
    }
    Ok(vec![x])
}

/// `Pad` with a constant.
pub(super) fn pad(ctx: &mut Context<'_, '_>, node: &Node<'_>) -> Outputs {
    let mode = node.string("mode")?.unwrap_or("constant");
    if mode != "constant" {
        return unsupported(format!("padding in mode `{mode}`"), "padding with a constant works");
    }
    let x = ctx.input(node, 0)?;
    let rank = ctx.shape(&x)?.rank();
    let pads = match (node.ints("pads")?, ctx.optional(node, 1)) {
        (Some(list), _) => list.to_vec(),
        (None, Some(value)) => ctx.known_ints("pads", &value)?,
        (None, None) => return malformed("`pads` is missing"),
    };
    let value = match ctx.optional(node, 2) {
        Some(value) => ctx.known_number("constant_value", &value)?,
        None => node.float_or("value", 0.0)?,
    };
    let over = match ctx.optional(node, 3) {
        Some(value) => axes(&ctx.known_ints("axes", &value)?, rank)?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * over.len() {
        return malformed(format!("{} paddings for {} axes", pads.len(), over.len()));
    }
    let (mut lo, mut hi) = (vec![0u64; rank], vec![0u64; rank]);
    for (i, at) in over.iter().enumerate() {
        for (side, amount) in [(&mut lo, pads[i]), (&mut hi, pads[i + over.len()])] {
            match u64::try_from(amount) {
                Ok(amount) if amount < 1 << 31 => side[*at] = amount,
                Ok(_) => return malformed("a padding is above 2^31"),
                Err(_) => return unsupported("negative padding", "Slice takes positions away"),
            }
        }
    }
    if lo.iter().chain(&hi).all(|p| *p == 0) {
        return Ok(vec![x]);
    }
    let x = ctx.graph(&x)?;
    Ok(vec![ctx.apply(Op::Pad { lo, hi, value }, &[x])?])
}
