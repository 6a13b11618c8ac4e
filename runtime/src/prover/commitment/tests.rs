//! Honest openings of many shapes, every lie with its error, and the code against stwo's.

use mlc_verifier::commitment::{
    Claim, Dense, EqPoint, Functional, OpenTree as VerifierTree, OpeningError, Plan, Target, TreeShape, verify_opening,
};
use mlc_verifier::field::{M31, QM31, eq_table, mle, qm31};
use mlc_verifier::transcript::{Channel, Hash, ReadError, Transcript};
use num_traits::{One, Zero};

use super::tree::commit_words;
use super::{Committed, OpenTree, TreeStore, commit, open};
use crate::backend::code::Code;
use crate::backend::cpu::Cpu;
use crate::backend::naive::Naive;
use crate::prover::channel::{Honest, ProverChannel, Tamper};

/// A reproducible stream of field elements.
struct Stream(Transcript);

impl Stream {
    fn new(seed: &str) -> Self {
        Self(Transcript::new(seed.as_bytes()))
    }
    fn base(&mut self, n: usize) -> Vec<M31> {
        let blocks = self.0.draw_many(n.div_ceil(4));
        blocks.iter().flat_map(|q| q.to_m31_array()).take(n).collect()
    }
}

fn shape(rows: usize, log_cols: u32, log_inv_rate: u32) -> TreeShape {
    TreeShape {
        rows,
        log_cols,
        log_inv_rate,
    }
}

/// A matrix, the point whose tensor folds its rows, and claims on the folded vector.
struct Case {
    shape: TreeShape,
    cells: Vec<M31>,
    row_coeffs: Vec<QM31>,
    folded: Vec<QM31>,
    claims: Vec<(Box<dyn Functional>, QM31)>,
}

impl Case {
    fn new(seed: &str, shape: TreeShape, cols: usize) -> Self {
        let mut s = Stream::new(seed);
        let cells = s.base(shape.rows * cols);
        let variables = shape.rows.next_power_of_two().trailing_zeros() as usize;
        let row_coeffs = eq_table(&s.0.draw_many(variables), shape.rows);
        let folded = Naive.fold_rows(&cells, &row_coeffs);
        let point = s.0.draw_many(shape.log_cols as usize);
        let value = mle(&folded, &point);
        let coefficients = s.0.draw_many(shape.cols().min(3));
        let sum = coefficients
            .iter()
            .zip(&folded)
            .fold(QM31::zero(), |acc, (&f, &v)| acc + f * v);
        Self {
            shape,
            cells,
            row_coeffs,
            folded,
            claims: vec![(Box::new(EqPoint(point)), value), (Box::new(Dense(coefficients)), sum)],
        }
    }

    fn claims(&self) -> Vec<Claim<'_>> {
        self.claims
            .iter()
            .map(|(f, value)| Claim {
                functional: f.as_ref(),
                value: *value,
            })
            .collect()
    }
}

const SMALL: Target = Target {
    term_bits: 104,
    pow_bits: Some(3),
};

fn transcript(roots: &[Hash]) -> Transcript {
    let mut t = Transcript::new(b"opening test");
    roots.iter().for_each(|r| t.absorb(r));
    t
}

fn prove<B: Code>(backend: &B, cases: &[Case], target: Target, tamper: &mut dyn Tamper) -> (Vec<Hash>, Vec<u8>) {
    let trees: Vec<Committed> = cases
        .iter()
        .map(|c| commit(backend, &backend.base(c.cells.clone()), c.shape))
        .collect();
    prove_trees(backend, cases, &trees, target, tamper)
}

fn prove_trees<B: Code>(
    backend: &B,
    cases: &[Case],
    trees: &[Committed],
    target: Target,
    tamper: &mut dyn Tamper,
) -> (Vec<Hash>, Vec<u8>) {
    let roots: Vec<Hash> = trees.iter().map(TreeStore::root).collect();
    let shapes: Vec<TreeShape> = cases.iter().map(|c| c.shape).collect();
    let plan = Plan::new(&shapes, target).unwrap();
    let mut channel = ProverChannel::new(transcript(&roots), tamper);
    let opened = cases
        .iter()
        .zip(trees)
        .map(|(c, tree)| OpenTree {
            tree,
            folded: backend.ext(c.folded.clone()),
            claims: c.claims(),
        })
        .collect();
    open(backend, &mut channel, &plan, opened);
    (roots, channel.into_proof())
}

fn verify(cases: &[Case], target: Target, roots: &[Hash], proof: &[u8]) -> Result<(), OpeningError> {
    let shapes: Vec<TreeShape> = cases.iter().map(|c| c.shape).collect();
    let plan = Plan::new(&shapes, target).unwrap();
    let trees: Vec<VerifierTree<'_>> = cases
        .iter()
        .zip(roots)
        .map(|(c, &root)| VerifierTree {
            root,
            shape: c.shape,
            row_coeffs: c.row_coeffs.clone(),
            claims: c.claims(),
        })
        .collect();
    let mut channel = Channel::new(transcript(roots), proof);
    verify_opening(&mut channel, &plan, &trees)?;
    channel.finish()?;
    Ok(())
}

fn cases(shapes: &[(TreeShape, usize)]) -> Vec<Case> {
    shapes
        .iter()
        .enumerate()
        .map(|(i, &(s, cols))| Case::new(&format!("tree {i}"), s, cols))
        .collect()
}

/// Three levels: two committed vectors, then a clear one.
fn deep() -> Vec<Case> {
    let cases = cases(&[(shape(17, 12, 2), 4000), (shape(3, 5, 3), 32)]);
    let shapes: Vec<TreeShape> = cases.iter().map(|c| c.shape).collect();
    assert!(Plan::new(&shapes, SMALL).unwrap().levels.len() >= 2);
    cases
}

#[test]
fn honest_openings_of_every_shape_pass_and_backends_agree() {
    for rows in [1, 3, 17, 256] {
        for log_cols in 0..=8 {
            for log_inv_rate in [1, 3] {
                let cases = cases(&[(
                    shape(rows, log_cols, log_inv_rate),
                    (1 << log_cols) - (1 << log_cols) / 3,
                )]);
                let (roots, proof) = prove(&Naive, &cases, SMALL, &mut Honest);
                assert_eq!(verify(&cases, SMALL, &roots, &proof), Ok(()));
                assert_eq!(prove(&Cpu, &cases, SMALL, &mut Honest), (roots, proof));
            }
        }
    }
}

#[test]
fn openings_of_several_trees_pass_and_backends_agree() {
    for shapes in [
        vec![(shape(1, 0, 1), 1), (shape(5, 0, 2), 1)],
        vec![(shape(7, 3, 2), 8), (shape(256, 6, 3), 33), (shape(20, 6, 1), 64)],
        vec![(shape(33, 4, 3), 16), (shape(12, 10, 2), 1000), (shape(3, 10, 1), 700)],
        vec![(shape(2, 13, 1), 8000), (shape(1, 13, 2), 8192)],
    ] {
        let cases = cases(&shapes);
        let (roots, proof) = prove(&Naive, &cases, Target::default(), &mut Honest);
        assert_eq!(verify(&cases, Target::default(), &roots, &proof), Ok(()));
        assert_eq!(prove(&Cpu, &cases, Target::default(), &mut Honest), (roots, proof));
    }
}

/// Changes the `nth` message of a label.
struct Liar {
    label: &'static str,
    nth: usize,
    seen: usize,
}

impl Liar {
    fn new(label: &'static str, nth: usize) -> Self {
        Self { label, nth, seen: 0 }
    }
    fn here(&mut self, label: &'static str) -> bool {
        if label == self.label {
            self.seen += 1;
            return self.seen == self.nth + 1;
        }
        false
    }
}

impl Tamper for Liar {
    fn ext(&mut self, label: &'static str, values: &mut [QM31]) {
        if self.here(label) {
            values[values.len() / 2] += QM31::one();
        }
    }
    fn hash(&mut self, label: &'static str, hash: &mut Hash) {
        if self.here(label) {
            hash[5] ^= 1;
        }
    }
    fn nonce(&mut self, label: &'static str, nonce: &mut u64) {
        if self.here(label) {
            // The smallest working nonce is tampered into the largest failing one below it, or a later one.
            *nonce = nonce.checked_sub(1).unwrap_or(u64::MAX);
        }
    }
    fn opened(&mut self, label: &'static str, bytes: &mut [u8]) {
        if self.here(label) {
            let at = bytes.len() / 2 / 4 * 4;
            bytes[at] ^= 1;
        }
    }
}

fn lie(label: &'static str, nth: usize) -> Result<(), OpeningError> {
    let cases = deep();
    let mut liar = Liar::new(label, nth);
    let (roots, proof) = prove(&Cpu, &cases, SMALL, &mut liar);
    assert!(liar.seen > nth, "no such message: {label} {nth}");
    verify(&cases, SMALL, &roots, &proof)
}

#[test]
fn changed_messages_are_refused_with_their_error() {
    use OpeningError::{Authentication, ClearClaim, Evaluation, Read};
    // Trees opened: both at level 0, then one for each level.
    for (nth, level, tree) in [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 2, 0)] {
        for label in ["opened columns", "authentication path"] {
            assert_eq!(lie(label, nth), Err(Authentication { level, tree }), "{label}");
        }
    }
    for level in [0, 1] {
        // The tree is opened one level further up.
        assert_eq!(
            lie("folded root", level),
            Err(Authentication {
                level: level + 1,
                tree: 0
            })
        );
        assert_eq!(lie("folded evaluation", level), Err(Evaluation { level }));
    }
    assert_eq!(lie("opening round", 0), Err(Evaluation { level: 0 }));
    assert_eq!(lie("opening round", 12), Err(Evaluation { level: 0 }));
    assert_eq!(lie("opening round", 13), Err(Evaluation { level: 1 }));
    // A committed vector that is not the fold of the one before contradicts the evaluation and the opened columns.
    assert_eq!(lie("folded vector", 0), Err(Evaluation { level: 1 }));
    assert_eq!(lie("clear vector", 0), Err(ClearClaim { level: 2, claim: 0 }));
    assert_eq!(
        lie("opening positions", 1),
        Err(Read(ReadError::ProofOfWork {
            before: "opening positions",
            bits: 3
        }))
    );
}

#[test]
fn a_wrong_folded_vector_is_refused() {
    let mut cases = deep();
    cases[0].folded[100] += qm31(1);
    let (roots, proof) = prove(&Cpu, &cases, SMALL, &mut Honest);
    assert_eq!(
        verify(&cases, SMALL, &roots, &proof),
        Err(OpeningError::Evaluation { level: 0 })
    );
}

#[test]
fn a_wrong_claim_is_refused() {
    for claim in 0..2 {
        let mut cases = deep();
        let (roots, proof) = prove(&Cpu, &cases, SMALL, &mut Honest);
        cases[1].claims[claim].1 += QM31::one();
        assert_eq!(
            verify(&cases, SMALL, &roots, &proof),
            Err(OpeningError::Evaluation { level: 0 })
        );
    }
    // Where the vector is sent in clear, the claim itself is named.
    let mut cases = cases(&[(shape(9, 4, 2), 16), (shape(2, 3, 1), 8)]);
    let (roots, proof) = prove(&Cpu, &cases, SMALL, &mut Honest);
    cases[1].claims[1].1 += QM31::one();
    assert_eq!(
        verify(&cases, SMALL, &roots, &proof),
        Err(OpeningError::ClearClaim { level: 0, claim: 3 })
    );
}

#[test]
fn other_row_coefficients_are_refused() {
    // Every opened column now contradicts the folded vector.
    let mut cases = deep();
    let (roots, proof) = prove(&Cpu, &cases, SMALL, &mut Honest);
    cases[0].row_coeffs.swap(0, 1);
    assert_eq!(
        verify(&cases, SMALL, &roots, &proof),
        Err(OpeningError::Evaluation { level: 0 })
    );
}

#[test]
fn words_far_from_the_code_are_refused() {
    // One column in eight is not the codewords'; the folded vector and its claims are those of the nearby codewords.
    let cases = deep();
    for every in [2, 8] {
        let trees: Vec<Committed> = cases
            .iter()
            .map(|c| {
                let mut words = Naive.encode(&c.cells, &c.shape);
                for column in words.chunks_exact_mut(c.shape.rows).step_by(every) {
                    column[0] += M31::one();
                }
                commit_words(&Naive, words, c.shape)
            })
            .collect();
        let (roots, proof) = prove_trees(&Cpu, &cases, &trees, SMALL, &mut Honest);
        assert_eq!(
            verify(&cases, SMALL, &roots, &proof),
            Err(OpeningError::Evaluation { level: 0 })
        );
    }
}

#[test]
fn shapes_other_than_the_planned_are_refused() {
    let cases = deep();
    let (roots, proof) = prove(&Cpu, &cases, SMALL, &mut Honest);
    let shapes: Vec<TreeShape> = cases.iter().map(|c| c.shape).collect();
    let plan = Plan::new(&shapes, SMALL).unwrap();
    let tree = |i: usize| VerifierTree {
        root: roots[i],
        shape: cases[i].shape,
        row_coeffs: cases[i].row_coeffs.clone(),
        claims: vec![],
    };
    let run = |trees: &[VerifierTree<'_>]| {
        let mut channel = Channel::new(transcript(&roots), &proof);
        verify_opening(&mut channel, &plan, trees)
    };
    assert_eq!(run(&[tree(0)]), Err(OpeningError::Shape { tree: 1 }));
    assert_eq!(run(&[tree(1), tree(0)]), Err(OpeningError::Shape { tree: 0 }));
    let mut short = tree(1);
    short.row_coeffs.pop();
    assert_eq!(run(&[tree(0), short]), Err(OpeningError::Shape { tree: 1 }));
}

#[test]
fn truncated_and_extended_proofs_are_refused() {
    let cases = deep();
    let (roots, mut proof) = prove(&Cpu, &cases, SMALL, &mut Honest);
    let len = proof.len();
    for cut in (0..len).step_by(997).chain(len - 40..len) {
        let refused = verify(&cases, SMALL, &roots, &proof[..cut]);
        assert!(
            matches!(refused, Err(OpeningError::Read(ReadError::Truncated { .. }))),
            "{refused:?}"
        );
    }
    proof.push(0);
    assert_eq!(
        verify(&cases, SMALL, &roots, &proof),
        Err(OpeningError::Read(ReadError::Trailing { extra: 1 }))
    );
}

#[test]
fn flipped_bytes_are_refused() {
    let cases = cases(&[(shape(5, 9, 2), 500), (shape(3, 2, 2), 4)]);
    let (roots, proof) = prove(&Cpu, &cases, SMALL, &mut Honest);
    for at in (0..proof.len()).step_by(61) {
        let mut bad = proof.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(verify(&cases, SMALL, &roots, &bad).is_err(), "byte {at}");
    }
}

#[test]
fn the_code_is_that_of_stwo() {
    use stwo::core::poly::circle::CanonicCoset;
    use stwo::prover::backend::cpu::{CpuBackend, CpuCirclePoly};
    use stwo::prover::poly::circle::PolyOps;
    for log_cols in 0..7u32 {
        for log_inv_rate in 1..4u32 {
            for rows in [1usize, 2, 5] {
                let s = shape(rows, log_cols, log_inv_rate);
                let cells = Stream::new("stwo").base(rows << log_cols);
                let domain = CanonicCoset::new(s.log_domain()).circle_domain();
                let twiddles = CpuBackend::precompute_twiddles(domain.half_coset);
                for code in [Naive.encode(&cells, &s), Cpu.encode(&cells, &s)] {
                    for row in 0..rows {
                        let message = (0..s.cols()).map(|j| cells[j * rows + row]).collect();
                        let theirs = CpuCirclePoly::new(message).evaluate_with_twiddles(domain, &twiddles);
                        let ours: Vec<M31> = (0..s.domain()).map(|q| code[q * rows + row]).collect();
                        assert_eq!(theirs.values, ours);
                    }
                }
            }
        }
    }
}
