//! What execution refuses, and one network by hand.

use mlc_circuit::{Label, Len, Source, Step};

use super::*;
use crate::testing::{self, Activation, Builder, Case, plain};

fn run(case: &Case) -> Result<Execution, ExecError> {
    let instance = case.circuit.instantiate(0, &case.dims).unwrap();
    let reference = execute_reference(&instance, &case.weights, &case.inputs, &[]);
    assert_eq!(execute(&instance, &case.weights, &case.inputs), reference);
    reference
}

/// One input of two values, requantised by clamping, and put out.
fn clamp() -> Case {
    let mut b = Builder::new("clamp", 0);
    let axes = [Len::fixed(2)];
    let x = b.input("x", &axes, -100, 100);
    b.table_bits = 4;
    let y = b.requant("y", &axes, vec![plain(x.whole())], vec![], Activation::Clamp(5));
    b.output("y", &axes, vec![plain(y.whole())], vec![], Label::None);
    Case::new(b, &[])
}

#[test]
fn digits_by_hand() {
    let mut case = clamp();
    case.inputs = vec![vec![-100, 23]];
    let e = run(&case).unwrap();
    // 201 values in 16 keys: a unit is 16, zero is key 6 (6 · 16 = 96, and 8 to round): acc = x + 104.
    assert_eq!(case.circuit.entries[0].equations[0].constant, 104);
    assert_eq!(e.segments, [[0, 7], [4, 15]]);
    assert_eq!(e.outputs, [[-5, 1]]);
}

#[test]
fn inputs_are_checked() {
    let mut case = clamp();
    case.inputs = vec![];
    assert_eq!(run(&case), Err(ExecError::InputCount { expected: 1, given: 0 }));
    case.inputs = vec![vec![1]];
    assert!(matches!(
        run(&case),
        Err(ExecError::InputLen {
            expected: 2,
            given: 1,
            ..
        })
    ));
    case.inputs = vec![vec![0, -103]];
    let error = run(&case).unwrap_err();
    assert_eq!(
        error.to_string(),
        "input 'x' is -103 at position 1, 3 outside of [-100, 100]"
    );
}

#[test]
fn private_inputs_fill_their_segment() {
    let mut case = testing::conv_max_pool(1, 1, 4, 2);
    let e = run(&case).unwrap();
    assert_eq!(e.segments[0], case.inputs[0]);
    // A table that maps keys to other values is refused.
    let value = case.inputs[0][0];
    case.circuit.tables[0].columns[0][value as usize] += 1;
    assert!(matches!(run(&case), Err(ExecError::InputTable { position: 0, value: v, .. }) if v == value));
}

#[test]
fn a_cell_outside_of_its_table_names_segment_value_and_table() {
    let mut case = clamp();
    case.circuit.entries[0].equations[0].constant = 0;
    case.inputs = vec![vec![40, -17]];
    let error = run(&case).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cell 1 of 'y.t' is -2, which is no key of table 'Clamp(5) from 6' (0 to 15)"
    );
}

#[test]
fn a_right_side_beyond_2_to_30_is_an_error() {
    let mut case = clamp();
    let q = &mut case.circuit.entries[0].equations[1];
    q.reads[0].read.coefficient = 1 << 29;
    case.inputs = vec![vec![100, 0]];
    assert!(matches!(run(&case), Err(ExecError::Overflow { position: 0, value, .. }) if value == 5 << 29));
}

#[test]
fn a_repetition_of_another_length_is_an_error() {
    let mut case = testing::residual_blocks(2, 4, 3);
    if let Some(Step::Repeat { count, .. }) = case.circuit.entries[0].steps.first_mut() {
        *count = 2;
    }
    assert!(matches!(
        run(&case),
        Err(ExecError::Repeat {
            count: 2,
            len: Some(3),
            ..
        })
    ));
}

#[test]
fn padding_reads_zero_whatever_the_table() {
    // y[i] = x[i - 1] + x[i + 1], outside 0, for a table whose key 0 is not 0.
    let mut b = Builder::new("shift", 0);
    let axes = [Len::fixed(3)];
    let x = b.private_input("x", &axes, 10, 4);
    assert!(matches!(x.source, Source::Lookup { column: 0, .. }));
    let shifted = |offset: i32| {
        let mut access = mlc_circuit::Access::identity(1);
        access.axes[0] = mlc_circuit::AxisMap::Affine {
            offset,
            parts: vec![(0, 1)],
        };
        plain(x.read(1, access))
    };
    b.output("y", &axes, vec![shifted(-1), shifted(1)], vec![], Label::None);
    let mut case = Case::new(b, &[]);
    case.inputs = vec![vec![11, 12, 13]];
    assert_eq!(run(&case).unwrap().outputs, [[12, 24, 12]]);
}
