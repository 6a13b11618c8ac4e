//! Lies about the greatest score (docs/protocol/relations.md), and circuits that nearly have its form.

use std::sync::LazyLock;

use mlc_circuit::check::{CheckError, check};
use mlc_circuit::{
    Access, AxisMap, Circuit, Equation, InstanceError, Label, Left, Len, Operand, Outer, Read, Reads, Source, Step,
};
use mlc_runtime::exec::{execute, execute_reference};
use mlc_runtime::prover::channel::Honest;
use mlc_runtime::testing::{Case, cached_attention, greatest_label, tokens_to_next};
use mlc_runtime::weights::IntWeights;
use mlc_verifier::inference::VerifyError::{self, Lookup, Products};
use mlc_verifier::logup::LogUpError::NonZeroSum;
use mlc_verifier::security::Parameters;
use mlc_verifier::statement::StatementError;

use crate::liar::{all_refused, row};
use crate::world::{Liar, World};

const VOCABULARY: usize = 7;

/// Two sequences of three tokens, over seven tokens of which each even one's row is that of the next: no greatest score is the
/// only one, but perhaps that of the last token.
fn pairs() -> Case {
    let mut case = tokens_to_next(2, 3, 5, VOCABULARY, 6, false);
    let mut weights: Vec<Vec<i16>> = case.weights.to_vec();
    for token in [0, 2, 4] {
        weights[0].copy_within(token * 6..(token + 1) * 6, (token + 1) * 6);
    }
    case.weights = IntWeights::new(&case.circuit, weights).unwrap();
    case
}

static PAIRS: LazyLock<World> = LazyLock::new(|| World::new(pairs(), Parameters::default()));

/// Digits of the equation that finds the output: its segments, and the unit of the second.
fn digits(c: &Circuit) -> ([usize; 2], i32) {
    let q = c.entries[0].equations.iter().find(|q| q.name == "next").unwrap();
    match &q.left {
        Left::Cells(cells) => ([cells[0].1 as usize, cells[1].1 as usize], cells[1].0 as i32),
        other => panic!("{other:?}"),
    }
}

/// What the score of row `row` that the statement names exceeds each by, as committed.
fn exceeds(l: &Liar<'_>, row: usize) -> Vec<i32> {
    let ([lo, hi], unit) = digits(&l.circuit);
    let cells = |s: usize| &l.execution.segments[s][row * VOCABULARY..(row + 1) * VOCABULARY];
    cells(lo).iter().zip(cells(hi)).map(|(lo, hi)| lo + unit * hi).collect()
}

/// Commits what the score of row `row` exceeds each by.
fn commit(l: &mut Liar<'_>, row: usize, values: &[i32]) {
    let ([lo, hi], unit) = digits(&l.circuit);
    for (j, value) in values.iter().enumerate() {
        l.execution.segments[lo][row * VOCABULARY + j] = value.rem_euclid(unit);
        l.execution.segments[hi][row * VOCABULARY + j] = value.div_euclid(unit);
    }
}

/// States `token` for a row, and commits what it exceeds the other scores by.
fn prefer(l: &mut Liar<'_>, row: usize, token: usize) {
    let greatest = l.statement.outputs[0][row] as usize;
    let above: Vec<i32> = (0..)
        .zip(exceeds(l, row))
        .map(|(j, v)| v + i32::from(j < greatest))
        .collect();
    let own = above[token];
    let values: Vec<i32> = (0..).zip(above).map(|(j, a)| a - own - i32::from(j < token)).collect();
    commit(l, row, &values);
    l.statement.outputs[0][row] = token as i32;
}

/// A row, another token with as great a score, and one with a lower.
fn others(l: &Liar<'_>) -> (usize, usize, usize) {
    let rows = (0..6).filter_map(|row| {
        let values = exceeds(l, row);
        let greatest = l.statement.outputs[0][row] as usize;
        let equal = (greatest + 1..VOCABULARY).find(|&j| values[j] == 0)?;
        let lower = (0..VOCABULARY).find(|&j| values[j] > 1)?;
        Some((row, equal, lower))
    });
    rows.into_iter().next().expect("a row with two greatest scores")
}

#[test]
fn another_token_than_that_of_the_greatest_score_is_refused() {
    PAIRS.refuses(&[
        row!(
            "a lower score, with differences below 0",
            |l| {
                let (row, _, lower) = others(l);
                prefer(l, row, lower);
            },
            Lookup(NonZeroSum)
        ),
        row!(
            "a lower score, with differences cut at 0",
            |l| {
                let (row, _, lower) = others(l);
                prefer(l, row, lower);
                let values: Vec<i32> = exceeds(l, row).into_iter().map(|v| v.max(0)).collect();
                commit(l, row, &values);
            },
            Products
        ),
        row!(
            "a lower score, with the differences of the greatest",
            |l| {
                let (row, _, lower) = others(l);
                l.statement.outputs[0][row] = lower as i32;
            },
            Products
        ),
        row!(
            "the second of two greatest scores",
            |l| {
                let (row, equal, _) = others(l);
                prefer(l, row, equal);
            },
            Lookup(NonZeroSum)
        ),
        row!(
            "the second of two, were there no order of equals",
            |l| {
                let (row, equal, _) = others(l);
                prefer(l, row, equal);
                let values = (0..).zip(exceeds(l, row)).map(|(j, v)| v + i32::from(j < equal));
                let values: Vec<i32> = values.collect();
                assert!(values.iter().all(|v| *v >= 0));
                commit(l, row, &values);
            },
            Products
        ),
        row!(
            "two rows exchanged",
            |l| {
                let outputs = &mut l.statement.outputs[0];
                let other = outputs.iter().position(|a| *a != outputs[0]).unwrap();
                outputs.swap(0, other);
            },
            Products
        ),
        row!(
            "a difference too large by one",
            |l| {
                let ([lo, _], _) = digits(&l.circuit);
                l.execution.segments[lo][3] ^= 1;
            },
            Products
        ),
        row!(
            "the greatest of the negated scores",
            |l| {
                let q = found(&mut l.circuit);
                q.products.iter_mut().for_each(|p| p.coefficient *= -1);
                l.execute();
            },
            Products
        ),
    ]);
}

#[test]
fn a_proof_is_of_its_tokens() {
    let world: &World = &PAIRS;
    let proof = Liar::new(world).prove(&mut Honest);
    let refused = |value: i32| {
        let mut statement = world.statement.clone();
        statement.outputs[0][1] = value;
        world.loaded.verify(&statement, &proof)
    };
    let own = world.statement.outputs[0][1];
    assert_eq!(refused(own), Ok(()));
    assert_eq!(refused((own + 1) % VOCABULARY as i32), Err(Products));
    for value in [-1, VOCABULARY as i32, i32::MAX, i32::MIN] {
        let outcome = refused(value);
        let range = matches!(
            &outcome,
            Err(VerifyError::Statement(StatementError::Range { what: "output", value: v, lo: 0, hi: 6, .. })) if *v == value
        );
        assert!(range, "{outcome:?}");
    }
}

#[test]
fn the_lowest_of_equals_is_found() {
    // All scores are equal, whatever the tokens.
    let mut case = pairs();
    let mut weights: Vec<Vec<i16>> = case.weights.to_vec();
    weights[0].fill(1);
    case.weights = IntWeights::new(&case.circuit, weights).unwrap();
    let instance = case.circuit.instantiate(0, &case.dims).unwrap();
    let fast = execute(&instance, &case.weights, &case.inputs).unwrap();
    assert_eq!(fast.outputs[0], [0; 6]);
    assert_eq!(
        fast,
        execute_reference(&instance, &case.weights, &case.inputs, &[]).unwrap()
    );
}

#[test]
fn the_token_found_is_that_of_the_greatest_logit() {
    // The two have the same weights, and the second has the logits too.
    let case = cached_attention(2, 5, 9, 11, 6);
    let instance = case.circuit.instantiate(0, &case.dims).unwrap();
    let outputs = execute(&instance, &case.weights, &case.inputs).unwrap().outputs;
    let greatest = |row: &[i32]| mlc_verifier::generation::argmax(row).unwrap() as i32;
    let expected: Vec<i32> = outputs[0].chunks_exact(11).map(greatest).collect();
    assert_eq!(outputs[1], expected);
    assert!(expected.iter().any(|a| *a != expected[0]));
}

type Edit = fn(&mut Circuit);

fn found(c: &mut Circuit) -> &mut Equation {
    let q = c.entries[0].equations.iter_mut().find(|q| q.name == "next");
    q.unwrap()
}

fn outer(c: &mut Circuit, product: usize) -> &mut Outer {
    match &mut found(c).products[product].b {
        Operand::Weight { outer, .. } => &mut outer[0],
        other => panic!("{other:?}"),
    }
}

fn reads(c: &mut Circuit, product: usize) -> &mut Vec<Read> {
    match &mut found(c).products[product].a {
        Operand::Reads(reads) => reads,
        other => panic!("{other:?}"),
    }
}

/// The equation that finds the label of [`greatest_label`].
fn label(c: &mut Circuit) -> &mut Equation {
    c.entries[0].equations.iter_mut().find(|q| q.name == "label").unwrap()
}

/// The segment of a digit.
fn digit(c: &mut Circuit, at: usize) -> &mut mlc_circuit::Segment {
    let segment = digits(c).0[at];
    &mut c.entries[0].segments[segment]
}

#[test]
fn what_nearly_finds_the_greatest_score_is_refused() {
    const LAYER: &str = "a greatest score and those it is compared with are of one layer";
    const AXES: &str = "a found output has the axes of its scores, but for the last";
    const ORDER: &str = "a greatest score exceeds those before it by 1, the others by 0";
    const RANGED: &str = "what a greatest score exceeds others by is range-checked";
    let rows: Vec<(&str, Edit)> = vec![
        // The output.
        ("an unknown output", |c| {
            found(c).reads[0].read.source = Source::Below(1)
        }),
        ("a found output lies within the weight's axis", |c| {
            c.entries[0].outputs[0].label = Label::Index(8)
        }),
        ("a found output lies within the weight's axis", |c| {
            c.entries[0].outputs[0].label = Label::Index(6)
        }),
        ("a found output lies within the weight's axis", |c| {
            c.entries[0].outputs[0].label = Label::ArgMax
        }),
        (AXES, |c| {
            // Of fewer scores than the weight has rows: those behind are compared with nothing.
            let fewer = Len::fixed(6);
            found(c).out[2] = fewer.clone();
            for d in 0..2 {
                digit(c, d).axes[2] = fewer.clone();
            }
        }),
        ("a found output has the output axes that are listed", |c| {
            c.entries[0].outputs[0].axes[1] = Len::fixed(5)
        }),
        ("a found output has the output axes that are listed", |c| {
            *outer(c, 1) = Outer::Found {
                output: 0,
                axes: vec![1, 0],
            }
        }),
        ("a found output has the output axes that are listed", |c| {
            *outer(c, 1) = Outer::Found {
                output: 0,
                axes: vec![0],
            }
        }),
        ("an output of indices is found by its equation", |c| {
            let mut q = found(c).clone();
            (q.left, q.out, q.reads, q.products) =
                (Left::Output(0), c.entries[0].outputs[0].axes.clone(), vec![], vec![]);
            c.entries[0].equations.push(q);
        }),
        // The order of equals.
        ("the greatest score is compared without an order of equals", |c| {
            found(c).reads[0].read.source = Source::Input(0);
            found(c).reads[0].read.access = Access::axes(&[0, 1]);
        }),
        ("a greatest score is found by an equation with one read", |c| {
            found(c).reads.clear()
        }),
        ("a greatest score is found by an equation with one read", |c| {
            let again = found(c).reads[0].clone();
            found(c).reads.push(again);
        }),
        (ORDER, |c| found(c).reads[0].read.coefficient = 1),
        (ORDER, |c| found(c).reads[0].read.coefficient = -2),
        (ORDER, |c| found(c).constant = 1),
        (ORDER, |c| found(c).reads[0].reduce = vec![Len::fixed(1)]),
        (ORDER, |c| found(c).reads[0].read.access = Access::axes(&[1, 0, 2])),
        (ORDER, |c| {
            found(c).reads[0].read.access.axes[2] = AxisMap::Affine {
                offset: 1,
                parts: vec![(2, 1)],
            }
        }),
        ("what is found depends on itself", |c| {
            let below = Read {
                coefficient: 1,
                source: Source::Below(0),
                access: Access::axes(&[0, 1, 3]),
            };
            reads(c, 0).push(below.clone());
            reads(c, 1).push(below);
        }),
        ("the greatest score is compared without an order of equals", |c| {
            // Another equation reads the order.
            let other = c.entries[0].equations.iter_mut().find(|q| q.name == "mix").unwrap();
            let Operand::Reads(reads) = &mut other.products[0].a else {
                panic!("read")
            };
            reads[0].source = Source::Below(0);
            other.reads.push(Reads {
                reduce: vec![],
                read: Read {
                    coefficient: 1,
                    source: Source::Input(0),
                    access: Access::axes(&[0, 1]),
                },
            });
        }),
        // The digits.
        (RANGED, |c| digit(c, 0).ranged = false),
        (RANGED, |c| digit(c, 1).ranged = false),
        ("what a greatest score exceeds others by is committed", |c| {
            let mut o = c.entries[0].outputs[0].clone();
            (o.label, o.axes) = (Label::None, found(c).out.clone());
            c.entries[0].outputs.push(o);
            found(c).left = Left::Output(1);
        }),
        // The layer.
        ("a greatest score is that of a layer, compared with itself", |c| {
            found(c).products.truncate(1);
        }),
        ("a greatest score is that of a layer, compared with itself", |c| {
            found(c).products.clear()
        }),
        (LAYER, |c| found(c).products[0].coefficient = -2),
        (LAYER, |c| found(c).products[1].coefficient = -1),
        (LAYER, |c| found(c).products.swap(0, 1)),
        (LAYER, |c| {
            let one = found(c).products[0].clone();
            found(c).products.splice(0..0, [one.clone(), one.clone()]);
            let greatest = found(c).products[3].clone();
            found(c).products.truncate(3);
            found(c).products.push(greatest);
        }),
        (LAYER, |c| reads(c, 1)[0].coefficient = 2),
        (LAYER, |c| {
            found(c).products[0].shared.push(2);
            reads(c, 0)[0].access.gates.push(mlc_circuit::Gate { iter: 2, at: 0 });
            reads(c, 1)[0].access.gates.push(mlc_circuit::Gate { iter: 2, at: 0 });
        }),
        (LAYER, |c| {
            let other = c.weights[0].clone();
            c.weights.push(other);
            let Operand::Weight { weight, .. } = &mut found(c).products[1].b else {
                panic!("a weight")
            };
            *weight = 2;
        }),
        (LAYER, |c| {
            // The rows compared begin one later than those that are found.
            c.entries[0].outputs[0].label = Label::Index(7);
            let Operand::Weight { weight, outer } = &mut found(c).products[0].b else {
                panic!("a weight")
            };
            outer[0] = Outer::Axis {
                axis: 2,
                offset: Len::fixed(1),
            };
            *weight = 2;
            let mut longer = c.weights[0].clone();
            longer.outer[0] = 8;
            c.weights.push(longer);
        }),
        ("a shared axis is used by both factors", |c| {
            *outer(c, 1) = Outer::axis(2)
        }),
        ("a greatest score is found in a repetition", |c| {
            let steps = &mut c.entries[0].steps;
            let last = steps.pop().unwrap();
            steps.push(Step::Repeat {
                count: 2,
                steps: vec![last],
            });
        }),
    ];
    check(&pairs().circuit).unwrap();
    let mut failures = Vec::new();
    for (i, (what, edit)) in rows.into_iter().enumerate() {
        let mut circuit = pairs().circuit;
        edit(&mut circuit);
        match check(&circuit) {
            Err(CheckError::Malformed { what: found, .. }) if found == what => {}
            other => failures.push(format!("row {i}: expected '{what}', got {other:?}")),
        }
    }
    all_refused(&failures);

    // Two layers: each pair is of one.
    let layers = || greatest_label(Some(2), 5, 7).circuit;
    check(&layers()).unwrap();
    let of_layers: Vec<Edit> = vec![
        |c| label(c).products.swap(0, 1),
        |c| label(c).products.swap(2, 3),
        |c| label(c).products[1].coefficient = -2,
        |c| {
            // The bias of one score is none of the label's.
            label(c).products.remove(3);
            label(c).products.remove(0);
        },
    ];
    for (i, edit) in of_layers.into_iter().enumerate() {
        let mut circuit = layers();
        edit(&mut circuit);
        let refused = matches!(check(&circuit), Err(CheckError::Malformed { what: LAYER, .. }));
        assert!(refused, "layers, edit {i}: {:?}", check(&circuit));
    }
    // Another output of indices finds the rows.
    let mut circuit = layers();
    let mut other = circuit.entries[0].outputs[1].clone();
    other.name = "other".into();
    circuit.entries[0].outputs.push(other);
    for p in &mut label(&mut circuit).products[2..] {
        for o in [&mut p.a, &mut p.b] {
            if let Operand::Weight { outer, .. } = o {
                outer[0] = Outer::Found {
                    output: 3,
                    axes: vec![0],
                };
            }
        }
    }
    assert!(matches!(
        check(&circuit),
        Err(CheckError::Malformed { what: LAYER, .. })
    ));
    // A digit that grows.
    let mut circuit = cached_attention(1, 3, 7, 5, 6).circuit;
    check(&circuit).unwrap();
    let (segments, _) = digits(&circuit);
    circuit.entries[0].segments[segments[0]].grows = Some(1);
    assert!(matches!(
        check(&circuit),
        Err(CheckError::Malformed { what: RANGED, .. })
    ));
    // Many rows of few scores: what the claims would hold is charged.
    let mut circuit = greatest_label(Some(1 << 20), 1, 2).circuit;
    let pair: Vec<_> = label(&mut circuit).products.clone();
    label(&mut circuit).products = [&pair[..2], &pair[2..]].map(|half| vec![half; 200].concat()).concat();
    assert!(matches!(
        circuit.instantiate(0, &[1 << 21]),
        Err(InstanceError::Size { .. })
    ));

    // Found twice, or by nothing.
    let mut circuit = pairs().circuit;
    let again = found(&mut circuit).clone();
    circuit.entries[0].equations.push(again);
    let q = circuit.entries[0].equations.len() as u16 - 1;
    circuit.entries[0].steps.push(Step::Equation(q));
    assert!(matches!(check(&circuit), Err(CheckError::Determined { times: 2, .. })));
    let mut circuit = pairs().circuit;
    let other = circuit.entries[0].outputs[0].clone();
    circuit.entries[0].outputs.push(other);
    assert!(matches!(check(&circuit), Err(CheckError::Determined { times: 0, .. })));
    // Digits that may pass 2^30, and scores that may.
    let mut circuit = pairs().circuit;
    let Left::Cells(cells) = &mut found(&mut circuit).left else {
        panic!("digits")
    };
    cells[1].0 *= 2;
    assert!(matches!(check(&circuit), Err(CheckError::Digits { .. })));
    let mut circuit = pairs().circuit;
    found(&mut circuit)
        .products
        .iter_mut()
        .for_each(|p| p.coefficient *= 1 << 20);
    assert!(matches!(check(&circuit), Err(CheckError::Overflow { .. })));
    // The right side may be below 0 by its bounds: only a partial equation leaves that to the prover.
    let mut circuit = pairs().circuit;
    found(&mut circuit).partial = false;
    assert!(matches!(check(&circuit), Err(CheckError::Unrepresentable { .. })));
}
