//! Tests of the language front-end.

#[path = "lang/common.rs"]
mod common;
#[path = "lang/examples.rs"]
mod examples;
#[path = "lang/explanations.rs"]
mod explanations;
