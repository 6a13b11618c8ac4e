//! Maxima over windows: of indices, not of values.
//!
//! Tables are monotone where their values do not fall, and then the greatest value is at the greatest index. The maximum
//! `m` of the committed indices `t` is committed; the virtual index `m - t` lies in a table whose column says where it is
//! 0, and a range-checked count `n = -1 + Σ [m - t = 0]` proves that the maximum is attained. A position outside of the
//! image has index 0, the least there is. Values that are not looked up monotonically are committed again as themselves.
//!
//! A function of the distance to the maximum (softmax) is one more column of the table at `m - t`: the same lookup.

use std::sync::Arc;

use mlc_circuit as c;
use mlc_circuit::{SiteRef, Source};
use mlc_ir::table::MAX_TABLE_BITS;
use mlc_ir::{IntType, Table};

use super::axes::{Ax, Map, Read, Tensor};
use super::builder::{EntryBuilder, Function, Lookup, Maximum};
use super::emit::{Equation, Shared};
use super::lin::{Lin, Term};

/// The table that sends every integer of the type to itself.
pub(crate) fn identity(int: IntType) -> Option<Arc<Table>> {
    let span = int.hi.checked_sub(int.lo)?.unsigned_abs();
    let bits = (u64::BITS - span.leading_zeros()).max(1);
    Table::tabulate(bits, -int.lo, |v| v.min(int.hi) as i32).map(Arc::new)
}

/// Every integer of the type as itself.
fn itself(int: IntType) -> Option<Function> {
    Some(Function {
        shift: 0,
        table: identity(int)?,
        proved: (int.lo, int.hi),
        partial: false,
    })
}

fn is_monotone(table: &Table) -> bool {
    table.values().is_sorted()
}

impl EntryBuilder {
    /// The segment whose indices are the value's, where the value is one monotone lookup.
    fn monotone(&self, value: &Lin) -> Option<(u16, Vec<Map>)> {
        let [Term::Read { read, reduce }] = &value.terms[..] else {
            return None;
        };
        let Tensor::Source(Source::Lookup {
            site: SiteRef::Segment(segment),
            column: 0,
        }) = read.tensor
        else {
            return None;
        };
        let plain = value.constant == 0 && read.coefficient == 1 && reduce.is_empty() && read.gates.is_empty();
        let lookup = self.lookup_of(segment)?;
        (plain && is_monotone(&lookup.table)).then(|| (segment, read.maps.clone()))
    }

    /// The value in a form whose maximum can be taken.
    pub(crate) fn comparable(&mut self, name: &str, value: Lin, int: IntType) -> Option<Lin> {
        if self.monotone(&value).is_some() {
            return Some(value);
        }
        Some(self.commit(&format!("{name}.in"), value, itself(int)?))
    }

    /// The maximum over axes that are no dimensions of the value, which is [`comparable`](Self::comparable).
    pub(crate) fn maximum(&mut self, name: &str, value: &Lin, over: &[Ax], shared: &mut Shared) -> Option<Lin> {
        let site = self.site(name, value, over, None, Vec::new(), shared)?;
        let (maximum, rank) = (self.maxima[site].maximum, self.maxima[site].rank);
        let out = self.maxima[site].axes[..rank].to_vec();
        Some(self.read_segment(maximum, &out, value.dims.clone()))
    }

    /// The value in a form whose distances are those of its indices: one lookup in a table that counts up by one.
    pub(crate) fn counted(&mut self, name: &str, value: Lin, int: IntType) -> Option<Lin> {
        // Wherever the index may be: where a clamp saturates, indices differ and values do not.
        let counts = |lookup: &Lookup| {
            let (least, most) = lookup.table.domain();
            let (from, to) = (lookup.proved.0.max(least), lookup.proved.1.min(most));
            let first = lookup.table.get(from).map(i64::from);
            let at = |v: i64| lookup.table.get(v).map(i64::from);
            (from..=to).all(|v| at(v) == first.map(|f| f + (v - from)))
        };
        let known = self.monotone(&value);
        if known.is_some_and(|(segment, _)| self.lookup_of(segment).is_some_and(counts)) {
            return Some(value);
        }
        Some(self.commit(&format!("{name}.in"), value, itself(int)?))
    }

    /// `table[max - value]`, the maximum over the axes `over` of the value, which is [`counted`](Self::counted); 0 where
    /// one of the masks, which read 1 there, hides the position.
    pub(crate) fn max_distance(
        &mut self,
        name: &str,
        value: &Lin,
        over: &[Ax],
        table: Arc<Table>,
        masks: Vec<Read>,
        shared: &mut Shared,
    ) -> Option<Lin> {
        let mut kept = value.clone();
        for group in &mut kept.dims {
            group.retain(|ax| !over.contains(ax));
        }
        let site = self.site(name, &kept, over, Some(table), masks, shared)?;
        let axes = self.maxima[site].axes.clone();
        let read = self.read_site(SiteRef::Virtual(site as u16), 1, &axes);
        Some(Lin::read(value.dims.clone(), read))
    }

    /// The greatest length that an axis takes.
    pub(crate) fn most(&self, ax: Ax) -> u32 {
        u32::try_from(self.axes.len(ax).most(&self.dims)).unwrap_or(u32::MAX)
    }

    /// The virtual site of a maximum: its cells, the lookup at every distance, the proof that it is attained.
    fn site(
        &mut self,
        name: &str,
        value: &Lin,
        over: &[Ax],
        table: Option<Arc<Table>>,
        masks: Vec<Read>,
        shared: &mut Shared,
    ) -> Option<usize> {
        let (source, maps) = self.monotone(value)?;
        let out: Vec<Ax> = self.region_axes().into_iter().chain(value.axes()).collect();
        let all: Vec<Ax> = out.iter().chain(over).copied().collect();
        let window = over.iter().try_fold(1u32, |n, a| n.checked_mul(self.most(*a)))?;
        let label = if table.is_some() { ".max" } else { "" };
        // Nothing reads the maximum of a softmax: its range is checked by itself.
        let maximum = self.segment(format!("{name}{label}"), &out, table.is_some());
        let count = self.segment(format!("{name}.n"), &out, true);
        let bits = u32::BITS - (window - 1).leading_zeros();
        if bits > MAX_TABLE_BITS {
            return None;
        }
        self.segments[count as usize].table = Some(shared.table(c::Table::range(bits.max(1) as u8)));
        let site = self.maxima.len();
        self.maxima.push(Maximum {
            axes: all.clone(),
            rank: out.len(),
            maximum,
            source,
            maps,
            table,
            masks,
            name: format!("{name}.d"),
        });
        self.step(c::Step::Max { site: site as u16 });
        let attained = self.read_site(SiteRef::Virtual(site as u16), 0, &all);
        self.equation(Equation {
            name: format!("{name}.n"),
            out,
            left: c::Left::Cells(vec![(1, count)]),
            partial: false,
            constant: -1,
            terms: vec![Term::Read {
                read: attained,
                reduce: over.to_vec(),
            }],
        });
        Some(site)
    }
}
