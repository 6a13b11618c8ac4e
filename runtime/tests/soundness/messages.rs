//! Each message of an inference proof, changed at its first, middle and last occurrence and in its first, middle and
//! last part. The prover goes on as if nothing had happened, under the challenges that follow from the lie.

use mlc_circuit::{Equation, Left};
use mlc_runtime::prover::channel::Honest;
use mlc_runtime::prover::inference::label as inference;
use mlc_runtime::prover::logup::label as logup;
use mlc_verifier::commitment::OpeningError::{self, Authentication, ClearClaim, Evaluation};
use mlc_verifier::inference::VerifyError::{
    self, Denominator, Lookup, Merge, Numerator, Opening, Products, Read, Tables,
};
use mlc_verifier::logup::LogUpError;
use mlc_verifier::transcript::ReadError;

use crate::block::LAYER;
use crate::liar::{At, Expected, Kind, PLACES, Place, Sent, all_refused, changing, counting, missed, refused};
use crate::world::{EVERYTHING, Liar, NONCES, WIDE, World};

/// A message and the error that any change of it ends in.
struct Row {
    kind: Kind,
    label: &'static str,
    at: At,
    error: Expected<VerifyError>,
}

fn row(kind: Kind, label: &'static str, error: Expected<VerifyError>) -> Row {
    at(kind, label, At::Ends, error)
}

fn at(kind: Kind, label: &'static str, at: At, error: Expected<VerifyError>) -> Row {
    Row { kind, label, at, error }
}

macro_rules! error {
    ($pattern:pat) => {
        refused!(VerifyError, $pattern)
    };
}

/// Tells every lie of a table. With `elsewhere`, every message of the honest run must have a row or be listed there.
fn tell(world: &World, rows: &[Row], elsewhere: Option<&[(Kind, &str)]>) {
    let mut sent = Sent::new();
    Liar::new(world).prove(&mut counting(&mut sent));
    for (kind, label) in sent.keys() {
        let told = rows.iter().any(|r| (r.kind, r.label) == (*kind, *label));
        assert!(
            told || elsewhere.is_none_or(|e| e.contains(&(*kind, label))),
            "no lie about {kind:?} '{label}'"
        );
    }
    let mut failures = Vec::new();
    for Row { kind, label, at, error } in rows {
        let count = sent.get(&(*kind, *label)).copied().unwrap_or(0);
        assert!(count > 0, "no such message: {kind:?} '{label}'");
        for (nth, part) in at.lies(count) {
            let outcome = Liar::new(world).outcome(&mut changing(*kind, label, nth, part));
            error.judge(&format!("{kind:?} '{label}' {nth} {part:?}"), outcome, &mut failures);
        }
    }
    all_refused(&failures);
}

#[test]
fn every_message_of_a_proof_is_bound_by_its_check() {
    bound(&EVERYTHING);
}

#[test]
fn every_message_of_a_block_is_bound_by_its_check() {
    bound(&LAYER);
}

/// The claims on cells, in the order of the equations. One without products is read at once, and its value implied.
fn cell_claims(world: &World) -> Vec<Row> {
    let equations = world.case.circuit.entries[0].equations.iter();
    let claimed = equations.filter(|q| matches!(q.left, Left::Cells(_)));
    let row = |(n, q): (usize, &Equation)| {
        let error = if q.products.is_empty() {
            error!(Tables)
        } else {
            error!(Products)
        };
        at(Kind::Ext, inference::CELL_CLAIM, At::Only(n), error)
    };
    claimed.enumerate().map(row).collect()
}

fn bound(world: &World) {
    let mut rows = cell_claims(world);
    rows.extend(match levels(world) {
        1 => one_level(),
        2 => two_levels(),
        more => panic!("no rows for {more} committed vectors in the opening"),
    });
    rows.extend([
        // Channel cells count keys and claims: fractions over a changed one no longer cancel.
        row(
            Kind::Base,
            inference::CHANNEL_CELLS,
            error!(Lookup(LogUpError::NonZeroSum)),
        ),
        row(
            Kind::Root,
            inference::WITNESS_ROOT,
            error!(Opening(Authentication { level: 0, tree: 0 })),
        ),
        row(
            Kind::Root,
            inference::CHANNELS_ROOT,
            error!(Opening(Authentication { level: 0, tree: 1 })),
        ),
        row(Kind::Ext, inference::READ_CLAIM, error!(Products)),
        row(Kind::Ext, inference::PRODUCT_ROUND, error!(Products)),
        row(Kind::Ext, inference::OPERAND_CLAIM, error!(Products)),
        row(Kind::Ext, inference::WEIGHT_CLAIM, error!(Products)),
        row(Kind::Ext, logup::CLEAR, error!(Lookup(LogUpError::NonZeroSum))),
        row(Kind::Ext, logup::ROUND, error!(Lookup(LogUpError::Layer { .. }))),
        row(Kind::Ext, logup::LAYER, error!(Lookup(LogUpError::Layer { .. }))),
        at(
            Kind::Ext,
            inference::LEAF_CLAIMS,
            At::Part(Place::First),
            error!(Denominator),
        ),
        at(
            Kind::Ext,
            inference::LEAF_CLAIMS,
            At::Part(Place::Last),
            error!(Numerator),
        ),
        row(Kind::Ext, inference::TABLE_ROUND, error!(Tables)),
        row(Kind::Ext, inference::COLUMN_CLAIM, error!(Tables)),
        row(Kind::Ext, inference::MERGE_ROUND, error!(Merge)),
        row(Kind::Ext, inference::MERGED_CELLS, error!(Merge)),
    ]);
    // Witness cells: `cells`. Nonces and opened trees: below.
    let elsewhere = [
        (Kind::Base, inference::WITNESS_CELLS),
        (Kind::Nonce, "opening positions"),
        (Kind::Opened, "opened columns"),
        (Kind::Opened, "authentication path"),
    ];
    tell(world, &rows, Some(&elsewhere));
}

/// An opening with one committed vector.
fn one_level() -> Vec<Row> {
    vec![
        row(
            Kind::Root,
            "folded root",
            error!(Opening(Authentication { level: 1, tree: 0 })),
        ),
        row(Kind::Ext, "opening round", error!(Opening(Evaluation { level: 0 }))),
        row(Kind::Ext, "folded evaluation", error!(Opening(Evaluation { level: 0 }))),
        row(
            Kind::Ext,
            "folded vector",
            error!(Opening(ClearClaim { level: 1, claim: 0 })),
        ),
        row(
            Kind::Ext,
            "clear vector",
            error!(Opening(ClearClaim { level: 1, claim: 0 })),
        ),
    ]
}

/// An opening with two.
fn two_levels() -> Vec<Row> {
    vec![
        at(
            Kind::Root,
            "folded root",
            At::Nth(0),
            error!(Opening(Authentication { level: 1, tree: 0 })),
        ),
        at(
            Kind::Root,
            "folded root",
            At::Nth(1),
            error!(Opening(Authentication { level: 2, tree: 0 })),
        ),
        at(
            Kind::Ext,
            "opening round",
            At::Nth(0),
            error!(Opening(Evaluation { level: 0 })),
        ),
        at(
            Kind::Ext,
            "folded evaluation",
            At::Nth(0),
            error!(Opening(Evaluation { level: 0 })),
        ),
        at(
            Kind::Ext,
            "folded evaluation",
            At::Nth(1),
            error!(Opening(Evaluation { level: 1 })),
        ),
        // Not a message, but the vector that the next level is about.
        at(
            Kind::Ext,
            "folded vector",
            At::Nth(0),
            error!(Opening(Evaluation { level: 1 })),
        ),
        at(
            Kind::Ext,
            "folded vector",
            At::Nth(1),
            error!(Opening(ClearClaim { level: 2, claim: 0 })),
        ),
        row(
            Kind::Ext,
            "clear vector",
            error!(Opening(ClearClaim { level: 2, claim: 0 })),
        ),
    ]
}

fn levels(world: &World) -> usize {
    world.schedule().opening.unwrap().levels.len()
}

#[test]
fn every_opened_tree_is_bound_by_its_root() {
    assert_eq!(
        levels(&WIDE),
        2,
        "the rows are for two committed vectors in the opening"
    );
    // Witness, channels, weights; then the vectors that they were folded into.
    let mut rows = Vec::new();
    for opened in ["opened columns", "authentication path"] {
        rows.extend([
            at(
                Kind::Opened,
                opened,
                At::Nth(0),
                error!(Opening(Authentication { level: 0, tree: 0 })),
            ),
            at(
                Kind::Opened,
                opened,
                At::Nth(1),
                error!(Opening(Authentication { level: 0, tree: 1 })),
            ),
            at(
                Kind::Opened,
                opened,
                At::Nth(2),
                error!(Opening(Authentication { level: 0, tree: 2 })),
            ),
            at(
                Kind::Opened,
                opened,
                At::Nth(3),
                error!(Opening(Authentication { level: 1, tree: 0 })),
            ),
            at(
                Kind::Opened,
                opened,
                At::Nth(4),
                error!(Opening(Authentication { level: 2, tree: 0 })),
            ),
        ]);
    }
    rows.extend(two_levels());
    tell(&WIDE, &rows, None);
}

/// What could not be read; `None` where the proof is accepted.
fn unread(outcome: Result<(), VerifyError>) -> Option<ReadError> {
    match outcome {
        Ok(()) => None,
        Err(Read(e) | Lookup(LogUpError::Read(e)) | Opening(OpeningError::Read(e))) => Some(e),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn every_nonce_must_reach_its_bits() {
    let world: &World = &NONCES;
    // The prover's label, and the verifier's name of the challenge.
    let rows = [
        ("output point", "output point"),
        ("equation batching", "equation batching"),
        (inference::PRODUCT_ROUND, "sumcheck round"),
        ("source claim batching", "source claim batching"),
        ("lookup fingerprint", "lookup fingerprint"),
        (logup::LAYER, "logup layer"),
        (logup::ROUND, "sumcheck round"),
        (inference::TABLE_ROUND, "sumcheck round"),
        ("cell claim batching", "cell claim batching"),
        (inference::MERGE_ROUND, "sumcheck round"),
        ("opening positions", "opening positions"),
        ("opening batch", "opening batch"),
        ("sumcheck round", "sumcheck round"),
    ];
    let mut sent = Sent::new();
    Liar::new(world).prove(&mut counting(&mut sent));
    for (kind, label) in sent.keys().filter(|k| k.0 == Kind::Nonce) {
        assert!(rows.iter().any(|r| r.0 == *label), "no lie about {kind:?} '{label}'");
    }
    for (label, before) in rows {
        let count = sent.get(&(Kind::Nonce, label)).copied().unwrap_or(0);
        assert!(count > 0, "no nonce '{label}'");
        for n in PLACES.map(|p| p.of(count)) {
            let before_it = missed(label, n, |tamper| unread(Liar::new(world).outcome(tamper)));
            assert_eq!(before_it, before, "nonce {n} of '{label}'");
        }
    }
}

#[test]
fn a_proof_has_one_encoding() {
    let world: &World = &EVERYTHING;
    let proof = Liar::new(world).prove(&mut Honest);
    let verify = |proof: &[u8]| world.loaded.verify(&world.statement, proof);
    let len = proof.len();
    for cut in [0, 31, 32, 33, len / 3, len / 2, len - 1] {
        let read = unread(verify(&proof[..cut]));
        assert!(
            matches!(read, Some(ReadError::Truncated { .. })),
            "{cut} of {len} bytes: {read:?}"
        );
    }
    let longer = [&proof[..], &[0]].concat();
    assert_eq!(verify(&longer), Err(Read(ReadError::Trailing { extra: 1 })));
    // The first field element, after the root of the witness, as itself plus p.
    let mut other = proof.clone();
    let value = u32::from_le_bytes([proof[32], proof[33], proof[34], proof[35]]);
    other[32..36].copy_from_slice(&(value + mlc_verifier::field::P).to_le_bytes());
    assert_eq!(verify(&other), Err(Read(ReadError::NonCanonical { at: 32 })));
}
