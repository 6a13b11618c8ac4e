//! Convolution, pooling, reductions, argmax.

use super::super::value::Value;
use super::super::{Elab, Eval};
use super::Slots;
use crate::diagnostics::{Code, Diagnostic};
use mlc_ir::{Conv2d, Pool, PoolKind, ReduceKind};

impl Elab<'_, '_> {
    pub(super) fn conv2d(&mut self, slots: &Slots) -> Eval<Value> {
        let (x, w) = (self.tensor_slot(slots, "x")?, self.tensor_slot(slots, "w")?);
        let (xs, ws) = (self.ty(x).shape, self.ty(w).shape);
        let conv = Conv2d {
            stride: self.naturals(slots, "stride", [1, 1])?,
            pad: self.naturals(slots, "padding", [0; 4])?,
            dilation: self.naturals(slots, "dilation", [1, 1])?,
            groups: self.natural(slots, "groups", 1)?,
        };
        if xs.rank() != 4 || ws.rank() != 4 {
            let diagnostic = Diagnostic::error(Code::E0302, slots.span, format!("conv2d of {xs} with {ws}"))
                .label("both have four axes")
                .help("an image is [batch, channels, height, width], a filter [out, in / groups, height, width]");
            return Err(self.report(diagnostic));
        }
        let per_group = xs.0[1].exact_div(conv.groups.max(1) as i64);
        if conv.groups == 0 || per_group.as_ref() != Some(&ws.0[1]) {
            let message = format!(
                "an image with {} channels in {} groups does not fit a filter {ws}",
                xs.0[1], conv.groups
            );
            let diagnostic = Diagnostic::error(Code::E0302, slots.span("w"), message)
                .label(format!("expects {} channels a group", ws.0[1]))
                .also(slots.span("x"), format!("has shape {xs}"));
            return Err(self.report(diagnostic));
        }
        Ok(Value::Tensor(self.op(slots.span, |g| g.conv2d(conv, x, w))?))
    }

    pub(super) fn pool2d(&mut self, name: &str, slots: &Slots) -> Eval<Value> {
        let x = self.tensor_slot(slots, "x")?;
        let window = self.naturals(slots, "window", [1, 1])?;
        let max = name == "max_pool2d";
        let pool = Pool {
            kind: if max { PoolKind::Max } else { PoolKind::Avg },
            window,
            stride: self.naturals(slots, "stride", window)?,
            pad: self.naturals(slots, "padding", [0; 4])?,
            count_include_pad: if max {
                false
            } else {
                self.flag(slots, "count_include_pad", true)?
            },
        };
        let rank = self.ty(x).shape.rank();
        if rank != 4 {
            let message = format!(
                "`{name}` takes an image [batch, channels, height, width], not {}",
                self.ty(x)
            );
            return self.error(Code::E0302, slots.span("x"), message, format!("has {rank} axes"));
        }
        Ok(Value::Tensor(self.op(slots.span, |g| g.pool(pool, x))?))
    }

    pub(super) fn reduce(&mut self, name: &str, slots: &Slots) -> Eval<Value> {
        let x = self.tensor_slot(slots, "x")?;
        let axes = self.axes(slots, self.ty(x).shape.rank())?;
        let keepdims = self.flag(slots, "keepdims", false)?;
        let kind = match name {
            "sum" => ReduceKind::Sum,
            "mean" => ReduceKind::Mean,
            _ => ReduceKind::Max,
        };
        Ok(Value::Tensor(
            self.op(slots.span, |g| g.reduce(kind, &axes, keepdims, x))?,
        ))
    }

    pub(super) fn argmax(&mut self, slots: &Slots) -> Eval<Value> {
        let x = self.tensor_slot(slots, "x")?;
        self.last_axis_only(slots, self.ty(x).shape.rank(), "argmax")?;
        Ok(Value::Tensor(self.op(slots.span, |g| g.argmax(x))?))
    }

    /// Operations over the last axis take `axis` only to say so.
    pub(super) fn last_axis_only(&mut self, slots: &Slots, rank: usize, name: &str) -> Eval<()> {
        let value = slots.value("axis");
        if matches!(value, Value::None) {
            return Ok(());
        }
        let axis = self.axis(&value, rank, slots.span("axis"))?;
        if axis + 1 == rank {
            return Ok(());
        }
        let diagnostic = Diagnostic::error(
            Code::E0306,
            slots.span("axis"),
            format!("`{name}` goes over the last axis"),
        )
        .label(format!("axis {axis} of {rank}"))
        .help("transpose first");
        Err(self.report(diagnostic))
    }
}
