//! Attention masks that are added to scores.
//!
//! Exporters fold a mask to a constant of the shape of the scores: 0 where a key is seen, the least number that there is where
//! it is hidden. Added, such a number would decide the scale of all scores. Before a softmax it says which positions take part:
//! all of them; those that a causal mask leaves, with or without a window; or a list of its own.

use mlc_ir::{BinaryOp, Dim, Elem, Literal, Op, Tensor, ValueId};

use super::context::Context;
use crate::error::NodeError;

/// What is at most this hides its position: beside it, no score counts.
const HIDDEN: f64 = -1e4;

/// The operands of a softmax over `x`: the scores and, where a mask hides some of them, the mask.
pub(super) fn found(ctx: &mut Context<'_, '_>, x: ValueId) -> Result<Vec<ValueId>, NodeError> {
    let Some((scores, mask)) = added(ctx, x) else {
        return Ok(vec![x]);
    };
    ctx.recognised = true;
    if mask.data.iter().all(|keep| *keep) {
        return Ok(vec![scores]);
    }
    let op = causal(&mask).unwrap_or_else(|| {
        Op::Const(Literal::Integers {
            elem: Elem::Mask,
            data: mask.map(|keep| i64::from(*keep)).into(),
        })
    });
    let mask = ctx.push(op, &[])?;
    Ok(vec![scores, mask])
}

/// Scores and the mask `[queries, keys]` that `x` is the sum of: true where a key is seen.
fn added(ctx: &Context<'_, '_>, x: ValueId) -> Option<(ValueId, Tensor<bool>)> {
    let (Op::Binary(BinaryOp::Add), &[a, b]) = ctx.history(x)? else {
        return None;
    };
    [(a, b), (b, a)].into_iter().find_map(|(scores, mask)| {
        let (ours, shape) = (&ctx.ty(scores).shape.0, &ctx.ty(mask).shape.0);
        // One mask for all heads, as long as the scores; the sum has their shape.
        let [lead @ .., queries, keys] = shape.as_slice() else {
            return None;
        };
        let [.., q, k] = ours.as_slice() else {
            return None;
        };
        let one = |d: &Dim| *d == Dim::fixed(1);
        if !lead.iter().all(one) || lead.len() + 2 > ours.len() || queries != q || keys != k {
            return None;
        }
        let shape = vec![queries.as_const()? as usize, keys.as_const()? as usize];
        let values = ctx.elements(mask)?;
        let known = values.data.iter().all(|v| *v == 0.0 || *v <= HIDDEN);
        let data: Vec<bool> = values.data.iter().map(|v| *v == 0.0).collect();
        // A row that is hidden from itself and all others is the mean of everything: nothing that a mask says.
        let seen = data.chunks(shape[1].max(1)).all(|row| row.contains(&true));
        (known && seen).then_some((scores, Tensor { shape, data }))
    })
}

/// The causal mask that this is.
fn causal(mask: &Tensor<bool>) -> Option<Op> {
    let &[rows, cols] = mask.shape.as_slice() else {
        return None;
    };
    let row = |r: usize| &mask.data[r * cols..(r + 1) * cols];
    let offset = row(0).iter().rposition(|keep| *keep)?;
    let last = row(rows.checked_sub(1)?);
    // Its last row sees the window, unless that is longer than everything before it.
    let window = match last.iter().position(|keep| *keep)? {
        0 => None,
        _ => Some(last.iter().filter(|keep| **keep).count()),
    };
    let sees = |r: usize, c: usize| c <= r + offset && window.is_none_or(|w| c + w > r + offset);
    let same = (0..rows).all(|r| row(r).iter().enumerate().all(|(c, keep)| *keep == sees(r, c)));
    same.then(|| Op::CausalMask {
        rows: Dim::from(rows),
        cols: Dim::from(cols),
        offset: Dim::from(offset),
        window: window.map(|w| w as u64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[&str]) -> Tensor<bool> {
        Tensor {
            shape: vec![rows.len(), rows[0].len()],
            data: rows.iter().flat_map(|r| r.chars().map(|c| c == '1')).collect(),
        }
    }

    fn is(rows: &[&str], offset: i64, window: Option<u64>) -> bool {
        let wanted = Op::CausalMask {
            rows: Dim::from(rows.len()),
            cols: Dim::from(rows[0].len()),
            offset: Dim::fixed(offset),
            window,
        };
        causal(&mask(rows)) == Some(wanted)
    }

    #[test]
    fn causal_masks_are_found() {
        assert!(is(&["100", "110", "111"], 0, None));
        assert!(is(&["110", "111"], 1, None));
        assert!(is(&["1000", "1100", "0110", "0011"], 0, Some(2)));
        // Not quite.
        for rows in [["100", "010", "111"], ["100", "110", "101"], ["010", "110", "111"]] {
            assert!(causal(&mask(&rows)).is_none(), "{rows:?}");
        }
    }
}
