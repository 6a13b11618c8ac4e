//! Inverse roots of rows, and norms in two passes.
//!
//! One pass squares a row as it is: `y = c · r` with `r = T(Σ c²)`. The sum of squares leaves `c` about ten bits, and some
//! rows of a transformer are hundreds of times greater than others (a few tokens carry activations far beyond the rest), so
//! that the others would have a step or two each.
//!
//! **Two passes.** The first needs no more than the size of a row: `r₁ = T(Σ ĉ²)` of a coarse `ĉ` brings the fine `c` to
//! about the same size in all rows, `y₁ = round(c · r₁)`, and the second normalises that:
//!
//! `S₂ = Σ y₁² + round(eps · d · r₁²)`, `r₂ = 1 / sqrt(S₂ / d)`, `y = y₁ · r₂`
//!
//! which is `c / sqrt(mean(c²) + eps)` whatever the error of `r₁`, since `S₂ = r₁² · (Σ c² + d · eps)`. It costs one more
//! lookup per element. Rounding of `ĉ` cannot be seen in the result unless `r₁` is so far off that `y₁` saturates.

use mlc_ir::{Einsum, Formula, INT_LIMIT, Node, Op, ValueId};

use super::super::PassError;
use super::table::Target;
use super::{Place, Quantiser, power_above, precision};
use crate::passes::expand_norm::INVERSE_ROOT;

/// Greatest integer of the first inverse root, where products leave room for it.
const FIRST_INVERSE: i64 = 4095;

/// Greatest integer of the second inverse root, which stands for 2.
const SECOND_INVERSE: i64 = 8191;

/// Index bits of the tables of both inverse roots: buckets of a 4096th of the greatest sum leave the first within its slack
/// for rows 2000 times smaller, and the second, which is of sums near `d`, far below a step.
const ROOT_BITS: u32 = 13;

/// Index bits of the table of a norm in one pass, whose rows are of about the same size.
const ONE_PASS_BITS: u32 = 14;

/// What the first pass may be off by.
const FIRST_PASS_SLACK: f64 = 1.25;

/// The inverse root of a sum of squares.
#[derive(Debug, Clone)]
pub(super) struct InverseRoot {
    /// The real value that is squared.
    pub(super) of: ValueId,
    /// Whether a second pass follows.
    pub(super) again: bool,
    /// Labels of a row and of all, of the sum.
    rows: Einsum,
    /// Length of a row.
    width: u64,
    /// Under the root.
    eps: f64,
    /// The quantised inverse, one per row.
    value: ValueId,
}

impl Quantiser<'_, '_> {
    /// The inverse root of a sum of squares: one lookup per row.
    pub(super) fn inverse_root(&mut self, node: &Node, formula: &Formula, place: &Place) -> Result<ValueId, PassError> {
        let (sum, result) = (node.operands[0], node.results[0]);
        let entry = self.entry;
        let squares = entry.all_nodes().into_iter().find(|n| n.results.contains(&sum));
        let squared = squares.and_then(|n| match &n.op {
            Op::Contract(einsum) if n.operands[0] == n.operands[1] => Some((n.operands[0], einsum.clone())),
            _ => None,
        });
        let Some((of, rows)) = squared else {
            return self.function(sum, formula, INVERSE_ROOT, result, place);
        };
        let dims = rows.lhs().chars().zip(&self.entry.ty(of).shape.0);
        let summed = dims.filter(|(c, _)| !rows.out().contains(*c));
        let width = summed.fold(1u64, |n, (_, d)| n.saturating_mul(precision::most(self.module, d)));
        let at_zero = formula.eval(0.0);
        let eps = 1.0 / (at_zero * at_zero);
        // The second pass is for this function and no other.
        let expected = 1.0 / libm::sqrt(1.0 + eps);
        let plain = libm::fabs(formula.eval(width as f64) - expected) < 1e-9;
        let again = plain && self.renormalised.contains(&of);
        let (to, bits) = if again {
            (self.size_of_rows(of, result, place)?, ROOT_BITS)
        } else {
            (self.with_room(self.target(result), of, place)?, ONE_PASS_BITS)
        };
        let (squares, measured) = (self.value(sum, place)?, self.measured(sum));
        let name = &place.layer;
        let value = self.requantise_in(squares, measured, Some(formula), to, name, INVERSE_ROOT, bits, place)?;
        let root = InverseRoot {
            of,
            again,
            rows,
            width,
            eps,
            value,
        };
        self.inverse_roots.insert(result, root);
        Ok(value)
    }

    /// A target as coarse as its product with the value `of` needs.
    fn with_room(&mut self, mut to: Target, of: ValueId, place: &Place) -> Result<Target, PassError> {
        let factor = self.value(of, place)?;
        let bound = self.int(factor, place)?.max_abs().max(1);
        while to.hi > 1 && to.hi.saturating_mul(bound) > precision::PRODUCT_LIMIT as i64 {
            to = Target {
                scale: 2.0 * to.scale,
                lo: to.lo / 2,
                hi: to.hi / 2,
            };
        }
        Ok(to)
    }

    /// The target of a first inverse root: as fine as its product with the value `of` leaves room for.
    fn size_of_rows(&mut self, of: ValueId, result: ValueId, place: &Place) -> Result<Target, PassError> {
        let fine = self.value(of, place)?;
        let bound = self.int(fine, place)?.max_abs().max(self.scales[of.index()].greatest);
        let greatest = FIRST_INVERSE.min(precision::PRODUCT_LIMIT as i64 / bound.max(1));
        let most = self.ranges.get(&result).map_or(1.0, |r| r.hi.max(0.0));
        let scale = if most > 0.0 {
            power_above(most / (greatest + 1) as f64)
        } else {
            1.0
        };
        Ok(Target {
            scale,
            lo: 0,
            hi: greatest,
        })
    }

    /// `c · r` in two passes; `inverse` is a view of `r` with the rank of `c`.
    pub(super) fn renormalise(
        &mut self,
        c: ValueId,
        inverse: ValueId,
        result: ValueId,
        place: &Place,
    ) -> Result<ValueId, PassError> {
        let root = self.inverse_roots[&inverse].clone();
        let name = &place.layer;
        let fine = self.factor(c, place)?;
        let inverse = self.value(inverse, place)?;
        let product = self.g.named(format!("{name}.product")).mul(fine, inverse)?;
        self.accumulators.insert(product);

        let range = self.ranges.get(&result).map_or(1.0, |r| r.lo.abs().max(r.hi.abs()));
        let one = root.width as f64;
        // eps in units of the first inverse root.
        let share = Formula::x() * Formula::x() * (root.eps * one);
        let first = self.int(root.value, place)?;
        let most = share.eval(first.hi as f64 * first.scale);
        // The sum of squares leaves room for eps.
        let scale = |greatest: i64| power_above(range.max(1.0) * FIRST_PASS_SLACK / greatest as f64);
        let limit = (INT_LIMIT / 2 - 1) as f64;
        let mut greatest = precision::square_limit(root.width);
        while greatest > 1 && one * (greatest as f64).powi(2) + libm::ceil(most / scale(greatest).powi(2)) > limit {
            greatest -= 1 + greatest / 128;
        }
        let near = Target {
            scale: scale(greatest),
            lo: -greatest,
            hi: greatest,
        };
        let near = self.requantise(
            product,
            self.measured(result),
            None,
            near,
            &format!("{name}.near"),
            "clamp",
            place,
        )?;
        let squares = self
            .g
            .named(format!("{name}.near.squares"))
            .push(Op::Contract(root.rows.clone()), &[near, near])?;
        self.accumulators.insert(squares);
        let int = self.int(squares, place)?;
        let mut sum = squares;
        if most >= int.scale / 2.0 {
            let to = Target {
                scale: int.scale,
                lo: 0,
                hi: (libm::ceil(most / int.scale) as i64).min(int.max_abs()),
            };
            let eps = self.requantise(root.value, None, Some(&share), to, &format!("{name}.eps"), "eps", place)?;
            sum = self.g.named(format!("{name}.near.sum")).add(squares, eps)?;
            self.accumulators.insert(sum);
        }
        let second = Target {
            scale: 2.0 / (SECOND_INVERSE + 1) as f64,
            lo: 0,
            hi: SECOND_INVERSE,
        };
        let formula = 1.0 / (Formula::x() / one).sqrt();
        let second = self.requantise_in(
            sum,
            Some(one),
            Some(&formula),
            second,
            &format!("{name}.again"),
            "inv_root",
            ROOT_BITS,
            place,
        )?;
        let kept = self.g.ty(inverse).shape.clone();
        let second = self.g.reshape(second, kept)?;
        let out = self.g.named(name.clone()).mul(near, second)?;
        self.accumulators.insert(out);
        self.bounded(out, place)?;
        Ok(out)
    }
}
