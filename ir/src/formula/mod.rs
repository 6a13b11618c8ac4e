//! Scalar formulas: the one way to say what an elementwise function computes.
//!
//! A [`Formula`] is an expression tree over variables `x`, `x1`, `x2`, … A table has one variable; a weight recipe may
//! combine several tensors and so has several. Evaluation is in `f64` through the `libm` crate only ([`eval`](Formula::eval)),
//! so a table built from a formula has the same entries on every platform.
//!
//! Text is canonical: every operation is a call (`mul(x, add(erf(x), 0x1p0))`), every constant is exact hex. Equal trees
//! have equal text, and the [content hash](Formula::content_hash) is Blake2s-256 of it.

mod build;
mod eval;

use std::fmt;

use blake2::{Blake2s256, Digest};

use crate::text::float::hex;

/// Functions of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the usual ones
pub enum Unary {
    Neg,
    Sqrt,
    Exp,
    /// Natural logarithm.
    Log,
    Tanh,
    /// The Gauss error function.
    Erf,
    Sin,
    Cos,
    Abs,
    Floor,
    /// To the nearest integer, halves to even.
    Round,
}

/// Functions of two arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the usual ones
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
    /// 1 where the first argument is less than the second, else 0.
    Lt,
    /// 1 where the first argument is at most the second, else 0.
    Le,
    /// 1 where both arguments are equal, else 0.
    Eq,
}

/// An expression over scalar variables.
#[derive(Debug, Clone, PartialEq)]
pub enum Formula {
    /// Variable number `n`: `x` is 0, `x1` is 1, and so on.
    Var(u32),
    /// A constant.
    Const(f64),
    /// A function of one argument.
    Unary(Unary, Box<Formula>),
    /// A function of two arguments.
    Binary(Binary, Box<(Formula, Formula)>),
    /// `select(c, a, b)`: `a` where `c` is not zero, else `b`.
    Select(Box<(Formula, Formula, Formula)>),
}

impl Unary {
    /// Every function, in the order of the enum.
    pub const ALL: [Unary; 11] = [
        Unary::Neg,
        Unary::Sqrt,
        Unary::Exp,
        Unary::Log,
        Unary::Tanh,
        Unary::Erf,
        Unary::Sin,
        Unary::Cos,
        Unary::Abs,
        Unary::Floor,
        Unary::Round,
    ];

    /// Its name in text.
    pub fn name(self) -> &'static str {
        match self {
            Unary::Neg => "neg",
            Unary::Sqrt => "sqrt",
            Unary::Exp => "exp",
            Unary::Log => "log",
            Unary::Tanh => "tanh",
            Unary::Erf => "erf",
            Unary::Sin => "sin",
            Unary::Cos => "cos",
            Unary::Abs => "abs",
            Unary::Floor => "floor",
            Unary::Round => "round",
        }
    }

    /// The function called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }
}

impl Binary {
    /// Every function, in the order of the enum.
    pub const ALL: [Binary; 10] = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Pow,
        Binary::Min,
        Binary::Max,
        Binary::Lt,
        Binary::Le,
        Binary::Eq,
    ];

    /// Its name in text.
    pub fn name(self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
            Binary::Pow => "pow",
            Binary::Min => "min",
            Binary::Max => "max",
            Binary::Lt => "lt",
            Binary::Le => "le",
            Binary::Eq => "eq",
        }
    }

    /// The function called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }
}

impl Formula {
    /// One more than the greatest variable number that occurs; 0 for a constant formula.
    pub fn arity(&self) -> u32 {
        match self {
            Formula::Var(n) => n.saturating_add(1),
            Formula::Const(_) => 0,
            Formula::Unary(_, a) => a.arity(),
            Formula::Binary(_, ab) => ab.0.arity().max(ab.1.arity()),
            Formula::Select(cab) => cab.0.arity().max(cab.1.arity()).max(cab.2.arity()),
        }
    }

    /// The formula with every variable `n` replaced by `arguments[n]` (kept where there is none).
    #[must_use]
    pub fn substitute(&self, arguments: &[Formula]) -> Formula {
        match self {
            Formula::Var(n) => arguments.get(*n as usize).cloned().unwrap_or(Formula::Var(*n)),
            Formula::Const(c) => Formula::Const(*c),
            Formula::Unary(f, a) => Formula::Unary(*f, Box::new(a.substitute(arguments))),
            Formula::Binary(f, ab) => {
                Formula::Binary(*f, Box::new((ab.0.substitute(arguments), ab.1.substitute(arguments))))
            }
            Formula::Select(cab) => Formula::Select(Box::new((
                cab.0.substitute(arguments),
                cab.1.substitute(arguments),
                cab.2.substitute(arguments),
            ))),
        }
    }

    /// `self ∘ inner`, both of one variable.
    #[must_use]
    pub fn compose(&self, inner: &Formula) -> Formula {
        self.substitute(std::slice::from_ref(inner))
    }

    /// Blake2s-256 of the canonical text.
    pub fn content_hash(&self) -> [u8; 32] {
        Blake2s256::digest(self.to_string().as_bytes()).into()
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Formula::Var(0) => f.write_str("x"),
            Formula::Var(n) => write!(f, "x{n}"),
            Formula::Const(c) => f.write_str(&hex(*c)),
            Formula::Unary(op, a) => write!(f, "{}({a})", op.name()),
            Formula::Binary(op, ab) => write!(f, "{}({}, {})", op.name(), ab.0, ab.1),
            Formula::Select(cab) => write!(f, "select({}, {}, {})", cab.0, cab.1, cab.2),
        }
    }
}
