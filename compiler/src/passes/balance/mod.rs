//! Balancing of channels: where a linear map's channels are read by other linear maps and nothing between mixes them, every
//! channel is divided by a factor and the weights that read it are multiplied by that.
//!
//! **Invariant**: the values of all outputs are those of before, to the bit: factors are powers of two, and both sides are
//! rewritings of recipes, so that nothing is computed that was not before. A tensor has one scale; a channel that is a hundred times
//! greater than the others leaves these a hundredth of its steps. Such channels are made smaller, and the weights that read them
//! greater. Factors are those of the plan, every iteration of a repeated region having its own; calibration chooses them
//! ([`exponents`]).
//!
//! Between a value projection and the output projection of an attention lie the KV cache and the weighted sum; a factor of a
//! channel of a key-value head is that of all query heads that read it. In a gated feed-forward the gate multiplies the channels
//! between `up` and `down`. Functions are not passed, ReLU neither: behind one most elements are 0, and the
//! greatest says little of the others.
//!
//! After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019).

mod layout;
mod path;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use mlc_ir::{Module, Op, Recipe, StackAxis, Stage, TensorF32, ValueId};

pub use layout::Layout;
pub use path::{End, Path, Scaled, paths};

use super::PassError;
use super::rewrite::{Rewrite, forget_unused, rewrite};
use crate::plan::{CHANNEL_LIMIT, QuantPlan};

/// Exponents of the factors of channels, by their greatest magnitudes on the path and in the weights that read them: those
/// at which the two are equally great.
///
/// Of a sum `Σ x·w` the rounding of `x` costs `δx·|w|` and that of `w` costs `δw·|x|`; with one step for all channels of each,
/// neither pays for the precision of the other where the ratio of `x` to `w` is the same in all channels.
pub fn exponents(values: &[f64], weights: &[f64]) -> Vec<i8> {
    let balance = |(x, w): (&f64, &f64)| {
        let live = x.is_normal() && w.is_normal();
        live.then(|| libm::rint((libm::log2(*x) - libm::log2(*w)) / 2.0) as i64)
    };
    let own: Vec<Option<i64>> = values.iter().zip(weights).map(balance).collect();
    let mut live: Vec<i64> = own.iter().flatten().copied().collect();
    live.sort_unstable();
    // What is the same for all changes nothing; a channel that is always 0 is like the others.
    let middle = live.get(live.len() / 2).copied().unwrap_or(0);
    let limit = i64::from(CHANNEL_LIMIT);
    let exponent = |e: &Option<i64>| match e.unwrap_or(middle) - middle {
        near if near.abs() <= NEAR => 0,
        far => far.clamp(-limit, limit) as i8,
    };
    own.iter().map(exponent).collect()
}

/// Exponents up to this one are left out: factors of channels that do not stand out cost more, in ranges that are no longer as
/// wide as their powers of two, than they bring (64 blocks with random weights: cosine 0.998 without them, 0.991 with them).
const NEAR: i64 = 5;

/// The factor of an exponent.
pub fn factor(exponent: i8) -> f64 {
    libm::ldexp(1.0, i32::from(exponent))
}

/// An end of a path, and the exponents of its factors, iteration by iteration.
type Balanced = (End, Vec<Vec<i8>>);

/// Divides and multiplies as the plan says.
pub fn balance(mut module: Module, plan: &QuantPlan) -> Result<Module, PassError> {
    if module.stage == Stage::Quantised || plan.channels.is_empty() {
        return Ok(module);
    }
    let known: BTreeMap<String, Path> = paths(&module).into_iter().map(|p| (p.key(), p)).collect();
    let mut ends: BTreeMap<(String, ValueId), Vec<Balanced>> = BTreeMap::new();
    for (key, factors) in &plan.channels {
        let path = known.get(key).filter(|p| factors.fits(p.blocks(), p.channels));
        let Some(path) = path else {
            return Err(PassError::Channels { value: key.clone() });
        };
        for end in &path.ends {
            let slot = ends.entry((path.entry.clone(), end.user)).or_default();
            slot.push((end.clone(), factors.exponents()));
        }
    }
    rewrite(&mut module, &mut |rewriter, mut node| {
        let Some(result) = node.results.first().copied() else {
            return Ok(Rewrite::Keep(node));
        };
        let Some(own) = ends.get(&(rewriter.entry_name.clone(), result)) else {
            return Ok(Rewrite::Keep(node));
        };
        for (operand, id) in node.operands.iter_mut().enumerate() {
            let known = rewriter.definition(*id).map(|n| &n.op);
            let (Some(Op::Weight(name)), true) = (known, own.iter().any(|(end, _)| end.operand == operand)) else {
                continue;
            };
            let name = name.clone();
            let mut weight = rewriter.module.weights[&name].clone();
            for (end, exponents) in own.iter().filter(|(end, _)| end.operand == operand) {
                weight.recipe = weight.recipe.times(factors(end, exponents, &rewriter.stack));
            }
            *id = rewriter.weight(&format!("{name}.balanced"), weight, node.span.clone())?;
        }
        Ok(Rewrite::Keep(node))
    })?;
    forget_unused(&mut module);
    Ok(module)
}

/// The factors of a weight's elements, block by block.
fn factors(end: &End, exponents: &[Vec<i8>], stack: &[StackAxis]) -> Recipe {
    let Some((axis, inner)) = stack.split_first() else {
        let exponents = exponents.first().map(Vec::as_slice).unwrap_or_default();
        let of = |id: &u32| {
            let factor = factor(exponents[*id as usize]);
            (if end.divides { 1.0 / factor } else { factor }) as f32
        };
        return Recipe::constant(TensorF32 {
            shape: end.layout.dims.clone(),
            data: end.layout.ids.iter().map(of).collect(),
        });
    };
    let each = exponents.len() / axis.count.max(1) as usize;
    Recipe::Stack {
        index: axis.index.clone(),
        items: exponents
            .chunks(each.max(1))
            .map(|part| factors(end, part, inner))
            .collect(),
    }
}
