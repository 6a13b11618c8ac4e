//! One circuit that passes, and one alteration per rule that must not.

use alloc::{vec, vec::Vec};

use super::{CheckError, check};
use crate::{
    Access, AxisMap, Circuit, Entry, Equation, FormSource, FormTerm, InputKind, Label, Left, Len, Operand, Outer,
    Product, PublicInput, PublicOutput, Read, Reads, RuntimeDim, Segment, SiteRef, Source, Step, Table, VirtualSite,
    Weight, format,
};

fn lookup(segment: u16) -> Source {
    Source::Lookup {
        site: SiteRef::Segment(segment),
        column: 0,
    }
}

fn linear(coefficient: i32, source: Source) -> Reads {
    Reads {
        reduce: vec![],
        read: Read {
            coefficient,
            source,
            access: Access::identity(1),
        },
    }
}

fn segment(name: &str, table: Option<u16>, ranged: bool) -> Segment {
    Segment {
        grows: None,
        name: name.into(),
        axes: vec![Len::fixed(4)],
        table,
        ranged,
    }
}

fn equation(name: &str, left: Left, constant: i64, reads: Vec<Reads>) -> Equation {
    Equation {
        name: name.into(),
        out: vec![Len::fixed(4)],
        left,
        constant,
        partial: false,
        reads,
        products: vec![],
    }
}

/// `t·16 + r = w·x + 2^11` with |w·x| < 2^11; `m = t` compared with itself over a window of one; `y = T[t]`.
fn good() -> Circuit {
    let identity: Vec<i32> = (0..256).map(|v| v - 128).collect();
    let indicator: Vec<i32> = (0..256).map(|v| i32::from(v == 0)).collect();
    let product = Product {
        coefficient: 1,
        shared: vec![],
        group: vec![Len::fixed(2)],
        a: Operand::Reads(vec![Read {
            coefficient: 1,
            source: Source::Input(0),
            access: Access::axes(&[1]),
        }]),
        b: Operand::Weight {
            weight: 0,
            outer: vec![Outer::axis(0)],
        },
    };
    let site_index = |coefficient, segment| FormTerm {
        coefficient,
        source: FormSource::Segment(segment),
        access: Access::identity(1),
    };
    Circuit {
        name: "good".into(),
        dims: vec![RuntimeDim {
            before: None,
            name: "batch".into(),
            max: 8,
        }],
        tables: vec![
            Table {
                name: "identity".into(),
                log_rows: 8,
                columns: vec![identity],
            },
            Table::range(4),
            Table {
                name: "zero".into(),
                log_rows: 8,
                columns: vec![indicator],
            },
            Table::range(0),
        ],
        weights: vec![Weight {
            name: "w".into(),
            outer: vec![4],
            row_len: 2,
            bits: 8,
            column_sum: 254,
        }],
        constants: vec![],
        entries: vec![Entry {
            name: "main".into(),
            inputs: vec![PublicInput {
                name: "x".into(),
                axes: vec![Len::fixed(2)],
                scale: 1.0,
                lo: -7,
                hi: 7,
                kind: InputKind::Public,
                clamp: false,
            }],
            outputs: vec![PublicOutput {
                name: "y".into(),
                axes: vec![Len::fixed(4)],
                scale: 1.0,
                label: Label::None,
            }],
            segments: vec![
                segment("t", None, false),
                segment("r", Some(1), true),
                segment("m", Some(0), false),
                segment("n", Some(3), true),
            ],
            sites: vec![VirtualSite {
                name: "max".into(),
                axes: vec![Len::fixed(4)],
                table: 2,
                index: vec![site_index(1, 2), site_index(-1, 0)],
                ranged: false,
            }],
            equations: vec![
                Equation {
                    products: vec![product],
                    ..equation("acc", Left::Cells(vec![(1, 1), (16, 0)]), 2048, vec![])
                },
                equation(
                    "attained",
                    Left::Cells(vec![(1, 3)]),
                    -1,
                    vec![linear(
                        1,
                        Source::Lookup {
                            site: SiteRef::Virtual(0),
                            column: 0,
                        },
                    )],
                ),
                equation("out", Left::Output(0), 0, vec![linear(1, lookup(2))]),
            ],
            steps: vec![
                Step::Equation(0),
                Step::Max { site: 0 },
                Step::Equation(1),
                Step::Equation(2),
            ],
        }],
    }
}

#[test]
fn the_good_circuit_passes_and_its_artefact_is_canonical() {
    let c = good();
    check(&c).unwrap();
    let bytes = format::encode(&c);
    assert_eq!(format::decode(&bytes), Ok(c));
    let mut trailing = bytes;
    trailing.push(0);
    assert!(format::decode(&trailing).is_err());
}

/// Applies `alter` and returns the refusal.
fn refused(alter: impl FnOnce(&mut Circuit)) -> CheckError {
    let mut c = good();
    alter(&mut c);
    check(&c).expect_err("an altered circuit passes")
}

fn main(c: &mut Circuit) -> &mut Entry {
    &mut c.entries[0]
}

#[test]
fn an_output_without_equation_is_free() {
    let e = refused(|c| {
        main(c).outputs.push(PublicOutput {
            name: "z".into(),
            axes: vec![Len::fixed(4)],
            scale: 1.0,
            label: Label::None,
        });
    });
    assert_eq!(
        e,
        CheckError::Determined {
            name: "z".into(),
            times: 0
        }
    );
}

#[test]
fn a_segment_is_determined_once_and_before_it_is_read() {
    let e = refused(|c| main(c).segments.push(segment("free", Some(0), true)));
    assert_eq!(
        e,
        CheckError::Determined {
            name: "free".into(),
            times: 0
        }
    );
    let e = refused(|c| main(c).steps.swap(0, 1));
    assert!(matches!(e, CheckError::Order { .. }), "{e:?}");
    // A cycle through an earlier "block" outside of a repetition.
    let e = refused(|c| {
        let m = main(c);
        m.equations[0].reads.push(Reads {
            reduce: vec![],
            read: Read {
                coefficient: 1,
                source: lookup(2),
                access: Access {
                    axes: vec![AxisMap::Before { iter: 0 }],
                    gates: vec![],
                },
            },
        });
    });
    assert!(matches!(e, CheckError::Order { .. }), "{e:?}");
}

#[test]
fn bounds_are_kept() {
    let e = refused(|c| c.entries[0].inputs[0].hi = 100);
    assert!(matches!(e, CheckError::Unrepresentable { .. }), "{e:?}");
    let e = refused(|c| c.entries[0].inputs[0].hi = 1 << 29);
    assert!(matches!(e, CheckError::Overflow { .. }), "{e:?}");
    // What a partial equation does not represent still may not wrap.
    let e = refused(|c| {
        main(c).equations[0].partial = true;
        c.entries[0].inputs[0].hi = 1 << 29;
    });
    assert!(matches!(e, CheckError::Overflow { .. }), "{e:?}");
    // Its cells are keys of tables, whatever else bounds them.
    let e = refused(|c| {
        let m = main(c);
        m.equations[0].partial = true;
        m.segments[0].table = None;
    });
    assert!(
        matches!(e, CheckError::BarePartial { .. } | CheckError::Uncovered { .. }),
        "{e:?}"
    );
    // A cell that is compared is looked up for itself: nothing else keeps it from being negative.
    let e = refused(|c| {
        let m = main(c);
        m.equations[0].partial = true;
        m.segments[0].table = Some(1);
        m.segments[0].ranged = false;
    });
    assert_eq!(e, CheckError::BarePartial { name: "acc".into() });
    let e = refused(|c| main(c).equations[0].left = Left::Cells(vec![(1, 1), (32, 0)]));
    assert_eq!(e, CheckError::Digits { name: "acc".into() });
    // Lengths whose product would wrap 128 bits.
    let e = refused(|c| {
        c.dims[0].max = 1 << 22;
        main(c).equations[2].reads[0].reduce = vec![Len::dim(0); 7];
    });
    assert!(matches!(e, CheckError::Overflow { .. }), "{e:?}");
}

#[test]
fn unchecked_digits_shift_nothing() {
    // r feeds an output while t, above it, is only compared: t may be any quotient.
    let e = refused(|c| {
        c.tables[1].columns = vec![(0..16).collect()];
        main(c).equations[2].reads.push(linear(1, lookup(1)));
    });
    assert_eq!(e, CheckError::Uncovered { name: "acc".into() });
    let e = refused(|c| main(c).segments[1].ranged = false);
    assert_eq!(e, CheckError::Uncovered { name: "acc".into() });
}

#[test]
fn equal_keys_do_not_cancel() {
    // y = T[m] - T[m']: both keys could be the same value outside the table.
    let alter = |c: &mut Circuit| main(c).equations[2].reads.push(linear(-1, lookup(2)));
    assert_eq!(refused(alter), CheckError::Uncovered { name: "m".into() });
    let mut c = good();
    alter(&mut c);
    c.range_unchecked_lookups();
    check(&c).unwrap();
}

#[test]
fn maxima_are_bounded_and_attained() {
    // The maximum's table is larger than that of the difference.
    let e = refused(|c| {
        c.tables[2].log_rows = 4;
        c.tables[2].columns[0].truncate(16);
        c.entries[0].inputs[0].hi = 0;
        c.entries[0].inputs[0].lo = 0;
        main(c).equations[0].constant = 0;
    });
    assert_eq!(e, CheckError::Uncovered { name: "max".into() });
    // Nothing says that the maximum is attained.
    let e = refused(|c| main(c).equations[1].constant = 0);
    assert!(
        matches!(e, CheckError::Uncovered { .. } | CheckError::Unrepresentable { .. }),
        "{e:?}"
    );
    // The subtrahend is not the top digit.
    let e = refused(|c| {
        let m = main(c);
        m.segments[1].table = Some(0);
        m.equations[0].left = Left::Cells(vec![(1, 0), (256, 1)]);
    });
    assert_eq!(e, CheckError::Uncovered { name: "max".into() });
    // An index that sums over several cells.
    let e = refused(|c| {
        main(c).sites[0].index[1].access = Access {
            axes: vec![AxisMap::Before { iter: 0 }],
            gates: vec![],
        }
    });
    assert!(matches!(e, CheckError::Malformed { .. }), "{e:?}");
}

#[test]
fn repetitions_in_hostile_bytes_do_not_nest() {
    let mut c = good();
    main(&mut c).steps = vec![Step::Repeat {
        count: 1,
        steps: vec![Step::Repeat {
            count: 1,
            steps: vec![],
        }],
    }];
    assert!(format::decode(&format::encode(&c)).is_err());
}

#[test]
fn costly_instances_are_refused() {
    let mut c = good();
    main(&mut c).equations[2].reads[0].reduce = vec![Len::fixed(1 << 22)];
    main(&mut c).equations[2].reads[0].read.access = Access {
        axes: vec![AxisMap::Affine {
            offset: 0,
            parts: vec![(0, 1), (1, 1)],
        }],
        gates: vec![],
    };
    main(&mut c).equations[2].out = vec![Len::fixed(64)];
    assert!(c.instantiate(0, &[1]).is_err());
    assert!(good().instantiate(0, &[1]).is_ok());
    assert!(good().instantiate(0, &[9]).is_err());
    assert!(good().instantiate(1, &[1]).is_err());
}

/// Nothing but its own table keeps a private input that is only compared within its range.
#[test]
fn a_private_input_that_is_compared_is_ranged() {
    let with = |ranged: bool| {
        let mut c = good();
        let e = &mut c.entries[0];
        let id = e.segments.len() as u16;
        e.segments[0] = segment("t", Some(0), true);
        e.segments.push(segment("hidden", Some(0), ranged));
        e.inputs.push(PublicInput {
            name: "hidden".into(),
            axes: vec![Len::fixed(4)],
            scale: 1.0,
            lo: -128,
            hi: 127,
            kind: InputKind::Private { segment: id },
            clamp: false,
        });
        e.sites[0].index[1].source = FormSource::Segment(id);
        c
    };
    check(&with(true)).unwrap();
    assert!(matches!(check(&with(false)), Err(CheckError::Uncovered { .. })));
}

/// Each product holds tables of its weight's axes while a proof is verified.
#[test]
fn many_products_of_a_long_weight_are_refused() {
    let mut c = good();
    c.weights[0].outer[0] = 1 << 21;
    c.weights[0].row_len = 2;
    assert!(c.instantiate(0, &[1]).is_ok());
    let product = c.entries[0]
        .equations
        .iter()
        .find_map(|q| q.products.first())
        .unwrap()
        .clone();
    let equation = c.entries[0]
        .equations
        .iter_mut()
        .find(|q| !q.products.is_empty())
        .unwrap();
    equation.products.extend(vec![product; 40]);
    assert!(c.instantiate(0, &[1]).is_err());
}

/// Cells without part in a lookup: prover and verifier would not agree on whether there are lookups to prove.
#[test]
fn cells_that_nothing_reads_are_ranged_or_refused() {
    let mut c = good();
    let e = main(&mut c);
    e.segments = vec![segment("dead", Some(0), false)];
    e.sites.clear();
    let read = Reads {
        reduce: vec![],
        read: Read {
            coefficient: 1,
            source: Source::Input(0),
            access: Access::identity(1),
        },
    };
    e.equations = vec![
        equation("dead", Left::Cells(vec![(1, 0)]), 7, vec![read.clone()]),
        equation("out", Left::Output(0), 0, vec![read]),
    ];
    e.steps = vec![Step::Equation(0), Step::Equation(1)];
    assert_eq!(check(&c), Err(CheckError::Unused { name: "dead".into() }));
    c.range_unchecked_lookups();
    assert!(c.entries[0].segments[0].ranged);
    check(&c).unwrap();
}

/// Rules that looked through all equations for each site or cell would take minutes here.
#[test]
fn a_circuit_of_many_parts_is_checked_in_one_pass() {
    const COPIES: u16 = 1 << 13;
    let mut c = good();
    let e = main(&mut c);
    let (segments, site, equations) = (e.segments.clone(), e.sites[0].clone(), e.equations[..2].to_vec());
    for copy in 1..COPIES {
        let first = copy * segments.len() as u16;
        e.segments.extend(segments.iter().cloned());
        let mut site = site.clone();
        for t in &mut site.index {
            if let FormSource::Segment(s) = &mut t.source {
                *s += first;
            }
        }
        e.sites.push(site);
        for q in &equations {
            let mut q = q.clone();
            if let Left::Cells(cells) = &mut q.left {
                cells.iter_mut().for_each(|(_, s)| *s += first);
            }
            for r in &mut q.reads {
                r.read.source = Source::Lookup {
                    site: SiteRef::Virtual(copy),
                    column: 0,
                };
            }
            e.equations.push(q);
        }
        let q = e.equations.len() as u16;
        e.steps
            .extend([Step::Equation(q - 2), Step::Max { site: copy }, Step::Equation(q - 1)]);
    }
    check(&c).unwrap();
    // The last maximum is no key of a table.
    let maximum = usize::from(COPIES - 1) * segments.len() + 2;
    c.entries[0].segments[maximum].table = None;
    assert_eq!(check(&c), Err(CheckError::Uncovered { name: "max".into() }));
}

/// Each read is cheap enough; all together are not.
#[test]
fn many_reads_of_lookups_are_refused() {
    let with = |reads: usize, reduce: Vec<Len>, map: AxisMap| {
        let mut c = good();
        let q = &mut main(&mut c).equations[2];
        q.out = vec![Len::fixed(if reduce.is_empty() { 1 << 22 } else { 1 })];
        let mut read = linear(1, lookup(2));
        read.reduce = reduce;
        read.read.access.axes = vec![map];
        q.reads = vec![read; reads];
        c.instantiate(0, &[1]).is_ok()
    };
    // By work: 2^22 sums over four cells each.
    assert!(with(60, vec![], AxisMap::Before { iter: 0 }));
    assert!(!with(70, vec![], AxisMap::Before { iter: 0 }));
    // By memory: a table of 2^22 weights each, held until all claims are proved.
    assert!(with(15, vec![Len::fixed(1 << 22)], AxisMap::iter(1)));
    assert!(!with(17, vec![Len::fixed(1 << 22)], AxisMap::iter(1)));
}
