//! Types of values, the two stages, visibility, and source spans.
//!
//! In the **real** stage an element is a real number, an index, or a mask bit. In the **quantised** stage a real number
//! has become a signed integer `q` with a scale: it stands for `q · scale`, and `lo ≤ q ≤ hi` is proved.

use std::fmt;
use std::sync::Arc;

use crate::shape::Shape;
use crate::text::float::hex;

/// Every integer of the quantised stage lies strictly between `-INT_LIMIT` and `INT_LIMIT`, so that no sum of two of
/// them wraps in M31.
pub const INT_LIMIT: i64 = 1 << 30;

/// Which of the two arithmetics a module is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Real numbers; no [`Elem::Int`] occurs.
    Real,
    /// Exact integers; no [`Elem::Real`] occurs.
    Quantised,
}

/// Who sees a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// In the statement.
    Public,
    /// Not in the statement (which is not yet zero-knowledge).
    Private,
    /// Not in the statement, but its commitment is.
    Committed,
}

/// Scale and proved bounds of an integer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntType {
    /// The integer `q` stands for the real number `q · scale`; positive and finite.
    pub scale: f64,
    /// Least value, inclusive.
    pub lo: i64,
    /// Greatest value, inclusive.
    pub hi: i64,
}

impl IntType {
    /// `max(|lo|, |hi|)`.
    pub fn max_abs(&self) -> i64 {
        self.lo.saturating_abs().max(self.hi.saturating_abs())
    }

    /// True where `value` is within the bounds.
    pub fn contains(&self, value: i64) -> bool {
        (self.lo..=self.hi).contains(&value)
    }
}

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Elem {
    /// A real number (real stage only).
    Real,
    /// A natural number below the vocabulary size: a token, a position, the result of argmax.
    Index(u64),
    /// A bit: true where the position counts.
    Mask,
    /// An integer with scale and bounds (quantised stage only).
    Int(IntType),
}

impl Elem {
    /// Scale and bounds, where it is an integer.
    pub fn int(&self) -> Option<IntType> {
        match self {
            Elem::Int(int) => Some(*int),
            _ => None,
        }
    }
}

/// Type of a value: what one element is, and the axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    /// What one element is.
    pub elem: Elem,
    /// The axes, outermost first.
    pub shape: Shape,
}

impl Type {
    /// A tensor of real numbers.
    pub fn real(shape: Shape) -> Self {
        Type {
            elem: Elem::Real,
            shape,
        }
    }

    /// A tensor of indices below `vocab`.
    pub fn index(vocab: u64, shape: Shape) -> Self {
        Type {
            elem: Elem::Index(vocab),
            shape,
        }
    }

    /// A tensor of mask bits.
    pub fn mask(shape: Shape) -> Self {
        Type {
            elem: Elem::Mask,
            shape,
        }
    }

    /// A tensor of integers standing for `q · scale`, with `lo ≤ q ≤ hi`.
    pub fn int(scale: f64, lo: i64, hi: i64, shape: Shape) -> Self {
        Type {
            elem: Elem::Int(IntType { scale, lo, hi }),
            shape,
        }
    }

    /// The same element type with other axes.
    pub fn with_shape(&self, shape: Shape) -> Self {
        Type { elem: self.elem, shape }
    }
}

/// A byte range of a source file (or of a model file, where an importer made the operation).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Span {
    /// Name of the file, as the front-end was given it.
    pub file: Arc<str>,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Real => "real",
            Stage::Quantised => "quantised",
        })
    }
}

impl fmt::Display for Visibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Visibility::Public => "public",
            Visibility::Private => "private",
            Visibility::Committed => "committed",
        })
    }
}

impl fmt::Display for Elem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Elem::Real => f.write_str("real"),
            Elem::Index(vocab) => write!(f, "index<{vocab}>"),
            Elem::Mask => f.write_str("mask"),
            Elem::Int(t) => write!(f, "int<{}, {}, {}>", hex(t.scale), t.lo, t.hi),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.elem, self.shape)
    }
}
