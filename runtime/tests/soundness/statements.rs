//! Lies about the statement: values that the run does not have, values that no run has, and proofs of something else.

use mlc_circuit::InstanceError;
use mlc_runtime::exec::execute;
use mlc_runtime::prover::channel::Honest;
use mlc_runtime::prover::inference::statement;
use mlc_verifier::commitment::TreeShape;
use mlc_verifier::commitment::{OpenTree, OpeningError, Plan, Target, verify_opening};
use mlc_verifier::inference::VerifyError::{self, Equation, Products, Schedule, Tables};
use mlc_verifier::logup::{self, LogUpError};
use mlc_verifier::security::{Parameters, ScheduleError};
use mlc_verifier::statement::{Statement, StatementError};
use mlc_verifier::transcript::{Channel, Transcript};

use crate::liar::{Row, row, tell};
use crate::world::{EVERYTHING, Liar, World};

/// A lie about the statement, told by the prover itself or by whoever passes its honest proof on.
type Lie = Row<Statement, VerifyError>;

#[test]
fn the_prover_cannot_prove_another_statement() {
    // Outputs: logits, stream, echo. Inputs: image (private), side.
    let rows: &[Lie] = &[
        row!("another output of a layer", |s| s.outputs[0][2] += 1, Products),
        row!("another output of a sum of lookups", |s| s.outputs[1][0] -= 1, Tables),
        row!(
            "another output of inputs alone",
            |s| s.outputs[2][0] += 1,
            Equation { .. }
        ),
        row!(
            "another input, echoed",
            |s| {
                s.inputs[1][0] ^= 1;
                s.outputs[2][0] ^= 1;
            },
            Products
        ),
        row!(
            "outputs of two rows exchanged",
            |s| s.outputs[0].rotate_left(5),
            Products
        ),
    ];
    tell(rows, |lie| {
        let mut liar = Liar::new(&EVERYTHING);
        lie(&mut liar.statement);
        liar.outcome(&mut Honest)
    });
}

#[test]
fn a_statement_must_fit_its_circuit() {
    use StatementError::{Count, Length, Range};
    use VerifyError::Statement;
    const MAX: i32 = (1 << 30) - 1;
    const MIN: i32 = -MAX;
    let rows: &[Lie] = &[
        row!("another output", |s| s.outputs[0][2] += 1, Products),
        row!(
            "an output that is zero modulo p",
            |s| s.outputs[0][0] = i32::MAX,
            Statement(Range {
                what: "output",
                index: 0,
                at: 0,
                value: i32::MAX,
                lo: MIN,
                hi: MAX
            })
        ),
        row!(
            "an output too small",
            |s| s.outputs[0][0] = MIN - 1,
            Statement(Range { what: "output", .. })
        ),
        row!(
            "an input above its range",
            |s| s.inputs[1][3] = 16,
            Statement(Range {
                what: "input",
                index: 1,
                at: 3,
                value: 16,
                lo: -16,
                hi: 15
            })
        ),
        row!(
            "an input below its range",
            |s| s.inputs[1][3] = -17,
            Statement(Range { what: "input", .. })
        ),
        row!(
            "a private input told",
            |s| s.inputs[0].push(0),
            Statement(Length {
                what: "input",
                index: 0,
                found: 1,
                expected: 0
            })
        ),
        row!(
            "a longer input",
            |s| s.inputs[1].push(0),
            Statement(Length {
                what: "input",
                index: 1,
                found: 25,
                expected: 24
            })
        ),
        row!(
            "a shorter output",
            |s| s.outputs[1].truncate(23),
            Statement(Length {
                what: "output",
                index: 1,
                found: 23,
                expected: 24
            })
        ),
        row!(
            "an input missing",
            |s| drop(s.inputs.pop()),
            Statement(Count {
                what: "input",
                found: 1,
                expected: 2
            })
        ),
        row!(
            "an output too many",
            |s| s.outputs.push(vec![]),
            Statement(Count {
                what: "output",
                found: 4,
                expected: 3
            })
        ),
        row!(
            "another number of rows",
            |s| s.dims[0] = 2,
            Statement(Length {
                what: "input",
                index: 1,
                ..
            })
        ),
        row!(
            "no rows",
            |s| s.dims[0] = 0,
            VerifyError::Instance(InstanceError::DimRange { value: 0, .. })
        ),
        row!(
            "more rows than bounds are proved for",
            |s| s.dims[0] = 5,
            VerifyError::Instance(InstanceError::DimRange { value: 5, max: 4, .. })
        ),
        row!(
            "a dimension too many",
            |s| s.dims.push(1),
            VerifyError::Instance(InstanceError::DimCount { expected: 1, given: 2 })
        ),
        row!(
            "another entry",
            |s| s.entry = 1,
            VerifyError::Instance(InstanceError::Entry(1))
        ),
    ];
    let world: &World = &EVERYTHING;
    let proof = Liar::new(world).prove(&mut Honest);
    tell(rows, |lie| {
        let mut statement = world.statement.clone();
        lie(&mut statement);
        world.loaded.verify(&statement, &proof)
    });
}

#[test]
fn a_proof_of_other_inputs_is_refused() {
    let world: &World = &EVERYTHING;
    let proof = Liar::new(world).prove(&mut Honest);
    let instance = world.instance();
    let mut inputs = world.case.inputs.clone();
    inputs[1][0] ^= 1;
    let execution = execute(&instance, &world.case.weights, &inputs).unwrap();
    let other = statement(&instance, &inputs, &execution, None);
    assert_eq!(world.loaded.verify(&other, &proof), Err(Products));
}

#[test]
fn a_proof_is_of_its_circuit_root_and_parameters() {
    let world: &World = &EVERYTHING;
    let proof = Liar::new(world).prove(&mut Honest);
    let verify = |change: fn(&mut mlc_verifier::key::LoadedKey)| {
        let mut key = world.loaded.clone();
        change(&mut key);
        key.verify(&world.statement, &proof)
    };
    assert_eq!(verify(|_| ()), Ok(()));
    // The digest stands for the circuit in the transcript: all challenges are others.
    assert_eq!(verify(|k| k.digest[0] ^= 1), Err(Products));
    assert_eq!(
        verify(|k| k.weights_root = k.weights_root.map(|mut r| {
            r[0] ^= 1;
            r
        })),
        Err(Products)
    );
    assert_eq!(verify(|k| k.weights_root = None), Err(VerifyError::Weights));
    assert_eq!(verify(|k| k.params.term_bits -= 1), Err(Products));
    // A circuit with the same shapes but another table.
    let other = verify(|k| {
        k.circuit
            .tables
            .iter_mut()
            .for_each(|t| t.columns.iter_mut().for_each(|c| c.reverse()))
    });
    assert_eq!(other, Err(Tables));
    // The name of the model is in the digest alone.
    assert_eq!(verify(|k| k.circuit.name.push('x')), Ok(()));
}

#[test]
fn parameters_below_the_floor_are_refused() {
    let world: &World = &EVERYTHING;
    let proof = Liar::new(world).prove(&mut Honest);
    let verify = |change: fn(&mut Parameters)| {
        let mut key = world.loaded.clone();
        change(&mut key.params);
        key.verify(&world.statement, &proof)
    };
    for bits in [0, 1, 60, 95] {
        let mut key = world.loaded.clone();
        key.params.term_bits = bits;
        let refused = key.verify(&world.statement, &proof);
        assert!(
            matches!(refused, Err(Schedule(ScheduleError::Floor { bits })) if bits < 100.0),
            "{refused:?}"
        );
    }
    let refused = |outcome| {
        assert!(
            matches!(outcome, Err(Schedule(ScheduleError::Parameters { .. }))),
            "{outcome:?}"
        )
    };
    refused(verify(|p| p.term_bits = 129));
    refused(verify(|p| p.weights_log_inv_rate = 0));
    refused(verify(|p| p.weights_log_inv_rate = 17));
    refused(verify(|p| p.witness_log_inv_rate = 0));
    refused(verify(|p| p.witness_log_inv_rate = u32::MAX));
    // Rates that exist, but not for so many cells.
    let mut circuit = world.case.circuit.clone();
    circuit.dims[0].max = 1 << 18;
    let params = Parameters {
        witness_log_inv_rate: 16,
        ..Parameters::default()
    };
    let many = circuit.instantiate(0, &[1 << 18]).unwrap();
    let refused = mlc_verifier::security::Schedule::new(&many, &params).map(|_| ());
    assert!(matches!(refused, Err(ScheduleError::Shape { .. })), "{refused:?}");
}

#[test]
fn errors_of_callers_are_refused() {
    // No circuit that passes its checks has a fraction sum without leaves, or trees that are not the planned ones.
    let mut channel = Channel::new(Transcript::new(b"t"), &[]);
    assert_eq!(logup::verify(&mut channel, 0, 0), Err(LogUpError::NoLeaves));
    let shape = |rows| TreeShape {
        rows,
        log_cols: 3,
        log_inv_rate: 1,
    };
    let tree = |rows: usize, coefficients: usize| OpenTree {
        root: [0; 32],
        shape: shape(rows),
        row_coeffs: vec![mlc_verifier::field::qm31(1); coefficients],
        claims: vec![],
    };
    let plan = Plan::new(&[shape(4), shape(2)], Target::default()).unwrap();
    let mut verify = |trees: &[OpenTree<'_>]| verify_opening(&mut channel, &plan, trees);
    assert_eq!(verify(&[tree(4, 4)]), Err(OpeningError::Shape { tree: 1 }));
    assert_eq!(verify(&[tree(4, 4), tree(3, 3)]), Err(OpeningError::Shape { tree: 1 }));
    assert_eq!(verify(&[tree(4, 3), tree(2, 2)]), Err(OpeningError::Shape { tree: 0 }));
    assert_eq!(
        verify(&[tree(4, 4), tree(2, 2), tree(1, 1)]),
        Err(OpeningError::Shape { tree: 2 })
    );
}
