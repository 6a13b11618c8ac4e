//! One entry under construction: its axes, cells, symbolic equations and execution steps.

use std::sync::Arc;

use mlc_circuit as c;
use mlc_circuit::{Len, SiteRef, Source};
use mlc_ir::{StackAxis, Table};

use super::axes::{Affine, Ax, Axes, Map, Read, Tensor};
use super::emit::Equation;
use super::lin::Lin;

/// A table that lowering has yet to fit to the proved range of its accumulator.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    /// The equation that determines the cells.
    pub(crate) equation: usize,
    /// The segment of indices.
    pub(crate) index: u16,
    /// Segments of remainder digits, least significant first, with their bits.
    pub(crate) limbs: Vec<(u16, u32)>,
    /// Bits dropped.
    pub(crate) shift: u32,
    /// The function, on `(acc + half) >> shift`.
    pub(crate) table: Arc<Table>,
    /// Least and greatest input of the function by the IR's bounds.
    pub(crate) proved: (i64, i64),
    /// The table ends where calibration did, not where the bounds do.
    pub(crate) partial: bool,
    /// The equation's constant without rounding and offset.
    pub(crate) constant: i64,
}

/// What a lookup computes.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    /// Bits dropped before it.
    pub(crate) shift: u32,
    /// Its values.
    pub(crate) table: Arc<Table>,
    /// Least and greatest input by the IR's bounds.
    pub(crate) proved: (i64, i64),
    /// The table may end before those do.
    pub(crate) partial: bool,
}

/// A lookup at `maximum - index`: proves a maximum.
#[derive(Debug, Clone)]
pub(crate) struct Maximum {
    /// Axes of the site: those of the maximum, then the window's.
    pub(crate) axes: Vec<Ax>,
    /// Number of leading axes.
    pub(crate) rank: usize,
    /// The segment of maxima.
    pub(crate) maximum: u16,
    /// The segment compared, and how the site reads it.
    pub(crate) source: u16,
    pub(crate) maps: Vec<Map>,
    /// A function of the distance, as column 1.
    pub(crate) table: Option<Arc<Table>>,
    /// What hides positions.
    pub(crate) masks: Vec<Read>,
    pub(crate) name: String,
}

/// The repeat region being lowered.
#[derive(Debug)]
pub(crate) struct OpenRegion {
    pub(crate) stack: StackAxis,
    pub(crate) ax: Ax,
    pub(crate) steps: Vec<c::Step>,
    pub(crate) first_equation: usize,
}

/// One entry under construction.
#[derive(Debug, Default)]
pub(crate) struct EntryBuilder {
    pub(crate) axes: Axes,
    pub(crate) inputs: Vec<c::PublicInput>,
    pub(crate) outputs: Vec<c::PublicOutput>,
    pub(crate) segments: Vec<c::Segment>,
    pub(crate) lookups: Vec<Lookup>,
    pub(crate) maxima: Vec<Maximum>,
    pub(crate) equations: Vec<Equation>,
    pub(crate) steps: Vec<c::Step>,
    pub(crate) region: Option<OpenRegion>,
    /// Causal masks: offset and window.
    pub(crate) causal: Vec<(Len, Option<u32>)>,
    /// The run-time dimensions.
    pub(crate) dims: Vec<c::RuntimeDim>,
    /// Greatest number of bits of a remainder digit.
    pub(crate) limb_bits: u32,
}

impl EntryBuilder {
    /// The axis of the open region, which every tensor made inside has first.
    pub(crate) fn region_axes(&self) -> Vec<Ax> {
        self.region.iter().map(|r| r.ax).collect()
    }

    pub(crate) fn step(&mut self, step: c::Step) {
        match &mut self.region {
            Some(region) => region.steps.push(step),
            None => self.steps.push(step),
        }
    }

    /// A segment over `axes`; its table is set when the entry is finished.
    pub(crate) fn segment(&mut self, name: String, axes: &[Ax], ranged: bool) -> u16 {
        self.segments.push(c::Segment {
            grows: None,
            name,
            axes: axes.iter().map(|a| self.axes.len(*a).clone()).collect(),
            table: None,
            ranged,
        });
        (self.segments.len() - 1) as u16
    }

    pub(crate) fn equation(&mut self, equation: Equation) -> usize {
        self.equations.push(equation);
        let at = self.equations.len() - 1;
        self.step(c::Step::Equation(at as u16));
        at
    }

    /// Commits `table((value + half) >> shift)`; returns the looked-up value.
    pub(crate) fn commit(&mut self, name: &str, value: Lin, function: Function) -> Lin {
        let Function {
            shift,
            table,
            proved,
            partial,
        } = function;
        let out: Vec<Ax> = self.region_axes().into_iter().chain(value.axes()).collect();
        let mut cells = Vec::new();
        let mut limbs = Vec::new();
        let count = shift.div_ceil(self.limb_bits.max(1));
        let (mut low, mut left) = (0, shift);
        for limb in 0..count {
            let bits = left.div_ceil(count - limb);
            let label = if count == 1 {
                format!("{name}.r")
            } else {
                format!("{name}.r{limb}")
            };
            let segment = self.segment(label, &out, true);
            cells.push((1i64 << low, segment));
            limbs.push((segment, bits));
            low += bits;
            left -= bits;
        }
        let index = self.segment(name.to_owned(), &out, false);
        cells.push((1i64 << shift, index));
        let equation = self.equation(Equation {
            name: name.to_owned(),
            out: out.clone(),
            left: c::Left::Cells(cells),
            partial,
            constant: value.constant,
            terms: value.terms,
        });
        self.lookups.push(Lookup {
            equation,
            index,
            limbs,
            shift,
            table,
            proved,
            partial,
            constant: value.constant,
        });
        self.read_segment(index, &out, value.dims)
    }

    /// Column 0 at the cells of a segment over `out`, as a value with these dimensions.
    pub(crate) fn read_segment(&mut self, segment: u16, out: &[Ax], dims: Vec<Vec<Ax>>) -> Lin {
        Lin::read(dims, self.read_site(SiteRef::Segment(segment), 0, out))
    }

    /// A column of a site at the cells that `axes` name.
    pub(crate) fn read_site(&self, site: SiteRef, column: u8, axes: &[Ax]) -> Read {
        Read {
            coefficient: 1,
            tensor: Tensor::Source(Source::Lookup { site, column }),
            maps: axes.iter().map(|a| Map::Affine(Affine::axis(*a))).collect(),
            lens: axes.iter().map(|a| self.axes.len(*a).clone()).collect(),
            gates: Vec::new(),
        }
    }

    /// The lookup that determines the cells of a segment.
    pub(crate) fn lookup_of(&self, segment: u16) -> Option<&Lookup> {
        self.lookups.iter().find(|l| l.index == segment)
    }
}
