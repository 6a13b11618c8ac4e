//! Exact integers. Every sum and product is checked in 64 bits; the caller checks results against their bounds.

use super::exec::fail;
use super::real::for_each_pair;
use crate::graph::Module;
use crate::kernel::{self, KernelError};
use crate::op::{BinaryOp, Op, PoolKind, ReduceKind, Rope};
use crate::recipe::Template;
use crate::shape::Bindings;
use crate::table::{Table, requant_input};
use crate::tensor::Tensor;

type Ints = Tensor<i64>;

pub(super) fn compute(op: &Op, x: &[&Ints], module: &Module, bindings: &Bindings) -> Result<Ints, KernelError> {
    let at = |i: usize| x.get(i).copied().map_or_else(|| fail(op, "an operand is missing"), Ok);
    match op {
        Op::Binary(binary) => all(
            op,
            kernel::zip(&[at(0)?, at(1)?], |v| self::binary(*binary, v[0], v[1]))?,
        ),
        Op::Contract(einsum) => all(op, kernel::contract(einsum, at(0)?, at(1)?, Some(0), multiply_add)?),
        Op::Conv2d(conv) => all(op, kernel::conv2d(conv, at(0)?, at(1)?, Some(0), multiply_add)?),
        Op::Pool(pool) => {
            let pooled = kernel::pool(pool, at(0)?, |seen| match pool.kind {
                PoolKind::Max => seen.iter().copied().max(),
                PoolKind::Avg => sum(seen),
            })?;
            all(op, pooled)
        }
        Op::Reduce { kind, axes, keepdims } => kernel::reduce(at(0)?, axes, *keepdims, |group| {
            let value = match kind {
                ReduceKind::Sum | ReduceKind::Mean => sum(group),
                ReduceKind::Max => group.iter().copied().max(),
            };
            value.map_or_else(|| fail(op, "empty, or beyond 64 bits"), Ok)
        }),
        Op::Requant(requant) => {
            let (name, table) = table(op, &requant.table, module, bindings)?;
            if requant.shift > 62 {
                return fail(op, "the shift is beyond 62 bits");
            }
            let looked_up = at(0)?.map(|acc| table.get(requant_input(*acc, requant.shift)).map(i64::from));
            match looked_up.data.iter().position(Option::is_none) {
                Some(i) => fail(
                    op,
                    format!("table `{name}` has no entry for the accumulator {}", x[0].data[i]),
                ),
                None => all(op, looked_up),
            }
        }
        Op::MaxDistance(lookup) => {
            let (_, table) = table(op, &lookup.table, module, bindings)?;
            max_distance(op, table, at(0)?, x.get(1).copied())
        }
        Op::Rope(rope) => self::rope(op, rope, at(0)?, bindings),
        _ => fail(op, "it has no integer arithmetic"),
    }
}

/// Every element, where none has left 64 bits.
fn all(op: &Op, x: Tensor<Option<i64>>) -> Result<Ints, KernelError> {
    match x.data.into_iter().collect::<Option<Vec<i64>>>() {
        Some(data) => Ok(Tensor { shape: x.shape, data }),
        None => fail(op, "an integer has no value, or is beyond 64 bits"),
    }
}

fn multiply_add(sum: Option<i64>, a: i64, b: i64) -> Option<i64> {
    sum?.checked_add(a.checked_mul(b)?)
}

fn sum(values: &[i64]) -> Option<i64> {
    values.iter().try_fold(0i64, |s, v| s.checked_add(*v))
}

fn binary(op: BinaryOp, a: i64, b: i64) -> Option<i64> {
    match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Sub => a.checked_sub(b),
        BinaryOp::Mul => a.checked_mul(b),
        BinaryOp::Max => Some(a.max(b)),
        BinaryOp::Min => Some(a.min(b)),
        BinaryOp::Div | BinaryOp::And => None,
    }
}

/// The table that a template names in this iteration.
fn table<'m>(
    op: &Op,
    template: &Template,
    module: &'m Module,
    bindings: &Bindings,
) -> Result<(String, &'m Table), KernelError> {
    let name = template.expand(bindings).or_else(|e| fail(op, e.to_string()))?;
    match module.tables.get(&name) {
        Some(table) => Ok((name, table)),
        None => fail(op, format!("there is no table `{name}`")),
    }
}

/// `T[m - t]` where the mask keeps the position; a row that keeps none has no maximum.
fn max_distance(op: &Op, table: &Table, t: &Ints, keep: Option<&Ints>) -> Result<Ints, KernelError> {
    let Some(width) = t.shape.last().copied() else {
        return fail(op, "a scalar has no row");
    };
    let kept = keep.map(|mask| kernel::broadcast(mask, &t.shape)).transpose()?;
    let kept = kept.map_or_else(|| vec![1; t.data.len()], |mask| mask.data);
    let mut data = Vec::with_capacity(t.data.len());
    for (row, kept) in t.data.chunks(width.max(1)).zip(kept.chunks(width.max(1))) {
        let seen = row.iter().zip(kept).filter(|(_, k)| **k != 0).map(|(v, _)| *v);
        let Some(most) = seen.max() else {
            return fail(op, "a row of scores is masked out altogether");
        };
        data.extend(row.iter().zip(kept).map(|(v, k)| match k {
            0 => Some(0),
            _ => table.get(most.checked_sub(*v)?).map(i64::from),
        }));
    }
    let shape = t.shape.clone();
    all(op, Tensor { shape, data })
}

/// Fixed-point rotation; coordinates that do not turn are multiplied by one, `2^bits`.
fn rope(op: &Op, rope: &Rope, x: &Ints, bindings: &Bindings) -> Result<Ints, KernelError> {
    let one = libm::ldexp(1.0, rope.bits as i32);
    let mut out = x.map(|v| v.checked_mul(one as i64));
    for_each_pair(op, rope, &x.shape, bindings, |first, second, angle| {
        let fixed = |v: f64| libm::rint(one * rope.scale * v) as i64;
        let (cos, sin) = (fixed(libm::cos(angle)), fixed(libm::sin(angle)));
        let (a, b) = (x.data[first], x.data[second]);
        let turn = |c: i64, a: i64, s: i64, b: i64| c.checked_mul(a)?.checked_add(s.checked_mul(b)?);
        out.data[first] = turn(cos, a, -sin, b);
        out.data[second] = turn(cos, b, sin, a);
    })?;
    all(op, out)
}
