//! Why a model cannot be imported.
//!
//! A run reports every node that it cannot translate, each once, and nothing that only follows from another: what uses the
//! result of a refused node is passed over in silence.

use std::fmt;
use std::path::PathBuf;

use mlc_ir::InferError;
use thiserror::Error;

/// All that is wrong with a model, in the order of the file; never empty.
#[derive(Debug)]
pub struct ImportErrors(Vec<ImportError>);

impl ImportErrors {
    /// The errors, in the order of the file.
    pub fn errors(&self) -> &[ImportError] {
        &self.0
    }

    /// A list of at least one error.
    pub(crate) fn some(errors: Vec<ImportError>) -> ImportErrors {
        ImportErrors(errors)
    }

    /// The list as a result; `Ok` where it is empty.
    pub(crate) fn check(errors: Vec<ImportError>) -> Result<(), ImportErrors> {
        if errors.is_empty() {
            return Ok(());
        }
        Err(ImportErrors(errors))
    }
}

impl From<ImportError> for ImportErrors {
    fn from(error: ImportError) -> Self {
        ImportErrors(vec![error])
    }
}

impl fmt::Display for ImportErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ImportErrors {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.first().and_then(|e| e.source())
    }
}

/// One reason why a model cannot be imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The model file cannot be read.
    #[error("cannot read `{}`", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bytes are not an ONNX model.
    #[error("not an ONNX model: {why}")]
    NotOnnx {
        /// What the decoder says.
        why: String,
    },
    /// The operator set is newer or older than this importer.
    #[error(
        "operator set {found} is not known: this importer reads sets {least} to {most}; export with `opset_version={most}`"
    )]
    Opset {
        /// The version the model asks for.
        found: i64,
        /// Oldest version read.
        least: i64,
        /// Newest version read.
        most: i64,
    },
    /// An initialiser or a constant cannot be used.
    #[error("tensor `{name}`: {kind}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        kind: TensorError,
    },
    /// An input of the model cannot be used.
    #[error("input `{name}`: {why}")]
    Input {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// An output of the model cannot be used.
    #[error("output `{name}`: {why}")]
    Output {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two nodes (or a node and an input) define one value.
    #[error("node `{node}` ({operator}) defines `{value}`, which is already defined")]
    Redefined {
        /// The second of the two.
        node: String,
        /// Its operator.
        operator: String,
        /// The value.
        value: String,
    },
    /// A node uses a value that nothing defines.
    #[error("node `{node}` ({operator}) uses `{value}`, which no node, input or weight of the file defines")]
    Undefined {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// The value.
        value: String,
    },
    /// Nodes that wait for each other.
    #[error("node `{node}` ({operator}) depends on its own result, through `{value}`")]
    Cycle {
        /// The first such node of the file.
        node: String,
        /// Its operator.
        operator: String,
        /// What it waits for.
        value: String,
    },
    /// An operator, or one of its options, that the importer does not translate.
    #[error("node `{node}` ({operator}): {what} is not supported; {hint}")]
    Unsupported {
        /// The node, or its first output where it has no name.
        node: String,
        /// Its operator.
        operator: String,
        /// What is not supported: the operator, or an option of it.
        what: String,
        /// The nearest thing that works.
        hint: String,
    },
    /// A node that contradicts the definition of its operator.
    #[error("node `{node}` ({operator}): {why}")]
    Node {
        /// The node, or its first output where it has no name.
        node: String,
        /// Its operator.
        operator: String,
        /// What is wrong with it.
        why: String,
    },
    /// A node whose inputs do not fit each other.
    #[error("node `{node}` ({operator}): {source}")]
    Shape {
        /// The node, or its first output where it has no name.
        node: String,
        /// Its operator.
        operator: String,
        /// What does not fit.
        source: InferError,
    },
}

/// What is wrong with a stored tensor.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TensorError {
    /// An element type that is not read.
    #[error("elements of type {0} are not supported; export weights as float, int8 or uint8")]
    Type(String),
    /// Two tensors of one name.
    #[error("the file stores it twice")]
    Twice,
    /// A negative length.
    #[error("axis {axis} has length {length}")]
    Axis {
        /// The axis.
        axis: usize,
        /// Its length.
        length: i64,
    },
    /// More or fewer elements than the shape says.
    #[error("the shape {shape:?} needs {} bytes or elements, the file has {found}", amount(*.needed))]
    Length {
        /// The shape.
        shape: Vec<u64>,
        /// How many the shape needs; `None` where that is 2^64 or more.
        needed: Option<u64>,
        /// How many there are.
        found: u64,
    },
    /// An element that is NaN or infinite.
    #[error("element {position} is {value}")]
    NotFinite {
        /// Its position in row-major order.
        position: u64,
        /// `NaN`, `inf` or `-inf`.
        value: String,
    },
    /// The data is in another file, whose path leaves the model's folder.
    #[error("its data is in `{0}`, outside of the model's folder")]
    Outside(String),
    /// The data is in another file, and the model was not read from a folder.
    #[error("its data is in `{0}`, and the folder of the model is not known")]
    NoFolder(String),
    /// The data is in another file that cannot be read.
    #[error("its data in `{location}` cannot be read: {why}")]
    External {
        /// The path in the model.
        location: String,
        /// What the system says.
        why: String,
    },
    /// The entry that says where external data is makes no sense.
    #[error("its external data is described wrongly: {0}")]
    Description(String),
}

fn amount(needed: Option<u64>) -> String {
    needed.map_or_else(|| "more than 2^64".to_owned(), |n| n.to_string())
}

/// What a translation of one node fails with; the driver adds node and operator.
#[derive(Debug)]
pub(crate) enum NodeError {
    Unsupported { what: String, hint: String },
    Malformed(String),
    Infer(InferError),
    Tensor(String, TensorError),
}

impl From<InferError> for NodeError {
    fn from(error: InferError) -> Self {
        NodeError::Infer(error)
    }
}

impl NodeError {
    pub(crate) fn at(self, node: &str, operator: &str) -> ImportError {
        let (node, operator) = (node.to_owned(), operator.to_owned());
        match self {
            NodeError::Unsupported { what, hint } => ImportError::Unsupported {
                node,
                operator,
                what,
                hint,
            },
            NodeError::Malformed(why) => ImportError::Node { node, operator, why },
            NodeError::Infer(source) => ImportError::Shape { node, operator, source },
            NodeError::Tensor(name, kind) => ImportError::Tensor { name, kind },
        }
    }
}

/// An option of an operator that is not translated, with the nearest thing that works.
pub(crate) fn unsupported<T>(what: impl Into<String>, hint: impl Into<String>) -> Result<T, NodeError> {
    Err(NodeError::Unsupported {
        what: what.into(),
        hint: hint.into(),
    })
}

/// A contradiction in the file.
pub(crate) fn malformed<T>(why: impl Into<String>) -> Result<T, NodeError> {
    Err(NodeError::Malformed(why.into()))
}
