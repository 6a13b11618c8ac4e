//! The form of an equation that finds the greatest of its scores (docs/protocol/relations.md, "The greatest score").
//!
//! With scores `S(x, j)` the equation says `digits(x, j) = S(x, a(x)) - S(x, j) - [j < a(x)]`, and the digits are not
//! negative. What makes a the lowest index of a greatest score is this form alone, so nothing near it is accepted.

use super::CheckError;
use super::form::{malformed, require};
use crate::{Access, Entry, Equation, Label, Left, Len, Operand, Outer, Product, Source};

/// Checks an equation of which indices and axes are known to exist.
pub(super) fn check(e: &Entry, q: &Equation) -> Result<(), CheckError> {
    let n = &q.name;
    let below = q.all_reads().any(|r| matches!(r.source, Source::Below(_)));
    let found = q.products.iter().any(finds);
    if !below && !found {
        return Ok(());
    }
    let [only] = &q.reads[..] else {
        return Err(malformed(n, "a greatest score is found by an equation with one read"));
    };
    let Source::Below(output) = only.read.source else {
        return Err(malformed(
            n,
            "the greatest score is compared without an order of equals",
        ));
    };
    let rank = q.out.len();
    let identity = only.reduce.is_empty() && only.read.access == Access::identity(rank);
    require(
        identity && only.read.coefficient == -1 && q.constant == 0,
        n,
        "a greatest score exceeds those before it by 1, the others by 0",
    )?;
    let inside = q.all_reads().filter(|r| matches!(r.source, Source::Below(_))).count() > 1;
    require(!inside, n, "what is found depends on itself")?;
    let o = &e.outputs[output as usize];
    let (Label::Index(scores), Some((last, rows))) = (&o.label, q.out.split_last()) else {
        return Err(malformed(n, "what is found is an output of indices"));
    };
    require(
        *rows == o.axes[..] && *last == Len::fixed(*scores as usize),
        n,
        "a found output has the axes of its scores, but for the last",
    )?;
    let Left::Cells(cells) = &q.left else {
        return Err(malformed(n, "what a greatest score exceeds others by is committed"));
    };
    let ranged = |s: u16| {
        let segment = &e.segments[s as usize];
        segment.ranged && segment.grows.is_none()
    };
    require(
        cells.iter().all(|&(_, s)| ranged(s)),
        n,
        "what a greatest score exceeds others by is range-checked",
    )?;
    require(
        !q.products.is_empty() && q.products.len().is_multiple_of(2),
        n,
        "a greatest score is that of a layer, compared with itself",
    )?;
    let (compared, greatest) = q.products.split_at(q.products.len() / 2);
    let pairs = compared.iter().zip(greatest);
    require(
        pairs.into_iter().all(|(p, g)| is_pair(p, g, output, rank - 1)),
        n,
        "a greatest score and those it is compared with are of one layer",
    )
}

/// Whether a factor is a row of a greatest score.
fn finds(p: &Product) -> bool {
    let outer = [&p.a, &p.b].into_iter().flat_map(|o| match o {
        Operand::Weight { outer, .. } => outer.as_slice(),
        Operand::One | Operand::Reads(_) => &[],
    });
    outer.into_iter().any(|o| matches!(o, Outer::Found { .. }))
}

/// Whether `p` is `-c · Σ A · W[…, j, …]` and `g` is `c · Σ A · W[…, a(x), …]`, j being axis `last`, not used by A.
fn is_pair(p: &Product, g: &Product, output: u16, last: usize) -> bool {
    let (Operand::Weight { weight, outer }, other) = sides(p) else {
        return false;
    };
    let (
        Operand::Weight {
            weight: same,
            outer: by,
        },
        read,
    ) = sides(g)
    else {
        return false;
    };
    let uses_last = match other {
        Operand::Reads(reads) => reads.iter().any(|r| {
            let axis = last as u8;
            r.access.uses(axis) || r.access.gate(axis).is_some()
        }),
        Operand::One | Operand::Weight { .. } => false,
    };
    let rows: alloc::vec::Vec<u8> = (0..last as u8).collect();
    let mut swapped = 0;
    let selected = outer.iter().zip(by).all(|(o, b)| match b {
        Outer::Found { output: found, axes } => {
            swapped += 1;
            *found == output && *axes == rows && *o == Outer::axis(last as u8)
        }
        b => o == b,
    });
    p.coefficient.checked_neg() == Some(g.coefficient)
        && !p.group.is_empty()
        && p.group == g.group
        && weight == same
        && other == read
        && !uses_last
        && outer.len() == by.len()
        && selected
        && swapped == 1
}

/// The second factor and the first, or the other way round where the first is the weight.
fn sides(p: &Product) -> (&Operand, &Operand) {
    match &p.a {
        Operand::Weight { .. } => (&p.a, &p.b),
        _ => (&p.b, &p.a),
    }
}
