//! State of one import: the graph under construction and what every value of the file is.

use std::collections::BTreeMap;
use std::path::Path;

use mlc_ir::{
    Bindings, Dim, Elem, Formula, GraphBuilder, Literal, Op, Recipe, Shape, Tensor, TensorF32, Type, ValueId, Weight,
};

use super::node::Node;
use super::value::{
    Constant, Cost, Ints, Label, Lazy, MAX_DEPTH, MAX_ELEMENTS, MAX_FORMULA, MAX_INTS, MAX_STEPS, Value, size,
};
use crate::error::{NodeError, malformed, unsupported};
use crate::initialisers::{Initialisers, Stored};

/// The graph under construction.
pub(super) struct Context<'m, 'p> {
    pub(super) builder: GraphBuilder<'m>,
    pub(super) initialisers: Initialisers,
    pub(super) folder: Option<&'p Path>,
    values: BTreeMap<String, Value>,
    /// Formulas already made tensors, by what they are of.
    tables: BTreeMap<ValueId, Vec<(Formula, ValueId)>>,
    /// Weights already declared, by their suggested name.
    weights: BTreeMap<String, Vec<(Recipe, String)>>,
    /// The weights declared, by their names in the module.
    declared: BTreeMap<String, Constant>,
    /// The operation and operands of each graph value, to recognise what is spelled out.
    history: BTreeMap<ValueId, (Op, Vec<ValueId>)>,
    /// Something that was spelled out has been recognised: what it was made of may be left over.
    pub(super) recognised: bool,
    /// The node being translated.
    label: Label,
    /// Which node each graph value is from.
    pub(super) made_by: Vec<(ValueId, usize)>,
}

type Built = Result<ValueId, NodeError>;

impl<'m, 'p> Context<'m, 'p> {
    pub(super) fn new(builder: GraphBuilder<'m>, folder: Option<&'p Path>) -> Self {
        Context {
            builder,
            initialisers: Initialisers::default(),
            folder,
            values: BTreeMap::new(),
            tables: BTreeMap::new(),
            weights: BTreeMap::new(),
            declared: BTreeMap::new(),
            history: BTreeMap::new(),
            recognised: false,
            label: Label::default(),
            made_by: Vec::new(),
        }
    }

    /// What is defined from here on comes from node `index`.
    pub(super) fn enter(&mut self, index: usize, name: &str, function: &str) {
        self.label = Label {
            name: name.to_owned(),
            function: function.to_owned(),
            node: Some(index),
        };
    }

    pub(super) fn define(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_owned(), value);
    }

    pub(super) fn lookup(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Input `i` of a node; `None` where it is left out.
    pub(super) fn optional(&self, node: &Node<'_>, i: usize) -> Option<Value> {
        let name = node.proto.input.get(i).filter(|n| !n.is_empty())?;
        self.values.get(name).cloned()
    }

    /// Input `i` of a node.
    pub(super) fn input(&self, node: &Node<'_>, i: usize) -> Result<Value, NodeError> {
        let value = self.optional(node, i);
        value.map_or_else(|| malformed(format!("input {i} is missing")), Ok)
    }

    /// Stores a tensor of the file and makes it a value.
    pub(super) fn store(&mut self, name: &str, tensor: Stored) -> Result<Value, NodeError> {
        let constant = Constant {
            recipe: Recipe::Tensor {
                name: mlc_ir::Template::literal(name),
                shape: tensor.shape.clone(),
            },
            shape: tensor.shape.clone(),
            name: name.to_owned(),
            cost: Cost::step(&tensor.shape, []),
        };
        let value = if !tensor.dtype.is_float() && tensor.len() <= MAX_INTS {
            let data = tensor.integers().map_err(|e| NodeError::Tensor(name.to_owned(), e))?;
            Value::Ints(Ints {
                shape: tensor.shape.iter().map(|d| *d as usize).collect(),
                data: data.into_iter().map(Dim::fixed).collect(),
                constant: Some(constant),
            })
        } else {
            Value::Constant(constant)
        };
        self.initialisers.insert(name.to_owned(), tensor);
        Ok(value)
    }

    /// Adds an operation, named after the node.
    pub(super) fn push(&mut self, op: Op, operands: &[ValueId]) -> Built {
        let label = self.label.clone();
        self.push_as(&label, op, operands)
    }

    fn push_as(&mut self, label: &Label, op: Op, operands: &[ValueId]) -> Built {
        let id = self.builder.named(&label.name).push(op.clone(), operands)?;
        self.history.insert(id, (op, operands.to_vec()));
        self.made_by.extend(label.node.map(|node| (id, node)));
        Ok(id)
    }

    /// A graph value as a value of the file.
    pub(super) fn tensor(&self, id: ValueId) -> Value {
        Value::Lazy(Lazy {
            base: id,
            formula: Formula::x(),
            label: self.label.clone(),
        })
    }

    /// Adds an operation; its result as a value of the file.
    pub(super) fn apply(&mut self, op: Op, operands: &[ValueId]) -> Result<Value, NodeError> {
        let id = self.push(op, operands)?;
        Ok(self.tensor(id))
    }

    /// `formula` of `x`, elementwise.
    pub(super) fn formula(&mut self, formula: &Formula, x: &Value) -> Result<Value, NodeError> {
        match x {
            Value::Lazy(lazy) => {
                self.real(lazy)?;
                self.lazily(lazy.base, formula.compose(&lazy.formula))
            }
            Value::Constant(_) | Value::Ints(_) => {
                let constant = self.constant(x)?;
                self.checked(constant.map(formula.clone()))
            }
            Value::Unknown => Ok(Value::Unknown),
        }
    }

    /// A formula of `base`, made a tensor where it has become too large.
    pub(super) fn lazily(&mut self, base: ValueId, formula: Formula) -> Result<Value, NodeError> {
        let lazy = Lazy {
            base,
            formula,
            label: self.label.clone(),
        };
        if size(&lazy.formula) <= MAX_FORMULA {
            return Ok(Value::Lazy(lazy));
        }
        let id = self.force(&lazy)?;
        Ok(self.tensor(id))
    }

    /// A constant, unless its recipe has become too deep.
    pub(super) fn checked(&self, constant: Constant) -> Result<Value, NodeError> {
        if constant.cost.depth > MAX_DEPTH || constant.cost.steps > MAX_STEPS {
            return unsupported(
                "a weight computed in this many steps",
                "let the exporter fold constants (`do_constant_folding=True`)",
            );
        }
        Ok(Value::Constant(constant))
    }

    fn real(&self, lazy: &Lazy) -> Result<(), NodeError> {
        match self.builder.ty(lazy.base).elem {
            Elem::Real => Ok(()),
            elem => unsupported(
                format!("arithmetic on values of type {elem}"),
                "indices serve Gather, and masks Where",
            ),
        }
    }

    /// The graph value that computes `lazy`; one per formula.
    pub(super) fn force(&mut self, lazy: &Lazy) -> Built {
        if lazy.formula == Formula::x() {
            return Ok(lazy.base);
        }
        let known = self.tables.get(&lazy.base).into_iter().flatten();
        if let Some((_, id)) = known.into_iter().find(|(formula, _)| *formula == lazy.formula) {
            return Ok(*id);
        }
        let id = match super::formula::scaling(&lazy.formula) {
            // A product or sum with a number is left for passes to fold into scales.
            Some((op, number)) => {
                let number = self.push_as(&lazy.label, scalar(number), &[])?;
                self.push_as(&lazy.label, Op::Binary(op), &[lazy.base, number])?
            }
            None => {
                let (name, formula) = match super::formula::recognise(&lazy.formula) {
                    Some((name, formula)) => (name.to_owned(), formula),
                    None => (lazy.label.function.clone(), lazy.formula.clone()),
                };
                self.push_as(&lazy.label, Op::Table { name, formula }, &[lazy.base])?
            }
        };
        let entry = self.tables.entry(lazy.base).or_default();
        entry.push((lazy.formula.clone(), id));
        Ok(id)
    }

    /// The graph value of any value; constants become weights, single numbers literals.
    pub(super) fn graph(&mut self, value: &Value) -> Built {
        match value {
            Value::Lazy(lazy) => self.force(lazy),
            Value::Constant(_) | Value::Ints(_) => {
                let constant = self.constant(value)?;
                self.weight(&constant)
            }
            Value::Unknown => malformed("an input is not known"),
        }
    }

    /// A weight of the module; a literal where it is a single number.
    pub(super) fn weight(&mut self, constant: &Constant) -> Built {
        if constant.numel() == 1 {
            let number = self.number(constant)? as f32;
            let shape = constant.shape.iter().map(|d| *d as usize).collect();
            let tensor = TensorF32 {
                shape,
                data: vec![number],
            };
            return self.push(Op::Const(Literal::Real(tensor.into())), &[]);
        }
        let same = self.weights.entry(constant.name.clone()).or_default();
        let name = match same.iter().find(|(recipe, _)| *recipe == constant.recipe) {
            Some((_, name)) => name.clone(),
            None => {
                let taken = &self.builder.module().weights;
                let numbered = (1u32..).map(|i| format!("{}.{i}", constant.name));
                let mut names = std::iter::once(constant.name.clone()).chain(numbered);
                let free = names.find(|n| !taken.contains_key(n)).unwrap_or_default();
                same.push((constant.recipe.clone(), free.clone()));
                free
            }
        };
        let weight = Weight::real(constant.ir_shape(), constant.recipe.clone());
        self.builder.named(&name);
        let id = self.builder.weight(&name, weight)?;
        self.history.insert(id, (Op::Weight(name.clone()), Vec::new()));
        self.declared.insert(name, constant.clone());
        Ok(id)
    }

    /// The operation that computes a graph value, and its operands; `None` for inputs.
    pub(super) fn history(&self, id: ValueId) -> Option<(&Op, &[ValueId])> {
        self.history.get(&id).map(|(op, operands)| (op, operands.as_slice()))
    }

    /// The elements of a graph value that is a weight, where they are cheap to compute.
    pub(super) fn elements(&self, id: ValueId) -> Option<Tensor<f64>> {
        let (Op::Weight(name), _) = self.history(id)? else {
            return None;
        };
        self.evaluate(self.declared.get(name)?).ok()
    }

    /// A value that initialisers determine, as a recipe.
    pub(super) fn constant(&self, value: &Value) -> Result<Constant, NodeError> {
        let known = match value {
            Value::Constant(constant) => Some(constant.clone()),
            Value::Ints(ints) => ints.constant.clone().or_else(|| {
                let data = ints.as_const()?.into_iter().map(|v| v as f32).collect();
                let shape: Vec<u64> = ints.shape.iter().map(|d| *d as u64).collect();
                Some(Constant {
                    recipe: Recipe::constant(TensorF32::new(ints.shape.clone(), data)?),
                    cost: Cost::step(&shape, []),
                    shape,
                    name: self.label.name.clone(),
                })
            }),
            Value::Lazy(_) | Value::Unknown => None,
        };
        known.map_or_else(
            || {
                unsupported(
                    "a value that depends on the input in this place",
                    "make it a constant or an initialiser",
                )
            },
            Ok,
        )
    }

    /// The elements of a constant, where they are cheap to compute.
    pub(super) fn evaluate(&self, constant: &Constant) -> Result<Tensor<f64>, NodeError> {
        if constant.cost.elements > MAX_ELEMENTS {
            return unsupported(
                format!(
                    "the constant `{}`, which is computed from large tensors,",
                    constant.name
                ),
                "let the exporter fold constants (`do_constant_folding=True`)",
            );
        }
        let value = constant.recipe.eval(&self.initialisers, &Bindings::new());
        value.or_else(|e| malformed(format!("constant `{}`: {e}", constant.name)))
    }

    /// The one element of a constant.
    pub(super) fn number(&self, constant: &Constant) -> Result<f64, NodeError> {
        let value = self.evaluate(constant)?;
        match value.data.as_slice() {
            [number] if number.is_finite() => Ok(*number),
            [number] => malformed(format!("constant `{}` is {number}", constant.name)),
            other => malformed(format!(
                "constant `{}` has {} elements, one expected",
                constant.name,
                other.len()
            )),
        }
    }

    /// The one number that a value is, where initialisers determine it and it has one element.
    pub(super) fn scalar(&self, value: &Value) -> Option<f64> {
        let constant = self.constant(value).ok()?;
        (constant.numel() == 1).then(|| self.number(&constant).ok()).flatten()
    }

    /// The one number of an input that has to be constant.
    pub(super) fn known_number(&self, what: &str, value: &Value) -> Result<f64, NodeError> {
        match self.scalar(value) {
            Some(number) => Ok(number),
            None => unsupported(
                format!("`{what}` that is not a single constant"),
                format!("make `{what}` one number known when the model is exported"),
            ),
        }
    }

    /// Integers that a node's input has to be known as.
    pub(super) fn ints(&self, what: &str, value: &Value) -> Result<Ints, NodeError> {
        if let Value::Ints(ints) = value {
            return Ok(ints.clone());
        }
        unsupported(
            format!("`{what}` that depends on the input's values"),
            format!("`{what}` may depend on the input's shape only; export with static shapes"),
        )
    }

    /// Integers without run-time dimensions that a node's input has to be known as.
    pub(super) fn known_ints(&self, what: &str, value: &Value) -> Result<Vec<i64>, NodeError> {
        match self.ints(what, value)?.as_const() {
            Some(list) => Ok(list),
            None => unsupported(
                format!("`{what}` that depends on a run-time dimension"),
                "export with that dimension fixed",
            ),
        }
    }

    /// The shape of any value.
    pub(super) fn shape(&self, value: &Value) -> Result<Shape, NodeError> {
        match value {
            Value::Lazy(lazy) => Ok(self.builder.ty(lazy.base).shape.clone()),
            Value::Constant(constant) => Ok(constant.ir_shape()),
            Value::Ints(ints) => Ok(Shape::new(ints.shape.iter().copied())),
            Value::Unknown => malformed("an input is not known"),
        }
    }

    /// The type of a graph value.
    pub(super) fn ty(&self, id: ValueId) -> &Type {
        self.builder.ty(id)
    }

    /// Name of the node being translated.
    pub(super) fn here(&self) -> &str {
        &self.label.name
    }
}

/// A literal of one number.
pub(super) fn scalar(value: f64) -> Op {
    Op::Const(Literal::Real(TensorF32::scalar(value as f32).into()))
}
