//! Commitment placement: which values are committed, and which stay virtual.
//!
//! A value that a lookup has made is committed; everything else is a form over committed values that the proof never
//! materialises. Committing costs two cells and a lookup, so it happens where it must, and nowhere else.
//!
//! **Invariant**: a factor of a product, and what is sliced, padded, joined or pooled, is a sum of lookups and inputs (a
//! product or a sum over an axis is committed first, exactly, by an identity table); what is padded or joined is not itself
//! sliced, padded, joined or stretched; no lookup only repeats another one.

use std::collections::{BTreeMap, BTreeSet};

use mlc_ir::{BinaryOp, Elem, Module, Op, PoolKind, ReduceKind, Requant, Stage, Table, Template, ValueId};

use super::PassError;
use super::rewrite::{Rewrite, Rewriter, rewrite};

/// Places commitments.
pub fn commitment_placement(mut module: Module) -> Result<Module, PassError> {
    if module.stage != Stage::Quantised {
        return Err(PassError::Stage {
            pass: "commitment-placement",
            expected: Stage::Quantised,
        });
    }
    // Values that are sums of products or of many terms.
    let mut virtuals: BTreeSet<String> = BTreeSet::new();
    // What every commitment made here is of.
    let mut committed: BTreeMap<(String, ValueId), ValueId> = BTreeMap::new();
    // Views that do not read zero outside of their axes.
    let mut moved: BTreeSet<String> = BTreeSet::new();
    rewrite(&mut module, &mut |rewriter, mut node| {
        let Some(result) = node.results.first().copied() else {
            return Ok(Rewrite::Keep(node));
        };
        let name = |rewriter: &Rewriter<'_>, id: ValueId| {
            format!("{}.{}", rewriter.stack.len(), rewriter.entry.value(id).name)
        };
        if let Op::Requant(requant) = &node.op
            && repeats(rewriter, requant, node.operands[0])
        {
            let x = node.operands[0];
            if rewriter.entry.ty(x) == rewriter.entry.ty(result) {
                return Ok(Rewrite::Replace(x));
            }
        }
        if needs_committed(&node.op) {
            for i in 0..node.operands.len() {
                let id = node.operands[i];
                if virtuals.contains(&name(rewriter, id)) {
                    node.operands[i] = commit(rewriter, id, &node)?;
                    committed.insert((rewriter.entry_name.clone(), node.operands[i]), id);
                }
            }
        }
        // A distance to a maximum stays one, whose sign is known: of the cells that the maximum is of now.
        if node.op == Op::Binary(BinaryOp::Sub)
            && let Some(maximum) = rewriter.definition(node.operands[0])
            && matches!(
                maximum.op,
                Op::Reduce {
                    kind: ReduceKind::Max,
                    ..
                }
            )
        {
            let cells = maximum.operands[0];
            if committed.get(&(rewriter.entry_name.clone(), cells)) == Some(&node.operands[1]) {
                node.operands[1] = cells;
            }
        }
        if reads_outside(&node.op) {
            for i in 0..node.operands.len() {
                let id = node.operands[i];
                if moved.contains(&name(rewriter, id)) {
                    node.operands[i] = commit(rewriter, id, &node)?;
                }
            }
        }
        let inherits = matches!(
            node.op,
            Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Binary(BinaryOp::Add | BinaryOp::Sub)
        );
        let fixed = |id: &ValueId| rewriter.definition(*id).is_some_and(|n| matches!(n.op, Op::Weight(_)));
        let makes = match &node.op {
            Op::Contract(_) | Op::Conv2d(_) | Op::Rope(_) | Op::Embedding => true,
            Op::Pool(pool) => pool.kind == PoolKind::Avg,
            Op::Reduce { kind, .. } => *kind != ReduceKind::Max,
            Op::Binary(BinaryOp::Mul) => !node.operands.iter().any(|id| is_scalar(rewriter, *id)),
            Op::Binary(_) => node.operands.iter().any(fixed),
            _ => false,
        };
        let inherited = (inherits || matches!(node.op, Op::Binary(BinaryOp::Mul)))
            && node.operands.iter().any(|id| virtuals.contains(&name(rewriter, *id)));
        if makes || inherited {
            virtuals.insert(name(rewriter, result));
        }
        let moves = matches!(
            node.op,
            Op::Slice { .. } | Op::Pad { .. } | Op::Concat { .. } | Op::Broadcast(_)
        );
        let follows = inherits && node.operands.iter().any(|id| moved.contains(&name(rewriter, *id)));
        if moves || follows {
            moved.insert(name(rewriter, result));
        }
        Ok(Rewrite::Keep(node))
    })?;
    super::dce::dce(module)
}

/// True where the operation reads positions outside of its operand, which are zero.
fn reads_outside(op: &Op) -> bool {
    match op {
        Op::Pad { .. } | Op::Concat { .. } => true,
        Op::Conv2d(conv) => conv.pad != [0; 4],
        Op::Pool(pool) => pool.pad != [0; 4],
        _ => false,
    }
}

fn is_scalar(rewriter: &Rewriter<'_>, id: ValueId) -> bool {
    rewriter.definition(id).is_some_and(|n| matches!(n.op, Op::Const(_)))
}

fn needs_committed(op: &Op) -> bool {
    matches!(
        op,
        Op::Contract(_)
            | Op::Conv2d(_)
            | Op::Rope(_)
            | Op::Pool(_)
            | Op::Slice { .. }
            | Op::Pad { .. }
            | Op::Concat { .. }
            | Op::StateAppend(_)
    ) || matches!(op, Op::Reduce { .. })
}

/// True where a lookup gives its operand, which is one already, back.
fn repeats(rewriter: &Rewriter<'_>, requant: &Requant, x: ValueId) -> bool {
    let looked_up = rewriter.definition(x).is_some_and(|n| matches!(n.op, Op::Requant(_)));
    let table = requant.table.expand(&mlc_ir::Bindings::new()).ok();
    let table = table.and_then(|name| rewriter.module.tables.get(&name).cloned());
    let (Some(int), Some(table)) = (rewriter.entry.ty(x).elem.int(), table) else {
        return false;
    };
    looked_up
        && requant.shift == 0
        && requant.scale == int.scale
        && (int.lo..=int.hi).all(|v| table.get(v).map(i64::from) == Some(v))
}

/// Commits a value exactly.
fn commit(rewriter: &mut Rewriter<'_>, id: ValueId, user: &mlc_ir::Node) -> Result<ValueId, PassError> {
    let name = rewriter.entry.value(id).name.clone();
    let fail = |why: &str| PassError::Unsupported {
        layer: name.clone(),
        op: user.op.name(),
        why: why.to_owned(),
        span: user.span.clone(),
    };
    let Elem::Int(int) = rewriter.entry.ty(id).elem else {
        return Err(fail("its operand is no integer"));
    };
    let bits = u64::BITS - (int.hi - int.lo).unsigned_abs().leading_zeros();
    let table = Table::tabulate(bits.max(1), -int.lo, |v| v.clamp(int.lo, int.hi) as i32)
        .ok_or_else(|| fail("its operand has more than 16 bits and is not committed; requantise it"))?;
    let hint = format!("id{bits}");
    let mut table_name = hint.clone();
    let mut n = 0;
    while rewriter.module.tables.get(&table_name).is_some_and(|t| **t != table) {
        n += 1;
        table_name = format!("{hint}_{n}");
    }
    rewriter.module.tables.insert(table_name.clone(), table.into());
    let requant = Requant {
        shift: 0,
        table: Template::literal(table_name),
        scale: int.scale,
        partial: false,
    };
    rewriter.emit(Op::Requant(requant), &[id], &format!("{name}.q"), user.span.clone())
}
