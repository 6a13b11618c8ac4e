//! A tamper from a closure, and what a message is.

use std::collections::BTreeMap;

use mlc_runtime::prover::channel::Tamper;
use mlc_verifier::field::{M31, QM31};
use mlc_verifier::transcript::{Hash, ReadError};
use num_traits::One;

/// A message as the prover is about to send it.
pub(crate) enum Message<'a> {
    Base(&'a mut [M31]),
    Ext(&'a mut [QM31]),
    Root(&'a mut Hash),
    Nonce(&'a mut u64),
    Opened(&'a mut [u8]),
}

/// Kinds of messages. A label may name a message and the nonce after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Base,
    Ext,
    Root,
    Nonce,
    Opened,
}

/// The part of a message, and the occurrence of a label, that a lie is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    First,
    Middle,
    Last,
}

pub(crate) const PLACES: [Place; 3] = [Place::First, Place::Middle, Place::Last];

impl Place {
    pub(crate) fn of(self, len: usize) -> usize {
        match self {
            Self::First => 0,
            Self::Middle => (len - 1) / 2,
            Self::Last => len - 1,
        }
    }
}

/// Which occurrences and parts of a message are changed, one at a time.
pub(crate) enum At {
    /// Every occurrence and part of [`PLACES`].
    Ends,
    /// One occurrence, every part.
    Nth(usize),
    /// One occurrence of a message of one element.
    Only(usize),
    /// Every occurrence, one part.
    Part(Place),
}

impl At {
    /// The occurrences and parts, of `count` messages.
    pub(crate) fn lies(&self, count: usize) -> Vec<(usize, Place)> {
        let mut lies: Vec<(usize, Place)> = match self {
            Self::Ends => PLACES.iter().flat_map(|n| PLACES.map(|p| (n.of(count), p))).collect(),
            Self::Nth(n) => PLACES.map(|p| (*n, p)).to_vec(),
            Self::Only(n) => vec![(*n, Place::First)],
            Self::Part(p) => PLACES.map(|n| (n.of(count), *p)).to_vec(),
        };
        lies.sort_unstable();
        lies.dedup();
        lies
    }
}

impl Message<'_> {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Base(_) => Kind::Base,
            Self::Ext(_) => Kind::Ext,
            Self::Root(_) => Kind::Root,
            Self::Nonce(_) => Kind::Nonce,
            Self::Opened(_) => Kind::Opened,
        }
    }

    /// Changes one element to another valid one.
    pub(crate) fn change(&mut self, part: Place) {
        match self {
            Self::Base(v) => v[part.of(v.len())] += M31::one(),
            Self::Ext(v) => v[part.of(v.len())] += QM31::from_u32_unchecked(1, 0, 2, 0),
            Self::Root(h) => h[part.of(32)] ^= 1,
            Self::Nonce(n) => **n = n.wrapping_sub(1),
            Self::Opened(b) => b[part.of(b.len() / 4) * 4] ^= 1,
        }
    }
}

/// Calls a closure with each message: its label, how many of its label and kind came before, and the message.
pub(crate) struct Telling<F> {
    tell: F,
    seen: BTreeMap<(Kind, &'static str), usize>,
}

/// A tamper from a closure.
pub(crate) fn telling<F: FnMut(&'static str, usize, Message<'_>)>(tell: F) -> Telling<F> {
    Telling {
        tell,
        seen: BTreeMap::new(),
    }
}

impl<F: FnMut(&'static str, usize, Message<'_>)> Telling<F> {
    fn pass(&mut self, label: &'static str, message: Message<'_>) {
        let seen = self.seen.entry((message.kind(), label)).or_default();
        (self.tell)(label, *seen, message);
        *seen += 1;
    }
}

impl<F: FnMut(&'static str, usize, Message<'_>)> Tamper for Telling<F> {
    fn base(&mut self, label: &'static str, values: &mut [M31]) {
        self.pass(label, Message::Base(values));
    }
    fn ext(&mut self, label: &'static str, values: &mut [QM31]) {
        self.pass(label, Message::Ext(values));
    }
    fn hash(&mut self, label: &'static str, hash: &mut Hash) {
        self.pass(label, Message::Root(hash));
    }
    fn nonce(&mut self, label: &'static str, nonce: &mut u64) {
        self.pass(label, Message::Nonce(nonce));
    }
    fn opened(&mut self, label: &'static str, bytes: &mut [u8]) {
        self.pass(label, Message::Opened(bytes));
    }
}

/// Changes one part of one message.
pub(crate) fn changing(kind: Kind, label: &'static str, nth: usize, part: Place) -> impl Tamper {
    telling(move |l, n, mut m: Message<'_>| {
        if m.kind() == kind && l == label && n == nth {
            m.change(part);
        }
    })
}

/// The challenge that a changed nonce stands before. A nonce changed at random may reach its bits by chance, which is no
/// lie: then the next is tried. `attempt` gives the error of reading, `None` where the proof is accepted.
pub(crate) fn missed(
    label: &'static str,
    nth: usize,
    attempt: impl Fn(&mut dyn Tamper) -> Option<ReadError>,
) -> &'static str {
    for back in 1..=16 {
        let mut tamper = telling(|l, n, m: Message<'_>| {
            if let Message::Nonce(nonce) = m
                && (l, n) == (label, nth)
            {
                *nonce = nonce.wrapping_sub(back);
            }
        });
        match attempt(&mut tamper) {
            None => continue,
            Some(ReadError::ProofOfWork { before, .. }) => return before,
            Some(other) => panic!("nonce {nth} of '{label}': {other:?}"),
        }
    }
    panic!("nonce {nth} of '{label}' is not checked");
}

/// What an honest run sends: how often each (kind, label) occurs.
pub(crate) type Sent = BTreeMap<(Kind, &'static str), usize>;

/// Counts messages.
pub(crate) fn counting(sent: &mut Sent) -> impl Tamper {
    telling(|label, _, m: Message<'_>| *sent.entry((m.kind(), label)).or_default() += 1)
}

/// An error pattern with its text.
pub(crate) struct Expected<E> {
    pub(crate) text: &'static str,
    pub(crate) matches: fn(&E) -> bool,
}

/// The error that a lie must end in, as a pattern.
macro_rules! refused {
    ($error:ty, $pattern:pat) => {
        $crate::liar::Expected::<$error> {
            text: stringify!($pattern),
            matches: |e: &$error| matches!(e, $pattern),
        }
    };
}
pub(crate) use refused;

impl<E: std::fmt::Debug> Expected<E> {
    /// Notes in `failures` where the outcome is another.
    pub(crate) fn judge(&self, name: &str, outcome: Result<(), E>, failures: &mut Vec<String>) {
        match outcome {
            Err(e) if (self.matches)(&e) => {}
            other => failures.push(format!("{name}: expected {}, got {other:?}", self.text)),
        }
    }
}

/// One change to a `T`, and the error that it must end in.
pub(crate) struct Row<T, E> {
    pub(crate) name: &'static str,
    pub(crate) lie: fn(&mut T),
    pub(crate) error: Expected<E>,
}

/// A [`Row`]: its name, the change, the error as a pattern.
macro_rules! row {
    ($name:literal, $lie:expr, $pattern:pat) => {
        $crate::liar::Row {
            name: $name,
            lie: $lie,
            error: $crate::liar::Expected {
                text: stringify!($pattern),
                matches: |e| matches!(e, $pattern),
            },
        }
    };
}
pub(crate) use row;

/// Judges every row; `outcome` makes its change to the truth.
pub(crate) fn tell<T, E: std::fmt::Debug>(rows: &[Row<T, E>], outcome: impl Fn(fn(&mut T)) -> Result<(), E>) {
    let mut failures = Vec::new();
    for Row { name, lie, error } in rows {
        error.judge(name, outcome(*lie), &mut failures);
    }
    all_refused(&failures);
}

/// Panics with all failures.
pub(crate) fn all_refused(failures: &[String]) {
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
