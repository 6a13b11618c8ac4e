//! Range analysis: every equation holds over the integers.
//!
//! With |left| and |right| below 2^30, a difference divisible by p is zero. The right side is bounded by interval
//! arithmetic at the declared maxima of the run-time dimensions; a product with a weight uses the proved column sum.

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

/// Bounds of one read, over all iterations.
fn read(c: &Circuit, e: &Entry, r: &Read) -> Interval {
    let constant: Vec<Len>;
    let (values, axes) = match r.source {
        Source::Constant(k) => {
            let k = &c.constants[k as usize];
            constant = k.axes.iter().map(|&n| Len::fixed(n as usize)).collect();
            let bound = |v: Option<&i32>| i128::from(v.copied().unwrap_or(0));
            (
                Interval {
                    lo: bound(k.values.iter().min()),
                    hi: bound(k.values.iter().max()),
                },
                &constant,
            )
        }
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
            let (lo, hi) = c.tables[table as usize].bounds(column as usize).unwrap_or((0, 0));
            (
                Interval {
                    lo: lo.into(),
                    hi: hi.into(),
                },
                axes,
            )
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

fn operand(c: &Circuit, e: &Entry, o: &Operand) -> Interval {
    match o {
        Operand::One => Interval { lo: 1, hi: 1 },
        Operand::Reads(reads) => reads
            .iter()
            .fold(Interval { lo: 0, hi: 0 }, |a, r| a.plus(read(c, e, r))),
        Operand::Weight { weight, .. } => {
            let m = i128::from(c.weights[*weight as usize].magnitude());
            Interval { lo: -m, hi: m }
        }
    }
}

fn product(c: &Circuit, e: &Entry, p: &Product) -> Interval {
    let (a, b) = (operand(c, e, &p.a), operand(c, e, &p.b));
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
    let mut acc = Interval {
        lo: q.constant.into(),
        hi: q.constant.into(),
    };
    for r in &q.reads {
        acc = acc.plus(read(c, e, &r.read).scale(product_len(c, &r.reduce)));
    }
    q.products.iter().fold(acc, |acc, p| acc.plus(product(c, e, p)))
}

/// Checks every equation of every entry.
pub fn check(c: &Circuit) -> Result<(), CheckError> {
    for e in &c.entries {
        for q in &e.equations {
            let r = right(c, e, q);
            if r.magnitude() >= LIMIT {
                return Err(CheckError::Overflow {
                    name: q.name.clone(),
                    bound: r.magnitude().unsigned_abs(),
                });
            }
            if let Left::Cells(cells) = &q.left {
                let bits: Vec<u32> = cells.iter().map(|(_, s)| digit_bits(c, e, *s)).collect();
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
                let lo = if coverage::counts_attained(c, e, q) { 0 } else { r.lo };
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
/// last digit of an equation whose right side is that small (and not negative, by [`check`]).
pub(super) fn below(c: &Circuit, e: &Entry, segment: u16, limit: i64) -> bool {
    let s = &e.segments[segment as usize];
    let in_table = s.ranged && s.table.is_some_and(|t| c.tables[t as usize].rows() as i64 <= limit);
    in_table
        || e.equations.iter().any(|q| match &q.left {
            Left::Cells(cells) => cells
                .last()
                .is_some_and(|&(k, d)| d == segment && right(c, e, q).hi < i128::from(k).saturating_mul(limit.into())),
            Left::Output(_) => false,
        })
}

/// Bits of a digit: those of its table, and of every site that subtracts it (where it may be bounded by minuend and
/// index alone; the minuend's table is no larger than the site's).
fn digit_bits(c: &Circuit, e: &Entry, segment: u16) -> u32 {
    let rows = |t: u16| u32::from(c.tables[t as usize].log_rows);
    let own = e.segments[segment as usize].table.map(rows);
    let compared = e
        .sites
        .iter()
        .filter(|s| {
            s.index
                .iter()
                .any(|t| t.coefficient < 0 && t.segment() == Some(segment))
        })
        .map(|s| rows(s.table));
    compared.chain(own).max().unwrap_or(31)
}
