//! Fiat-Shamir transcript over Blake2s, and the proof as the ordered list of what the prover sent.
//!
//! A proof has no structure of its own: it is the concatenation of the prover's messages in protocol order, each of
//! a size that circuit, key and dimensions determine. [`Channel`] is the verifier's end: receiving a message reads
//! it from the proof *and* absorbs it, so nothing can be read without being bound. The prover's end (crate
//! `mlc-runtime`) writes and absorbs the same bytes. One encoding exists for every message: field elements are
//! 4-byte little-endian integers below p.
//!
//! The state is one Blake2s digest. `absorb` maps it to `H(0 ‖ state ‖ len ‖ bytes)`; the i-th challenge block after
//! an absorption is `H(1 ‖ state ‖ i)`; a nonce is accepted when `H(2 ‖ state ‖ bits ‖ nonce)` starts with `bits`
//! zero bits, and is then absorbed.

use alloc::vec::Vec;

use stwo::core::vcs::blake2_hash::Blake2sHasher;

use crate::field::{M31, P, QM31};

/// A Blake2s digest.
pub type Hash = [u8; 32];

/// Why bytes could not be taken as the next prover message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The proof ends inside a message.
    #[error("the proof is truncated at byte {at}")]
    Truncated {
        /// Offset at which more bytes were expected.
        at: usize,
    },
    /// A field element is not below p.
    #[error("the proof has a non-canonical field element at byte {at}")]
    NonCanonical {
        /// Offset of the element.
        at: usize,
    },
    /// Bytes follow the last message.
    #[error("{extra} bytes follow the end of the proof")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// A proof-of-work nonce does not reach its number of bits.
    #[error("the proof-of-work nonce before '{before}' has fewer than {bits} bits")]
    ProofOfWork {
        /// The challenge that the nonce protects.
        before: &'static str,
        /// The bits asked for.
        bits: u32,
    },
}

/// The Fiat-Shamir state, shared by prover and verifier.
#[derive(Clone, Debug)]
pub struct Transcript {
    state: Hash,
    draws: u64,
}

impl Transcript {
    /// A transcript bound to a protocol name and version.
    pub fn new(domain: &[u8]) -> Self {
        let mut t = Self {
            state: [0; 32],
            draws: 0,
        };
        t.absorb(domain);
        t
    }

    /// Binds `bytes`, with their length, to every later challenge.
    pub fn absorb(&mut self, bytes: &[u8]) {
        let mut h = Blake2sHasher::new();
        h.update(&[0]);
        h.update(&self.state);
        h.update(&(bytes.len() as u64).to_le_bytes());
        h.update(bytes);
        self.state = h.finalize().0;
        self.draws = 0;
    }

    fn block(&mut self) -> [u32; 8] {
        let mut h = Blake2sHasher::new();
        h.update(&[1]);
        h.update(&self.state);
        h.update(&self.draws.to_le_bytes());
        self.draws += 1;
        let digest = h.finalize().0;
        core::array::from_fn(|i| {
            u32::from_le_bytes([digest[4 * i], digest[4 * i + 1], digest[4 * i + 2], digest[4 * i + 3]])
        })
    }

    /// A uniform extension element. Words are cut to 31 bits; the one value that is not canonical is skipped.
    pub fn draw(&mut self) -> QM31 {
        let mut limbs = [0u32; 4];
        let mut have = 0;
        loop {
            for w in self.block() {
                let w = w & P;
                if w != P {
                    limbs[have] = w;
                    have += 1;
                    if have == 4 {
                        return QM31::from_u32_unchecked(limbs[0], limbs[1], limbs[2], limbs[3]);
                    }
                }
            }
        }
    }

    /// `n` uniform extension elements.
    pub fn draw_many(&mut self, n: usize) -> Vec<QM31> {
        (0..n).map(|_| self.draw()).collect()
    }

    /// `count` uniform positions in `[0, 2^log_size)` drawn with replacement, then sorted and deduplicated.
    /// `log_size` is at most 32.
    pub fn draw_positions(&mut self, count: usize, log_size: u32) -> Vec<usize> {
        let mask = ((1u64 << log_size) - 1) as u32;
        let mut out = Vec::with_capacity(count);
        while out.len() < count {
            for w in self.block() {
                if out.len() < count {
                    out.push((w & mask) as usize);
                }
            }
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Whether `nonce` reaches `bits` leading zero bits at this state.
    pub fn nonce_works(&self, bits: u32, nonce: u64) -> bool {
        let mut h = Blake2sHasher::new();
        h.update(&self.nonce_prefix(bits));
        h.update(&nonce.to_le_bytes());
        let d = h.finalize().0;
        u64::from_be_bytes([d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]).leading_zeros() >= bits
    }

    /// The 37 bytes hashed before the 8-byte little-endian nonce (for vectorised searches).
    pub fn nonce_prefix(&self, bits: u32) -> [u8; 37] {
        let mut p = [0; 37];
        p[0] = 2;
        p[1..33].copy_from_slice(&self.state);
        p[33..37].copy_from_slice(&bits.to_le_bytes());
        p
    }

    /// The current state, for tests and diagnostics.
    pub fn state(&self) -> Hash {
        self.state
    }

    /// How many blocks have been drawn since the last absorption.
    pub fn drawn(&self) -> u64 {
        self.draws
    }

    /// Leaves out as many blocks as have been drawn where a part of a run is repeated from its messages.
    pub fn resume_draws(&mut self, drawn: u64) {
        self.draws = drawn;
    }
}

/// Canonical bytes of base field elements.
pub fn encode_base(values: &[M31]) -> Vec<u8> {
    values.iter().flat_map(|v| v.0.to_le_bytes()).collect()
}

/// Canonical bytes of extension elements, four limbs each.
pub fn encode_ext(values: &[QM31]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|v| v.to_m31_array())
        .flat_map(|v| v.0.to_le_bytes())
        .collect()
}

/// What a message is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Base field elements.
    Base,
    /// Extension elements, four base elements each.
    Extension,
    /// A hash.
    Hash,
    /// A proof-of-work nonce, with the challenge that it stands before.
    Nonce(&'static str),
    /// Base field elements that a root binds: opened columns.
    Columns,
    /// Hashes that a root binds: authentication paths of columns.
    Paths,
}

/// Where a message stands in a proof, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// The move in which it is received (`docs/protocol/overview.md`).
    pub step: u8,
    /// Offset of its first byte.
    pub at: usize,
    /// Its length in bytes.
    pub len: usize,
    /// What it is made of.
    pub kind: Kind,
}

/// The verifier's end of a protocol run: a transcript and the unread rest of a proof.
pub struct Channel<'a> {
    transcript: Transcript,
    proof: &'a [u8],
    at: usize,
    step: u8,
    log: Option<&'a mut Vec<Message>>,
}

impl<'a> Channel<'a> {
    /// Starts reading `proof` under `transcript` (which has absorbed the statement).
    pub fn new(transcript: Transcript, proof: &'a [u8]) -> Self {
        Self {
            transcript,
            proof,
            at: 0,
            step: 0,
            log: None,
        }
    }

    /// Lists in `log` what is received from here on. It changes nothing that is checked.
    pub fn keep_log(&mut self, log: &'a mut Vec<Message>) {
        self.log = Some(log);
    }

    /// Says which move of the protocol follows, for the log.
    pub fn step(&mut self, step: u8) {
        self.step = step;
    }

    /// The transcript, to draw challenges from.
    pub fn transcript(&mut self) -> &mut Transcript {
        &mut self.transcript
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Takes `n` bytes of the proof *without* absorbing them. Only for data that a hash already bound authenticates
    /// (opened columns and their paths). The bytes are borrowed: nothing is allocated before they are known to exist.
    pub fn take_bytes(&mut self, n: usize) -> Result<&'a [u8], ReadError> {
        self.take(n, Kind::Paths)
    }

    fn take(&mut self, n: usize, kind: Kind) -> Result<&'a [u8], ReadError> {
        let end = self
            .at
            .checked_add(n)
            .filter(|&e| e <= self.proof.len())
            .ok_or(ReadError::Truncated { at: self.proof.len() })?;
        let bytes = &self.proof[self.at..end];
        if let Some(log) = &mut self.log {
            log.push(Message {
                step: self.step,
                at: self.at,
                len: n,
                kind,
            });
        }
        self.at = end;
        Ok(bytes)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<M31>, ReadError> {
        let values: Vec<M31> = bytes
            .chunks_exact(4)
            .map(|c| M31::from_u32_unchecked(u32::from_le_bytes([c[0], c[1], c[2], c[3]])))
            .collect();
        match values.iter().position(|v| v.0 >= P) {
            Some(i) => Err(ReadError::NonCanonical {
                at: self.at - bytes.len() + 4 * i,
            }),
            None => Ok(values),
        }
    }

    /// Takes `n` base field elements without absorbing them (see [`Self::take_bytes`]).
    pub fn take_base(&mut self, n: usize) -> Result<Vec<M31>, ReadError> {
        let bytes = self.take(n.saturating_mul(4), Kind::Columns)?;
        self.decode(bytes)
    }

    /// Receives and absorbs `n` base field elements.
    pub fn recv_base(&mut self, n: usize) -> Result<Vec<M31>, ReadError> {
        self.recv(n, Kind::Base)
    }

    fn recv(&mut self, n: usize, kind: Kind) -> Result<Vec<M31>, ReadError> {
        let bytes = self.take(n.saturating_mul(4), kind)?;
        let values = self.decode(bytes)?;
        self.transcript.absorb(bytes);
        Ok(values)
    }

    /// Receives and absorbs `n` extension elements.
    pub fn recv_ext(&mut self, n: usize) -> Result<Vec<QM31>, ReadError> {
        let limbs = self.recv(n.saturating_mul(4), Kind::Extension)?;
        Ok(limbs
            .chunks_exact(4)
            .map(|c| QM31::from_m31(c[0], c[1], c[2], c[3]))
            .collect())
    }

    /// Receives and absorbs a hash.
    pub fn recv_hash(&mut self) -> Result<Hash, ReadError> {
        let bytes = self.take(32, Kind::Hash)?;
        self.transcript.absorb(bytes);
        let mut h = [0; 32];
        h.copy_from_slice(bytes);
        Ok(h)
    }

    /// Receives, checks and absorbs a proof-of-work nonce of `bits` bits; with 0 bits nothing is sent.
    /// `before` names the challenge that the nonce protects.
    pub fn recv_nonce(&mut self, before: &'static str, bits: u32) -> Result<(), ReadError> {
        if bits == 0 {
            return Ok(());
        }
        let bytes = self.take(8, Kind::Nonce(before))?;
        let nonce = u64::from_le_bytes([
            bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
        ]);
        if !self.transcript.nonce_works(bits, nonce) {
            return Err(ReadError::ProofOfWork { before, bits });
        }
        self.transcript.absorb(bytes);
        Ok(())
    }

    /// Succeeds when the whole proof has been read.
    pub fn finish(self) -> Result<(), ReadError> {
        match self.proof.len() - self.at {
            0 => Ok(()),
            extra => Err(ReadError::Trailing { extra }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_depend_on_every_absorbed_byte_and_on_framing() {
        let run = |parts: &[&[u8]]| {
            let mut t = Transcript::new(b"test");
            parts.iter().for_each(|p| t.absorb(p));
            t.draw()
        };
        assert_eq!(run(&[b"ab", b"c"]), run(&[b"ab", b"c"]));
        assert_ne!(run(&[b"ab", b"c"]), run(&[b"a", b"bc"]));
        assert_ne!(run(&[b"ab", b"c"]), run(&[b"ab", b"d"]));
    }

    #[test]
    fn hostile_bytes_are_typed_errors() {
        let t = || Transcript::new(b"test");
        assert_eq!(
            Channel::new(t(), &[0; 3]).recv_base(1),
            Err(ReadError::Truncated { at: 3 })
        );
        assert_eq!(
            Channel::new(t(), &[0xff; 8]).recv_base(2),
            Err(ReadError::NonCanonical { at: 0 })
        );
        assert_eq!(
            Channel::new(t(), &[]).recv_ext(usize::MAX),
            Err(ReadError::Truncated { at: 0 })
        );
        assert_eq!(
            Channel::new(t(), &[0; 5]).finish(),
            Err(ReadError::Trailing { extra: 5 })
        );
        // p itself has two encodings of zero otherwise.
        assert_eq!(
            Channel::new(t(), &P.to_le_bytes()).recv_base(1),
            Err(ReadError::NonCanonical { at: 0 })
        );
    }

    #[test]
    fn a_nonce_is_checked_and_bound() {
        let t = Transcript::new(b"test");
        let good = (0u64..).find(|&n| t.nonce_works(8, n)).unwrap();
        let bad = (0u64..).find(|&n| !t.nonce_works(8, n)).unwrap();
        assert!(
            Channel::new(t.clone(), &good.to_le_bytes())
                .recv_nonce("query", 8)
                .is_ok()
        );
        assert_eq!(
            Channel::new(t.clone(), &bad.to_le_bytes()).recv_nonce("query", 8),
            Err(ReadError::ProofOfWork {
                before: "query",
                bits: 8
            })
        );
        let bytes = good.to_le_bytes();
        let mut c = Channel::new(t.clone(), &bytes);
        c.recv_nonce("query", 8).unwrap();
        assert_ne!(c.transcript().draw(), t.clone().draw());
    }

    #[test]
    fn positions_are_sorted_distinct_and_in_range() {
        let p = Transcript::new(b"test").draw_positions(100, 5);
        assert!(p.windows(2).all(|w| w[0] < w[1]) && p.iter().all(|&i| i < 32));
    }
}
