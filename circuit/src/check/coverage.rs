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
//!   maximum itself is not read), the maximum is ranged (`maximum_checked`);
//! - a mask keeps hidden positions apart from visible ones (`masks_apart`);
//! - every maximum is attained: an equation `n = -1 + Σ [index = 0]` over the window with `n` ranged;
//! - every segment is ranged, read or compared: cells without part in a lookup would be committed for nothing, and prover
//!   and verifier would disagree on whether a circuit of such cells has lookups at all.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::CheckError;
use super::bounds::{self, Interval, Ranges};
use super::index::Index;
use crate::{Access, AxisMap, Circuit, Entry, Equation, Left, Len, Operand, Read, SiteRef, Source, VirtualSite};

/// Checks every entry.
pub(super) fn check(c: &Circuit, ranges: &Ranges) -> Result<(), CheckError> {
    c.entries.iter().try_for_each(|e| {
        let coverage = Coverage {
            c,
            e,
            ranges,
            index: Index::new(c, e),
            rights: bounds::right_sides(c, e, ranges),
        };
        coverage.check()
    })
}

fn uncovered(name: &str) -> CheckError {
    CheckError::Uncovered { name: name.into() }
}

/// An entry and what is known about it.
struct Coverage<'c> {
    c: &'c Circuit,
    e: &'c Entry,
    ranges: &'c Ranges,
    index: Index,
    /// Bounds of the right sides.
    rights: Vec<Interval>,
}

impl Coverage<'_> {
    fn check(&self) -> Result<(), CheckError> {
        let (c, e) = (self.c, self.e);
        for q in &e.equations {
            let Left::Cells(cells) = &q.left else { continue };
            let unranged = cells.iter().filter(|(_, s)| !e.segments[*s as usize].ranged).count();
            let shifted = cells
                .iter()
                .any(|(_, s)| e.segments[*s as usize].ranged && self.index.influences(*s));
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
            self.site(i as u16, s)?;
        }
        for (i, s) in e.segments.iter().enumerate() {
            if s.table.is_none() && !self.index.is_subtrahend(i as u16) {
                return Err(uncovered(&s.name));
            }
        }
        for &site in self.index.maxima() {
            if !self.attained(site) {
                return Err(uncovered(&e.sites[site as usize].name));
            }
        }
        match unused(e, &self.index).next() {
            Some(s) => Err(CheckError::Unused {
                name: e.segments[s as usize].name.clone(),
            }),
            None => Ok(()),
        }
    }

    fn site(&self, id: u16, s: &VirtualSite) -> Result<(), CheckError> {
        let (c, e, index) = (self.c, self.e, &self.index);
        if !s.ranged && !index.read_whole(SiteRef::Virtual(id)) {
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
        let last = index
            .digits(subtrahend)
            .iter()
            .all(|&(q, place)| match &e.equations[q].left {
                Left::Cells(cells) => place + 1 == cells.len(),
                Left::Output(_) => true,
            });
        // No equation determines a private input: only its own table bounds it.
        let own_table = index.is_maximum(subtrahend) || index.is_private(subtrahend);
        if !fits
            || !last
            || (own_table && !e.segments[subtrahend as usize].ranged)
            || !self.masks_apart(s)
            || !self.maximum_checked(id, maximum)
        {
            return Err(uncovered(&s.name));
        }
        Ok(())
    }

    /// Whether no hidden position of a masked maximum can pass for a visible one. With m, t in [0, 2^b) and every mask
    /// counting 2^(b+1), a visible index m - t is below 2^b, and one hidden by h masks lies in `h·2^(b+1) + (-2^b, 2^b)`,
    /// so above 2^b: there every column is 0, so a hidden position weighs nothing and attains nothing. A factor of 2^b
    /// would not do: a hidden t above m would land among the visible indices.
    fn masks_apart(&self, s: &VirtualSite) -> bool {
        let (c, e) = (self.c, self.e);
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
            && bounds::below(c, e, &self.index, &self.rights, compared, limit)
            && self.ranges.zero_from(s.table, limit as usize)
    }

    /// Whether a maximum is a key of its table wherever it has influence. A maximum that is read is, by its read; one
    /// that is not read has influence through its site's lookups, and if it could be anything modulo p, so could what is
    /// compared with it. The count of attained maxima alone, itself not read, is no influence.
    fn maximum_checked(&self, site: u16, maximum: u16) -> bool {
        let only_counted = |q: &Equation| {
            let Left::Cells(cells) = &q.left else { return false };
            counts(self.e, self.ranges, q, site) && cells.iter().all(|(_, n)| !self.index.influences(*n))
        };
        let readers = self.index.readers(SiteRef::Virtual(site));
        self.e.segments[maximum as usize].ranged || readers.iter().all(|&q| only_counted(&self.e.equations[q]))
    }

    /// Whether an equation `n = -1 + Σ_window [index = 0]` with ranged `n` belongs to the maximum.
    fn attained(&self, site: u16) -> bool {
        let readers = self.index.readers(SiteRef::Virtual(site));
        readers
            .iter()
            .any(|&q| counts(self.e, self.ranges, &self.e.equations[q], site))
    }
}

/// Segments that have no part in any lookup argument. The cells of a circuit that has only those would be committed
/// without a channel to check them.
fn unused<'e>(e: &'e Entry, index: &'e Index) -> impl Iterator<Item = u16> + 'e {
    let segments = (0u16..).zip(&e.segments);
    segments
        .filter(|(id, s)| s.table.is_some() && !s.ranged && !index.influences(*id))
        .map(|(id, _)| id)
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
#[derive(Default)]
struct Group {
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
            let mut groups: BTreeMap<(u16, u8), Group> = BTreeMap::new();
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
                let g = groups.entry((table, column)).or_default();
                g.sites.insert(site);
                g.signs[usize::from(r.coefficient < 0)] = true;
                g.times = g.times.saturating_add(times);
            }
            for g in groups.into_values() {
                if g.signs == [true; 2] || g.times >= LIMIT {
                    out.extend(g.sites);
                }
            }
        }
    }
    out
}

impl Circuit {
    /// Marks as ranged every lookup that [`cancelling`] finds, and every segment that nothing reads (a private input
    /// without use): what a compiler calls when a circuit is complete.
    pub fn range_unchecked_lookups(&mut self) {
        for e in 0..self.entries.len() {
            let entry = &self.entries[e];
            let index = Index::new(self, entry);
            let mut sites = cancelling(self, entry);
            sites.extend(unused(entry, &index).map(SiteRef::Segment));
            for site in sites {
                match site {
                    SiteRef::Segment(s) => self.entries[e].segments[s as usize].ranged = true,
                    SiteRef::Virtual(s) => self.entries[e].sites[s as usize].ranged = true,
                }
            }
        }
    }
}

/// Whether the equation counts how often some maximum is attained: its right side is then never negative.
pub(super) fn counts_attained(e: &Entry, ranges: &Ranges, index: &Index, q: &Equation) -> bool {
    let Some(Source::Lookup {
        site: SiteRef::Virtual(site),
        ..
    }) = q.reads.first().map(|r| r.read.source)
    else {
        return false;
    };
    index.maxima().contains(&site) && counts(e, ranges, q, site)
}

fn counts(e: &Entry, ranges: &Ranges, q: &Equation, site: u16) -> bool {
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
    e.segments[n as usize].ranged
        && q.products.is_empty()
        && q.constant == -1
        && q.out == m.axes
        && r.reduce[..] == s.axes[rank..]
        && r.read.coefficient == 1
        && read_site == SiteRef::Virtual(site)
        && r.read.access == Access::identity(s.axes.len())
        && ranges.is_indicator(s.table, column)
}
