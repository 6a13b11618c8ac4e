//! Entries: invariants 1, 2, 6 to 16.

use std::collections::BTreeSet;

use super::module::{check_declared, check_type};
use super::{Place, VerifyError, Violation};
use crate::graph::{Entry, Module, Node, Port, Region, StackAxis, ValueId};
use crate::infer::{Operand, Origin, Origins, Scope, fits, infer, least};
use crate::op::{BinaryOp, Literal, Op};
use crate::shape::Dim;
use crate::text::dim_name;
use crate::types::{Elem, Stage, Type};

pub(super) fn check(module: &Module, name: &str, entry: &Entry, errors: &mut Vec<VerifyError>) {
    let mut checker = Checker {
        module,
        name,
        entry,
        errors,
        defined: BTreeSet::new(),
        visible: BTreeSet::new(),
        origins: Origins::new(),
        appended: BTreeSet::new(),
        stack: Vec::new(),
    };
    checker.ports("input", &entry.inputs, entry.body.params.len());
    checker.ports("output", &entry.outputs, entry.body.results.len());
    checker.names();
    checker.region(&entry.body);
}

struct Checker<'a> {
    module: &'a Module,
    name: &'a str,
    entry: &'a Entry,
    errors: &'a mut Vec<VerifyError>,
    /// Every value defined so far.
    defined: BTreeSet<ValueId>,
    /// Values defined so far in this region and those around it.
    visible: BTreeSet<ValueId>,
    origins: Origins,
    appended: BTreeSet<&'a str>,
    stack: Vec<StackAxis>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, op: &'static str, value: &str, node: Option<&Node>, violation: Violation) {
        let place = Place::Value {
            entry: self.name.to_owned(),
            op,
            value: value.to_owned(),
        };
        self.errors.push(VerifyError {
            place,
            span: node.and_then(|n| n.span.clone()),
            violation,
        });
    }

    fn value_name(&self, id: ValueId) -> String {
        self.entry
            .values
            .get(id.index())
            .map_or_else(|| format!("#{}", id.0), |v| v.name.clone())
    }

    fn ports(&mut self, kind: &'static str, ports: &[Port], values: usize) {
        if ports.len() != values {
            self.report(
                "entry",
                kind,
                None,
                Violation::Ports {
                    ports: ports.len(),
                    values,
                },
            );
        }
        let mut seen = BTreeSet::new();
        for port in ports.iter().filter(|p| !seen.insert(p.name.as_str())) {
            self.report("entry", kind, None, Violation::DuplicatePort(port.name.clone()));
        }
    }

    fn names(&mut self) {
        let mut seen = BTreeSet::new();
        for value in self.entry.values.iter().filter(|v| !seen.insert(v.name.as_str())) {
            self.report("entry", self.name, None, Violation::DuplicateName(value.name.clone()));
        }
    }

    fn region(&mut self, region: &'a Region) {
        let outer = self.visible.clone();
        for id in &region.params {
            self.define("input", *id, None);
        }
        for node in &region.nodes {
            self.node(node);
        }
        for id in &region.results {
            self.use_of("output", *id, None);
        }
        self.visible = outer;
    }

    /// Invariant 7, and those of the value's type. True where the value exists.
    fn define(&mut self, op: &'static str, id: ValueId, node: Option<&Node>) -> bool {
        let Some(value) = self.entry.values.get(id.index()) else {
            self.report(op, &format!("#{}", id.0), node, Violation::NoSuchValue(id.0));
            return false;
        };
        if !self.defined.insert(id) {
            self.report(op, &value.name, node, Violation::DefinedTwice);
        }
        self.visible.insert(id);
        let mut violations = Vec::new();
        check_type(self.module, &value.ty, &mut |v| violations.push(v));
        for violation in violations {
            self.report(op, &value.name, node, violation);
        }
        true
    }

    /// Invariant 8.
    fn use_of(&mut self, op: &'static str, id: ValueId, node: Option<&Node>) -> bool {
        let visible = self.visible.contains(&id);
        if !visible {
            let used = self.value_name(id);
            let place = node
                .and_then(|n| n.results.first())
                .map_or_else(String::new, |r| self.value_name(*r));
            self.report(op, &place, node, Violation::NotDominated(used));
        }
        visible
    }

    fn node(&mut self, node: &'a Node) {
        let op = node.op.name();
        let mut sound = true;
        for id in &node.operands {
            sound &= self.use_of(op, *id, Some(node));
        }
        if let Op::Repeat(repeat) = &node.op {
            self.index(node, &repeat.index);
            self.stack.push(StackAxis {
                index: repeat.index.clone(),
                count: repeat.count,
            });
            let before = self.errors.len();
            self.region(&repeat.body);
            self.stack.pop();
            sound &= self.errors.len() == before;
        }
        for id in &node.results {
            sound &= self.define(op, *id, Some(node));
        }
        if let (Some(origin), Some(id)) = (Origin::of(&node.op, &node.operands), node.results.first()) {
            self.origins.insert(*id, origin);
        }
        let value = node.results.first().map_or_else(String::new, |id| self.value_name(*id));
        for violation in self.attributes(node) {
            self.report(op, &value, Some(node), violation);
        }
        if sound {
            self.types(node, &value);
        }
    }

    fn index(&mut self, node: &Node, index: &str) {
        if dim_name(index).is_none() {
            self.report(
                "repeat",
                index,
                Some(node),
                Violation::NotAnIdentifier(index.to_owned()),
            );
        }
        if self.module.dims.contains_key(index) || self.stack.iter().any(|a| a.index == index) {
            self.report("repeat", index, Some(node), Violation::Shadowed(index.to_owned()));
        }
    }

    /// Invariant 9, and what inference says.
    fn types(&mut self, node: &Node, value: &str) {
        let scope = Scope {
            module: self.module,
            values: &self.entry.values,
            stack: &self.stack,
            origins: &self.origins,
        };
        let operands: Vec<Operand<'_>> = node
            .operands
            .iter()
            .map(|id| Operand {
                id: *id,
                ty: self.entry.ty(*id),
            })
            .collect();
        let inferred = match infer(scope, &node.op, &operands) {
            Ok(types) => types,
            Err(kind) => return self.report(node.op.name(), value, Some(node), Violation::Inference(kind)),
        };
        if inferred.len() != node.results.len() {
            let (found, inferred) = (node.results.len(), inferred.len());
            return self.report(
                node.op.name(),
                value,
                Some(node),
                Violation::ResultCount { found, inferred },
            );
        }
        for (id, inferred) in node.results.iter().zip(inferred) {
            let found = self.entry.ty(*id);
            if !agrees(found, &inferred) {
                let violation = Violation::Type {
                    found: Box::new(found.clone()),
                    inferred: Box::new(inferred),
                };
                self.report(node.op.name(), value, Some(node), violation);
            }
        }
    }

    /// Invariants 2 and 10 to 16 as far as they concern attributes.
    fn attributes(&mut self, node: &'a Node) -> Vec<Violation> {
        let op = &node.op;
        let mut out = Vec::new();
        if !occurs_in(op, self.module.stage) {
            out.push(Violation::StageItem(self.module.stage));
        }
        if dims(op)
            .iter()
            .any(|dim| !check_declared(self.module, dim, &mut |v| out.push(v)))
        {
            return out;
        }
        let negative = |dim: &Dim| least(self.module, dim) < 0;
        match op {
            Op::Slice { axis, start, end, .. } => {
                let sliced = node.operands.first().and_then(|id| self.entry.values.get(id.index()));
                let extent = sliced.and_then(|v| v.ty.shape.0.get(*axis));
                let ends_outside = extent.is_some_and(|extent| negative(&extent.minus(end)));
                if negative(start) || negative(&end.minus(start)) || ends_outside {
                    out.push(Violation::OutOfRange("the slice"));
                }
            }
            Op::Iota { len, start, vocab } => {
                let room = Dim::fixed(i64::try_from(*vocab).unwrap_or(i64::MAX)).minus(&start.plus(len));
                if negative(start) || negative(&room) {
                    out.push(Violation::OutOfRange("the last position"));
                }
            }
            Op::StateAppend(name) => {
                let stacked = self.module.states.get(name).is_some_and(|s| s.stack == self.stack);
                if !stacked || !self.appended.insert(name) {
                    out.push(Violation::Append(name.clone()));
                }
            }
            _ => {}
        }
        out.extend(improper_number(op).map(Violation::NotANumber));
        out
    }
}

/// Equal, or the same integers with wider bounds than inferred.
fn agrees(found: &Type, inferred: &Type) -> bool {
    match (found.elem, inferred.elem) {
        (Elem::Int(_), Elem::Int(_)) => fits(inferred, found),
        _ => found == inferred,
    }
}

/// Invariants 13 and 14.
fn occurs_in(op: &Op, stage: Stage) -> bool {
    match op {
        Op::Requant(_) | Op::MaxDistance(_) => stage == Stage::Quantised,
        Op::Binary(BinaryOp::Div)
        | Op::Table { .. }
        | Op::Softmax
        | Op::BatchNorm { .. }
        | Op::RmsNorm { .. }
        | Op::LayerNorm { .. } => stage == Stage::Real,
        _ => true,
    }
}

/// Affine forms among the attributes.
fn dims(op: &Op) -> Vec<&Dim> {
    match op {
        Op::Iota { len, start, .. } => vec![len, start],
        Op::CausalMask { rows, cols, offset, .. } => vec![rows, cols, offset],
        Op::Rope(rope) => vec![&rope.start],
        Op::Slice { start, end, .. } => vec![start, end],
        Op::Reshape(shape) | Op::Broadcast(shape) => shape.0.iter().collect(),
        _ => Vec::new(),
    }
}

/// Invariant 11: the first attribute that violates it.
fn improper_number(op: &Op) -> Option<&'static str> {
    match op {
        Op::Const(Literal::Real(tensor)) if tensor.data.iter().any(|v| v.is_nan()) => Some("a constant"),
        Op::BatchNorm { eps } | Op::RmsNorm { eps } | Op::LayerNorm { eps } if !(eps.is_finite() && *eps >= 0.0) => {
            Some("`eps`")
        }
        Op::Requant(requant) if !(requant.scale.is_finite() && requant.scale > 0.0) => Some("the scale"),
        Op::MaxDistance(lookup) if !(lookup.scale.is_finite() && lookup.scale > 0.0) => Some("the scale"),
        Op::Rope(rope) if !rope.scale.is_finite() => Some("the scale"),
        Op::Pad { value, .. } if value.is_nan() => Some("the padding"),
        _ => None,
    }
}
