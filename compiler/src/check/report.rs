//! The diagnostics of one compilation, each place and code reported once.
//!
//! A block is evaluated at every call, so the same mistake can be met many times: the first report of a code at a span
//! counts.

use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;
use std::collections::BTreeSet;

/// A mistake was found and reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported;

/// The most diagnostics that one compilation gives.
const MOST: usize = 200;

#[derive(Default)]
pub(super) struct Reports {
    list: Vec<Diagnostic>,
    seen: BTreeSet<(Code, Span)>,
    errors: bool,
}

impl Reports {
    pub(super) fn add(&mut self, diagnostic: Diagnostic) -> Reported {
        self.errors |= diagnostic.is_error();
        if self.seen.insert((diagnostic.code, diagnostic.primary.span)) && self.list.len() < MOST {
            self.list.push(diagnostic);
        }
        Reported
    }

    pub(super) fn any_error(&self) -> bool {
        self.errors
    }

    /// In order of place.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|d| (d.primary.span, d.code));
        self.list
    }
}
