//! Coverage: every cell that matters is checked against its table.
//!
//! A lookup is *checked* when it is `ranged` (its multiplicity is counted), or when it is read: the read's claim puts
//! a weight on the cell that is a non-zero polynomial in challenges drawn after the commitment, so an index outside
//! the table leaves a pole. This needs:
//! - **no cancellation**: within one claim (the linear reads of an equation, or one factor of a product) the reads of
//!   unranged lookups through one column have one sign, and the sum of their coefficients with multiplicity is below p.
//!   Else equal keys outside the table, one read with + and one with -, cancel their pole ([`cancelling`]);
//! - **a digit that is not checked shifts nothing**: where an equation has an unranged digit, it is the only one, and
//!   no other digit of the equation is read or compared;
//! - every virtual site is ranged, or read as a whole (its index bounds cells that have no table of their own);
//! - a cell without table occurs only as the subtrahend of a maximum. The subtrahend is the last digit of its
//!   equation, the maximum's own table is no larger than the site's, and a subtrahend that is itself a maximum, or a
//!   private input, is ranged; so minuend and index bound it;
//! - where the lookups of a maximum's site influence more than their own count of attained maxima (softmax, in which the
//!   maximum itself is not read), the maximum is ranged ([`maximum_checked`]);
//! - a mask keeps hidden positions apart from visible ones ([`masks_apart`]);
//! - every maximum is attained: an equation `n = -1 + Σ [index = 0]` over the window with `n` ranged.

use alloc::{collections::BTreeSet, vec::Vec};

use super::CheckError;
use super::bounds::{Ranges, below};
use crate::{
    Access, AxisMap, Circuit, Entry, Equation, InputKind, Left, Len, Operand, Read, SiteRef, Source, Step, VirtualSite,
};

/// Checks every entry.
pub fn check(c: &Circuit) -> Result<(), CheckError> {
    let ranges = Ranges::new(c);
    c.entries.iter().try_for_each(|e| entry(c, e, &ranges))
}

fn entry(c: &Circuit, e: &Entry, ranges: &Ranges) -> Result<(), CheckError> {
    let uncovered = |name: &str| CheckError::Uncovered { name: name.into() };
    for q in &e.equations {
        let Left::Cells(cells) = &q.left else { continue };
        let unranged = cells.iter().filter(|(_, s)| !e.segments[*s as usize].ranged).count();
        let shifted = cells
            .iter()
            .any(|(_, s)| e.segments[*s as usize].ranged && influences(e, *s));
        if unranged > 1 || (unranged == 1 && shifted) {
            return Err(uncovered(&q.name));
        }
    }
    if let Some(&site) = cancelling(c, e).iter().next() {
        return Err(uncovered(match site {
            SiteRef::Segment(s) => &e.segments[s as usize].name,
            SiteRef::Virtual(s) => &e.sites[s as usize].name,
        }));
    }
    for (i, s) in e.sites.iter().enumerate() {
        if !s.ranged && !read_whole(e, SiteRef::Virtual(i as u16), s.axes.len()) {
            return Err(uncovered(&s.name));
        }
        // `form` has checked that the index is `+1 · maximum - 1 · subtrahend`.
        let Some([maximum, subtrahend]) = s.compared() else {
            return Err(uncovered(&s.name));
        };
        let rows = |t: u16| c.tables[t as usize].log_rows;
        let fits = e.segments[maximum as usize]
            .table
            .is_some_and(|t| rows(t) <= rows(s.table));
        let last = e.equations.iter().all(|q| match &q.left {
            Left::Cells(cells) => cells
                .iter()
                .position(|(_, d)| *d == subtrahend)
                .is_none_or(|at| at + 1 == cells.len()),
            Left::Output(_) => true,
        });
        let is_maximum = e
            .sites
            .iter()
            .any(|v| v.compared().is_some_and(|[m, _]| m == subtrahend));
        // No equation determines a private input: only its own table bounds it.
        let private = (e.inputs.iter()).any(|i| i.kind == InputKind::Private { segment: subtrahend });
        if !fits
            || !last
            || ((is_maximum || private) && !e.segments[subtrahend as usize].ranged)
            || !masks_apart(c, e, ranges, s)
            || !maximum_checked(c, e, i as u16)
        {
            return Err(uncovered(&s.name));
        }
    }
    for (i, s) in e.segments.iter().enumerate() {
        let compared = e
            .sites
            .iter()
            .any(|v| v.compared().is_some_and(|[_, t]| t as usize == i));
        if s.table.is_none() && !compared {
            return Err(uncovered(&s.name));
        }
    }
    for site in maxima(&e.steps) {
        if !attained(c, e, site) {
            return Err(uncovered(&e.sites[site as usize].name));
        }
    }
    Ok(())
}

/// Whether no hidden position of a masked maximum can pass for a visible one. With m, t in [0, 2^b) and every mask
/// counting 2^(b+1), a visible index m - t is below 2^b, and one hidden by h masks lies in `h·2^(b+1) + (-2^b, 2^b)`, so
/// above 2^b: there every column is 0, so a hidden position weighs nothing and attains nothing. A factor of 2^b would
/// not do: a hidden t above m would land among the visible indices.
fn masks_apart(c: &Circuit, e: &Entry, ranges: &Ranges, s: &VirtualSite) -> bool {
    let masks = s.masks();
    let Some(first) = masks.first() else { return true };
    let factor = i64::from(first.coefficient);
    // A factor of 1 leaves no maximum's table small enough; negative ones have many bits set.
    if factor.count_ones() != 1 || masks.iter().any(|t| i64::from(t.coefficient) != factor) {
        return false;
    }
    let limit = factor / 2;
    let rows = c.tables[s.table as usize].rows() as i64;
    let fits = limit + factor.saturating_mul(masks.len() as i64) <= rows;
    let Some([maximum, compared]) = s.compared() else {
        return false;
    };
    let maximum = e.segments[maximum as usize].table;
    fits && maximum.is_some_and(|t| c.tables[t as usize].rows() as i64 <= limit)
        && below(c, e, ranges, compared, limit)
        && ranges.zero_from(s.table, limit as usize)
}

/// Whether a maximum is a key of its table wherever it has influence. A maximum that is read is, by its read; one that is
/// not read has influence through its site's lookups, and if it could be anything modulo p, so could what is compared
/// with it. The count of attained maxima alone, itself not read, is no influence.
fn maximum_checked(c: &Circuit, e: &Entry, site: u16) -> bool {
    let Some([maximum, _]) = e.sites[site as usize].compared() else {
        return false;
    };
    let reads_site = |r: &Read| matches!(r.source, Source::Lookup { site: SiteRef::Virtual(s), .. } if s == site);
    let only_counted = |q: &Equation| {
        let Left::Cells(cells) = &q.left else { return false };
        counts(c, e, q, site) && cells.iter().all(|(_, n)| !influences(e, *n))
    };
    e.segments[maximum as usize].ranged
        || e.equations
            .iter()
            .filter(|q| claims(q).iter().flatten().any(|(r, _)| reads_site(r)))
            .all(only_counted)
}

/// Whether a segment is read or compared anywhere.
fn influences(e: &Entry, segment: u16) -> bool {
    let read = |r: &Read| matches!(r.source, Source::Lookup { site: SiteRef::Segment(s), .. } if s == segment);
    e.sites
        .iter()
        .any(|v| v.index.iter().any(|t| t.segment() == Some(segment)))
        || e.equations
            .iter()
            .any(|q| claims(q).iter().any(|claim| claim.iter().any(|(r, _)| read(r))))
}

/// The reads of each claim of an equation, with their summed axes.
fn claims(q: &Equation) -> Vec<Vec<(&Read, &[Len])>> {
    let mut out: Vec<Vec<(&Read, &[Len])>> = Vec::new();
    out.push(q.reads.iter().map(|r| (&r.read, r.reduce.as_slice())).collect());
    for p in &q.products {
        for o in [&p.a, &p.b] {
            if let Operand::Reads(reads) = o {
                out.push(reads.iter().map(|r| (r, [].as_slice())).collect());
            }
        }
    }
    out
}

/// The reads of one claim through one column.
struct Group {
    table: u16,
    column: u8,
    sites: BTreeSet<SiteRef>,
    /// Whether a positive, a negative coefficient occurs.
    signs: [bool; 2],
    /// Sum of the coefficients' magnitudes, with multiplicity.
    times: u64,
}

/// The unranged lookups whose poles could cancel within a claim: marking them `ranged` is the mend.
pub fn cancelling(c: &Circuit, e: &Entry) -> BTreeSet<SiteRef> {
    const LIMIT: u64 = 1 << 30;
    let max = |l: &Len| l.most(&c.dims);
    let mut out = BTreeSet::new();
    for q in &e.equations {
        for claim in claims(q) {
            // (table, column) → sites, signs seen, sum of multiplicities.
            let mut groups: Vec<Group> = Vec::new();
            for (r, reduce) in claim {
                let Source::Lookup { site, column } = r.source else {
                    continue;
                };
                let (table, ranged, axes) = match site {
                    SiteRef::Segment(s) => (
                        e.segments[s as usize].table,
                        e.segments[s as usize].ranged,
                        &e.segments[s as usize].axes,
                    ),
                    SiteRef::Virtual(s) => (
                        Some(e.sites[s as usize].table),
                        e.sites[s as usize].ranged,
                        &e.sites[s as usize].axes,
                    ),
                };
                let (Some(table), false) = (table, ranged) else {
                    continue;
                };
                let times = reduce
                    .iter()
                    .map(&max)
                    .fold(u64::from(r.coefficient.unsigned_abs()), u64::saturating_mul);
                let before = r
                    .access
                    .axes
                    .iter()
                    .zip(axes)
                    .filter(|(m, _)| matches!(m, AxisMap::Before { .. }));
                let times = before.map(|(_, a)| max(a)).fold(times, u64::saturating_mul);
                let at = groups
                    .iter()
                    .position(|g| (g.table, g.column) == (table, column))
                    .unwrap_or_else(|| {
                        groups.push(Group {
                            table,
                            column,
                            sites: BTreeSet::new(),
                            signs: [false; 2],
                            times: 0,
                        });
                        groups.len() - 1
                    });
                let g = &mut groups[at];
                g.sites.insert(site);
                g.signs[usize::from(r.coefficient < 0)] = true;
                g.times = g.times.saturating_add(times);
            }
            for g in groups {
                if g.signs == [true; 2] || g.times >= LIMIT {
                    out.extend(g.sites);
                }
            }
        }
    }
    out
}

impl Circuit {
    /// Marks every lookup that [`cancelling`] finds as ranged: what a compiler calls when a circuit is complete.
    pub fn range_cancelling_reads(&mut self) {
        for e in 0..self.entries.len() {
            for site in cancelling(self, &self.entries[e]) {
                match site {
                    SiteRef::Segment(s) => self.entries[e].segments[s as usize].ranged = true,
                    SiteRef::Virtual(s) => self.entries[e].sites[s as usize].ranged = true,
                }
            }
        }
    }
}

fn maxima(steps: &[Step]) -> impl Iterator<Item = u16> + '_ {
    steps
        .iter()
        .flat_map(|s| match s {
            Step::Repeat { steps, .. } => steps.as_slice(),
            other => core::slice::from_ref(other),
        })
        .filter_map(|s| if let Step::Max { site } = s { Some(*site) } else { None })
}

/// Whether some equation reads every lookup of the site, by the identity.
fn read_whole(e: &Entry, site: SiteRef, rank: usize) -> bool {
    e.equations.iter().any(|q| {
        q.reads.iter().any(|r| {
            matches!(r.read.source, Source::Lookup { site: s, .. } if s == site)
                && q.out.len() + r.reduce.len() == rank
                && r.read.access == Access::identity(rank)
        })
    })
}

/// Whether an equation `n = -1 + Σ_window [index = 0]` with ranged `n` belongs to the maximum.
fn attained(c: &Circuit, e: &Entry, site: u16) -> bool {
    e.equations.iter().any(|q| counts(c, e, q, site))
}

/// Whether the equation counts how often some maximum is attained: its right side is then never negative.
pub(super) fn counts_attained(c: &Circuit, e: &Entry, q: &Equation) -> bool {
    maxima(&e.steps).any(|site| counts(c, e, q, site))
}

fn counts(c: &Circuit, e: &Entry, q: &Equation, site: u16) -> bool {
    let s = &e.sites[site as usize];
    let Some([maximum, _]) = s.compared() else { return false };
    let m = &e.segments[maximum as usize];
    let rank = m.axes.len();
    let Left::Cells(cells) = &q.left else { return false };
    let [(1, n)] = cells[..] else { return false };
    let [r] = &q.reads[..] else { return false };
    let Source::Lookup {
        site: read_site,
        column,
    } = r.read.source
    else {
        return false;
    };
    let indicator = c.tables[s.table as usize].columns.get(column as usize);
    e.segments[n as usize].ranged
        && q.products.is_empty()
        && q.constant == -1
        && q.out == m.axes
        && r.reduce[..] == s.axes[rank..]
        && r.read.coefficient == 1
        && read_site == SiteRef::Virtual(site)
        && r.read.access == Access::identity(s.axes.len())
        && indicator.is_some_and(|col| col[0] == 1 && col[1..].iter().all(|&v| v == 0))
}
