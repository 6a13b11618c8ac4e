//! The prover's end of a protocol run: every message is written to the proof and absorbed, in one call.
//!
//! The mirror of `mlc_verifier::transcript::Channel`. A [`Tamper`] sees each labelled message before it is absorbed:
//! soundness tests implement it to lie in one place while everything downstream is recomputed honestly. The prover
//! itself always runs with [`Honest`].

use mlc_verifier::field::{M31, QM31};
use mlc_verifier::transcript::{Hash, Transcript, encode_base, encode_ext};

use crate::schedule::journal::{Journal, Kept, read_all};

/// Sees, and may change, each prover message before it enters the transcript. Labels are the protocol's names.
pub trait Tamper {
    /// A base field message, or committed cells before their commitment (label `… cells`).
    fn base(&mut self, _label: &'static str, _values: &mut [M31]) {}
    /// An extension field message.
    fn ext(&mut self, _label: &'static str, _values: &mut [QM31]) {}
    /// A root.
    fn hash(&mut self, _label: &'static str, _hash: &mut Hash) {}
    /// A proof-of-work nonce.
    fn nonce(&mut self, _label: &'static str, _nonce: &mut u64) {}
    /// Authenticated data that is not absorbed (opened columns, authentication paths).
    fn opened(&mut self, _label: &'static str, _bytes: &mut [u8]) {}
}

/// What is kept of a stage: lengths of its messages and their bytes, the blocks drawn after the last one, what it left.
type Outcome<T> = ((Vec<u64>, Vec<u8>), (u64, T));

/// Changes nothing.
pub struct Honest;
impl Tamper for Honest {}

/// Finds the smallest nonce that reaches `bits` at `transcript`.
pub trait Grinder {
    /// The smallest working nonce.
    fn grind(&self, transcript: &Transcript, bits: u32) -> u64;
}

/// Transcript, proof bytes so far, and the tamper.
pub struct ProverChannel<'a> {
    transcript: Transcript,
    proof: Vec<u8>,
    tamper: &'a mut dyn Tamper,
    /// Where outcomes of stages are kept.
    journal: Option<&'a mut dyn Journal>,
    /// Lengths of the messages of the stage at work, where it is kept.
    messages: Vec<u64>,
}

impl<'a> ProverChannel<'a> {
    /// Starts a run under `transcript` (which has absorbed the statement).
    pub fn new(transcript: Transcript, tamper: &'a mut dyn Tamper) -> Self {
        Self {
            transcript,
            proof: Vec::new(),
            tamper,
            journal: None,
            messages: Vec::new(),
        }
    }

    /// Keeps outcomes of stages.
    pub fn keep(&mut self, journal: &'a mut dyn Journal) {
        self.journal = Some(journal);
    }

    /// Does a stage, which only sends messages that are absorbed, or repeats its messages where a journal has its outcome.
    pub fn stage<T: Kept>(&mut self, name: &'static str, work: impl FnOnce(&mut Self) -> T) -> T {
        self.stage_by(name, work, |result, out| result.write(out), |kept: T| kept)
    }

    /// [`Self::stage`] for what is kept in another form: `keep` writes it, `restore` makes the result of it.
    pub fn stage_by<T, K: Kept>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&mut Self) -> T,
        keep: impl FnOnce(&T, &mut Vec<u8>),
        restore: impl FnOnce(K) -> T,
    ) -> T {
        // Taken: a stage inside another is part of it.
        let Some(journal) = self.journal.take() else {
            return work(self);
        };
        let state = self.transcript.state();
        let known = journal
            .get(name, &state)
            .and_then(|bytes| read_all::<Outcome<K>>(&bytes));
        let known = known.filter(|((lens, bytes), _)| lens.iter().sum::<u64>() == bytes.len() as u64);
        let result = match known {
            Some(((lens, bytes), (drawn, result))) => {
                let mut rest = &bytes[..];
                for len in lens {
                    let (message, after) = rest.split_at(len as usize);
                    self.send_bytes(message);
                    rest = after;
                }
                self.transcript.resume_draws(drawn);
                restore(result)
            }
            None => {
                self.messages.clear();
                let start = self.proof.len();
                let result = work(self);
                let sent = (std::mem::take(&mut self.messages), self.proof[start..].to_vec());
                let mut bytes = Vec::new();
                sent.write(&mut bytes);
                self.transcript.drawn().write(&mut bytes);
                keep(&result, &mut bytes);
                journal.put(name, &state, &bytes);
                result
            }
        };
        self.journal = Some(journal);
        result
    }

    /// The transcript, to draw challenges from.
    pub fn transcript(&mut self) -> &mut Transcript {
        &mut self.transcript
    }

    /// The tamper, for values that are committed rather than sent.
    pub fn tamper(&mut self) -> &mut dyn Tamper {
        self.tamper
    }

    /// Sends base field elements.
    pub fn send_base(&mut self, label: &'static str, values: &[M31]) {
        let mut values = values.to_vec();
        self.tamper.base(label, &mut values);
        self.send_bytes(&encode_base(&values));
    }

    /// Sends extension elements.
    pub fn send_ext(&mut self, label: &'static str, values: &[QM31]) {
        let mut values = values.to_vec();
        self.tamper.ext(label, &mut values);
        self.send_bytes(&encode_ext(&values));
    }

    /// Sends a root.
    pub fn send_hash(&mut self, label: &'static str, hash: Hash) {
        let mut hash = hash;
        self.tamper.hash(label, &mut hash);
        self.send_bytes(&hash);
    }

    /// Searches and sends a nonce of `bits` bits; nothing for 0 bits.
    pub fn send_nonce(&mut self, label: &'static str, bits: u32, grinder: &dyn Grinder) {
        if bits > 0 {
            let mut nonce = grinder.grind(&self.transcript, bits);
            self.tamper.nonce(label, &mut nonce);
            self.send_bytes(&nonce.to_le_bytes());
        }
    }

    /// Appends authenticated data that is not absorbed.
    pub fn send_opened(&mut self, label: &'static str, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.tamper.opened(label, &mut bytes);
        self.proof.extend_from_slice(&bytes);
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        self.messages.push(bytes.len() as u64);
        self.transcript.absorb(bytes);
        self.proof.extend_from_slice(bytes);
    }

    /// The proof.
    pub fn into_proof(self) -> Vec<u8> {
        self.proof
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.proof.len()
    }

    /// Whether nothing has been sent.
    pub fn is_empty(&self) -> bool {
        self.proof.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlc_verifier::transcript::Channel;

    #[test]
    fn both_ends_draw_the_same_challenges() {
        let t = Transcript::new(b"t");
        let mut honest = Honest;
        let mut p = ProverChannel::new(t.clone(), &mut honest);
        p.send_base("a", &[M31::from(5), M31::from(6)]);
        let r = p.transcript().draw();
        p.send_ext("b", &[r]);
        p.send_hash("c", [7; 32]);
        let last = p.transcript().draw();
        let proof = p.into_proof();
        let mut v = Channel::new(t, &proof);
        assert_eq!(v.recv_base(2).unwrap(), [M31::from(5), M31::from(6)]);
        assert_eq!(v.transcript().draw(), r);
        assert_eq!(v.recv_ext(1).unwrap(), [r]);
        assert_eq!(v.recv_hash().unwrap(), [7; 32]);
        assert_eq!(v.transcript().draw(), last);
        v.finish().unwrap();
    }
}
