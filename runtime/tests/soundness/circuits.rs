//! Circuits that break a rule: the verifier refuses them when it loads a key, so that soundness rests on neither compiler
//! nor model owner. One row per rule of `mlc_circuit::check`, each an edit of a circuit that passes.

use mlc_circuit::check::{CheckError, check};
use mlc_circuit::{
    Access, AxisMap, Circuit, Entry, Equation, FormSource, Gate, InputKind, InstanceError, Label, Left, Len, Operand,
    Outer, Product, Read, Reads, RuntimeDim, SiteRef, Source, Step, Table, Weight,
};

use mlc_runtime::testing::Builder;

use crate::liar::{Row, all_refused, row, tell};
use crate::world::everything;

type Edit = fn(&mut Circuit);

fn entry(c: &mut Circuit) -> &mut Entry {
    &mut c.entries[0]
}

fn equation<'c>(c: &'c mut Circuit, name: &str) -> &'c mut Equation {
    let named = |q: &&mut Equation| q.name == name;
    entry(c).equations.iter_mut().find(named).unwrap()
}

fn segment(c: &Circuit, name: &str) -> usize {
    c.entries[0].segments.iter().position(|s| s.name == name).unwrap()
}

/// What the first factor of an equation's first product reads.
fn operand<'c>(c: &'c mut Circuit, name: &str) -> &'c mut Vec<Read> {
    match &mut equation(c, name).products[0].a {
        Operand::Reads(reads) => reads,
        other => panic!("{other:?}"),
    }
}

/// The outer axes of the weight of an equation's first product.
fn outer<'c>(c: &'c mut Circuit, name: &str) -> &'c mut Vec<Outer> {
    match &mut equation(c, name).products[0].b {
        Operand::Weight { outer, .. } => outer,
        other => panic!("{other:?}"),
    }
}

fn digits<'c>(c: &'c mut Circuit, name: &str) -> &'c mut Vec<(i64, u16)> {
    match &mut equation(c, name).left {
        Left::Cells(cells) => cells,
        other => panic!("{other:?}"),
    }
}

fn repeated(c: &mut Circuit) -> &mut Vec<Step> {
    let steps = entry(c).steps.iter_mut().find_map(|s| match s {
        Step::Repeat { steps, .. } => Some(steps),
        _ => None,
    });
    steps.unwrap()
}

/// An access whose first coordinate is another.
fn first(access: &mut Access, map: AxisMap) {
    access.axes[0] = map;
}

const SHIFTED: fn(i32) -> AxisMap = |offset| AxisMap::Affine {
    offset,
    parts: vec![(0, 1)],
};

fn lookup(segment: usize) -> Source {
    Source::Lookup {
        site: SiteRef::Segment(segment as u16),
        column: 0,
    }
}

#[test]
fn malformed_circuits_are_refused() {
    let rows: Vec<(&str, Edit)> = vec![
        ("a circuit needs an entry", |c| c.entries.clear()),
        ("too many tables, weights or constants", |c| {
            c.tables.resize(1 << 12, Table::range(1))
        }),
        ("too many tables, weights or constants", |c| {
            c.weights.resize(1 << 16, c.weights[0].clone())
        }),
        ("the maximum must be between 1 and 2^24", |c| c.dims[0].max = 0),
        ("the maximum must be between 1 and 2^24", |c| c.dims[0].max = 1 << 24),
        ("a table has at most 2^16 rows", |c| c.tables[0].log_rows = 17),
        ("a table has at most 8 columns", |c| {
            c.tables[0].columns = vec![c.tables[0].columns[0].clone(); 9]
        }),
        ("a column has one value per row", |c| c.tables[0].columns[0].push(0)),
        ("table values lie in (-2^30, 2^30)", |c| {
            c.tables[0].columns[0][1] = 1 << 30
        }),
        ("weights have 2 to 16 bits", |c| c.weights[0].bits = 1),
        ("weights have 2 to 16 bits", |c| c.weights[0].bits = 17),
        ("too many axes", |c| c.weights[0].outer = vec![1; 24]),
        ("a weight has values", |c| c.weights[0].row_len = 0),
        ("more than 2^31 weights in all, or an axis longer than 2^22", |c| {
            c.weights[0].outer = vec![(1 << 22) + 1]
        }),
        ("more than 2^31 weights in all, or an axis longer than 2^22", |c| {
            c.weights[0].outer = vec![1 << 20, 1 << 12]
        }),
        ("too many axes", |c| entry(c).segments[1].axes = vec![Len::fixed(1); 25]),
        ("an axis is empty", |c| entry(c).segments[1].axes[1] = Len::fixed(0)),
        ("an unknown run-time dimension", |c| {
            entry(c).segments[1].axes[1] = Len::dim(1)
        }),
        ("an axis is longer than 2^22", |c| {
            entry(c).segments[1].axes[1] = Len::fixed((1 << 22) + 1)
        }),
        ("too many parts", |c| {
            let s = entry(c).segments[0].clone();
            entry(c).segments.resize(1 << 16, s);
        }),
        ("an input range is empty or too large", |c| entry(c).inputs[1].lo = 16),
        ("an input range is empty or too large", |c| {
            entry(c).inputs[1].hi = 1 << 30
        }),
        ("a scale must be positive", |c| entry(c).inputs[1].scale = f64::NAN),
        ("a scale must be positive", |c| entry(c).outputs[0].scale = 0.0),
        ("an unknown segment", |c| {
            entry(c).inputs[0].kind = InputKind::Private { segment: 99 }
        }),
        ("a private input has the axes of its segment", |c| {
            entry(c).inputs[0].axes[1] = Len::fixed(3)
        }),
        ("an unknown table", |c| entry(c).segments[0].table = Some(99)),
        ("a range check needs a table", |c| {
            let s = segment(c, "conv.t");
            entry(c).segments[s].ranged = true;
        }),
        ("an unknown table", |c| entry(c).sites[0].table = 99),
        (
            "a virtual index is a maximum less what it is compared with, and at most three masks",
            |c| entry(c).sites[0].index[0].coefficient = 2,
        ),
        (
            "a virtual index is a maximum less what it is compared with, and at most three masks",
            |c| entry(c).sites[0].index.truncate(1),
        ),
        ("an unknown segment", |c| {
            entry(c).sites[0].index[1].source = FormSource::Segment(99)
        }),
        ("a lookup index reads single cells", |c| {
            first(&mut entry(c).sites[0].index[1].access, AxisMap::Before { iter: 0 });
        }),
        ("an access has one map per axis of its tensor", |c| {
            entry(c).sites[0].index[1].access.axes.truncate(3)
        }),
        ("an unknown iteration axis", |c| {
            first(&mut operand(c, "head")[0].access, AxisMap::iter(9))
        }),
        ("an iteration axis occurs in two coordinates", |c| {
            let a = &mut operand(c, "head")[0].access;
            a.axes[0] = a.axes[1].clone();
        }),
        ("an offset is too large", |c| {
            first(&mut operand(c, "head")[0].access, SHIFTED(1 << 28))
        }),
        ("a stride is not positive", |c| {
            let stride = AxisMap::Affine {
                offset: 0,
                parts: vec![(0, 0)],
            };
            first(&mut operand(c, "head")[0].access, stride);
        }),
        ("a gate on a used or unknown axis", |c| {
            operand(c, "head")[0].access.gates.push(Gate { iter: 0, at: 0 })
        }),
        ("a coefficient is zero or too large", |c| {
            operand(c, "head")[0].coefficient = 0
        }),
        ("an unknown input", |c| {
            equation(c, "echo").reads[0].read.source = Source::Input(9)
        }),
        ("a private input is read through its segment", |c| {
            equation(c, "echo").reads[0].read.source = Source::Input(0)
        }),
        ("an unknown segment", |c| operand(c, "head")[0].source = lookup(99)),
        ("a read of a segment without table", |c| {
            let s = segment(c, "conv.t");
            operand(c, "head")[0].source = lookup(s);
        }),
        ("an unknown site", |c| {
            operand(c, "head")[0].source = Source::Lookup {
                site: SiteRef::Virtual(1),
                column: 0,
            };
        }),
        ("an unknown table column", |c| {
            let s = segment(c, "stem.t") as u16;
            operand(c, "head")[0].source = Source::Lookup {
                site: SiteRef::Segment(s),
                column: 1,
            };
        }),
        ("a constant is too large", |c| equation(c, "head").constant = 1 << 30),
        ("an unknown output", |c| equation(c, "echo").left = Left::Output(9)),
        ("an output has the axes of its equation", |c| {
            entry(c).outputs[2].axes.truncate(1)
        }),
        ("an equation has 1 to 8 digits", |c| digits(c, "head").clear()),
        ("an unknown segment", |c| digits(c, "head")[0].1 = 99),
        ("digits have the axes of their equation", |c| {
            let s = segment(c, "up.t") as u16;
            digits(c, "head")[0].1 = s;
        }),
        ("a digit's coefficient lies in [1, 2^30)", |c| {
            digits(c, "head")[0].0 = 0
        }),
        ("too many axes", |c| {
            equation(c, "head").reads[0].reduce = vec![Len::fixed(1); 23]
        }),
        ("too many axes", |c| {
            equation(c, "head").products[0].group = vec![Len::fixed(1); 23]
        }),
        ("a coefficient is zero or too large", |c| {
            equation(c, "head").products[0].coefficient = 0
        }),
        ("shared axes are listed in ascending order", |c| {
            equation(c, "up").products[0].shared = vec![1, 0]
        }),
        ("an unknown shared axis", |c| {
            equation(c, "up").products[0].shared = vec![0, 7]
        }),
        ("a product has at most one weight", |c| {
            let p = &mut equation(c, "head").products[0];
            p.a = p.b.clone();
        }),
        ("a contraction of constants", |c| {
            let p = &mut equation(c, "head").products[0];
            (p.a, p.b) = (Operand::One, Operand::One);
        }),
        ("an operand without reads", |c| operand(c, "head").clear()),
        ("an unknown weight", |c| {
            equation(c, "head").products[0].b = Operand::Weight {
                weight: 99,
                outer: vec![Outer::axis(1)],
            };
        }),
        ("a weight has one selection per outer axis", |c| {
            outer(c, "head").clear()
        }),
        ("an outer axis must be an output axis", |c| {
            outer(c, "head")[0] = Outer::axis(2)
        }),
        ("an outer axis is longer than the weight's", |c| {
            outer(c, "head")[0] = Outer::Axis {
                axis: 1,
                offset: Len::fixed(1),
            }
        }),
        ("an outer axis is used twice", |c| {
            // Blocks and width made as long as each other.
            c.weights
                .iter_mut()
                .filter(|w| w.name == "up")
                .for_each(|w| w.outer = vec![3, 3]);
            *outer(c, "up") = vec![Outer::axis(0), Outer::axis(0)];
        }),
        ("a weight needs a contraction axis", |c| {
            let p = &mut equation(c, "head").products[0];
            p.group.clear();
            p.a = Operand::One;
        }),
        ("the contraction axis is also an outer axis", |c| {
            let p = &mut equation(c, "head").products[0];
            p.group.clear();
            p.shared = vec![1];
            p.a = Operand::One;
        }),
        ("the contraction axis has the weight's row length", |c| {
            c.weights[0].row_len += 1
        }),
        ("an output axis used by both factors must be shared", |c| {
            equation(c, "up").products[0].shared.clear()
        }),
        ("a shared axis is used by both factors", |c| {
            // The weight does not use the rows of the batch.
            equation(c, "up").products[0].shared.push(1)
        }),
        ("a shared axis is used by both factors", |c| {
            let p = &mut equation(c, "stream").products;
            *p = vec![Product {
                coefficient: 1,
                shared: vec![0],
                group: vec![],
                a: Operand::One,
                b: Operand::One,
            }];
        }),
        ("a shared axis is used by both factors", |c| {
            // Beside the row of a bias, which one factor uses alone.
            equation(c, "logits").products[1].shared.insert(0, 0)
        }),
        ("a step names an unknown equation", |c| {
            entry(c).steps.push(Step::Equation(99))
        }),
        ("an equation is executed twice", |c| {
            entry(c).steps.push(Step::Equation(0))
        }),
        ("a step names an unknown site", |c| {
            entry(c).steps.push(Step::Max { site: 1 })
        }),
        ("a site is executed twice", |c| {
            entry(c).steps.push(Step::Max { site: 0 })
        }),
        ("an equation is never executed", |c| drop(entry(c).steps.pop())),
        ("a site is never executed", |c| {
            entry(c).steps.retain(|s| !matches!(s, Step::Max { .. }))
        }),
        ("a maximum is indexed by the leading axes of its site", |c| {
            entry(c).sites[0].index[0].access.axes.swap(0, 1);
        }),
        ("a repetition without blocks", |c| {
            entry(c).steps.push(Step::Repeat {
                count: 0,
                steps: vec![],
            })
        }),
        ("repetitions do not nest", |c| {
            repeated(c).push(Step::Repeat {
                count: 1,
                steps: vec![],
            })
        }),
        ("inside a repetition the first axis counts its blocks", |c| {
            let echo = entry(c).steps.pop().unwrap();
            repeated(c).push(echo);
        }),
    ];
    let mut failures = Vec::new();
    for (i, (what, edit)) in rows.into_iter().enumerate() {
        let mut circuit = everything().circuit;
        edit(&mut circuit);
        match check(&circuit) {
            Err(CheckError::Malformed { what: found, .. }) if found == what => {}
            other => failures.push(format!("row {i}: expected '{what}', got {other:?}")),
        }
    }
    all_refused(&failures);
}

/// Rules, each with an edit that breaks it.
fn refuses(rows: &[Row<Circuit, CheckError>]) {
    tell(rows, |edit| {
        let mut circuit = everything().circuit;
        edit(&mut circuit);
        check(&circuit)
    });
}

#[test]
fn circuits_that_are_no_function_are_refused() {
    use CheckError::{Determined, Order};
    refuses(&[
        row!(
            "an output without an equation",
            |c| {
                let mut other = c.entries[0].outputs[0].clone();
                other.name = "free".into();
                entry(c).outputs.push(other);
            },
            Determined { times: 0, .. }
        ),
        row!(
            "an output of two equations",
            |c| equation(c, "echo").left = Left::Output(1),
            Determined { .. }
        ),
        row!(
            "a segment without an equation",
            |c| {
                let s = c.entries[0].segments[1].clone();
                entry(c).segments.push(s);
            },
            Determined { times: 0, .. } | CheckError::Uncovered { .. }
        ),
        row!(
            "a segment of two equations",
            |c| {
                let t = segment(c, "stem.t") as u16;
                digits(c, "head")[1].1 = t;
            },
            Determined { .. }
        ),
        row!(
            "a segment of an equation that is also a private input",
            |c| {
                let mut input = c.entries[0].inputs[0].clone();
                let t = segment(c, "stem.t");
                input.axes = c.entries[0].segments[t].axes.clone();
                input.kind = InputKind::Private { segment: t as u16 };
                entry(c).inputs.push(input);
            },
            Determined { times: 2, .. }
        ),
        row!(
            "a layer before what it reads",
            |c| {
                let steps = &mut entry(c).steps;
                let last = steps.len() - 1;
                steps.swap(0, last);
            },
            Order { .. }
        ),
        row!(
            "a maximum before what it compares",
            |c| {
                let steps = &mut entry(c).steps;
                let at = steps.iter().position(|s| matches!(s, Step::Max { .. })).unwrap();
                let step = steps.remove(at);
                steps.insert(0, step);
            },
            Order { .. }
        ),
        row!(
            "a block that reads itself",
            |c| {
                // Block l of the stream from block l.
                let o = segment(c, "o.t");
                let stream = operand(c, "up");
                assert_eq!(stream[1].source, lookup(o));
                first(&mut stream[1].access, SHIFTED(0));
            },
            Order { .. }
        ),
        row!(
            "a block that reads a later one",
            |c| first(&mut operand(c, "o")[0].access, SHIFTED(1)),
            Order { .. }
        ),
        row!(
            "a block that reads a fixed one",
            |c| {
                let access = &mut operand(c, "o")[0].access;
                first(access, AxisMap::constant(2));
                access.gates.push(Gate { iter: 0, at: 1 });
            },
            Order { .. }
        ),
    ]);
}

#[test]
fn circuits_that_may_wrap_are_refused() {
    use CheckError::{Digits, Overflow, Unrepresentable};
    refuses(&[
        row!(
            "a large constant",
            |c| equation(c, "logits").constant = (1 << 30) - 1,
            Overflow { .. }
        ),
        row!(
            "a large coefficient",
            |c| equation(c, "stream").reads[0].read.coefficient = 1 << 29,
            Overflow { .. }
        ),
        row!(
            "a large product",
            |c| equation(c, "conv").products[0].coefficient = 1 << 20,
            Overflow { .. }
        ),
        row!(
            "a run-time dimension whose sums grow with it",
            |c| {
                c.dims[0].max = 1 << 22;
                let side = c.entries[0].inputs[1].axes.clone();
                let q = equation(c, "echo");
                q.reads.push(Reads {
                    reduce: side,
                    read: Read {
                        coefficient: 8,
                        source: Source::Input(1),
                        access: Access::axes(&[2, 3]),
                    },
                });
            },
            Overflow { .. }
        ),
        row!(
            "bounds that would wrap themselves",
            |c| {
                c.dims[0].max = 1 << 22;
                let rows = c.entries[0].inputs[1].axes[0].clone();
                equation(c, "echo").reads.push(Reads {
                    reduce: vec![rows; 8],
                    read: Read {
                        coefficient: 1,
                        source: Source::Input(1),
                        access: Access::axes(&[2, 1]),
                    },
                });
            },
            Overflow { .. }
        ),
        row!("digits that overlap", |c| digits(c, "head")[1].0 /= 2, Digits { .. }),
        row!("digits with a gap", |c| digits(c, "head")[1].0 *= 2, Digits { .. }),
        row!(
            "a first digit that is not 1",
            |c| digits(c, "head")[0].0 = 2,
            Digits { .. }
        ),
        row!(
            "digits that reach p",
            |c| {
                let s = segment(c, "head.t");
                entry(c).segments[s].table = Some(c.tables.len() as u16);
                let mut wide = Table::range(16);
                wide.columns = vec![vec![0; 1 << 16]];
                c.tables.push(wide);
                let r = segment(c, "head.r0");
                entry(c).segments[r].table = Some(c.tables.len() as u16);
                c.tables.push(Table::range(15));
                digits(c, "head")[1].0 = 1 << 15;
            },
            Digits { .. }
        ),
        row!(
            "a right side below its digits",
            |c| equation(c, "head").constant = 0,
            Unrepresentable { .. }
        ),
        row!(
            "a right side above its digits",
            |c| equation(c, "head").constant *= 4,
            Unrepresentable { .. }
        ),
        row!(
            "a count without its maximum",
            |c| equation(c, "conv.attained").constant = -2,
            Unrepresentable { .. }
        ),
    ]);
}

fn entry_table(c: &Circuit, segment: usize) -> usize {
    c.entries[0].segments[segment].table.unwrap().into()
}

/// Gives the count of attained maxima one bit more than it needs.
fn wide_count(c: &mut Circuit) {
    let n = segment(c, "conv.attained");
    let bits = c.tables[entry_table(c, n)].log_rows;
    entry(c).segments[n].table = Some(c.tables.len() as u16);
    c.tables.push(Table::range(bits + 1));
}

/// Adds a cell for each count of attained maxima that is in no lookup.
fn spare_cells(c: &mut Circuit) {
    let mut count = c.entries[0].segments[segment(c, "conv.attained")].clone();
    let mut counts = equation(c, "conv.attained").clone();
    (count.name, counts.name) = ("spare".into(), "spare".into());
    (count.ranged, count.table) = (false, Some(c.tables.len() as u16));
    c.tables.push(Table::range(8));
    let e = entry(c);
    counts.constant = 0;
    counts.left = Left::Cells(vec![(1, e.segments.len() as u16)]);
    e.segments.push(count);
    e.equations.push(counts);
    let equation = e.equations.len() as u16 - 1;
    e.steps.push(Step::Equation(equation));
}

/// Adds the maximum over whole images of the pooled maxima.
fn pool_again(c: &mut Circuit) {
    let below = segment(c, "conv.max");
    let mut site = c.entries[0].sites[0].clone();
    let mut maximum = c.entries[0].segments[below].clone();
    let mut count = c.entries[0].segments[segment(c, "conv.attained")].clone();
    let mut counts = equation(c, "conv.attained").clone();
    let table = c.tables.len() as u16;
    c.tables.push(Table::range(2));
    let e = entry(c);
    let first = e.segments.len() as u16;
    site.name = "top.difference".into();
    site.axes = maximum.axes.clone();
    site.index[0].source = FormSource::Segment(first);
    site.index[0].access = Access::identity(2);
    site.index[1].source = FormSource::Segment(below as u16);
    site.index[1].access = Access::identity(4);
    (maximum.name, count.name, counts.name) = ("top".into(), "top.attained".into(), "top.attained".into());
    maximum.axes.truncate(2);
    count.axes.truncate(2);
    count.table = Some(table);
    counts.out.truncate(2);
    counts.left = Left::Cells(vec![(1, first + 1)]);
    counts.reads[0].reduce = site.axes[2..].to_vec();
    counts.reads[0].read.source = Source::Lookup {
        site: SiteRef::Virtual(1),
        column: 0,
    };
    counts.reads[0].read.access = Access::identity(4);
    e.segments.extend([maximum, count]);
    e.sites.push(site);
    e.equations.push(counts);
    let equation = e.equations.len() as u16 - 1;
    e.steps.extend([Step::Max { site: 1 }, Step::Equation(equation)]);
}

#[test]
fn cells_without_a_check_are_refused() {
    use CheckError::{Uncovered, Unrepresentable};
    fn unrange(c: &mut Circuit, name: &str) {
        let s = segment(c, name);
        entry(c).segments[s].ranged = false;
    }
    refuses(&[
        row!(
            "two digits that nothing counts",
            |c| {
                unrange(c, "stem.t");
                unrange(c, "stem.r0");
            },
            Uncovered { .. }
        ),
        row!(
            "a remainder that is read, beside an index that nothing counts",
            |c| {
                let mut values = Table::range(0);
                let r = segment(c, "head.r0");
                let bits = c.tables[c.entries[0].segments[r].table.unwrap() as usize].log_rows;
                values.log_rows = bits;
                values.columns = vec![(0..1 << bits).collect()];
                entry(c).segments[r].table = Some(c.tables.len() as u16);
                c.tables.push(values);
                unrange(c, "head.t");
                equation(c, "stream").reads[0].read.source = lookup(r);
                let after = entry(c).steps.pop();
                entry(c).steps.extend(after);
            },
            Uncovered { .. }
        ),
        row!(
            "two reads that cancel",
            |c| {
                unrange(c, "stem.t");
                let mut minus = equation(c, "stream").reads[0].clone();
                minus.read.coefficient = -1;
                equation(c, "stream").reads.push(minus);
            },
            Uncovered { .. }
        ),
        row!(
            "reads whose multiplicities add up to p",
            |c| {
                // Of a function that is zero, so that the values are within bounds.
                unrange(c, "stem.t");
                let s = segment(c, "stem.t");
                let mut zero = c.tables[entry_table(c, s)].clone();
                zero.columns[0].fill(0);
                c.entries[0].segments[s].table = Some(c.tables.len() as u16);
                c.tables.push(zero);
                let read = &mut equation(c, "stream").reads[0];
                read.read.coefficient = (1 << 30) - 1;
                let again = read.clone();
                equation(c, "stream").reads.push(again);
            },
            Uncovered { .. }
        ),
        row!(
            "a cell without table that is compared with nothing",
            |c| {
                let s = segment(c, "head.r0");
                entry(c).segments[s].table = None;
                entry(c).segments[s].ranged = false;
            },
            Uncovered { .. } | CheckError::Digits { .. }
        ),
        row!("a cell in no lookup", spare_cells, CheckError::Unused { .. }),
        row!(
            "a partial equation with a digit that only a maximum compares",
            |c| equation(c, "conv").partial = true,
            CheckError::BarePartial { .. }
        ),
        row!(
            "a partial equation with a compared digit that has a table and is not looked up",
            |c| {
                // The maximum's table, so that all other rules hold.
                let (t, m) = (segment(c, "conv.t"), segment(c, "conv.max"));
                let table = c.entries[0].segments[m].table;
                entry(c).segments[t].table = table;
                equation(c, "conv").partial = true;
            },
            CheckError::BarePartial { .. }
        ),
        row!(
            "a maximum without a count",
            |c| {
                // Σ [difference = 0] is counted, but zero is a count as well.
                wide_count(c);
                equation(c, "conv.attained").constant = 0;
            },
            Uncovered { .. }
        ),
        row!(
            "a count of twos",
            |c| {
                wide_count(c);
                equation(c, "conv.attained").reads[0].read.coefficient = 2;
            },
            Unrepresentable { .. }
        ),
        row!(
            "a maximum of maxima that nothing checks",
            |c| {
                pool_again(c);
                check(c).unwrap();
                unrange(c, "conv.max");
            },
            Uncovered { .. }
        ),
        row!(
            "a count that nothing bounds from below",
            |c| unrange(c, "conv.attained"),
            Uncovered { .. } | CheckError::Unrepresentable { .. }
        ),
        row!(
            "an indicator that is not of zero",
            |c| {
                let t = c.entries[0].sites[0].table as usize;
                c.tables[t].columns[0][1] = 1;
            },
            Uncovered { .. } | CheckError::Unrepresentable { .. }
        ),
        row!(
            "a maximum with a larger table than its differences",
            |c| {
                let s = segment(c, "conv.max");
                let mut table = c.tables[c.entries[0].segments[s].table.unwrap() as usize].clone();
                table.log_rows += 1;
                let column = table.columns[0].clone();
                table.columns[0].extend(column);
                entry(c).segments[s].table = Some(c.tables.len() as u16);
                c.tables.push(table);
            },
            Uncovered { .. }
        ),
        row!(
            "a compared cell that is not the last digit",
            |c| {
                // The index first, as a digit of the table's bits; the remainder above it.
                let (t, r) = (segment(c, "conv.t") as u16, segment(c, "conv.r0") as u16);
                let table = c.entries[0].sites[0].table as usize;
                let bits = c.tables[table].log_rows;
                *digits(c, "conv") = vec![(1, t), (1 << bits, r)];
            },
            Uncovered { .. }
        ),
    ]);
}

#[test]
fn instances_out_of_bounds_are_refused() {
    let mut c = everything().circuit;
    let size = |c: &Circuit, dims: &[u32]| matches!(c.instantiate(0, dims), Err(InstanceError::Size { .. }));
    assert!(c.instantiate(0, &[4]).is_ok());
    assert!(matches!(c.instantiate(1, &[4]), Err(InstanceError::Entry(1))));
    assert!(matches!(c.instantiate(0, &[]), Err(InstanceError::DimCount { .. })));
    assert!(matches!(c.instantiate(0, &[5]), Err(InstanceError::DimRange { .. })));
    // More cells in a tensor, in the witness, and more lookups than can be counted.
    c.dims[0] = RuntimeDim {
        before: None,
        name: "batch".into(),
        max: u32::MAX,
    };
    for rows in [1 << 21, 1 << 22, 1 << 24, 1 << 27, u32::MAX] {
        assert!(size(&c, &[rows]), "{rows}");
    }
    // One public tensor that is too large, and one product that is too costly to check.
    let square = |n: usize| {
        let mut b = Builder::new("square", 1);
        let x = b.input("x", &[Len::fixed(n), Len::fixed(n)], 0, 1);
        let product = Product {
            coefficient: 1,
            shared: vec![],
            group: x.axes.clone(),
            a: Operand::Reads(vec![x.read(1, Access::axes(&[1, 2]))]),
            b: Operand::Reads(vec![x.read(1, Access::axes(&[1, 2]))]),
        };
        b.output("y", &[Len::fixed(1)], vec![], vec![product], Label::None);
        b.finish().0
    };
    assert!(square(1 << 13).instantiate(0, &[]).is_ok());
    assert!(size(&square(1 << 14), &[]));
    assert!(size(&square(1 << 15), &[]));
    let mut large = square(4);
    large.entries[0].inputs[0].axes = vec![Len::fixed(1 << 15), Len::fixed(1 << 14)];
    assert!(size(&large, &[]));
    let mut many = everything().circuit;
    many.weights.push(Weight {
        name: "unused".into(),
        outer: vec![],
        row_len: 1,
        bits: 2,
        column_sum: 1,
    });
    let site = many.entries[0].sites[0].clone();
    many.entries[0].sites.resize(1 << 12, site);
    many.dims[0].max = 1 << 13;
    assert!(size(&many, &[1 << 13]));
}
