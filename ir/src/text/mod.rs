//! The textual form: every pass can be tested as text → pass → text.
//!
//! A [`Module`](crate::Module) prints with `Display` and parses with `FromStr`; printing what was parsed from printed
//! text gives the same text. The text carries everything: stage, types, scales, bounds, visibility, spans, recipes,
//! regions, tables (with their content hash, which is checked), and floats as exact hexadecimal.
//!
//! ```text
//! module "mlp" real
//!
//! dim batch: 1..64
//!
//! weight @fc: real[10, 64] committed = tensor("fc.weight", [10, 64])
//!
//! entry "main" {
//!   input %image: real[batch, 64] private "image"
//!   %fc: real[10, 64] = weight() {name = @fc} at "mlp.mlc":120..131
//!   %logits: real[batch, 10] = contract(%image, %fc) {einsum = "bi,oi->bo"}
//!   output %logits public "logits"
//! }
//! ```
//!
//! Types are written for every value, and read as written: the verifier compares them with inference. Blanks and
//! `//` comments are free, and lost. Nesting is limited to [`MAX_NESTING`], so that no text overflows the stack.

mod attributes;
mod dim;
pub mod float;
mod parse;
mod print;
mod string;
mod term;

pub(crate) use dim::{dim_name, parse_dim};
pub use parse::ParseError;

/// Greatest depth of nested brackets in a text.
pub const MAX_NESTING: usize = 256;
