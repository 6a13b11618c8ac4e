//! Stages of a proof that can be left out when their outcome is known.
//!
//! A prover is a function of key, statement and transcript. So the outcome of a stage (the messages that it sent, and what it
//! left for later stages) may be kept under the stage's name and the state of the transcript at its beginning, and a later run
//! that reaches the same state may take it instead of the work. It sends the same messages, and the proof is the same to the byte.

use mlc_verifier::field::{M31, QM31};
use mlc_verifier::transcript::Hash;

/// Keeps outcomes of stages.
pub trait Journal {
    /// The outcome of a stage that began at this state of the transcript.
    fn get(&mut self, stage: &'static str, state: &Hash) -> Option<Vec<u8>>;

    /// Keeps the outcome of a stage.
    fn put(&mut self, stage: &'static str, state: &Hash, outcome: &[u8]);
}

/// What can be kept.
pub trait Kept: Sized {
    /// Appends its bytes.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes it from the front of bytes; `None` where they are cut short or of something else.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

impl Kept for u32 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(Self::from_le_bytes(*first))
    }
}

impl Kept for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(Self::from_le_bytes(*first))
    }
}

impl Kept for u8 {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        Some(*first)
    }
}

impl Kept for i32 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        u32::read(bytes).map(|v| v as i32)
    }
}

impl Kept for M31 {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        u32::read(bytes).filter(|&v| v < mlc_verifier::field::P).map(Self)
    }
}

impl Kept for QM31 {
    fn write(&self, out: &mut Vec<u8>) {
        self.to_m31_array().iter().for_each(|l| l.write(out));
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut limb = || M31::read(bytes);
        Some(Self::from_m31(limb()?, limb()?, limb()?, limb()?))
    }
}

impl<A: Kept, B: Kept> Kept for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?))
    }
}

impl<T: Kept> Kept for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        (self.len() as u64).write(out);
        self.iter().for_each(|v| v.write(out));
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let len = u64::read(bytes)?;
        // Every element takes a byte at least.
        let len = usize::try_from(len).ok().filter(|&n| n <= bytes.len())?;
        (0..len).map(|_| T::read(bytes)).collect()
    }
}

/// All of some bytes.
pub fn read_all<T: Kept>(mut bytes: &[u8]) -> Option<T> {
    let value = T::read(&mut bytes)?;
    bytes.is_empty().then_some(value)
}
