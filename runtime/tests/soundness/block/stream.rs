//! The residual stream across blocks, the head, and what is stated.

use mlc_circuit::{AxisMap, Circuit, Len, Operand, Outer};
use mlc_runtime::weights::IntWeights;
use mlc_verifier::commitment::OpeningError::Evaluation;
use mlc_verifier::inference::VerifyError::{Lookup, Numerator, Opening, Products, Tables};
use mlc_verifier::logup::LogUpError::NonZeroSum;

use super::{LAYER, RMS, balanced, bump, equation, first, lie, off, reads, refuses, run, run_by, second, shift};
use crate::liar::row;
use crate::world::Liar;

/// The reads of the stream before attention in each factor: embedding, attention of earlier blocks, feed-forward of
/// earlier blocks.
fn before_attention(c: &mut Circuit, mut change: impl FnMut(&mut Vec<mlc_circuit::Read>)) {
    change(first(c, "attention norm.squares"));
    change(second(c, "attention norm.squares"));
    change(first(c, "attention norm"));
}

/// The same before the feed-forward, where this block's attention comes fourth; and in the mean.
fn before_feed_forward(c: &mut Circuit, mut change: impl FnMut(&mut Vec<mlc_circuit::Read>)) {
    change(first(c, "feed-forward norm.squares"));
    change(second(c, "feed-forward norm.squares"));
    change(first(c, "feed-forward norm"));
    let mean = &mut equation(c, "feed-forward norm.mean").reads;
    let mut sum: Vec<_> = mean.iter().map(|r| r.read.clone()).collect();
    let reduce = mean[0].reduce.clone();
    change(&mut sum);
    *mean = sum
        .into_iter()
        .map(|read| mlc_circuit::Reads {
            reduce: reduce.clone(),
            read,
        })
        .collect();
}

#[test]
fn streams_that_are_not_the_sum_of_all_before_are_refused() {
    refuses(
        &RMS,
        &[
            lie!(
                "attention of the block before only",
                |c| before_attention(c, |r| {
                    r[1].access.axes[0] = AxisMap::Affine {
                        offset: -1,
                        parts: vec![(0, 1)],
                    };
                }),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "no feed-forward of earlier blocks",
                |c| before_attention(c, |r| drop(r.pop())),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the embedding twice",
                |c| before_attention(c, |r| r[0].coefficient = 2),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "another stream normalised than squared",
                |c| drop(first(c, "attention norm").pop()),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "a feed-forward that does not see its block's attention",
                |c| before_feed_forward(c, |r| drop(r.remove(3))),
                Products | Tables,
                Numerator,
                Products | Tables
            ),
            lie!(
                "a feed-forward of the next place's attention",
                |c| before_feed_forward(c, |r| shift(&mut r[3].access, 1, 1)),
                Products | Tables,
                Numerator,
                Products | Tables
            ),
            lie!(
                "a last stream without the embedding",
                |c| drop(equation(c, "last").reads.remove(0)),
                Tables,
                Numerator,
                Numerator
            ),
            lie!(
                "a last stream without the first block's attention",
                |c| shift(&mut equation(c, "last").reads[1].read.access, 0, 1),
                Tables,
                Numerator,
                Numerator
            ),
            lie!(
                "a last stream of the next place's feed-forward",
                |c| shift(&mut equation(c, "last").reads[2].read.access, 1, 1),
                Tables,
                Numerator,
                Numerator
            ),
        ],
    );
    RMS.refuses(&[
        row!(
            "two blocks' attention exchanged: the sum is the same",
            |l| exchange(l, "o"),
            Products
        ),
        row!("two blocks' feed-forward exchanged", |l| exchange(l, "down"), Products),
        row!(
            "attention one step higher in the first block, seen by all later ones",
            |l| off(l, "o", &[0, 2, 1], 1),
            Products
        ),
        row!(
            "that, with a negative remainder",
            |l| balanced(l, "o", &[0, 2, 1], 1),
            Lookup(NonZeroSum)
        ),
        row!(
            "a feed-forward one step lower in the last block, with a remainder too large",
            |l| balanced(l, "down", &[2, 0, 5], -1),
            Lookup(NonZeroSum)
        ),
        row!(
            "the last stream more by one",
            |l| run(l, |c| bump(c, "last", &[1, 4], 1)),
            Tables
        ),
    ]);
}

/// Exchanges the first two blocks of a tensor.
fn exchange(l: &mut Liar<'_>, name: &str) {
    for cells in ["t", "r0"] {
        let s = l.world.segment(&format!("{name}.{cells}"));
        let cells = &mut l.execution.segments[s];
        let block = cells.len() / l.world.instance().lens(&l.circuit.entries[0].segments[s].axes)[0];
        let (a, b) = cells.split_at_mut(block);
        a.swap_with_slice(&mut b[..block]);
    }
}

/// The weight of an equation's first product, and what selects its rows.
fn matrix<'c>(c: &'c mut Circuit, name: &str) -> (&'c mut u16, &'c mut Vec<Outer>) {
    match &mut equation(c, name).products[0].b {
        Operand::Weight { weight, outer } => (weight, outer),
        other => panic!("{other:?}"),
    }
}

/// Runs with another matrix, the embedding with its values changed, in one place of use.
fn another_matrix(l: &mut Liar<'_>, used_by: &str, change: fn(&mut [i16])) {
    let committed = l.weights.clone();
    let mut tensors = committed.to_vec();
    let mut other = tensors[0].clone();
    change(&mut other);
    tensors.push(other);
    l.weights = IntWeights::unchecked(tensors);
    run_by(l, |c| {
        c.weights.push(c.weights[0].clone());
        let last = c.weights.len() as u16 - 1;
        *matrix(c, used_by).0 = last;
    });
    l.weights = committed;
}

/// Runs and proves with a changed element in the embedding's row of a token that is given, or not.
fn changed_row(l: &mut Liar<'_>, given: bool) {
    let tokens = &l.world.case.inputs[0];
    let row = (0..7).find(|t| tokens.contains(t) == given).unwrap() as usize;
    let mut tensors = l.weights.to_vec();
    tensors[0][row * 6 + 2] ^= 1;
    l.weights = IntWeights::unchecked(tensors);
    l.execute();
}

#[test]
fn heads_that_are_not_the_embedding_are_refused() {
    refuses(
        &RMS,
        &[lie!(
            "logits from the embedding's next row on",
            |c| matrix(c, "logits").1[0] = Outer::Axis {
                axis: 1,
                offset: Len::fixed(1)
            },
            Products,
            Opening(Evaluation { level: 0 }),
            Products
        )],
    );
    RMS.refuses(&[
        row!(
            "a head of its own",
            |l| another_matrix(l, "logits", |m| m.reverse()),
            Products
        ),
        row!(
            "a head with one element off",
            |l| another_matrix(l, "logits", |m| m[8] ^= 1),
            Products
        ),
        row!(
            "an embedding that is not the head",
            |l| another_matrix(l, "embed", |m| m.reverse()),
            Products
        ),
        row!(
            "a head that differs where no token reads the embedding",
            |l| changed_row(l, false),
            Opening(Evaluation { level: 0 })
        ),
        row!(
            "another matrix for both",
            |l| changed_row(l, true),
            Opening(Evaluation { level: 0 })
        ),
    ]);
    // Where they are two matrices.
    refuses(
        &LAYER,
        &[
            lie!(
                "the embedding as head",
                |c| *matrix(c, "logits").0 = 0,
                Products,
                Opening(Evaluation { level: 0 }),
                Products
            ),
            lie!(
                "the head as embedding",
                |c| *matrix(c, "embed").0 = 1,
                Products,
                Opening(Evaluation { level: 0 }),
                Products
            ),
        ],
    );
}

#[test]
fn other_logits_and_tokens_than_the_runs_are_refused() {
    RMS.refuses(&[
        row!("a logit more by one", |l| l.statement.outputs[0][8] += 1, Products),
        row!(
            "the logits of two places exchanged",
            |l| l.statement.outputs[0].rotate_left(7),
            Products
        ),
        row!(
            "another token stated than was run",
            |l| l.statement.inputs[0][1] = (l.statement.inputs[0][1] + 1) % 7,
            Products
        ),
        row!(
            "all logits more by as much: the same answer",
            |l| l.statement.outputs[0].iter_mut().for_each(|v| *v += 5),
            Products
        ),
        row!(
            "logits of a normalised row with one value off",
            |l| off(l, "final norm", &[2, 0], 1),
            Products
        ),
    ]);
}

#[test]
fn factors_are_what_the_names_say() {
    // The lies above go by place.
    let mut c = RMS.case.circuit.clone();
    assert_eq!(first(&mut c, "attention norm").len(), 3);
    assert_eq!(
        first(&mut c, "feed-forward norm").len(),
        5,
        "this block's attention, and the mean"
    );
    assert_eq!(reads(&mut equation(&mut c, "queries").products[1].a).len(), 1);
}
