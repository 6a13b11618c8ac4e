//! Lies about what transformers add: rows selected by tokens and positions, constants, masked maxima. And circuits whose
//! selections, constants or masks break a rule.

use std::sync::LazyLock;

use mlc_circuit::check::{CheckError, check};
use mlc_circuit::{
    Access, AxisMap, Circuit, FormSource, FormTerm, Gate, InputKind, InstanceError, Label, Len, Operand, Outer, Source,
    Table,
};
use mlc_runtime::exec::{ExecError, execute, execute_reference};
use mlc_runtime::prover::channel::Honest;
use mlc_runtime::prover::inference::statement;
use mlc_runtime::testing::{Builder, Case, Mask, plain, tokens_to_logits};
use mlc_verifier::commitment::OpeningError::Evaluation;
use mlc_verifier::inference::VerifyError::{self, Denominator, Lookup, Opening, Products, Tables};
use mlc_verifier::logup::LogUpError::NonZeroSum;
use mlc_verifier::security::Parameters;
use mlc_verifier::statement::StatementError;

use crate::liar::{all_refused, row};
use crate::world::{Liar, World};

/// Two sequences of three tokens of at most five, over a vocabulary of seven, with a mask in the statement.
fn language() -> Case {
    tokens_to_logits(2, 3, 5, 7, 6, true)
}

/// `weights = T[max - s]` for scores in the statement, with a causal mask that sees one key ahead and a mask of keys.
/// Later keys have the higher scores, so the largest are hidden.
fn masked() -> Case {
    let mut b = Builder::new("masked", 3);
    let (rows, cols) = (4, 5);
    let axes = [Len::fixed(2), Len::fixed(rows), Len::fixed(cols)];
    let scores = b.input("scores", &axes, -64, 63);
    let mask = b.input("hidden", &[axes[0].clone(), axes[2].clone()], 0, 1);
    let Source::Input(mask) = mask.source else {
        panic!("an input is read as one")
    };
    let bias = b.bias("bias", 2, cols, 3);
    let causal = Mask::Causal(mlc_circuit::Causal {
        row: 1,
        col: 2,
        offset: Len::fixed(1),
        window: Some(3),
    });
    let masks = [causal, Mask::Input(mask, Access::axes(&[0, 2]))];
    let p = b.masked_softmax("scores", &axes, (vec![plain(scores.whole())], vec![bias]), &masks, 1000);
    b.output("weights", &axes, vec![plain(p.whole())], vec![], Label::None);
    let mut case = Case::new(b, &[]);
    let score = |i: usize| (20 * (i % cols) + i / cols) as i32 - 50;
    case.inputs = vec![
        (0..2 * rows * cols).map(score).collect(),
        vec![0, 1, 0, 0, 0, 0, 0, 0, 1, 0],
    ];
    case
}

static LANGUAGE: LazyLock<World> = LazyLock::new(|| World::new(language(), Parameters::default()));
static MASKED: LazyLock<World> = LazyLock::new(|| World::new(masked(), Parameters::default()));

/// Runs with other inputs; the statement keeps the true ones, and states the outputs of the other run.
fn run_with(liar: &mut Liar<'_>, change: impl FnOnce(&mut Vec<Vec<i32>>)) {
    let mut inputs = liar.world.case.inputs.clone();
    change(&mut inputs);
    let instance = liar.circuit.instantiate(0, &liar.world.case.dims).unwrap();
    liar.execution = execute(&instance, &liar.weights, &inputs).unwrap();
    liar.statement.outputs = liar.execution.outputs.clone();
}

#[test]
fn rows_that_the_tokens_do_not_select_are_refused() {
    LANGUAGE.refuses(&[
        row!(
            "another token's row",
            |l| run_with(l, |i| i[0][1] = (i[0][1] + 1) % 7),
            Products
        ),
        row!(
            "the rows of two places exchanged",
            |l| run_with(l, |i| {
                let other = i[0].iter().position(|t| *t != i[0][0]).unwrap();
                i[0].swap(0, other);
            }),
            Products
        ),
        row!(
            "another token stated than was run",
            |l| l.statement.inputs[0][4] = (l.statement.inputs[0][4] + 1) % 7,
            Products
        ),
        row!(
            "rows selected by another input",
            |l| {
                select(&mut l.circuit, 1, &[0, 1]);
                l.execute();
            },
            Opening(Evaluation { level: 0 })
        ),
        row!(
            "positions from another row on",
            |l| {
                place(&mut l.circuit, 1, Len::fixed(1));
                l.execute();
            },
            Opening(Evaluation { level: 0 })
        ),
    ]);
}

#[test]
fn other_constants_are_refused() {
    LANGUAGE.refuses(&[
        row!(
            "one value of a constant",
            |l| {
                l.circuit.constants[0].values[7] += 1;
                l.execute();
            },
            Products
        ),
        row!(
            "a constant read from another row on",
            |l| {
                let turn = l.circuit.entries[0].equations.iter_mut().find(|q| q.name == "turn");
                let Operand::Reads(reads) = &mut turn.unwrap().products[0].b else {
                    panic!("the constant is read")
                };
                reads[0].access.axes[0] = AxisMap::iter(1);
                l.execute();
            },
            Products
        ),
    ]);
}

#[test]
fn a_proof_is_of_its_tokens_and_constants() {
    let world: &World = &LANGUAGE;
    let proof = Liar::new(world).prove(&mut Honest);
    let refused = |change: fn(&mut mlc_verifier::statement::Statement)| {
        let mut statement = world.statement.clone();
        change(&mut statement);
        world.loaded.verify(&statement, &proof)
    };
    assert_eq!(refused(|_| ()), Ok(()));
    assert_eq!(refused(|s| s.inputs[0][0] = (s.inputs[0][0] + 1) % 7), Err(Products));
    let range = |outcome, value| {
        let expected = matches!(
            &outcome,
            Err(VerifyError::Statement(StatementError::Range { what: "input", value: v, lo: 0, hi: 6, .. })) if *v == value
        );
        assert!(expected, "{outcome:?}");
    };
    range(refused(|s| s.inputs[0][0] = 7), 7);
    range(refused(|s| s.inputs[0][0] = -1), -1);
    let two = refused(|s| s.inputs[1][1] = 2);
    assert!(
        matches!(
            two,
            Err(VerifyError::Statement(StatementError::Range {
                value: 2,
                lo: 0,
                hi: 1,
                ..
            }))
        ),
        "{two:?}"
    );
    let mut key = world.loaded.clone();
    key.circuit.constants[0].values[7] += 1;
    assert_eq!(key.verify(&world.statement, &proof), Err(Products));
}

/// The cells of the first row of scores: maximum, index of each key, and the factor of the masks.
fn first_row(l: &Liar<'_>) -> (usize, i32) {
    let factor = l.circuit.entries[0].sites[0].index[2].coefficient;
    (l.world.segment("scores.max"), factor)
}

/// The outputs that the indices have by the table.
fn restate(l: &mut Liar<'_>) {
    let table = &l.circuit.tables[l.circuit.entries[0].sites[0].table as usize];
    let indices = &l.execution.virtual_sites[0];
    let values = indices
        .iter()
        .map(|&i| table.columns[1].get(i as usize).copied().unwrap_or(0));
    l.statement.outputs[0] = values.collect();
}

/// Makes the first maximum that of its hidden last key.
fn hidden_maximum(l: &mut Liar<'_>) {
    let (maximum, factor) = first_row(l);
    // index = m - t + factor: what t is above m.
    let raise = factor - l.execution.virtual_sites[0][4];
    assert!(
        raise > 0,
        "the last key of the first query is hidden and has the largest score"
    );
    l.execution.segments[maximum][0] += raise;
    l.execution.virtual_sites[0][..5].iter_mut().for_each(|i| *i += raise);
    restate(l);
}

#[test]
fn lies_about_masks_are_refused() {
    MASKED.refuses(&[
        row!("a maximum that only a hidden key attains", hidden_maximum, Tables),
        row!(
            "that, with the count that it really has",
            |l| {
                hidden_maximum(l);
                let n = l.world.segment("scores.attained");
                l.execution.segments[n][0] = -1;
            },
            Lookup(NonZeroSum)
        ),
        row!(
            "a hidden key counted",
            |l| {
                let (_, factor) = first_row(l);
                l.execution.virtual_sites[0][4] = factor / 2 - 1;
                restate(l);
            },
            Lookup(NonZeroSum)
        ),
        row!(
            "a visible key hidden",
            |l| {
                let (_, factor) = first_row(l);
                l.execution.virtual_sites[0][0] += factor;
                restate(l);
            },
            Lookup(NonZeroSum)
        ),
        row!(
            "no masks",
            |l| {
                l.circuit.entries[0].sites[0].index.truncate(2);
                l.execute();
            },
            Denominator
        ),
        row!(
            "a wider window",
            |l| {
                let FormSource::Causal(m) = &mut l.circuit.entries[0].sites[0].index[2].source else {
                    panic!("the first mask is causal")
                };
                m.window = None;
                l.execute();
            },
            Denominator
        ),
        row!(
            "a mask that hides one key less",
            |l| run_with(l, |i| i[1][1] = 0),
            Lookup(NonZeroSum)
        ),
        row!(
            "a mask stated that hides one key more",
            |l| l.statement.inputs[1][2] = 1,
            Lookup(NonZeroSum)
        ),
        row!(
            "an output where nothing is visible",
            |l| l.statement.outputs[0][4] += 1,
            Tables
        ),
    ]);
}

#[test]
fn a_row_without_visible_keys_is_no_execution() {
    let mut case = masked();
    // Query 0 of sequence 1 sees keys 0 and 1.
    case.inputs[1] = vec![0, 0, 0, 0, 0, 1, 1, 0, 0, 0];
    let instance = case.circuit.instantiate(0, &case.dims).unwrap();
    let hidden = ExecError::Hidden {
        site: "scores.difference".into(),
        position: 4,
    };
    assert_eq!(execute(&instance, &case.weights, &case.inputs), Err(hidden.clone()));
    assert_eq!(
        execute_reference(&instance, &case.weights, &case.inputs, &[]),
        Err(hidden)
    );
    // A token that no row has.
    let mut case = language();
    case.inputs[0][0] = 7;
    let instance = case.circuit.instantiate(0, &case.dims).unwrap();
    let refused = execute(&instance, &case.weights, &case.inputs);
    assert!(
        matches!(refused, Err(ExecError::InputRange { value: 7, hi: 6, .. })),
        "{refused:?}"
    );
}

#[test]
fn hidden_keys_have_no_influence() {
    // The scores of hidden keys are changed: the outputs stay.
    let case = masked();
    let instance = case.circuit.instantiate(0, &case.dims).unwrap();
    let outputs = |inputs: &[Vec<i32>]| execute(&instance, &case.weights, inputs).unwrap().outputs;
    let mut other = case.inputs.clone();
    for q in 0..4 {
        for k in (q + 2).min(5)..5 {
            other[0][q * 5 + k] = 63;
        }
        other[0][q * 5 + 1] = -64;
    }
    assert_ne!(other, case.inputs);
    assert_eq!(outputs(&other), outputs(&case.inputs));
    let execution = execute(&instance, &case.weights, &other).unwrap();
    assert_eq!(
        statement(&instance, &other, &execution, None).outputs,
        execution.outputs
    );
}

type Edit = fn(&mut Circuit);

/// The selection of an equation's product.
fn outer(c: &mut Circuit, product: usize) -> &mut Outer {
    let embed = c.entries[0].equations.iter_mut().find(|q| q.name == "embed");
    match &mut embed.unwrap().products[product].b {
        Operand::Weight { outer, .. } => &mut outer[0],
        other => panic!("{other:?}"),
    }
}

fn select(c: &mut Circuit, with: u16, by: &[u8]) {
    *outer(c, 0) = Outer::Selected {
        input: with,
        axes: by.to_vec(),
    };
}

fn place(c: &mut Circuit, axis: u8, offset: Len) {
    *outer(c, 1) = Outer::Axis { axis, offset };
}

fn mask(c: &mut Circuit, nth: usize) -> &mut FormTerm {
    &mut c.entries[0].sites[0].index[2 + nth]
}

fn causal(c: &mut Circuit) -> &mut mlc_circuit::Causal {
    match &mut mask(c, 0).source {
        FormSource::Causal(m) => m,
        other => panic!("{other:?}"),
    }
}

#[test]
fn malformed_selections_constants_and_masks_are_refused() {
    let rows: Vec<(&str, Edit)> = vec![
        ("too many tables, weights or constants", |c| {
            c.constants.resize(1 << 16, c.constants[0].clone())
        }),
        ("a constant has one value per index", |c| c.constants[0].values.push(0)),
        ("a constant has one value per index", |c| {
            c.constants[0].axes[0] = 0;
            c.constants[0].values.clear();
        }),
        ("a constant has one value per index", |c| {
            c.constants[0].axes = vec![1 << 31, 1 << 31, 4]
        }),
        ("a constant's values lie in (-2^30, 2^30)", |c| {
            c.constants[0].values[1] = 1 << 30
        }),
        ("a constant's values lie in (-2^30, 2^30)", |c| {
            c.constants[0].values[1] = i32::MIN
        }),
        ("too many axes", |c| c.constants[0].axes = vec![1; 24]),
        ("an axis is longer than 2^22", |c| {
            c.constants[0].axes = vec![(1 << 22) + 1];
            c.constants[0].values = vec![0; (1 << 22) + 1];
        }),
        ("an unknown constant", |c| {
            let turn = c.entries[0].equations.iter_mut().find(|q| q.name == "turn");
            turn.unwrap().reads[0].read.source = Source::Constant(1);
        }),
        ("an unknown input", |c| select(c, 2, &[0, 1])),
        ("a private input is read through its segment", |c| {
            let m = c.entries[0]
                .segments
                .iter()
                .position(|s| s.name == "scores.max")
                .unwrap();
            c.entries[0].inputs[0].kind = InputKind::Private { segment: m as u16 };
        }),
        ("a selecting input has the output axes that are listed", |c| {
            select(c, 0, &[1, 0])
        }),
        ("a selecting input has the output axes that are listed", |c| {
            select(c, 0, &[0])
        }),
        ("a selecting input has the output axes that are listed", |c| {
            c.entries[0].inputs[0].axes[0] = Len::fixed(3)
        }),
        ("a selecting input lies within the weight's axis", |c| {
            c.entries[0].inputs[0].hi = 7
        }),
        ("a selecting input lies within the weight's axis", |c| {
            c.entries[0].inputs[0].lo = -1
        }),
        ("an outer axis must be an output axis", |c| select(c, 0, &[0, 3])),
        ("an outer axis must be an output axis", |c| place(c, 3, Len::fixed(0))),
        ("an outer axis is used twice", |c| {
            c.entries[0].inputs[0].axes[1] = Len::fixed(2);
            select(c, 0, &[0, 0]);
        }),
        ("the contraction axis is also an outer axis", |c| {
            place(c, 2, Len::fixed(0))
        }),
        ("an outer axis is longer than the weight's", |c| {
            place(c, 1, Len::fixed(3))
        }),
        ("an outer axis is longer than the weight's", |c| {
            place(c, 1, Len::dim(0))
        }),
        ("an outer axis is longer than the weight's", |c| c.dims[0].max = 6),
        ("an unknown run-time dimension", |c| place(c, 1, Len::dim(1))),
        ("an axis is longer than 2^22", |c| {
            place(c, 1, Len::fixed((1 << 22) + 1))
        }),
        ("a mask is an input in [0, 1]", |c| c.entries[0].inputs[1].hi = 2),
        ("a mask is an input in [0, 1]", |c| c.entries[0].inputs[1].lo = -1),
        ("an unknown input", |c| mask(c, 1).source = FormSource::Input(2)),
        ("a virtual index has two committed tensors, then masks", |c| {
            c.entries[0].sites[0].index.swap(1, 2);
            c.entries[0].sites[0].index[1].coefficient = -1;
        }),
        ("a virtual index has two committed tensors, then masks", |c| {
            mask(c, 1).source = FormSource::Segment(0)
        }),
        (
            "a virtual index is a maximum less what it is compared with, and at most three masks",
            |c| {
                let again = mask(c, 0).clone();
                c.entries[0].sites[0].index.extend([again.clone(), again]);
            },
        ),
        ("a causal mask is over two axes of its site", |c| causal(c).row = 2),
        ("a causal mask is over two axes of its site", |c| causal(c).col = 3),
        ("a window without visible positions", |c| causal(c).window = Some(0)),
        ("an unknown run-time dimension", |c| causal(c).offset = Len::dim(1)),
        ("an axis is longer than 2^22", |c| {
            causal(c).offset = Len::fixed((1 << 22) + 1)
        }),
        ("a causal mask has no access", |c| {
            mask(c, 0).access.gates.push(Gate { iter: 0, at: 0 })
        }),
        ("an access has one map per axis of its tensor", |c| {
            mask(c, 0).access = Access::axes(&[0])
        }),
        ("an access has one map per axis of its tensor", |c| {
            mask(c, 1).access = Access::axes(&[0])
        }),
        ("a lookup index reads single cells", |c| {
            mask(c, 1).access.axes[1] = AxisMap::Before { iter: 2 }
        }),
    ];
    check(&language().circuit).unwrap();
    let mut failures = Vec::new();
    for (i, (what, edit)) in rows.into_iter().enumerate() {
        let mut circuit = language().circuit;
        edit(&mut circuit);
        match check(&circuit) {
            Err(CheckError::Malformed { what: found, .. }) if found == what => {}
            other => failures.push(format!("row {i}: expected '{what}', got {other:?}")),
        }
    }
    all_refused(&failures);
}

/// The table of the masked maximum.
fn table(c: &mut Circuit) -> &mut Table {
    let table = c.entries[0].sites[0].table as usize;
    &mut c.tables[table]
}

#[test]
fn masks_that_keep_nothing_apart_are_refused() {
    let rows: Vec<(&str, Edit)> = vec![
        ("a factor that only fits half of the scores", |c| {
            mask(c, 0).coefficient /= 2;
            mask(c, 1).coefficient /= 2;
        }),
        ("a factor that is no power of two", |c| {
            mask(c, 0).coefficient += 1;
            mask(c, 1).coefficient += 1;
        }),
        ("masks of different factors", |c| mask(c, 1).coefficient *= 2),
        ("a mask that shows", |c| {
            mask(c, 0).coefficient *= -1;
            mask(c, 1).coefficient *= -1;
        }),
        ("a factor of zero", |c| mask(c, 1).coefficient = 0),
        ("a table in which twice hidden keys have no row", |c| {
            let t = table(c);
            t.log_rows -= 1;
            let rows = t.rows();
            t.columns.iter_mut().for_each(|col| col.truncate(rows));
        }),
        ("hidden keys that weigh something", |c| {
            let limit = mask(c, 0).coefficient / 2;
            table(c).columns[1][limit as usize] = 1;
        }),
        ("a maximum with a larger table", |c| {
            let m = c.entries[0]
                .segments
                .iter()
                .position(|s| s.name == "scores.max")
                .unwrap();
            let bits = (mask(c, 0).coefficient / 2).ilog2() as u8;
            c.entries[0].segments[m].table = Some(c.tables.len() as u16);
            c.tables.push(Table::range(bits + 1));
        }),
        ("scores that may be as large as hidden ones", |c| {
            let scores = c.entries[0].equations.iter_mut().find(|q| q.name == "scores").unwrap();
            scores.constant *= 3;
        }),
        ("a maximum that nothing checks", |c| {
            let m = c.entries[0]
                .segments
                .iter_mut()
                .find(|s| s.name == "scores.max")
                .unwrap();
            m.ranged = false;
        }),
    ];
    let mut failures = Vec::new();
    for (name, edit) in rows {
        let mut circuit = language().circuit;
        edit(&mut circuit);
        match check(&circuit) {
            Err(CheckError::Uncovered { .. }) => {}
            other => failures.push(format!("'{name}': {other:?}")),
        }
    }
    all_refused(&failures);
    // A hidden key that attains the maximum is none of the count's: then the count is not bounded from below.
    let mut circuit = language().circuit;
    let factor = mask(&mut circuit, 0).coefficient;
    table(&mut circuit).columns[0][factor as usize] = 1;
    assert!(matches!(check(&circuit), Err(CheckError::Unrepresentable { .. })));
    // The values of constants count in range analysis.
    let mut circuit = language().circuit;
    circuit.constants[0].values[0] = (1 << 30) - 1;
    assert!(matches!(check(&circuit), Err(CheckError::Overflow { name, .. }) if name == "turn"));
}

#[test]
fn costly_masks_are_refused() {
    // An odd number of queries and keys: each is a block of its own.
    let with = |tokens: u32| {
        let mut circuit = tokens_to_logits(1, 1, 1, 7, 1, false).circuit;
        circuit.dims[0].max = tokens;
        circuit.instantiate(0, &[tokens]).map(|_| ())
    };
    assert_eq!(with(8191), Ok(()));
    assert!(matches!(with(16383), Err(InstanceError::Size { .. })));
    // A constant read by every iteration of a long reduction.
    let mut circuit = language().circuit;
    let turn = circuit.entries[0]
        .equations
        .iter_mut()
        .find(|q| q.name == "turn")
        .unwrap();
    turn.reads[0].reduce = vec![Len::fixed(1 << 22), Len::fixed(1 << 5)];
    turn.reads[0].read.access.axes[0] = AxisMap::Affine {
        offset: 0,
        parts: vec![(3, 1), (4, 1)],
    };
    assert!(matches!(circuit.instantiate(0, &[3]), Err(InstanceError::Size { .. })));
}
