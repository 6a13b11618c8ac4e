//! Shapes: reshape, broadcast, flatten, transpose, concat, pad; stored tensors.

use super::super::value::{Stored, Value};
use super::super::{Elab, Eval};
use super::Slots;
use crate::diagnostics::{Code, Diagnostic};
use mlc_ir::{Dim, Shape};
use std::rc::Rc;

impl Elab<'_, '_> {
    fn list(&mut self, slots: &Slots, name: &str) -> Eval<Vec<Dim>> {
        match slots.value(name) {
            Value::List(list) => Ok(list),
            other => {
                let message = format!("`{name}` is a list like `[2, 3]`, not {}", other.sort());
                self.error(Code::E0301, slots.span(name), message, "must be a list")
            }
        }
    }

    pub(super) fn reshape(&mut self, name: &str, slots: &Slots) -> Eval<Value> {
        let x = self.tensor_slot(slots, "x")?;
        let list = self.list(slots, "shape")?;
        if list.iter().any(|d| d.as_const().is_some_and(|v| v < 0)) {
            let message = "a dimension is negative";
            return self.error(Code::E0406, slots.span("shape"), message, "write every dimension out");
        }
        let (from, to) = (self.ty(x).shape, Shape(list));
        if name == "reshape" {
            if !from.same_numel(&to) {
                let message = format!("{from} and {to} have different numbers of elements");
                return self.error(Code::E0308, slots.span, message, format!("from {from} to {to}"));
            }
            return Ok(Value::Tensor(self.op(slots.span, |g| g.reshape(x, to))?));
        }
        if !from.broadcasts_to(&to) {
            let message = format!("{from} does not stretch to {to}");
            return self.error(Code::E0305, slots.span, message, "does not broadcast");
        }
        Ok(Value::Tensor(self.op(slots.span, |g| g.broadcast(x, to))?))
    }

    /// Joins the axes from `start` on into one.
    pub(super) fn flatten(&mut self, slots: &Slots) -> Eval<Value> {
        let x = self.tensor_slot(slots, "x")?;
        let shape = self.ty(x).shape;
        let start = match slots.value("start") {
            Value::None => 1.min(shape.rank().saturating_sub(1)),
            value => self.axis(&value, shape.rank(), slots.span("start"))?,
        };
        let mut product = Dim::fixed(1);
        for d in &shape.0[start..] {
            product = match product.try_mul(d) {
                Some(p) => p,
                None => {
                    let message = format!("{shape} has two run-time lengths to join; their product is no dimension");
                    return self.error(Code::E0405, slots.span, message, "cannot be flattened");
                }
            };
        }
        let mut dims = shape.0[..start].to_vec();
        dims.push(product);
        Ok(Value::Tensor(self.op(slots.span, |g| g.reshape(x, Shape(dims)))?))
    }

    pub(super) fn transpose(&mut self, slots: &Slots) -> Eval<Value> {
        let x = self.tensor_slot(slots, "x")?;
        let (rank, span) = (self.ty(x).shape.rank(), slots.span("axes"));
        let list = self.list(slots, "axes")?;
        let perm = list
            .into_iter()
            .map(|d| self.axis(&Value::Dim(d), rank, span))
            .collect::<Eval<Vec<usize>>>()?;
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        if sorted != (0..rank).collect::<Vec<_>>() {
            let message = format!("{perm:?} does not name each of the {rank} axes once");
            return self.error(Code::E0306, span, message, "not a permutation");
        }
        Ok(Value::Tensor(self.op(slots.span, |g| g.transpose(x, &perm))?))
    }

    pub(super) fn concat(&mut self, slots: &Slots) -> Eval<Value> {
        let mut parts = Vec::new();
        for part in &slots.rest {
            parts.push(self.tensor(&part.value, part.span)?);
        }
        let Some(first) = parts.first() else {
            return self.error(
                Code::E0303,
                slots.span,
                "`concat` needs tensors to join",
                "nothing to join",
            );
        };
        let shape = self.ty(*first).shape;
        let axis = self.axis(&slots.value("axis"), shape.rank(), slots.span("axis"))?;
        for (part, given) in parts.iter().zip(&slots.rest).skip(1) {
            let other = self.ty(*part).shape;
            let agree =
                other.rank() == shape.rank() && (0..shape.rank()).all(|i| i == axis || other.0[i] == shape.0[i]);
            if !agree {
                let message = format!("{other} cannot be joined with {shape} along axis {axis}");
                let diagnostic = Diagnostic::error(Code::E0302, given.span, message)
                    .label(format!("has shape {other}"))
                    .also(slots.rest[0].span, format!("has shape {shape}"));
                return Err(self.report(diagnostic));
            }
        }
        Ok(Value::Tensor(self.op(slots.span, |g| g.concat(axis, &parts))?))
    }

    pub(super) fn pad(&mut self, slots: &Slots) -> Eval<Value> {
        let x = self.tensor_slot(slots, "x")?;
        let rank = self.ty(x).shape.rank();
        let mut sides = Vec::new();
        for name in ["before", "after"] {
            let list = self.list(slots, name)?;
            if list.len() != rank {
                let message = format!("`{name}` has {} entries, but the tensor {rank} axes", list.len());
                return self.error(Code::E0312, slots.span(name), message, "one entry for each axis");
            }
            let mut side = Vec::new();
            for d in &list {
                let value = self.constant(d, slots.span(name))?;
                match u64::try_from(value) {
                    Ok(v) => side.push(v),
                    Err(_) => return self.error(Code::E0312, slots.span(name), "padding is not negative", "negative"),
                }
            }
            sides.push(side);
        }
        let value = self.number(slots, "value", 0.0)?;
        Ok(Value::Tensor(
            self.op(slots.span, |g| g.pad(x, &sides[0], &sides[1], value))?,
        ))
    }

    /// `stored("name", shape)`: a tensor of the weight file whose shape is said, so that it can be sliced.
    pub(super) fn stored_tensor(&mut self, slots: &Slots) -> Eval<Value> {
        let shape = self.list(slots, "shape")?;
        let mut list = self.stored(&slots.value("name"), slots.span("name"))?;
        match list.as_mut_slice() {
            [
                Stored {
                    shape: slot @ None,
                    steps,
                    ..
                },
            ] if steps.is_empty() => *slot = Some(shape),
            _ => {
                return self.error(
                    Code::E0501,
                    slots.span("name"),
                    "`stored` takes one plain name",
                    "must be a name",
                );
            }
        }
        Ok(Value::Source(Rc::new(list)))
    }
}
