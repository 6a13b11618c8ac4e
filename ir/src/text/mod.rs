//! The textual form.

mod dim;
pub mod float;

pub(crate) use dim::parse_dim;
