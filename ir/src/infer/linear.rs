//! Contractions, reductions, embedding, argmax.

use super::{InferErrorKind, Inferred, Operand, Scope, axis_of, constant, interval, last_axis, number};
use crate::graph::Module;
use crate::op::{Einsum, ReduceKind};
use crate::shape::{Dim, Shape};
use crate::types::{Elem, IntType, Type};

pub(super) fn contract(scope: Scope<'_>, einsum: &Einsum, lhs: Operand<'_>, rhs: Operand<'_>) -> Inferred {
    for (i, (operand, labels)) in [(lhs, einsum.lhs()), (rhs, einsum.rhs())].into_iter().enumerate() {
        number(i, operand.ty)?;
        super::rank(i, operand.ty, labels.len())?;
    }
    let mut shape = Vec::new();
    for label in einsum.lhs().chars() {
        let (left, right) = (dim_of(einsum.lhs(), lhs.ty, label), dim_of(einsum.rhs(), rhs.ty, label));
        if let (Some(left), Some(right)) = (left, right)
            && left != right
        {
            return Err(InferErrorKind::Label {
                label,
                left: left.clone(),
                right: right.clone(),
            });
        }
    }
    for label in einsum.out().chars() {
        let dim = dim_of(einsum.lhs(), lhs.ty, label).or_else(|| dim_of(einsum.rhs(), rhs.ty, label));
        shape.extend(dim.cloned());
    }
    let elem = match (lhs.ty.elem, rhs.ty.elem) {
        (Elem::Int(a), Elem::Int(b)) => {
            let summed: Vec<&Dim> = einsum
                .contracted()
                .filter_map(|c| dim_of(einsum.lhs(), lhs.ty, c))
                .collect();
            let fewer = summed.iter().any(|d| !d.is_const());
            let count = interval::max_numel(scope.module, summed.into_iter());
            let generic = interval::sum(count, fewer, interval::product(a, b));
            let (lo, hi) = tighten(
                tighten(generic, abs_sum(scope, einsum, lhs, einsum.lhs()), b),
                abs_sum(scope, einsum, rhs, einsum.rhs()),
                a,
            );
            interval::int(a.scale * b.scale, lo, hi)
        }
        (Elem::Real, Elem::Real) => Elem::Real,
        (left, right) => return Err(InferErrorKind::Kinds { left, right }),
    };
    Ok(Type {
        elem,
        shape: Shape(shape),
    })
}

fn dim_of<'a>(labels: &str, ty: &'a Type, label: char) -> Option<&'a Dim> {
    labels.find(label).map(|i| &ty.shape.0[i])
}

/// The proved bound on the sums of magnitudes of a weight over exactly the contracted axes.
fn abs_sum(scope: Scope<'_>, einsum: &Einsum, operand: Operand<'_>, labels: &str) -> Option<i64> {
    let proved = scope.weight(operand)?.abs_sum.as_ref()?;
    let contracted: Vec<usize> = (0..labels.len())
        .filter(|i| !einsum.out().contains(&labels[*i..=*i]))
        .collect();
    (proved.axes == contracted).then_some(proved.bound)
}

/// Intersects bounds with `±abs_sum · max|other|`.
pub(super) fn tighten((lo, hi): (i128, i128), abs_sum: Option<i64>, other: IntType) -> (i128, i128) {
    let Some(bound) = abs_sum else {
        return (lo, hi);
    };
    let bound = i128::from(bound).saturating_mul(other.max_abs().into());
    (lo.max(-bound), hi.min(bound))
}

pub(super) fn reduce(module: &Module, kind: ReduceKind, axes: &[usize], keepdims: bool, x: &Type) -> Inferred {
    number(0, x)?;
    if axes.is_empty() || axes.windows(2).any(|w| w[0] >= w[1]) {
        return Err(InferErrorKind::Attribute(
            "the axes of a reduction are ascending, and there is at least one",
        ));
    }
    let mut dims = Vec::new();
    for axis in axes {
        dims.push(axis_of(x, *axis)?);
    }
    let mut shape = Vec::new();
    for (i, dim) in x.shape.0.iter().enumerate() {
        if !axes.contains(&i) {
            shape.push(dim.clone());
        } else if keepdims {
            shape.push(Dim::fixed(1));
        }
    }
    let elem = match x.elem {
        Elem::Int(int) if kind != ReduceKind::Max => {
            let mut scale = int.scale;
            if kind == ReduceKind::Mean {
                for dim in &dims {
                    scale /= constant("the length of an integer mean", dim)?.max(1) as f64;
                }
            }
            let count = interval::max_numel(module, dims.into_iter());
            let fewer = interval::any_runtime(&x.shape, axes);
            let (lo, hi) = interval::sum(count, fewer, (int.lo.into(), int.hi.into()));
            interval::int(scale, lo, hi)
        }
        elem => elem,
    };
    Ok(Type {
        elem,
        shape: Shape(shape),
    })
}

pub(super) fn embedding(weight: &Type, index: &Type) -> Inferred {
    number(0, weight)?;
    let rows = constant("the number of rows of an embedding", axis_of(weight, 0)?)?;
    match index.elem {
        Elem::Index(vocab) if vocab <= rows => {}
        Elem::Index(vocab) => {
            return Err(InferErrorKind::Extent {
                what: "vocabulary and rows of the embedding",
                left: Dim::fixed(i64::try_from(vocab).unwrap_or(i64::MAX)),
                right: weight.shape.0[0].clone(),
            });
        }
        found => {
            return Err(InferErrorKind::Elem {
                operand: 1,
                expected: "an index",
                found,
            });
        }
    }
    let dims = index.shape.0.iter().chain(&weight.shape.0[1..]);
    Ok(weight.with_shape(Shape(dims.cloned().collect())))
}

pub(super) fn argmax(x: &Type) -> Inferred {
    number(0, x)?;
    let vocab = constant("the axis of an argmax", last_axis(x)?)?;
    if vocab == 0 {
        return Err(InferErrorKind::Attribute("an empty axis has no maximum"));
    }
    Ok(Type::index(vocab, Shape(x.shape.0[..x.shape.rank() - 1].to_vec())))
}
