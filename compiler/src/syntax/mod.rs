//! Syntax: sources and spans, the lossless lexer, the AST, and the parser.

pub mod ast;
mod dump;
pub mod lexer;
mod parser;
mod source;

pub use dump::dump;
pub use parser::parse;
pub use source::{FileId, SourceFile, SourceMap, Span};
