//! Interval arithmetic on bounds, in `i128`, saturating to `i64`.

use crate::graph::Module;
use crate::shape::{Dim, Shape};
use crate::types::{Elem, IntType};

fn narrow(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// An integer element of that scale and those bounds.
pub(super) fn int(scale: f64, lo: i128, hi: i128) -> Elem {
    Elem::Int(IntType {
        scale,
        lo: narrow(lo),
        hi: narrow(hi),
    })
}

/// Bounds of the product of two bounded integers.
pub(super) fn product(a: IntType, b: IntType) -> (i128, i128) {
    let corner = |x: i64, y: i64| i128::from(x) * i128::from(y);
    let corners = [
        corner(a.lo, b.lo),
        corner(a.lo, b.hi),
        corner(a.hi, b.lo),
        corner(a.hi, b.hi),
    ];
    let fold = |f: fn(i128, i128) -> i128| corners.into_iter().reduce(f).unwrap_or(0);
    (fold(i128::min), fold(i128::max))
}

/// Bounds of a sum of `0..=count` terms within `(lo, hi)` each where `may_be_fewer`, else of exactly `count` terms.
pub(super) fn sum(count: u64, may_be_fewer: bool, (lo, hi): (i128, i128)) -> (i128, i128) {
    let (lo, hi) = if may_be_fewer { (lo.min(0), hi.max(0)) } else { (lo, hi) };
    let count = i128::from(count);
    (lo.saturating_mul(count), hi.saturating_mul(count))
}

/// Greatest length of `dim` over the declared ranges (not below 0). Undeclared: up to `u64::MAX`.
pub(super) fn max_extent(module: &Module, dim: &Dim) -> u64 {
    u64::try_from(extreme(module, dim, true).max(0)).unwrap_or(u64::MAX)
}

/// Least value of `dim` over the declared ranges. Undeclared: from 0.
pub(crate) fn least(module: &Module, dim: &Dim) -> i128 {
    extreme(module, dim, false)
}

/// Greatest or least value of `dim` over the declared ranges. What a run appends to states and what is in them already
/// are bounded together.
pub(crate) fn extreme(module: &Module, dim: &Dim, greatest: bool) -> i128 {
    let better = |a: i128, b: i128| if greatest { a.max(b) } else { a.min(b) };
    let range = |name: &str| {
        let (min, max) = module.dims.get(name).map_or((0, u64::MAX), |r| (r.min, r.max));
        (i128::from(min), i128::from(max))
    };
    let coefficient = |name: &str| dim.terms().find(|t| t.0 == name).map_or(0, |t| i128::from(t.1));
    let joint = module
        .dims
        .iter()
        .find_map(|(past, r)| Some((past.as_str(), r.before.as_deref()?)));
    let mut sum = i128::from(dim.constant());
    for (name, coefficient) in dim.terms() {
        if joint.is_some_and(|(past, tokens)| name == past || name == tokens) {
            continue;
        }
        let (min, max) = range(name);
        let at = if (coefficient > 0) == greatest { max } else { min };
        sum = sum.saturating_add(i128::from(coefficient).saturating_mul(at));
    }
    let Some((past, tokens)) = joint else { return sum };
    let (of_past, of_tokens) = (coefficient(past), coefficient(tokens));
    let ((past_min, most), (tokens_min, tokens_max)) = (range(past), range(tokens));
    // A linear function is extreme at a corner of what is allowed.
    let corners = [tokens_min, tokens_max.min(most - past_min)].map(|t| {
        let at = |p: i128| of_past.saturating_mul(p).saturating_add(of_tokens.saturating_mul(t));
        better(at(past_min), at((most - t).max(past_min)))
    });
    sum.saturating_add(better(corners[0], corners[1]))
}

/// Greatest number of elements along `axes` of `shape`.
pub(super) fn max_numel<'a>(module: &Module, axes: impl Iterator<Item = &'a Dim>) -> u64 {
    axes.fold(1, |n, d| n.saturating_mul(max_extent(module, d)))
}

/// True where the length of some of `axes` is only known at run time.
pub(super) fn any_runtime(shape: &Shape, axes: &[usize]) -> bool {
    axes.iter().any(|a| !shape.0[*a].is_const())
}
