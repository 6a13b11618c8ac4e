//! Heads that share keys and values, found again.
//!
//! **Invariant**: a contraction over an operand whose axis was stretched by repetition, `reshape(broadcast(u))` from `[.., k, 1, ..]`
//! through `[.., k, g, ..]` to `[.., k·g, ..]` (the `repeat_kv` of grouped-query attention), reads `u` itself instead: the axis of the
//! other operand and of the result is split into `k` and `g`, and the result's is merged again. No value changes. The
//! repeated operand would be no view (position `h` of it is position `h / g` of `u`), so it would be committed `g` times.

use mlc_ir::{Dim, Einsum, Module, Node, Op, Shape, Stage, ValueId};

use super::PassError;
use super::rewrite::{Rewrite, Rewriter, rewrite};

/// Replaces contractions over repeated operands.
pub fn find_groups(mut module: Module) -> Result<Module, PassError> {
    if module.stage == Stage::Quantised {
        return Ok(module);
    }
    rewrite(&mut module, &mut |rewriter, node| {
        for side in [0, 1] {
            if let Some(found) = grouped(rewriter, &node, side) {
                return replace(rewriter, &node, side, found);
            }
        }
        Ok(Rewrite::Keep(node))
    })?;
    Ok(module)
}

/// An operand that repeats what it is made of.
struct Repeated {
    /// What is repeated, with a unit axis where the repetition was.
    of: ValueId,
    /// Its shape without that axis: that of the operand, but for the length of the axis `at`.
    shape: Shape,
    /// How the operand's axes are permuted after that.
    perm: Option<Vec<usize>>,
    /// The label of the repeated axis, which both operands and the result have.
    label: char,
    /// Its length before the repetition, and how often it is repeated.
    lengths: [Dim; 2],
}

fn grouped(rewriter: &Rewriter<'_>, node: &Node, side: usize) -> Option<Repeated> {
    let Op::Contract(einsum) = &node.op else {
        return None;
    };
    let mut id = *node.operands.get(side)?;
    let mut perm = None;
    if let Some(Node {
        op: Op::Transpose(p),
        operands,
        ..
    }) = rewriter.definition(id)
    {
        perm = Some(p.clone());
        id = operands[0];
    }
    let merge = rewriter.definition(id)?;
    let (Op::Reshape(merged), stretched) = (&merge.op, *merge.operands.first()?) else {
        return None;
    };
    let stretch = rewriter.definition(stretched)?;
    let (Op::Broadcast(wide), of) = (&stretch.op, *stretch.operands.first()?) else {
        return None;
    };
    let narrow = &rewriter.entry.ty(of).shape;
    if narrow.rank() != wide.rank() {
        return None;
    }
    // One axis is stretched, and merged with the one before it.
    let mut differ = (0..wide.rank()).filter(|i| narrow.0[*i] != wide.0[*i]);
    let (at, None) = (differ.next()?, differ.next()) else {
        return None;
    };
    let before = at.checked_sub(1)?;
    let lengths = [wide.0[before].clone(), wide.0[at].clone()];
    let (mut shape, mut expected) = (narrow.clone(), wide.clone());
    shape.0.remove(at);
    expected.0.remove(at);
    expected.0[before] = lengths[0].try_mul(&lengths[1])?;
    if *merged != expected {
        return None;
    }
    let place = match &perm {
        Some(perm) => perm.iter().position(|axis| *axis == before)?,
        None => before,
    };
    let labels = [einsum.lhs(), einsum.rhs()];
    let label = labels[side].chars().nth(place)?;
    let shared = labels[1 - side].contains(label) && einsum.out().contains(label);
    shared.then_some(Repeated {
        of,
        shape,
        perm,
        label,
        lengths,
    })
}

fn replace(rewriter: &mut Rewriter<'_>, node: &Node, side: usize, found: Repeated) -> Result<Rewrite, PassError> {
    let Op::Contract(einsum) = &node.op else {
        return Ok(Rewrite::Keep(node.clone()));
    };
    let mut taken = ('a'..='z').chain('A'..='Z');
    let Some(group) = taken.find(|c| !einsum.lhs().contains(*c) && !einsum.rhs().contains(*c)) else {
        return Ok(Rewrite::Keep(node.clone()));
    };
    let span = node.span.clone();
    let name = rewriter.entry.value(node.results[0]).name.clone();
    // The operand that was repeated, as it was.
    let mut own = rewriter.emit(
        Op::Reshape(found.shape),
        &[found.of],
        &format!("{name}.shared"),
        span.clone(),
    )?;
    if let Some(perm) = found.perm {
        own = rewriter.emit(Op::Transpose(perm), &[own], &format!("{name}.shared"), span.clone())?;
    }
    // The other one, with the axis in two.
    let labels = [einsum.lhs(), einsum.rhs()].map(str::to_owned);
    let other = node.operands[1 - side];
    let mut shape = rewriter.entry.ty(other).shape.clone();
    if let Some(at) = labels[1 - side].find(found.label) {
        shape.0.splice(at..=at, found.lengths);
    }
    let other = rewriter.emit(Op::Reshape(shape), &[other], &format!("{name}.grouped"), span.clone())?;
    let split = |labels: &str| labels.replace(found.label, &format!("{}{group}", found.label));
    let (lhs, rhs, operands) = match side {
        0 => (labels[0].clone(), split(&labels[1]), [own, other]),
        _ => (split(&labels[0]), labels[1].clone(), [other, own]),
    };
    let Ok(grouped) = Einsum::parse(&format!("{lhs},{rhs}->{}", split(einsum.out()))) else {
        return Ok(Rewrite::Keep(node.clone()));
    };
    let result = rewriter.emit(
        Op::Contract(grouped),
        &operands,
        &format!("{name}.grouped"),
        span.clone(),
    )?;
    let whole = rewriter.entry.ty(node.results[0]).shape.clone();
    let merged = rewriter.emit(Op::Reshape(whole), &[result], &name, span)?;
    Ok(Rewrite::Replace(merged))
}
