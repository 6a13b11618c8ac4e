//! States: segments that grow from one link of a chain of proofs to the next (docs/protocol/cache.md).
//!
//! What is appended is a value that was looked up, so a segment of its own. That segment grows: its equation writes what the
//! run appends, and a read through the state has the longer axis, earlier cells first. A read of the segment by itself
//! still has the shorter axis, and counts from what was there before.

use mlc_circuit::{Len, SiteRef, Source};
use mlc_ir::{Shape, ValueId};

use super::axes::{Affine, Map, Read, Tensor};
use super::builder::EntryBuilder;
use super::lin::{Factor, Lin, Term};
use super::{EntryLowering, LowerError, Place};

const NO_SEGMENT: &str = "what is appended to a state is the result of one lookup; requantise it first";

impl EntryLowering<'_> {
    /// A state and what the run appends to it; `shape` is that of both.
    pub(super) fn append(&mut self, name: &str, x: ValueId, shape: &Shape, place: &Place) -> Result<Lin, LowerError> {
        let axis = self.module.states.get(name).map_or(0, |s| s.axis);
        let grown = self.len(&shape.0[axis], place)?;
        let x = self.lin(x, place)?;
        let mut x = x.renewed(&mut self.b.axes).ok_or_else(|| place.fail(NO_SEGMENT))?;
        let [Term::Read { read, reduce }] = &mut x.terms[..] else {
            return Err(place.fail(NO_SEGMENT));
        };
        let Tensor::Source(Source::Lookup {
            site: SiteRef::Segment(segment),
            column: 0,
        }) = read.tensor
        else {
            return Err(place.fail(NO_SEGMENT));
        };
        let [ax] = x.dims[axis][..] else {
            return Err(place.fail("the axis along which a state grows is split; requantise the value first"));
        };
        let own = Map::Affine(Affine::axis(ax));
        let along = read.maps.iter().position(|m| *m == own);
        let plain = x.constant == 0 && read.coefficient == 1 && read.gates.is_empty() && reduce.is_empty();
        let (Some(along), true) = (along, plain) else {
            return Err(place.fail(NO_SEGMENT));
        };
        let tokens = read.lens[along].clone();
        let past = self.b.past().filter(|(past, of)| {
            tokens == Len::dim(*of) && tokens == *self.b.axes.len(ax) && grown == Len::dim(*past).plus(&tokens).sorted()
        });
        if past.is_none() {
            return Err(place.fail(
                "the state grows along other dimensions than those declared: `dim past: runtime min 0 max context before tokens`",
            ));
        }
        let cells = &mut self.b.segments[usize::from(segment)];
        if cells.grows.is_some() {
            return Err(place.fail("one value is appended to two states"));
        }
        cells.grows = Some(along as u8);
        cells.ranged = true;
        let longer = self.b.axes.fresh(grown.clone());
        read.maps[along] = Map::Affine(Affine::axis(longer));
        read.lens[along] = grown;
        x.dims[axis] = vec![longer];
        Ok(x)
    }
}

impl EntryBuilder {
    /// The dimensions of what states hold and of what a run appends.
    fn past(&self) -> Option<(u16, u16)> {
        let past = self.dims.iter().position(|d| d.before.is_some())?;
        Some((past as u16, self.dims[past].before?))
    }

    /// Makes reads of a growing segment by itself count from what was there before.
    pub(crate) fn reads_of_new(&mut self) {
        let Some((past, tokens)) = self.past() else { return };
        let segments = &self.segments;
        let mut shift = |read: &mut Read| {
            let Tensor::Source(Source::Lookup {
                site: SiteRef::Segment(s),
                ..
            }) = read.tensor
            else {
                return;
            };
            let Some(axis) = segments[usize::from(s)].grows.map(usize::from) else {
                return;
            };
            if read.lens[axis] == Len::dim(tokens)
                && let Map::Affine(affine) = &read.maps[axis]
            {
                read.maps[axis] = Map::From(past, affine.clone());
            }
        };
        for term in self.equations.iter_mut().flat_map(|e| &mut e.terms) {
            match term {
                Term::Read { read, .. } => shift(read),
                Term::Product { a, b, .. } => {
                    for factor in [a, b] {
                        if let Factor::Reads(reads) = factor {
                            reads.iter_mut().for_each(&mut shift);
                        }
                    }
                }
            }
        }
    }
}
