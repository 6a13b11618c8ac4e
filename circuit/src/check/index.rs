//! Who determines, reads and compares what in an entry: found in one pass, so that no rule looks through all of one kind
//! for each of another. A hostile circuit may have 2^16 of every kind.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

use crate::{Access, Circuit, Entry, InputKind, Left, Operand, SiteRef, Source, Step};

/// An equation by its number.
type EquationId = usize;

/// What a segment does in the indices of virtual sites.
#[derive(Debug, Clone, Default)]
struct Compared {
    /// It is a term of some index.
    anywhere: bool,
    /// It is the maximum of a site.
    maximum: bool,
    /// It is what a site compares with its maximum.
    subtrahend: bool,
    /// log2 of the rows of the largest table whose site subtracts it.
    log_rows: Option<u32>,
}

/// The index of an entry that is well-formed.
pub(super) struct Index {
    /// Per segment: the equations of which it is a digit, and its place among their digits.
    digits: Vec<Vec<(EquationId, usize)>>,
    /// Per lookups: the equations that read them, ascending.
    readers: BTreeMap<SiteRef, Vec<EquationId>>,
    /// Lookups that some equation reads as a whole, by the identity.
    whole: BTreeSet<SiteRef>,
    compared: Vec<Compared>,
    private: BTreeSet<u16>,
    maxima: BTreeSet<u16>,
}

impl Index {
    pub(super) fn new(c: &Circuit, e: &Entry) -> Self {
        let mut index = Self {
            digits: vec![Vec::new(); e.segments.len()],
            readers: BTreeMap::new(),
            whole: BTreeSet::new(),
            compared: vec![Compared::default(); e.segments.len()],
            private: BTreeSet::new(),
            maxima: maxima(&e.steps),
        };
        for i in &e.inputs {
            if let InputKind::Private { segment } = i.kind {
                index.private.insert(segment);
            }
        }
        for s in &e.sites {
            let log_rows = u32::from(c.tables[s.table as usize].log_rows);
            for t in &s.index {
                let Some(segment) = t.segment() else { continue };
                let own = &mut index.compared[segment as usize];
                own.anywhere = true;
                if t.coefficient < 0 {
                    own.log_rows = own.log_rows.max(Some(log_rows));
                }
            }
            if let Some([maximum, subtrahend]) = s.compared() {
                index.compared[maximum as usize].maximum = true;
                index.compared[subtrahend as usize].subtrahend = true;
            }
        }
        for (id, q) in e.equations.iter().enumerate() {
            if let Left::Cells(cells) = &q.left {
                for (place, (_, s)) in cells.iter().enumerate() {
                    index.digits[*s as usize].push((id, place));
                }
            }
            for r in &q.reads {
                let Some(site) = index.note_read(id, r.read.source) else {
                    continue;
                };
                let rank = match site {
                    SiteRef::Segment(s) => e.segments[s as usize].axes.len(),
                    SiteRef::Virtual(s) => e.sites[s as usize].axes.len(),
                };
                if q.out.len() + r.reduce.len() == rank && r.read.access == Access::identity(rank) {
                    index.whole.insert(site);
                }
            }
            for o in q.products.iter().flat_map(|p| [&p.a, &p.b]) {
                if let Operand::Reads(reads) = o {
                    for r in reads {
                        index.note_read(id, r.source);
                    }
                }
            }
        }
        index
    }

    /// Notes that equation `id` reads `source`; its lookups, if it has some.
    fn note_read(&mut self, id: EquationId, source: Source) -> Option<SiteRef> {
        let Source::Lookup { site, .. } = source else {
            return None;
        };
        let readers = self.readers.entry(site).or_default();
        if readers.last() != Some(&id) {
            readers.push(id);
        }
        Some(site)
    }

    /// The equations of which a segment is a digit, and its place among their digits.
    pub(super) fn digits(&self, segment: u16) -> &[(EquationId, usize)] {
        &self.digits[segment as usize]
    }

    /// The equations that read lookups, in any claim.
    pub(super) fn readers(&self, site: SiteRef) -> &[EquationId] {
        self.readers.get(&site).map_or(&[], Vec::as_slice)
    }

    /// Whether some equation reads every lookup of the site, by the identity.
    pub(super) fn read_whole(&self, site: SiteRef) -> bool {
        self.whole.contains(&site)
    }

    /// Whether a segment is read or compared anywhere.
    pub(super) fn influences(&self, segment: u16) -> bool {
        self.compared[segment as usize].anywhere || !self.readers(SiteRef::Segment(segment)).is_empty()
    }

    /// Whether a segment is the maximum of a site.
    pub(super) fn is_maximum(&self, segment: u16) -> bool {
        self.compared[segment as usize].maximum
    }

    /// Whether a site compares a segment with its maximum.
    pub(super) fn is_subtrahend(&self, segment: u16) -> bool {
        self.compared[segment as usize].subtrahend
    }

    /// log2 of the rows of the largest table whose site subtracts a segment.
    pub(super) fn subtracted_bits(&self, segment: u16) -> Option<u32> {
        self.compared[segment as usize].log_rows
    }

    /// Whether a segment holds a private input.
    pub(super) fn is_private(&self, segment: u16) -> bool {
        self.private.contains(&segment)
    }

    /// The sites whose maxima are executed.
    pub(super) fn maxima(&self) -> &BTreeSet<u16> {
        &self.maxima
    }
}

fn maxima(steps: &[Step]) -> BTreeSet<u16> {
    let flat = steps.iter().flat_map(|s| match s {
        Step::Repeat { steps, .. } => steps.as_slice(),
        other => core::slice::from_ref(other),
    });
    flat.filter_map(|s| if let Step::Max { site } = s { Some(*site) } else { None })
        .collect()
}
