//! From recipes to the integers of a circuit.
//!
//! A recipe of the quantised stage gives integers (it ends in a rounding, half to even, in `f64`); they are computed
//! one repeat iteration at a time, in parallel, each at its own place, so the result does not depend on threads.

use mlc_circuit::{Circuit, Weight};
use mlc_ir::{Bindings, Recipe, RecipeError, StackAxis, WeightSource};
use rayon::prelude::*;

use super::int::weight_len;
use super::{IntWeights, WeightsError};

/// How the integers of a circuit's weight are computed.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightPlan {
    /// Index of the weight in the circuit.
    pub weight: usize,
    /// Gives the integers, row-major over `outer.., row_len`, under every binding of `stack`, one after another.
    pub recipe: Recipe,
    /// Repeat regions over which the weight is stacked, outermost first.
    pub stack: Vec<StackAxis>,
}

/// Why recipes do not give the integers of a circuit's weights.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuantiseError {
    /// A weight of the circuit has not exactly one plan.
    #[error("weight '{name}' has {plans} recipes, it must have one")]
    Plans {
        /// The weight.
        name: String,
        /// Number of plans.
        plans: usize,
    },
    /// A recipe has no value.
    #[error("weight '{name}': {error}")]
    Recipe {
        /// The weight.
        name: String,
        /// Why.
        error: RecipeError,
    },
    /// A recipe gives another number of values than the weight has.
    #[error("weight '{name}': its recipe gives {given} values per iteration, the circuit has {expected}")]
    Len {
        /// The weight.
        name: String,
        /// Of the circuit.
        expected: usize,
        /// Of the recipe.
        given: usize,
    },
    /// A recipe gives a value that is no integer of the weight.
    #[error("weight '{name}': its recipe gives {value} at position {position}, which is no integer of {bits} bits")]
    Value {
        /// The weight.
        name: String,
        /// Row-major position in the whole weight.
        position: usize,
        /// The value.
        value: f64,
        /// Declared bits.
        bits: u8,
    },
    /// The integers break a bound of the circuit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// Every binding of the stack's indices, outermost slowest.
pub fn bindings(stack: &[StackAxis]) -> Vec<Bindings> {
    stack.iter().fold(vec![Bindings::new()], |all, axis| {
        let with = |b: &Bindings, i: u64| {
            let mut b = b.clone();
            b.insert(axis.index.clone(), i as i64);
            b
        };
        all.iter()
            .flat_map(|b| (0..axis.count).map(|i| with(b, i)).collect::<Vec<_>>())
            .collect()
    })
}

/// Evaluates the plans and checks every bound of the circuit.
pub fn quantise(
    circuit: &Circuit,
    plans: &[WeightPlan],
    source: &(dyn WeightSource + Sync),
) -> Result<IntWeights, QuantiseError> {
    let mut tensors = Vec::with_capacity(circuit.weights.len());
    for (i, w) in circuit.weights.iter().enumerate() {
        let mut own = plans.iter().filter(|p| p.weight == i);
        let (Some(plan), None) = (own.next(), own.next()) else {
            return Err(QuantiseError::Plans {
                name: w.name.clone(),
                plans: plans.iter().filter(|p| p.weight == i).count(),
            });
        };
        tensors.push(one(w, plan, source)?);
    }
    Ok(IntWeights::new(circuit, tensors)?)
}

fn one(w: &Weight, plan: &WeightPlan, source: &(dyn WeightSource + Sync)) -> Result<Vec<i16>, QuantiseError> {
    let all = bindings(&plan.stack);
    let len = weight_len(w);
    let expected = len / all.len().max(1);
    let mismatch = |given| QuantiseError::Len {
        name: w.name.clone(),
        expected,
        given,
    };
    if expected == 0 || expected * all.len() != len {
        return Err(mismatch(0));
    }
    let max = f64::from((1u32 << (w.bits - 1)) - 1);
    let iteration = |(i, (out, b)): (usize, (&mut [i16], &Bindings))| {
        let values = plan.recipe.eval(source, b).map_err(|error| QuantiseError::Recipe {
            name: w.name.clone(),
            error,
        })?;
        if values.data.len() != expected {
            return Err(mismatch(values.data.len()));
        }
        for (k, (o, &v)) in out.iter_mut().zip(&values.data).enumerate() {
            // Also refuses NaN.
            if !(v.abs() <= max && v.trunc() == v) {
                return Err(QuantiseError::Value {
                    name: w.name.clone(),
                    position: i * expected + k,
                    value: v,
                    bits: w.bits,
                });
            }
            *o = v as i16;
        }
        Ok(())
    };
    let mut out = vec![0i16; len];
    let results: Vec<Result<(), QuantiseError>> = out
        .par_chunks_exact_mut(expected)
        .zip(&all)
        .enumerate()
        .map(iteration)
        .collect();
    // The first error in order, whatever the threads do.
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mlc_ir::TensorF32;

    use super::*;

    fn setup() -> (Circuit, Vec<WeightPlan>, BTreeMap<String, TensorF32>) {
        let circuit = Circuit {
            name: "c".into(),
            dims: vec![],
            tables: vec![],
            weights: vec![Weight {
                name: "w".into(),
                outer: vec![2, 3],
                row_len: 2,
                bits: 8,
                column_sum: 200,
            }],
            constants: Vec::new(),
            entries: vec![],
        };
        // Stored [in 2, out 3]; scale 1/2.
        let recipe = Recipe::tensor("blocks.{l}.w", [2, 3]).unwrap().transpose([1, 0]);
        let plans = vec![WeightPlan {
            weight: 0,
            recipe: recipe.quantise(0.5, -127, 127),
            stack: vec![StackAxis {
                index: "l".into(),
                count: 2,
            }],
        }];
        let block = |data: [f32; 6]| TensorF32::new(vec![2, 3], data.to_vec()).unwrap();
        let source = BTreeMap::from([
            ("blocks.0.w".to_owned(), block([1.0, 2.0, 3.0, -1.0, 0.25, 0.75])),
            ("blocks.1.w".to_owned(), block([99.0, 0.0, 0.5, 1.5, -0.25, -0.75])),
        ]);
        (circuit, plans, source)
    }

    #[test]
    fn integers_are_rounded_half_to_even_and_stacked() {
        let (circuit, plans, source) = setup();
        let weights = quantise(&circuit, &plans, &source).unwrap();
        assert_eq!(weights.to_vec(), [[2, -2, 4, 0, 6, 2, 127, 3, 0, 0, 1, -2]]);
    }

    #[test]
    fn errors_name_the_weight() {
        let (mut circuit, mut plans, mut source) = setup();
        circuit.weights[0].column_sum = 100;
        assert!(matches!(
            quantise(&circuit, &plans, &source),
            Err(QuantiseError::Weights(WeightsError::ColumnSum {
                column: 3,
                sum: 130,
                ..
            }))
        ));
        source.remove("blocks.1.w");
        let error = quantise(&circuit, &plans, &source).unwrap_err();
        assert_eq!(error.to_string(), "weight 'w': there is no tensor `blocks.1.w`");
        source.insert("blocks.1.w".into(), TensorF32::new(vec![3, 2], vec![0.0; 6]).unwrap());
        let error = quantise(&circuit, &plans, &source).unwrap_err();
        assert!(matches!(
            error,
            QuantiseError::Recipe {
                error: RecipeError::Shape { .. },
                ..
            }
        ));
        plans[0].recipe = Recipe::tensor("blocks.0.w", [2, 3]).unwrap();
        let error = quantise(&circuit, &plans, &source).unwrap_err();
        assert_eq!(
            error.to_string(),
            "weight 'w': its recipe gives 0.25 at position 4, which is no integer of 8 bits"
        );
        plans.clear();
        let error = quantise(&circuit, &plans, &source).unwrap_err();
        assert!(matches!(error, QuantiseError::Plans { plans: 0, .. }));
    }
}
