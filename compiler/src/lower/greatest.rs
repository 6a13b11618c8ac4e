//! The index of a greatest score as an output of its own: the scores are not in the statement.
//!
//! One equation finds it (docs/protocol/relations.md, "The greatest score"): the scores' products once with the weight's axis
//! of scores, negated, and once with the index that is found in its place. What is the same for all scores of a row, a
//! constant or a read, cancels and is left out.

use mlc_circuit as c;
use mlc_circuit::Len;
use mlc_ir::ValueId;

use super::axes::{Affine, Ax, Map, Read, Tensor};
use super::emit;
use super::lin::{Factor, Lin, Select, Term, WeightUse};
use super::{EntryLowering, LowerError, Place};

/// Most bits of what a greatest score exceeds another by.
const MOST_BITS: u32 = 30;
/// Most bits of one of its digits, which costs a table.
const DIGIT_BITS: u32 = 15;

impl EntryLowering<'_> {
    /// Makes the index of the greatest of the scores `id`, over their last axis, the output `name`.
    pub(super) fn greatest(&mut self, name: &str, id: ValueId, place: &Place) -> Result<(), LowerError> {
        let int = self.entry.ty(id).elem.int();
        let int = int.ok_or_else(|| place.fail("the greatest of what are no numbers"))?;
        let scores = self.lin(id, place)?;
        let scores = scores
            .renewed(&mut self.b.axes)
            .ok_or_else(|| place.fail("this view of the scores has no separable affine form; take them as they are"))?;
        let one_axis = scores.dims.last().and_then(|group| match group[..] {
            [ax] => Some((ax, self.b.axes.fixed(ax)?)),
            _ => None,
        });
        let (last, count) = one_axis.ok_or_else(|| {
            place.fail("the scores lie along several axes, along one of a single score, or along a run-time dimension")
        })?;
        // A dimension of length 1 is an axis of the statement all the same.
        let mut rows: Vec<Ax> = Vec::new();
        for group in &scores.dims[..scores.dims.len() - 1] {
            if group.is_empty() {
                rows.push(self.b.axes.fresh(Len::fixed(1)));
            }
            rows.extend(group);
        }
        let output = self.b.outputs.len() as u16;
        let found = Select::Found {
            output,
            axes: rows.clone(),
            len: count,
        };
        let (mut compared, mut greatest) = (Vec::new(), Vec::new());
        for term in self.layers(&scores, last, place)? {
            let (own, other) = paired(&term, last, &rows, &found).ok_or_else(|| {
                place.fail(
                    "scores that are not those of one linear layer for all rows; make them an output, whose label is then \
                     reported",
                )
            })?;
            compared.push(own);
            greatest.push(other);
        }
        if compared.is_empty() {
            return Err(place.fail("all scores are equal, whatever the input"));
        }
        self.b.outputs.push(c::PublicOutput {
            name: name.to_owned(),
            axes: rows.iter().map(|ax| self.b.axes.len(*ax).clone()).collect(),
            scale: 1.0,
            label: c::Label::Index(count),
        });
        let out: Vec<Ax> = rows.iter().copied().chain([last]).collect();
        let cells = self.exceeding(name, &out, int.hi.saturating_sub(int.lo), place)?;
        let below = Term::Read {
            read: Read {
                coefficient: -1,
                tensor: Tensor::Source(c::Source::Below(output)),
                maps: out.iter().map(|ax| Map::Affine(Affine::axis(*ax))).collect(),
                lens: out.iter().map(|ax| self.b.axes.len(*ax).clone()).collect(),
                gates: Vec::new(),
            },
            reduce: Vec::new(),
        };
        self.b.equation(emit::Equation {
            name: name.to_owned(),
            out,
            left: c::Left::Cells(cells),
            partial: true,
            constant: 0,
            terms: [below].into_iter().chain(compared).chain(greatest).collect(),
        });
        Ok(())
    }

    /// The terms of scores that differ along `last`, each a contraction with a weight that has rows for it.
    fn layers(&mut self, scores: &Lin, last: Ax, place: &Place) -> Result<Vec<Term>, LowerError> {
        let mut layers = Vec::new();
        for term in &scores.terms {
            match term {
                Term::Read { read, .. } if read.uses(last) => {
                    return Err(place.fail(
                        "scores that are looked up, not those of a linear layer; make them an output, whose label is then \
                         reported",
                    ));
                }
                Term::Product { a, b, .. } if a.uses(last) || b.uses(last) => {
                    let mut term = term.clone();
                    self.contract_bias(&mut term, last);
                    layers.push(term);
                }
                Term::Read { .. } | Term::Product { .. } => {}
            }
        }
        Ok(layers)
    }

    /// A bias along `last` as a contraction over one position, so that its values are rows of one weight each.
    fn contract_bias(&mut self, term: &mut Term, last: Ax) {
        let Term::Product { group, a, b, .. } = term else {
            return;
        };
        for factor in [a, b] {
            if let Factor::Weight(used) = factor
                && used.row == Some(last)
            {
                used.outer.push(Select::Axis(last));
                (used.row, used.row_len) = (None, 1);
                group.push(self.b.axes.fresh(Len::fixed(1)));
            }
        }
    }

    /// Digits of numbers up to `most`, over `out`, each range-checked.
    fn exceeding(&mut self, name: &str, out: &[Ax], most: i64, place: &Place) -> Result<Vec<(i64, u16)>, LowerError> {
        let bits = (i64::BITS - most.leading_zeros()).max(1);
        if bits > MOST_BITS {
            return Err(place.fail(
                "scores that may differ by 2^30 or more; use fewer weight or activation bits for this layer, or make the \
                 scores an output",
            ));
        }
        let count = bits.div_ceil(DIGIT_BITS);
        let (mut cells, mut low) = (Vec::new(), 0);
        for digit in 0..count {
            let own = (bits - low).div_ceil(count - digit);
            let segment = self.b.segment(format!("{name}.d{digit}"), out, true);
            let table = self.shared.table(c::Table::range(own as u8));
            self.b.segments[segment as usize].table = Some(table);
            cells.push((1i64 << low, segment));
            low += own;
        }
        Ok(cells)
    }
}

/// A term with its factor negated, and with the row that `found` selects in place of those along `last`. `None` where `last`
/// is not one outer axis of a weight and nothing else, or where the weight depends on the row.
fn paired(term: &Term, last: Ax, rows: &[Ax], found: &Select) -> Option<(Term, Term)> {
    let Term::Product {
        coefficient,
        group,
        a,
        b,
    } = term
    else {
        return None;
    };
    let swap = |used: &WeightUse| {
        if rows.iter().any(|row| used.uses(*row)) {
            return None;
        }
        let mut used = used.clone();
        let mut of_last = used.outer.iter_mut().filter(|s| **s == Select::Axis(last));
        *of_last.next()? = found.clone();
        (of_last.next().is_none() && !group.is_empty()).then(|| Factor::Weight(Box::new(used)))
    };
    let (other, swapped) = match (a, b) {
        (other, Factor::Weight(used)) | (Factor::Weight(used), other) => (other, swap(used)?),
        _ => return None,
    };
    if other.uses(last) {
        return None;
    }
    let product = |coefficient, b: Factor| Term::Product {
        coefficient,
        group: group.clone(),
        a: other.clone(),
        b,
    };
    let own = match (a, b) {
        (_, weight @ Factor::Weight(_)) | (weight, _) => weight.clone(),
    };
    Some((product(coefficient.checked_neg()?, own), product(*coefficient, swapped)))
}
