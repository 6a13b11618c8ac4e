//! Hostile bytes: ten thousand byte flips and truncations of a valid proof, proof file and key. Every one is refused or
//! harmless, none panics, and none costs more time or memory than a small multiple of the honest bytes.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use mlc_circuit::{check, format};
use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::prove::prove;
use mlc_runtime::setup::setup;
use mlc_runtime::testing::{self, Rng};
use mlc_verifier::key::{self, Key, LoadedKey};
use mlc_verifier::proof_file::{self, ProofFile};
use mlc_verifier::security::Parameters;

/// Counts the bytes that this thread holds, and their peak.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn hold(bytes: isize) {
    // A thread that is ending has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is passed on to the system allocator as it came; the counters are plain thread-local cells.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        hold(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        hold(-(layout.size() as isize));
        // SAFETY: the caller keeps the contract of `dealloc`; the pointer came from the system allocator.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result of `f`, its time, and the most bytes that it held beyond what was held before.
fn measured<T>(f: impl FnOnce() -> T) -> (T, Duration, usize) {
    let before = HELD.with(Cell::get);
    PEAK.with(|p| p.set(before));
    let start = Instant::now();
    let result = f();
    let time = start.elapsed();
    (result, time, (PEAK.with(Cell::get) - before) as usize)
}

/// Damages bytes: one to four flips, or a cut, or both.
fn damage(rng: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let kind = rng.len(0, 7);
    if kind == 0 {
        out.truncate(rng.len(0, bytes.len() - 1));
    }
    if kind != 0 || rng.once_in(2) {
        for _ in 0..rng.len(1, 4) {
            if !out.is_empty() {
                let at = rng.len(0, out.len() - 1);
                out[at] ^= rng.len(1, 255) as u8;
            }
        }
    }
    out
}

/// Judges `count` damaged versions of `bytes`: `accept` gives true for those that pass. None may pass but the honest
/// bytes, and each costs at most `times` the honest time and memory (plus what a small circuit could need anyway).
fn survive(name: &str, count: usize, bytes: &[u8], accept: impl Fn(&[u8]) -> bool) {
    let (honest, time, peak) = measured(|| accept(bytes));
    assert!(honest, "{name}: the honest bytes");
    let mut rng = Rng::new(17);
    let (mut slowest, mut largest, mut accepted) = (Duration::ZERO, 0, 0);
    for _ in 0..count {
        let other = damage(&mut rng, bytes);
        let (passed, time, peak) = measured(|| accept(&other));
        slowest = slowest.max(time);
        largest = largest.max(peak);
        accepted += usize::from(passed && other != bytes);
    }
    assert_eq!(accepted, 0, "{name}: damaged bytes that pass");
    // Time is that of a busy machine; a bound that an algorithm gone wild would still pass by far.
    let most = 20 * time + Duration::from_secs(2);
    assert!(slowest <= most, "{name}: {slowest:?}, the honest bytes take {time:?}");
    assert!(
        largest <= 2 * peak + (1 << 20),
        "{name}: {largest} bytes held, the honest ones need {peak}"
    );
}

struct Honest {
    key: Vec<u8>,
    loaded: LoadedKey,
    file: ProofFile,
}

fn honest() -> Honest {
    let case = testing::conv_max_pool(2, 1, 6, 3);
    let key = setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default()).unwrap();
    let loaded = key.key.load().unwrap();
    let file = prove(&Cpu, &key, 0, &case.dims, &case.inputs).unwrap().file;
    Honest {
        key: key.key.encode(),
        loaded,
        file,
    }
}

#[test]
fn damaged_proofs_are_refused() {
    let Honest { loaded, file, .. } = honest();
    survive("proof", 10_000, &file.proof, |proof| {
        loaded.verify(&file.statement, proof).is_ok()
    });
}

#[test]
fn damaged_proof_files_are_refused() {
    let Honest { loaded, file, .. } = honest();
    let bytes = file.encode();
    let accept = |bytes: &[u8]| {
        ProofFile::decode(bytes).is_ok_and(|f| {
            assert_eq!(f.encode(), bytes, "an encoding that is not canonical");
            loaded.verify_file(&f).is_ok()
        })
    };
    survive("proof file", 10_000, &bytes, accept);
    // The statement is a small part of the file: damage it alone, too.
    let head = bytes.len() - file.proof.len();
    survive("statement", 2_000, &bytes[..head], |part| {
        accept(&[part, &bytes[head..]].concat())
    });
}

#[test]
fn damaged_keys_are_refused() {
    let Honest { key, loaded, file } = honest();
    let load = |bytes: &[u8]| Key::decode(bytes).ok().and_then(|k| k.load().ok());
    // A damaged setup proof is refused, and so is a circuit or a root that it was not made for.
    survive("key", 3_000, &key, |bytes| load(bytes).is_some());
    // The parts before the setup proof are what hostile lengths and dimensions would be in.
    let decoded = Key::decode(&key).unwrap();
    let head = key.len() - decoded.setup_proof.len();
    survive("key without its proof", 3_000, &key[..head], |part| {
        load(&[part, &key[head..]].concat()).is_some()
    });
    assert_eq!(loaded.verify(&file.statement, &file.proof), Ok(()));
}

/// Another circuit may come out of damage; then it is checked and laid out without a panic, in bounded time and memory.
#[test]
fn damaged_circuits_are_checked() {
    let case = testing::conv_max_pool(2, 1, 6, 3);
    let bytes = format::encode(&case.circuit);
    survive("circuit", 5_000, &bytes, |bytes| {
        let Ok(circuit) = format::decode(bytes) else {
            return false;
        };
        assert_eq!(format::encode(&circuit), bytes, "an encoding that is not canonical");
        if check::check(&circuit).is_ok() {
            let _ = circuit.instantiate(0, &vec![1; circuit.dims.len()]);
        }
        circuit == case.circuit
    });
}

#[test]
fn noise_is_refused() {
    let Honest { loaded, file, .. } = honest();
    let mut rng = Rng::new(4);
    for len in [0, 1, 31, 32, 33, 100, 10_000, 1 << 20] {
        for byte in [0, 0x7f, 0x80, 0xff] {
            let noise: Vec<u8> = match byte {
                0x80 => (0..len).map(|_| rng.len(0, 255) as u8).collect(),
                b => vec![b; len],
            };
            assert!(loaded.verify(&file.statement, &noise).is_err());
            assert!(Key::decode(&noise).is_err() && ProofFile::decode(&noise).is_err());
            let framed = |magic: &[u8], version: u32| [magic, &version.to_le_bytes(), &noise].concat();
            // Verified under the key whatever name it carries.
            assert!(
                ProofFile::decode(&framed(proof_file::MAGIC, proof_file::VERSION))
                    .map_or(true, |f| loaded.verify(&f.statement, &f.proof).is_err())
            );
            assert!(Key::decode(&framed(key::MAGIC, key::VERSION)).map_or(true, |k| k.load().is_err()));
        }
    }
}
