//! The blocked layout of tensors in a flat vector.
//!
//! An axis of length `odd · 2^k` is split into a block index below `odd` and `k` low bits. A tensor's cells are
//! stored block by block (block indices row-major), and inside a block by the concatenated low bits; a block of
//! `2^K`, `K = Σ k`, cells starts at a multiple of `2^K`. So no length is padded (5120 is 5 · 1024), and the
//! multilinear extension of a product over axes is a sum of `Π odd` products, each of which factors over the bits.

use alloc::vec::Vec;

/// The number of variables that index `len` entries: `ceil(log2(len))`.
pub fn bits_for(len: usize) -> usize {
    len.max(1).next_power_of_two().trailing_zeros() as usize
}

/// Where a tensor lies in a flat vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockLayout {
    /// Lengths of the axes, all ≥ 1.
    pub shape: Vec<usize>,
    /// Number of low bits of each axis.
    pub low_bits: Vec<u32>,
    /// Position of the first cell; a multiple of the block size.
    pub offset: usize,
}

impl BlockLayout {
    /// A tensor of this shape, not yet placed.
    pub fn new(shape: Vec<usize>) -> Self {
        let low_bits = shape.iter().map(|n| n.trailing_zeros()).collect();
        Self {
            shape,
            low_bits,
            offset: 0,
        }
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    fn checked_len(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |a, &n| a.checked_mul(n))
    }

    /// Whether the tensor has no cells.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// log2 of the block size.
    pub fn block_bits(&self) -> u32 {
        self.low_bits.iter().sum()
    }

    /// The number of block indices of each axis.
    pub fn odd(&self) -> Vec<usize> {
        self.shape.iter().zip(&self.low_bits).map(|(n, k)| n >> k).collect()
    }

    /// Per axis, what each coordinate adds to the position of a cell.
    pub fn steps(&self) -> Vec<Vec<usize>> {
        let block_bits = self.block_bits();
        let mut block_stride = 1usize;
        let mut low_shift = 0u32;
        let mut per_axis: Vec<Vec<usize>> = Vec::with_capacity(self.shape.len());
        for (n, k) in self.shape.iter().zip(&self.low_bits).rev() {
            per_axis.push(
                (0..*n)
                    .map(|x| (((x >> k) * block_stride) << block_bits) + ((x & ((1 << k) - 1)) << low_shift))
                    .collect(),
            );
            block_stride *= n >> k;
            low_shift += k;
        }
        per_axis.reverse();
        per_axis
    }

    /// The position of every cell, in row-major order of the cells.
    pub fn positions(&self) -> Vec<usize> {
        let mut out = alloc::vec![self.offset];
        for adds in &self.steps() {
            out = out.iter().flat_map(|&p| adds.iter().map(move |&a| p + a)).collect();
        }
        out
    }

    /// Places tensors one after another, largest blocks first so that every block is aligned; returns the end, `None`
    /// where it is beyond 2^31 (also where a `usize` has 32 bits). `start` must be a multiple of the largest block size.
    pub fn place(tensors: &mut [Self], start: usize) -> Option<usize> {
        const MAX_END: usize = 1 << 31;
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by_key(|&i| core::cmp::Reverse(tensors[i].block_bits()));
        let mut at = start;
        for i in order {
            let end = at
                .checked_add(tensors[i].checked_len()?)
                .filter(|&end| end <= MAX_END)?;
            debug_assert_eq!(at & ((1 << tensors[i].block_bits()) - 1), 0);
            tensors[i].offset = at;
            at = end;
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn a_power_of_two_shape_is_row_major() {
        let l = BlockLayout::new(vec![4, 8]);
        assert_eq!(l.positions(), (0..32).collect::<Vec<_>>());
    }

    #[test]
    fn blocks_of_six_by_three() {
        // 6 = 3 * 2, 3 = 3 * 1: nine blocks of two cells; the low bit is that of the first axis.
        let l = BlockLayout::new(vec![6, 3]);
        assert_eq!(
            l.positions(),
            [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11, 12, 14, 16, 13, 15, 17]
        );
    }

    #[test]
    fn what_does_not_fit_is_not_placed() {
        let large = || BlockLayout::new(vec![1 << 28, 7]);
        assert_eq!(BlockLayout::place(&mut [large()], 0), Some(7 << 28));
        assert_eq!(BlockLayout::place(&mut [large(), large()], 0), None);
        assert_eq!(
            BlockLayout::place(&mut [BlockLayout::new(vec![1 << 40, 1 << 40])], 0),
            None
        );
    }

    proptest! {
        #[test]
        fn placement_is_a_bijection(shapes in prop::collection::vec(prop::collection::vec(1usize..18, 0..4), 1..6)) {
            let mut ls: Vec<_> = shapes.into_iter().map(BlockLayout::new).collect();
            let end = BlockLayout::place(&mut ls, 0).unwrap();
            let mut seen = vec![false; end];
            for l in &ls {
                prop_assert_eq!(l.offset % (1usize << l.block_bits()), 0);
                for p in l.positions() {
                    prop_assert!(!seen[p]);
                    seen[p] = true;
                }
            }
            prop_assert!(seen.into_iter().all(|s| s));
        }
    }
}
