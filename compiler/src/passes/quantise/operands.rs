//! Weights and constants as operands.

use mlc_ir::{AbsSum, Literal, Node, Op, Recipe, Shape, Type, ValueId, Visibility, Weight};

use super::super::PassError;
use super::{FixedTensor, Place, Q, Quantiser, power_above};
use crate::passes::uniform;

/// Greatest magnitude of a weight: 16 bits with sign.
const WEIGHT_LIMIT: i64 = (1 << 15) - 1;

/// A weight keeps at least this many steps on either side of 0 when it makes room for sums.
const LEAST_WEIGHT: f64 = 15.0;

impl Quantiser<'_, '_> {
    /// Weights, constants and views of them: kept until their use is known. `None` for other nodes.
    pub(super) fn fixed_tensor(&self, node: &Node) -> Option<Q> {
        match &node.op {
            Op::Weight(name) => {
                let weight = self.module.weights.get(name)?;
                let stats = self.plan.weight(name);
                Some(Q::Weight(FixedTensor {
                    name: name.clone(),
                    recipe: weight.recipe.clone(),
                    shape: weight.ty.shape.clone(),
                    visibility: weight.visibility,
                    max_abs: stats.max_abs,
                    column_sum: stats.column_sum.map(|s| (stats.axes, s)),
                    views: Vec::new(),
                }))
            }
            Op::Const(Literal::Real(tensor)) => Some(match uniform(tensor) {
                Some(value) => Q::Scalar(value),
                None => Q::Weight(FixedTensor {
                    name: self.name(*node.results.first()?).to_owned(),
                    recipe: Recipe::Const(tensor.clone()),
                    shape: Shape::new(tensor.shape.iter().copied()),
                    visibility: Visibility::Committed,
                    max_abs: tensor.data.iter().fold(0.0, |m, v| f64::from(v.abs()).max(m)),
                    column_sum: None,
                    views: Vec::new(),
                }),
            }),
            Op::Reshape(_) | Op::Transpose(_) | Op::Slice { .. } | Op::Broadcast(_) => {
                match self.map.get(node.operands.first()?)? {
                    Q::Weight(w) => {
                        let mut w = w.clone();
                        // Sums of magnitudes still bound slices, but not other shapes.
                        if !matches!(node.op, Op::Slice { .. }) {
                            w.column_sum = None;
                        }
                        w.views.push(node.op.clone());
                        Some(Q::Weight(w))
                    }
                    Q::Scalar(v) => Some(Q::Scalar(*v)),
                    Q::Value(_) | Q::Shares { .. } => None,
                }
            }
            _ => None,
        }
    }

    /// A weight of a product, with the axes over which the product sums it.
    pub(super) fn weight(&mut self, w: &FixedTensor, summed: &[usize], place: &Place) -> Result<ValueId, PassError> {
        let bits = self
            .weight_bits
            .get(&w.name)
            .copied()
            .unwrap_or(self.plan.config.weight_bits);
        let greatest = (1i64 << (bits - 1)) - 1;
        // The greatest weight may lose a step.
        let finest = if w.max_abs > 0.0 {
            w.max_abs / (greatest + 1) as f64
        } else {
            1.0
        };
        // Bits that an annotation asks for are not taken away, nor the last few: such a sum is refused.
        let asked = self.plan.asked.weight_bits.contains_key(&w.name);
        let floor = self.weight_floors.get(&w.name).copied();
        let floor = floor.filter(|floor| !asked && w.max_abs >= LEAST_WEIGHT * floor);
        let scale = power_above(finest.max(floor.unwrap_or(0.0)));
        let greatest = (libm::ceil(w.max_abs / scale) as i64).clamp(1, greatest);
        // Rounding moves each summand by half a step at most.
        let count: f64 = w.shape.as_const().map_or(f64::INFINITY, |dims| {
            summed.iter().filter_map(|a| dims.get(*a)).map(|d| *d as f64).product()
        });
        let proved = w
            .column_sum
            .as_ref()
            .filter(|(axes, _)| axes == summed && !summed.is_empty());
        let abs_sum = proved.map(|(axes, sum)| AbsSum {
            axes: axes.clone(),
            bound: libm::ceil(sum / scale + count / 2.0).min(greatest as f64 * count) as i64,
        });
        self.declare(w, scale, greatest, abs_sum, place)
    }

    /// A weight at the scale of what it is added to, broadcast there.
    pub(super) fn bias(&mut self, w: &FixedTensor, scale: f64, place: &Place) -> Result<ValueId, PassError> {
        let mut power = 0;
        let greatest = |power: i32| libm::ceil(libm::ldexp(w.max_abs / scale, -power)).clamp(1.0, 1e18) as i64;
        while greatest(power) > WEIGHT_LIMIT && power < 30 {
            power += 1;
        }
        let most = greatest(power);
        if most > WEIGHT_LIMIT {
            return Err(place.fail("the bias is too large for the scale of what it is added to; calibrate"));
        }
        let coarse = libm::ldexp(scale, power);
        let value = self.declare(w, coarse, most, None, place)?;
        if power == 0 {
            return Ok(value);
        }
        let factor = self.constant(1 << power, libm::ldexp(1.0, -power))?;
        Ok(self.g.mul(value, factor)?)
    }

    /// Declares the quantised weight (once per scale) and uses it through its views.
    fn declare(
        &mut self,
        w: &FixedTensor,
        scale: f64,
        greatest: i64,
        abs_sum: Option<AbsSum>,
        place: &Place,
    ) -> Result<ValueId, PassError> {
        let recipe = w.recipe.clone().quantise(scale, -greatest, greatest);
        let ty = Type::int(scale, -greatest, greatest, w.shape.clone());
        let mut name = w.name.clone();
        let mut n = 0;
        while let Some(known) = self.g.module_mut().weights.get_mut(&name) {
            // A weight that is tied is one weight, whatever sums one of its uses needs bounded.
            let compatible = known.abs_sum.is_none() || abs_sum.is_none() || known.abs_sum == abs_sum;
            if known.recipe == recipe && known.ty == ty && compatible {
                known.abs_sum = known.abs_sum.take().or(abs_sum.clone());
                break;
            }
            n += 1;
            name = format!("{}.{n}", w.name);
        }
        let weight = Weight {
            ty,
            stack: Vec::new(),
            visibility: w.visibility,
            recipe,
            abs_sum,
        };
        let mut value = self.g.named(&name).weight(&name, weight)?;
        for view in &w.views {
            value = self.g.push(view.clone(), &[value])?;
        }
        let _ = place;
        Ok(value)
    }
}
