//! Chains of proofs with a cache: honest ones verify and say what one run would, and every way of breaking one is refused.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use mlc_circuit::chain::MAX_LINKS;
use mlc_circuit::check::{CheckError, check};
use mlc_circuit::{Access, AxisMap, CellTree, Circuit, FormSource, InstanceError, Label, Len, Operand, Product};
use mlc_runtime::backend::Backend;
use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::backend::naive::Naive;
use mlc_runtime::exec::{Appended, execute, execute_after, execute_reference};
use mlc_runtime::prove::{Chain, prove, prove_link};
use mlc_runtime::prover::channel::{Honest, Tamper};
use mlc_runtime::prover::inference::{self, CommittedCache, label};
use mlc_runtime::prover::vector::CommittedVector;
use mlc_runtime::setup::{ProvingKey, setup};
use mlc_runtime::testing::{self, Activation, Builder, Case, plain};
use mlc_verifier::chain::{ChainError, ChainFile, Link, joined};
use mlc_verifier::field::{M31, QM31};
use mlc_verifier::inference::VerifyError;
use mlc_verifier::key::{FileError, LoadedKey};
use mlc_verifier::proof_file::{ProofFile, ProofFileError};
use mlc_verifier::security::{FLOOR_BITS, Parameters, Schedule};
use mlc_verifier::statement::{Cache, Piece, Statement, StatementError};
use num_traits::One;

const MOST: u32 = 9;

/// A case that reads `MOST` tokens at once, with what a verifier has.
struct World {
    case: Case,
    loaded: LoadedKey,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let case = testing::cached_attention(1, MOST, MOST, 5, 6);
    check(&case.circuit).unwrap();
    let loaded = proving_key(&case).loaded;
    World { case, loaded }
});

fn proving_key(case: &Case) -> ProvingKey<Cpu> {
    setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default()).unwrap()
}

/// The tokens of each link. One sequence of `batch` one, so that positions are consecutive.
fn cut(case: &Case, links: &[u32]) -> Vec<Vec<i32>> {
    let mut rest = &case.inputs[0][..];
    let parts = links.iter().map(|&n| {
        let (own, after) = rest.split_at(n as usize);
        rest = after;
        own.to_vec()
    });
    parts.collect()
}

fn chain<B: Backend>(backend: &B, key: &ProvingKey<B>, case: &Case, links: &[u32]) -> ChainFile {
    let mut carried = Chain::default();
    let parts = cut(case, links);
    let proved = links.iter().zip(parts).map(|(&n, ids)| {
        let file = prove_link(backend, key, 0, &[n, 0], &[ids], &mut carried).unwrap().file;
        Link {
            statement: file.statement,
            proof: file.proof,
        }
    });
    ChainFile {
        links: proved.collect(),
        key: key.loaded.fingerprint,
    }
}

/// A chain of three links, 4 + 2 + 3 tokens.
static HONEST: LazyLock<ChainFile> = LazyLock::new(|| chain(&Cpu, &proving_key(&WORLD.case), &WORLD.case, &[4, 2, 3]));

#[test]
fn links_say_what_one_run_says() {
    let world = &*WORLD;
    let key = proving_key(&world.case);
    let instance = world.case.circuit.instantiate(0, &[MOST, 0]).unwrap();
    let whole = execute(&instance, &world.case.weights, &world.case.inputs).unwrap();
    for links in [&[9][..], &[4, 2, 3], &[1, 8], &[8, 1], &[1, 1, 1, 1, 1, 1, 1, 1, 1]] {
        let file = chain(&Cpu, &key, &world.case, links);
        let bits = world.loaded.verify_chain(&file).unwrap();
        assert!(bits > 100.0, "{links:?}: {bits}");
        let outputs: Vec<i32> = file.links.iter().flat_map(|l| l.statement.outputs[0].clone()).collect();
        assert_eq!(outputs, whole.outputs[0], "{links:?}");
    }
}

#[test]
fn both_backends_make_the_same_chain() {
    let case = testing::cached_attention(2, 5, 7, 3, 5);
    let run = |links: &[u32]| {
        // Two sequences: each link's input has rows for both.
        let rows: Vec<&[i32]> = case.inputs[0].chunks(5).collect();
        let mut at = 0;
        let parts = links.iter().map(|&n| {
            let own: Vec<i32> = rows.iter().flat_map(|r| r[at..at + n as usize].to_vec()).collect();
            at += n as usize;
            own
        });
        parts.collect::<Vec<_>>()
    };
    let parts = run(&[3, 2]);
    let naive = {
        let key = setup(&Naive, &case.circuit, case.weights.clone(), Parameters::default()).unwrap();
        let mut carried = Chain::default();
        let each = parts.iter().zip([3, 2]);
        each.map(|(ids, n)| {
            prove_link(&Naive, &key, 0, &[n, 0], std::slice::from_ref(ids), &mut carried)
                .unwrap()
                .file
        })
        .collect::<Vec<_>>()
    };
    let key = proving_key(&case);
    let mut carried = Chain::default();
    for ((ids, n), expected) in parts.iter().zip([3, 2]).zip(naive) {
        let file = prove_link(&Cpu, &key, 0, &[n, 0], std::slice::from_ref(ids), &mut carried)
            .unwrap()
            .file;
        assert_eq!(file, expected);
    }
}

#[test]
fn evaluators_agree_and_a_joined_cache_is_the_same_cache() {
    let case = &WORLD.case;
    let run = |ids: &[i32], earlier: &[Appended]| {
        let links: Vec<u32> = earlier.iter().map(|a| a.len).collect();
        let dims = [ids.len() as u32, links.iter().sum()];
        let instance = case.circuit.instantiate_link(0, &dims, &links).unwrap();
        let fast = execute_after(&instance, &case.weights, &[ids.to_vec()], earlier).unwrap();
        let slow = execute_reference(&instance, &case.weights, &[ids.to_vec()], earlier).unwrap();
        assert_eq!(fast, slow);
        let appended = fast.appended(&instance).unwrap();
        (fast.outputs, appended)
    };
    let ids = &case.inputs[0];
    let (_, a) = run(&ids[..4], &[]);
    let (_, b) = run(&ids[4..6], std::slice::from_ref(&a));
    let (expected, _) = run(&ids[6..], &[a.clone(), b.clone()]);
    let joined = Appended::joined(&case.circuit, 0, &[1, 0], &[a, b]).unwrap();
    let (found, _) = run(&ids[6..], std::slice::from_ref(&joined));
    assert_eq!(found, expected);
    let (_, whole) = run(&ids[..6], &[]);
    assert_eq!(joined, whole);
    assert_eq!(Appended::joined(&case.circuit, 1, &[1, 0], &[whole]), None);
}

#[test]
fn a_chain_file_has_one_encoding() {
    let file = &*HONEST;
    let bytes = file.encode();
    assert!(ChainFile::is_one(&bytes));
    assert_eq!(ChainFile::decode(&bytes).as_ref(), Ok(file));
    for end in [0, 7, 8, 11, bytes.len() - 1] {
        assert!(ChainFile::decode(&bytes[..end]).is_err());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(ChainFile::decode(&longer), Err(ProofFileError::Corrupted));
    let mut version = bytes;
    version[8] = 9;
    assert_eq!(
        ChainFile::decode(&version),
        Err(ProofFileError::ChainVersion { found: 9 })
    );
    assert_eq!(ChainFile::decode(b"{}"), Err(ProofFileError::Magic));
}

fn refused(change: impl FnOnce(&mut ChainFile)) -> ChainError {
    let mut file = HONEST.clone();
    change(&mut file);
    WORLD.loaded.verify_chain(&file).unwrap_err()
}

#[test]
fn links_that_are_no_chain_are_refused() {
    // Out of order, left out, repeated, cut off at the front, none, too many.
    assert_eq!(refused(|f| f.links.swap(0, 1)), ChainError::Piece { link: 0, piece: 0 });
    assert_eq!(refused(|f| f.links.swap(1, 2)), ChainError::Piece { link: 1, piece: 1 });
    assert_eq!(
        refused(|f| drop(f.links.remove(1))),
        ChainError::Piece { link: 1, piece: 1 }
    );
    assert_eq!(
        refused(|f| drop(f.links.remove(0))),
        ChainError::Piece { link: 0, piece: 0 }
    );
    assert_eq!(
        refused(|f| f.links.insert(1, f.links[1].clone())),
        ChainError::Piece { link: 2, piece: 1 }
    );
    assert_eq!(refused(|f| f.links.clear()), ChainError::Links { links: 0 });
    assert_eq!(
        refused(|f| f.links = vec![f.links[0].clone(); 300]),
        ChainError::Links { links: 300 }
    );
    assert!(matches!(refused(|f| f.key[0] ^= 1), ChainError::OtherKey { .. }));
    // A link of another chain, whose first tokens differ.
    let mut other = WORLD.case.clone();
    other.inputs[0][0] = (other.inputs[0][0] + 1) % 5;
    let other = chain(&Cpu, &proving_key(&other), &other, &[4, 2, 3]);
    assert_eq!(
        refused(|f| f.links[1] = other.links[1].clone()),
        ChainError::Piece { link: 1, piece: 0 }
    );
    // The first link of another chain: the pieces that the second names are not its.
    assert_eq!(
        refused(|f| f.links[0] = other.links[0].clone()),
        ChainError::Piece { link: 1, piece: 0 }
    );
    // Another entry, and other dimensions, are another run.
    assert_eq!(refused(|f| f.links[1].statement.entry = 1), ChainError::Run { link: 1 });
    assert_eq!(
        refused(|f| f.links[1].statement.dims.truncate(1)),
        ChainError::Run { link: 1 }
    );
    assert_eq!(
        refused(|f| f.links[2].statement.cache = None),
        ChainError::NoCache { link: 2 }
    );
}

#[test]
fn a_later_link_alone_is_refused_as_a_proof() {
    let link = HONEST.links[1].clone();
    let file = ProofFile {
        key: WORLD.loaded.fingerprint,
        statement: link.statement,
        proof: link.proof,
    };
    assert_eq!(WORLD.loaded.verify_file(&file), Err(FileError::Link { link: 1 }));
    // The first link is a proof by itself.
    let link = HONEST.links[0].clone();
    let first = ProofFile {
        statement: link.statement,
        proof: link.proof,
        ..file
    };
    assert_eq!(WORLD.loaded.verify_file(&first), Ok(()));
}

#[test]
fn a_changed_statement_of_the_cache_is_refused() {
    let proof = |change: fn(&mut Statement)| {
        let mut link = HONEST.links[2].clone();
        change(&mut link.statement);
        WORLD.loaded.verify(&link.statement, &link.proof).unwrap_err()
    };
    assert_eq!(
        proof(|s| s.cache = None),
        VerifyError::Instance(InstanceError::Links {
            links: 0,
            sum: 0,
            past: 6
        })
    );
    // Roots: of a piece, of what is appended, and two pieces exchanged.
    for change in [
        |s: &mut Statement| s.cache.as_mut().unwrap().read[0].root[3] ^= 1,
        |s: &mut Statement| s.cache.as_mut().unwrap().read[1].root[31] ^= 0x80,
        |s: &mut Statement| s.cache.as_mut().unwrap().appended[0] ^= 1,
        |s: &mut Statement| s.cache.as_mut().unwrap().read.swap(0, 1),
        |s: &mut Statement| {
            let read = &mut s.cache.as_mut().unwrap().read;
            (read[0].len, read[1].len) = (3, 3);
        },
    ] {
        let error = proof(change);
        assert!(
            !matches!(error, VerifyError::Instance(_) | VerifyError::Statement(_)),
            "{error}"
        );
    }
    // Lengths that do not add up, an empty piece, a past that is not theirs.
    let links = |links, sum, past| VerifyError::Instance(InstanceError::Links { links, sum, past });
    assert_eq!(proof(|s| s.cache.as_mut().unwrap().read[0].len = 5), links(2, 7, 6));
    assert_eq!(proof(|s| s.dims[1] = 5), links(2, 6, 5));
    assert_eq!(
        proof(|s| {
            let root = s.cache.as_ref().unwrap().appended;
            s.cache.as_mut().unwrap().read.push(Piece { len: 0, root });
        }),
        links(3, 6, 6)
    );
    assert_eq!(
        proof(|s| s.cache.as_mut().unwrap().read[0].len = u32::MAX),
        links(2, u64::from(u32::MAX) + 2, 6)
    );
    let beyond = VerifyError::Instance(InstanceError::Context {
        name: "tokens".into(),
        past: 6,
        tokens: 4,
        max: MOST,
    });
    assert_eq!(proof(|s| s.dims[0] = 4), beyond);
    // A cache where the entry has none is refused as one that is missing.
    let plain = testing::linear_relu(3, 20, 17, 10);
    let key = proving_key(&plain);
    let proved = prove(&Cpu, &key, 0, &plain.dims, &plain.inputs).unwrap();
    let mut statement = proved.file.statement.clone();
    statement.cache = Some(Cache {
        read: Vec::new(),
        appended: [0; 32],
    });
    assert_eq!(
        key.loaded.verify(&statement, &proved.file.proof),
        Err(VerifyError::Statement(StatementError::Cache))
    );
}

/// What a lying prover of the third link has.
struct Liar {
    earlier: Vec<Appended>,
    vectors: Vec<CommittedVector<Cpu>>,
    ids: Vec<i32>,
    key: ProvingKey<Cpu>,
}

impl Liar {
    fn new() -> Self {
        let case = &WORLD.case;
        let mut liar = Self {
            key: proving_key(case),
            earlier: Vec::new(),
            vectors: Vec::new(),
            ids: cut(case, &[4, 2, 3]).pop().unwrap(),
        };
        for ids in &cut(case, &[4, 2]) {
            let (appended, vector) = liar.link(ids);
            liar.earlier.push(appended);
            liar.vectors.push(vector);
        }
        liar
    }

    fn links(&self) -> Vec<u32> {
        self.earlier.iter().map(|a| a.len).collect()
    }

    fn link(&self, ids: &[i32]) -> (Appended, CommittedVector<Cpu>) {
        let case = &WORLD.case;
        let links = self.links();
        let dims = [ids.len() as u32, links.iter().sum()];
        let instance = case.circuit.instantiate_link(0, &dims, &links).unwrap();
        let schedule = Schedule::new(&instance, &Parameters::default()).unwrap();
        let execution = execute_after(&instance, &case.weights, &[ids.to_vec()], &self.earlier).unwrap();
        let vector = inference::commit_appended(&Cpu, &instance, &schedule, &execution, &mut Honest).unwrap();
        (execution.appended(&instance).unwrap(), vector)
    }

    /// What the verifier says of the third link, whose statement names the roots of the liar's vectors. `before` tampers with
    /// what is appended before its commitment, `tamper` with the messages.
    fn outcome(&self, before: &mut dyn Tamper, tamper: &mut dyn Tamper) -> Result<(), VerifyError> {
        let (case, key) = (&WORLD.case, &self.key);
        let links = self.links();
        let dims = [self.ids.len() as u32, links.iter().sum()];
        let instance = case.circuit.instantiate_link(0, &dims, &links).unwrap();
        let schedule = Schedule::new(&instance, &key.loaded.params).unwrap();
        let inputs = [self.ids.clone()];
        let execution = execute_after(&instance, &case.weights, &inputs, &self.earlier).unwrap();
        let appended = inference::commit_appended(&Cpu, &instance, &schedule, &execution, before);
        let cache = CommittedCache {
            appended: appended.as_ref(),
            earlier: &self.vectors,
        };
        let statement = inference::statement(&instance, &inputs, &execution, cache.statement(&instance));
        let weights = key.committed();
        let digest = &key.loaded.digest;
        let proof = inference::prove(
            &Cpu, &instance, &schedule, digest, &weights, &cache, &statement, &execution, tamper, None,
        );
        key.loaded.verify(&statement, &proof)
    }
}

/// Adds one to the first or last number of a message.
struct Bump {
    label: &'static str,
    last: bool,
}

impl Tamper for Bump {
    fn base(&mut self, label: &str, values: &mut [M31]) {
        if label == self.label {
            let at = if self.last { values.len() - 1 } else { 0 };
            values[at] += M31::one();
        }
    }
    fn ext(&mut self, label: &str, values: &mut [QM31]) {
        if label == self.label {
            let at = if self.last { values.len() - 1 } else { 0 };
            values[at] += QM31::one();
        }
    }
}

#[test]
fn lies_about_the_cache_are_refused() {
    assert_eq!(Liar::new().outcome(&mut Honest, &mut Honest), Ok(()));
    // What is appended is not what the equation gives.
    for last in [false, true] {
        let mut bump = Bump {
            label: label::APPENDED_CELLS,
            last,
        };
        let found = Liar::new().outcome(&mut bump, &mut Honest);
        assert!(matches!(found, Err(VerifyError::Lookup(_))), "{found:?}");
    }
    // The prover computes with another cell of a piece than the one that is committed: of each piece, keys and values.
    for (piece, state) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut liar = Liar::new();
        let cells = &mut liar.earlier[piece].cells[state];
        cells[2] = if cells[2] > 0 { cells[2] - 1 } else { 1 };
        let error = liar.outcome(&mut Honest, &mut Honest).unwrap_err();
        assert!(
            matches!(error, VerifyError::Denominator | VerifyError::Lookup(_)),
            "{error}"
        );
    }
    // The statement names, and the prover opens, what other tokens would have appended.
    let mut other = Liar::new();
    (other.earlier, other.vectors) = (Vec::new(), Vec::new());
    let mut liar = Liar::new();
    liar.vectors[0] = other.link(&[4, 4, 0, 1]).1;
    let error = liar.outcome(&mut Honest, &mut Honest).unwrap_err();
    assert!(
        matches!(error, VerifyError::Denominator | VerifyError::Lookup(_)),
        "{error}"
    );
    // A value of a vector at the end of the merge.
    for last in [false, true] {
        let mut bump = Bump {
            label: label::MERGED_CELLS,
            last,
        };
        assert_eq!(Liar::new().outcome(&mut Honest, &mut bump), Err(VerifyError::Merge));
    }
}

/// Rules of circuits that grow, each broken.
#[test]
fn circuits_that_grow_wrongly_are_refused() {
    fn segment<'c>(c: &'c mut Circuit, name: &str) -> &'c mut mlc_circuit::Segment {
        c.entries[0]
            .segments
            .iter_mut()
            .find(|s| s.name.starts_with(name))
            .unwrap()
    }
    type Break = (&'static str, fn(&mut Circuit));
    let breaks: [Break; 10] = [
        ("without a dimension", |c| c.dims[1].before = None),
        ("unknown dimension of what", |c| c.dims[1].before = Some(7)),
        ("unknown dimension of what", |c| c.dims[1].before = Some(1)),
        ("one dimension of what", |c| c.dims[0].before = Some(1)),
        ("range check", |c| segment(c, "keys").ranged = false),
        ("along an axis of what", |c| segment(c, "keys").grows = Some(2)),
        ("along an axis of what", |c| segment(c, "keys").grows = Some(200)),
        ("private input, or compared", |c| {
            let id = c.entries[0]
                .segments
                .iter()
                .position(|s| s.name.starts_with("keys"))
                .unwrap();
            let site = &mut c.entries[0].sites[0];
            site.index[1].source = FormSource::Segment(id as u16);
        }),
        ("one index", |c| {
            let scores = c.entries[0]
                .equations
                .iter_mut()
                .find(|q| q.name.starts_with("mix"))
                .unwrap();
            if let Operand::Reads(reads) = &mut scores.products[0].b {
                reads[0].access.axes[1] = AxisMap::Before { iter: 3 };
            }
        }),
        ("unknown run-time dimension", |c| {
            let turned = c.entries[0]
                .equations
                .iter_mut()
                .find(|q| q.name.starts_with("queries"))
                .unwrap();
            if let Operand::Reads(reads) = &mut turned.products[0].b
                && let AxisMap::From { dim, .. } = &mut reads[0].access.axes[0]
            {
                *dim = 9;
            }
        }),
    ];
    for (expected, change) in breaks {
        let mut circuit = WORLD.case.circuit.clone();
        change(&mut circuit);
        let error = check(&circuit).unwrap_err();
        assert!(matches!(error, CheckError::Malformed { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{expected}: {error}");
    }
    // Positions are bounded by past and tokens together, not one by one.
    let mut circuit = WORLD.case.circuit.clone();
    circuit.dims[1].max += 1;
    let error = check(&circuit).unwrap_err().to_string();
    assert!(error.contains("longer than the weight's"), "{error}");
    let most = Len::dim(0).plus(&Len::dim(1)).most(&WORLD.case.circuit.dims);
    assert_eq!(most, u64::from(MOST));
}

/// Every segment of it grows: there is no tree of the witness, and the lookups run all the same.
#[test]
fn an_entry_of_growing_cells_alone_is_proved() {
    let mut b = Builder::new("remembers", 3);
    let tokens = b.dim("tokens", 6);
    let past = b.past(&tokens, 6);
    let whole = past.plus(&tokens).sorted();
    let rows = b.dim("batch", 3);
    let axes = [rows.clone(), tokens.clone(), Len::fixed(3)];
    let x = b.input("x", &axes, 0, 15);
    let kept = b.requant("kept", &axes, vec![plain(x.whole())], vec![], Activation::Clamp(15));
    b.grow(&kept, 1);
    let product = Product {
        coefficient: 1,
        shared: vec![0],
        group: vec![Len::fixed(3)],
        a: Operand::Reads(vec![x.read(1, Access::axes(&[0, 1, 3]))]),
        b: Operand::Reads(vec![kept.read(1, Access::axes(&[0, 2, 3]))]),
    };
    b.output("y", &[rows, tokens, whole], vec![], vec![product], Label::None);
    let case = Case::new(b, &[2, 0, 2]);
    check(&case.circuit).unwrap();
    let instance = case.circuit.instantiate(0, &case.dims).unwrap();
    assert!(
        instance.vectors.iter().all(|v| v.tree != CellTree::Witness),
        "{:?}",
        instance.vectors
    );

    let key = proving_key(&case);
    let mut carried = Chain::default();
    let link = |carried: &mut Chain<Cpu>, dims: &[u32], ids: Vec<i32>| {
        let file = prove_link(&Cpu, &key, 0, dims, &[ids], carried).unwrap().file;
        Link {
            statement: file.statement,
            proof: file.proof,
        }
    };
    let links = vec![
        link(&mut carried, &[2, 0, 2], (0..12).collect()),
        link(&mut carried, &[1, 0, 2], (3..9).collect()),
    ];
    let file = ChainFile {
        key: key.loaded.fingerprint,
        links,
    };
    key.loaded.verify_chain(&file).unwrap();
    // What a link says of the cache is not what a whole run would: its outputs do not join.
    let statements: Vec<&Statement> = file.links.iter().map(|l| &l.statement).collect();
    assert_eq!(joined(&case.circuit, &statements), None);
    // Any output that is not the product's.
    for link in [0, 1] {
        let mut bad = file.clone();
        bad.links[link].statement.outputs[0][1] += 1;
        assert!(matches!(key.loaded.verify_chain(&bad), Err(ChainError::Proof { .. })));
    }
    // Links of other batches are of other runs.
    let other = link(&mut Chain::default(), &[2, 0, 1], (0..6).collect());
    let mut bad = file.clone();
    bad.links[0] = other;
    assert_eq!(key.loaded.verify_chain(&bad), Err(ChainError::Run { link: 1 }));
}

/// The longest chain, of the shortest links, reaches the floor by its schedules alone.
#[test]
fn the_longest_chain_has_bits_enough() {
    let case = testing::cached_attention(1, 1, 1 << 9, 5, 6);
    let mut error = 0.0;
    for past in 0..=MAX_LINKS {
        let links = vec![1; past];
        let instance = case.circuit.instantiate_link(0, &[1, past as u32], &links).unwrap();
        let schedule = Schedule::new(&instance, &Parameters::default()).unwrap();
        error += (-schedule.total_bits()).exp2();
    }
    assert!(-error.log2() >= FLOOR_BITS, "{}", -error.log2());
    let links = [1; MAX_LINKS + 1];
    let past = links.len() as u32;
    assert!(matches!(
        case.circuit.instantiate_link(0, &[1, past], &links),
        Err(InstanceError::Links { .. })
    ));
}
