//! The weights eq(ρ, ·) of a round's pairs, as the tables that backends read.
//!
//! eq is a product over variables, so over axes: a pair's weight is one factor per covered axis. Where many pairs share
//! a weight (axes that ρ does not cover are innermost), a host table with one value per unit does. Otherwise a table
//! of rows: the outer factors on the host, the inner ones on the device, split inside the outermost axis so that rows
//! have about [`ROW`] entries. Only the outer factors change from round to round, so the inner table is kept.

use mlc_verifier::field::{QM31, eq_table};
use num_traits::One;

use super::sumcheck::Axis;
use crate::backend::{Columns, Weights};

/// Units of at least this many pairs get one host value each.
const MIN_UNIT: usize = 64;
/// Rows are made at least this long where the axes allow it.
const ROW: usize = 1024;

/// Weight tables of one summand, reused from round to round.
pub(super) struct EqWeights<B: Columns> {
    /// Units: one value each. Rows: the outer factors.
    values: Vec<QM31>,
    /// The inner table, with the free variables it covers (ρ's last ones) as its key.
    inner: Option<(Vec<QM31>, B::Ext)>,
}

impl<B: Columns> EqWeights<B> {
    pub(super) fn new() -> Self {
        Self {
            values: Vec::new(),
            inner: None,
        }
    }

    /// The weights eq(ρ, ·) over the elements of `axes`; ρ covers whole axes from the first on.
    pub(super) fn update(&mut self, backend: &B, axes: &[Axis], rho: &[QM31]) -> Weights<'_, B> {
        let (covered, unit) = split_axes(axes, rho.len());
        if covered.iter().all(|a| a.bits == 0) || unit >= MIN_UNIT {
            self.values = tensor(covered, rho);
            return Weights::Units {
                unit: unit.max(1),
                values: &self.values,
            };
        }
        // `first` is the outermost axis that still has variables.
        let at = covered.iter().position(|a| a.bits > 0).unwrap_or(0);
        let (first, rest) = (covered[at], &covered[at + 1..]);
        let rest_len = unit * rest.iter().map(|a| a.len).product::<usize>();
        let low = (0..first.bits).find(|&s| rest_len << s >= ROW).unwrap_or(first.bits);
        let (high_rho, low_rho) = rho.split_at(first.bits - low);
        self.values = eq_table(high_rho, first.len.div_ceil(1 << low));
        let inner = match self.inner.take() {
            Some((key, table)) if key == low_rho => (key, table),
            _ => {
                let low_axis = Axis {
                    len: 1 << low,
                    bits: low,
                };
                let mut axes = vec![low_axis];
                axes.extend_from_slice(rest);
                let table = tensor(&axes, low_rho);
                let table = table.into_iter().flat_map(|v| std::iter::repeat_n(v, unit)).collect();
                (low_rho.to_vec(), backend.ext(table))
            }
        };
        Weights::Rows {
            outer: &self.values,
            inner: &self.inner.insert(inner).1,
        }
    }
}

/// The axes that the first `variables` variables cover, and the number of elements inside each of their cells.
fn split_axes(axes: &[Axis], variables: usize) -> (&[Axis], usize) {
    let mut covered = 0;
    let mut count = 0;
    while count < variables && covered < axes.len() {
        count += axes[covered].bits;
        covered += 1;
    }
    debug_assert_eq!(count, variables, "eq covers whole axes");
    let (covered, free) = axes.split_at(covered);
    (covered, free.iter().map(|a| a.len).product())
}

/// eq(ρ, ·) over the cells of `axes`, row-major.
fn tensor(axes: &[Axis], rho: &[QM31]) -> Vec<QM31> {
    let mut out = vec![QM31::one()];
    let mut rho = rho;
    for axis in axes {
        let (own, later) = rho.split_at(axis.bits);
        rho = later;
        let table = eq_table(own, axis.len);
        out = out.iter().flat_map(|&o| table.iter().map(move |&t| o * t)).collect();
    }
    out
}
