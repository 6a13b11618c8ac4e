//! Constant folding: operations on weights and constants become weights and constants.
//!
//! **Invariant**: no view, sum, product, table or contraction has only weights and constants as operands. A folded weight is
//! a new recipe, so nothing is computed here but constants themselves; recipes compute in `f64` and round once where the
//! operations rounded each.

use mlc_ir::{
    BinaryOp, Formula, Literal, Module, Node, Op, Recipe, RecipeError, Shape, TensorF32, Visibility, Weight,
    WeightSource,
};

use super::PassError;
use super::rewrite::{Rewrite, Rewriter, rewrite};

/// Folds operations on weights and constants.
pub fn constant_fold(mut module: Module) -> Result<Module, PassError> {
    if module.stage == mlc_ir::Stage::Quantised {
        return Ok(module);
    }
    rewrite(&mut module, &mut |rewriter, node| {
        let Some(recipe) = folded(rewriter, &node) else {
            return Ok(Rewrite::Keep(node));
        };
        let result = node.results[0];
        let name = rewriter.entry.value(result).name.clone();
        let shape = rewriter.entry.ty(result).shape.clone();
        let constant = node.operands.iter().all(|id| is_constant(rewriter, *id));
        if constant && let Ok(value) = recipe.eval(&NoWeights, &mlc_ir::Bindings::new()) {
            let tensor = TensorF32 {
                shape: value.shape.clone(),
                data: value.data.iter().map(|v| *v as f32).collect(),
            };
            let literal = Op::Const(Literal::Real(tensor.into()));
            return Ok(Rewrite::Replace(rewriter.emit(literal, &[], &name, node.span)?));
        }
        let visibility = node.operands.iter().find_map(|id| visibility(rewriter, *id));
        let mut weight = Weight::real(shape, recipe);
        weight.visibility = visibility.unwrap_or(Visibility::Committed);
        Ok(Rewrite::Replace(rewriter.weight(&name, weight, node.span)?))
    })?;
    super::rewrite::forget_unused(&mut module);
    Ok(module)
}

/// A source without tensors: constants need none.
struct NoWeights;

impl WeightSource for NoWeights {
    fn get(&self, name: &str) -> Result<TensorF32, RecipeError> {
        Err(RecipeError::Missing(name.to_owned()))
    }

    fn contains(&self, _: &str) -> bool {
        false
    }
}

fn is_constant(rewriter: &Rewriter<'_>, id: mlc_ir::ValueId) -> bool {
    rewriter.definition(id).is_some_and(|n| matches!(n.op, Op::Const(_)))
}

fn visibility(rewriter: &Rewriter<'_>, id: mlc_ir::ValueId) -> Option<Visibility> {
    match &rewriter.definition(id)?.op {
        Op::Weight(name) => Some(rewriter.module.weights.get(name)?.visibility),
        _ => None,
    }
}

/// The recipe of a weight or a constant; `None` for other values, and for weights of fewer regions than where they are
/// used (their recipe is the same there).
pub(crate) fn recipe(rewriter: &Rewriter<'_>, id: mlc_ir::ValueId) -> Option<Recipe> {
    match &rewriter.definition(id)?.op {
        Op::Weight(name) => Some(rewriter.module.weights.get(name)?.recipe.clone()),
        Op::Const(Literal::Real(tensor)) => Some(Recipe::Const(tensor.clone())),
        _ => None,
    }
}

fn sizes(shape: &Shape) -> Option<Vec<u64>> {
    Some(shape.as_const()?.into_iter().map(|d| d as u64).collect())
}

/// What the node computes as a recipe, where all operands are weights or constants.
fn folded(rewriter: &Rewriter<'_>, node: &Node) -> Option<Recipe> {
    if node.operands.is_empty() || node.results.len() != 1 {
        return None;
    }
    let operands = node
        .operands
        .iter()
        .map(|id| recipe(rewriter, *id))
        .collect::<Option<Vec<_>>>()?;
    let map = |formula| Recipe::map(formula, operands.clone());
    let (a, b) = (Formula::var(0), Formula::var(1));
    let first = || operands[0].clone();
    Some(match &node.op {
        Op::Binary(BinaryOp::Add) => map(a + b),
        Op::Binary(BinaryOp::Sub) => map(a - b),
        Op::Binary(BinaryOp::Mul) => map(a * b),
        Op::Binary(BinaryOp::Div) => map(a / b),
        Op::Binary(BinaryOp::Max) => map(a.max(b)),
        Op::Binary(BinaryOp::Min) => map(a.min(b)),
        Op::Table { formula, .. } => map(formula.clone()),
        Op::Reshape(shape) => first().reshape(sizes(shape)?),
        Op::Transpose(perm) => first().transpose(perm.iter().copied()),
        Op::Concat { axis } => Recipe::Concat {
            axis: *axis,
            inputs: operands,
        },
        Op::Slice { axis, start, end, step } => Recipe::Slice {
            input: Box::new(first()),
            axis: *axis,
            start: start.clone(),
            len: u64::try_from(end.minus(start).as_const()?)
                .ok()?
                .div_ceil((*step).max(1)),
            step: *step,
        },
        Op::Contract(einsum) => Recipe::Contract {
            einsum: einsum.clone(),
            lhs: Box::new(first()),
            rhs: Box::new(operands[1].clone()),
        },
        _ => return None,
    })
}
