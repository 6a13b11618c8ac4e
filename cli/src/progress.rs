//! The stages of a command, timed: a progress bar on a terminal, tracing spans everywhere.
//!
//! Prover and setup know nothing of the bar: it takes their parts from the spans that they enter ([`Parts`]).

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::Subscriber;
use tracing::span::Id;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::ui::Ui;

/// Spans of prover, verifier and setup that are shown, with what they are called.
const PARTS: [(&str, &str); 12] = [
    ("lay out weights", "lay out weights"),
    ("commit weights", "commit weights"),
    ("prove weight bounds", "prove weight bounds"),
    ("execute", "execute"),
    ("commit", "commit"),
    ("factors", "factors"),
    ("products", "products"),
    ("pushforward", "lookups"),
    ("leaves", "lookups"),
    ("merge", "merge"),
    ("opening", "opening"),
    ("verify", "verify"),
];

/// The bar that is seen, with the stage at work, or nothing between stages.
static AT_WORK: Mutex<Option<(ProgressBar, &'static str)>> = Mutex::new(None);

fn at_work(change: impl FnOnce(&mut Option<(ProgressBar, &'static str)>)) {
    change(&mut AT_WORK.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Shows the parts of a stage in the bar, as they begin.
pub(crate) struct Parts;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Parts {
    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let name = context.metadata(id).map(|m| m.name());
        if let Some((_, part)) = PARTS.iter().find(|(span, _)| Some(*span) == name) {
            at_work(|bar| {
                if let Some((bar, stage)) = bar.as_ref().filter(|(_, stage)| !stage.is_empty()) {
                    bar.set_message(format!("{stage}: {part}"));
                }
            });
        }
    }
}

/// Writes to stderr where no bar is in the way.
pub(crate) fn aside(write: impl FnOnce()) {
    let bar = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some((bar, _)) => bar.suspend(write),
        None => write(),
    }
}

/// Whether a bar is seen: where stderr is a terminal.
pub(crate) fn visible(ui: &Ui) -> bool {
    std::io::stderr().is_terminal() && !ui.is_json()
}

/// A bar that names the stage at work; invisible where stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of so many stages.
    pub(crate) fn new(ui: &Ui, stages: u64) -> Self {
        let visible = visible(ui);
        let target = if visible {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(stages), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} {elapsed}") {
            bar.set_style(style);
        }
        if visible {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        at_work(|at| *at = Some((bar.clone(), "")));
        Progress { bar }
    }

    /// Runs a stage; gives its result and the seconds it took.
    pub(crate) fn stage<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> (T, f64) {
        self.bar.set_message(name);
        at_work(|bar| *bar = Some((self.bar.clone(), name)));
        let span = tracing::info_span!("stage", name).entered();
        let start = Instant::now();
        let result = work();
        let seconds = start.elapsed().as_secs_f64();
        drop(span);
        at_work(|bar| *bar = Some((self.bar.clone(), "")));
        self.bar.inc(1);
        (result, seconds)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        at_work(|bar| *bar = None);
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::ui::Format;

    #[test]
    fn the_bar_names_the_part_of_a_stage() {
        let progress = Progress::new(&Ui::new(Format::Json), 2);
        tracing::subscriber::with_default(Registry::default().with(Parts), || {
            progress.stage("prove", || {
                assert_eq!(progress.bar.message(), "prove");
                let span = tracing::info_span!("leaves").entered();
                assert_eq!(progress.bar.message(), "prove: lookups");
                let _other = tracing::info_span!("leaf claims").entered();
                assert_eq!(progress.bar.message(), "prove: lookups");
                drop(span);
            });
            let _span = tracing::info_span!("opening").entered();
            assert_eq!(progress.bar.message(), "prove: lookups", "a stage that is over");
        });
        assert_eq!(progress.bar.position(), 1);
    }
}
