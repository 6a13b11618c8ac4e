//! Keys that are malformed, incomplete, or of something else.

use mlc_circuit::check::CheckError;
use mlc_circuit::format::{self, FormatError};
use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::prover::channel::Honest;
use mlc_runtime::setup::setup;
use mlc_runtime::testing::{self, Builder, Case, plain};
use mlc_verifier::inference::VerifyError::{Lookup, Schedule};
use mlc_verifier::key::{FileError, Key, KeyError};
use mlc_verifier::logup::LogUpError::Layer;
use mlc_verifier::proof_file::{MAX_BYTES, ProofFile, ProofFileError};
use mlc_verifier::security::{Parameters, ScheduleError};
use mlc_verifier::setup::SetupError::Proof;

use crate::liar::{Expected, all_refused, refused};
use crate::world::Liar;

/// A lie: its name, an honest key, what is done to it, and the error.
type Row = (&'static str, Key, fn(&mut Key), Expected<KeyError>);

fn key_of(case: &Case) -> Key {
    setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default())
        .unwrap()
        .key
}

fn key() -> Key {
    key_of(&testing::linear_relu(3, 20, 17, 10))
}

/// A circuit without weights: an output that is an input.
fn weightless() -> Case {
    let mut b = Builder::new("weightless", 1);
    let x = b.input("x", &[mlc_circuit::Len::fixed(3)], -5, 5);
    b.output("y", &x.axes, vec![plain(x.whole())], vec![], mlc_circuit::Label::None);
    Case::new(b, &[])
}

#[test]
fn keys_of_something_else_are_refused() {
    macro_rules! row {
        ($name:literal, $key:expr, $lie:expr, $pattern:pat) => {
            ($name, $key, $lie as fn(&mut Key), refused!(KeyError, $pattern))
        };
    }
    let rows: Vec<Row> = vec![
        row!(
            "another root",
            key(),
            |k| k.weights_root = Some([7; 32]),
            KeyError::Setup(Proof(Lookup(Layer { .. })))
        ),
        row!(
            "another setup proof",
            key(),
            |k| k.setup_proof = key_of(&testing::residual_blocks(3, 12, 4)).setup_proof,
            KeyError::Setup(Proof(_))
        ),
        row!(
            "no setup proof",
            key(),
            |k| k.setup_proof.clear(),
            KeyError::Setup(Proof(_))
        ),
        row!(
            "another circuit of the same shape",
            key(),
            |k| {
                let mut c = format::decode(&k.circuit).unwrap();
                c.name.push('2');
                k.circuit = format::encode(&c);
            },
            KeyError::Setup(Proof(Lookup(Layer { .. })))
        ),
        row!(
            "no root",
            key(),
            |k| k.weights_root = None,
            KeyError::Weights {
                what: "no root of weights"
            }
        ),
        row!(
            "a root without weights",
            key_of(&weightless()),
            |k| k.weights_root = Some([0; 32]),
            KeyError::Weights {
                what: "a root of weights"
            }
        ),
        row!(
            "a setup proof without weights",
            key_of(&weightless()),
            |k| k.setup_proof.push(0),
            KeyError::Weights { what: "a setup proof" }
        ),
        row!(
            "parameters below the floor",
            key(),
            |k| k.params.term_bits = 80,
            KeyError::Setup(Proof(Schedule(ScheduleError::Floor { .. })))
        ),
        row!(
            "parameters that no code has",
            key_of(&weightless()),
            |k| k.params.witness_log_inv_rate = 99,
            KeyError::Setup(Proof(Schedule(ScheduleError::Parameters { .. })))
        ),
        row!(
            "a circuit that breaks a rule",
            key(),
            |k| {
                let mut c = format::decode(&k.circuit).unwrap();
                c.entries[0].segments[0].ranged = false;
                c.entries[0].segments[1].ranged = false;
                k.circuit = format::encode(&c);
            },
            KeyError::Circuit(CheckError::Uncovered { .. })
        ),
        row!(
            "not a circuit",
            key(),
            |k| k.circuit[0] ^= 1,
            KeyError::Format(FormatError::Magic)
        ),
        row!(
            "a circuit of another version",
            key(),
            |k| k.circuit[8] = 9,
            KeyError::Format(FormatError::Version { found: 9 })
        ),
        row!(
            "a circuit with bytes behind it",
            key(),
            |k| k.circuit.push(0),
            KeyError::Format(FormatError::Corrupted)
        ),
        row!(
            "a circuit cut short",
            key(),
            |k| k.circuit.truncate(k.circuit.len() - 1),
            KeyError::Format(FormatError::Corrupted)
        ),
    ];
    let mut failures = Vec::new();
    for (name, mut key, lie, error) in rows {
        assert!(key.load().is_ok(), "{name}: the honest key");
        lie(&mut key);
        error.judge(name, key.load().map(|_| ()), &mut failures);
    }
    all_refused(&failures);
}

#[test]
fn a_key_and_a_proof_file_have_one_encoding() {
    let bytes = key().encode();
    assert_eq!(Key::decode(&bytes), Ok(key()));
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut other = bytes.clone();
        change(&mut other);
        Key::decode(&other).unwrap_err()
    };
    assert_eq!(refused(&|b| b[0] ^= 1), KeyError::Magic);
    assert_eq!(refused(&|b| b[8] = 2), KeyError::Version { found: 2 });
    assert_eq!(refused(&|b| b.truncate(10)), KeyError::Corrupted);
    assert_eq!(refused(&|b| b.push(0)), KeyError::Corrupted);
    assert_eq!(refused(&|b| b.truncate(b.len() - 1)), KeyError::Corrupted);
    // The length of the circuit's bytes, written with a superfluous byte.
    let long = |b: &mut Vec<u8>| {
        let end = (12..).find(|&i| b[i] < 128).unwrap();
        b[end] |= 128;
        b.insert(end + 1, 0);
    };
    assert_eq!(refused(&long), KeyError::Corrupted);

    let statement = crate::world::EVERYTHING.statement.clone();
    let file = ProofFile {
        key: [7; 32],
        statement,
        proof: vec![1, 2, 3],
    }
    .encode();
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut other = file.clone();
        change(&mut other);
        ProofFile::decode(&other).unwrap_err()
    };
    // Zeroed memory that is never touched.
    assert_eq!(
        ProofFile::decode(&vec![0; MAX_BYTES + 1]),
        Err(ProofFileError::TooLarge)
    );
    assert_eq!(refused(&|b| b[0] ^= 1), ProofFileError::Magic);
    // The version before, whose files name no key.
    assert_eq!(refused(&|b| b[8] = 1), ProofFileError::Version { found: 1 });
    assert_eq!(refused(&|b| b.truncate(11)), ProofFileError::Corrupted);
    assert_eq!(refused(&|b| b.truncate(43)), ProofFileError::Corrupted);
    assert_eq!(refused(&|b| b.push(0)), ProofFileError::Corrupted);
    // The entry, 0, which follows the fingerprint, in two bytes.
    assert_eq!(
        refused(&|b| {
            assert_eq!(b[44], 0);
            b[44] = 128;
            b.insert(45, 0);
        }),
        ProofFileError::Corrupted
    );
}

#[test]
fn fingerprints_name_everything_but_the_setup_proof() {
    let honest = key();
    let changed = |change: fn(&mut Key)| {
        let mut k = honest.clone();
        change(&mut k);
        k.fingerprint()
    };
    assert_eq!(changed(|k| k.setup_proof.clear()), honest.fingerprint());
    for change in [
        (|k| k.circuit.push(0)) as fn(&mut Key),
        |k| k.params.term_bits += 1,
        |k| k.params.weights_log_inv_rate += 1,
        |k| k.params.witness_log_inv_rate += 1,
        |k| k.weights_root = None,
        |k| k.weights_root = Some([1; 32]),
    ] {
        assert_ne!(changed(change), honest.fingerprint());
    }
}

#[test]
fn a_proof_file_that_names_another_key_is_refused_as_that() {
    let world = &*crate::world::EVERYTHING;
    let proof = Liar::new(world).prove(&mut Honest);
    let honest = ProofFile {
        key: world.loaded.fingerprint,
        statement: world.statement.clone(),
        proof,
    };
    assert_eq!(world.loaded.verify_file(&honest), Ok(()));
    let mut other = honest.clone();
    other.key[31] ^= 1;
    // Even where nothing else could be read of it.
    for proof in [other.proof.clone(), Vec::new()] {
        let refused = world.loaded.verify_file(&ProofFile { proof, ..other.clone() });
        let expected = FileError::OtherKey {
            named: other.key,
            given: world.loaded.fingerprint,
        };
        assert_eq!(refused, Err(expected));
    }
    // The name is not trusted: the honest proof of this key, relabelled, is no proof for another one.
    let mut impostor = world.loaded.clone();
    impostor.digest[0] ^= 1;
    assert!(matches!(impostor.verify_file(&honest), Err(FileError::Proof(_))));
}
