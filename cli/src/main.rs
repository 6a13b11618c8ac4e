//! The `mlc` command line: one file per command in `commands/`, what they share beside it.
//!
//! | file | what |
//! |---|---|
//! | `project` | what a MODEL argument means: a directory with `mlc.toml`, a `.mlc` file, a `.onnx` file, a compiled circuit |
//! | `model` | a checked module with its weights |
//! | `pipeline` | module → plan → circuit → key, with the cache |
//! | `samples` | what a model is calibrated on |
//! | `input`, `output` | files to tensors, statements to what is shown |
//! | `greedy` | the next token of a language model, and the text so far |
//! | `proof_json` | a proof as JSON |
//! | `ui`, `progress`, `trace` | what is printed, drawn, and timed |
//! | `error` | every way to fail, with its exit code |
//!
//! Exit codes: 0 done or accepted, 1 rejected or diagnostics, 2 usage or unreadable input.

mod args;
mod cache;
mod calibrate;
mod commands;
mod cost;
mod draw;
mod error;
mod files;
mod greedy;
mod host;
mod huggingface;
mod input;
mod memory;
mod model;
mod output;
mod pipeline;
mod progress;
mod project;
mod prompt;
mod proof_json;
mod quality;
mod random;
mod report;
mod samples;
mod session;
mod trace;
mod ui;
mod weights;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let ui = ui::Ui::new(cli.global.output_format);
    let trace = cli.global.trace.clone();
    let recorder = trace::install(trace.is_some(), progress::visible(&ui));
    let mut result = commands::run(&cli.command, &ui);
    if let (Some(path), Some(recorder)) = (trace, recorder)
        && let Err(error) = files::write_atomic(&path, recorder.chrome_json().as_bytes())
    {
        result = result.and(Err(error));
    }
    match result {
        Ok(code) => code,
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
