//! A functional's multilinear extension at a point of the flat space, without a weight for each cell.
//!
//! With a product weighting a functional factors over the tensor's axes, and over the low bits of each of them; only the
//! block indices meet in the flat position. So each axis is pushed forward to its blocks by itself, in closed form where
//! the coordinate is an iteration axis weighted by `eq` (`eq(ρ, x) · eq(z, x)` over the low bits of x is one product per
//! variable), and what is left is `Σ_blocks eq(z_high, block) · Π_a f_a(block_a)` ([`super::blocks`]).

use alloc::{vec, vec::Vec};

use mlc_circuit::{Access, AxisMap, BlockLayout};
use num_traits::{One, Zero};

use super::axis::Local;
use super::blocks::contract;
use super::{AxisWeights, Split, Weighting, for_each_entry, push, total};
use crate::field::{QM31, dot, eq_index, eq_points};

/// The functional's multilinear extension over the flat space of `layout`, at `z`.
pub fn evaluate(access: &Access, from: &Weighting, layout: &BlockLayout, z: &[QM31]) -> QM31 {
    let split = Split::new(layout, z);
    match from.core[..] {
        [scale] => product(access, from, scale, layout, &split),
        _ => general(access, from, layout, &split),
    }
}

/// An axis of a tensor, pushed forward to its block indices.
pub(super) enum Blocks {
    /// `eq(point, ·)`.
    Eq(Vec<QM31>),
    /// One weight for each.
    Dense(Vec<QM31>),
    /// The entries (block, weight); those of one block add up, the others weigh 0.
    Sparse(Vec<(usize, QM31)>),
}

/// A sparse axis is walked entry by entry where it has this many times as many blocks.
const SPARSE: usize = 8;

fn product(access: &Access, from: &Weighting, scale: QM31, layout: &BlockLayout, split: &Split<'_>) -> QM31 {
    let unused = from.axes.iter().enumerate().filter(|(i, _)| !access.uses(*i as u8));
    let mut scale = unused.fold(scale, |acc, (i, axis)| {
        total(axis, access.gate(i as u8)).into_iter().sum::<QM31>() * acc
    });
    let mut axes = Vec::with_capacity(layout.shape.len());
    for ((map, &n), &low) in access.axes.iter().zip(&layout.shape).zip(&split.low) {
        let odd = n >> low.len();
        let (factor, blocks) = blocks(map, from, n, low);
        scale *= factor;
        // An axis of one block has no part in the position.
        match blocks {
            Blocks::Eq(_) if odd == 1 => {}
            Blocks::Dense(w) if odd == 1 => scale *= w[0],
            _ => axes.push((odd, blocks)),
        }
    }
    scale * contract(&axes, split.high, split.first)
}

/// The coordinate `map` of an axis of length `n` whose low bits are at `low`: a factor, and weights by block.
fn blocks(map: &AxisMap, from: &Weighting, n: usize, low: &[QM31]) -> (QM31, Blocks) {
    let odd = n >> low.len();
    let place = |y: i64, w: QM31| -> Option<(usize, QM31)> {
        let y = usize::try_from(y).ok().filter(|&y| y < n)?;
        let rest = y & ((1 << low.len()) - 1);
        Some((y >> low.len(), w * eq_index(low, rest)))
    };
    let found = match map {
        AxisMap::Affine { offset, parts } => match parts[..] {
            [] => Some((
                QM31::one(),
                sparse(place((*offset).into(), QM31::one()).into_iter().collect(), odd),
            )),
            [(iter, stride)] => {
                let axis = &from.axes[iter as usize];
                let whole = *offset == 0 && stride == 1 && axis.len == n;
                match &axis.local {
                    Local::Point(point) if whole => {
                        let (high, own) = point.split_at(point.len() - low.len());
                        Some((eq_points(own, low), Blocks::Eq(high.to_vec())))
                    }
                    Local::Ones if whole => Some((QM31::one(), Blocks::Dense(vec![QM31::one(); odd]))),
                    Local::Sparse(entries) => {
                        let at = |x: usize| i64::from(*offset) + i64::from(stride) * x as i64;
                        let placed = entries.iter().filter_map(|&(x, w)| place(at(x), w)).collect();
                        Some((QM31::one(), sparse(placed, odd)))
                    }
                    _ => None,
                }
            }
            _ => None,
        },
        // An instance has none of the latter.
        AxisMap::Before { .. } | AxisMap::From { .. } => None,
    };
    found.unwrap_or_else(|| {
        let used: Vec<&AxisWeights> = map.iters().iter().map(|&i| &from.axes[i as usize]).collect();
        let mut out = vec![QM31::zero(); odd];
        for_each_entry(map, &used, &AxisWeights::blocked(low, n), |_, h, w| out[h] += w);
        (QM31::one(), Blocks::Dense(out))
    })
}

/// Entries as they are where they are few, else laid out.
fn sparse(entries: Vec<(usize, QM31)>, odd: usize) -> Blocks {
    if entries.len().saturating_mul(SPARSE) < odd {
        return Blocks::Sparse(entries);
    }
    let mut out = vec![QM31::zero(); odd];
    entries.iter().for_each(|&(b, w)| out[b] += w);
    Blocks::Dense(out)
}

/// With weights that do not factor.
fn general(access: &Access, from: &Weighting, layout: &BlockLayout, split: &Split<'_>) -> QM31 {
    let blocks = split.blocks();
    // Leaves read as they lie: only their low bits have to be summed.
    let mut scale = QM31::one();
    let aligned = access.gates.is_empty()
        && access.axes.len() == from.axes.len()
        && (access.axes.iter().enumerate())
            .zip(from.axes.iter().zip(&layout.shape).zip(&split.low))
            .all(|((i, map), ((axis, &n), low))| {
                scale *= match &axis.local {
                    Local::Point(point) if point.len() == low.len() => eq_points(point, low),
                    Local::Ones if axis.shift == 0 && low.is_empty() => QM31::one(),
                    _ => return false,
                };
                axis.len == n && *map == AxisMap::iter(i as u8)
            });
    if aligned {
        return scale * dot(&from.core, &blocks);
    }
    let to: Vec<AxisWeights> = layout
        .shape
        .iter()
        .zip(&split.low)
        .map(|(&n, low)| AxisWeights::blocked(low, n))
        .collect();
    dot(&push(access, from, &to), &blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlc_circuit::Gate;
    use proptest::prelude::*;

    use crate::functional::dense;
    use crate::transcript::Transcript;

    /// Lengths with odd parts of all kinds.
    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![
            Just(1usize),
            Just(3),
            Just(17),
            Just(20),
            Just(40),
            Just(16),
            1usize..14
        ]
    }

    fn part() -> impl Strategy<Value = (usize, i32, i32)> {
        (length(), -3i32..20, 1i32..4)
    }

    /// Kinds of iteration axes; the point of an axis is drawn from its seed.
    fn axis(kind: u8, len: usize, t: &mut Transcript) -> AxisWeights {
        let bits = mlc_circuit::bits_for(len);
        match kind % 4 {
            0 => AxisWeights::ones(len),
            1 => AxisWeights::point(&t.draw_many(bits), len),
            // Some indices, one of them twice.
            2 => AxisWeights::sparse([0, len / 2, len - 1, len / 2].map(|x| (x, t.draw())).to_vec(), len),
            _ => AxisWeights::unit(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// Every closed form against the sum over all cells.
        #[test]
        fn product_weightings_agree_with_cells(
            axes in prop::collection::vec((length(), 0u8..7, 0u8..4, part()), 0..4),
            unused in (0u8..4, length(), any::<bool>()),
            skipped in 0usize..3,
            seed in any::<u8>(),
        ) {
            let mut t = Transcript::new(&[seed]);
            let shape: Vec<usize> = axes.iter().map(|a| a.0).collect();
            let (mut maps, mut from) = (Vec::new(), Vec::new());
            for &(n, map, kind, (len, offset, stride)) in &axes {
                let i = from.len() as u8;
                let affine = |offset, parts| AxisMap::Affine { offset, parts };
                match map {
                    0 => maps.push(AxisMap::constant(offset)),
                    1 => {
                        from.push(axis(kind, len, &mut t));
                        maps.push(AxisMap::Before { iter: i });
                    }
                    2 => {
                        from.push(axis(kind, len, &mut t));
                        maps.push(affine(offset, vec![(i, stride)]));
                    }
                    3 => {
                        from.extend([axis(kind, len, &mut t), axis(1, 3, &mut t)]);
                        maps.push(affine(offset, vec![(i, stride), (i + 1, 1)]));
                    }
                    // As it lies.
                    _ => {
                        from.push(axis(kind, n, &mut t));
                        maps.push(AxisMap::iter(i));
                    }
                }
            }
            let gated = Gate { iter: from.len() as u8, at: 1 };
            from.push(axis(unused.0, unused.1, &mut t));
            let access = Access { axes: maps, gates: if unused.2 { vec![gated] } else { vec![] } };
            let mut layout = BlockLayout::new(shape);
            layout.offset = skipped << layout.block_bits();
            let z = t.draw_many(mlc_circuit::bits_for(layout.offset + layout.len()) + 1);
            let weighting = Weighting::product(from);
            let cells = dense(&access, &weighting, &layout.shape);
            let want: QM31 = cells.iter().zip(layout.positions()).map(|(&w, p)| w * eq_index(&z, p)).sum();
            prop_assert_eq!(evaluate(&access, &weighting, &layout, &z), want);
        }

        /// Few rows of many, as tokens name them: some twice.
        #[test]
        fn selected_rows_agree_with_cells(
            rows in prop::collection::vec(0usize..1006, 0..30),
            inner in length(),
            seed in any::<u8>(),
        ) {
            let mut t = Transcript::new(&[seed]);
            let mut layout = BlockLayout::new(vec![1006, inner]);
            layout.offset = 3 << layout.block_bits();
            let z = t.draw_many(mlc_circuit::bits_for(layout.offset + layout.len()));
            let entries: Vec<(usize, QM31)> = rows.into_iter().map(|r| (r, t.draw())).collect();
            let point = t.draw_many(mlc_circuit::bits_for(inner));
            let positions = layout.positions();
            let mut want = QM31::zero();
            for &(row, w) in &entries {
                for x in 0..inner {
                    want += w * eq_index(&point, x) * eq_index(&z, positions[row * inner + x]);
                }
            }
            let weighting = Weighting::product(vec![AxisWeights::sparse(entries, 1006), AxisWeights::point(&point, inner)]);
            prop_assert_eq!(evaluate(&Access::identity(2), &weighting, &layout, &z), want);
        }

        /// Leaves of one layout read the cells of another.
        #[test]
        fn layouts_agree_with_cells(
            shape in prop::collection::vec(length(), 1..4),
            skipped in (0usize..3, 0usize..3),
            whole in any::<bool>(),
            seed in any::<u8>(),
        ) {
            let mut t = Transcript::new(&[seed]);
            let mut site = BlockLayout::new(shape.clone());
            site.offset = skipped.0 << site.block_bits();
            // Either every axis, or all but the last.
            let read = shape.len() - usize::from(!whole);
            let mut layout = BlockLayout::new(shape[..read].to_vec());
            layout.offset = skipped.1 << layout.block_bits();
            let bits = |l: &BlockLayout| mlc_circuit::bits_for(l.offset + l.len());
            let (zeta, z) = (t.draw_many(bits(&site)), t.draw_many(bits(&layout) + 2));
            let weighting = Weighting::layout(&site, &zeta);
            let inner: usize = shape[read..].iter().product();
            let positions = layout.positions();
            let want: QM31 = site
                .positions()
                .into_iter()
                .enumerate()
                .map(|(leaf, p)| eq_index(&zeta, p) * eq_index(&z, positions[leaf / inner]))
                .sum();
            prop_assert_eq!(evaluate(&Access::identity(read), &weighting, &layout, &z), want);
        }
    }
}
