//! Operations whose meaning does not depend on the arithmetic: moving elements, indices, masks.

use super::Data;
use super::exec::fail;
use crate::kernel::{self, KernelError};
use crate::op::{BinaryOp, Op};
use crate::shape::{Bindings, Dim};
use crate::tensor::Tensor;

/// Applies one generic kernel to either kind of data.
macro_rules! either {
    ($data:expr, $tensor:ident => $call:expr) => {
        match $data {
            Data::Real($tensor) => Data::Real($call?),
            Data::Ints($tensor) => Data::Ints($call?),
        }
    };
}

/// The result of such an operation; `None` where `op` is another.
pub(super) fn compute(op: &Op, operands: &[&Data], bindings: &Bindings) -> Result<Option<Data>, KernelError> {
    let size = |dim: &Dim| dim.eval(bindings).or_else(|e| fail(op, e.to_string()));
    let position = |dim: &Dim| dim.value(bindings).or_else(|e| fail(op, e.to_string()));
    let sizes = |dims: &[Dim]| dims.iter().map(size).collect::<Result<Vec<usize>, KernelError>>();
    let operand = |i: usize| {
        operands
            .get(i)
            .copied()
            .map_or_else(|| fail(op, "an operand is missing"), Ok)
    };
    Ok(Some(match op {
        Op::Reshape(shape) => {
            let shape = sizes(&shape.0)?;
            either!(operand(0)?, x => kernel::reshape(x.clone(), shape))
        }
        Op::Broadcast(shape) => {
            let shape = sizes(&shape.0)?;
            either!(operand(0)?, x => kernel::broadcast(x, &shape))
        }
        Op::Transpose(perm) => either!(operand(0)?, x => kernel::transpose(x, perm)),
        Op::Slice { axis, start, end, step } => {
            let (start, end, step) = (size(start)?, size(end)?, *step as usize);
            if end < start || step == 0 {
                return fail(op, format!("from {start} to {end} by {step}"));
            }
            either!(operand(0)?, x => kernel::slice(x, *axis, start, (end - start).div_ceil(step), step))
        }
        Op::Pad { lo, hi, value } => match operand(0)? {
            Data::Real(x) => Data::Real(kernel::pad(x, lo, hi, *value as f32)?),
            Data::Ints(x) => Data::Ints(kernel::pad(x, lo, hi, *value as i64)?),
        },
        Op::Concat { axis } => concat(op, operands, *axis)?,
        Op::Embedding => match operand(1)? {
            Data::Ints(index) => either!(operand(0)?, table => kernel::gather(table, index)),
            Data::Real(_) => return fail(op, "an index is an integer"),
        },
        Op::ArgMax => Data::Ints(match operand(0)? {
            Data::Real(x) => kernel::argmax(x)?,
            Data::Ints(x) => kernel::argmax(x)?,
        }),
        Op::Where => choose(op, operand(0)?, operand(1)?, operand(2)?)?,
        Op::Iota { len, start, .. } => {
            let (len, start) = (size(len)?, position(start)?);
            let data = (0..len as i64).map(|i| i.saturating_add(start)).collect();
            Data::Ints(Tensor { shape: vec![len], data })
        }
        Op::CausalMask {
            rows,
            cols,
            offset,
            window,
        } => {
            let (rows, cols, offset) = (size(rows)?, size(cols)?, position(offset)?);
            let seen = |row: usize, col: usize| {
                let diagonal = (row as i64).saturating_add(offset);
                let near = window.is_none_or(|w| i128::from(diagonal) - (col as i128) < i128::from(w));
                col as i64 <= diagonal && near
            };
            let data = (0..rows)
                .flat_map(|r| (0..cols).map(move |c| i64::from(seen(r, c))))
                .collect();
            Data::Ints(Tensor {
                shape: vec![rows, cols],
                data,
            })
        }
        Op::Softmax => match operand(0)? {
            Data::Real(x) => Data::Real(softmax(op, x, operands.get(1).copied())?),
            Data::Ints(_) => return fail(op, "integers have no softmax"),
        },
        Op::Binary(BinaryOp::And) => match (operand(0)?, operand(1)?) {
            (Data::Ints(a), Data::Ints(b)) => Data::Ints(kernel::zip(&[a, b], |v| v[0] & v[1])?),
            _ => return fail(op, "mask bits are integers"),
        },
        _ => return Ok(None),
    }))
}

fn concat(op: &Op, operands: &[&Data], axis: usize) -> Result<Data, KernelError> {
    let reals = operands.iter().map(|d| d.real()).collect::<Option<Vec<_>>>();
    let ints = operands.iter().map(|d| d.ints()).collect::<Option<Vec<_>>>();
    match (reals, ints) {
        (Some(parts), _) if !parts.is_empty() => Ok(Data::Real(kernel::concat(&parts, axis)?)),
        (_, Some(parts)) => Ok(Data::Ints(kernel::concat(&parts, axis)?)),
        _ => fail(op, "operands of different kinds"),
    }
}

fn choose(op: &Op, mask: &Data, a: &Data, b: &Data) -> Result<Data, KernelError> {
    match (mask, a, b) {
        (Data::Ints(m), Data::Ints(a), Data::Ints(b)) => Ok(Data::Ints(kernel::zip(&[m, a, b], |v| {
            if v[0] != 0 { v[1] } else { v[2] }
        })?)),
        (Data::Ints(m), Data::Real(a), Data::Real(b)) => {
            let m = m.map(|bit| *bit as f32);
            Ok(Data::Real(kernel::zip(&[&m, a, b], |v| {
                if v[0] != 0.0 { v[1] } else { v[2] }
            })?))
        }
        _ => fail(op, "operands of different kinds"),
    }
}

/// Softmax of the positions that the mask keeps; a row that keeps none is all zeros.
fn softmax(op: &Op, x: &Tensor<f32>, mask: Option<&Data>) -> Result<Tensor<f32>, KernelError> {
    let kept = match mask {
        None => vec![true; x.data.len()],
        Some(Data::Ints(mask)) => kernel::broadcast(mask, &x.shape)?
            .data
            .iter()
            .map(|bit| *bit != 0)
            .collect(),
        Some(Data::Real(_)) => return fail(op, "mask bits are integers"),
    };
    let Some(width) = x.shape.last().copied() else {
        return fail(op, "a scalar has no axis");
    };
    let mut data = Vec::with_capacity(x.data.len());
    for (row, kept) in x.data.chunks(width.max(1)).zip(kept.chunks(width.max(1))) {
        let seen = || row.iter().zip(kept).filter(|(_, k)| **k).map(|(v, _)| f64::from(*v));
        let greatest = seen().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = seen().map(|v| libm::exp(v - greatest)).sum();
        let share = |v: f32| (libm::exp(f64::from(v) - greatest) / sum) as f32;
        data.extend(row.iter().zip(kept).map(|(v, k)| if *k { share(*v) } else { 0.0 }));
    }
    Ok(Tensor {
        shape: x.shape.clone(),
        data,
    })
}

/// Slice `i` of a stacked tensor.
pub(super) fn iteration(stacked: &Data, i: usize) -> Result<Data, KernelError> {
    let shape = stacked.shape().get(1..).unwrap_or_default().to_vec();
    Ok(either!(stacked, x => kernel::slice(x, 0, i, 1, 1).and_then(|s| kernel::reshape(s, shape))))
}

/// Tensors of one shape stacked on a new first axis.
pub(super) fn stack(parts: &[&Data]) -> Result<Data, KernelError> {
    let widened = parts.iter().map(|part| {
        let shape = std::iter::once(1).chain(part.shape().iter().copied()).collect();
        Ok(either!(part, x => kernel::reshape(x.clone(), shape)))
    });
    let widened = widened.collect::<Result<Vec<Data>, KernelError>>()?;
    concat(&Op::Concat { axis: 0 }, &widened.iter().collect::<Vec<_>>(), 0)
}
