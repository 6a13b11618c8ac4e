//! Range analysis: every equation holds over the integers.
//!
//! With |left| and |right| below 2^30, a difference divisible by p is zero. The right side is bounded by interval
//! arithmetic at the declared maxima of the run-time dimensions; a product with a weight uses the proved column sum.

use super::index::Index;
use super::{CheckError, coverage};
use crate::{AxisMap, Circuit, Entry, Equation, Left, Len, Operand, Product, Read, SiteRef, Source};
use alloc::vec::Vec;

const LIMIT: i128 = 1 << 30;

/// A closed interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Smallest value.
    pub lo: i128,
    /// Largest value.
    pub hi: i128,
}

impl Interval {
    fn scale(self, k: i128) -> Self {
        let (a, b) = (self.lo.saturating_mul(k), self.hi.saturating_mul(k));
        Self {
            lo: a.min(b),
            hi: a.max(b),
        }
    }
    fn plus(self, o: Self) -> Self {
        Self {
            lo: self.lo.saturating_add(o.lo),
            hi: self.hi.saturating_add(o.hi),
        }
    }
    /// The hull with zero: coordinates outside a tensor read zero.
    fn or_zero(self) -> Self {
        Self {
            lo: self.lo.min(0),
            hi: self.hi.max(0),
        }
    }
    fn magnitude(self) -> i128 {
        self.lo.saturating_abs().max(self.hi.saturating_abs())
    }
}

fn max_len(c: &Circuit, l: &Len) -> i128 {
    l.most(&c.dims).into()
}

/// Saturates: a circuit is untrusted, and what saturates is refused.
fn product_len(c: &Circuit, axes: &[Len]) -> i128 {
    axes.iter().fold(1i128, |n, a| n.saturating_mul(max_len(c, a)))
}

/// What the values of tables and constants are, found once: a hostile circuit may read a long one often.
pub(super) struct Ranges {
    columns: Vec<Vec<Interval>>,
    constants: Vec<Interval>,
    /// Per table, the rows up to the last that is not 0 in every column.
    support: Vec<usize>,
    /// Per table and column, whether it is 1 at key 0 and 0 at all others.
    indicators: Vec<Vec<bool>>,
}

impl Ranges {
    pub(super) fn new(c: &Circuit) -> Self {
        let support = |t: &crate::Table| {
            let last = t.columns.iter().filter_map(|col| col.iter().rposition(|&v| v != 0));
            last.max().map_or(0, |row| row + 1)
        };
        let indicator = |col: &Vec<i32>| {
            col.split_first()
                .is_some_and(|(&at, rest)| at == 1 && rest.iter().all(|&v| v == 0))
        };
        Self {
            columns: c
                .tables
                .iter()
                .map(|t| t.columns.iter().map(|col| hull(col)).collect())
                .collect(),
            constants: c.constants.iter().map(|k| hull(&k.values)).collect(),
            support: c.tables.iter().map(support).collect(),
            indicators: c
                .tables
                .iter()
                .map(|t| t.columns.iter().map(indicator).collect())
                .collect(),
        }
    }

    /// Whether a column is the indicator of key 0.
    pub(super) fn is_indicator(&self, table: u16, column: u8) -> bool {
        let columns = &self.indicators[table as usize];
        columns.get(column as usize).copied().unwrap_or(false)
    }

    /// Whether every column of a table is 0 from row `from` on.
    pub(super) fn zero_from(&self, table: u16, from: usize) -> bool {
        self.support[table as usize] <= from
    }
}

/// Where ranges come from: found once, or looked for when needed.
#[derive(Clone, Copy)]
enum Known<'r> {
    Once(&'r Ranges),
    Each,
}

impl Known<'_> {
    fn constant(self, c: &Circuit, k: u16) -> Interval {
        match self {
            Self::Once(r) => r.constants[k as usize],
            Self::Each => hull(&c.constants[k as usize].values),
        }
    }

    fn column(self, c: &Circuit, table: u16, column: u8) -> Interval {
        match self {
            Self::Once(r) => r.columns[table as usize].get(column as usize).copied(),
            Self::Each => c.tables[table as usize]
                .columns
                .get(column as usize)
                .map(|col| hull(col)),
        }
        .unwrap_or(Interval { lo: 0, hi: 0 })
    }
}

/// Smallest and largest value; 0 for none.
fn hull(values: &[i32]) -> Interval {
    let Some(&first) = values.first() else {
        return Interval { lo: 0, hi: 0 };
    };
    let (lo, hi) = values
        .iter()
        .fold((first, first), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    Interval {
        lo: lo.into(),
        hi: hi.into(),
    }
}

/// Bounds of one read, over all iterations.
fn read(c: &Circuit, e: &Entry, r: &Read, known: Known<'_>) -> Interval {
    let constant: Vec<Len>;
    let (values, axes) = match r.source {
        Source::Constant(k) => {
            let axes = c.constants[k as usize].axes.iter();
            constant = axes.map(|&n| Len::fixed(n as usize)).collect();
            (known.constant(c, k), &constant)
        }
        Source::Below(o) => (Interval { lo: 0, hi: 1 }, &e.outputs[o as usize].axes),
        Source::Input(i) => {
            let i = &e.inputs[i as usize];
            (
                Interval {
                    lo: i.lo.into(),
                    hi: i.hi.into(),
                },
                &i.axes,
            )
        }
        Source::Lookup { site, column } => {
            let (table, axes) = match site {
                SiteRef::Segment(s) => (e.segments[s as usize].table.unwrap_or(0), &e.segments[s as usize].axes),
                SiteRef::Virtual(s) => (e.sites[s as usize].table, &e.sites[s as usize].axes),
            };
            (known.column(c, table, column), axes)
        }
    };
    // A `Before` axis sums up to all its coordinates.
    let before = r
        .access
        .axes
        .iter()
        .zip(axes)
        .filter(|(m, _)| matches!(m, AxisMap::Before { .. }));
    let times = before.fold(1i128, |n, (_, a)| n.saturating_mul(max_len(c, a)));
    values.or_zero().scale(times.saturating_mul(r.coefficient.into()))
}

fn operand(c: &Circuit, e: &Entry, o: &Operand, known: Known<'_>) -> Interval {
    match o {
        Operand::One => Interval { lo: 1, hi: 1 },
        Operand::Reads(reads) => reads
            .iter()
            .fold(Interval { lo: 0, hi: 0 }, |a, r| a.plus(read(c, e, r, known))),
        Operand::Weight { weight, .. } => {
            let m = i128::from(c.weights[*weight as usize].magnitude());
            Interval { lo: -m, hi: m }
        }
    }
}

fn product(c: &Circuit, e: &Entry, p: &Product, known: Known<'_>) -> Interval {
    let (a, b) = (operand(c, e, &p.a, known), operand(c, e, &p.b, known));
    let column_sum = [&p.a, &p.b].into_iter().find_map(|o| match o {
        Operand::Weight { weight, .. } if !p.group.is_empty() => {
            Some(i128::from(c.weights[*weight as usize].column_bound()))
        }
        _ => None,
    });
    let other = if matches!(p.a, Operand::Weight { .. }) { b } else { a };
    let terms = product_len(c, &p.group)
        .saturating_mul(a.magnitude())
        .saturating_mul(b.magnitude());
    let m = column_sum.map_or(terms, |sum| terms.min(sum.saturating_mul(other.magnitude())));
    Interval { lo: -m, hi: m }.scale(i128::from(p.coefficient))
}

/// Bounds of an equation's right side.
pub fn right(c: &Circuit, e: &Entry, q: &Equation) -> Interval {
    right_side(c, e, q, Known::Each)
}

fn right_side(c: &Circuit, e: &Entry, q: &Equation, known: Known<'_>) -> Interval {
    let mut acc = Interval {
        lo: q.constant.into(),
        hi: q.constant.into(),
    };
    for r in &q.reads {
        acc = acc.plus(read(c, e, &r.read, known).scale(product_len(c, &r.reduce)));
    }
    q.products.iter().fold(acc, |acc, p| acc.plus(product(c, e, p, known)))
}

/// Bounds of the right sides of an entry's equations.
pub(super) fn right_sides(c: &Circuit, e: &Entry, ranges: &Ranges) -> Vec<Interval> {
    let known = Known::Once(ranges);
    e.equations.iter().map(|q| right_side(c, e, q, known)).collect()
}

/// Checks every equation of every entry.
pub(super) fn check(c: &Circuit, ranges: &Ranges) -> Result<(), CheckError> {
    for e in &c.entries {
        let index = Index::new(c, e);
        for q in &e.equations {
            let r = right_side(c, e, q, Known::Once(ranges));
            if r.magnitude() >= LIMIT {
                return Err(CheckError::Overflow {
                    name: q.name.clone(),
                    bound: r.magnitude().unsigned_abs(),
                });
            }
            if let Left::Cells(cells) = &q.left {
                let bits: Vec<u32> = cells.iter().map(|(_, s)| digit_bits(c, e, &index, *s)).collect();
                let mut next = 1i64;
                for ((k, _), bits) in cells.iter().zip(&bits) {
                    if *k != next || *bits > 30 {
                        return Err(CheckError::Digits { name: q.name.clone() });
                    }
                    next = k
                        .checked_shl(*bits)
                        .filter(|&n| n <= 1 << 30)
                        .ok_or(CheckError::Digits { name: q.name.clone() })?;
                }
                // A count of attained maxima, less one, is not negative: a relation that intervals do not see.
                let lo = if coverage::counts_attained(e, ranges, &index, q) {
                    0
                } else {
                    r.lo
                };
                if q.partial {
                    // An interval does not say that they are not negative: what is compared is looked up for itself.
                    let bare = cells.iter().any(|(_, s)| {
                        let segment = &e.segments[usize::from(*s)];
                        segment.table.is_none() || (index.is_subtrahend(*s) && !segment.ranged)
                    });
                    if bare {
                        return Err(CheckError::BarePartial { name: q.name.clone() });
                    }
                    continue;
                }
                if lo < 0 || r.hi >= i128::from(next) {
                    return Err(CheckError::Unrepresentable {
                        name: q.name.clone(),
                        lo: r.lo as i64,
                        hi: r.hi as i64,
                        max: next - 1,
                    });
                }
            }
        }
    }
    Ok(())
}

/// Whether the cells of a segment are proved to lie in `[0, limit)`, whatever site compares them: a checked key, or the
/// last digit of an equation whose right side is that small (and not negative, by [`check`]). `rights` are the
/// [`right_sides`].
pub(super) fn below(c: &Circuit, e: &Entry, index: &Index, rights: &[Interval], segment: u16, limit: i64) -> bool {
    let s = &e.segments[segment as usize];
    let in_table = s.ranged && s.table.is_some_and(|t| c.tables[t as usize].rows() as i64 <= limit);
    in_table
        || index
            .digits(segment)
            .iter()
            .any(|&(q, place)| match &e.equations[q].left {
                Left::Cells(cells) => {
                    let most = i128::from(cells[place].0).saturating_mul(limit.into());
                    place + 1 == cells.len() && rights[q].hi < most
                }
                Left::Output(_) => false,
            })
}

/// Bits of a digit: those of its table, and of every site that subtracts it (where it may be bounded by minuend and
/// index alone; the minuend's table is no larger than the site's).
fn digit_bits(c: &Circuit, e: &Entry, index: &Index, segment: u16) -> u32 {
    let own = e.segments[segment as usize].table;
    let own = own.map(|t| u32::from(c.tables[t as usize].log_rows));
    index.subtracted_bits(segment).max(own).unwrap_or(31)
}
