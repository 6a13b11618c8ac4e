//! Indices: `x[.., 0..4, -1]` on tensors, lists, and stored tensors.

use super::value::{Cut, Step, Value};
use super::{Elab, Env, Eval};
use crate::check::report::Reported;
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;
use crate::syntax::ast::{Expr, IndexItem};
use mlc_ir::{Dim, Shape, ValueId};
use std::rc::Rc;

impl Elab<'_, '_> {
    pub(super) fn index(&mut self, env: &mut Env, base: &Expr, items: &[IndexItem], span: Span) -> Eval<Value> {
        let value = self.expr(env, base)?;
        let cuts = items
            .iter()
            .map(|item| self.cut(env, item))
            .collect::<Eval<Vec<Cut>>>()?;
        match &value {
            Value::Str(_) | Value::Source(_) => {
                let mut stored = self.stored(&value, base.span)?;
                stored
                    .iter_mut()
                    .for_each(|s| s.steps.push(Step::Slice(cuts.clone(), span)));
                Ok(Value::Source(Rc::new(stored)))
            }
            Value::List(list) => self.index_list(list, &cuts, span),
            _ => {
                let id = self.tensor(&value, base.span)?;
                Ok(Value::Tensor(self.slice(id, &cuts, span)?))
            }
        }
    }

    fn cut(&mut self, env: &mut Env, item: &IndexItem) -> Eval<Cut> {
        Ok(match item {
            IndexItem::Full(_) => Cut::Full,
            IndexItem::Rest(_) => Cut::Rest,
            IndexItem::At(e) => Cut::At(self.dim(env, e)?, e.span),
            IndexItem::Range(a, b, span) => {
                let a = a.as_ref().map(|e| self.dim(env, e)).transpose()?;
                let b = b.as_ref().map(|e| self.dim(env, e)).transpose()?;
                Cut::Range(a, b, *span)
            }
        })
    }

    fn index_list(&mut self, list: &[Dim], cuts: &[Cut], span: Span) -> Eval<Value> {
        let length = Dim::from(list.len());
        match cuts {
            [Cut::At(at, place)] => {
                let (start, _) = self.range(&length, Some(at), None, *place)?;
                let at = self.constant(&start, *place)? as usize;
                match list.get(at) {
                    Some(d) => Ok(Value::Dim(d.clone())),
                    None => self.error(
                        Code::E0309,
                        *place,
                        format!("the list has {length} elements"),
                        "out of range",
                    ),
                }
            }
            [Cut::Range(a, b, place)] => {
                let (start, end) = self.range(&length, a.as_ref(), b.as_ref(), *place)?;
                let (start, end) = (
                    self.constant(&start, *place)? as usize,
                    self.constant(&end, *place)? as usize,
                );
                Ok(Value::List(list.get(start..end).unwrap_or_default().to_vec()))
            }
            _ => self.error(Code::E0306, span, "a list has one axis", "one index"),
        }
    }

    /// Start and end on an axis of length `length`; a negative constant counts from the end.
    pub(super) fn range(&mut self, length: &Dim, a: Option<&Dim>, b: Option<&Dim>, span: Span) -> Eval<(Dim, Dim)> {
        let place = |d: &Dim| {
            if d.as_const().is_some_and(|v| v < 0) {
                length.plus(d)
            } else {
                d.clone()
            }
        };
        let start = a.map_or(Dim::fixed(0), place);
        let end = b.map_or(length.clone(), place);
        // What can be compared at compile time must be in order: 0 ≤ start ≤ end ≤ length.
        let negative = |d: Dim| d.as_const().is_some_and(|v| v < 0);
        let outside = negative(start.clone()) || negative(end.minus(&start)) || negative(length.minus(&end));
        if outside {
            let message = format!("{start}..{end} is not within an axis of length {length}");
            return self.error(Code::E0309, span, message, format!("the axis has length {length}"));
        }
        Ok((start, end))
    }

    /// Spreads cuts over `rank` axes: `..` becomes as many whole axes as are missing.
    pub(super) fn spread(&mut self, cuts: &[Cut], rank: usize, span: Span) -> Eval<Vec<Cut>> {
        let rests = cuts.iter().filter(|c| matches!(c, Cut::Rest)).count();
        let named = cuts.len() - rests;
        if rests > 1 || named > rank {
            let message = if rests > 1 {
                "`..` stands once in an index".to_string()
            } else {
                format!("{named} axes are indexed, but there are {rank}")
            };
            return self.error(Code::E0306, span, message, "too many");
        }
        let mut out = Vec::new();
        for cut in cuts {
            match cut {
                Cut::Rest => out.extend(std::iter::repeat_n(Cut::Full, rank - named)),
                cut => out.push(cut.clone()),
            }
        }
        out.resize(rank, Cut::Full);
        Ok(out)
    }

    fn slice(&mut self, mut id: ValueId, cuts: &[Cut], span: Span) -> Eval<ValueId> {
        let found = self.ty(id);
        let cuts = self.spread(cuts, found.shape.rank(), span)?;
        let mut gone = Vec::new();
        for (axis, cut) in cuts.iter().enumerate() {
            let length = &found.shape.0[axis];
            let (start, end) = match cut {
                Cut::Full | Cut::Rest => continue,
                Cut::At(at, place) => {
                    let (start, _) = self.range(length, Some(at), None, *place)?;
                    let end = start.plus_const(1);
                    if length.minus(&end).as_const().is_some_and(|v| v < 0) {
                        let message = format!("position {at} is not on an axis of length {length}");
                        return self.error(Code::E0309, *place, message, format!("the axis has length {length}"));
                    }
                    gone.push(axis);
                    (start, end)
                }
                Cut::Range(a, b, place) => self.range(length, a.as_ref(), b.as_ref(), *place)?,
            };
            if start.as_const() == Some(0) && end == *length {
                continue;
            }
            for d in [&start, &end] {
                if d.terms().any(|(name, _)| self.indices.iter().any(|i| i == name)) {
                    let diagnostic: Diagnostic = self.not_constant(d, span);
                    return Err(self.report(diagnostic));
                }
            }
            id = self.op(span, |g| g.slice(id, axis, start, end, 1))?;
        }
        if !gone.is_empty() {
            let kept = self.ty(id).shape.0;
            let kept = kept
                .into_iter()
                .enumerate()
                .filter(|(axis, _)| !gone.contains(axis))
                .map(|(_, d)| d);
            let shape = Shape(kept.collect());
            id = self.op(span, |g| g.reshape(id, shape))?;
        }
        Ok(id)
    }

    /// The axis that `value` names on a tensor of `rank` axes; negative counts from the end.
    pub(super) fn axis(&mut self, value: &Value, rank: usize, span: Span) -> Eval<usize> {
        let Value::Dim(d) = value else {
            if matches!(value, Value::Error) {
                return Err(Reported);
            }
            let message = format!("an axis is an integer, not {}", value.sort());
            return self.error(Code::E0301, span, message, "must be an integer");
        };
        let axis = self.constant(d, span)?;
        let from_start = if axis < 0 { axis + rank as i64 } else { axis };
        if (0..rank as i64).contains(&from_start) {
            return Ok(from_start as usize);
        }
        self.error(
            Code::E0306,
            span,
            format!("there is no axis {axis}: the tensor has {rank}"),
            "no such axis",
        )
    }
}
