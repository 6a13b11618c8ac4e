//! Folding of scales and shifts into weights.
//!
//! **Invariant**: there is no batch norm; no product with a linear layer's result along its output channels, none with its
//! input along its contracted axis (where contractions with weights are all its uses), no two biases in a row, no division
//! by a weight. Folding rewrites recipes: values change by rounding only.

use std::collections::{BTreeMap, BTreeSet};

use mlc_ir::{BinaryOp, Einsum, Entry, Formula, Literal, Module, Node, Op, Recipe, Shape, Stage, ValueId, Weight};

use super::PassError;
use super::constant_fold::recipe;
use super::rewrite::{Rewrite, Rewriter, forget_unused, rewrite};

/// Folds norms, scales and biases into weights.
pub fn fold_norm(mut module: Module) -> Result<Module, PassError> {
    if module.stage == Stage::Quantised {
        return Ok(module);
    }
    let linear: BTreeMap<String, BTreeMap<ValueId, Vec<usize>>> = module
        .entries
        .iter()
        .map(|(name, entry)| (name.clone(), linear_uses(entry)))
        .collect();
    let embedded = embedded(&module);
    rewrite(&mut module, &mut |rewriter, node| {
        let Some(result) = node.results.first().copied() else {
            return Ok(Rewrite::Keep(node));
        };
        let mut fold = Fold {
            name: rewriter.entry.value(result).name.clone(),
            span: node.span.clone(),
            linear: linear.get(&rewriter.entry_name),
            embedded: &embedded,
            rewriter,
        };
        let made = fold.node(&node)?;
        Ok(made.map_or(Rewrite::Keep(node), Rewrite::Replace))
    })?;
    forget_unused(&mut module);
    Ok(module)
}

/// Names of the weights whose rows are looked up.
fn embedded(module: &Module) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for entry in module.entries.values() {
        let nodes = entry.all_nodes();
        for rows in nodes.iter().filter(|n| n.op == Op::Embedding).map(|n| n.operands[0]) {
            let named = nodes.iter().find(|n| n.results.contains(&rows));
            if let Some(Op::Weight(name)) = named.map(|n| &n.op) {
                out.insert(name.clone());
            }
        }
    }
    out
}

/// For every value the axis along which each contraction with a weight sums it, where it sums over one.
fn linear_uses(entry: &Entry) -> BTreeMap<ValueId, Vec<usize>> {
    let nodes = entry.all_nodes();
    let fixed: BTreeSet<ValueId> = nodes
        .iter()
        .filter(|n| matches!(n.op, Op::Weight(_) | Op::Const(Literal::Real(_))))
        .flat_map(|n| n.results.iter().copied())
        .collect();
    let mut out: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
    for node in nodes {
        let Op::Contract(einsum) = &node.op else { continue };
        for (i, labels) in [einsum.lhs(), einsum.rhs()].into_iter().enumerate() {
            let mut summed = labels.char_indices().filter(|(_, c)| !einsum.out().contains(*c));
            let weighted = fixed.contains(&node.operands[1 - i]);
            if let (Some((axis, _)), None, true) = (summed.next(), summed.next(), weighted) {
                out.entry(node.operands[i]).or_default().push(axis);
            }
        }
    }
    out
}

/// A weight or constant that a value is multiplied by or that is added to it.
#[derive(Clone)]
struct Fixed {
    recipe: Recipe,
    shape: Vec<u64>,
}

/// What feeds a contraction with a weight: a value, and a gain or bias along an axis that is summed.
struct Fed {
    x: ValueId,
    fixed: Fixed,
    weight: Fixed,
    /// Label of the axis in the contraction.
    label: char,
    /// Its length.
    count: u64,
}

struct Fold<'r, 'm> {
    rewriter: &'r mut Rewriter<'m>,
    /// Of every value, the axes along which weights contract it, use by use.
    linear: Option<&'r BTreeMap<ValueId, Vec<usize>>>,
    /// Weights whose rows are looked up: a head that is tied to one stays that weight.
    embedded: &'r BTreeSet<String>,
    name: String,
    span: Option<mlc_ir::Span>,
}

type Made = Result<Option<ValueId>, PassError>;

impl Fold<'_, '_> {
    fn node(&mut self, node: &Node) -> Made {
        let operand = |i: usize| node.operands[i];
        match &node.op {
            Op::BatchNorm { eps } => self.batch_norm(node, *eps),
            Op::Binary(BinaryOp::Div) => {
                let Some(divisor) = self.fixed(operand(1)) else {
                    return Ok(None);
                };
                let gain = Fixed {
                    recipe: Recipe::map(1.0 / Formula::x(), [divisor.recipe]),
                    ..divisor
                };
                self.multiply(operand(0), &gain).map(Some)
            }
            Op::Binary(BinaryOp::Mul) => {
                let Some(gain) = self.fixed(operand(1)) else {
                    return Ok(None);
                };
                self.scaled(operand(0), &gain)
            }
            Op::Binary(BinaryOp::Add) => {
                let Some(bias) = self.fixed(operand(1)) else {
                    return Ok(None);
                };
                self.shifted(operand(0), &bias)
            }
            Op::Contract(einsum) => match self.bias_before(node, einsum)? {
                Some(folded) => Ok(Some(folded)),
                None => self.gain_before(node, einsum),
            },
            _ => Ok(None),
        }
    }

    fn fixed(&self, id: ValueId) -> Option<Fixed> {
        let shape = self.rewriter.entry.ty(id).shape.as_const()?;
        Some(Fixed {
            recipe: recipe(self.rewriter, id)?,
            shape: shape.into_iter().map(|d| d as u64).collect(),
        })
    }

    fn weight(&mut self, fixed: &Fixed, hint: &str) -> Result<ValueId, PassError> {
        let shape = Shape::new(fixed.shape.iter().map(|d| *d as i64));
        let name = format!("{}.{hint}", self.name);
        let weight = Weight::real(shape, fixed.recipe.clone());
        self.rewriter.weight(&name, weight, self.span.clone())
    }

    fn emit(&mut self, op: Op, operands: &[ValueId]) -> Result<ValueId, PassError> {
        let name = self.name.clone();
        self.rewriter.emit(op, operands, &name, self.span.clone())
    }

    /// `x · gain`, folded where it can be.
    fn multiply(&mut self, x: ValueId, gain: &Fixed) -> Result<ValueId, PassError> {
        if let Some(folded) = self.scaled(x, gain)? {
            return Ok(folded);
        }
        let gain = self.weight(gain, "gain")?;
        self.emit(Op::Binary(BinaryOp::Mul), &[x, gain])
    }

    /// `x + bias`, folded where it can be.
    fn add(&mut self, x: ValueId, bias: &Fixed) -> Result<ValueId, PassError> {
        if let Some(folded) = self.shifted(x, bias)? {
            return Ok(folded);
        }
        let bias = self.weight(bias, "bias")?;
        self.emit(Op::Binary(BinaryOp::Add), &[x, bias])
    }

    /// A batch norm is a product and a sum per channel.
    fn batch_norm(&mut self, node: &Node, eps: f64) -> Made {
        let parameters = node.operands[1..].iter().map(|id| recipe(self.rewriter, *id));
        let parameters: Option<Vec<Recipe>> = parameters.collect();
        let parameters: Option<[Recipe; 4]> = parameters.and_then(|p| p.try_into().ok());
        let Some([gamma, beta, mean, variance]) = parameters else {
            return Err(PassError::Unsupported {
                layer: self.name.clone(),
                op: "batch_norm",
                why: "its parameters are not weights".into(),
                span: self.span.clone(),
            });
        };
        let deviation = |v: u32| (Formula::var(v) + eps).sqrt();
        let gain = Recipe::map(Formula::var(0) / deviation(1), [gamma.clone(), variance.clone()]);
        let shift = Formula::var(0) - Formula::var(1) * Formula::var(2) / deviation(3);
        let bias = Recipe::map(shift, [beta, mean, gamma, variance]);
        let ty = self.rewriter.entry.ty(node.operands[0]);
        let Some(channels) = ty.shape.0[1].as_const() else {
            return Ok(None);
        };
        let mut shape = vec![channels as u64];
        shape.extend(std::iter::repeat_n(1, ty.shape.rank() - 2));
        let fixed = |recipe: Recipe| Fixed {
            recipe: recipe.reshape(shape.clone()),
            shape: shape.clone(),
        };
        let scaled = self.multiply(node.operands[0], &fixed(gain))?;
        self.add(scaled, &fixed(bias)).map(Some)
    }

    /// `x · gain` without a product at run time: `x` is a linear layer, perhaps with a bias, or a product with a weight.
    fn scaled(&mut self, x: ValueId, gain: &Fixed) -> Made {
        let Some(producer) = self.rewriter.definition(x).cloned() else {
            return Ok(None);
        };
        if self.shared(x) {
            return Ok(None);
        }
        match &producer.op {
            Op::Binary(BinaryOp::Add) => {
                let Some(bias) = self.fixed(producer.operands[1]) else {
                    return Ok(None);
                };
                let Some(linear) = self.scaled(producer.operands[0], gain)? else {
                    return Ok(None);
                };
                let Some(bias) = combine(bias, gain, Formula::var(0) * Formula::var(1)) else {
                    return Ok(None);
                };
                self.add(linear, &bias).map(Some)
            }
            Op::Binary(BinaryOp::Mul) => {
                let known = self.fixed(producer.operands[1]);
                let product = known.and_then(|known| combine(known, gain, Formula::var(0) * Formula::var(1)));
                match product {
                    Some(product) => self.multiply(producer.operands[0], &product).map(Some),
                    None => Ok(None),
                }
            }
            Op::Conv2d(_) | Op::Contract(_) => {
                let rank = self.rewriter.entry.ty(x).shape.rank();
                let Some((axis, count)) = one_axis(gain, rank) else {
                    return Ok(None);
                };
                let place = |at: usize, rank: usize| {
                    let mut shape = vec![1u64; rank];
                    shape[at] = count;
                    gain.recipe.clone().reshape(shape)
                };
                for (i, id) in producer.operands.iter().enumerate() {
                    let Some(w) = self.fixed(*id) else { continue };
                    let at = match &producer.op {
                        Op::Contract(einsum) => {
                            let label = einsum.out().chars().nth(axis);
                            let labels = [einsum.lhs(), einsum.rhs()];
                            label.and_then(|l| labels[i].find(l))
                        }
                        _ => (axis == 1 && i == 1).then_some(0),
                    };
                    let Some(at) = at else { continue };
                    let folded = Fixed {
                        recipe: w.recipe.times(place(at, w.shape.len())),
                        shape: w.shape,
                    };
                    let mut operands = producer.operands.clone();
                    operands[i] = self.weight(&folded, "weight")?;
                    return self.emit(producer.op.clone(), &operands).map(Some);
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// `x + bias`, where `x` ends with a bias already.
    fn shifted(&mut self, x: ValueId, bias: &Fixed) -> Made {
        let Some(producer) = self.rewriter.definition(x).cloned() else {
            return Ok(None);
        };
        if producer.op != Op::Binary(BinaryOp::Add) || self.shared(x) {
            return Ok(None);
        }
        let known = self.fixed(producer.operands[1]);
        let Some(both) = known.and_then(|known| combine(known, bias, Formula::var(0) + Formula::var(1))) else {
            return Ok(None);
        };
        let both = self.weight(&both, "bias")?;
        self.emit(Op::Binary(BinaryOp::Add), &[producer.operands[0], both])
            .map(Some)
    }

    /// The operand `side` of a contraction as `op(x, fixed)`, where the other operand is a weight.
    fn fed(&self, node: &Node, einsum: &Einsum, op: BinaryOp, side: usize) -> Option<Fed> {
        let (operand, w) = (node.operands[side], node.operands[1 - side]);
        if self.is_embedded(w) {
            return None;
        }
        let producer = self.rewriter.definition(operand)?;
        if producer.op != Op::Binary(op) {
            return None;
        }
        let x = producer.operands[0];
        let (fixed, weight) = (self.fixed(producer.operands[1])?, self.fixed(w)?);
        let entry = &self.rewriter.entry;
        if entry.ty(x) != entry.ty(operand) {
            return None;
        }
        let (axis, count) = one_axis(&fixed, entry.ty(operand).shape.rank())?;
        let label = [einsum.lhs(), einsum.rhs()][side].chars().nth(axis)?;
        let folds = !einsum.out().contains(label) && self.all_contract(operand, axis);
        folds.then_some(Fed {
            x,
            fixed,
            weight,
            label,
            count,
        })
    }

    /// `contract(x · gain, w)`, where the gain runs along a contracted axis.
    fn gain_before(&mut self, node: &Node, einsum: &Einsum) -> Made {
        for side in 0..2 {
            let Some(fed) = self.fed(node, einsum, BinaryOp::Mul, side) else {
                continue;
            };
            let Some(at) = [einsum.lhs(), einsum.rhs()][1 - side].find(fed.label) else {
                continue;
            };
            let mut shape = vec![1u64; fed.weight.shape.len()];
            shape[at] = fed.count;
            let folded = Fixed {
                recipe: fed.weight.recipe.times(fed.fixed.recipe.reshape(shape)),
                shape: fed.weight.shape,
            };
            let mut operands = node.operands.clone();
            operands[side] = fed.x;
            operands[1 - side] = self.weight(&folded, "weight")?;
            return self.emit(node.op.clone(), &operands).map(Some);
        }
        Ok(None)
    }

    /// `contract(x + bias, w) = contract(x, w) + contract(bias, w)`, where the bias runs along the only contracted axis.
    fn bias_before(&mut self, node: &Node, einsum: &Einsum) -> Made {
        for side in 0..2 {
            let Some(fed) = self.fed(node, einsum, BinaryOp::Add, side) else {
                continue;
            };
            if !einsum.contracted().eq([fed.label]) {
                continue;
            }
            let labels = [einsum.lhs(), einsum.rhs()][1 - side];
            let kept: String = einsum.out().chars().filter(|c| labels.contains(*c)).collect();
            let Ok(product) = Einsum::parse(&format!("{},{labels}->{kept}", fed.label)) else {
                continue;
            };
            let size = |c: char| labels.find(c).map_or(1, |at| fed.weight.shape[at]);
            let shape: Vec<u64> = einsum.out().chars().map(size).collect();
            let shifted = Recipe::Contract {
                einsum: product,
                lhs: Box::new(fed.fixed.recipe.reshape([fed.count])),
                rhs: Box::new(fed.weight.recipe),
            };
            let bias = Fixed {
                recipe: shifted.reshape(shape.clone()),
                shape,
            };
            let mut inner = node.clone();
            inner.operands[side] = fed.x;
            let linear = match self.gain_before(&inner, einsum)? {
                Some(folded) => folded,
                None => self.emit(inner.op, &inner.operands)?,
            };
            return self.add(linear, &bias).map(Some);
        }
        Ok(None)
    }

    fn is_embedded(&self, id: ValueId) -> bool {
        let node = self.rewriter.definition(id);
        node.is_some_and(|n| matches!(&n.op, Op::Weight(name) if self.embedded.contains(name)))
    }

    /// True where every use of `x` is a contraction with a weight along `axis`. Values made by this pass have one use.
    fn all_contract(&self, x: ValueId, axis: usize) -> bool {
        let uses = self.rewriter.uses.get(&x).copied().unwrap_or(1);
        let along = self.linear.and_then(|all| all.get(&x));
        uses <= 1 || along.is_some_and(|axes| axes.len() == uses && axes.iter().all(|a| *a == axis))
    }

    /// True where something else uses the value too. Values made by this pass have one use.
    fn shared(&self, id: ValueId) -> bool {
        self.rewriter.uses.get(&id).is_some_and(|n| *n > 1)
    }
}

/// The axis of a tensor of rank `rank` along which `fixed` varies, and its length; `None` where it varies along several, or
/// is a scalar (a scale of its own costs nothing).
fn one_axis(fixed: &Fixed, rank: usize) -> Option<(usize, u64)> {
    let mut wide = fixed.shape.iter().enumerate().filter(|(_, d)| **d > 1);
    let (axis, count) = wide.next()?;
    let offset = rank.checked_sub(fixed.shape.len())?;
    wide.next().is_none().then_some((axis + offset, *count))
}

/// `formula(a, b)`, broadcast.
fn combine(a: Fixed, b: &Fixed, formula: Formula) -> Option<Fixed> {
    let shape = |f: &Fixed| Shape::new(f.shape.iter().map(|d| *d as i64));
    let shape = shape(&a).broadcast(&shape(b))?.as_const()?;
    Some(Fixed {
        recipe: Recipe::map(formula, [a.recipe, b.recipe.clone()]),
        shape: shape.into_iter().map(|d| d as u64).collect(),
    })
}
