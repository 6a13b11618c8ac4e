//! Walking an entry: values, weights, states, regions; the check of every result against its type.

use std::collections::BTreeMap;

use super::{Data, Inputs, Observation, Outputs, RunError, StateKey, int, layout, real};
use crate::graph::{Entry, Module, Node, Region, StackAxis, ValueId};
use crate::kernel::{self, KernelError};
use crate::op::{Literal, Op, Repeat};
use crate::recipe::WeightSource;
use crate::shape::Bindings;
use crate::tensor::Tensor;
use crate::types::{Elem, Type};

pub(super) struct Machine<'a> {
    module: &'a Module,
    entry: &'a Entry,
    weights: &'a dyn WeightSource,
    inputs: &'a Inputs,
    observe: &'a mut dyn FnMut(Observation<'_>),
    bindings: Bindings,
    values: Vec<Option<Data>>,
    states: BTreeMap<StateKey, Data>,
}

/// What an operation that does not come to a value says.
pub(super) fn fail<T>(op: &Op, why: impl Into<String>) -> Result<T, KernelError> {
    Err(KernelError {
        op: op.name(),
        why: why.into(),
    })
}

impl<'a> Machine<'a> {
    pub(super) fn new(
        module: &'a Module,
        entry: &'a Entry,
        weights: &'a dyn WeightSource,
        inputs: &'a Inputs,
        observe: &'a mut dyn FnMut(Observation<'_>),
    ) -> Result<Self, RunError> {
        for (name, range) in &module.dims {
            if let Some(value) = inputs.dims.get(name).copied()
                && !(range.min..=range.max).contains(&u64::try_from(value).unwrap_or(u64::MAX))
            {
                return Err(RunError::DimRange {
                    name: name.clone(),
                    value,
                    min: range.min,
                    max: range.max,
                });
            }
        }
        let values = vec![None; entry.values.len()];
        let (mut bindings, states) = (inputs.dims.clone(), BTreeMap::new());
        // Where nothing is said, nothing is in states yet.
        for (name, _) in module.dims.iter().filter(|(_, r)| r.before.is_some()) {
            bindings.entry(name.clone()).or_insert(0);
        }
        Ok(Machine {
            module,
            entry,
            weights,
            inputs,
            observe,
            bindings,
            values,
            states,
        })
    }

    pub(super) fn run(mut self) -> Result<Outputs, RunError> {
        let entry = self.entry;
        for (port, id) in entry.inputs.iter().zip(&entry.body.params) {
            let data = self.inputs.values.get(&port.name).cloned();
            self.set(*id, data.ok_or_else(|| RunError::MissingInput(port.name.clone()))?)?;
        }
        self.nodes(&entry.body)?;
        let mut values = BTreeMap::new();
        for (port, id) in entry.outputs.iter().zip(&entry.body.results) {
            values.insert(port.name.clone(), self.get(*id)?.clone());
        }
        Ok(Outputs {
            values,
            states: self.states,
        })
    }

    fn get(&self, id: ValueId) -> Result<&Data, RunError> {
        let value = self.values.get(id.index()).and_then(Option::as_ref);
        value.ok_or_else(|| RunError::Elements(format!("value number {}", id.0)))
    }

    /// Stores a value once it is what its type says.
    fn set(&mut self, id: ValueId, data: Data) -> Result<(), RunError> {
        let value = self.entry.value(id);
        check(&value.name, &value.ty, &data, &self.bindings)?;
        (self.observe)(Observation {
            value: id,
            bindings: &self.bindings,
            data: &data,
        });
        self.values[id.index()] = Some(data);
        Ok(())
    }

    fn nodes(&mut self, region: &Region) -> Result<(), RunError> {
        region.nodes.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &Node) -> Result<(), RunError> {
        if let Op::Repeat(repeat) = &node.op {
            return self.repeat(repeat, node);
        }
        let Some(result) = node.results.first().copied() else {
            return Ok(());
        };
        let data = match &node.op {
            Op::Weight(name) => self.weight(name)?,
            Op::Const(Literal::Real(tensor)) => Data::Real(tensor.as_ref().clone()),
            Op::Const(Literal::Integers { data, .. }) => Data::Ints(data.as_ref().clone()),
            Op::StateRead(name) => self.state(name)?.1,
            Op::StateAppend(name) => self.append(name, node)?,
            op => {
                let operands = node
                    .operands
                    .iter()
                    .map(|id| self.get(*id))
                    .collect::<Result<Vec<&Data>, _>>()?;
                let error = |error| RunError::Operation {
                    value: self.entry.value(result).name.clone(),
                    error,
                };
                self.compute(op, &operands).map_err(error)?
            }
        };
        self.set(result, data)
    }

    fn compute(&self, op: &Op, operands: &[&Data]) -> Result<Data, KernelError> {
        if let Some(data) = layout::compute(op, operands, &self.bindings)? {
            return Ok(data);
        }
        // The element type of the first operand that holds numbers decides the arithmetic.
        match operands.first() {
            Some(Data::Real(_)) => {
                let tensors = operands.iter().map(|d| d.real()).collect::<Option<Vec<_>>>();
                match tensors {
                    Some(tensors) => real::compute(op, &tensors, &self.bindings).map(Data::Real),
                    None => fail(op, "operands of different kinds"),
                }
            }
            Some(Data::Ints(_)) => {
                let tensors = operands.iter().map(|d| d.ints()).collect::<Option<Vec<_>>>();
                match tensors {
                    Some(tensors) => int::compute(op, &tensors, self.module, &self.bindings).map(Data::Ints),
                    None => fail(op, "operands of different kinds"),
                }
            }
            None => fail(op, "it has no operands"),
        }
    }

    fn weight(&self, name: &str) -> Result<Data, RunError> {
        let unknown = || RunError::Elements(name.to_owned());
        let weight = self.module.weights.get(name).ok_or_else(unknown)?;
        let value = weight.recipe.eval(self.weights, &self.bindings);
        let value = value.map_err(|error| RunError::Weight {
            weight: name.to_owned(),
            error,
        })?;
        if weight.ty.elem == Elem::Real {
            return Ok(Data::Real(value.map(|v| *v as f32)));
        }
        if value
            .data
            .iter()
            .any(|v| libm::trunc(*v) != *v || libm::fabs(*v) > 1e15)
        {
            return Err(unknown());
        }
        let ints = value.map(|v| *v as i64);
        if let Some(sum) = &weight.abs_sum {
            let total = |group: &[i64]| Ok(group.iter().fold(0i64, |s, v| s.saturating_add(v.saturating_abs())));
            let error = |error| RunError::Operation {
                value: name.to_owned(),
                error,
            };
            let sums = kernel::reduce(&ints, &sum.axes, false, total).map_err(error)?;
            if let Some(found) = sums.data.iter().copied().max().filter(|s| *s > sum.bound) {
                return Err(RunError::AbsSum {
                    weight: name.to_owned(),
                    found,
                    bound: sum.bound,
                });
            }
        }
        Ok(Data::Ints(ints))
    }

    /// Key and value of a state of this iteration; empty where it is not given.
    fn state(&self, name: &str) -> Result<(StateKey, Data), RunError> {
        let state = self
            .module
            .states
            .get(name)
            .ok_or_else(|| RunError::Elements(name.to_owned()))?;
        let index = |a: &StackAxis| self.bindings.get(&a.index).copied().unwrap_or(0);
        let key: StateKey = (name.to_owned(), state.stack.iter().map(index).collect());
        let shape = state.ty.shape.eval(&self.bindings)?;
        let data = match (self.inputs.states.get(&key), state.ty.elem) {
            (Some(data), _) => data.clone(),
            (None, _) if shape.iter().product::<usize>() > 0 => return Err(RunError::MissingInput(name.to_owned())),
            (None, Elem::Real) => Data::Real(Tensor {
                shape,
                data: Vec::new(),
            }),
            (None, _) => Data::Ints(Tensor {
                shape,
                data: Vec::new(),
            }),
        };
        check(name, &state.ty, &data, &self.bindings)?;
        Ok((key, data))
    }

    fn append(&mut self, name: &str, node: &Node) -> Result<Data, RunError> {
        let (key, before) = self.state(name)?;
        let axis = self.module.states.get(name).map_or(0, |s| s.axis);
        let Some(new) = node.operands.first() else {
            return Err(RunError::Elements(name.to_owned()));
        };
        let concat = Op::Concat { axis };
        let after = self.compute(&concat, &[&before, self.get(*new)?]);
        let after = after.map_err(|error| RunError::Operation {
            value: name.to_owned(),
            error,
        })?;
        self.states.insert(key, after.clone());
        Ok(after)
    }

    fn repeat(&mut self, repeat: &Repeat, node: &Node) -> Result<(), RunError> {
        let (carried, stacked) = node.operands.split_at(repeat.carried.min(node.operands.len()));
        let take = |machine: &Self, ids: &[ValueId]| {
            ids.iter()
                .map(|id| machine.get(*id).cloned())
                .collect::<Result<Vec<Data>, RunError>>()
        };
        let mut state = take(self, carried)?;
        let stacked = take(self, stacked)?;
        let mut collected: Vec<Vec<Data>> = Vec::new();
        let shadowed = self.bindings.get(&repeat.index).copied();
        for i in 0..repeat.count {
            self.bindings.insert(repeat.index.clone(), i as i64);
            let slices = stacked.iter().map(|d| layout::iteration(d, i as usize));
            let slices = slices.collect::<Result<Vec<Data>, KernelError>>();
            let error = |error| RunError::Operation {
                value: "repeat".to_owned(),
                error,
            };
            for (id, data) in repeat
                .body
                .params
                .iter()
                .zip(state.into_iter().chain(slices.map_err(error)?))
            {
                self.set(*id, data)?;
            }
            self.nodes(&repeat.body)?;
            let mut results = take(self, &repeat.body.results)?;
            collected.push(results.split_off(repeat.carried.min(results.len())));
            state = results;
        }
        match shadowed {
            Some(value) => self.bindings.insert(repeat.index.clone(), value),
            None => self.bindings.remove(&repeat.index),
        };
        let outputs = collected.first().map_or(0, Vec::len);
        for output in 0..outputs {
            let parts: Vec<&Data> = collected.iter().map(|c| &c[output]).collect();
            let error = |error| RunError::Operation {
                value: "repeat".to_owned(),
                error,
            };
            state.push(layout::stack(&parts).map_err(error)?);
        }
        for (id, data) in node.results.iter().zip(state) {
            self.set(*id, data)?;
        }
        Ok(())
    }
}

/// Fails where `data` is not a tensor of type `ty`.
fn check(name: &str, ty: &Type, data: &Data, bindings: &Bindings) -> Result<(), RunError> {
    let expected = ty.shape.eval(bindings)?;
    if data.shape() != expected {
        return Err(RunError::Shape {
            value: name.to_owned(),
            found: data.shape().to_vec(),
            expected,
        });
    }
    let (lo, hi) = match (ty.elem, data) {
        (Elem::Real, Data::Real(_)) => return Ok(()),
        (Elem::Int(int), Data::Ints(_)) => (int.lo, int.hi),
        (Elem::Index(vocab), Data::Ints(_)) => (0, i64::try_from(vocab).unwrap_or(i64::MAX).saturating_sub(1)),
        (Elem::Mask, Data::Ints(_)) => (0, 1),
        _ => return Err(RunError::Elements(name.to_owned())),
    };
    let ints = data.ints().map_or(&[][..], |t| &t.data);
    match ints.iter().position(|v| !(lo..=hi).contains(v)) {
        Some(at) => Err(RunError::Bounds {
            value: name.to_owned(),
            at,
            found: ints[at],
            lo,
            hi,
        }),
        None => Ok(()),
    }
}
