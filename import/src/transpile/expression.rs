//! Formulas, dimensions and numbers as text.

use mlc_ir::formula::{Binary, Unary};
use mlc_ir::{Dim, Formula, Shape};

/// How tightly an expression binds.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Level {
    Comparison,
    Sum,
    Product,
    Sign,
    Atom,
}

/// A formula of the variable `x`.
pub(super) fn formula(f: &Formula) -> String {
    text(f).0
}

fn text(f: &Formula) -> (String, Level) {
    match f {
        Formula::Var(_) => ("x".to_owned(), Level::Atom),
        Formula::Const(c) if *c < 0.0 => (number(*c), Level::Sign),
        Formula::Const(c) => (number(*c), Level::Atom),
        Formula::Unary(Unary::Neg, a) => (format!("-{}", within(a, Level::Atom)), Level::Sign),
        Formula::Unary(op, a) => (format!("{}({})", op.name(), formula(a)), Level::Atom),
        Formula::Select(parts) => {
            let (c, a, b) = &**parts;
            let text = format!("if {} {{ {} }} else {{ {} }}", condition(c), formula(a), formula(b));
            (format!("({text})"), Level::Atom)
        }
        Formula::Binary(op, operands) => binary(*op, &operands.0, &operands.1),
    }
}

/// A condition, which has to be a comparison.
fn condition(c: &Formula) -> String {
    match c {
        Formula::Binary(Binary::Lt | Binary::Le | Binary::Eq, _) => formula(c),
        other => format!("not ({} == 0)", formula(other)),
    }
}

fn binary(op: Binary, a: &Formula, b: &Formula) -> (String, Level) {
    let infix = |symbol: &str, level: Level, right: Level| {
        let text = format!("{} {symbol} {}", within(a, level), within(b, right));
        (text, level)
    };
    match (op, b) {
        (Binary::Add, Formula::Const(c)) if *c < 0.0 => {
            (format!("{} - {}", within(a, Level::Sum), number(-c)), Level::Sum)
        }
        (Binary::Add, _) => infix("+", Level::Sum, Level::Product),
        (Binary::Sub, _) => infix("-", Level::Sum, Level::Product),
        (Binary::Mul, _) => infix("*", Level::Product, Level::Sign),
        (Binary::Div, _) => infix("/", Level::Product, Level::Sign),
        (Binary::Lt, _) => infix("<", Level::Comparison, Level::Sum),
        (Binary::Le, _) => infix("<=", Level::Comparison, Level::Sum),
        (Binary::Eq, _) => infix("==", Level::Comparison, Level::Sum),
        (Binary::Pow | Binary::Min | Binary::Max, _) => {
            (format!("{}({}, {})", op.name(), formula(a), formula(b)), Level::Atom)
        }
    }
}

/// `f`, in parentheses where it binds less tightly than `level`; a comparison as the number it is.
fn within(f: &Formula, level: Level) -> String {
    let (text, own) = text(f);
    if own < level || own == Level::Comparison {
        format!("({text})")
    } else {
        text
    }
}

/// The shortest decimal that reads back as `value`.
pub(super) fn number(value: f64) -> String {
    format!("{value:?}")
}

/// The shortest decimal that reads back as `value` after rounding to `f32`.
pub(super) fn short(value: f32) -> String {
    format!("{value:?}")
}

/// A length: `2 * batch + 1`.
pub(super) fn dim(d: &Dim) -> String {
    let mut out = String::new();
    for (name, coefficient) in d.terms() {
        let sign = match (out.is_empty(), coefficient < 0) {
            (true, false) => "",
            (true, true) => "-",
            (false, false) => " + ",
            (false, true) => " - ",
        };
        out.push_str(sign);
        if coefficient.abs() != 1 {
            out.push_str(&format!("{} * ", coefficient.unsigned_abs()));
        }
        out.push_str(name);
    }
    match d.constant() {
        0 if !out.is_empty() => out,
        c if out.is_empty() => c.to_string(),
        c if c < 0 => format!("{out} - {}", c.unsigned_abs()),
        c => format!("{out} + {c}"),
    }
}

/// `[batch, 64]`
pub(super) fn shape(s: &Shape) -> String {
    list(s.0.iter().map(dim))
}

/// `[a, b]`
pub(super) fn list(items: impl IntoIterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_parenthesised_only_where_needed() {
        let x = Formula::x;
        let cases = [
            (0.5 * x() * (1.0 + (x() / 1.5).erf()), "0.5 * x * (1.0 + erf(x / 1.5))"),
            (x() - (x() - 1.0), "x - (x - 1.0)"),
            (x() / (x() * 2.0), "x / (x * 2.0)"),
            (-(x() + 1.0) * x(), "-(x + 1.0) * x"),
            (x() + Formula::Const(-2.0), "x - 2.0"),
            (x() * Formula::Const(-2.0), "x * -2.0"),
            (
                Formula::select(Formula::Const(0.0).lt(x()), x(), 0.1 * x()),
                "(if 0.0 < x { x } else { 0.1 * x })",
            ),
            (Formula::Const(0.0).lt(x()) - x().lt(0.0), "(0.0 < x) - (x < 0.0)"),
        ];
        for (f, want) in cases {
            assert_eq!(formula(&f), want);
        }
    }

    #[test]
    fn lengths_read_like_arithmetic() {
        let d = Dim::runtime("batch").times(2).plus_const(-1);
        assert_eq!(dim(&d), "2 * batch - 1");
        assert_eq!(dim(&Dim::fixed(7)), "7");
    }
}
