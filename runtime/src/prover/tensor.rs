//! Weight vectors over tensors, in the order in which the tensors are stored.
//!
//! The functional of a read (`mlc_verifier::functional`) is, but for convolutions' flattened groups and blocked leaves,
//! a product of one vector per axis of the tensor: an outer product, which a backend forms in SIMD registers without a
//! table of positions. Everything else goes through the dense form, cell by cell.

use std::borrow::Cow;
use std::sync::Arc;

use mlc_circuit::{Access, BlockLayout};
use mlc_verifier::field::QM31;
use mlc_verifier::functional::{AxisWeights, Weighting, dense, for_each_entry, total};
use num_traits::{One, Zero};

use crate::backend::fractions::Numerators;
use crate::backend::{Backend, Columns};

/// Trailing axes are multiplied out until the product has this many entries.
const INNER: usize = 1024;
/// Or until one more axis would give it more than this many.
const MOST: usize = 1 << 16;

/// The weights of a functional on a tensor's cells.
pub enum Weights {
    /// `scale · Π_a axes[a][x_a]`.
    Product {
        /// Factor.
        scale: QM31,
        /// One vector per axis.
        axes: Vec<Vec<QM31>>,
    },
    /// Any weights, row-major.
    Dense(Vec<QM31>),
}

impl Weights {
    /// The functional `Σ_x w(x) · tensor[access(x)]` on a tensor of `shape`.
    pub fn new(access: &Access, from: &Weighting, shape: &[usize]) -> Self {
        let [scale] = from.core[..] else {
            return Self::Dense(dense(access, from, shape));
        };
        let unused = from.axes.iter().enumerate().filter(|(i, _)| !access.uses(*i as u8));
        let scale = unused.fold(scale, |acc, (i, axis)| {
            total(axis, access.gate(i as u8)).into_iter().sum::<QM31>() * acc
        });
        let axes = access
            .axes
            .iter()
            .zip(shape)
            .map(|(map, &n)| {
                let used: Vec<&AxisWeights> = map.iters().iter().map(|&i| &from.axes[i as usize]).collect();
                let mut out = vec![QM31::zero(); n];
                for_each_entry(map, &used, &AxisWeights::explicit(n), |_, y, w| out[y] += w);
                out
            })
            .collect();
        Self::Product { scale, axes }
    }

    /// Adds `factor ·` the weights to `out`, in the order of `order`, the first cell at `at`.
    pub fn add_to<B: Backend>(&self, backend: &B, factor: QM31, order: &Order, out: &mut B::Ext, at: usize) {
        match self {
            Self::Product { scale, axes } => {
                order.for_each_block(backend, axes, factor * *scale, |block, outer, inner| {
                    backend.add_outer(out, at + block, outer, inner);
                });
            }
            Self::Dense(values) => {
                let values = order.arrange(values).into_owned();
                backend.add_scaled(out, at, factor, &backend.ext(values));
            }
        }
    }

    /// `Σ weights · values` over a tensor whose cells are at `values[at..]`, in the order of `order`.
    pub fn apply<B: Backend>(&self, backend: &B, order: &Order, values: &B::Base, at: usize) -> QM31 {
        match self {
            Self::Product { scale, axes } => {
                let mut sum = QM31::zero();
                order.for_each_block(backend, axes, *scale, |block, outer, inner| {
                    sum += backend.inner_product(values, at + block, outer, inner);
                });
                sum
            }
            Self::Dense(weights) => {
                let weights = backend.ext(order.arrange(weights).into_owned());
                backend.inner_product(values, at, &[QM31::one()], &weights)
            }
        }
    }
}

/// A sum of products over a tensor that is not written out: per block of the tensor's order, terms that cover it.
pub struct Blocks<B: Backend> {
    /// Cells of a block.
    pub len: usize,
    /// Per block the indices of its terms in `terms`.
    pub blocks: Vec<Vec<usize>>,
    /// The terms.
    pub terms: Vec<BlockTerm<B>>,
}

/// `outer[o]` times an inner vector.
pub struct BlockTerm<B: Backend> {
    /// One factor per row of the block.
    pub outer: Vec<QM31>,
    /// One factor per position in a row; `None` where it is 1 everywhere.
    pub inner: Option<Arc<B::Ext>>,
}

/// An inner vector as a factor and what is left of it: `None` for 1 everywhere.
type Inner<B> = (QM31, Option<Arc<<B as Columns>::Ext>>);

impl<B: Backend> Blocks<B> {
    /// A sum without terms over a tensor in this order.
    pub fn new(order: &Order) -> Self {
        Self {
            len: order.block_len(),
            blocks: vec![Vec::new(); order.axes.iter().map(|a| a.0).product()],
            terms: Vec::new(),
        }
    }

    /// Adds `factor ·` weights; `false`, and nothing is added, where they are not a product.
    pub fn add(&mut self, backend: &B, weights: &Weights, factor: QM31, order: &Order) -> bool {
        let Weights::Product { scale, axes } = weights else {
            return false;
        };
        let mut inners: Vec<Option<Inner<B>>> = Vec::new();
        order.for_each_product(axes, factor * *scale, |block, kind, outer, inner| {
            if inners.len() <= kind {
                // Products over sums are constant along the axes that are summed; where they are part of a sum, zero.
                let first = inner[0];
                inners.push(if inner.iter().all(|&v| v == first) {
                    (!first.is_zero()).then_some((first, None))
                } else {
                    Some((QM31::one(), Some(Arc::new(backend.ext(inner.to_vec())))))
                });
            }
            if let Some((scale, inner)) = &inners[kind]
                && outer.iter().any(|o| !o.is_zero())
            {
                self.blocks[block].push(self.terms.len());
                self.terms.push(BlockTerm {
                    outer: outer.iter().map(|&o| o * *scale).collect(),
                    inner: inner.clone(),
                });
            }
        });
        true
    }

    /// The terms of block `block`, `scale ·` them, as numerators of its leaves.
    pub fn numerators(&self, block: usize, scale: QM31) -> impl Iterator<Item = Numerators<'_, B>> {
        self.blocks[block].iter().map(move |&t| {
            let BlockTerm { outer, inner } = &self.terms[t];
            let scaled = outer.iter().map(|&o| o * scale).collect();
            match inner {
                Some(inner) => Numerators::Outer {
                    outer: scaled,
                    inner: inner.as_ref(),
                },
                None => Numerators::Units {
                    unit: self.len / outer.len(),
                    values: scaled,
                },
            }
        })
    }
}

/// The order of a tensor's cells: blocks, and inside a block row-major.
pub struct Order {
    /// Per axis, the number of blocks and the length of an axis inside a block.
    axes: Vec<(usize, usize)>,
}

impl Order {
    /// Row-major.
    pub fn row_major(shape: &[usize]) -> Self {
        Self {
            axes: shape.iter().map(|&n| (1, n)).collect(),
        }
    }

    /// As a blocked layout places them.
    pub fn of(layout: &BlockLayout) -> Self {
        let axes: Vec<(usize, usize)> = (layout.odd().into_iter().zip(&layout.low_bits))
            .map(|(odd, &k)| (odd, 1 << k))
            .collect();
        // Behind the first axis with low bits, a second block would come before the low bits of the first.
        let row_major = axes.iter().skip_while(|a| a.1 == 1).skip(1).all(|a| a.0 == 1);
        if row_major {
            return Self::row_major(&layout.shape);
        }
        Self { axes }
    }

    fn is_row_major(&self) -> bool {
        self.axes.iter().all(|a| a.0 == 1)
    }

    fn block_len(&self) -> usize {
        self.axes.iter().map(|a| a.1).product()
    }

    /// Row-major values in this order.
    pub fn arrange<'v, T: Copy>(&self, values: &'v [T]) -> Cow<'v, [T]> {
        if self.is_row_major() {
            return Cow::Borrowed(values);
        }
        let mut out = values.to_vec();
        self.for_each_run(|row_major, here, len| {
            out[here..here + len].copy_from_slice(&values[row_major..row_major + len]);
        });
        Cow::Owned(out)
    }

    /// Values in this order, row-major: the inverse of [`Self::arrange`].
    pub fn row_major_of<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let mut out = values.to_vec();
        if !self.is_row_major() {
            self.for_each_run(|row_major, here, len| {
                out[row_major..row_major + len].copy_from_slice(&values[here..here + len]);
            });
        }
        out
    }

    /// Calls `f(row-major index, index in this order, length)` for runs that cover the tensor.
    fn for_each_run(&self, mut f: impl FnMut(usize, usize, usize)) {
        let mut strides = vec![1; self.axes.len()];
        for a in (0..strides.len().saturating_sub(1)).rev() {
            strides[a] = strides[a + 1] * self.axes[a + 1].0 * self.axes[a + 1].1;
        }
        // The row-major offsets of the runs of a block, which are those of its last axis.
        let run = self.axes.last().map_or(1, |a| a.1);
        let mut runs = vec![0];
        for (&(_, low), &stride) in self.axes.iter().zip(&strides).take(strides.len().saturating_sub(1)) {
            runs = runs
                .iter()
                .flat_map(|&r| (0..low).map(move |x| r + x * stride))
                .collect();
        }
        let blocks: usize = self.axes.iter().map(|a| a.0).product();
        let mut here = 0;
        for block in 0..blocks {
            let start: usize = self.starts(block).iter().zip(&strides).map(|(a, s)| a * s).sum();
            for &r in &runs {
                f(start + r, here, run);
                here += run;
            }
        }
    }

    /// The first index of every axis in a block.
    fn starts(&self, block: usize) -> Vec<usize> {
        let mut rest = block;
        let mut out = vec![0; self.axes.len()];
        for (o, &(odd, low)) in out.iter_mut().zip(&self.axes).rev() {
            *o = rest % odd * low;
            rest /= odd;
        }
        out
    }

    /// Calls `f(start, outer, inner)` for every block: its cells, from `start`, weigh `outer ⊗ inner`.
    fn for_each_block<B: Backend>(
        &self,
        backend: &B,
        axes: &[Vec<QM31>],
        scale: QM31,
        mut f: impl FnMut(usize, &[QM31], &B::Ext),
    ) {
        let mut inners: Vec<B::Ext> = Vec::new();
        self.for_each_product(axes, scale, |block, kind, outer, inner| {
            if inners.len() <= kind {
                inners.push(backend.ext(inner.to_vec()));
            }
            f(block * self.block_len(), outer, &inners[kind]);
        });
    }

    /// Calls `f(block, kind, outer, inner)` for every block in order: its cells weigh `outer ⊗ inner`; blocks of the same
    /// kind have the same `inner`, and the kinds appear in ascending order.
    fn for_each_product(&self, axes: &[Vec<QM31>], scale: QM31, mut f: impl FnMut(usize, usize, &[QM31], &[QM31])) {
        // Axes `cut..` are multiplied out.
        let mut cut = self.axes.len();
        let mut len = 1;
        while cut > 0 && len < INNER && (len < 64 || len * self.axes[cut - 1].1 <= MOST) {
            cut -= 1;
            len *= self.axes[cut].1;
        }
        let slices = |starts: &[usize], range: std::ops::Range<usize>| {
            range.fold(vec![QM31::one()], |acc, a| {
                let own = &axes[a][starts[a]..starts[a] + self.axes[a].1];
                acc.iter().flat_map(|&x| own.iter().map(move |&y| x * y)).collect()
            })
        };
        let blocks: usize = self.axes.iter().map(|a| a.0).product();
        let kinds: usize = self.axes[cut..].iter().map(|a| a.0).product();
        // Trailing block indices vary fastest: block b has the inner vector b mod kinds.
        let inner: Vec<Vec<QM31>> = (0..kinds)
            .map(|b| slices(&self.starts(b), cut..self.axes.len()))
            .collect();
        let mut outer = Vec::new();
        for block in 0..blocks {
            if block % kinds == 0 {
                outer = slices(&self.starts(block), 0..cut);
                outer.iter_mut().for_each(|o| *o *= scale);
            }
            f(block, block % kinds, &outer, &inner[block % kinds]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::VectorOps;
    use crate::backend::cpu::Cpu;
    use mlc_verifier::field::{M31, eq_index};
    use mlc_verifier::transcript::Transcript;
    use proptest::prelude::*;

    proptest! {
        /// A product of axis vectors, placed and applied, is the sum over cells.
        #[test]
        fn products_agree_with_cells(shape in prop::collection::vec(1usize..25, 0..4)) {
            let layout = BlockLayout::new(shape.clone());
            let cells = layout.len();
            let axes: Vec<Vec<QM31>> = shape.iter().map(|&n| Transcript::new(&[n as u8]).draw_many(n)).collect();
            let mut expected = vec![QM31::one()];
            for a in &axes {
                expected = expected.iter().flat_map(|&x| a.iter().map(move |&y| x * y)).collect();
            }
            let scale = Transcript::new(b"scale").draw();
            let weights = Weights::Product { scale, axes };
            let order = Order::of(&layout);
            let mut placed = vec![QM31::zero(); cells + 3];
            for (p, &w) in layout.positions().into_iter().zip(&expected) {
                placed[p + 2] = scale * scale * w;
            }
            for weights in [weights, Weights::Dense(expected.iter().map(|&w| scale * w).collect())] {
                let mut out = Cpu.constant(QM31::zero(), cells + 3);
                weights.add_to(&Cpu, scale, &order, &mut out, 2);
                prop_assert_eq!(&Cpu.host_ext(&out), &placed);
                let values: Vec<M31> = (0..cells as u32 + 1).map(|i| M31::from(i * i + 7)).collect();
                let sum = layout.positions().into_iter().zip(&expected).fold(QM31::zero(), |s, (p, &w)| s + scale * w * values[p + 1]);
                prop_assert_eq!(weights.apply(&Cpu, &order, &values, 1), sum);
            }
            let rows: Vec<usize> = (0..cells).collect();
            let mut arranged = vec![0; cells];
            for (row, p) in layout.positions().into_iter().enumerate() {
                arranged[p] = row;
            }
            prop_assert_eq!(order.row_major_of(&arranged), rows.clone());
            prop_assert_eq!(order.arrange(&rows).into_owned(), arranged);
        }
    }

    #[test]
    fn a_read_is_a_product() {
        let layout = BlockLayout::new(vec![3, 8]);
        let point = Transcript::new(b"p").draw_many(5);
        let axes = [(&point[..2], 3), (&point[2..], 8)].map(|(p, n)| AxisWeights::point(p, n));
        let weights = Weights::new(&Access::identity(2), &Weighting::product(axes.to_vec()), &layout.shape);
        let mut out = Cpu.constant(QM31::zero(), 24);
        weights.add_to(&Cpu, QM31::one(), &Order::row_major(&layout.shape), &mut out, 0);
        let expected: Vec<QM31> = (0..24).map(|i| eq_index(&point, i)).collect();
        assert_eq!(Cpu.host_ext(&out), expected);
    }
}
