//! Softmax, masks, norms, rotary embedding, rows by index.

use super::super::value::Value;
use super::super::{Elab, Eval};
use super::Slots;
use crate::check::modules::Def;
use crate::check::report::Reported;
use crate::diagnostics::{Code, Diagnostic};
use mlc_ir::{Elem, Rope, RopeLayout};

impl Elab<'_, '_> {
    pub(super) fn softmax(&mut self, slots: &Slots) -> Eval<Value> {
        let x = self.tensor_slot(slots, "x")?;
        let mask = self.optional_tensor(slots, "mask")?;
        self.last_axis_only(slots, self.ty(x).shape.rank(), "softmax")?;
        if let Some(mask) = mask {
            let (xs, ms) = (self.ty(x).shape, self.ty(mask).shape);
            if !ms.broadcasts_to(&xs) {
                let message = format!("a mask {ms} does not stretch to {xs}");
                return self.error(Code::E0305, slots.span("mask"), message, format!("has shape {ms}"));
            }
        }
        Ok(Value::Tensor(self.op(slots.span, |g| g.softmax(x, mask))?))
    }

    pub(super) fn select_elements(&mut self, slots: &Slots) -> Eval<Value> {
        let mask = self.tensor_slot(slots, "mask")?;
        let (a, b) = (self.tensor_slot(slots, "a")?, self.tensor_slot(slots, "b")?);
        Ok(Value::Tensor(self.op(slots.span, |g| g.choose(mask, a, b))?))
    }

    pub(super) fn causal_mask(&mut self, slots: &Slots) -> Eval<Value> {
        let (rows, cols) = (self.dim_slot(slots, "rows")?, self.dim_slot(slots, "cols")?);
        let offset = self.dim_slot(slots, "offset")?;
        let window = match slots.value("window") {
            Value::None => None,
            _ => Some(self.natural(slots, "window", 0)?),
        };
        Ok(Value::Tensor(
            self.op(slots.span, |g| g.causal_mask(rows, cols, offset, window))?,
        ))
    }

    pub(super) fn positions(&mut self, slots: &Slots) -> Eval<Value> {
        let (len, start) = (self.dim_slot(slots, "len")?, self.dim_slot(slots, "start")?);
        let below = self.natural(slots, "below", 0)?;
        Ok(Value::Tensor(self.op(slots.span, |g| g.iota(len, start, below))?))
    }

    pub(super) fn gather_rows(&mut self, slots: &Slots) -> Eval<Value> {
        let (w, index) = (self.tensor_slot(slots, "w")?, self.tensor_slot(slots, "index")?);
        let (rows, found) = (self.ty(w), self.ty(index));
        let bound = match (found.elem, rows.shape.0.first().and_then(|d| d.as_const())) {
            (Elem::Index(bound), Some(n)) if bound <= n.unsigned_abs() => None,
            (Elem::Index(_), _) => Some(Code::E0302),
            _ => Some(Code::E0301),
        };
        if let Some(code) = bound {
            let message = format!("rows of {rows} cannot be chosen by {found}");
            let diagnostic = Diagnostic::error(code, slots.span("index"), message)
                .label("must be an index below the number of rows")
                .also(slots.span("w"), format!("is {rows}"));
            return Err(self.report(diagnostic));
        }
        Ok(Value::Tensor(self.op(slots.span, |g| g.embedding(w, index))?))
    }

    pub(super) fn rope(&mut self, slots: &Slots) -> Eval<Value> {
        let x = self.tensor_slot(slots, "x")?;
        let shape = self.ty(x).shape;
        let freq = match slots.value("freq") {
            value @ Value::Def(Def::Item(..)) => self.as_table(&value).unwrap_or(value),
            value => value,
        };
        let Value::Table(freq) = freq else {
            let message = format!("`freq` is a table of the pair's number, not {}", freq.sort());
            return self.error(Code::E0301, slots.span("freq"), message, "must be a table");
        };
        let axis = match slots.value("axis") {
            Value::None => shape.rank().saturating_sub(2),
            value => self.axis(&value, shape.rank(), slots.span("axis"))?,
        };
        let width = match shape.0.last() {
            Some(d) => self.constant(d, slots.span("x"))?.unsigned_abs(),
            None => {
                return self.error(
                    Code::E0302,
                    slots.span("x"),
                    "`rope` takes at least two axes",
                    "is a scalar",
                );
            }
        };
        let layout = match slots.value("layout") {
            Value::None => RopeLayout::Half,
            Value::Str(t) if t.as_plain().as_deref() == Some("half") => RopeLayout::Half,
            Value::Str(t) if t.as_plain().as_deref() == Some("interleaved") => RopeLayout::Interleaved,
            _ => {
                return self.error(
                    Code::E0312,
                    slots.span("layout"),
                    "`layout` is \"half\" or \"interleaved\"",
                    "unknown",
                );
            }
        };
        let rope = Rope {
            axis,
            start: self.dim_slot(slots, "start")?,
            rotary: self.natural(slots, "rotary", width)?,
            layout,
            freq: freq.formula.clone(),
            scale: self.number(slots, "scale", 1.0)?,
            bits: 0,
        };
        Ok(Value::Tensor(self.op(slots.span, |g| g.rope(rope, x))?))
    }

    pub(super) fn normalize(&mut self, name: &str, slots: &Slots) -> Eval<Value> {
        let x = self.tensor_slot(slots, "x")?;
        let eps = self.number(slots, "eps", 1e-5)?;
        if eps < 0.0 {
            return self.error(Code::E0312, slots.span("eps"), "`eps` is negative", "must not be");
        }
        let id = match name {
            "normalize_rms" => {
                let gain = self.optional_tensor(slots, "gain")?;
                self.op(slots.span, |g| g.rms_norm(eps, x, gain))?
            }
            "normalize_layer" => {
                let (gain, bias) = (
                    self.optional_tensor(slots, "gain")?,
                    self.optional_tensor(slots, "bias")?,
                );
                if gain.is_none() && bias.is_some() {
                    return self.error(
                        Code::E0303,
                        slots.span("bias"),
                        "a bias needs a gain",
                        "`gain` is missing",
                    );
                }
                self.op(slots.span, |g| g.layer_norm(eps, x, gain, bias))?
            }
            "normalize_batch" => {
                let mut parameters = Vec::new();
                for name in ["gamma", "beta", "mean", "variance"] {
                    parameters.push(self.tensor_slot(slots, name)?);
                }
                let parameters: [_; 4] = parameters.try_into().map_err(|_| Reported)?;
                self.op(slots.span, |g| g.batch_norm(eps, x, parameters))?
            }
            _ => return self.error(Code::E0206, slots.span, format!("`{name}` cannot be called"), "here"),
        };
        Ok(Value::Tensor(id))
    }
}
