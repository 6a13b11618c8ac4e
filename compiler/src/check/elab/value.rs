//! Compile-time values.
//!
//! Everything that is not a tensor is known when the model is compiled. Integers and dimensions are one sort: an affine
//! form over run-time dimensions ([`Dim`]), constant in most cases. The index of a `repeat` is such a form too, over a
//! name of its own. A string may hold such forms in its holes.

use crate::check::modules::{Def, ModuleId};
use crate::syntax::Span;
use mlc_ir::{Dim, Formula, ValueId};
use std::fmt;
use std::rc::Rc;

/// A value.
#[derive(Clone, Debug)]
pub(in crate::check) enum Value {
    /// An integer or a dimension.
    Dim(Dim),
    /// A real number, finite.
    Real(f64),
    Bool(bool),
    Str(Text),
    None,
    /// A list of dimensions: a shape, a list of axes.
    List(Vec<Dim>),
    Tuple(Vec<(Option<String>, Value)>),
    Tensor(ValueId),
    /// The variable of a table, or what is computed from it.
    Formula(Rc<Formula>, usize),
    /// An elementwise function.
    Table(Rc<TableValue>),
    /// Where a weight comes from: a stored tensor, sliced or transposed, or alternatives.
    Source(Rc<Vec<Stored>>),
    /// A state by its name in the graph.
    State(String),
    /// A block, function, model or module.
    Def(Def),
    /// A builtin function.
    Builtin(&'static str),
    /// Something that failed and was reported; using it fails silently.
    Error,
}

/// An elementwise function as a value.
#[derive(Clone, Debug)]
pub(in crate::check) struct TableValue {
    pub(in crate::check) name: String,
    pub(in crate::check) formula: Formula,
    /// Where it is declared, so that a call can set its parameters; `None` once they are set.
    pub(in crate::check) open: Option<(ModuleId, usize)>,
}

/// A tensor of the weight file and what is done with it.
#[derive(Clone, Debug)]
pub(in crate::check) struct Stored {
    pub(in crate::check) name: Text,
    /// Its shape in the file, where the source says it.
    pub(in crate::check) shape: Option<Vec<Dim>>,
    pub(in crate::check) steps: Vec<Step>,
}

/// One thing done with a stored tensor.
#[derive(Clone, Debug)]
pub(in crate::check) enum Step {
    /// All axes reversed.
    Transpose,
    Slice(Vec<Cut>, Span),
}

/// What an index keeps of one axis.
#[derive(Clone, Debug)]
pub(in crate::check) enum Cut {
    Full,
    /// All axes not mentioned.
    Rest,
    /// One position, where the axis goes.
    At(Dim, Span),
    Range(Option<Dim>, Option<Dim>, Span),
}

/// A string, perhaps with holes that hold affine forms over repeat indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::check) struct Text {
    /// Text of a [`mlc_ir::Template`]: literal braces are doubled.
    pub(in crate::check) template: String,
    pub(in crate::check) holes: bool,
}

impl Text {
    pub(in crate::check) fn plain(text: &str) -> Self {
        Text {
            template: text.replace('{', "{{").replace('}', "}}"),
            holes: false,
        }
    }

    /// The text, where it has no holes.
    pub(in crate::check) fn as_plain(&self) -> Option<String> {
        (!self.holes).then(|| self.template.replace("{{", "{").replace("}}", "}"))
    }
}

impl Value {
    pub(in crate::check) fn int(value: i64) -> Value {
        Value::Dim(Dim::fixed(value))
    }

    /// How a message names this sort of value.
    pub(in crate::check) fn sort(&self) -> &'static str {
        match self {
            Value::Dim(_) => "an integer",
            Value::Real(_) => "a real number",
            Value::Bool(_) => "a truth value",
            Value::Str(_) => "a string",
            Value::None => "none",
            Value::List(_) => "a list",
            Value::Tuple(_) => "several values",
            Value::Tensor(_) => "a tensor",
            Value::Formula(..) => "the variable of a formula",
            Value::Table(_) => "a table",
            Value::Source(_) => "the source of a weight",
            Value::State(_) => "a state",
            Value::Def(Def::Module(_)) => "a module",
            Value::Def(_) => "a block or function",
            Value::Builtin(_) => "a builtin function",
            Value::Error => "an error",
        }
    }
}

impl fmt::Display for Value {
    /// The value, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Dim(d) => write!(f, "{d}"),
            Value::Real(r) => write!(f, "{r:?}"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Str(t) => write!(f, "\"{}\"", t.template),
            Value::List(dims) => {
                let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
                write!(f, "[{}]", dims.join(", "))
            }
            other => f.write_str(other.sort()),
        }
    }
}
