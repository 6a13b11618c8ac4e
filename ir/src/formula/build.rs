//! Constructors and operators, so that Rust code reads like the formula it builds.

use std::ops::{Add, Div, Mul, Neg, Sub};

use super::{Binary, Formula, Unary};

macro_rules! unary_methods {
    ($($method:ident => $op:ident),* $(,)?) => {
        impl Formula {
            $(
                #[doc = concat!("`", stringify!($method), "(self)`.")]
                #[must_use]
                pub fn $method(self) -> Formula {
                    Formula::unary(Unary::$op, self)
                }
            )*
        }
    };
}

macro_rules! binary_methods {
    ($($method:ident => $op:ident),* $(,)?) => {
        impl Formula {
            $(
                #[doc = concat!("`", stringify!($op), "(self, other)`.")]
                #[must_use]
                pub fn $method(self, other: impl Into<Formula>) -> Formula {
                    Formula::binary(Binary::$op, self, other.into())
                }
            )*
        }
    };
}

macro_rules! operators {
    ($($trait:ident :: $method:ident),* $(,)?) => {
        $(
            impl<F: Into<Formula>> $trait<F> for Formula {
                type Output = Formula;
                fn $method(self, other: F) -> Formula {
                    Formula::binary(Binary::$trait, self, other.into())
                }
            }
            impl $trait<Formula> for f64 {
                type Output = Formula;
                fn $method(self, other: Formula) -> Formula {
                    Formula::binary(Binary::$trait, Formula::Const(self), other)
                }
            }
        )*
    };
}

impl Formula {
    /// The variable `x`.
    pub fn x() -> Formula {
        Formula::Var(0)
    }

    /// Variable number `n`.
    pub fn var(n: u32) -> Formula {
        Formula::Var(n)
    }

    /// A function of one argument.
    pub fn unary(op: Unary, a: Formula) -> Formula {
        Formula::Unary(op, Box::new(a))
    }

    /// A function of two arguments.
    pub fn binary(op: Binary, a: Formula, b: Formula) -> Formula {
        Formula::Binary(op, Box::new((a, b)))
    }

    /// `a` where `condition` is not zero, else `b`.
    pub fn select(condition: Formula, a: impl Into<Formula>, b: impl Into<Formula>) -> Formula {
        Formula::Select(Box::new((condition, a.into(), b.into())))
    }
}

unary_methods!(
    sqrt => Sqrt, exp => Exp, log => Log, tanh => Tanh, erf => Erf, sin => Sin, cos => Cos, abs => Abs,
    floor => Floor, round => Round,
);
binary_methods!(pow => Pow, min => Min, max => Max, lt => Lt, le => Le, equals => Eq);
operators!(Add::add, Sub::sub, Mul::mul, Div::div);

impl Neg for Formula {
    type Output = Formula;
    fn neg(self) -> Formula {
        Formula::unary(Unary::Neg, self)
    }
}

impl From<f64> for Formula {
    fn from(value: f64) -> Self {
        Formula::Const(value)
    }
}
