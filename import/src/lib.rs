//! ONNX models to graph IR, graph IR to source, HuggingFace directories and GGUF files.
//!
//! [`import_file`] reads a model with tract's protobuf types, checks it, and translates it node by node to a
//! [`Module`](mlc_ir::Module) of the real stage. No weight is moved: a weight of the module is a recipe over the file's
//! initialisers, which [`Imported::weights`] serves by name.
//!
//! ```no_run
//! use mlc_import::{Options, import_file};
//! # fn main() -> Result<(), mlc_import::ImportErrors> {
//! let model = import_file("model.onnx".as_ref(), &Options::default())?;
//! println!("{}", model.module);
//! # Ok(()) }
//! ```
//!
//! # Map
//!
//! | file | what |
//! |---|---|
//! | [`checkpoint`] | HuggingFace directories: configuration and shards |
//! | [`gguf`] | GGUF files: bytes, blocks, and the names of the original |
//! | [`error`](ImportError) | every way to fail, as data |
//! | [`initialisers`](Initialisers) | the weights by name |
//! | `onnx/graph` | the file as a checked list of nodes |
//! | `onnx/tensor`, `onnx/node`, `onnx/inputs` | its tensors, attributes, inputs |
//! | `onnx/value`, `onnx/context`, `onnx/layout` | what a value of the file is while the graph is built |
//! | `onnx/ops/*` | one translation per operator, and hints for those without |
//! | [`transpile`] | a module as `.mlc` text and safetensors |
//!
//! # Adding an operator
//!
//! A function of one tensor is a line in `onnx/ops/activation.rs`; anything else is a function in the file of its topic.
//! Both are entered in the table of `onnx/ops/mod.rs`, and get a fixture in `tests/fixtures`.

pub mod checkpoint;
mod error;
pub mod gguf;
mod initialisers;
mod onnx;
pub mod transpile;

pub use error::{ImportError, ImportErrors, TensorError};
pub use initialisers::{DType, Initialisers};
pub use onnx::{Imported, Options, Origin, import_bytes, import_file};
