//! Maxima over windows: of indices, not of values.
//!
//! Tables are monotone where their values do not fall, and then the greatest value is at the greatest index. The maximum
//! `m` of the committed indices `t` is committed; the virtual index `m - t` lies in a table whose column says where it is
//! 0, and a range-checked count `n = -1 + Σ [m - t = 0]` proves that the maximum is attained. A position outside of the
//! image has index 0, the least there is. Values that are not looked up monotonically are committed again as themselves.

use std::sync::Arc;

use mlc_circuit as c;
use mlc_circuit::{SiteRef, Source};
use mlc_ir::{IntType, Table};

use super::axes::{Affine, Ax, Map, Read, Tensor};
use super::builder::{EntryBuilder, Maximum};
use super::emit::{Equation, Shared};
use super::lin::{Lin, Term};

/// The table that sends every integer of the type to itself.
pub(crate) fn identity(int: IntType) -> Option<Arc<Table>> {
    let span = int.hi.checked_sub(int.lo)?.unsigned_abs();
    let bits = (u64::BITS - span.leading_zeros()).max(1);
    Table::tabulate(bits, -int.lo, |v| v.min(int.hi) as i32).map(Arc::new)
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
        Some(self.commit(&format!("{name}.in"), value, 0, identity(int)?))
    }

    /// The maximum over axes that are no dimensions of the value, which is [`comparable`](Self::comparable).
    pub(crate) fn maximum(&mut self, name: &str, value: &Lin, over: &[Ax], shared: &mut Shared) -> Option<Lin> {
        let (source, maps) = self.monotone(value)?;
        let out: Vec<Ax> = self.region_axes().into_iter().chain(value.axes()).collect();
        let all: Vec<Ax> = out.iter().chain(over).copied().collect();
        let window = over.iter().try_fold(1u32, |n, a| n.checked_mul(self.axes.fixed(*a)?))?;
        let maximum = self.segment(name.to_owned(), &out, false);
        let count = self.segment(format!("{name}.n"), &out, true);
        let bits = u32::BITS - (window - 1).leading_zeros();
        self.segments[count as usize].table = Some(shared.table(c::Table::range(bits.max(1) as u8)));
        let site = self.maxima.len() as u16;
        self.maxima.push(Maximum {
            axes: all.clone(),
            rank: out.len(),
            maximum,
            source,
            maps,
            name: format!("{name}.d"),
        });
        self.step(c::Step::Max { site });
        let attained = Read {
            coefficient: 1,
            tensor: Tensor::Source(Source::Lookup {
                site: SiteRef::Virtual(site),
                column: 0,
            }),
            maps: all.iter().map(|a| Map::Affine(Affine::axis(*a))).collect(),
            lens: all.iter().map(|a| self.axes.len(*a).clone()).collect(),
            gates: Vec::new(),
        };
        self.equation(Equation {
            name: format!("{name}.n"),
            out: out.clone(),
            left: c::Left::Cells(vec![(1, count)]),
            constant: -1,
            terms: vec![Term::Read {
                read: attained,
                reduce: over.to_vec(),
            }],
        });
        Some(self.read_segment(maximum, &out, value.dims.clone()))
    }
}
