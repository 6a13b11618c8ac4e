//! Evaluation in `f64`: IEEE arithmetic and the `libm` crate, nothing of the platform.

use super::{Binary, Formula, Unary};

impl Formula {
    /// The value at `x`, for a formula of at most one variable. Other variables are NaN.
    pub fn eval(&self, x: f64) -> f64 {
        self.eval_with(&[x])
    }

    /// The value where variable `n` is `variables[n]`; NaN for variables beyond.
    pub fn eval_with(&self, variables: &[f64]) -> f64 {
        match self {
            Formula::Var(n) => variables.get(*n as usize).copied().unwrap_or(f64::NAN),
            Formula::Const(c) => *c,
            Formula::Unary(op, a) => op.apply(a.eval_with(variables)),
            Formula::Binary(op, ab) => op.apply(ab.0.eval_with(variables), ab.1.eval_with(variables)),
            Formula::Select(cab) => {
                let chosen = if cab.0.eval_with(variables) != 0.0 {
                    &cab.1
                } else {
                    &cab.2
                };
                chosen.eval_with(variables)
            }
        }
    }
}

impl Unary {
    /// The function at `a`.
    pub fn apply(self, a: f64) -> f64 {
        match self {
            Unary::Neg => -a,
            Unary::Sqrt => libm::sqrt(a),
            Unary::Exp => libm::exp(a),
            Unary::Log => libm::log(a),
            Unary::Tanh => libm::tanh(a),
            Unary::Erf => libm::erf(a),
            Unary::Sin => libm::sin(a),
            Unary::Cos => libm::cos(a),
            Unary::Abs => libm::fabs(a),
            Unary::Floor => libm::floor(a),
            Unary::Round => libm::rint(a),
        }
    }
}

impl Binary {
    /// The function at `(a, b)`. `min` and `max` return the other argument where one is NaN.
    pub fn apply(self, a: f64, b: f64) -> f64 {
        let truth = |t: bool| if t { 1.0 } else { 0.0 };
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            Binary::Pow => libm::pow(a, b),
            Binary::Min => libm::fmin(a, b),
            Binary::Max => libm::fmax(a, b),
            Binary::Lt => truth(a < b),
            Binary::Le => truth(a <= b),
            Binary::Eq => truth(a == b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gelu() -> Formula {
        let x = Formula::x();
        0.5 * x.clone() * (1.0 + (x / Formula::from(2.0).sqrt()).erf())
    }

    #[test]
    fn gelu_has_its_known_values() {
        assert_eq!(gelu().eval(0.0), 0.0);
        assert!((gelu().eval(1.0) - 0.841_344_746_068_542_9).abs() < 1e-15);
        assert!((gelu().eval(-1.0) + 0.158_655_253_931_457_05).abs() < 1e-15);
    }

    #[test]
    fn rounding_is_half_to_even() {
        let round = Formula::x().round();
        let values = [0.5, 1.5, 2.5, -0.5, -1.5, 2.4999].map(|v| round.eval(v));
        assert_eq!(values, [0.0, 2.0, 2.0, 0.0, -2.0, 2.0]);
    }

    #[test]
    fn select_takes_one_side_only() {
        let safe_log = Formula::select(Formula::Const(0.0).lt(Formula::x()), Formula::x().log(), -1.0);
        assert_eq!(safe_log.eval(1.0), 0.0);
        assert_eq!(safe_log.eval(-5.0), -1.0);
    }

    #[test]
    fn text_and_hash_follow_the_tree() {
        assert_eq!(
            gelu().to_string(),
            "mul(mul(0x1p-1, x), add(0x1p0, erf(div(x, sqrt(0x1p1)))))"
        );
        assert_eq!(gelu().content_hash(), gelu().content_hash());
        assert_ne!(gelu().content_hash(), Formula::x().content_hash());
        let composed = Formula::x().exp().compose(&-Formula::x());
        assert_eq!(composed.to_string(), "exp(neg(x))");
    }
}
