//! Tests of the language front-end.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests are not tests to clippy

#[path = "lang/common.rs"]
mod common;
#[path = "lang/examples.rs"]
mod examples;
#[path = "lang/explanations.rs"]
mod explanations;
#[path = "lang/graphs.rs"]
mod graphs;
#[path = "lang/recovery.rs"]
mod recovery;
#[path = "lang/reference.rs"]
mod reference;
#[path = "lang/stdlib.rs"]
mod stdlib;
#[path = "lang/values.rs"]
mod values;
