//! Linear functionals that opening claims are about.
//!
//! A claim on a vector v of length `2^n` is `⟨v, f⟩ = value`. The verifier needs only the multilinear extension of f at
//! one point, and f's dense coefficients where a vector is short enough to be sent in clear.

use alloc::vec;
use alloc::vec::Vec;

use num_traits::{One, Zero};

use super::code::Domain;
use crate::field::{M31, QM31, eq_points, eq_table};

/// A linear functional on vectors of length `2^n`.
pub trait Functional: Sync {
    /// The multilinear extension at `z` (n entries, the top index bit first).
    fn eval(&self, z: &[QM31]) -> QM31;

    /// Adds `scale · f_j` to `out[j]` for every j; `out.len()` is `2^n`.
    fn accumulate(&self, scale: QM31, out: &mut [QM31]);

    /// The dense coefficients.
    fn coefficients(&self, log_len: u32) -> Vec<QM31> {
        let mut out = vec![QM31::zero(); 1 << log_len];
        self.accumulate(QM31::one(), &mut out);
        out
    }
}

/// `⟨v, f⟩ = value`, where the caller has already drawn everything that `functional` depends on.
pub struct Claim<'a> {
    /// The functional.
    pub functional: &'a dyn Functional,
    /// What it must give on the vector.
    pub value: QM31,
}

/// Evaluation of the multilinear extension of the vector at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EqPoint(pub Vec<QM31>);

impl Functional for EqPoint {
    fn eval(&self, z: &[QM31]) -> QM31 {
        eq_points(&self.0, z)
    }

    fn accumulate(&self, scale: QM31, out: &mut [QM31]) {
        let table = eq_table(&self.0, out.len());
        for (o, e) in out.iter_mut().zip(table) {
            *o += scale * e;
        }
    }
}

/// One position of the encoding of the vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position(pub Vec<M31>);

impl Position {
    /// Position `q` of a domain, for messages of length `2^n`.
    pub fn new(domain: &Domain, q: usize, n: u32) -> Self {
        Self(domain.position_factors(q, n))
    }
}

impl Functional for Position {
    fn eval(&self, z: &[QM31]) -> QM31 {
        debug_assert_eq!(z.len(), self.0.len());
        self.0
            .iter()
            .rev()
            .zip(z)
            .fold(QM31::one(), |acc, (&f, &z)| acc * (QM31::one() + z * (f - M31::one())))
    }

    fn accumulate(&self, scale: QM31, out: &mut [QM31]) {
        let mut tensor = vec![scale];
        for &f in self.0.iter().rev() {
            tensor = tensor.iter().flat_map(|&e| [e, e * f]).collect();
        }
        for (o, e) in out.iter_mut().zip(tensor) {
            *o += e;
        }
    }
}

/// Explicit coefficients; entries past the end are zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dense(pub Vec<QM31>);

impl Functional for Dense {
    fn eval(&self, z: &[QM31]) -> QM31 {
        crate::field::mle(&self.0, z)
    }

    fn accumulate(&self, scale: QM31, out: &mut [QM31]) {
        for (o, &e) in out.iter_mut().zip(&self.0) {
            *o += scale * e;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commitment::code::encode_at;
    use crate::field::mle;

    fn element(i: u32) -> QM31 {
        QM31::from_u32_unchecked(i * i + 7, 5 * i + 1, 11 + i, 3 * i)
    }

    #[test]
    fn evaluations_agree_with_dense_coefficients() {
        for n in 0..6u32 {
            let z: Vec<QM31> = (0..n).map(|i| element(i + 40)).collect();
            let v: Vec<QM31> = (0..1 << n).map(element).collect();
            let position = Position::new(&Domain::new(n + 2), 3, n);
            let point = EqPoint((0..n).map(|i| element(i + 90)).collect());
            for f in [&position as &dyn Functional, &point] {
                let dense = f.coefficients(n);
                assert_eq!(mle(&dense, &z), f.eval(&z));
            }
            let dense = position.coefficients(n);
            let inner = dense.iter().zip(&v).fold(QM31::zero(), |a, (&d, &v)| a + d * v);
            assert_eq!(inner, encode_at(&position.0, &v));
        }
    }
}
