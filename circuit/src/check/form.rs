//! Well-formedness: indices, ranks, lengths, and the use of iteration axes.

use alloc::{collections::BTreeSet, vec};

use super::CheckError;
use crate::{
    Access, AxisMap, Causal, Circuit, Entry, Equation, FormSource, FormTerm, InputKind, Label, Left, Len, Operand,
    Outer, Product, PublicInput, Read, Segment, SiteRef, Source, VirtualSite,
};

const MAX_AXES: usize = 24;
/// Longest axis: the weights of an axis are a table of extension elements.
const MAX_AXIS: u64 = 1 << 22;
/// Most weight cells, contraction axes padded to 2^10: below it no layout overflows a 32-bit `usize`.
const MAX_WEIGHTS: u64 = 1 << 31;

pub(super) fn malformed(name: &str, what: &'static str) -> CheckError {
    CheckError::Malformed {
        name: name.into(),
        what,
    }
}

pub(super) fn require(ok: bool, name: &str, what: &'static str) -> Result<(), CheckError> {
    if ok { Ok(()) } else { Err(malformed(name, what)) }
}

/// Whether all values lie in (-2^30, 2^30). Magnitudes are joined bit by bit: no bit from 30 on may be set in any.
fn small_values(values: &[i32]) -> bool {
    values.iter().fold(0, |bits, v| bits | v.unsigned_abs()) < 1 << 30
}

/// Checks the whole circuit.
pub fn check(circuit: &Circuit) -> Result<(), CheckError> {
    let c = circuit;
    require(!c.entries.is_empty(), &c.name, "a circuit needs an entry")?;
    require(
        c.tables.len() < 1 << 12 && c.weights.len() < 1 << 16 && c.constants.len() < 1 << 16,
        &c.name,
        "too many tables, weights or constants",
    )?;
    for d in &c.dims {
        require(
            (1..1 << 24).contains(&d.max),
            &d.name,
            "the maximum must be between 1 and 2^24",
        )?;
    }
    chain_dims(c)?;
    for t in &c.tables {
        require(t.log_rows <= 16, &t.name, "a table has at most 2^16 rows")?;
        require(t.columns.len() <= 8, &t.name, "a table has at most 8 columns")?;
        for col in &t.columns {
            require(col.len() == t.rows(), &t.name, "a column has one value per row")?;
            require(small_values(col), &t.name, "table values lie in (-2^30, 2^30)")?;
        }
    }
    let mut total = 0u64;
    for w in &c.weights {
        require((2..=16).contains(&w.bits), &w.name, "weights have 2 to 16 bits")?;
        require(w.outer.len() < MAX_AXES, &w.name, "too many axes")?;
        let size = w
            .outer
            .iter()
            .try_fold(u64::from(w.row_len), |a, &n| a.checked_mul(n.into()));
        require(size.is_some_and(|s| s > 0), &w.name, "a weight has values")?;
        let padded = w
            .outer
            .iter()
            .try_fold(u64::from(w.row_len).next_multiple_of(1 << 10), |a, &n| {
                a.checked_mul(n.into())
            });
        total = padded.and_then(|p| total.checked_add(p)).unwrap_or(u64::MAX);
        let axes = w.outer.iter().chain([&w.row_len]).all(|&n| u64::from(n) <= MAX_AXIS);
        require(
            axes && total <= MAX_WEIGHTS,
            &w.name,
            "more than 2^31 weights in all, or an axis longer than 2^22",
        )?;
    }
    for k in &c.constants {
        require(k.axes.len() < MAX_AXES, &k.name, "too many axes")?;
        let size = k.axes.iter().try_fold(1u64, |a, &n| a.checked_mul(n.into()));
        require(
            size == Some(k.values.len() as u64) && !k.values.is_empty(),
            &k.name,
            "a constant has one value per index",
        )?;
        require(
            small_values(&k.values),
            &k.name,
            "a constant's values lie in (-2^30, 2^30)",
        )?;
        require(
            k.axes.iter().all(|&n| u64::from(n) <= MAX_AXIS),
            &k.name,
            "an axis is longer than 2^22",
        )?;
    }
    c.entries.iter().try_for_each(|e| entry(c, e))
}

/// Checks the dimensions of a cache: one of what there is, another of what is appended.
fn chain_dims(c: &Circuit) -> Result<(), CheckError> {
    let past = c.dims.iter().filter(|d| d.before.is_some()).count();
    require(
        past <= 1,
        &c.name,
        "a circuit has one dimension of what earlier links append",
    )?;
    let Some(d) = c.chain_dims() else { return Ok(()) };
    let known = usize::from(d.tokens) < c.dims.len() && d.tokens != d.past;
    require(known, &c.name, "an unknown dimension of what a link appends")
}

/// Checks how a segment grows: it is found on its own in the tree of what a link appends, and each index of it is written
/// by one link.
fn growing(c: &Circuit, s: &Segment, barred: bool) -> Result<(), CheckError> {
    let Some(axis) = s.grows else { return Ok(()) };
    let n = &s.name;
    let d = c
        .chain_dims()
        .ok_or_else(|| malformed(n, "a segment grows in a circuit without a dimension for its past"))?;
    require(
        s.table.is_some() && s.ranged,
        n,
        "a segment that grows needs a table, and a range check of every cell",
    )?;
    let axis = usize::from(axis);
    require(
        s.axes.get(axis) == Some(&Len::dim(d.tokens)),
        n,
        "a segment grows along an axis of what a link appends",
    )?;
    let others = s.axes.iter().enumerate().filter(|(i, _)| *i != axis);
    require(
        others
            .into_iter()
            .all(|(_, l)| !l.depends_on(d.past) && !l.depends_on(d.tokens)),
        n,
        "a segment grows along one axis",
    )?;
    require(
        !barred,
        n,
        "a segment that grows is a private input, or compared with a maximum",
    )
}

/// Checks a length that may be 0.
fn length(c: &Circuit, name: &str, l: &Len) -> Result<(), CheckError> {
    require(
        l.per_dim.iter().all(|&(d, k)| (d as usize) < c.dims.len() && k > 0),
        name,
        "an unknown run-time dimension",
    )?;
    require(
        l.per_dim.len() <= 16 && l.most(&c.dims) <= MAX_AXIS,
        name,
        "an axis is longer than 2^22",
    )
}

fn axes(c: &Circuit, name: &str, axes: &[Len]) -> Result<(), CheckError> {
    require(axes.len() <= MAX_AXES, name, "too many axes")?;
    for a in axes {
        require(a.constant > 0 || !a.per_dim.is_empty(), name, "an axis is empty")?;
        length(c, name, a)?;
    }
    Ok(())
}

fn access(c: &Circuit, name: &str, a: &Access, rank: usize, iterations: usize) -> Result<(), CheckError> {
    require(
        a.axes.len() == rank,
        name,
        "an access has one map per axis of its tensor",
    )?;
    let mut seen = BTreeSet::new();
    for m in &a.axes {
        for i in m.iters() {
            require((i as usize) < iterations, name, "an unknown iteration axis")?;
            require(seen.insert(i), name, "an iteration axis occurs in two coordinates")?;
        }
        if let AxisMap::From { dim, .. } = m {
            require(usize::from(*dim) < c.dims.len(), name, "an unknown run-time dimension")?;
        }
        if let AxisMap::Affine { offset, parts } | AxisMap::From { offset, parts, .. } = m {
            require(offset.unsigned_abs() < 1 << 28, name, "an offset is too large")?;
            require(
                parts.iter().all(|p| p.1 >= 1 && p.1 < 1 << 28),
                name,
                "a stride is not positive",
            )?;
        }
    }
    for g in &a.gates {
        require(
            (g.iter as usize) < iterations && seen.insert(g.iter),
            name,
            "a gate on a used or unknown axis",
        )?;
    }
    Ok(())
}

fn entry(c: &Circuit, e: &Entry) -> Result<(), CheckError> {
    let small = |n: usize| n < 1 << 16;
    require(
        small(e.segments.len()) && small(e.sites.len()) && small(e.equations.len()),
        &e.name,
        "too many parts",
    )?;
    for i in &e.inputs {
        axes(c, &i.name, &i.axes)?;
        require(
            i.lo <= i.hi && i.lo > -(1 << 30) && i.hi < 1 << 30,
            &i.name,
            "an input range is empty or too large",
        )?;
        require(
            i.scale.is_finite() && i.scale > 0.0,
            &i.name,
            "a scale must be positive",
        )?;
        if let InputKind::Private { segment } = i.kind {
            let s = e
                .segments
                .get(segment as usize)
                .ok_or_else(|| malformed(&i.name, "an unknown segment"))?;
            require(
                s.axes == i.axes && s.table.is_some(),
                &i.name,
                "a private input has the axes of its segment",
            )?;
        }
    }
    for o in &e.outputs {
        axes(c, &o.name, &o.axes)?;
        require(
            o.scale.is_finite() && o.scale > 0.0,
            &o.name,
            "a scale must be positive",
        )?;
    }
    for s in &e.segments {
        axes(c, &s.name, &s.axes)?;
        require(
            s.table.is_none_or(|t| (t as usize) < c.tables.len()),
            &s.name,
            "an unknown table",
        )?;
        require(s.table.is_some() || !s.ranged, &s.name, "a range check needs a table")?;
    }
    if e.grows() {
        let private = e.inputs.iter().filter_map(|i| match i.kind {
            InputKind::Private { segment } => Some(segment),
            InputKind::Public => None,
        });
        let compared = e.sites.iter().flat_map(|s| &s.index).filter_map(FormTerm::segment);
        let barred: BTreeSet<u16> = private.chain(compared).collect();
        for (id, s) in (0u16..).zip(&e.segments) {
            growing(c, s, barred.contains(&id))?;
        }
    }
    for s in &e.sites {
        axes(c, &s.name, &s.axes)?;
        require((s.table as usize) < c.tables.len(), &s.name, "an unknown table")?;
        index(c, e, s)?;
    }
    for q in &e.equations {
        equation(c, e, q)?;
    }
    super::order::check(e)
}

/// The index of a virtual site: a maximum, what it is compared with, masks.
fn index(c: &Circuit, e: &Entry, s: &VirtualSite) -> Result<(), CheckError> {
    let n = &s.name;
    require(
        (2..=5).contains(&s.index.len()) && s.index[0].coefficient == 1 && s.index[1].coefficient == -1,
        n,
        "a virtual index is a maximum less what it is compared with, and at most three masks",
    )?;
    for (i, t) in s.index.iter().enumerate() {
        require(
            (i < 2) == t.segment().is_some(),
            n,
            "a virtual index has two committed tensors, then masks",
        )?;
        let rank = match &t.source {
            FormSource::Segment(seg) => e
                .segments
                .get(*seg as usize)
                .map(|s| s.axes.len())
                .ok_or_else(|| malformed(n, "an unknown segment"))?,
            FormSource::Input(i) => {
                let i = public_input(e, n, *i)?;
                require(i.lo >= 0 && i.hi <= 1, n, "a mask is an input in [0, 1]")?;
                i.axes.len()
            }
            FormSource::Causal(m) => {
                causal(c, m, s)?;
                0
            }
        };
        let affine = t.access.axes.iter().all(|m| matches!(m, AxisMap::Affine { .. }));
        require(affine, n, "a lookup index reads single cells")?;
        let causal = matches!(t.source, FormSource::Causal(_));
        require(!causal || t.access.gates.is_empty(), n, "a causal mask has no access")?;
        access(c, n, &t.access, rank, s.axes.len())?;
    }
    Ok(())
}

fn causal(c: &Circuit, m: &Causal, s: &VirtualSite) -> Result<(), CheckError> {
    let n = &s.name;
    let known = |axis: u8| (axis as usize) < s.axes.len();
    require(
        known(m.row) && known(m.col) && m.row != m.col,
        n,
        "a causal mask is over two axes of its site",
    )?;
    length(c, n, &m.offset)?;
    require(m.window != Some(0), n, "a window without visible positions")
}

/// An input that is in the statement.
fn public_input<'e>(e: &'e Entry, name: &str, input: u16) -> Result<&'e PublicInput, CheckError> {
    let i = e
        .inputs
        .get(input as usize)
        .ok_or_else(|| malformed(name, "an unknown input"))?;
    require(
        i.kind == InputKind::Public,
        name,
        "a private input is read through its segment",
    )?;
    Ok(i)
}

fn source(c: &Circuit, e: &Entry, name: &str, r: &Read, iterations: usize) -> Result<(), CheckError> {
    require(
        r.coefficient != 0 && r.coefficient.unsigned_abs() < 1 << 30,
        name,
        "a coefficient is zero or too large",
    )?;
    let (rank, table) = match r.source {
        Source::Input(i) => (public_input(e, name, i)?.axes.len(), None),
        Source::Constant(k) => {
            let k = c
                .constants
                .get(k as usize)
                .ok_or_else(|| malformed(name, "an unknown constant"))?;
            (k.axes.len(), None)
        }
        Source::Below(o) => {
            let o = e
                .outputs
                .get(o as usize)
                .ok_or_else(|| malformed(name, "an unknown output"))?;
            (o.axes.len() + 1, None)
        }
        Source::Lookup {
            site: SiteRef::Segment(s),
            column,
        } => {
            let s = e
                .segments
                .get(s as usize)
                .ok_or_else(|| malformed(name, "an unknown segment"))?;
            let single = |axis: u8| matches!(r.access.axes.get(usize::from(axis)), Some(m) if !matches!(m, AxisMap::Before { .. }));
            require(
                s.grows.is_none_or(single),
                name,
                "a segment that grows is read at one index of its axis",
            )?;
            (
                s.axes.len(),
                Some((
                    s.table
                        .ok_or_else(|| malformed(name, "a read of a segment without table"))?,
                    column,
                )),
            )
        }
        Source::Lookup {
            site: SiteRef::Virtual(s),
            column,
        } => {
            let s = e
                .sites
                .get(s as usize)
                .ok_or_else(|| malformed(name, "an unknown site"))?;
            (s.axes.len(), Some((s.table, column)))
        }
    };
    if let Some((t, column)) = table {
        require(
            (column as usize) < c.tables[t as usize].columns.len(),
            name,
            "an unknown table column",
        )?;
    }
    access(c, name, &r.access, rank, iterations)
}

fn equation(c: &Circuit, e: &Entry, q: &Equation) -> Result<(), CheckError> {
    let n = &q.name;
    axes(c, n, &q.out)?;
    require(q.constant.unsigned_abs() < 1 << 30, n, "a constant is too large")?;
    match &q.left {
        Left::Output(o) => {
            let o = e
                .outputs
                .get(*o as usize)
                .ok_or_else(|| malformed(n, "an unknown output"))?;
            require(o.axes == q.out, n, "an output has the axes of its equation")?;
            require(
                !matches!(o.label, Label::Index(_)),
                n,
                "an output of indices is found by its equation",
            )?;
        }
        Left::Cells(cells) => {
            require(
                !cells.is_empty() && cells.len() <= 8,
                n,
                "an equation has 1 to 8 digits",
            )?;
            for (k, s) in cells {
                let s = e
                    .segments
                    .get(*s as usize)
                    .ok_or_else(|| malformed(n, "an unknown segment"))?;
                require(s.axes == q.out, n, "digits have the axes of their equation")?;
                require((1..1 << 30).contains(k), n, "a digit's coefficient lies in [1, 2^30)")?;
            }
        }
    }
    for r in &q.reads {
        axes(c, n, &r.reduce)?;
        require(q.out.len() + r.reduce.len() <= MAX_AXES, n, "too many axes")?;
        source(c, e, n, &r.read, q.out.len() + r.reduce.len())?;
    }
    q.products.iter().try_for_each(|p| product(c, e, q, p))?;
    super::greatest::check(e, q)
}

/// What selects the index of a weight's outer axis of length `len`: inside it at all run-time dimensions.
fn outer_index(c: &Circuit, e: &Entry, q: &Equation, o: &Outer, len: u32) -> Result<(), CheckError> {
    let n = &q.name;
    require(
        o.axes().iter().all(|&i| (i as usize) < q.out.len()),
        n,
        "an outer axis must be an output axis",
    )?;
    match o {
        Outer::Axis { axis, offset } => {
            length(c, n, offset)?;
            let end = q.out[*axis as usize].plus(offset).most(&c.dims);
            require(end <= len.into(), n, "an outer axis is longer than the weight's")
        }
        Outer::Selected { input, axes } => {
            let i = public_input(e, n, *input)?;
            require(
                i.axes.len() == axes.len() && i.axes.iter().zip(axes).all(|(l, &a)| *l == q.out[a as usize]),
                n,
                "a selecting input has the output axes that are listed",
            )?;
            require(
                i.lo >= 0 && i64::from(i.hi) < len.into(),
                n,
                "a selecting input lies within the weight's axis",
            )
        }
        Outer::Found { output, axes } => {
            let o = e
                .outputs
                .get(*output as usize)
                .ok_or_else(|| malformed(n, "an unknown output"))?;
            require(
                o.axes.len() == axes.len() && o.axes.iter().zip(axes).all(|(l, &a)| *l == q.out[a as usize]),
                n,
                "a found output has the output axes that are listed",
            )?;
            require(
                o.label == Label::Index(len),
                n,
                "a found output lies within the weight's axis",
            )
        }
    }
}

fn product(c: &Circuit, e: &Entry, q: &Equation, p: &Product) -> Result<(), CheckError> {
    let n = &q.name;
    axes(c, n, &p.group)?;
    let iterations = q.out.len() + p.group.len();
    require(iterations <= MAX_AXES, n, "too many axes")?;
    require(
        p.coefficient != 0 && p.coefficient.unsigned_abs() < 1 << 30,
        n,
        "a coefficient is zero or too large",
    )?;
    require(
        p.shared.windows(2).all(|w| w[0] < w[1]),
        n,
        "shared axes are listed in ascending order",
    )?;
    require(
        p.shared.iter().all(|&s| (s as usize) < q.out.len()),
        n,
        "an unknown shared axis",
    )?;
    let weights = [&p.a, &p.b]
        .into_iter()
        .filter(|o| matches!(o, Operand::Weight { .. }))
        .count();
    require(weights <= 1, n, "a product has at most one weight")?;
    let ones = p.a == Operand::One && p.b == Operand::One;
    require(!ones || p.group.is_empty(), n, "a contraction of constants")?;
    let mut used: [BTreeSet<u8>; 2] = [BTreeSet::new(), BTreeSet::new()];
    for (o, used) in [&p.a, &p.b].into_iter().zip(&mut used) {
        match o {
            Operand::One => {}
            Operand::Reads(reads) => {
                require(!reads.is_empty(), n, "an operand without reads")?;
                for r in reads {
                    source(c, e, n, r, iterations)?;
                    used.extend(r.access.axes.iter().flat_map(AxisMap::iters));
                    used.extend(r.access.gates.iter().map(|g| g.iter));
                }
            }
            Operand::Weight { weight, outer } => {
                let w = c
                    .weights
                    .get(*weight as usize)
                    .ok_or_else(|| malformed(n, "an unknown weight"))?;
                require(
                    outer.len() == w.outer.len(),
                    n,
                    "a weight has one selection per outer axis",
                )?;
                for (o, &len) in outer.iter().zip(&w.outer) {
                    outer_index(c, e, q, o, len)?;
                    for &i in o.axes() {
                        require(used.insert(i), n, "an outer axis is used twice")?;
                    }
                }
                let row = if p.group.is_empty() {
                    let last = *p
                        .shared
                        .last()
                        .ok_or_else(|| malformed(n, "a weight needs a contraction axis"))?;
                    require(used.insert(last), n, "the contraction axis is also an outer axis")?;
                    vec![q.out[last as usize].clone()]
                } else {
                    p.group.clone()
                };
                let len = row.iter().try_fold(1u64, |a, l| {
                    if l.per_dim.is_empty() {
                        a.checked_mul(l.constant.into())
                    } else {
                        None
                    }
                });
                require(
                    len == Some(w.row_len.into()),
                    n,
                    "the contraction axis has the weight's row length",
                )?;
            }
        }
    }
    for i in 0..q.out.len() as u8 {
        let both = used[0].contains(&i) && used[1].contains(&i);
        require(
            !both || p.shared.contains(&i),
            n,
            "an output axis used by both factors must be shared",
        )?;
    }
    // Over a longer cube than the axis, a factor that does not use it would be constant where the other continues by
    // zeros. The row of a weight without contracted axes is shared whatever the other factor is.
    let row = p.shared.last().filter(|_| weights == 1 && p.group.is_empty());
    require(
        p.shared
            .iter()
            .all(|s| row == Some(s) || used.iter().all(|u| u.contains(s))),
        n,
        "a shared axis is used by both factors",
    )
}
