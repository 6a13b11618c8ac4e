//! Strided walks: an access map compiled to runs of equally spaced cells.
//!
//! A walk has *outer* axes, whose flat index selects a row, and *inner* axes, which it iterates, row-major. Coordinates
//! that stay inside the tensor become strides, and neighbouring inner axes that are contiguous in the tensor are
//! merged; the others (padding, gates) stay as clips, checked per run. `Before` maps are resolved by the caller.

use mlc_circuit::{Access, AxisMap};

/// An iteration axis: indices `start .. start + len`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Iter {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// Most clips of one access: one per tensor axis and gate, of at most 24 axes.
const MAX_CLIPS: usize = 48;

#[derive(Debug, Clone)]
struct Axis {
    len: usize,
    /// Distance in the tensor.
    src: i64,
    /// Distance in each clipped coordinate.
    clips: Vec<i64>,
}

/// A compiled access map.
#[derive(Debug)]
pub(super) struct Walk {
    outer: Vec<Axis>,
    /// All but the last inner axis.
    front: Vec<Axis>,
    last: Axis,
    base: i64,
    /// Start and length of each clipped coordinate.
    clips: Vec<(i64, i64)>,
}

impl Walk {
    /// Compiles `access` to a tensor of `shape`, over the iteration axes `iters` split into `outer` and `inner`.
    /// Axes in neither are not used by the access. `None` for `Before` maps.
    pub(super) fn new(
        access: &Access,
        shape: &[usize],
        iters: &[Iter],
        outer: &[usize],
        inner: &[usize],
    ) -> Option<Self> {
        let mut src = vec![0i64; iters.len()];
        let mut clip_strides: Vec<Vec<i64>> = Vec::new();
        let mut clips = Vec::new();
        let (mut base, mut stride) = (0i64, 1i64);
        for (map, &len) in access.axes.iter().zip(shape).rev() {
            let AxisMap::Affine { offset, parts } = map else {
                return None;
            };
            let (mut at, mut end) = (i64::from(*offset), i64::from(*offset));
            let mut strides = vec![0i64; iters.len()];
            for &(i, s) in parts {
                let (i, s) = (i as usize, i64::from(s));
                at += iters[i].start as i64 * s;
                end += (iters[i].start + iters[i].len) as i64 * s - s;
                src[i] += s * stride;
                strides[i] = s;
            }
            base += at * stride;
            if at < 0 || end >= len as i64 {
                clips.push((at, len as i64));
                clip_strides.push(strides);
            }
            stride *= len as i64;
        }
        for g in &access.gates {
            let i = g.iter as usize;
            let mut strides = vec![0i64; iters.len()];
            strides[i] = 1;
            clips.push((iters[i].start as i64 - i64::from(g.at), 1));
            clip_strides.push(strides);
        }
        debug_assert!(clips.len() <= MAX_CLIPS);
        let axis = |&i: &usize| Axis {
            len: iters[i].len,
            src: src[i],
            clips: clip_strides.iter().map(|s| s[i]).collect(),
        };
        let mut front = merge(inner.iter().map(axis));
        let one = Axis {
            len: 1,
            src: 0,
            clips: vec![0; clips.len()],
        };
        Some(Self {
            outer: outer.iter().map(axis).collect(),
            last: front.pop().unwrap_or(one),
            front,
            base,
            clips,
        })
    }

    /// Calls `f(position, source, n, stride)` for the runs of row `row`: cells `source, source + stride, …`, `n` of
    /// them, are read at positions `position, position + 1, …` of the row.
    #[inline]
    pub(super) fn runs(&self, row: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
        let mut at = [0i64; MAX_CLIPS];
        let at = &mut at[..self.clips.len()];
        for (at, c) in at.iter_mut().zip(&self.clips) {
            *at = c.0;
        }
        let (mut src, mut rest) = (self.base, row);
        for a in self.outer.iter().rev() {
            let x = (rest % a.len) as i64;
            rest /= a.len;
            advance(&mut src, at, a, x);
        }
        let mut x = [0usize; 24];
        let mut position = 0;
        loop {
            let (mut lo, mut hi) = (0i64, self.last.len as i64);
            for ((&at, &(_, len)), &s) in at.iter().zip(&self.clips).zip(&self.last.clips) {
                if s == 0 {
                    if !(0..len).contains(&at) {
                        hi = 0;
                    }
                } else {
                    lo = lo.max((-at + s - 1).div_euclid(s));
                    hi = hi.min((len - 1 - at).div_euclid(s) + 1);
                }
            }
            if lo < hi {
                let from = src + lo * self.last.src;
                f(
                    position + lo as usize,
                    from as usize,
                    (hi - lo) as usize,
                    self.last.src as usize,
                );
            }
            position += self.last.len;
            let mut a = self.front.len();
            loop {
                if a == 0 {
                    return;
                }
                a -= 1;
                x[a] += 1;
                if x[a] < self.front[a].len {
                    advance(&mut src, at, &self.front[a], 1);
                    break;
                }
                advance(&mut src, at, &self.front[a], 1 - self.front[a].len as i64);
                x[a] = 0;
            }
        }
    }

    /// `out[position] += coefficient · source[cell]` for every cell of the row.
    #[inline]
    pub(super) fn add<T: Copy + Into<i32>>(&self, row: usize, source: &[T], coefficient: i32, out: &mut [i32]) {
        self.runs(row, |position, from, n, stride| {
            let out = &mut out[position..position + n];
            match stride {
                0 => {
                    let v = source[from].into().wrapping_mul(coefficient);
                    out.iter_mut().for_each(|o| *o = o.wrapping_add(v));
                }
                1 => {
                    for (o, &v) in out.iter_mut().zip(&source[from..from + n]) {
                        *o = o.wrapping_add(v.into().wrapping_mul(coefficient));
                    }
                }
                _ => {
                    for (o, &v) in out.iter_mut().zip(source[from..].iter().step_by(stride)) {
                        *o = o.wrapping_add(v.into().wrapping_mul(coefficient));
                    }
                }
            }
        });
    }

    /// Σ of the row's cells.
    #[inline]
    pub(super) fn sum(&self, row: usize, source: &[i32]) -> i32 {
        let mut sum = 0i32;
        self.runs(row, |_, from, n, stride| {
            for i in 0..n {
                sum = sum.wrapping_add(source[from + i * stride]);
            }
        });
        sum
    }
}

fn advance(src: &mut i64, at: &mut [i64], a: &Axis, by: i64) {
    *src += a.src * by;
    for (at, s) in at.iter_mut().zip(&a.clips) {
        *at += s * by;
    }
}

/// Drops axes of one index, and merges neighbours that are contiguous in the tensor and in no clip.
fn merge(axes: impl Iterator<Item = Axis>) -> Vec<Axis> {
    let mut out: Vec<Axis> = Vec::new();
    for a in axes.filter(|a| a.len != 1) {
        let free = |a: &Axis| a.clips.iter().all(|&s| s == 0);
        match out.last_mut() {
            Some(b) if free(b) && free(&a) && b.src == a.src * a.len as i64 => {
                b.len *= a.len;
                b.src = a.src;
            }
            _ => out.push(a),
        }
    }
    out
}
