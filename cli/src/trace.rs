//! Records tracing spans and writes them as a Chrome trace (`chrome://tracing`, Perfetto).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::progress::Parts;

/// The recorded spans.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    start: Instant,
    events: Arc<Mutex<Vec<Value>>>,
}

/// Begins to record where `wanted`, and to show parts of stages where `shown`; without both, spans cost nothing.
pub(crate) fn install(wanted: bool, shown: bool) -> Option<Recorder> {
    if !wanted && !shown {
        return None;
    }
    let recorder = wanted.then(|| Recorder {
        start: Instant::now(),
        events: Arc::default(),
    });
    let subscriber = Registry::default().with(recorder.clone()).with(shown.then_some(Parts));
    tracing::subscriber::set_global_default(subscriber).ok()?;
    recorder
}

impl Recorder {
    /// The spans so far, as a Chrome trace.
    pub(crate) fn chrome_json(&self) -> String {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "traceEvents": *events, "displayTimeUnit": "ms" }).to_string()
    }
}

/// When a span was entered, its fields, and for how long in all.
struct Timing {
    began: Instant,
    fields: Fields,
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0
            .insert(field.name().to_owned(), Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(Timing {
                began: Instant::now(),
                fields,
            });
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let extensions = span.extensions();
        let Some(timing) = extensions.get::<Timing>() else {
            return;
        };
        let mut args = timing.fields.0.clone();
        // A stage is known by its own name.
        let name = match (span.name(), args.remove("name")) {
            ("stage", Some(Value::String(name))) => name,
            (name, _) => name.to_owned(),
        };
        let event = json!({
            "name": name,
            "cat": span.metadata().target(),
            "ph": "X",
            "ts": timing.began.duration_since(self.start).as_micros() as u64,
            "dur": timing.began.elapsed().as_micros() as u64,
            "pid": 1,
            "tid": thread(),
            "args": args,
        });
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// A number for the current thread.
fn thread() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static ID: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    ID.with(|id| *id)
}
