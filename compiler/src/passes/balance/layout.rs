//! Which channel every element of a tensor belongs to.

use mlc_ir::{Dim, Shape};

/// Channels of the elements of a tensor, broadcast to it: an axis has its own length, or 1 where the channel does not depend on
/// the position along it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// One for every axis of the tensor: its length, or 1.
    pub dims: Vec<usize>,
    /// Channels, row-major over `dims`.
    pub ids: Vec<u32>,
}

impl Layout {
    /// One channel for every position of `dims`, in row-major order.
    pub(super) fn new(dims: Vec<usize>) -> Self {
        let ids = (0..dims.iter().product::<usize>() as u32).collect();
        Layout { dims, ids }
    }

    /// True where the channel depends on the position along `axis`.
    pub(super) fn varies(&self, axis: usize) -> bool {
        self.dims[axis] > 1
    }

    /// Distance of neighbours in `ids` along every axis, 0 where the axis does not vary.
    fn strides(&self) -> Vec<usize> {
        let mut strides = vec![0; self.dims.len()];
        let mut len = 1;
        for (axis, n) in self.dims.iter().enumerate().rev() {
            if *n > 1 {
                strides[axis] = len;
            }
            len *= n;
        }
        strides
    }

    /// Channel of every element of a tensor of `shape`, to which the layout broadcasts, in row-major order.
    pub fn each(&self, shape: &[usize], mut f: impl FnMut(usize, u32)) {
        let strides = self.strides();
        let mut index = vec![0; shape.len()];
        let mut at = 0;
        for i in 0..shape.iter().product() {
            f(i, self.ids[at]);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                at += strides[axis];
                if index[axis] < shape[axis] {
                    break;
                }
                at -= strides[axis] * index[axis];
                index[axis] = 0;
            }
        }
    }

    /// The same over longer axes.
    fn stretched(&self, dims: Vec<usize>) -> Self {
        let mut ids = Vec::with_capacity(dims.iter().product());
        self.each(&dims, |_, id| ids.push(id));
        Layout { dims, ids }
    }

    /// Axes along which nothing changes get length 1.
    fn shortened(mut self) -> Self {
        for axis in 0..self.dims.len() {
            let inner: usize = self.dims[axis + 1..].iter().product();
            let n = self.dims[axis];
            let rows = || self.ids.chunks_exact(n * inner);
            if n > 1 && rows().all(|row| row.chunks_exact(inner).all(|part| *part == row[..inner])) {
                self.ids = rows().flat_map(|row| row[..inner].to_vec()).collect();
                self.dims[axis] = 1;
            }
        }
        self
    }

    /// Axis `i` of the result is axis `axes[i]`, or a new one. Axes that are left out do not vary.
    pub(super) fn arranged(&self, axes: &[Option<usize>]) -> Option<Self> {
        let kept: Vec<usize> = axes.iter().flatten().copied().collect();
        if (0..self.dims.len()).any(|axis| self.varies(axis) && !kept.contains(&axis)) {
            return None;
        }
        let dims: Vec<usize> = axes.iter().map(|a| a.map_or(1, |a| self.dims[a])).collect();
        let strides = self.strides();
        let mut ids = Vec::with_capacity(self.ids.len());
        let mut index = vec![0; dims.len()];
        for _ in 0..dims.iter().product() {
            let at: usize = axes
                .iter()
                .zip(&index)
                .map(|(a, i)| a.map_or(0, |a| strides[a] * i))
                .sum();
            ids.push(self.ids[at]);
            for axis in (0..dims.len()).rev() {
                index[axis] += 1;
                if index[axis] < dims[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Some(Layout { dims, ids })
    }

    /// Of a tensor that broadcasts into one of more axes.
    pub(super) fn led(&self, rank: usize) -> Option<Self> {
        let new = rank.checked_sub(self.dims.len())?;
        let axes: Vec<Option<usize>> = (0..rank).map(|i| i.checked_sub(new)).collect();
        self.arranged(&axes)
    }

    /// The same elements with other axes; `None` where axes of run-time length are split or joined.
    pub(super) fn reshaped(&self, from: &Shape, to: &Shape) -> Option<Self> {
        let (mut stretched, mut dims) = (Vec::new(), Vec::new());
        let (mut i, mut j) = (0, 0);
        let one = |d: &Dim| d.as_const() == Some(1);
        while i < from.rank() || j < to.rank() {
            let (a, b) = (from.0.get(i), to.0.get(j));
            match (a, b) {
                (Some(a), Some(b)) if a == b => {
                    stretched.push(self.dims[i]);
                    dims.push(self.dims[i]);
                    (i, j) = (i + 1, j + 1);
                }
                (Some(a), _) if one(a) => {
                    stretched.push(1);
                    i += 1;
                }
                (_, Some(b)) if one(b) => {
                    dims.push(1);
                    j += 1;
                }
                (Some(a), Some(b)) => {
                    // Axes whose lengths multiply to the same number on both sides.
                    let (first, start) = (i, j);
                    let (mut left, mut right) = (a.as_const()?, b.as_const()?);
                    (i, j) = (i + 1, j + 1);
                    while left != right {
                        if left < right {
                            left *= from.0.get(i)?.as_const()?;
                            i += 1;
                        } else {
                            right *= to.0.get(j)?.as_const()?;
                            j += 1;
                        }
                    }
                    let varies = (first..i).any(|axis| self.varies(axis));
                    let length = |d: &Dim| {
                        if varies {
                            usize::try_from(d.constant()).ok()
                        } else {
                            Some(1)
                        }
                    };
                    for d in &from.0[first..i] {
                        stretched.push(length(d)?);
                    }
                    for d in &to.0[start..j] {
                        dims.push(length(d)?);
                    }
                }
                _ => return None,
            }
        }
        let ids = self.stretched(stretched).ids;
        Some(Layout { dims, ids }.shortened())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dims: &[i64]) -> Shape {
        let mut dims: Vec<Dim> = dims.iter().map(|d| Dim::fixed(*d)).collect();
        dims.insert(0, Dim::runtime("t"));
        Shape(dims)
    }

    fn layout(dims: &[usize], ids: &[u32]) -> Layout {
        Layout {
            dims: dims.to_vec(),
            ids: ids.to_vec(),
        }
    }

    #[test]
    fn heads_split_move_and_join() {
        let flat = Layout::new(vec![1, 4]);
        let split = flat.reshaped(&shape(&[4]), &shape(&[2, 2])).unwrap();
        assert_eq!(split, layout(&[1, 2, 2], &[0, 1, 2, 3]));
        let moved = split.arranged(&[Some(1), Some(0), Some(2)]).unwrap();
        assert_eq!(moved, layout(&[2, 1, 2], &[0, 1, 2, 3]));
        // Three query heads read each of the two: [t, k, g, c], then one axis.
        let grouped = moved.arranged(&[Some(1), Some(0), None, Some(2)]).unwrap();
        let joined = grouped.reshaped(&shape(&[2, 3, 2]), &shape(&[12])).unwrap();
        assert_eq!(joined, layout(&[1, 12], &[0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3]));
        assert_eq!(joined.reshaped(&shape(&[12]), &shape(&[2, 3, 2])), Some(grouped));
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let flat = Layout::new(vec![1, 4]);
        assert_eq!(flat.arranged(&[Some(0)]), None);
        assert_eq!(flat.led(1), None);
        assert_eq!(flat.led(3), Some(layout(&[1, 1, 4], &[0, 1, 2, 3])));
        let joined = Shape(vec![Dim::runtime("t").times(4)]);
        assert_eq!(flat.reshaped(&shape(&[4]), &joined), None);
        // A neighbour of length 1 comes and goes.
        let one = flat.reshaped(&shape(&[4]), &shape(&[1, 4, 1])).unwrap();
        assert_eq!(one, layout(&[1, 1, 4, 1], &[0, 1, 2, 3]));
        assert_eq!(one.reshaped(&shape(&[1, 4, 1]), &shape(&[4])), Some(flat));
    }

    #[test]
    fn elements_know_their_channel() {
        let mut seen = Vec::new();
        layout(&[1, 2], &[7, 9]).each(&[2, 2], |i, id| seen.push((i, id)));
        assert_eq!(seen, [(0, 7), (1, 9), (2, 7), (3, 9)]);
    }
}
