//! Coverage: every cell that matters is checked against its table.
//!
//! A lookup is *checked* when it is `ranged` (its multiplicity is counted), or when it is read: the read's claim puts
//! a weight on the cell that is a non-zero polynomial in challenges drawn after the commitment, so an index outside
//! the table leaves a pole. A cell that nothing reads and nothing counts has no influence, provided that
//! - at most one digit of an equation is unranged (else one unchecked digit could shift another that is read);
//! - every virtual site is ranged, or read as a whole (its index bounds cells that have no table of their own);
//! - a cell without table occurs only as the subtrahend of a maximum, whose count of attained maxima is checked to be
//!   at least one: an equation `n = -1 + Σ [index = 0]` over the window with `n` ranged.

use super::CheckError;
use crate::{Access, Circuit, Entry, Equation, Left, SiteRef, Source, Step};

/// Checks every entry.
pub fn check(c: &Circuit) -> Result<(), CheckError> {
    c.entries.iter().try_for_each(|e| entry(c, e))
}

fn entry(c: &Circuit, e: &Entry) -> Result<(), CheckError> {
    let uncovered = |name: &str| CheckError::Uncovered { name: name.into() };
    for q in &e.equations {
        if let Left::Cells(cells) = &q.left
            && cells.iter().filter(|(_, s)| !e.segments[*s as usize].ranged).count() > 1
        {
            return Err(uncovered(&q.name));
        }
    }
    for (i, s) in e.sites.iter().enumerate() {
        if !s.ranged && !read_whole(e, SiteRef::Virtual(i as u16), s.axes.len()) {
            return Err(uncovered(&s.name));
        }
        for t in &s.index {
            let bare = e.segments[t.segment as usize].table.is_none();
            // Only the subtrahend of a maximum may lack a table, and the minuend must have one.
            if bare && t.coefficient != -1 {
                return Err(uncovered(&s.name));
            }
        }
    }
    for (i, s) in e.segments.iter().enumerate() {
        let compared = e.sites.iter().any(|v| v.index.iter().any(|t| t.segment as usize == i));
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
    let m = &e.segments[s.index[0].segment as usize];
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
