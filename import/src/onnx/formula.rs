//! Names of formulas: what a chain of small operators amounts to.

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

/// `1 / (1 + exp(-x))`.
pub(super) fn sigmoid() -> Formula {
    1.0 / (1.0 + (-Formula::x()).exp())
}

/// `max(x, 0) + log(1 + exp(-|x|))`: `log(1 + exp(x))` without overflow.
pub(super) fn softplus() -> Formula {
    Formula::x().max(0.0) + (1.0 + (-Formula::x().abs()).exp()).log()
}

/// `x/2 · (1 + erf(x/√2))`.
pub(super) fn gelu() -> Formula {
    let x = Formula::x();
    0.5 * x.clone() * (1.0 + (x / Formula::from(2.0).sqrt()).erf())
}

/// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³)))`.
pub(super) fn gelu_tanh() -> Formula {
    let x = Formula::x;
    let root = (Formula::from(2.0) / Formula::from(std::f64::consts::PI)).sqrt();
    0.5 * x() * (1.0 + (root * (x() + 0.044715 * x() * x() * x())).tanh())
}

/// `x · max(0, min(1, alpha·x + beta))`.
pub(super) fn hard_swish() -> Formula {
    Formula::x() * hard_sigmoid(1.0 / 6.0, 0.5)
}

/// `max(0, min(1, alpha·x + beta))`.
pub(super) fn hard_sigmoid(alpha: f64, beta: f64) -> Formula {
    (alpha * Formula::x() + beta).min(1.0).max(0.0)
}

/// `x · tanh(softplus(x))`.
pub(super) fn mish() -> Formula {
    Formula::x() * softplus().tanh()
}

/// The name of a known function that `formula` computes: equal to 1e-5 at points spread over [-8, 8].
///
/// Only the name of a table hangs on it, so that a composed chain reads as what it is.
pub(super) fn name(formula: &Formula) -> Option<&'static str> {
    let known = [
        ("relu", Formula::x().max(0.0)),
        ("relu6", Formula::x().max(0.0).min(6.0)),
        ("sigmoid", sigmoid()),
        ("tanh", Formula::x().tanh()),
        ("softplus", softplus()),
        ("silu", Formula::x() * sigmoid()),
        ("gelu", gelu()),
        ("gelu_tanh", gelu_tanh()),
        ("hard_swish", hard_swish()),
        ("mish", mish()),
    ];
    let same = |f: &Formula| {
        (-32..=32).all(|i| {
            let at = f64::from(i) * 0.2431 + 0.0117;
            let (a, b) = (formula.eval(at), f.eval(at));
            (a - b).abs() <= 1e-5
        })
    };
    known.into_iter().find(|(_, f)| same(f)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_named_after_what_they_compute() {
        let x = Formula::x;
        // The order and the constants of PyTorch's exporter.
        let gelu = x() * ((x() / 1.414_213_538_169_860_8).erf() + 1.0) * 0.5;
        assert_eq!(name(&gelu), Some("gelu"));
        assert_eq!(name(&(x() * ((x() + 3.0).max(0.0).min(6.0) / 6.0))), Some("hard_swish"));
        assert_eq!(name(&x().exp()), None);
    }

    #[test]
    fn products_and_sums_with_a_number_are_found() {
        assert_eq!(scaling(&(Formula::x() * 0.5)), Some((BinaryOp::Mul, 0.5)));
        assert_eq!(scaling(&(3.0 + Formula::x())), Some((BinaryOp::Add, 3.0)));
        assert_eq!(scaling(&(3.0 - Formula::x())), None);
    }
}
