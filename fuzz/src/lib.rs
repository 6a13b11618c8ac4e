//! What targets share that edit honest files.

use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::setup::{ProvingKey, setup};
use mlc_runtime::testing::Case;
use mlc_verifier::security::Parameters;

/// The proving key of a case.
pub fn honest_key(case: &Case) -> ProvingKey<Cpu> {
    setup(&Cpu, &case.circuit, case.weights.clone(), Parameters::default()).expect("a key")
}

/// An honest file with the fuzzer's edits, so that the fuzzer begins behind the magic: four bytes of position and one to
/// xor each; a last odd byte cuts the file. And the edits themselves, without what is left over.
pub fn edited<'e>(honest: &[u8], edits: &'e [u8]) -> (Vec<u8>, &'e [u8]) {
    let mut bytes = honest.to_vec();
    let (edits, rest) = edits.as_chunks::<5>();
    for [a, b, c, d, flip] in edits {
        let at = u32::from_le_bytes([*a, *b, *c, *d]) as usize % bytes.len();
        bytes[at] ^= flip;
    }
    if let [cut, ..] = rest {
        bytes.truncate(bytes.len() * usize::from(*cut) / 256);
    }
    (bytes, edits.as_flattened())
}
