//! Weights as operands: views of a weight rewrite its recipe.

use mlc_ir::{Recipe, StackAxis, Weight};

use super::axes::Ax;
use super::lin::{Select, WeightUse};

/// A weight seen through views; shapes are constant.
#[derive(Debug, Clone)]
pub(crate) struct WeightView {
    pub(crate) name: String,
    pub(crate) recipe: Recipe,
    pub(crate) dims: Vec<u32>,
    pub(crate) stack: Vec<StackAxis>,
    pub(crate) scale: f64,
    pub(crate) max_abs: i64,
    /// `Σ |w|` over these dimensions is at most this.
    pub(crate) abs_sum: Option<(Vec<usize>, i64)>,
}

/// Bits of weights within `±max_abs`: their range is `±(2^(bits-1) - 1)`.
fn bits_for(max_abs: i64) -> u8 {
    let magnitude = (u64::BITS - max_abs.unsigned_abs().leading_zeros()).max(1);
    u8::try_from(magnitude + 1).unwrap_or(u8::MAX)
}

impl WeightView {
    /// The weight itself; `None` where it is no integer tensor of constant shape.
    pub(crate) fn new(name: &str, weight: &Weight) -> Option<Self> {
        let int = weight.ty.elem.int()?;
        let dims = weight.ty.shape.as_const()?;
        Some(WeightView {
            name: name.to_owned(),
            recipe: weight.recipe.clone(),
            dims: dims.into_iter().map(u32::try_from).collect::<Result<_, _>>().ok()?,
            stack: weight.stack.clone(),
            scale: int.scale,
            max_abs: int.max_abs(),
            abs_sum: weight.abs_sum.as_ref().map(|s| (s.axes.clone(), s.bound)),
        })
    }

    pub(crate) fn transpose(mut self, perm: &[usize]) -> Self {
        self.recipe = permuted(self.recipe, perm);
        self.dims = perm.iter().map(|p| self.dims[*p]).collect();
        let new = |axis: &usize| perm.iter().position(|p| p == axis);
        self.abs_sum = self.abs_sum.and_then(|(axes, bound)| {
            let mut axes = axes.iter().map(new).collect::<Option<Vec<_>>>()?;
            axes.sort_unstable();
            Some((axes, bound))
        });
        self
    }

    pub(crate) fn reshape(mut self, dims: Vec<u32>) -> Self {
        self.recipe = self.recipe.reshape(dims.iter().map(|d| u64::from(*d)));
        self.dims = dims;
        self.abs_sum = None;
        self
    }

    pub(crate) fn slice(mut self, axis: usize, start: u32, len: u32, step: u32) -> Self {
        self.recipe = Recipe::Slice {
            input: Box::new(self.recipe),
            axis,
            start: i64::from(start).into(),
            len: len.into(),
            step: step.into(),
        };
        self.dims[axis] = len;
        self
    }

    /// The weight with axes permuted to `outer ++ row`; `summed` are the dimensions of a contraction.
    pub(crate) fn used(
        &self,
        perm: &[usize],
        summed: &[usize],
        stack: Vec<Ax>,
        outer: Vec<Select>,
        row: Option<Ax>,
        row_len: u32,
    ) -> WeightUse {
        let bits = bits_for(self.max_abs);
        let most = u64::from(row_len).saturating_mul(self.max_abs.unsigned_abs());
        let mut summed = summed.to_vec();
        summed.sort_unstable();
        let proved = self.abs_sum.as_ref().filter(|(axes, _)| *axes == summed);
        let column_sum = proved.map_or(most, |(_, bound)| bound.unsigned_abs().min(most));
        WeightUse {
            name: self.name.clone(),
            recipe: permuted(self.recipe.clone(), perm),
            stack: self.stack.iter().cloned().zip(stack).collect(),
            outer,
            row,
            row_len,
            bits,
            scale: self.scale,
            column_sum,
        }
    }
}

fn permuted(recipe: Recipe, perm: &[usize]) -> Recipe {
    if perm.iter().copied().eq(0..perm.len()) {
        recipe
    } else {
        recipe.transpose(perm.iter().copied())
    }
}
