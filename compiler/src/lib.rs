//! The mlc language, passes, and lowering to a LayeredCircuit. Pure: no file system, no clock.
//!
//! The front-end: [`syntax`] turns text into an AST, [`mod@check`] turns an AST and a configuration into a typed graph of
//! [`mlc_ir`], [`fmt`] prints source in one style, [`diagnostics`] say what is wrong. Files come through [`Host`].
//! The back-end: [`passes`] and [`lower`] make a circuit of it by a [`plan`], which an [`artefact`] stores.

pub mod artefact;
pub mod check;
pub mod compile;
pub mod diagnostics;
pub mod fmt;
pub mod lower;
pub mod passes;
pub mod pipeline;
pub mod plan;
pub mod syntax;

pub use artefact::{Artefact, ArtefactError};
pub use check::{CheckResult, Config, Host, MemoryHost, QuantHint, QuantTarget, ScaleKind, check};
pub use compile::{CompileError, CompileOptions, Compiled, compile, compile_observed};
pub use pipeline::prepare;
