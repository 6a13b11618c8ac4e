//! Dimensions and shapes.
//!
//! A [`Dim`] is an affine form `c + Σ aᵢ·dᵢ` over the *run-time dimensions* dᵢ of a module (`batch`, `tokens`, `past`).
//! Everything else about a shape is known at compile time. Sums and multiples of dimensions stay affine, so equality of
//! shapes is equality of canonical forms; the number of elements is a product of affine forms and is compared as a
//! polynomial ([`Shape::same_numel`]).
//!
//! Invariant of `Dim`: no term has coefficient zero, so `==` is semantic equality.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

/// Values of the run-time dimensions of one instance, by name; also the values of `repeat` indices.
pub type Bindings = BTreeMap<String, i64>;

/// Why a dimension has no value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DimError {
    /// A run-time dimension is not bound.
    #[error("run-time dimension `{0}` has no value")]
    Unbound(String),
    /// The value is negative, or does not fit.
    #[error("dimension `{dim}` evaluates to {value}, which is not a size")]
    NotASize {
        /// The dimension, as text.
        dim: String,
        /// What it evaluates to (saturated to 64 bits).
        value: i64,
    },
}

/// An affine form over run-time dimensions: the length of one axis, or a position on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dim {
    constant: i64,
    terms: BTreeMap<String, i64>,
}

impl Dim {
    /// The constant `value`.
    pub fn fixed(value: i64) -> Self {
        Dim {
            constant: value,
            terms: BTreeMap::new(),
        }
    }

    /// The run-time dimension called `name`.
    pub fn runtime(name: impl Into<String>) -> Self {
        Dim {
            constant: 0,
            terms: BTreeMap::from([(name.into(), 1)]),
        }
    }

    /// True where no run-time dimension occurs.
    pub fn is_const(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value, where it is constant.
    pub fn as_const(&self) -> Option<i64> {
        self.is_const().then_some(self.constant)
    }

    /// The constant part.
    pub fn constant(&self) -> i64 {
        self.constant
    }

    /// Name and (non-zero) coefficient of every run-time dimension that occurs, by name.
    pub fn terms(&self) -> impl Iterator<Item = (&str, i64)> {
        self.terms
            .iter()
            .map(|(name, coefficient)| (name.as_str(), *coefficient))
    }

    /// `self + other`.
    #[must_use]
    pub fn plus(&self, other: &Dim) -> Dim {
        let mut sum = self.clone();
        sum.constant = sum.constant.saturating_add(other.constant);
        for (name, coefficient) in &other.terms {
            let slot = sum.terms.entry(name.clone()).or_insert(0);
            *slot = slot.saturating_add(*coefficient);
        }
        sum.terms.retain(|_, coefficient| *coefficient != 0);
        sum
    }

    /// `self + constant`.
    #[must_use]
    pub fn plus_const(&self, constant: i64) -> Dim {
        self.plus(&Dim::fixed(constant))
    }

    /// `self - other`.
    #[must_use]
    pub fn minus(&self, other: &Dim) -> Dim {
        self.plus(&other.times(-1))
    }

    /// `factor · self`.
    #[must_use]
    pub fn times(&self, factor: i64) -> Dim {
        if factor == 0 {
            return Dim::fixed(0);
        }
        Dim {
            constant: self.constant.saturating_mul(factor),
            terms: self
                .terms
                .iter()
                .map(|(n, c)| (n.clone(), c.saturating_mul(factor)))
                .collect(),
        }
    }

    /// `self · other` where one of the two is constant.
    pub fn try_mul(&self, other: &Dim) -> Option<Dim> {
        match (self.as_const(), other.as_const()) {
            (Some(k), _) => Some(other.times(k)),
            (_, Some(k)) => Some(self.times(k)),
            _ => None,
        }
    }

    /// `self / divisor` where every coefficient is a multiple of it.
    pub fn exact_div(&self, divisor: i64) -> Option<Dim> {
        let divides = |c: &i64| divisor != 0 && c.checked_rem(divisor) == Some(0);
        (divides(&self.constant) && self.terms.values().all(divides)).then(|| Dim {
            constant: self.constant / divisor,
            terms: self.terms.iter().map(|(n, c)| (n.clone(), c / divisor)).collect(),
        })
    }

    /// The value under `bindings`; may be negative (positions), saturates at the ends of `i64`.
    pub fn value(&self, bindings: &Bindings) -> Result<i64, DimError> {
        let mut sum = i128::from(self.constant);
        for (name, coefficient) in &self.terms {
            let value = bindings.get(name).ok_or_else(|| DimError::Unbound(name.clone()))?;
            sum = sum.saturating_add(i128::from(*coefficient) * i128::from(*value));
        }
        Ok(sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    /// The value under `bindings` as a size.
    pub fn eval(&self, bindings: &Bindings) -> Result<usize, DimError> {
        let value = self.value(bindings)?;
        usize::try_from(value).map_err(|_| DimError::NotASize {
            dim: self.to_string(),
            value,
        })
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Self {
        Dim::fixed(value)
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Self {
        Dim::fixed(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Dim {
    /// The run-time dimension of that name (not parsed).
    fn from(name: &str) -> Self {
        Dim::runtime(name)
    }
}

impl fmt::Display for Dim {
    /// Terms by name, then the constant: `2*batch+tokens-1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (name, coefficient) in &self.terms {
            match (first, *coefficient) {
                (true, 1) => {}
                (false, 1) => f.write_str("+")?,
                (_, -1) => f.write_str("-")?,
                (false, c) if c > 0 => write!(f, "+{c}*")?,
                (_, c) => write!(f, "{c}*")?,
            }
            f.write_str(name)?;
            first = false;
        }
        match self.constant {
            0 if !first => Ok(()),
            c if first || c < 0 => write!(f, "{c}"),
            c => write!(f, "+{c}"),
        }
    }
}

/// The axes of a tensor, outermost first. Rank 0 is a scalar.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// A shape from anything that converts to dimensions.
    pub fn new<D: Into<Dim>>(dims: impl IntoIterator<Item = D>) -> Self {
        Shape(dims.into_iter().map(Into::into).collect())
    }

    /// The scalar shape.
    pub fn scalar() -> Self {
        Shape(Vec::new())
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The axes, outermost first.
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// True where every axis is constant.
    pub fn is_const(&self) -> bool {
        self.0.iter().all(Dim::is_const)
    }

    /// All axes as sizes, where all are constant and non-negative.
    pub fn as_const(&self) -> Option<Vec<usize>> {
        self.0
            .iter()
            .map(|d| d.as_const().and_then(|v| usize::try_from(v).ok()))
            .collect()
    }

    /// All axes under `bindings`.
    pub fn eval(&self, bindings: &Bindings) -> Result<Vec<usize>, DimError> {
        self.0.iter().map(|d| d.eval(bindings)).collect()
    }

    /// True where both have the same number of elements for every value of the run-time dimensions.
    pub fn same_numel(&self, other: &Shape) -> bool {
        numel_polynomial(&self.0) == numel_polynomial(&other.0)
    }

    /// Numpy broadcasting: aligned at the last axis, an axis of length 1 stretches. `None` where it does not apply.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let one = Dim::fixed(1);
        let mut out = Vec::with_capacity(rank);
        for i in 0..rank {
            let axis = |s: &Shape| {
                (i + s.rank())
                    .checked_sub(rank)
                    .map_or_else(|| one.clone(), |j| s.0[j].clone())
            };
            let (a, b) = (axis(self), axis(other));
            out.push(if a == b || b == one {
                a
            } else if a == one {
                b
            } else {
                return None;
            });
        }
        Some(Shape(out))
    }

    /// True where a tensor of this shape can stretch to `target` by numpy broadcasting.
    pub fn broadcasts_to(&self, target: &Shape) -> bool {
        self.broadcast(target).as_ref() == Some(target)
    }
}

/// Product of affine forms: monomial (sorted names, with repetition) → coefficient, none of them zero.
fn numel_polynomial(dims: &[Dim]) -> BTreeMap<Vec<&str>, i128> {
    let mut product = BTreeMap::from([(Vec::new(), 1i128)]);
    for dim in dims {
        let mut next: BTreeMap<Vec<&str>, i128> = BTreeMap::new();
        for (monomial, c) in &product {
            if dim.constant != 0 {
                let slot = next.entry(monomial.clone()).or_insert(0);
                *slot = slot.saturating_add(c.saturating_mul(dim.constant.into()));
            }
            for (name, k) in &dim.terms {
                let mut longer = monomial.clone();
                let at = longer.partition_point(|n| *n <= name.as_str());
                longer.insert(at, name);
                let slot = next.entry(longer).or_insert(0);
                *slot = slot.saturating_add(c.saturating_mul((*k).into()));
            }
        }
        next.retain(|_, c| *c != 0);
        product = next;
    }
    product
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Dim {
        Dim::runtime("batch")
    }

    #[test]
    fn affine_forms_are_canonical() {
        let d = batch().times(2).plus_const(1);
        assert_eq!(d.to_string(), "2*batch+1");
        assert_eq!(d.minus(&batch()).minus(&batch()), Dim::fixed(1));
        assert_eq!(
            batch()
                .times(-1)
                .plus(&Dim::runtime("tokens"))
                .plus_const(-3)
                .to_string(),
            "-batch+tokens-3"
        );
        assert_eq!(Dim::fixed(0).to_string(), "0");
    }

    #[test]
    fn evaluation_needs_bindings_and_sizes() {
        let d = batch().plus_const(-4);
        assert_eq!(d.eval(&Bindings::new()), Err(DimError::Unbound("batch".into())));
        assert_eq!(d.eval(&Bindings::from([("batch".into(), 6)])), Ok(2));
        let negative = d.eval(&Bindings::from([("batch".into(), 1)]));
        assert_eq!(
            negative,
            Err(DimError::NotASize {
                dim: "batch-4".into(),
                value: -3
            })
        );
    }

    #[test]
    fn numel_is_compared_as_a_polynomial() {
        let a = Shape(vec![batch(), Dim::fixed(6), Dim::runtime("tokens")]);
        let b = Shape(vec![Dim::runtime("tokens").times(2), batch().times(3)]);
        assert!(a.same_numel(&b));
        assert!(!a.same_numel(&Shape(vec![batch(), Dim::fixed(6)])));
        let one_more = Shape(vec![batch().plus_const(1), Dim::fixed(2)]);
        assert!(one_more.same_numel(&Shape(vec![batch().times(2).plus_const(2)])));
    }

    #[test]
    fn broadcasting_follows_numpy() {
        let a = Shape(vec![batch(), Dim::fixed(1), Dim::fixed(3)]);
        let b = Shape::new([5i64, 1]);
        assert_eq!(a.broadcast(&b).map(|s| s.to_string()).as_deref(), Some("[batch, 5, 3]"));
        assert_eq!(a.broadcast(&Shape::new([4i64])), None);
        assert!(Shape::new([3i64]).broadcasts_to(&a));
        assert!(!a.broadcasts_to(&Shape::new([3i64])));
    }
}
