//! Lies in the setup proof: that the committed weights keep their bits and column sums.

use mlc_circuit::{Circuit, Weight, WeightLayout, format};
use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::prover::channel::{Honest, Tamper};
use mlc_runtime::prover::commitment::{Committed, TreeStore};
use mlc_runtime::prover::inference::label as inference;
use mlc_runtime::prover::logup::label as logup;
use mlc_runtime::prover::setup::{SetupWeights, label, prove};
use mlc_runtime::testing::linear_relu;
use mlc_runtime::weights::IntWeights;
use mlc_verifier::commitment::OpeningError::{self, Authentication, ClearClaim, Evaluation};
use mlc_verifier::field::M31;
use mlc_verifier::inference::VerifyError::{Denominator, Lookup, Merge, Numerator, Opening, Read, Schedule, Tables};
use mlc_verifier::logup::LogUpError::{self, Layer, NonZeroSum};
use mlc_verifier::security::{Parameters, ScheduleError};
use mlc_verifier::setup::{self, SetupError, SetupError::Proof};
use mlc_verifier::transcript::ReadError::{self, Trailing, Truncated};

use crate::liar::{At, Expected, Kind, PLACES, Place, Sent, all_refused, changing, counting, missed, refused};
use crate::world::{STRICT, cells_of, everything, tree_of};

/// A model owner: a circuit, weights, and what is committed.
struct Owner {
    circuit: Circuit,
    weights: IntWeights,
    cells: Vec<M31>,
    tree: Committed,
    params: Parameters,
}

impl Owner {
    fn new(circuit: Circuit, weights: IntWeights, params: Parameters) -> Self {
        let cells = cells_of(&circuit, &weights);
        let tree = tree_of(&circuit, &params, &cells);
        Self {
            circuit,
            weights,
            cells,
            tree,
            params,
        }
    }

    fn everything(params: Parameters) -> Self {
        let case = everything();
        Self::new(case.circuit, case.weights, params)
    }

    /// With one weight replaced, declared as is, committed or not.
    fn with(mut self, weight: usize, at: usize, value: i16, committed: bool) -> Self {
        let mut tensors = self.weights.to_vec();
        tensors[weight][at] = value;
        self.weights = IntWeights::unchecked(tensors);
        if committed {
            self = Self::new(self.circuit, self.weights, self.params);
        }
        self
    }

    fn proof(&self, tamper: &mut dyn Tamper) -> Vec<u8> {
        let digest = format::digest(&self.circuit);
        let weights = SetupWeights {
            integers: &self.weights,
            keys: &cells_of(&self.circuit, &self.weights),
            cells: &self.cells,
            tree: &self.tree,
        };
        prove(&Cpu, &self.circuit, &digest, &self.params, &weights, tamper).unwrap()
    }

    fn verify(&self, proof: &[u8]) -> Result<(), SetupError> {
        let digest = format::digest(&self.circuit);
        setup::verify(&self.circuit, &digest, &self.tree.root(), &self.params, proof)
    }

    fn outcome(&self, tamper: &mut dyn Tamper) -> Result<(), SetupError> {
        self.verify(&self.proof(tamper))
    }
}

/// What could not be read; `None` where the proof is accepted.
fn unread(outcome: Result<(), SetupError>) -> Option<ReadError> {
    match outcome {
        Ok(()) => None,
        Err(Proof(Read(e) | Lookup(LogUpError::Read(e)) | Opening(OpeningError::Read(e)))) => Some(e),
        Err(other) => panic!("{other:?}"),
    }
}

macro_rules! error {
    ($pattern:pat) => {
        refused!(SetupError, $pattern)
    };
}

/// A message, where it is changed, and the error.
type Row = (Kind, &'static str, At, Expected<SetupError>);

#[test]
fn every_message_of_a_setup_proof_is_bound_by_its_check() {
    let owner = Owner::everything(Parameters::default());
    let authentication = |n: usize| match n {
        0 => error!(Proof(Opening(Authentication { level: 0, tree: 0 }))),
        1 => error!(Proof(Opening(Authentication { level: 0, tree: 1 }))),
        _ => error!(Proof(Opening(Authentication { level: 1, tree: 0 }))),
    };
    let mut rows: Vec<Row> = vec![
        (Kind::Base, label::COLUMN_SUMS, At::Ends, error!(Proof(Tables))),
        (
            Kind::Base,
            inference::CHANNEL_CELLS,
            At::Ends,
            error!(Proof(Lookup(NonZeroSum))),
        ),
        (
            Kind::Root,
            inference::CHANNELS_ROOT,
            At::Ends,
            error!(Proof(Opening(Authentication { level: 0, tree: 0 }))),
        ),
        (Kind::Ext, logup::CLEAR, At::Ends, error!(Proof(Lookup(NonZeroSum)))),
        (Kind::Ext, logup::ROUND, At::Ends, error!(Proof(Lookup(Layer { .. })))),
        (Kind::Ext, logup::LAYER, At::Ends, error!(Proof(Lookup(Layer { .. })))),
        (
            Kind::Ext,
            inference::LEAF_CLAIMS,
            At::Part(Place::First),
            error!(Proof(Denominator)),
        ),
        (
            Kind::Ext,
            inference::LEAF_CLAIMS,
            At::Part(Place::Last),
            error!(Proof(Numerator)),
        ),
        (Kind::Ext, inference::TABLE_ROUND, At::Ends, error!(Proof(Tables))),
        (Kind::Ext, inference::COLUMN_CLAIM, At::Ends, error!(Proof(Tables))),
        (Kind::Ext, label::MERGE_ROUND, At::Ends, error!(Proof(Merge))),
        (Kind::Ext, label::MERGED_CHANNELS, At::Ends, error!(Proof(Merge))),
        (Kind::Root, "folded root", At::Ends, authentication(2)),
        (
            Kind::Ext,
            "opening round",
            At::Ends,
            error!(Proof(Opening(Evaluation { level: 0 }))),
        ),
        (
            Kind::Ext,
            "folded evaluation",
            At::Ends,
            error!(Proof(Opening(Evaluation { level: 0 }))),
        ),
        (
            Kind::Ext,
            "folded vector",
            At::Ends,
            error!(Proof(Opening(ClearClaim { level: 1, claim: 0 }))),
        ),
        (
            Kind::Ext,
            "clear vector",
            At::Ends,
            error!(Proof(Opening(ClearClaim { level: 1, claim: 0 }))),
        ),
    ];
    for n in 0..3 {
        rows.push((Kind::Opened, "opened columns", At::Nth(n), authentication(n)));
        rows.push((Kind::Opened, "authentication path", At::Nth(n), authentication(n)));
    }
    let mut sent = Sent::new();
    assert_eq!(owner.outcome(&mut counting(&mut sent)), Ok(()));
    let mut failures = Vec::new();
    for (kind, label) in sent.keys().filter(|k| k.0 != Kind::Nonce) {
        let told = rows.iter().any(|r| (r.0, r.1) == (*kind, *label));
        if !told {
            failures.push(format!("no lie about {kind:?} '{label}'"));
        }
    }
    for (kind, label, at, error) in rows {
        let count = sent.get(&(kind, label)).copied().unwrap_or(0);
        assert!(count > 0, "no such message: {kind:?} '{label}'");
        for (n, part) in at.lies(count) {
            let outcome = owner.outcome(&mut changing(kind, label, n, part));
            error.judge(&format!("{kind:?} '{label}' {n} {part:?}"), outcome, &mut failures);
        }
    }
    all_refused(&failures);
}

#[test]
fn every_nonce_of_a_setup_proof_must_reach_its_bits() {
    let owner = Owner::everything(STRICT);
    let rows = [
        ("column point", "column point"),
        ("source claim batching", "source claim batching"),
        ("lookup fingerprint", "lookup fingerprint"),
        (logup::LAYER, "logup layer"),
        (logup::ROUND, "sumcheck round"),
        (inference::TABLE_ROUND, "sumcheck round"),
        ("channel claim batching", "channel claim batching"),
        (label::MERGE_ROUND, "sumcheck round"),
        ("opening positions", "opening positions"),
        ("opening batch", "opening batch"),
        ("sumcheck round", "sumcheck round"),
    ];
    let mut sent = Sent::new();
    assert_eq!(owner.outcome(&mut counting(&mut sent)), Ok(()));
    for (_, label) in sent.keys().filter(|k| k.0 == Kind::Nonce) {
        assert!(rows.iter().any(|r| r.0 == *label), "no lie about nonce '{label}'");
    }
    for (label, name) in rows {
        let count = sent.get(&(Kind::Nonce, label)).copied().unwrap_or(0);
        assert!(count > 0, "no nonce '{label}'");
        for n in PLACES.map(|p| p.of(count)) {
            let before_it = missed(label, n, |tamper| unread(owner.outcome(tamper)));
            assert_eq!(before_it, name, "nonce {n} of '{label}'");
        }
    }
}

#[test]
fn weights_out_of_range_are_refused() {
    let owner = || Owner::everything(Parameters::default());
    // Four bits: -8 to 7, of which -8 is never written but within what is proved and counted with.
    let weights = owner().circuit.weights.clone();
    let conv = weights.iter().position(|w| w.name == "conv").unwrap();
    assert_eq!(weights[conv].bits, 4);
    for value in [8, -9, 100, -32768, 32767] {
        for at in [0, 17] {
            let lie = owner().with(conv, at, value, true);
            assert_eq!(
                lie.outcome(&mut Honest),
                Err(Proof(Lookup(NonZeroSum))),
                "{value} at {at}"
            );
        }
    }
    // Proved of other integers than the committed: the claim on keys is false.
    let committed = Owner::everything(Parameters::default()).with(conv, 5, 8, true);
    let lie = Owner {
        weights: owner().weights,
        ..committed
    };
    let refused = lie.outcome(&mut Honest);
    assert!(
        matches!(refused, Err(Proof(Opening(Evaluation { level: 0 })))),
        "{refused:?}"
    );
    // And of in-range integers while others are committed.
    let refused = owner()
        .with(conv, 5, 1, false)
        .with(conv, 6, 2, false)
        .outcome(&mut Honest);
    assert!(
        matches!(refused, Err(Proof(Opening(Evaluation { level: 0 })))),
        "{refused:?}"
    );
}

#[test]
fn column_sums_are_proved_and_bounded() {
    let case = linear_relu(3, 20, 17, 10);
    let bound = case.circuit.weights[0].column_sum;
    let sum = |row: &[i16]| row.iter().map(|v| u64::from(v.unsigned_abs())).sum::<u64>();
    let largest = case
        .weights
        .tensor(0)
        .chunks_exact(20)
        .position(|r| sum(r) == bound)
        .unwrap();
    let with = |bound: u64| {
        let mut circuit = case.circuit.clone();
        circuit.weights[0].column_sum = bound;
        Owner::new(circuit, case.weights.clone(), Parameters::default())
    };
    assert_eq!(with(bound).outcome(&mut Honest), Ok(()));
    assert_eq!(with(bound + 1).outcome(&mut Honest), Ok(()));
    let above = with(bound - 1);
    let error = SetupError::ColumnSum {
        name: "fc1".into(),
        column: largest,
        sum: bound as u32,
        bound: bound - 1,
    };
    assert_eq!(above.outcome(&mut Honest), Err(error));
    // The sum that would pass is not the sum.
    let mut lie = crate::liar::telling(|l, n, m: crate::liar::Message<'_>| {
        if let (label::COLUMN_SUMS, 0, crate::liar::Message::Base(sums)) = (l, n, m) {
            sums[largest] = M31::from(bound as u32 - 1);
        }
    });
    assert_eq!(above.outcome(&mut lie), Err(Proof(Tables)));
}

#[test]
fn padding_of_weights_is_zero() {
    // A contraction axis of 20 is padded to whole columns of the committed matrix; what lies there must be zero.
    let case = linear_relu(3, 20, 17, 10);
    let layout = WeightLayout::new(&case.circuit);
    let padded = 20usize.next_multiple_of(1 << layout.row_bits);
    assert!(padded > 20);
    let mut longer = case.circuit.clone();
    longer.weights[0].row_len = padded as u32;
    assert_eq!(WeightLayout::new(&longer).columns, layout.columns);
    let mut tensors = case.weights.to_vec();
    let rows = tensors[0].chunks_exact(20);
    tensors[0] = rows
        .flat_map(|r| r.iter().copied().chain(std::iter::repeat_n(1, padded - 20)))
        .collect();
    let garbage = Owner::new(longer, IntWeights::unchecked(tensors), Parameters::default());
    let digest = format::digest(&case.circuit);
    let verify = |proof: &[u8]| {
        let root = garbage.tree.root();
        setup::verify(&case.circuit, &digest, &root, &garbage.params, proof)
    };
    // Proved as the longer weights that they are: the claim on the padding is missing.
    let params = &garbage.params;
    let prove = |circuit, weights| {
        let weights = SetupWeights {
            integers: weights,
            keys: &cells_of(circuit, weights),
            cells: &garbage.cells,
            tree: &garbage.tree,
        };
        prove(&Cpu, circuit, &digest, params, &weights, &mut Honest)
    };
    assert_eq!(
        verify(&prove(&garbage.circuit, &garbage.weights).unwrap()),
        Err(Proof(Numerator))
    );
    // Proved as if the padding were zero: the committed cells say otherwise.
    let zero = verify(&prove(&case.circuit, &case.weights).unwrap());
    assert!(
        matches!(zero, Err(Proof(Opening(Evaluation { level: 0 } | ClearClaim { .. })))),
        "{zero:?}"
    );
}

#[test]
fn column_sums_cannot_wrap() {
    let mut circuit = linear_relu(3, 20, 17, 10).circuit;
    circuit.weights[0] = Weight {
        name: "long".into(),
        outer: vec![1],
        row_len: 1 << 16,
        bits: 16,
        column_sum: 1,
    };
    let refused = setup::verify(&circuit, &[0; 32], &[0; 32], &Parameters::default(), &[]);
    assert_eq!(refused, Err(SetupError::Wrap { name: "long".into() }));
    // One bit less cannot: what fails is the empty proof.
    circuit.weights[0].bits = 15;
    let refused = setup::verify(&circuit, &[0; 32], &[0; 32], &Parameters::default(), &[]);
    assert_eq!(refused, Err(Proof(Read(Truncated { at: 0 }))));
}

#[test]
fn a_setup_proof_is_of_its_circuit_root_and_parameters() {
    let owner = Owner::everything(Parameters::default());
    let proof = owner.proof(&mut Honest);
    let digest = format::digest(&owner.circuit);
    let root = owner.tree.root();
    // The sum of the clear layer holds under any challenges; the layer below it is the first to contradict.
    let refused = Err(Proof(Lookup(Layer { layer: 3 })));
    let verify =
        |digest, root, params: &Parameters, proof: &[u8]| setup::verify(&owner.circuit, &digest, &root, params, proof);
    assert_eq!(verify(digest, root, &owner.params, &proof), Ok(()));
    assert_eq!(verify([1; 32], root, &owner.params, &proof), refused);
    assert_eq!(verify(digest, [1; 32], &owner.params, &proof), refused);
    let params = |change: fn(&mut Parameters)| {
        let mut p = owner.params;
        change(&mut p);
        p
    };
    assert_eq!(verify(digest, root, &params(|p| p.term_bits = 104), &proof), refused);
    let below = verify(digest, root, &params(|p| p.term_bits = 90), &proof);
    assert!(
        matches!(below, Err(Proof(Schedule(ScheduleError::Floor { .. })))),
        "{below:?}"
    );
    let none = verify(digest, root, &params(|p| p.weights_log_inv_rate = 0), &proof);
    assert!(
        matches!(none, Err(Proof(Schedule(ScheduleError::Parameters { .. })))),
        "{none:?}"
    );
    let longer = [&proof[..], &[0; 3]].concat();
    assert_eq!(owner.verify(&longer), Err(Proof(Read(Trailing { extra: 3 }))));
    let len = proof.len();
    for cut in [0, 3, len / 2, len - 1] {
        let read = unread(owner.verify(&proof[..cut]));
        assert!(matches!(read, Some(Truncated { .. })), "{cut} of {len} bytes: {read:?}");
    }
}
