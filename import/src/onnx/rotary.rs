//! Rotary embeddings that are spelled out.
//!
//! Exporters write `x · cos + (-x₂ ‖ x₁) · sin` over the two halves `x₁ ‖ x₂` of the last axis, with cosines and sines that
//! are constants `[positions, width]` where the length is fixed. If those are of angles `p · f(i)`, they are a public rotation by the
//! frequencies `f`, not weights. A geometric series of them, `θ^(-2i/width)`, becomes the formula that the language writes; any other
//! (scaled ones) a choice by the pair's number.

use mlc_ir::{BinaryOp, Dim, Formula, Op, Rope, RopeLayout, Tensor, ValueId};

use super::context::Context;
use crate::error::NodeError;

/// The rotation that `a + b` is, and of what.
pub(super) fn found(
    ctx: &mut Context<'_, '_>,
    a: &super::value::Value,
    b: &super::value::Value,
) -> Result<Option<(Rope, ValueId)>, NodeError> {
    let ids = [ctx.graph(a)?, ctx.graph(b)?];
    let orders = [[ids[0], ids[1]], [ids[1], ids[0]]];
    let found = orders
        .into_iter()
        .find_map(|[straight, turned]| rotation(ctx, straight, turned));
    ctx.recognised |= found.is_some();
    Ok(found)
}

fn rotation(ctx: &Context<'_, '_>, straight: ValueId, turned: ValueId) -> Option<(Rope, ValueId)> {
    let (x, cos) = product(ctx, straight)?;
    let (rotated, sin) = product(ctx, turned)?;
    let shape = &ctx.ty(x).shape.0;
    let [.., positions, width] = shape.as_slice() else {
        return None;
    };
    let (positions, width) = (positions.as_const()? as usize, width.as_const()? as usize);
    if halves_turned(ctx, rotated)? != (x, width / 2) || width % 2 != 0 {
        return None;
    }
    let [cos, sin] = [cos, sin].map(|table| {
        let values = ctx.elements(table)?;
        let own =
            values.shape.iter().product::<usize>() == positions * width && values.shape.ends_with(&[positions, width]);
        own.then_some(values)
    });
    let (freq, scale) = frequencies(&cos?, &sin?)?;
    let rope = Rope {
        axis: shape.len() - 2,
        start: Dim::fixed(0),
        rotary: width as u64,
        layout: RopeLayout::Half,
        freq,
        scale,
        bits: 0,
    };
    Some((rope, x))
}

/// What is multiplied by a weight, and the weight.
fn product(ctx: &Context<'_, '_>, id: ValueId) -> Option<(ValueId, ValueId)> {
    let (Op::Binary(BinaryOp::Mul), &[a, b]) = ctx.history(id)? else {
        return None;
    };
    let weight = |id| matches!(ctx.history(id), Some((Op::Weight(_), _)));
    match (weight(a), weight(b)) {
        (false, true) => Some((a, b)),
        (true, false) => Some((b, a)),
        _ => None,
    }
}

/// `x` and the half of its last axis, where `id` is the second half, negated, and then the first.
fn halves_turned(ctx: &Context<'_, '_>, id: ValueId) -> Option<(ValueId, usize)> {
    let last = ctx.ty(id).shape.rank().checked_sub(1)?;
    let (Op::Concat { axis }, &[negated, first]) = ctx.history(id)? else {
        return None;
    };
    let second = match ctx.history(negated)? {
        (Op::Table { formula, .. }, &[of]) if *formula == -Formula::x() => of,
        _ => return None,
    };
    let (x, from, to) = part(ctx, first, last)?;
    let (y, half, end) = part(ctx, second, last)?;
    (*axis == last && x == y && (from, to) == (0, half) && end == 2 * half).then_some((x, half))
}

/// What is sliced along `axis`, from where to where.
fn part(ctx: &Context<'_, '_>, id: ValueId, axis: usize) -> Option<(ValueId, usize, usize)> {
    let (
        Op::Slice {
            axis: on,
            start,
            end,
            step: 1,
        },
        &[x],
    ) = ctx.history(id)?
    else {
        return None;
    };
    (*on == axis).then_some(())?;
    Some((
        x,
        usize::try_from(start.as_const()?).ok()?,
        usize::try_from(end.as_const()?).ok()?,
    ))
}

/// How far a cosine of the file may be from that of the formula, at position `p`: angles are rounded to `f32` there.
fn tolerance(p: usize) -> f64 {
    1e-6 + 2e-7 * p as f64
}

/// The angle per position of pair `x` as a formula, and the factor on cosines and sines, of tables `[positions, width]`.
fn frequencies(cos: &Tensor<f64>, sin: &Tensor<f64>) -> Option<(Formula, f64)> {
    let width = *cos.shape.last()?;
    let (half, positions) = (width / 2, cos.data.len() / width.max(1));
    if positions < 2 || half == 0 {
        return None;
    }
    let at = |table: &Tensor<f64>, p: usize, i: usize| table.data[p * width + i];
    let scale = at(cos, 0, 0);
    let scale = if libm::fabs(scale - 1.0) < 1e-6 { 1.0 } else { scale };
    let angles: Vec<f64> = (0..half)
        .map(|i| {
            let angle = |p| libm::atan2(at(sin, p, i), at(cos, p, i));
            // Each position makes the last estimate more precise: the turns that it has made are known.
            (2..positions).fold(angle(1), |f, p| {
                let turn = 2.0 * std::f64::consts::PI;
                let turns = libm::round((p as f64 * f - angle(p)) / turn);
                (angle(p) + turns * turn) / p as f64
            })
        })
        .collect();
    let fits = |freq: &Formula| {
        (0..positions).all(|p| {
            (0..width).all(|i| {
                let angle = p as f64 * freq.eval((i % half) as f64);
                let near = |found: f64, of: f64| libm::fabs(found - scale * of) <= scale * tolerance(p);
                near(at(cos, p, i), libm::cos(angle)) && near(at(sin, p, i), libm::sin(angle))
            })
        })
    };
    let freq = geometric(&angles, width)
        .filter(&fits)
        .or_else(|| Some(chosen(&angles)).filter(&fits))?;
    (scale.is_finite() && scale > 0.0).then_some((freq, scale))
}

/// `θ^(-2x/width)`, with the shortest `θ` that gives the last frequency.
fn geometric(angles: &[f64], width: usize) -> Option<Formula> {
    let series = |theta: f64| Formula::Const(theta).pow(-2.0 * Formula::x() / width as f64);
    let (last, slowest) = (angles.len() - 1, *angles.last()?);
    let theta = match last {
        0 => 1e4,
        _ => libm::pow(slowest, -(width as f64) / (2.0 * last as f64)),
    };
    let rounded = |digits: usize| format!("{theta:.digits$e}").parse::<f64>().ok();
    let near = |t: &f64| libm::fabs(series(*t).eval(last as f64) - slowest) <= 1e-6 * slowest;
    (theta.is_finite() && theta > 0.0).then_some(())?;
    let shortest = (0..8).filter_map(rounded).find(near);
    Some(series(shortest.unwrap_or(theta)))
}

/// The frequencies themselves, by the pair's number.
fn chosen(angles: &[f64]) -> Formula {
    let mut pairs = angles.iter().enumerate().rev();
    let last = pairs.next().map_or(0.0, |(_, f)| *f);
    pairs.fold(Formula::Const(last), |rest, (i, f)| {
        Formula::select(Formula::x().le(Formula::Const(i as f64)), Formula::Const(*f), rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(freq: impl Fn(usize) -> f32, positions: usize, half: usize, scale: f64) -> [Tensor<f64>; 2] {
        let angle = |p: usize, i: usize| p as f32 * freq(i % half);
        let table = |f: &dyn Fn(f32) -> f32| Tensor {
            shape: vec![1, 1, positions, 2 * half],
            data: (0..positions)
                .flat_map(|p| (0..2 * half).map(move |i| (p, i)))
                .map(|(p, i)| scale * f64::from(f(angle(p, i))))
                .collect(),
        };
        [table(&libm::cosf), table(&libm::sinf)]
    }

    #[test]
    fn a_series_is_written_as_the_language_does() {
        for (theta, half, positions) in [(10000.0f32, 4, 5), (500_000.0, 64, 128), (1e6, 2, 12)] {
            let [cos, sin] = tables(|i| theta.powf(-(i as f32) / half as f32), positions, half, 1.0);
            let (freq, scale) = frequencies(&cos, &sin).unwrap();
            let wanted = Formula::Const(theta.into()).pow(-2.0 * Formula::x() / (2 * half) as f64);
            assert_eq!((freq, scale), (wanted, 1.0));
        }
    }

    #[test]
    fn other_frequencies_are_chosen_by_number() {
        let own = [0.9f32, 0.31, 0.007];
        let [cos, sin] = tables(|i| own[i], 40, 3, 1.25);
        let (freq, scale) = frequencies(&cos, &sin).unwrap();
        assert_eq!(scale, 1.25);
        for (i, f) in own.iter().enumerate() {
            assert!((freq.eval(i as f64) - f64::from(*f)).abs() < 1e-6, "{freq:?}");
        }
        // Tables that are no angles of positions.
        let [mut cos, sin] = tables(|i| own[i], 40, 3, 1.0);
        cos.data[77] += 0.01;
        assert!(frequencies(&cos, &sin).is_none());
        let [cos, sin] = tables(|i| own[i], 1, 3, 1.0);
        assert!(frequencies(&cos, &sin).is_none());
    }
}
