//! Statistics of single channels: of values over samples, and of weights.

use std::collections::BTreeMap;

use mlc_ir::{Bindings, Module, StackAxis, WeightSource};

use super::{CalibrateError, Range};
use crate::weights::bindings;

/// Calls the function with every element's row-major position and its channel, in a tensor of the given shape.
pub type EachChannel<'a> = dyn Fn(&[usize], &mut dyn FnMut(usize, u32)) + Sync + 'a;

/// A value whose channels are measured one by one.
pub struct ChannelsOf<'a> {
    /// Its name.
    pub value: &'a str,
    /// Regions around it, outermost first; every iteration is measured by itself.
    pub stack: &'a [StackAxis],
    /// Number of channels.
    pub count: usize,
    /// Which elements are whose.
    pub each: Box<EachChannel<'a>>,
}

impl std::fmt::Debug for ChannelsOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} channels of {}", self.count, self.value)
    }
}

/// By value: for every iteration the range of every channel. `None` where nothing was seen.
pub type ChannelRanges = BTreeMap<String, Vec<Vec<Option<Range>>>>;

/// The later of two.
fn hull(a: Option<Range>, b: Option<Range>) -> Option<Range> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Range {
            lo: a.lo.min(b.lo),
            hi: a.hi.max(b.hi),
        }),
        (a, b) => a.or(b),
    }
}

/// Position of an iteration among all, the innermost index fastest.
fn iteration(stack: &[StackAxis], bindings: &Bindings) -> usize {
    stack.iter().fold(0, |at, axis| {
        let own = bindings.get(&axis.index).copied().unwrap_or(0);
        at * axis.count as usize + usize::try_from(own).unwrap_or(0)
    })
}

impl ChannelsOf<'_> {
    /// Takes what was seen of the value in one iteration.
    pub(super) fn observe(&self, shape: &[usize], data: &[f32], at: &Bindings, out: &mut ChannelRanges) {
        let blocks: usize = self.stack.iter().map(|a| a.count as usize).product();
        let all = out
            .entry(self.value.to_owned())
            .or_insert_with(|| vec![vec![None; self.count]; blocks]);
        let own = &mut all[iteration(self.stack, at)];
        (self.each)(shape, &mut |i, channel| {
            let v = f64::from(data[i]);
            let slot = &mut own[channel as usize];
            *slot = hull(*slot, Some(Range { lo: v, hi: v }));
        });
    }
}

/// What was seen here or there.
pub(super) fn merge(all: &mut ChannelRanges, more: ChannelRanges) {
    for (name, blocks) in more {
        let Some(known) = all.get_mut(&name) else {
            all.insert(name, blocks);
            continue;
        };
        for (known, seen) in known.iter_mut().flatten().zip(blocks.into_iter().flatten()) {
            *known = hull(*known, seen);
        }
    }
}

/// Greatest magnitude of every channel of a weight, for every iteration of its regions.
pub fn weight_channels(
    module: &Module,
    name: &str,
    count: usize,
    each: &EachChannel<'_>,
    source: &(dyn WeightSource + Sync),
) -> Result<Vec<Vec<f64>>, CalibrateError> {
    let weight = module
        .weights
        .get(name)
        .ok_or_else(|| CalibrateError::NoWeight(name.to_owned()))?;
    let one = |b| {
        let tensor = weight.recipe.eval(source, &b).map_err(|error| CalibrateError::Weight {
            name: name.to_owned(),
            error,
        })?;
        let mut most = vec![0f64; count];
        each(&tensor.shape, &mut |i, channel| {
            let slot = &mut most[channel as usize];
            *slot = slot.max(tensor.data[i].abs());
        });
        Ok(most)
    };
    bindings(&weight.stack).into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_iteration_and_channel_has_its_own_range() {
        let axis = |index: &str, count| StackAxis {
            index: index.into(),
            count,
        };
        let stack = [axis("l", 2), axis("m", 3)];
        let at = |l, m| Bindings::from([("l".to_owned(), l), ("m".to_owned(), m), ("t".to_owned(), 9)]);
        assert_eq!(iteration(&stack, &at(1, 2)), 5);
        assert_eq!(iteration(&[], &at(1, 2)), 0);
        let of = ChannelsOf {
            value: "x",
            stack: &stack[..1],
            count: 2,
            each: Box::new(|shape, f| (0..shape.iter().product()).for_each(|i| f(i, i as u32 % 2))),
        };
        let (mut first, mut second) = (ChannelRanges::new(), ChannelRanges::new());
        of.observe(&[2, 2], &[1.0, -8.0, 3.0, 2.0], &at(0, 0), &mut first);
        of.observe(&[1, 2], &[-2.0, 0.0], &at(0, 0), &mut second);
        of.observe(&[1, 2], &[5.0, 6.0], &at(1, 0), &mut second);
        merge(&mut first, second);
        let range = |lo, hi| Some(Range { lo, hi });
        assert_eq!(first["x"][0], [range(-2.0, 3.0), range(-8.0, 2.0)]);
        assert_eq!(first["x"][1], [range(5.0, 5.0), range(6.0, 6.0)]);
    }
}
