//! Real arithmetic: `f32` in, `f64` inside, `f32` out.

use super::exec::fail;
use crate::kernel::{self, KernelError};
use crate::op::{BinaryOp, Op, PoolKind, ReduceKind, Rope, RopeLayout};
use crate::shape::Bindings;
use crate::tensor::{Tensor, strides};

type Real = Tensor<f32>;

pub(super) fn compute(op: &Op, x: &[&Real], bindings: &Bindings) -> Result<Real, KernelError> {
    let at = |i: usize| x.get(i).copied().map_or_else(|| fail(op, "an operand is missing"), Ok);
    match op {
        Op::Binary(binary) => kernel::zip(&[at(0)?, at(1)?], |v| {
            let (a, b) = (f64::from(v[0]), f64::from(v[1]));
            let value = match binary {
                BinaryOp::Add => a + b,
                BinaryOp::Sub => a - b,
                BinaryOp::Mul => a * b,
                BinaryOp::Div => a / b,
                BinaryOp::Max => libm::fmax(a, b),
                BinaryOp::Min | BinaryOp::And => libm::fmin(a, b),
            };
            value as f32
        }),
        Op::Table { formula, .. } => Ok(at(0)?.map(|v| formula.eval(f64::from(*v)) as f32)),
        Op::Contract(einsum) => Ok(narrow(kernel::contract(einsum, at(0)?, at(1)?, 0.0, multiply_add)?)),
        Op::Conv2d(conv) => Ok(narrow(kernel::conv2d(conv, at(0)?, at(1)?, 0.0, multiply_add)?)),
        Op::Pool(pool) => {
            let cells = (pool.window[0] * pool.window[1]) as f64;
            kernel::pool(pool, at(0)?, |seen| match pool.kind {
                PoolKind::Max => greatest(seen) as f32,
                PoolKind::Avg => {
                    (sum(seen)
                        / if pool.count_include_pad {
                            cells
                        } else {
                            seen.len() as f64
                        }) as f32
                }
            })
        }
        Op::Reduce { kind, axes, keepdims } => kernel::reduce(at(0)?, axes, *keepdims, |group| {
            Ok(match kind {
                ReduceKind::Sum => sum(group),
                ReduceKind::Mean => sum(group) / group.len() as f64,
                ReduceKind::Max => greatest(group),
            } as f32)
        }),
        Op::BatchNorm { eps } => {
            let channels = |t: &Real| {
                let mut shape = vec![1; x[0].shape.len().saturating_sub(1)];
                if let Some(d) = shape.first_mut() {
                    *d = t.data.len();
                }
                kernel::reshape(t.clone(), shape)
            };
            let parameters = (1..5)
                .map(|i| at(i).and_then(channels))
                .collect::<Result<Vec<Real>, _>>()?;
            let all: Vec<&Real> = std::iter::once(at(0)?).chain(&parameters).collect();
            kernel::zip(&all, |v| {
                let [x, gamma, beta, mean, variance] = [0, 1, 2, 3, 4].map(|i| f64::from(v[i]));
                ((x - mean) / libm::sqrt(variance + eps) * gamma + beta) as f32
            })
        }
        Op::RmsNorm { eps } => row_norm(op, x, *eps, false),
        Op::LayerNorm { eps } => row_norm(op, x, *eps, true),
        Op::Rope(rope) => self::rope(op, rope, at(0)?, bindings),
        _ => fail(op, "it has no real arithmetic"),
    }
}

fn multiply_add(sum: f64, a: f32, b: f32) -> f64 {
    sum + f64::from(a) * f64::from(b)
}

fn narrow(x: Tensor<f64>) -> Real {
    x.map(|v| *v as f32)
}

fn sum(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum()
}

fn greatest(values: &[f32]) -> f64 {
    values
        .iter()
        .fold(f64::NEG_INFINITY, |m, v| libm::fmax(m, f64::from(*v)))
}

fn row_norm(op: &Op, x: &[&Real], eps: f64, centred: bool) -> Result<Real, KernelError> {
    let Some((x, parameters)) = x.split_first() else {
        return fail(op, "an operand is missing");
    };
    let width = x.shape.last().copied().unwrap_or(0).max(1);
    if parameters.iter().any(|p| p.data.len() != width) {
        return fail(op, "gain and bias are as wide as the row");
    }
    let parameter =
        |which: usize, i: usize, default: f64| parameters.get(which).map_or(default, |p| f64::from(p.data[i]));
    let mut data = Vec::with_capacity(x.data.len());
    for row in x.data.chunks(width) {
        let mean = if centred { sum(row) / width as f64 } else { 0.0 };
        let square: f64 = row
            .iter()
            .map(|v| (f64::from(*v) - mean) * (f64::from(*v) - mean))
            .sum();
        let root = libm::sqrt(square / width as f64 + eps);
        let normed = |(i, v): (usize, &f32)| {
            ((f64::from(*v) - mean) / root * parameter(0, i, 1.0) + parameter(1, i, 0.0)) as f32
        };
        data.extend(row.iter().enumerate().map(normed));
    }
    Ok(Tensor {
        shape: x.shape.clone(),
        data,
    })
}

fn rope(op: &Op, rope: &Rope, x: &Real, bindings: &Bindings) -> Result<Real, KernelError> {
    let mut out = x.clone();
    for_each_pair(op, rope, &x.shape, bindings, |first, second, angle| {
        let (cos, sin) = (libm::cos(angle) * rope.scale, libm::sin(angle) * rope.scale);
        let (a, b) = (f64::from(x.data[first]), f64::from(x.data[second]));
        out.data[first] = (a * cos - b * sin) as f32;
        out.data[second] = (b * cos + a * sin) as f32;
    })?;
    Ok(out)
}

/// Calls `f` with the offsets of both coordinates and the angle of every pair that turns.
pub(super) fn for_each_pair(
    op: &Op,
    rope: &Rope,
    shape: &[usize],
    bindings: &Bindings,
    mut f: impl FnMut(usize, usize, f64),
) -> Result<(), KernelError> {
    let start = rope.start.value(bindings).or_else(|e| fail(op, e.to_string()))?;
    let width = shape.last().copied().unwrap_or(0);
    let pairs = rope.rotary as usize / 2;
    if pairs * 2 > width || rope.axis + 1 >= shape.len() {
        return fail(
            op,
            format!("{} coordinates and axis {} of {shape:?}", rope.rotary, rope.axis),
        );
    }
    let stride = strides(shape)[rope.axis];
    let rows = shape[..shape.len() - 1].iter().product::<usize>();
    for row in 0..rows {
        let base = row * width;
        let position = start.saturating_add((base / stride % shape[rope.axis]) as i64);
        for pair in 0..pairs {
            let (first, second) = match rope.layout {
                RopeLayout::Half => (pair, pair + pairs),
                RopeLayout::Interleaved => (2 * pair, 2 * pair + 1),
            };
            f(
                base + first,
                base + second,
                position as f64 * rope.freq.eval(pair as f64),
            );
        }
    }
    Ok(())
}
