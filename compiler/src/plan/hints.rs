//! What annotations of the source ask, put into a plan.
//!
//! Annotations name values and weights of the module that the front-end made; a plan names those of the prepared one.
//! Values keep their names; a prepared weight whose recipe is built on an annotated one (folded with a gain, sliced,
//! stacked) has the bits that were asked for that.

use std::collections::BTreeMap;

use mlc_ir::{Module, Recipe};

use super::{QuantPlan, ValueRange};
use crate::check::{QuantHint, QuantTarget};

/// True where `recipe` reads a tensor that `part` reads.
fn built_on(recipe: &Recipe, part: &Recipe) -> bool {
    recipe == part || recipe.inputs().into_iter().any(|input| built_on(input, part))
}

impl QuantPlan {
    /// Ranges, bits and clamps that the source declares; a declared range is a promise of its author, whatever samples or a
    /// written plan say.
    /// `source` is the module of the front-end, `prepared` the one of the plan.
    pub fn apply_hints(&mut self, hints: &[QuantHint], source: &Module, prepared: &Module) {
        let mut asked: BTreeMap<&str, u32> = BTreeMap::new();
        for hint in hints {
            match &hint.target {
                QuantTarget::Model => {}
                QuantTarget::Weight(name) => {
                    let Some(bits) = hint.bits else { continue };
                    let Some(annotated) = source.weights.get(name) else {
                        continue;
                    };
                    for (prepared, weight) in &prepared.weights {
                        if prepared == name || built_on(&weight.recipe, &annotated.recipe) {
                            let slot = asked.entry(prepared).or_insert(bits);
                            *slot = (*slot).max(bits);
                        }
                    }
                }
                QuantTarget::Value { entry, value } => {
                    let key = format!("{entry}.{value}");
                    if let Some((lo, hi)) = hint.range {
                        self.values.insert(key.clone(), ValueRange { lo, hi });
                    }
                    if let Some(bits) = hint.bits {
                        self.asked.value_bits.insert(key.clone(), bits);
                    }
                    match hint.clamp {
                        Some(true) => drop(self.asked.clamp.insert(key)),
                        Some(false) => drop(self.asked.clamp.remove(&key)),
                        None => {}
                    }
                }
            }
        }
        let owned = asked.into_iter().map(|(name, bits)| (name.to_owned(), bits));
        self.asked.weight_bits.extend(owned);
    }
}
