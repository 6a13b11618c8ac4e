//! Softmax over the last axis in integers.
//!
//! Scores `t` at `softmax_bits`; their exact row maximum `m`; `e = exp(-(m - t))` and `1 / Σ e` by tables; their product.
//! The greatest `e` of a row is exactly `E`, the integer that stands for 1, so `E ≤ Σ e ≤ n·E` bounds the reciprocal.

use mlc_ir::{Formula, ReduceKind, ValueId};

use super::super::PassError;
use super::table::Target;
use super::{Place, Quantiser};

/// The integer that stands for 1 in exponentials and reciprocals.
const ONE: i64 = 4095;

impl Quantiser<'_, '_> {
    /// Softmax of the real value `x`; an accumulator at scale `1 / (ONE · ONE)`.
    pub(super) fn softmax(&mut self, x: ValueId, place: &Place) -> Result<ValueId, PassError> {
        let value = self.value(x, place)?;
        let axis = self.g.ty(value).shape.rank() - 1;
        let name = &place.layer;
        let greatest = (1i64 << (self.plan.config.softmax_bits - 1)) - 1;
        let range = self.ranges.get(&x).copied();
        let most = range.map_or(1.0, |r| r.lo.abs().max(r.hi.abs()));
        let scores = Target {
            scale: if most > 0.0 { most / greatest as f64 } else { 1.0 },
            lo: -greatest,
            hi: greatest,
        };
        let t = self.requantise(value, None, scores, &format!("{name}.scores"), "scores", place)?;
        let m = self
            .g
            .named(format!("{name}.max"))
            .reduce(ReduceKind::Max, &[axis], true, t)?;
        let d = self.g.named(format!("{name}.below")).sub(m, t)?;
        let unit = Target {
            scale: 1.0 / ONE as f64,
            lo: 0,
            hi: ONE,
        };
        // Below 0 no difference occurs; the table holds 1 there.
        let exp = (-Formula::x().max(0.0)).exp();
        let e = self.requantise(d, Some(&exp), unit, &format!("{name}.exp"), "exp", place)?;
        let sum = self
            .g
            .named(format!("{name}.sum"))
            .reduce(ReduceKind::Sum, &[axis], true, e)?;
        let reciprocal = 1.0 / Formula::x().max(1.0);
        let r = self.requantise(sum, Some(&reciprocal), unit, &format!("{name}.recip"), "recip", place)?;
        let p = self.g.named(name.clone()).mul(e, r)?;
        self.accumulators.insert(p);
        Ok(p)
    }
}
