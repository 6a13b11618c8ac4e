//! A hand-built circuit, linear → relu → linear, through the whole protocol.

use mlc_circuit::{
    Access, Circuit, Entry, Equation, InputKind, Label, Left, Len, Operand, Product, PublicInput, PublicOutput, Read,
    RuntimeDim, Segment, SiteRef, Source, Step, Table, Weight, check, format,
};
use mlc_runtime::backend::Backend;

use mlc_runtime::backend::naive::Naive;
use mlc_runtime::exec::execute;
use mlc_runtime::prover::channel::Honest;
use mlc_runtime::prover::commitment::{TreeStore, commit};
use mlc_runtime::prover::inference::{CommittedWeights, prove, statement};
use mlc_runtime::prover::relations::weight_cells;
use mlc_runtime::weights::IntWeights;
use mlc_verifier::inference::verify;
use mlc_verifier::security::{Parameters, Schedule};

fn linear(name: &str, k: u32, j: u32, source: Source, left: Left, constant: i64, weight: u16) -> Equation {
    Equation {
        name: name.into(),
        out: vec![Len::dim(0), Len::fixed(j as usize)],
        left,
        constant,
        reads: vec![],
        products: vec![
            Product {
                coefficient: 1,
                shared: vec![],
                group: vec![Len::fixed(k as usize)],
                a: Operand::Reads(vec![Read {
                    coefficient: 1,
                    source,
                    access: Access::axes(&[0, 2]),
                }]),
                b: Operand::Weight { weight, outer: vec![1] },
            },
            Product {
                coefficient: 1,
                shared: vec![1],
                group: vec![],
                a: Operand::One,
                b: Operand::Weight {
                    weight: weight + 1,
                    outer: vec![],
                },
            },
        ],
    }
}

fn circuit(d: u32, h: u32, o: u32) -> Circuit {
    let (bits, shift) = (8u8, 11u8);
    let relu = (0..1 << bits).map(|t| (t - 128i32).max(0)).collect();
    let w = |name: &str, outer: Vec<u32>, row_len: u32, bits: u8| Weight {
        name: name.into(),
        outer,
        row_len,
        bits,
        column_sum: u64::from(row_len) * ((1 << (bits - 1)) - 1),
    };
    let seg = |name: &str, table: u16, ranged: bool| Segment {
        name: name.into(),
        axes: vec![Len::dim(0), Len::fixed(h as usize)],
        table: Some(table),
        ranged,
    };
    Circuit {
        name: "linear_relu".into(),
        dims: vec![RuntimeDim {
            name: "batch".into(),
            max: 64,
        }],
        tables: vec![
            Table {
                name: "relu".into(),
                log_rows: bits,
                columns: vec![relu],
            },
            Table::range(shift),
        ],
        weights: vec![
            w("w1", vec![h], d, 8),
            w("b1", vec![], h, 8),
            w("w2", vec![o], h, 8),
            w("b2", vec![], o, 8),
        ],
        entries: vec![Entry {
            name: "main".into(),
            inputs: vec![PublicInput {
                name: "x".into(),
                axes: vec![Len::dim(0), Len::fixed(d as usize)],
                scale: 1.0,
                lo: -16,
                hi: 16,
                kind: InputKind::Public,
                clamp: false,
            }],
            outputs: vec![PublicOutput {
                name: "y".into(),
                axes: vec![Len::dim(0), Len::fixed(o as usize)],
                scale: 1.0,
                label: Label::ArgMax,
            }],
            segments: vec![seg("t", 0, false), seg("r", 1, true)],
            sites: vec![],
            equations: vec![
                linear(
                    "fc1",
                    d,
                    h,
                    Source::Input(0),
                    Left::Cells(vec![(1, 1), (1 << shift, 0)]),
                    1 << (bits + shift - 1),
                    0,
                ),
                linear(
                    "fc2",
                    h,
                    o,
                    Source::Lookup {
                        site: SiteRef::Segment(0),
                        column: 0,
                    },
                    Left::Output(0),
                    0,
                    2,
                ),
            ],
            steps: vec![Step::Equation(0), Step::Equation(1)],
        }],
    }
}

fn noise(n: usize, seed: u64, range: i64) -> Vec<i64> {
    let mut s = seed;
    (0..n)
        .map(|_| {
            s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((s >> 33) as i64) % (2 * range + 1) - range
        })
        .collect()
}

fn run<B: Backend>(backend: &B, (d, h, o): (u32, u32, u32), batch: u32) -> Vec<u8> {
    let c = circuit(d, h, o);
    check::check(&c).unwrap();
    let digest = format::digest(&c);
    let weights: Vec<Vec<i16>> = c
        .weights
        .iter()
        .enumerate()
        .map(|(i, w)| {
            let n = w.outer.iter().product::<u32>() * w.row_len;
            noise(n as usize, i as u64 + 1, 127)
                .into_iter()
                .map(|v| v as i16)
                .collect()
        })
        .collect();
    let integers = IntWeights::new(&c, weights).unwrap();
    let instance = c.instantiate(0, &[batch]).unwrap();
    let params = Parameters::default();
    let schedule = Schedule::new(&instance, &params).unwrap();
    let lens: Vec<usize> = c.weights.iter().map(|w| w.row_len as usize).collect();
    let cells = backend.base(weight_cells(&schedule.weights, &lens, |w| {
        integers.tensors()[w].clone()
    }));
    let tree = commit(backend, &cells, schedule.weights_tree.unwrap());
    let inputs = vec![
        noise((batch * d) as usize, 99, 16)
            .into_iter()
            .map(|v| v as i32)
            .collect::<Vec<_>>(),
    ];
    let execution = execute(&instance, &integers, &inputs).unwrap();
    let statement = statement(&instance, &inputs, &execution);
    let committed = CommittedWeights {
        integers: &integers,
        cells: Some(&cells),
        tree: Some(&tree),
    };
    let proof = prove(
        backend,
        &instance,
        &schedule,
        &digest,
        &committed,
        &statement,
        &execution,
        &mut Honest,
    );
    verify(&c, &digest, Some(&tree.root()), &params, &statement, &proof).unwrap();
    let mut wrong = statement.clone();
    wrong.outputs[0][0] += 1;
    assert!(verify(&c, &digest, Some(&tree.root()), &params, &wrong, &proof).is_err());
    proof
}

#[test]
fn honest_proofs_are_accepted() {
    for (shape, batch) in [
        ((1, 1, 1), 1),
        ((5, 3, 2), 1),
        ((64, 32, 10), 1),
        ((17, 20, 10), 3),
        ((40, 5, 3), 7),
    ] {
        let proof = run(&Naive, shape, batch);
        println!("{shape:?} x {batch}: {} bytes", proof.len());
    }
}
