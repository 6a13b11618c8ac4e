//! What the importer knows about a value of the file.
//!
//! Three kinds of value become something else than a node of the graph as soon as they are seen:
//! - what initialisers alone determine is a [`Constant`]: a weight recipe, no data moved;
//! - elementwise functions of one value are a [`Lazy`] formula, which grows until something needs the tensor. So the chains of
//!   small operators that exporters write (the five of GELU, the three of hard swish, a quantise-dequantise pair with the
//!   activation before it) become one table, whatever their shape;
//! - integers that are shapes, axes and positions are [`Ints`], whose elements may depend on the run-time dimensions.

use mlc_ir::{Dim, Formula, Recipe, Shape, ValueId};

/// A value of the file.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Computed from the model's inputs.
    Lazy(Lazy),
    /// Computed from initialisers.
    Constant(Constant),
    /// Integers known now.
    Ints(Ints),
    /// Not known, because a node before was refused.
    Unknown,
}

/// `formula` of the graph value `base`, elementwise.
#[derive(Debug, Clone)]
pub(crate) struct Lazy {
    pub(crate) base: ValueId,
    pub(crate) formula: Formula,
    /// What the result is called, and the position in the file's order of the node that made it.
    pub(crate) label: Label,
}

/// Name of a value and the node that it is from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) name: String,
    /// Name of the operator, in the case of the IR: `relu`.
    pub(crate) function: String,
    /// Index into the nodes; `None` for inputs.
    pub(crate) node: Option<usize>,
}

/// A tensor that initialisers determine.
#[derive(Debug, Clone)]
pub(crate) struct Constant {
    pub(crate) recipe: Recipe,
    pub(crate) shape: Vec<u64>,
    /// What a weight of it would be called.
    pub(crate) name: String,
    /// What the recipe costs.
    pub(crate) cost: Cost,
}

/// Size of a recipe. All three are bounded, because a file of a few nodes can ask for a recipe, or for an evaluation, that is
/// exponential in their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Nesting: evaluation recurses.
    pub(crate) depth: u32,
    /// Number of steps.
    pub(crate) steps: u64,
    /// Elements of all steps together: what an evaluation here and now would compute.
    pub(crate) elements: u64,
}

impl Cost {
    /// The cost of a step with a result of `shape` on top of `inputs`.
    pub(crate) fn step(shape: &[u64], inputs: impl IntoIterator<Item = Cost>) -> Cost {
        let own = shape.iter().fold(1u64, |n, d| n.saturating_mul(*d));
        let start = Cost {
            depth: 0,
            steps: 0,
            elements: 0,
        };
        let below = inputs.into_iter().fold(start, |sum, input| Cost {
            depth: sum.depth.max(input.depth),
            steps: sum.steps.saturating_add(input.steps),
            elements: sum.elements.saturating_add(input.elements),
        });
        Cost {
            depth: below.depth + 1,
            steps: below.steps.saturating_add(1),
            elements: below.elements.saturating_add(own),
        }
    }
}

/// Integers, row-major.
#[derive(Debug, Clone)]
pub(crate) struct Ints {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<Dim>,
    /// The same as real numbers, where the file stores it.
    pub(crate) constant: Option<Constant>,
}

/// Deepest recipe.
pub(crate) const MAX_DEPTH: u32 = 64;
/// Most steps of a recipe.
pub(crate) const MAX_STEPS: u64 = 1 << 11;
/// Most elements computed while importing.
pub(crate) const MAX_ELEMENTS: u64 = 1 << 22;
/// Largest formula, in operations: composing may double it at every step.
pub(crate) const MAX_FORMULA: usize = 96;
/// Most integers kept as shapes and positions.
pub(crate) const MAX_INTS: u64 = 1 << 12;

impl Constant {
    /// Number of elements.
    pub(crate) fn numel(&self) -> u64 {
        self.shape.iter().fold(1u64, |n, d| n.saturating_mul(*d))
    }

    pub(crate) fn ir_shape(&self) -> Shape {
        Shape::new(self.shape.iter().map(|d| *d as i64))
    }

    /// The constant with another recipe around it.
    pub(crate) fn with(self, shape: Vec<u64>, wrap: impl FnOnce(Recipe) -> Recipe) -> Constant {
        Constant {
            recipe: wrap(self.recipe),
            cost: Cost::step(&shape, [self.cost]),
            shape,
            name: self.name,
        }
    }

    /// The axes permuted; a permutation of a permutation is one.
    pub(crate) fn transpose(self, perm: &[usize]) -> Constant {
        if perm.iter().copied().eq(0..self.shape.len()) {
            return self;
        }
        let shape: Vec<u64> = perm.iter().map(|a| self.shape[*a]).collect();
        match self.recipe {
            Recipe::Transpose { input, perm: inner } => {
                let both: Vec<usize> = perm.iter().map(|a| inner[*a]).collect();
                let recipe = match both.iter().copied().eq(0..both.len()) {
                    true => *input,
                    false => input.transpose(both),
                };
                Constant { recipe, shape, ..self }
            }
            _ => self.with(shape, |r| r.transpose(perm.to_vec())),
        }
    }

    /// The same elements with other axes.
    pub(crate) fn reshape(self, shape: Vec<u64>) -> Constant {
        if shape == self.shape {
            return self;
        }
        match self.recipe {
            Recipe::Reshape { input, .. } => Constant {
                recipe: input.reshape(shape.clone()),
                shape,
                ..self
            },
            _ => self.with(shape.clone(), |r| r.reshape(shape)),
        }
    }

    /// `formula` of every element.
    pub(crate) fn map(self, formula: Formula) -> Constant {
        let shape = self.shape.clone();
        self.with(shape, |r| Recipe::map(formula, [r]))
    }
}

impl Ints {
    /// Integers without run-time dimensions, as numbers.
    pub(crate) fn as_const(&self) -> Option<Vec<i64>> {
        self.data.iter().map(Dim::as_const).collect()
    }
}

/// Number of operations and leaves of a formula, counted up to a little above [`MAX_FORMULA`].
pub(crate) fn size(formula: &Formula) -> usize {
    let mut open = vec![formula];
    let mut count = 0;
    while let Some(f) = open.pop() {
        count += 1;
        if count > 4 * MAX_FORMULA {
            break;
        }
        match f {
            Formula::Var(_) | Formula::Const(_) => {}
            Formula::Unary(_, a) => open.push(a),
            Formula::Binary(_, ab) => open.extend([&ab.0, &ab.1]),
            Formula::Select(cab) => open.extend([&cab.0, &cab.1, &cab.2]),
        }
    }
    count
}
