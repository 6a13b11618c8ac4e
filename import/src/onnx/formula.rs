//! Named functions, written as the standard library of the language writes them, and the names of composed chains.
//!
//! A chain that computes a named function is replaced by that function's own formula, so that a GELU of one exporter, a
//! GELU of another and `gelu` of the language are one table.

use mlc_ir::formula::Binary;
use mlc_ir::{BinaryOp, Formula};

/// `x · c`, `x + c` and the like: the operation and the number.
pub(super) fn scaling(formula: &Formula) -> Option<(BinaryOp, f64)> {
    let Formula::Binary(op, operands) = formula else {
        return None;
    };
    match (op, &operands.0, &operands.1) {
        (Binary::Mul, Formula::Var(0), Formula::Const(c)) | (Binary::Mul, Formula::Const(c), Formula::Var(0)) => {
            Some((BinaryOp::Mul, *c))
        }
        (Binary::Add, Formula::Var(0), Formula::Const(c)) | (Binary::Add, Formula::Const(c), Formula::Var(0)) => {
            Some((BinaryOp::Add, *c))
        }
        (Binary::Sub, Formula::Var(0), Formula::Const(c)) => Some((BinaryOp::Sub, *c)),
        _ => None,
    }
}

/// `max(x, 0)`.
pub(crate) fn relu() -> Formula {
    Formula::x().max(0.0)
}

/// `a` where `x ≥ 0`, else `b`.
pub(crate) fn by_sign(a: Formula, b: Formula) -> Formula {
    Formula::select(Formula::Const(0.0).le(Formula::x()), a, b)
}

/// `x` where `x ≥ 0`, else `slope · x`.
pub(crate) fn leaky_relu(slope: f64) -> Formula {
    by_sign(Formula::x(), slope * Formula::x())
}

/// `x` where `x ≥ 0`, else `alpha · (exp(x) - 1)`.
pub(crate) fn elu(alpha: f64) -> Formula {
    by_sign(Formula::x(), alpha * (Formula::x().exp() - 1.0))
}

/// `1 / (1 + exp(-x))`.
pub(crate) fn sigmoid() -> Formula {
    1.0 / (1.0 + (-Formula::x()).exp())
}

/// `max(x, 0) + log(1 + exp(-|x|))`: `log(1 + exp(x))` without overflow.
pub(crate) fn softplus() -> Formula {
    relu() + (1.0 + (-Formula::x().abs()).exp()).log()
}

/// `x/2 · (1 + erf(x/√2))`.
pub(crate) fn gelu() -> Formula {
    let x = Formula::x();
    0.5 * x.clone() * (1.0 + (x / std::f64::consts::SQRT_2).erf())
}

/// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³)))`.
pub(crate) fn gelu_tanh() -> Formula {
    let x = Formula::x;
    0.5 * x() * (1.0 + (0.7978845608028654 * (x() + 0.044715 * x() * x() * x())).tanh())
}

/// `max(0, min(1, x/6 + 1/2))`.
pub(crate) fn hard_sigmoid() -> Formula {
    (Formula::x() / 6.0 + 0.5).max(0.0).min(1.0)
}

/// `x · hard_sigmoid(x)`.
pub(crate) fn hard_swish() -> Formula {
    Formula::x() * hard_sigmoid()
}

/// `x · tanh(softplus(x))`.
pub(crate) fn mish() -> Formula {
    Formula::x() * softplus().tanh()
}

/// The functions of `std.activation` without parameters, as the language elaborates them.
pub(crate) fn standard() -> [(&'static str, Formula); 12] {
    [
        ("relu", relu()),
        ("relu6", relu().min(6.0)),
        ("sigmoid", sigmoid()),
        ("hard_sigmoid", hard_sigmoid()),
        ("softplus", softplus()),
        ("silu", Formula::x() * sigmoid()),
        ("hard_swish", hard_swish()),
        ("mish", mish()),
        ("selu", 1.0507009873554805 * elu(1.6732632423543772)),
        ("softsign", Formula::x() / (1.0 + Formula::x().abs())),
        ("gelu", gelu()),
        ("gelu_tanh", gelu_tanh()),
    ]
}

/// The standard function that `formula` computes, to the precision of `f32`: compared over [-8, 8] and at magnitudes up to
/// 1e38, so that no clamp is missed.
pub(super) fn recognise(formula: &Formula) -> Option<(&'static str, Formula)> {
    let near = (-32..=32).map(|i| f64::from(i) * 0.2431 + 0.0117);
    let far = (1..=38).flat_map(|e| [-1.0, 1.0].map(|sign| sign * 2.7 * libm::pow(10.0, f64::from(e))));
    let points: Vec<f64> = near.chain(far).collect();
    let same = |f: &Formula| {
        points.iter().all(|at| {
            let (a, b) = (formula.eval(*at), f.eval(*at));
            a == b || (a - b).abs() <= 1e-6 * b.abs().max(1.0)
        })
    };
    standard().into_iter().find(|(_, f)| same(f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_become_what_they_compute() {
        let x = Formula::x;
        let name = |f: &Formula| recognise(f).map(|(name, _)| name);
        // The order and the constants of PyTorch's exporter.
        let chain = x() * ((x() / 1.414_213_538_169_860_8).erf() + 1.0) * 0.5;
        assert_eq!(recognise(&chain), Some(("gelu", gelu())));
        assert_eq!(name(&(x() * ((x() + 3.0).max(0.0).min(6.0) / 6.0))), Some("hard_swish"));
        assert_eq!(name(&x().exp()), None);
        assert_eq!(name(&relu().min(1e6)), None);
    }

    #[test]
    fn products_and_sums_with_a_number_are_found() {
        assert_eq!(scaling(&(Formula::x() * 0.5)), Some((BinaryOp::Mul, 0.5)));
        assert_eq!(scaling(&(3.0 + Formula::x())), Some((BinaryOp::Add, 3.0)));
        assert_eq!(scaling(&(3.0 - Formula::x())), None);
    }
}
