//! Scales of activations.
//!
//! Values that meet in a sum, a maximum, a concatenation or a carried value of a region must have one scale: they form a
//! group, and the scale of a group is its greatest |range| over the greatest integer. So a residual stream has one scale in
//! all its blocks.

use std::collections::BTreeMap;

use mlc_ir::{BinaryOp, Elem, Entry, Op, PoolKind, ReduceKind, Region, ValueId};

use crate::plan::ValueRange;

/// Union-find over values.
struct Groups(Vec<u32>);

impl Groups {
    fn find(&mut self, id: ValueId) -> usize {
        let mut at = id.index();
        while self.0[at] as usize != at {
            self.0[at] = self.0[self.0[at] as usize];
            at = self.0[at] as usize;
        }
        at
    }

    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.find(a), self.find(b));
        // The smaller index leads, so that the result does not depend on the order of joins.
        self.0[a.max(b)] = a.min(b) as u32;
    }
}

/// The scale of every real value of an entry. `fixed`: weights and constants, which take the scale of what they meet.
pub(crate) fn scales(
    entry: &Entry,
    ranges: &BTreeMap<ValueId, ValueRange>,
    fixed: &dyn Fn(ValueId) -> bool,
    greatest: i64,
) -> Vec<f64> {
    let mut groups = Groups((0..entry.values.len() as u32).collect());
    join_region(&entry.body, &mut groups, fixed);
    let mut most = vec![0f64; entry.values.len()];
    for (i, value) in entry.values.iter().enumerate() {
        let id = ValueId(i as u32);
        if value.ty.elem != Elem::Real || fixed(id) {
            continue;
        }
        if let Some(r) = ranges.get(&id) {
            let group = groups.find(id);
            most[group] = most[group].max(r.lo.abs()).max(r.hi.abs());
        }
    }
    (0..entry.values.len())
        .map(|i| {
            let m = most[groups.find(ValueId(i as u32))];
            if m > 0.0 {
                m / greatest as f64
            } else {
                1.0 / greatest as f64
            }
        })
        .collect()
}

fn join_region(region: &Region, groups: &mut Groups, fixed: &dyn Fn(ValueId) -> bool) {
    for node in &region.nodes {
        let mut all = |ids: &[ValueId]| {
            let free: Vec<ValueId> = ids.iter().copied().filter(|id| !fixed(*id)).collect();
            for pair in free.windows(2) {
                groups.join(pair[0], pair[1]);
            }
        };
        match &node.op {
            Op::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Max | BinaryOp::Min)
                if !node.operands.iter().any(|id| fixed(*id)) =>
            {
                all(&[node.operands[0], node.operands[1], node.results[0]]);
            }
            Op::Concat { .. } => {
                all(&node.operands);
                all(&[node.operands[0], node.results[0]]);
            }
            Op::Reshape(_) | Op::Transpose(_) | Op::Slice { .. } | Op::Broadcast(_) | Op::Pad { .. } => {
                all(&[node.operands[0], node.results[0]]);
            }
            Op::Pool(pool) if pool.kind == PoolKind::Max => all(&[node.operands[0], node.results[0]]),
            Op::Reduce {
                kind: ReduceKind::Max, ..
            } => all(&[node.operands[0], node.results[0]]),
            Op::Repeat(repeat) => {
                for i in 0..repeat.body.params.len() {
                    let mut ids = vec![node.operands[i], repeat.body.params[i]];
                    if i < repeat.carried {
                        ids.extend([repeat.body.results[i], node.results[i]]);
                    }
                    all(&ids);
                }
                for (result, inner) in node.results.iter().zip(&repeat.body.results).skip(repeat.carried) {
                    all(&[*inner, *result]);
                }
                join_region(&repeat.body, groups, fixed);
            }
            _ => {}
        }
    }
}
