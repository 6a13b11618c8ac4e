//! Multilinear functionals induced by accesses, evaluated axis by axis.
//!
//! A read at a random point is a linear functional of the tensor read: `Σ_x w(x) · tensor[access(x)]`, where the
//! weight `w` of an iteration is `core[c(x)] · Π_a local_a[x_a]`: each iteration axis is cut into a *core* index (its
//! high bits) and a *local* index (its low bits), with a product weight on the local parts and any weight at all on
//! the core. An axis bound to a challenge point is all local (`eq(ρ, ·)`); an axis of a flattened contraction group is
//! all core; an axis of a blocked leaf layout is both.
//!
//! Because an access factors over the tensor's axes, such a functional is pushed forward one axis at a time
//! ([`push`]), at a cost of about the sum of the axis lengths times the core size; the verifier never touches cells.

use alloc::{sync::Arc, vec, vec::Vec};

use mlc_circuit::{Access, BlockLayout, Causal, bits_for};
use num_traits::{One, Zero};

use crate::field::QM31;
pub use crate::field::eq_range;

mod axis;
mod blocks;
mod evaluate;
mod mass;

pub use axis::{AxisWeights, for_each_entry, total};
pub use evaluate::evaluate;
pub use mass::{block_weight, joint_mass, mass, prefix_joint_mass, prefix_mass, shifted_joint_mass};

/// Weights of all iteration axes. A clone shares them.
#[derive(Debug, Clone)]
pub struct Weighting {
    /// Per axis.
    pub axes: Vec<AxisWeights>,
    /// Row-major over the core indices of all axes.
    pub core: Arc<[QM31]>,
}

impl Weighting {
    /// A product weighting: every axis all local.
    pub fn product(axes: Vec<AxisWeights>) -> Self {
        debug_assert!(axes.iter().all(|a| a.core() == 1));
        Self {
            axes,
            core: [QM31::one()].into(),
        }
    }

    /// The weights `eq(point, position)` of a blocked tensor's cells.
    pub fn layout(layout: &BlockLayout, point: &[QM31]) -> Self {
        let split = Split::new(layout, point);
        let axes = layout
            .shape
            .iter()
            .zip(&split.low)
            .map(|(&n, low)| AxisWeights::blocked(low, n))
            .collect();
        Self {
            axes,
            core: split.blocks().into(),
        }
    }
}

/// A point of the flat space, cut along a blocked layout.
struct Split<'p> {
    /// Per axis, the challenges of its low bits.
    low: Vec<&'p [QM31]>,
    /// The challenges of the blocks.
    high: &'p [QM31],
    /// Index of the layout's first block.
    first: usize,
    /// Number of its blocks.
    count: usize,
}

impl<'p> Split<'p> {
    fn new(layout: &BlockLayout, point: &'p [QM31]) -> Self {
        let block_bits = layout.block_bits() as usize;
        let (high, mut rest) = point.split_at(point.len() - block_bits);
        let low = layout
            .low_bits
            .iter()
            .map(|&k| {
                let (a, b) = rest.split_at(k as usize);
                rest = b;
                a
            })
            .collect();
        Self {
            low,
            high,
            first: layout.offset >> block_bits,
            count: layout.len() >> block_bits,
        }
    }

    /// `eq(high point, block)` for each of the layout's blocks.
    fn blocks(&self) -> Vec<QM31> {
        eq_range(self.high, self.first, self.count)
    }
}

/// A dense tensor of extension elements whose axes are labelled.
struct Labelled {
    labels: Vec<usize>,
    sizes: Vec<usize>,
    data: Vec<QM31>,
}

impl Labelled {
    /// Replaces the axes `used` by one axis `label` of size `size` (at the end), through a sparse matrix from their
    /// flattened index (in the order of `used`). `entries` hands the matrix' entries to the function that it is given: a
    /// hostile access may have very many, so only some are held at a time.
    fn apply(
        &mut self,
        used: &[usize],
        label: usize,
        size: usize,
        entries: impl FnOnce(&mut dyn FnMut(usize, usize, QM31)),
    ) {
        const HELD: usize = 1 << 12;
        let mut strides = vec![1usize; self.sizes.len()];
        for a in (0..self.sizes.len().saturating_sub(1)).rev() {
            strides[a] = strides[a + 1] * self.sizes[a + 1];
        }
        let offsets = |axes: &[usize]| {
            let mut out = vec![0usize];
            for &a in axes {
                out = out
                    .iter()
                    .flat_map(|&o| (0..self.sizes[a]).map(move |i| (o, i)))
                    .map(|(o, i)| o + i * strides[a])
                    .collect();
            }
            out
        };
        let axis_of = |l: &usize| self.labels.iter().position(|m| m == l).unwrap_or(usize::MAX);
        let used_axes: Vec<usize> = used.iter().map(axis_of).collect();
        let rest_axes: Vec<usize> = (0..self.sizes.len()).filter(|a| !used_axes.contains(a)).collect();
        let (used_offsets, rest_offsets) = (offsets(&used_axes), offsets(&rest_axes));
        let mut data = vec![QM31::zero(); rest_offsets.len() * size];
        let mut add = |matrix: &mut Vec<(usize, usize, QM31)>| {
            for (r, &base) in rest_offsets.iter().enumerate() {
                let row = &mut data[r * size..(r + 1) * size];
                for &(c, h, w) in matrix.iter() {
                    row[h] += self.data[base + used_offsets[c]] * w;
                }
            }
            matrix.clear();
        };
        let mut matrix = Vec::new();
        entries(&mut |c, h, w| {
            matrix.push((c, h, w));
            if matrix.len() == HELD {
                add(&mut matrix);
            }
        });
        add(&mut matrix);
        self.labels = rest_axes.iter().map(|&a| self.labels[a]).chain([label]).collect();
        self.sizes = rest_axes.iter().map(|&a| self.sizes[a]).chain([size]).collect();
        self.data = data;
    }

    /// Sums axis `label` out, weighted by `axis` where the gate allows.
    fn sum_out(&mut self, label: usize, axis: &AxisWeights, gate: Option<u32>) {
        let sums = total(axis, gate);
        self.apply(&[label], usize::MAX, 1, |add| {
            sums.iter().enumerate().for_each(|(c, &w)| add(c, 0, w));
        });
        // The axis of size 1 just added.
        self.labels.pop();
        self.sizes.pop();
    }
}

/// The functional's weights on the target, row-major over the core indices of `to`: entry `h` is
/// `Σ_{x, y = access(x), core(y) = h} w(x) · local_to(y)`.
pub fn push(access: &Access, from: &Weighting, to: &[AxisWeights]) -> Vec<QM31> {
    const TARGET: usize = 1 << 16;
    let mut t = Labelled {
        labels: (0..from.axes.len()).collect(),
        sizes: from.axes.iter().map(AxisWeights::core).collect(),
        data: from.core.to_vec(),
    };
    for (i, axis) in from.axes.iter().enumerate() {
        if !access.uses(i as u8) {
            t.sum_out(i, axis, access.gate(i as u8));
        }
    }
    for (k, (map, to)) in access.axes.iter().zip(to).enumerate() {
        let used: Vec<usize> = map.iters().iter().map(|&i| i as usize).collect();
        let weights: Vec<&AxisWeights> = used.iter().map(|&i| &from.axes[i]).collect();
        t.apply(&used, TARGET + k, to.core(), |add| {
            for_each_entry(map, &weights, to, add)
        });
    }
    t.data
}

/// The functional's weights on every cell, row-major.
pub fn dense(access: &Access, from: &Weighting, shape: &[usize]) -> Vec<QM31> {
    let to: Vec<AxisWeights> = shape.iter().map(|&n| AxisWeights::explicit(n)).collect();
    push(access, from, &to)
}

/// `Σ_x w(x) · [x is hidden]` for a causal mask whose offset is `offset`: the visible columns of a row are an interval, so
/// prefix sums over the columns give every row in one step. Cost: blocks of rows × columns, and the rows.
pub fn causal(mask: &Causal, offset: usize, from: &Weighting) -> QM31 {
    let (row, col) = (usize::from(mask.row), usize::from(mask.col));
    let mut t = Labelled {
        labels: (0..from.axes.len()).collect(),
        sizes: from.axes.iter().map(AxisWeights::core).collect(),
        data: from.core.to_vec(),
    };
    for (i, axis) in from.axes.iter().enumerate().filter(|(i, _)| *i != row && *i != col) {
        t.sum_out(i, axis, None);
    }
    let (rows, cols) = (&from.axes[row], &from.axes[col]);
    let (row_table, col_table) = (rows.table(), cols.table());
    let (row_stride, col_stride) = if row < col { (cols.core(), 1) } else { (1, rows.core()) };
    let mut acc = QM31::zero();
    for block in 0..rows.core() {
        let mut prefix = Vec::with_capacity(cols.len + 1);
        let mut sum = QM31::zero();
        prefix.push(sum);
        for c in 0..cols.len {
            let (core, w) = col_table.at(c);
            sum += t.data[block * row_stride + core * col_stride] * w;
            prefix.push(sum);
        }
        let first = block << rows.shift;
        for x in first..(first + (1 << rows.shift)).min(rows.len) {
            let visible = mask.visible(x, offset, cols.len);
            acc += row_table.at(x).1 * (sum - prefix[visible.end] + prefix[visible.start]);
        }
    }
    acc
}

/// Cuts `point` into one piece per axis, of `bits_for(len)` challenges each; the pieces are its start.
pub fn split_point<'p>(mut point: &'p [QM31], lens: &[usize]) -> Vec<&'p [QM31]> {
    lens.iter()
        .map(|&n| {
            let (a, b) = point.split_at(bits_for(n));
            point = b;
            a
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{eq_index, eq_table};
    use mlc_circuit::{AxisMap, Gate};

    fn point(n: usize, seed: u32) -> Vec<QM31> {
        (0..n as u32)
            .map(|i| QM31::from_u32_unchecked(seed * 7 + i, 3 * i + seed, 11 + seed * i, i * i + 5))
            .collect()
    }

    /// Σ over all iterations, by brute force.
    fn brute(access: &Access, from: &Weighting, layout: &BlockLayout, z: &[QM31]) -> QM31 {
        let positions = layout.positions();
        dense(access, from, &layout.shape)
            .iter()
            .zip(positions)
            .fold(QM31::zero(), |a, (&f, p)| a + f * eq_index(z, p))
    }

    fn brute_dense(access: &Access, from: &Weighting, shape: &[usize]) -> Vec<QM31> {
        let mut out = vec![QM31::zero(); shape.iter().product()];
        let total: usize = from.axes.iter().map(|a| a.len).product();
        for flat in 0..total {
            let mut x = vec![0; from.axes.len()];
            let mut f = flat;
            for a in (0..x.len()).rev() {
                x[a] = f % from.axes[a].len;
                f /= from.axes[a].len;
            }
            let (mut c, mut w) = (0, QM31::one());
            for (a, &x) in from.axes.iter().zip(&x) {
                let (ca, wa) = a.table().at(x);
                c = c * a.core() + ca;
                w *= wa;
            }
            w *= from.core[c];
            if access.gates.iter().any(|g| x[g.iter as usize] != g.at as usize) {
                continue;
            }
            // All cells this iteration reads (several for `Before`).
            let mut cells = vec![0usize];
            for (m, &n) in access.axes.iter().zip(shape) {
                let ys: Vec<usize> = match m {
                    AxisMap::From { .. } => Vec::new(),
                    AxisMap::Before { iter } => (0..x[*iter as usize].min(n)).collect(),
                    AxisMap::Affine { offset, parts } => {
                        let y = *offset as i64 + parts.iter().map(|p| x[p.0 as usize] as i64 * p.1 as i64).sum::<i64>();
                        if (0..n as i64).contains(&y) {
                            vec![y as usize]
                        } else {
                            vec![]
                        }
                    }
                };
                cells = cells.iter().flat_map(|&c| ys.iter().map(move |&y| c * n + y)).collect();
            }
            for c in cells {
                out[c] += w;
            }
        }
        out
    }

    #[test]
    fn convolution_slices_gates_and_residuals_agree_with_brute_force() {
        let conv = Access {
            axes: vec![
                AxisMap::iter(0),
                AxisMap::iter(3),
                AxisMap::Affine {
                    offset: -1,
                    parts: vec![(1, 2), (4, 1)],
                },
                AxisMap::Affine {
                    offset: -1,
                    parts: vec![(2, 1), (5, 2)],
                },
            ],
            gates: vec![],
        };
        let (b, y, x, c, ky, kx) = (3, 5, 6, 2, 3, 2);
        let group = c * ky * kx;
        let k = point(bits_for(group), 4);
        let from = Weighting {
            axes: vec![
                AxisWeights::point(&point(2, 1), b),
                AxisWeights::point(&point(3, 2), y),
                AxisWeights::point(&point(3, 3), x),
                AxisWeights::explicit(c),
                AxisWeights::explicit(ky),
                AxisWeights::explicit(kx),
            ],
            core: eq_table(&k, group).into(),
        };
        let mut layout = BlockLayout::new(vec![b, c, 10, 7]);
        layout.offset = 64;
        assert_eq!(
            dense(&conv, &from, &layout.shape),
            brute_dense(&conv, &from, &layout.shape)
        );
        let z = point(10, 9);
        assert_eq!(evaluate(&conv, &from, &layout, &z), brute(&conv, &from, &layout, &z));

        let residual = Access {
            axes: vec![
                AxisMap::Before { iter: 0 },
                AxisMap::Affine {
                    offset: 1,
                    parts: vec![(1, 1)],
                },
            ],
            gates: vec![Gate { iter: 2, at: 1 }],
        };
        let from = Weighting::product(vec![
            AxisWeights::point(&point(3, 5), 6),
            AxisWeights::ones(4),
            AxisWeights::point(&point(2, 6), 3),
        ]);
        let layout = BlockLayout::new(vec![6, 4]);
        assert_eq!(
            dense(&residual, &from, &layout.shape),
            brute_dense(&residual, &from, &layout.shape)
        );
        let z = point(5, 2);
        assert_eq!(
            evaluate(&residual, &from, &layout, &z),
            brute(&residual, &from, &layout, &z)
        );
    }

    #[test]
    fn causal_masks_agree_with_brute_force() {
        for (shape, row, col) in [
            ([3, 5, 10], 1, 2),
            ([6, 4, 7], 2, 0),
            ([17, 2, 8], 0, 2),
            ([1, 12, 1], 1, 2),
        ] {
            let mut layout = BlockLayout::new(shape.to_vec());
            layout.offset = 1 << layout.block_bits();
            let z = point(bits_for(layout.offset + layout.len()), 6);
            for (offset, window) in [(0, None), (2, Some(1)), (3, Some(4)), (40, Some(3)), (0, Some(100))] {
                let mask = Causal {
                    row,
                    col,
                    offset: mlc_circuit::Len::fixed(offset),
                    window,
                };
                let mut want = QM31::zero();
                for (flat, p) in layout.positions().into_iter().enumerate() {
                    let x = [
                        flat / (shape[1] * shape[2]),
                        flat / shape[2] % shape[1],
                        flat % shape[2],
                    ];
                    let (r, c) = (x[usize::from(row)] as i64, x[usize::from(col)] as i64);
                    let last = r + offset as i64;
                    if c > last || window.is_some_and(|w| c <= last - i64::from(w)) {
                        want += eq_index(&z, p);
                    }
                }
                assert_eq!(
                    causal(&mask, offset, &Weighting::layout(&layout, &z)),
                    want,
                    "{shape:?} {mask:?}"
                );
            }
        }
    }

    #[test]
    fn leaf_weights_push_through_an_access() {
        // A virtual site over [3, 2] windows reading a tensor of 6 along one axis.
        let mut site = BlockLayout::new(vec![3, 2]);
        site.offset = 8;
        let z = point(4, 8);
        let access = Access {
            axes: vec![AxisMap::Affine {
                offset: 0,
                parts: vec![(0, 2), (1, 1)],
            }],
            gates: vec![],
        };
        let from = Weighting::layout(&site, &z);
        let got = dense(&access, &from, &[6]);
        let want: Vec<QM31> = site.positions().iter().map(|&p| eq_index(&z, p)).collect();
        assert_eq!(got, want);
    }
}
