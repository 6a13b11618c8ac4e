//! Prints how long each named span took, nested.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    static NAMES: RefCell<Vec<(u64, &'static str, Instant)>> = const { RefCell::new(Vec::new()) };
    static MADE: RefCell<Vec<(u64, &'static str)>> = const { RefCell::new(Vec::new()) };
}

struct Printer(AtomicU64);

impl Subscriber for Printer {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.0.fetch_add(1, Ordering::Relaxed);
        MADE.with_borrow_mut(|m| m.push((id, span.metadata().name())));
        Id::from_u64(id)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, id: &Id) {
        let id = id.into_u64();
        let name = MADE.with_borrow(|m| m.iter().rev().find(|e| e.0 == id).map_or("?", |e| e.1));
        NAMES.with_borrow_mut(|n| n.push((id, name, Instant::now())));
    }
    fn exit(&self, _: &Id) {
        NAMES.with_borrow_mut(|n| {
            if let Some((_, name, start)) = n.pop() {
                println!(
                    "{:indent$}{name}: {:.2} ms",
                    "",
                    start.elapsed().as_secs_f64() * 1e3,
                    indent = 2 * n.len()
                );
            }
        });
    }
}

pub(crate) fn install() {
    let _ = tracing::subscriber::set_global_default(Printer(AtomicU64::new(1)));
}
