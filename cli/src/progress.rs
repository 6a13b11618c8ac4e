//! The stages of a command, timed: a progress bar on a terminal, tracing spans everywhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::ui::Ui;

/// A bar that names the stage at work; invisible where stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar of so many stages.
    pub(crate) fn new(ui: &Ui, stages: u64) -> Self {
        let visible = std::io::stderr().is_terminal() && !ui.is_json();
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
        Progress { bar }
    }

    /// Runs a stage; gives its result and the seconds it took.
    pub(crate) fn stage<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> (T, f64) {
        self.bar.set_message(name);
        let span = tracing::info_span!("stage", name).entered();
        let start = Instant::now();
        let result = work();
        let seconds = start.elapsed().as_secs_f64();
        drop(span);
        self.bar.inc(1);
        (result, seconds)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
