//! Moving elements, whatever kind of value they are: graph values by operations, weights by recipes, integers at once.

use mlc_ir::{Dim, Op, Recipe, Shape, ValueId};

use super::context::Context;
use super::value::{Constant, Cost, Ints, MAX_INTS, Value};
use crate::error::{NodeError, malformed, unsupported};

/// Most slices that one gather becomes.
pub(super) const MAX_PIECES: usize = 256;

type Moved = Result<Value, NodeError>;

impl Context<'_, '_> {
    /// The same elements in row-major order with the axes `shape`.
    pub(super) fn reshaped(&mut self, x: &Value, shape: Shape) -> Moved {
        let from = self.shape(x)?;
        if from == shape {
            return Ok(x.clone());
        }
        match x {
            Value::Lazy(lazy) => {
                let id = self.force(lazy)?;
                if let Some((x, whole, perm)) = self.transposed_apart(id, &shape) {
                    let x = match self.ty(x).shape == whole {
                        true => x,
                        false => self.push(Op::Reshape(whole), &[x])?,
                    };
                    return self.apply(Op::Transpose(perm), &[x]);
                }
                self.apply(Op::Reshape(shape), &[id])
            }
            _ if !from.same_numel(&shape) => malformed(format!("cannot reshape {from} to {shape}")),
            Value::Constant(constant) => {
                let shape = sizes(&shape)?;
                self.checked(constant.clone().reshape(shape))
            }
            Value::Ints(ints) => Ok(Value::Ints(Ints {
                shape: sizes(&shape)?.into_iter().map(|d| d as usize).collect(),
                data: ints.data.clone(),
                constant: None,
            })),
            Value::Unknown => Ok(Value::Unknown),
        }
    }

    /// What is transposed, in which shape and how, where a reshape of `id` to `shape` only takes apart leading axes that a
    /// reshape had joined before a transposition of the others.
    fn transposed_apart(&self, id: ValueId, shape: &Shape) -> Option<(ValueId, Shape, Vec<usize>)> {
        let (Op::Transpose(perm), &[joined]) = self.history(id)? else {
            return None;
        };
        let (Op::Reshape(_), &[x]) = self.history(joined)? else {
            return None;
        };
        let joined = &self.ty(joined).shape.0;
        let lead = (shape.rank() + 1).checked_sub(joined.len())?;
        let rest = perm.get(1..)?;
        let turned = rest.iter().map(|axis| joined[*axis].clone());
        if perm.first() != Some(&0) || !turned.eq(shape.0.get(lead..)?.iter().cloned()) {
            return None;
        }
        let whole = shape.0[..lead].iter().chain(&joined[1..]).cloned().collect();
        let perm = (0..lead).chain(rest.iter().map(|axis| axis + lead - 1)).collect();
        Some((x, Shape(whole), perm))
    }

    /// Axis `i` of the result is axis `perm[i]` of `x`.
    pub(super) fn transposed(&mut self, x: &Value, perm: &[usize]) -> Moved {
        if perm.iter().copied().eq(0..perm.len()) {
            return Ok(x.clone());
        }
        match x {
            Value::Lazy(lazy) => {
                let id = self.force(lazy)?;
                self.apply(Op::Transpose(perm.to_vec()), &[id])
            }
            Value::Constant(_) | Value::Ints(_) => {
                let constant = self.constant(x)?;
                self.checked(constant.transpose(perm))
            }
            Value::Unknown => Ok(Value::Unknown),
        }
    }

    /// `len` positions of `axis` from `start`, `step` apart; within the axis.
    pub(super) fn sliced(&mut self, x: &Value, axis: usize, start: &Dim, len: &Dim, step: u64) -> Moved {
        let shape = self.shape(x)?;
        if shape.0.get(axis) == Some(len) && step == 1 {
            return Ok(x.clone());
        }
        match x {
            Value::Lazy(lazy) => {
                // One past the last position taken.
                let end = match step {
                    1 => start.plus(len),
                    _ => start.plus(&len.plus_const(-1).times(step as i64)).plus_const(1),
                };
                let start = start.clone();
                let id = self.force(lazy)?;
                self.apply(Op::Slice { axis, start, end, step }, &[id])
            }
            Value::Ints(ints) if ints.shape.len() == 1 => {
                let (start, len) = (known(start)? as usize, known(len)? as usize);
                let picked = (0..len).filter_map(|i| ints.data.get(start + i * step as usize).cloned());
                let data: Vec<Dim> = picked.collect();
                Ok(Value::Ints(Ints {
                    shape: vec![data.len()],
                    data,
                    constant: None,
                }))
            }
            Value::Constant(_) | Value::Ints(_) => {
                let constant = self.constant(x)?;
                let len = known(len)?;
                let mut shape = constant.shape.clone();
                shape[axis] = len;
                let start = start.clone();
                self.checked(constant.with(shape, |r| Recipe::Slice {
                    input: Box::new(r),
                    axis,
                    start,
                    len,
                    step,
                }))
            }
            Value::Unknown => Ok(Value::Unknown),
        }
    }

    /// Values joined along `axis`.
    pub(super) fn joined(&mut self, parts: &[Value], axis: usize) -> Moved {
        if let [one] = parts {
            return Ok(one.clone());
        }
        let ints: Option<Vec<&Ints>> = parts
            .iter()
            .map(|p| match p {
                Value::Ints(ints) if ints.shape.len() == 1 => Some(ints),
                _ => None,
            })
            .collect();
        if let Some(ints) = ints {
            let count: usize = ints.iter().map(|i| i.data.len()).sum();
            if count as u64 > MAX_INTS {
                return unsupported(
                    format!("a list of {count} computed integers"),
                    format!("up to {MAX_INTS} work; store them as an initialiser"),
                );
            }
            let data: Vec<Dim> = ints.into_iter().flat_map(|i| i.data.iter().cloned()).collect();
            return Ok(Value::Ints(Ints {
                shape: vec![data.len()],
                data,
                constant: None,
            }));
        }
        if parts.iter().any(|p| matches!(p, Value::Lazy(_))) {
            let mut operands = Vec::new();
            for part in parts {
                operands.push(self.graph(part)?);
            }
            return self.apply(Op::Concat { axis }, &operands);
        }
        let mut inputs = Vec::new();
        for part in parts {
            inputs.push(self.constant(part)?);
        }
        let Some(first) = inputs.first() else {
            return malformed("nothing to join");
        };
        let mut shape = first.shape.clone();
        let fits = |c: &Constant| {
            let others = c.shape.iter().zip(&shape).enumerate();
            c.shape.len() == shape.len() && others.into_iter().all(|(i, (a, b))| i == axis || a == b)
        };
        if axis >= shape.len() || !inputs.iter().all(fits) {
            return malformed("the constants to join have different shapes");
        }
        shape[axis] = inputs.iter().fold(0, |n, c| n.saturating_add(c.shape[axis]));
        let cost = Cost::step(&shape, inputs.iter().map(|c| c.cost));
        let name = self.here().to_owned();
        let inputs = inputs.into_iter().map(|c| c.recipe).collect();
        self.checked(Constant {
            recipe: Recipe::Concat { axis, inputs },
            shape,
            name,
            cost,
        })
    }

    /// Positions of `axis` in the order of `indices`; each is within the axis.
    pub(super) fn picked(&mut self, x: &Value, axis: usize, indices: &[i64]) -> Moved {
        let runs = runs(indices);
        if runs.len() > MAX_PIECES {
            return unsupported(
                format!("a choice of positions in {} separate pieces", runs.len()),
                format!("at most {MAX_PIECES} pieces are gathered; a fixed permutation can be folded into the weights"),
            );
        }
        let mut parts = Vec::new();
        for (start, len, step) in runs {
            parts.push(self.sliced(x, axis, &Dim::fixed(start), &Dim::fixed(len), step)?);
        }
        if parts.is_empty() {
            return malformed("no position is chosen");
        }
        self.joined(&parts, axis)
    }

    /// `x` stretched to `shape` by numpy broadcasting.
    pub(super) fn stretched(&mut self, x: &Value, shape: Shape) -> Moved {
        if self.shape(x)? == shape {
            return Ok(x.clone());
        }
        if matches!(x, Value::Unknown) {
            return Ok(Value::Unknown);
        }
        let id = self.graph(x)?;
        self.apply(Op::Broadcast(shape), &[id])
    }
}

/// Arithmetic progressions with positive steps: `(start, length, step)`.
fn runs(indices: &[i64]) -> Vec<(i64, i64, u64)> {
    let mut out = Vec::new();
    let mut rest = indices;
    while let [first, after @ ..] = rest {
        let step = after.first().map_or(1, |second| second - first);
        let mut len = 1;
        if step >= 1 {
            while rest.get(len).is_some_and(|v| v - rest[len - 1] == step) {
                len += 1;
            }
        }
        out.push((*first, len as i64, if len == 1 { 1 } else { step as u64 }));
        rest = &rest[len..];
    }
    out
}

/// A shape that a weight or a list has to have.
pub(super) fn sizes(shape: &Shape) -> Result<Vec<u64>, NodeError> {
    shape.0.iter().map(known).collect()
}

/// A length that has to be known.
pub(super) fn known(dim: &Dim) -> Result<u64, NodeError> {
    match dim.as_const().and_then(|v| u64::try_from(v).ok()) {
        Some(value) => Ok(value),
        None => unsupported(
            format!("the run-time length {dim} in this place"),
            "export with that dimension fixed",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn positions_are_grouped_into_progressions() {
        assert_eq!(runs(&[2, 3, 4]), [(2, 3, 1)]);
        assert_eq!(runs(&[0, 2, 4, 3]), [(0, 3, 2), (3, 1, 1)]);
        assert_eq!(runs(&[4, 3, 2]), [(4, 1, 1), (3, 1, 1), (2, 1, 1)]);
        assert_eq!(runs(&[5, 5]), [(5, 1, 1), (5, 1, 1)]);
        assert!(runs(&[]).is_empty());
    }
}
