//! Finishing an entry: tables are fitted to the bounds that the circuit's own range analysis proves.
//!
//! A requantisation of the IR names a table that covers the IR's interval. The circuit's analysis is coarser in places (a
//! product of two activations is bounded symmetrically, every read may be 0), so each table is fitted once more: kept
//! where it covers, else extended by its end values, which changes no value that occurs. A partial table stays as it is:
//! what is beyond it is no key, so no execution and no proof has it.

use std::collections::{BTreeMap, BTreeSet};

use mlc_circuit as c;
use mlc_circuit::check::bounds;
use mlc_ir::Table;
use mlc_ir::table::MAX_TABLE_BITS;

use super::LowerError;
use super::axes::{Ax, Read, Tensor};
use super::builder::{EntryBuilder, Lookup};
use super::emit::{Misfit, Shared, access};

/// Magnitudes stay below this.
const LIMIT: u128 = 1 << 30;

fn half(shift: u32) -> i64 {
    if shift == 0 { 0 } else { 1 << (shift - 1) }
}

/// The circuit's table of `table`, offset and constant so that its index 0 is input `first`.
struct Fitted {
    bits: u32,
    values: Vec<i32>,
    constant: i64,
}

/// Fits the table of `lookup` to accumulators in `[lo, hi]` (without the lookup's own constants).
fn fit(lookup: &Lookup, name: &str, lo: i64, hi: i64) -> Result<Fitted, LowerError> {
    let table = &lookup.table;
    let index = |acc: i64| (acc + half(lookup.shift)) >> lookup.shift;
    let (least, most) = table.domain();
    let (from, to) = (index(lo), index(hi));
    let (start, bits) = if lookup.partial || (from >= least && to <= most) {
        (least, table.bits())
    } else {
        (from, u64::BITS - (to - from).unsigned_abs().leading_zeros())
    };
    if bits > MAX_TABLE_BITS {
        return Err(LowerError::TableTooLarge {
            layer: name.to_owned(),
            lo,
            hi,
            shift: lookup.shift,
            bits,
            max: MAX_TABLE_BITS,
            mend: "use fewer weight or activation bits for this layer, or calibrate its weights' column sums".into(),
        });
    }
    let at = |i: i64| table.get((start + i).clamp(least, most)).unwrap_or(0);
    Ok(Fitted {
        bits,
        values: (0..1i64 << bits).map(at).collect(),
        constant: lookup.constant + half(lookup.shift) - (start << lookup.shift),
    })
}

/// Index bits that masks add to those of a distance: each mask adds `2^(bits+1)`, to something below `2^bits`.
pub(crate) fn mask_bits(masks: usize) -> u32 {
    (1 + 2 * masks).next_power_of_two().trailing_zeros()
}

/// The table of a maximum: whether the index is 0, and a function of it; the function goes on with its last value where
/// the circuit's bounds are wider than any distance that occurs.
/// Masks move what they hide above `2^bits`, where everything is 0.
fn distances(bits: u32, function: Option<&Table>, masks: usize) -> c::Table {
    let log_rows = bits + mask_bits(masks);
    let mut column = vec![0; 1 << log_rows];
    column[0] = 1;
    let values = |table: &Table| {
        let last = table.domain().1;
        let mut values: Vec<i32> = (0..1i64 << bits).map(|d| table.get(d.min(last)).unwrap_or(0)).collect();
        values.resize(1 << log_rows, 0);
        values
    };
    c::Table {
        name: function.map_or_else(|| format!("zero{bits}"), |t| format!("d{}", &t.hash_text()[..8])),
        log_rows: log_rows as u8,
        columns: std::iter::once(column).chain(function.map(values)).collect(),
    }
}

fn function_table(table: &Table, bits: u32, values: Vec<i32>) -> c::Table {
    c::Table {
        name: format!("f{}", &table.hash_text()[..8]),
        log_rows: bits as u8,
        columns: vec![values],
    }
}

impl EntryBuilder {
    /// The entry, written out.
    pub(crate) fn finish(
        mut self,
        name: &str,
        dims: &[c::RuntimeDim],
        shared: &mut Shared,
    ) -> Result<c::Entry, LowerError> {
        let misfit = |layer: &str| {
            let layer = layer.to_owned();
            move |Misfit(why): Misfit| LowerError::Unsupported {
                layer,
                op: "equation",
                why: why.to_owned(),
                span: None,
            }
        };
        self.reads_of_new();
        // A first writing with the IR's tables, for the bounds.
        let mut probe = shared.clone();
        self.set_tables(&mut probe, None)?;
        let mut equations = Vec::with_capacity(self.equations.len());
        for e in &self.equations {
            equations.push(e.write(&self.axes, &mut probe).map_err(misfit(&e.name))?);
        }
        let sites = self.sites(&mut probe).map_err(misfit(name))?;
        let mut entry = c::Entry {
            name: name.to_owned(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            segments: self.segments.clone(),
            sites,
            equations,
            steps: self.steps.clone(),
        };
        let circuit = c::Circuit {
            name: name.to_owned(),
            dims: dims.to_vec(),
            tables: probe.tables,
            weights: probe.weights,
            constants: probe.constants,
            entries: Vec::new(),
        };
        let mut fitted = BTreeMap::new();
        for (i, lookup) in self.lookups.iter().enumerate() {
            let equation = &mut entry.equations[lookup.equation];
            equation.constant = lookup.constant;
            let range = bounds::right(&circuit, &entry, &entry.equations[lookup.equation]);
            let layer = &self.equations[lookup.equation].name;
            let magnitude = range.lo.unsigned_abs().max(range.hi.unsigned_abs());
            if magnitude >= LIMIT / 2 {
                return Err(LowerError::Overflow {
                    layer: layer.clone(),
                    bound: magnitude,
                    mend: "use fewer weight or activation bits for this layer, or calibrate its weights' column sums"
                        .into(),
                });
            }
            fitted.insert(i, fit(lookup, layer, range.lo as i64, range.hi as i64)?);
        }
        for (i, lookup) in self.lookups.iter().enumerate() {
            self.equations[lookup.equation].constant = fitted[&i].constant;
        }
        self.set_tables(shared, Some(fitted))?;
        let mut equations = Vec::with_capacity(self.equations.len());
        for e in &self.equations {
            equations.push(e.write(&self.axes, shared).map_err(misfit(&e.name))?);
        }
        entry.equations = equations;
        entry.sites = self.sites(shared).map_err(misfit(name))?;
        entry.segments = self.segments;
        Ok(entry)
    }

    /// Sets the table of every segment. Cells that only a maximum compares have none of their own.
    fn set_tables(&mut self, shared: &mut Shared, fitted: Option<BTreeMap<usize, Fitted>>) -> Result<(), LowerError> {
        let read = self.segments_read();
        let mut fitted = fitted.unwrap_or_default();
        for (i, lookup) in self.lookups.iter().enumerate() {
            for (segment, bits) in &lookup.limbs {
                let range = shared.table(c::Table::range(*bits as u8));
                self.segments[*segment as usize].table = Some(range);
            }
            let (bits, values) = match fitted.remove(&i) {
                Some(f) => (f.bits, f.values),
                None => (lookup.table.bits(), lookup.table.values().to_vec()),
            };
            let table = function_table(&lookup.table, bits, values);
            let compared: Vec<u16> = self
                .maxima
                .iter()
                .filter(|m| m.source == lookup.index)
                .map(|m| m.maximum)
                .collect();
            if compared.is_empty() || lookup.partial || read.contains(&lookup.index) {
                let table = shared.table(table.clone());
                self.segments[lookup.index as usize].table = Some(table);
            } else {
                self.segments[lookup.index as usize].table = None;
            }
            // A cell beyond a partial table could be negative, which a maximum does not see.
            if lookup.partial && !compared.is_empty() {
                self.segments[lookup.index as usize].ranged = true;
            }
            for maximum in compared {
                let table = shared.table(table.clone());
                self.segments[maximum as usize].table = Some(table);
            }
        }
        Ok(())
    }

    /// Segments whose looked-up values some equation reads.
    fn segments_read(&self) -> BTreeSet<u16> {
        let reads = self.equations.iter().flat_map(|e| &e.terms).flat_map(|t| t.reads());
        reads
            .filter_map(|r| match r.tensor {
                Tensor::Source(c::Source::Lookup {
                    site: c::SiteRef::Segment(s),
                    ..
                }) => Some(s),
                _ => None,
            })
            .collect()
    }

    fn mask(&self, read: &Read, coefficient: i32, iterations: &[Ax]) -> Result<c::FormTerm, Misfit> {
        let access = access(&read.maps, &read.gates, iterations)?;
        let source = match read.tensor {
            Tensor::Source(c::Source::Input(i)) => c::FormSource::Input(i),
            Tensor::Causal(k) => {
                let axis = |m: &c::AxisMap| match m {
                    c::AxisMap::Affine { offset: 0, parts } if matches!(parts[..], [(_, 1)]) => Ok(parts[0].0),
                    _ => Err(Misfit("a causal mask over axes that are split or sliced")),
                };
                let (offset, window) = self.causal.get(k).cloned().ok_or(Misfit("an unknown mask"))?;
                let (row, col) = (axis(&access.axes[0])?, axis(&access.axes[1])?);
                let source = c::FormSource::Causal(c::Causal {
                    row,
                    col,
                    offset,
                    window,
                });
                return Ok(c::FormTerm {
                    coefficient,
                    source,
                    access: c::Access::identity(0),
                });
            }
            _ => return Err(Misfit("a mask that is no input")),
        };
        Ok(c::FormTerm {
            coefficient,
            source,
            access,
        })
    }

    /// The virtual sites, each with the table of its own index range.
    fn sites(&self, shared: &mut Shared) -> Result<Vec<c::VirtualSite>, Misfit> {
        let mut sites = Vec::with_capacity(self.maxima.len());
        for m in &self.maxima {
            let bits = self.segments[m.maximum as usize]
                .table
                .map_or(0, |t| u32::from(shared.tables[t as usize].log_rows));
            let lens = m.axes.iter().map(|a| self.axes.len(*a).clone()).collect();
            let mut index = vec![
                c::FormTerm {
                    coefficient: 1,
                    source: c::FormSource::Segment(m.maximum),
                    access: c::Access::identity(m.rank),
                },
                c::FormTerm {
                    coefficient: -1,
                    source: c::FormSource::Segment(m.source),
                    access: access(&m.maps, &[], &m.axes)?,
                },
            ];
            for mask in &m.masks {
                index.push(self.mask(mask, 2 << bits, &m.axes)?);
            }
            sites.push(c::VirtualSite {
                name: m.name.clone(),
                axes: lens,
                table: shared.table(distances(bits, m.table.as_deref(), m.masks.len())),
                index,
                ranged: false,
            });
        }
        Ok(sites)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A range that begins where the table does and ends beyond it: the last value goes on.
    #[test]
    fn a_range_beyond_the_end_of_a_table_is_covered() {
        let lookup = Lookup {
            equation: 0,
            index: 0,
            limbs: Vec::new(),
            shift: 1,
            proved: (0, 0),
            partial: false,
            table: Table::tabulate(3, 0, |v| v as i32).unwrap().into(),
            constant: 0,
        };
        let fitted = fit(&lookup, "layer", 0, 40).unwrap();
        assert_eq!((fitted.bits, fitted.constant), (5, 1));
        assert_eq!(fitted.values[..9], [0, 1, 2, 3, 4, 5, 6, 7, 7]);
        assert_eq!(fitted.values[20], 7);
    }
}
