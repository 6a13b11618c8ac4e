//! Lies about committed tensors: a cell changed under an honest execution, and whole executions of something else that
//! are consistent but for one relation.

use mlc_circuit::{Access, ChannelKind, Operand, SiteRef, Source};
use mlc_runtime::prover::channel::Honest;
use mlc_runtime::prover::inference::label;
use mlc_runtime::weights::IntWeights;
use mlc_verifier::commitment::OpeningError::{Authentication, Evaluation};
use mlc_verifier::inference::VerifyError::{self, Lookup, Numerator, Opening, Products, Read, Tables};
use mlc_verifier::logup::LogUpError::NonZeroSum;
use mlc_verifier::transcript::ReadError;

use crate::block::LAYER;
use crate::liar::{Message, all_refused, refused, row, telling};
use crate::world::{EVERYTHING, Liar, World, cells_of, tree_of};

/// The first place, from `from` on, where the cells of `segment` satisfy `found` with the values of its table.
fn find(liar: &Liar<'_>, segment: &str, found: impl Fn(i32, &[i32]) -> bool) -> usize {
    let s = liar.world.segment(segment);
    let table = liar.circuit.entries[0].segments[s].table.unwrap() as usize;
    let values = &liar.circuit.tables[table].columns[0];
    let at = liar.execution.segments[s].iter().position(|&t| found(t, values));
    at.unwrap_or_else(|| panic!("{segment} has no such cell"))
}

/// The weight of the index cell: the ratio of the coefficients of `index` and `remainder` in their equation.
fn ratio(liar: &Liar<'_>, index: &str) -> i32 {
    let s = liar.world.segment(index) as u16;
    let digits = liar.circuit.entries[0].equations.iter().find_map(|q| match &q.left {
        mlc_circuit::Left::Cells(cells) => cells.iter().find(|c| c.1 == s),
        mlc_circuit::Left::Output(_) => None,
    });
    digits.unwrap().0 as i32
}

/// Adds to one cell of the execution.
fn add(liar: &mut Liar<'_>, segment: &str, at: usize, value: i32) {
    let s = liar.world.segment(segment);
    liar.execution.segments[s][at] += value;
}

/// Moves an index by `by` and its remainder so that the equation still holds, where the table does not tell.
fn shift(liar: &mut Liar<'_>, layer: &str, by: i32) {
    let (t, r) = (format!("{layer}.t"), format!("{layer}.r0"));
    let at = find(liar, &t, |t, values| {
        let other = (t + by).clamp(0, values.len() as i32 - 1);
        other == t + by && values[t as usize] == values[other as usize]
    });
    let ratio = ratio(liar, &t);
    add(liar, &t, at, by);
    add(liar, &r, at, -by * ratio);
}

/// The maximum at one window and all that is compared with it, by one; the value read stays the same.
fn raise(liar: &mut Liar<'_>) {
    let at = find(liar, "conv.max", |m, values| {
        values.get(m as usize + 1) == values.get(m as usize)
    });
    add(liar, "conv.max", at, 1);
    for difference in &mut liar.execution.virtual_sites[0][4 * at..4 * at + 4] {
        *difference += 1;
    }
}

/// Swaps the first two blocks of a repeated tensor.
fn swap<T>(values: &mut [T], blocks: usize) {
    let (a, b) = values.split_at_mut(values.len() / blocks);
    let block = a.len();
    a.swap_with_slice(&mut b[..block]);
}

#[test]
fn consistent_executions_of_something_else_are_refused() {
    EVERYTHING.refuses(&[
        row!("a negative remainder", |l| shift(l, "stem", 1), Lookup(NonZeroSum)),
        row!(
            "a remainder beyond its range",
            |l| shift(l, "stem", -1),
            Lookup(NonZeroSum)
        ),
        row!(
            "a negative remainder in a repeated block",
            |l| shift(l, "up", 1),
            Lookup(NonZeroSum)
        ),
        row!(
            "an index that its equation does not give",
            |l| {
                let at = find(l, "stem.t", |t, v| v.get(t as usize + 1) == v.get(t as usize));
                add(l, "stem.t", at, 1);
            },
            Products
        ),
        row!(
            "a remainder that its equation does not give",
            |l| {
                let s = l.world.segment("head.r0");
                let r = &mut l.execution.segments[s][0];
                *r = if *r == 0 { 1 } else { *r - 1 };
            },
            Products
        ),
        row!(
            "an index behind its table",
            |l| {
                // Its value would be 0, as that of the index it stands for.
                let at = find(l, "head.t", |t, v| v[t as usize] == 0);
                let (s, ratio) = (l.world.segment("head.t"), ratio(l, "head.t"));
                let by = 256 - l.execution.segments[s][at];
                add(l, "head.t", at, by);
                add(l, "head.r0", at, -by * ratio);
            },
            Lookup(NonZeroSum)
        ),
        row!(
            "another private input",
            |l| {
                let s = l.world.segment("image");
                let x = &mut l.execution.segments[s][5];
                *x = (*x + 1) % 16;
            },
            Products
        ),
        row!(
            "a private input out of range",
            |l| {
                // The lookup of an index behind the table gives 0, as that of the value 0.
                let at = find(l, "image", |t, v| v[t as usize] == 0);
                add(l, "image", at, 16);
            },
            Lookup(NonZeroSum)
        ),
        row!(
            "a maximum that nothing attains, counted as it is",
            |l| {
                let at = l.world.segment("conv.attained");
                raise(l);
                for (w, n) in l.execution.segments[at].iter_mut().enumerate() {
                    let zeros = l.execution.virtual_sites[0][4 * w..4 * w + 4]
                        .iter()
                        .filter(|d| **d == 0);
                    *n = zeros.count() as i32 - 1;
                }
            },
            Lookup(NonZeroSum)
        ),
        row!("a maximum that nothing attains, counted once", raise, Tables),
        row!(
            "a maximum below a compared cell",
            |l| {
                let at = find(l, "conv.max", |m, v| m > 0 && v[m as usize - 1] == v[m as usize]);
                add(l, "conv.max", at, -1);
                for difference in &mut l.execution.virtual_sites[0][4 * at..4 * at + 4] {
                    *difference -= 1;
                }
            },
            Lookup(NonZeroSum)
        ),
        row!(
            "a compared cell with another remainder",
            |l| {
                // The window's largest stays the largest: only cells two below it are raised.
                let at = l.execution.virtual_sites[0].iter().position(|&d| d >= 2).unwrap();
                let [n, c, h, w, i, j] = [at / 64, at / 16 % 4, at / 8 % 2, at / 4 % 2, at / 2 % 2, at % 2];
                let cell = ((n * 4 + c) * 4 + 2 * h + i) * 4 + 2 * w + j;
                let ratio = ratio(l, "conv.t");
                add(l, "conv.t", cell, 1);
                add(l, "conv.r0", cell, -ratio);
                l.execution.virtual_sites[0][at] -= 1;
            },
            Lookup(NonZeroSum)
        ),
        row!(
            "a difference that the cells do not have",
            |l| l.execution.virtual_sites[0][3] += 1,
            Lookup(NonZeroSum)
        ),
        row!(
            "a count that is not the number of attained maxima",
            |l| {
                let s = l.world.segment("conv.attained");
                l.execution.segments[s][7] ^= 1;
            },
            Tables
        ),
        row!(
            "two blocks of the stream swapped: their sum is the same",
            |l| {
                for name in ["up.t", "up.r0", "o.t", "o.r0"] {
                    let s = l.world.segment(name);
                    swap(&mut l.execution.segments[s], 3);
                }
            },
            Products
        ),
    ]);
}

#[test]
fn other_weights_than_the_committed_are_refused() {
    EVERYTHING.refuses(&[
        row!(
            "one weight changed",
            |l| {
                let mut tensors = l.weights.to_vec();
                tensors[0][3] ^= 1;
                l.weights = IntWeights::unchecked(tensors);
                l.execute();
            },
            Opening(Evaluation { level: 0 })
        ),
        row!(
            "the weights of two blocks swapped",
            |l| {
                let up = l.circuit.weights.iter().position(|w| w.name == "up").unwrap();
                let mut tensors = l.weights.to_vec();
                swap(&mut tensors[up], 3);
                l.weights = IntWeights::unchecked(tensors);
                l.execute();
            },
            Opening(Evaluation { level: 0 })
        ),
        row!(
            "other weights, against the committed columns",
            |l| {
                let mut tensors = l.weights.to_vec();
                tensors[0][3] ^= 1;
                l.weights = IntWeights::unchecked(tensors);
                l.cells = cells_of(&l.circuit, &l.weights);
                l.execute();
            },
            Opening(Evaluation { level: 0 })
        ),
        row!(
            "other weights, opened instead of the committed ones",
            |l| {
                let mut tensors = l.weights.to_vec();
                tensors[0][3] ^= 1;
                l.weights = IntWeights::unchecked(tensors);
                l.cells = cells_of(&l.circuit, &l.weights);
                l.tree = Some(tree_of(&l.circuit, &l.world.loaded.params, &l.cells));
                l.execute();
            },
            Opening(Authentication { level: 0, tree: 2 })
        ),
    ]);
}

#[test]
fn other_circuits_than_the_agreed_are_refused() {
    EVERYTHING.refuses(&[
        row!(
            "two rows of a function table permuted",
            |l| {
                let s = l.world.segment("head.t");
                let table = l.circuit.entries[0].segments[s].table.unwrap() as usize;
                let column = &mut l.circuit.tables[table].columns[0];
                column.reverse();
                l.execute();
            },
            Tables
        ),
        row!(
            "a product dropped: the bias of the last layer",
            |l| {
                let q = l.circuit.entries[0].equations.iter_mut().find(|q| q.name == "logits");
                q.unwrap().products.pop();
                l.execute();
            },
            Products | Read(ReadError::NonCanonical { .. })
        ),
        row!(
            "a read dropped: the sum of the blocks",
            |l| {
                let q = l.circuit.entries[0].equations.iter_mut().find(|q| q.name == "stream");
                q.unwrap().reads.pop();
                l.execute();
            },
            Numerator
        ),
        row!(
            "an equation dropped: the count of attained maxima",
            |l| l.circuit.entries[0].equations.retain(|q| q.name != "conv.attained"),
            Products | Read(ReadError::NonCanonical { .. })
        ),
        row!(
            "another constant",
            |l| {
                let q = l.circuit.entries[0].equations.iter_mut().find(|q| q.name == "logits");
                q.unwrap().constant += 1;
                l.execute();
            },
            Products
        ),
        row!(
            "a stream that skips a block",
            |l| {
                let before = l.circuit.entries[0].equations.iter_mut().find(|q| q.name == "up");
                let Operand::Reads(reads) = &mut before.unwrap().products[0].a else {
                    panic!("the stream is read");
                };
                assert!(matches!(
                    reads[1].source,
                    Source::Lookup {
                        site: SiteRef::Segment(_),
                        ..
                    }
                ));
                reads[1].access = Access {
                    axes: [
                        vec![mlc_circuit::AxisMap::Affine {
                            offset: -1,
                            parts: vec![(0, 1)],
                        }],
                        reads[1].access.axes[1..].to_vec(),
                    ]
                    .concat(),
                    gates: Vec::new(),
                };
                l.execute();
            },
            Numerator
        ),
    ]);
}

#[test]
fn changed_witness_cells_are_refused_in_every_segment() {
    // The cell is changed where it is committed; claims and keys are those of the execution.
    segments(&EVERYTHING);
}

#[test]
fn changed_witness_cells_of_a_block_are_refused_in_every_segment() {
    segments(&LAYER);
}

fn segments(world: &World) {
    let instance = world.instance();
    let mut failures = Vec::new();
    for (segment, layout) in world.case.circuit.entries[0].segments.iter().zip(&instance.segments) {
        let positions = layout.positions();
        for at in [0, positions.len() / 2, positions.len() - 1] {
            let mut tamper = telling(|l, _, m: Message<'_>| {
                if let (label::WITNESS_CELLS, Message::Base(cells)) = (l, m) {
                    cells[positions[at]] += mlc_verifier::field::m31(1);
                }
            });
            let outcome = Liar::new(world).outcome(&mut tamper);
            let expected = refused!(VerifyError, Lookup(NonZeroSum));
            expected.judge(&format!("{} cell {at}", segment.name), outcome, &mut failures);
        }
    }
    all_refused(&failures);
}

#[test]
fn changed_channel_cells_are_refused_in_every_channel() {
    channels(&EVERYTHING);
}

#[test]
fn changed_channel_cells_of_a_block_are_refused_in_every_channel() {
    channels(&LAYER);
}

fn channels(world: &World) {
    let instance = world.instance();
    let mut failures = Vec::new();
    for channel in &instance.channels {
        let rows = instance.table(channel.table).rows();
        let limbs = if channel.kind == ChannelKind::Multiplicity {
            1
        } else {
            4
        };
        // One cell changed; two changed so that their sum stays; all rows moved by one.
        for lie in 0..3 {
            let mut tamper = telling(|l, _, m: Message<'_>| {
                if let (label::CHANNEL_CELLS, Message::Base(cells)) = (l, m) {
                    let cells = &mut cells[channel.cells_offset..channel.cells_offset + limbs * rows];
                    let one = mlc_verifier::field::m31(1);
                    match lie {
                        0 => cells[limbs * rows / 2] += one,
                        1 => {
                            cells[0] += one;
                            cells[1] -= one;
                        }
                        _ => cells[..rows].rotate_right(1),
                    }
                }
            });
            let outcome = Liar::new(world).outcome(&mut tamper);
            let expected = refused!(VerifyError, Lookup(NonZeroSum));
            expected.judge(&format!("{channel:?}, lie {lie}"), outcome, &mut failures);
        }
    }
    all_refused(&failures);
}

#[test]
fn unsent_messages_shift_all_that_follow() {
    // What remains of the proof is read in the place of what is missing.
    let world = &*EVERYTHING;
    let proof = Liar::new(world).prove(&mut Honest);
    let without = |at: usize, len: usize| [&proof[..at], &proof[at + len..]].concat();
    let root = world.loaded.verify(&world.statement, &without(0, 32));
    assert!(
        matches!(root, Err(Products | Read(ReadError::NonCanonical { .. }))),
        "{root:?}"
    );
    let claim = world.loaded.verify(&world.statement, &without(32, 16));
    assert!(
        matches!(claim, Err(Products | Read(ReadError::NonCanonical { .. }))),
        "{claim:?}"
    );
}
