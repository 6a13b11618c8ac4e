//! Attribute values and recipe arguments, as read.

use std::str::FromStr;

use super::dim::{dim_name, parse_dim};
use crate::formula::Formula;
use crate::op::Einsum;
use crate::recipe::{Recipe, Template};
use crate::shape::Dim;
use crate::tensor::Tensor;

/// One value. Numbers, words and affine forms look alike until one knows what is expected.
#[derive(Debug, Clone)]
pub(super) enum Term {
    Text(String),
    Float(f64),
    String(String),
    Symbol(String),
    List(Vec<Term>),
    Call(String, Vec<Term>),
    Formula(Formula),
    Floats(Tensor<f32>),
    Ints(Tensor<i64>),
}

type Read<T> = Result<T, String>;

fn expected<T>(what: &str, found: &Term) -> Read<T> {
    let found = match found {
        Term::Text(text) => format!("`{text}`"),
        Term::Float(_) => "a float".to_owned(),
        Term::String(_) => "a string".to_owned(),
        Term::Symbol(_) => "a symbol".to_owned(),
        Term::List(_) => "a list".to_owned(),
        Term::Call(name, _) => format!("`{name}(…)`"),
        Term::Formula(_) => "a formula".to_owned(),
        Term::Floats(_) | Term::Ints(_) => "a tensor".to_owned(),
    };
    Err(format!("expected {what}, found {found}"))
}

impl Term {
    pub(super) fn number<N: FromStr>(self) -> Read<N> {
        match &self {
            Term::Text(text) => text.parse().or_else(|_| expected("a number in range", &self)),
            _ => expected("a number", &self),
        }
    }

    pub(super) fn dim(self) -> Read<Dim> {
        match &self {
            Term::Text(text) => parse_dim(text).map_or_else(|| expected("a dimension", &self), Ok),
            _ => expected("a dimension", &self),
        }
    }

    pub(super) fn word(self) -> Read<String> {
        match &self {
            Term::Text(text) if dim_name(text).is_some() => Ok(text.clone()),
            _ => expected("a word", &self),
        }
    }

    pub(super) fn float(self) -> Read<f64> {
        match self {
            Term::Float(value) => Ok(value),
            other => expected("a float", &other),
        }
    }

    pub(super) fn string(self) -> Read<String> {
        match self {
            Term::String(text) => Ok(text),
            other => expected("a string", &other),
        }
    }

    pub(super) fn symbol(self) -> Read<String> {
        match self {
            Term::Symbol(name) => Ok(name),
            other => expected("a symbol", &other),
        }
    }

    pub(super) fn formula(self) -> Read<Formula> {
        match self {
            Term::Formula(formula) => Ok(formula),
            other => expected("a formula", &other),
        }
    }

    pub(super) fn floats(self) -> Read<Tensor<f32>> {
        match self {
            Term::Floats(tensor) => Ok(tensor),
            other => expected("a tensor of floats", &other),
        }
    }

    pub(super) fn ints(self) -> Read<Tensor<i64>> {
        match self {
            Term::Ints(tensor) => Ok(tensor),
            other => expected("a tensor of integers", &other),
        }
    }

    fn list<T>(self, read: impl Fn(Term) -> Read<T>) -> Read<Vec<T>> {
        match self {
            Term::List(items) => items.into_iter().map(read).collect(),
            other => expected("a list", &other),
        }
    }

    pub(super) fn number_list<N: FromStr>(self) -> Read<Vec<N>> {
        self.list(Term::number)
    }

    pub(super) fn numbers<const N: usize>(self) -> Read<[u64; N]> {
        let list = self.number_list()?;
        let found = list.len();
        list.try_into()
            .map_err(|_| format!("expected {N} numbers, found {found}"))
    }

    pub(super) fn dims(self) -> Read<Vec<Dim>> {
        self.list(Term::dim)
    }

    /// A recipe, written as a call.
    pub(super) fn recipe(self) -> Read<Recipe> {
        match self {
            Term::Call(name, arguments) => recipe(&name, arguments),
            other => expected("a recipe", &other),
        }
    }
}

fn recipe(name: &str, arguments: Vec<Term>) -> Read<Recipe> {
    let mut arguments = arguments.into_iter();
    let mut next = || {
        arguments
            .next()
            .ok_or_else(|| format!("`{name}` has too few arguments"))
    };
    let boxed = |term: Term| term.recipe().map(Box::new);
    let made = match name {
        "tensor" => {
            let name = Template::parse(&next()?.string()?).map_err(|e| e.to_string())?;
            Recipe::Tensor {
                name,
                shape: next()?.number_list()?,
            }
        }
        "const" => Recipe::Const(next()?.floats()?.into()),
        "slice" => Recipe::Slice {
            input: boxed(next()?)?,
            axis: next()?.number()?,
            start: next()?.dim()?,
            len: next()?.number()?,
            step: next()?.number()?,
        },
        "transpose" => Recipe::Transpose {
            input: boxed(next()?)?,
            perm: next()?.number_list()?,
        },
        "reshape" => Recipe::Reshape {
            input: boxed(next()?)?,
            shape: next()?.number_list()?,
        },
        "contract" => Recipe::Contract {
            einsum: Einsum::parse(&next()?.string()?).map_err(|e| e.to_string())?,
            lhs: boxed(next()?)?,
            rhs: boxed(next()?)?,
        },
        "map" => Recipe::Map {
            formula: next()?.formula()?,
            inputs: rest(&mut arguments)?,
        },
        "concat" => Recipe::Concat {
            axis: next()?.number()?,
            inputs: rest(&mut arguments)?,
        },
        "stack" => Recipe::Stack {
            index: next()?.word()?,
            items: rest(&mut arguments)?,
        },
        "first_of" => Recipe::FirstOf(rest(&mut arguments)?),
        _ => return Err(format!("there is no recipe `{name}`")),
    };
    match arguments.next() {
        None => Ok(made),
        Some(_) => Err(format!("`{name}` has too many arguments")),
    }
}

fn rest(arguments: &mut dyn Iterator<Item = Term>) -> Read<Vec<Recipe>> {
    arguments.map(Term::recipe).collect()
}
