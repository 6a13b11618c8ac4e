//! Rotary embeddings: products with public constants.
//!
//! Coordinate `j` of the result is `x[j] · C[p, j] + x[j + δ] · N[p, j] + x[j - δ] · P[p, j]`, where `C` holds cosines (and
//! one where nothing turns), `N` the negated sines of the first coordinate of each pair, `P` the sines of the second, and
//! `δ` is the distance within a pair. Where a coordinate has no partner on a side its constant is 0, so what is read there
//! does not matter. Positions go to the greatest length that is declared.

use mlc_circuit as c;
use mlc_circuit::Len;
use mlc_ir::{Rope, RopeLayout, Shape};

use super::axes::{Affine, Map, Read, Tensor};
use super::lin::{Factor, Lin, Term};
use super::{EntryLowering, LowerError, Place};

/// Greatest number of elements of a table of positions.
const MOST: u64 = 1 << 24;

impl EntryLowering<'_> {
    /// The rotation of `x`, whose shape is `shape`.
    pub(super) fn rope(&mut self, x: &Lin, rope: &Rope, shape: &Shape, place: &Place) -> Result<Lin, LowerError> {
        let start = rope.start.constant();
        let from = match rope.start.terms().collect::<Vec<_>>()[..] {
            [] => None,
            [(dim, 1)] => self.module.dims.get_index_of(dim).map(|dim| dim as u16),
            _ => None,
        };
        if from.is_none() && !rope.start.is_const() {
            return Err(place.fail("positions that start at other than a constant and a run-time dimension"));
        }
        let x = x
            .renewed(&mut self.b.axes)
            .ok_or_else(|| place.fail("what is turned has no plain form"))?;
        let (Some([coordinate]), Some(width)) = (
            x.dims.last().map(Vec::as_slice),
            shape.0.last().and_then(|d| d.as_const()),
        ) else {
            return Err(place.fail("the coordinates that are turned are several axes; requantise the value first"));
        };
        let (coordinate, width) = (*coordinate, width.unsigned_abs());
        let position = match x.dims[rope.axis][..] {
            [] => None,
            [ax] => Some(ax),
            _ => return Err(place.fail("the axis of positions is split; requantise the value first")),
        };
        // A run-time start counts from the first row of the table: rows go to the last position there is.
        let len = position.map_or(Len::fixed(1), |ax| self.b.axes.len(ax).clone());
        let first = from.map_or(Len::fixed(0), Len::dim);
        let positions = first.plus(&len).most(&self.b.dims);
        if positions.saturating_mul(width) > MOST {
            return Err(place.fail("a rotary embedding of more than 2^24 angles; declare fewer tokens"));
        }
        let pairs = rope.rotary / 2;
        let distance = match rope.layout {
            RopeLayout::Half => pairs,
            RopeLayout::Interleaved => 1,
        };
        // The pair of a coordinate, and whether it is the pair's first.
        let pair = |j: u64| match rope.layout {
            _ if j >= rope.rotary => None,
            RopeLayout::Half => Some((j % pairs, j < pairs)),
            RopeLayout::Interleaved => Some((j / 2, j.is_multiple_of(2))),
        };
        let one = libm::ldexp(1.0, rope.bits as i32);
        let fixed = |v: f64| libm::rint(one * rope.scale * v) as i32;
        let angle = |p: u64, i: u64| (start + p as i64) as f64 * rope.freq.eval(i as f64);
        let turn = |part: i64, p: u64, j: u64| match (part, pair(j)) {
            (0, None) => one as i32,
            (0, Some((i, _))) => fixed(libm::cos(angle(p, i))),
            (1, Some((i, true))) => -fixed(libm::sin(angle(p, i))),
            (-1, Some((i, false))) => fixed(libm::sin(angle(p, i))),
            _ => 0,
        };
        let along = position.map_or_else(|| Affine::constant(0), Affine::axis);
        let mut terms = Vec::new();
        for part in [0i64, 1, -1] {
            let values = (0..positions).flat_map(|p| (0..width).map(move |j| (p, j)));
            let values: Vec<i32> = values.map(|(p, j)| turn(part, p, j)).collect();
            let name = ["sin", "cos", "-sin"][(part + 1) as usize];
            let constant = self.shared.constant(c::Constant {
                name: format!("{name} {}", place.layer),
                axes: vec![positions as u32, width as u32],
                values,
            });
            let mut moved = x.clone();
            let by = Affine {
                offset: part * distance as i64,
                parts: vec![(coordinate, 1)],
            };
            let angles = Read {
                coefficient: 1,
                tensor: Tensor::Source(c::Source::Constant(constant)),
                maps: vec![
                    match from {
                        None => Map::Affine(along.clone()),
                        Some(dim) => Map::From(dim, along.clone()),
                    },
                    Map::Affine(Affine::axis(coordinate)),
                ],
                lens: vec![c::Len::fixed(positions as usize), c::Len::fixed(width as usize)],
                gates: Vec::new(),
            };
            let reads = moved
                .substitute(coordinate, &by, true, &self.b.axes)
                .and_then(|()| moved.plain_reads())
                .filter(|_| x.constant == 0)
                .ok_or_else(|| place.fail("what is turned has no plain form; requantise it first"))?;
            terms.push(Term::Product {
                coefficient: 1,
                group: Vec::new(),
                a: Factor::Reads(reads),
                b: Factor::Reads(vec![angles]),
            });
        }
        Ok(Lin {
            dims: x.dims,
            constant: 0,
            terms,
        })
    }
}
