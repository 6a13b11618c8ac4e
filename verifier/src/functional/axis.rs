//! The weights of one iteration axis, as a rule rather than as a table wherever they have one: most are `eq` at a point,
//! and most of what a verifier wants of an axis is then a few products ([`super::evaluate`]).

use alloc::{sync::Arc, vec, vec::Vec};

use mlc_circuit::{AxisMap, bits_for};
use num_traits::{One, Zero};

use super::mass::prefix_mass;
use crate::field::{QM31, eq_index, eq_table};

/// The weights of one axis.
#[derive(Debug, Clone)]
pub struct AxisWeights {
    /// Length of the axis.
    pub len: usize,
    /// Number of local bits.
    pub shift: u32,
    /// Weight by local index; shared by all claims that weigh the axis alike.
    pub(super) local: Local,
}

/// Weights by local index.
#[derive(Debug, Clone)]
pub(super) enum Local {
    /// `eq(point, ·)`, of as many variables as there are local bits.
    Point(Arc<[QM31]>),
    /// 1 everywhere.
    Ones,
    /// Sums of the entries (index, weight): 0 where there is none.
    Sparse(Arc<[(usize, QM31)]>),
}

impl AxisWeights {
    /// `eq(point, ·)`; the point has as many variables as the length asks for.
    pub fn point(point: &[QM31], len: usize) -> Self {
        debug_assert_eq!(point.len(), bits_for(len));
        Self {
            len,
            shift: point.len() as u32,
            local: Local::Point(point.into()),
        }
    }

    /// The entries (index, weight), which are below `len`; entries of one index add up, the others weigh 0.
    pub fn sparse(mut entries: Vec<(usize, QM31)>, len: usize) -> Self {
        debug_assert!(entries.iter().all(|e| e.0 < len));
        // A statement may name few rows very often: no more is kept than there are indices.
        if entries.len() > len {
            let mut sums = vec![QM31::zero(); len];
            entries.iter().for_each(|&(x, w)| sums[x] += w);
            entries = sums.into_iter().enumerate().collect();
        }
        Self {
            len,
            shift: bits_for(len) as u32,
            local: Local::Sparse(entries.into()),
        }
    }

    /// Weight 1 everywhere: a summed axis.
    pub fn ones(len: usize) -> Self {
        Self {
            len,
            shift: bits_for(len) as u32,
            local: Local::Ones,
        }
    }

    /// One iteration of weight 1: an axis that plays no part.
    pub fn unit() -> Self {
        Self::explicit(1)
    }

    /// All core.
    pub fn explicit(len: usize) -> Self {
        Self {
            len,
            shift: 0,
            local: Local::Ones,
        }
    }

    /// Low bits weighted by `eq(low point, ·)`, high bits core.
    pub fn blocked(low_point: &[QM31], len: usize) -> Self {
        Self {
            len,
            shift: low_point.len() as u32,
            local: Local::Point(low_point.into()),
        }
    }

    /// Number of core indices.
    pub fn core(&self) -> usize {
        self.len.div_ceil(1 << self.shift)
    }

    /// Whether the axis is all core ([`Self::explicit`]).
    pub fn is_explicit(&self) -> bool {
        self.shift == 0 && matches!(self.local, Local::Ones)
    }

    /// The weights by local index, as a table.
    pub(super) fn table(&self) -> AxisTable {
        let len = self.len.min(1 << self.shift);
        let local = match &self.local {
            Local::Point(point) => eq_table(point, len),
            Local::Ones => vec![QM31::one(); len],
            Local::Sparse(entries) => {
                let mut out = vec![QM31::zero(); len];
                entries.iter().for_each(|&(x, w)| out[x] += w);
                out
            }
        };
        AxisTable {
            shift: self.shift,
            core: self.core(),
            local,
        }
    }

    /// The weights by index, of an axis without core.
    pub fn weights(&self) -> Vec<QM31> {
        self.table().local
    }

    /// The sum of the weights of the indices below `end`, of an axis without core.
    pub fn before(&self, end: usize) -> QM31 {
        match &self.local {
            Local::Point(point) => prefix_mass(point, end),
            Local::Ones => crate::field::qm31(end as i64),
            Local::Sparse(entries) => entries.iter().filter(|e| e.0 < end).map(|e| e.1).sum(),
        }
    }

    /// The weight of local index `x`.
    fn local_at(&self, x: usize) -> QM31 {
        match &self.local {
            Local::Point(point) => eq_index(point, x),
            Local::Ones => QM31::one(),
            Local::Sparse(entries) => entries.iter().filter(|e| e.0 == x).map(|e| e.1).sum(),
        }
    }
}

/// An axis whose weights are laid out.
pub(super) struct AxisTable {
    shift: u32,
    pub(super) core: usize,
    local: Vec<QM31>,
}

impl AxisTable {
    /// Core index and local weight of an index.
    pub(super) fn at(&self, x: usize) -> (usize, QM31) {
        (x >> self.shift, self.local[x & ((1 << self.shift) - 1)])
    }
}

/// The sums of an axis' weights by core index, restricted to `x == at` where gated.
pub fn total(axis: &AxisWeights, gate: Option<u32>) -> Vec<QM31> {
    let size = 1usize << axis.shift;
    if let Some(at) = gate {
        let (at, mut out) = (at as usize, vec![QM31::zero(); axis.core()]);
        if at < axis.len {
            out[at >> axis.shift] = axis.local_at(at & (size - 1));
        }
        return out;
    }
    (0..axis.core())
        .map(|c| {
            let len = (axis.len - c * size).min(size);
            match &axis.local {
                Local::Point(point) => prefix_mass(point, len),
                Local::Ones => crate::field::qm31(len as i64),
                Local::Sparse(entries) => entries.iter().map(|e| e.1).sum(),
            }
        })
        .collect()
}

/// Calls `f(c, h, w)` for every entry of the sparse matrix of one coordinate: flattened core index of its iteration axes,
/// core index of the target, weight. Entries at one place that follow each other are summed; others may recur.
pub fn for_each_entry(map: &AxisMap, from: &[&AxisWeights], to: &AxisWeights, mut f: impl FnMut(usize, usize, QM31)) {
    let lens: Vec<usize> = from.iter().map(|a| a.len).collect();
    let tables: Vec<AxisTable> = from.iter().map(|a| a.table()).collect();
    let target = to.table();
    let mut last: Option<(usize, usize, QM31)> = None;
    map.for_each(&lens, to.len, |x, y| {
        let (h, mut w) = target.at(y);
        let mut c = 0;
        for (a, &x) in tables.iter().zip(x) {
            let (ca, wa) = a.at(x);
            c = c * a.core + ca;
            w *= wa;
        }
        match &mut last {
            Some(e) if e.0 == c && e.1 == h => e.2 += w,
            _ => {
                if let Some((c, h, w)) = last.replace((c, h, w)) {
                    f(c, h, w);
                }
            }
        }
    });
    if let Some((c, h, w)) = last {
        f(c, h, w);
    }
}
