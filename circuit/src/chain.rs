//! A circuit as one link of a chain of proofs sees it: the KV cache. See docs/protocol/cache.md.
//!
//! A segment that *grows* has, in the family, one set of cells to write (`tokens` indices of the growing axis) and more to
//! read (`past + tokens`). At a link, where the lengths of the earlier links are known, each earlier piece is a segment of its
//! own, a read of the whole is a sum of reads of the pieces, each shifted to where its piece lies, and coordinates that
//! count from a run-time dimension are affine. What is left is an ordinary entry.

use alloc::{borrow::Cow, collections::BTreeMap, vec::Vec};

use crate::{
    Access, AxisMap, Circuit, Entry, Equation, InstanceError, Len, Operand, Read, Reads, Segment, SiteRef, Source,
};

/// Most earlier links that a link reads from: each is a tree to open.
pub const MAX_LINKS: usize = 256;

/// Most parts of which reads and segments of the cache's pieces are made.
const MAX_PARTS: usize = 1 << 22;

/// In which tree a segment's cells are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CellTree {
    /// What does not grow: the proof's own cells.
    Witness,
    /// What this link appends.
    Appended,
    /// What the earlier link of this number has appended.
    Earlier(u16),
}

/// The run-time dimensions of a circuit with a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainDims {
    /// What earlier links have appended.
    pub past: u16,
    /// What a link appends.
    pub tokens: u16,
}

impl Circuit {
    /// The dimensions of the cache, if there is one.
    pub fn chain_dims(&self) -> Option<ChainDims> {
        self.dims.iter().enumerate().find_map(|(past, d)| {
            Some(ChainDims {
                past: past as u16,
                tokens: d.before?,
            })
        })
    }
}

impl Circuit {
    /// The dimensions `dims` for a link that follows links of the lengths `links`.
    pub fn dims_after(&self, dims: &[u32], links: &[u32]) -> Vec<u32> {
        let mut dims = dims.to_vec();
        if let Some(past) = self.chain_dims().and_then(|d| dims.get_mut(usize::from(d.past))) {
            *past = links.iter().fold(0, |sum, &n| sum.saturating_add(n));
        }
        dims
    }
}

impl Entry {
    /// Whether some segment grows.
    pub fn grows(&self) -> bool {
        self.segments.iter().any(|s| s.grows.is_some())
    }
}

/// Where the cells of a growing segment are: of each earlier link, the segment and its first index.
type Pieces = Vec<(u16, i32)>;

/// An entry at a link, and the tree of each of its segments.
pub(crate) struct AtLink<'c> {
    pub(crate) entry: Cow<'c, Entry>,
    pub(crate) trees: Vec<CellTree>,
}

/// The entry at dimensions `dims`, after earlier links of the lengths `links`. The circuit is well-formed, and the sum of the
/// lengths is the dimension `past`.
pub(crate) fn at<'c>(
    circuit: &Circuit,
    entry: &'c Entry,
    dims: &[u32],
    links: &[u32],
) -> Result<AtLink<'c>, InstanceError> {
    let witness = alloc::vec![CellTree::Witness; entry.segments.len()];
    if circuit.chain_dims().is_none()
        && !entry
            .equations
            .iter()
            .flat_map(Equation::all_reads)
            .any(|r| counts_from_dim(&r.access))
    {
        return Ok(AtLink {
            entry: Cow::Borrowed(entry),
            trees: witness,
        });
    }
    let mut out = entry.clone();
    let mut trees = witness;
    let mut pieces: BTreeMap<u16, (u8, Pieces)> = BTreeMap::new();
    for (id, s) in entry.segments.iter().enumerate() {
        if let Some(axis) = s.grows {
            trees[id] = CellTree::Appended;
            pieces.insert(id as u16, (axis, Vec::new()));
        }
    }
    // A statement chooses the number of links, a key what is copied for each: bounded before anything is.
    let copied = copied(entry, &pieces).saturating_mul(links.len());
    let segments = entry.segments.len() + pieces.len().saturating_mul(links.len());
    if copied > MAX_PARTS || segments >= 1 << 16 {
        return Err(crate::instance::too_large("the cache"));
    }
    let mut start = 0i32;
    for (i, &n) in links.iter().enumerate() {
        for (&id, (axis, places)) in &mut pieces {
            let own = &entry.segments[id as usize];
            let piece = out.segments.len() as u16;
            let mut axes = own.axes.clone();
            axes[*axis as usize] = Len::fixed(n as usize);
            out.segments.push(Segment {
                name: "the cache".into(),
                axes,
                table: own.table,
                ranged: own.ranged,
                grows: None,
            });
            trees.push(CellTree::Earlier(i as u16));
            places.push((piece, start));
        }
        start = start.saturating_add_unsigned(n);
    }
    let at_link = |r: &Read| -> Vec<Read> {
        let mut r = r.clone();
        settle(&mut r.access, dims);
        let Source::Lookup {
            site: SiteRef::Segment(id),
            column,
        } = r.source
        else {
            return alloc::vec![r];
        };
        let Some((axis, places)) = pieces.get(&id) else {
            return alloc::vec![r];
        };
        let shifted = |(segment, start): (u16, i32)| {
            let mut r = r.clone();
            r.source = Source::Lookup {
                site: SiteRef::Segment(segment),
                column,
            };
            if let Some(AxisMap::Affine { offset, .. }) = r.access.axes.get_mut(*axis as usize) {
                *offset = offset.saturating_sub(start);
            }
            r
        };
        places.iter().copied().chain([(id, start)]).map(shifted).collect()
    };
    for q in &mut out.equations {
        let reads = q.reads.iter().flat_map(|reads| {
            at_link(&reads.read).into_iter().map(|read| Reads {
                reduce: reads.reduce.clone(),
                read,
            })
        });
        q.reads = reads.collect();
        for p in &mut q.products {
            for o in [&mut p.a, &mut p.b] {
                if let Operand::Reads(reads) = o {
                    *reads = reads.iter().flat_map(&at_link).collect();
                }
            }
        }
    }
    Ok(AtLink {
        entry: Cow::Owned(out),
        trees,
    })
}

/// The parts of what is copied for each link: reads of growing segments, and the segments.
fn copied(entry: &Entry, pieces: &BTreeMap<u16, (u8, Pieces)>) -> usize {
    let lens = |lens: &[Len]| lens.iter().map(|l| 1 + l.per_dim.len()).sum::<usize>();
    let of = |r: &Read, reduce: &[Len]| -> usize {
        let Source::Lookup {
            site: SiteRef::Segment(id),
            ..
        } = r.source
        else {
            return 0;
        };
        if !pieces.contains_key(&id) {
            return 0;
        }
        let maps = r.access.axes.iter().map(|m| 1 + m.iters().len()).sum::<usize>();
        1 + maps + r.access.gates.len() + lens(reduce)
    };
    let mut parts = 0;
    for q in &entry.equations {
        parts += q.reads.iter().map(|r| of(&r.read, &r.reduce)).sum::<usize>();
        for o in q.products.iter().flat_map(|p| [&p.a, &p.b]) {
            if let Operand::Reads(reads) = o {
                parts += reads.iter().map(|r| of(r, &[])).sum::<usize>();
            }
        }
    }
    let segments = pieces.keys().map(|&id| 1 + lens(&entry.segments[id as usize].axes));
    parts + segments.sum::<usize>()
}

fn counts_from_dim(a: &Access) -> bool {
    a.axes.iter().any(|m| matches!(m, AxisMap::From { .. }))
}

/// Puts a number where a coordinate counts from a run-time dimension.
fn settle(access: &mut Access, dims: &[u32]) {
    for m in &mut access.axes {
        if let AxisMap::From { dim, offset, parts } = m {
            let from = dims.get(*dim as usize).copied().unwrap_or(0);
            *m = AxisMap::Affine {
                offset: offset.saturating_add_unsigned(from),
                parts: core::mem::take(parts),
            };
        }
    }
}

/// Row-major tensors put behind each other along an axis: `blocks` combinations of the axes before it, and of each part the
/// cells of one block. `None` where a part has not so many.
pub fn join(blocks: usize, parts: &[(usize, &[i32])]) -> Option<Vec<i32>> {
    if parts
        .iter()
        .any(|(each, part)| each.checked_mul(blocks) != Some(part.len()))
    {
        return None;
    }
    let mut out = Vec::with_capacity(parts.iter().map(|p| p.1.len()).sum());
    for block in 0..blocks {
        for (each, part) in parts {
            out.extend_from_slice(&part[block * each..(block + 1) * each]);
        }
    }
    Some(out)
}

/// The product of lengths; `None` where it has no value.
pub fn size(axes: &[Len], dims: &[u32]) -> Option<usize> {
    axes.iter().try_fold(1usize, |n, l| n.checked_mul(l.at(dims)?))
}
