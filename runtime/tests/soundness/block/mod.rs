//! Lies about the relations of a transformer block, one at a time, each told in as many ways as it has.
//!
//! A lie is most often another circuit: the root of another row, the keys of another head, a cross term of the other
//! sign. A prover may then
//! - *run* it and claim what the agreed circuit says: everything after the lie follows from it, and one equation of the
//!   agreed circuit does not hold;
//! - run it and *claim* it, the whole proof being an honest one of the other circuit;
//! - run the agreed circuit and claim the other, of a witness that is true.
//!
//! A witness may also be off at one place, and go on from there ([`bump`]), with or without the remainder that makes the
//! equation hold again.

mod attention;
mod feed_forward;
mod norms;
mod rotary;
mod stream;

use std::sync::LazyLock;

use mlc_circuit::{Access, AxisMap, Circuit, Constant, Equation, Left, Operand, Read, Reads, SiteRef, Source};
use mlc_runtime::prover::channel::Honest;
use mlc_runtime::testing::{Block, transformer_block};
use mlc_verifier::inference::VerifyError;
use mlc_verifier::security::Parameters;

use crate::liar::{Expected, all_refused};
use crate::world::{Liar, World};

/// [`Block::rms`]: three blocks, three tokens, two key heads of two queries.
pub(crate) static RMS: LazyLock<World> =
    LazyLock::new(|| World::new(transformer_block(&Block::rms()), Parameters::default()));
/// [`Block::layer`]: two blocks, four tokens, three key heads of two queries.
pub(crate) static LAYER: LazyLock<World> =
    LazyLock::new(|| World::new(transformer_block(&Block::layer()), Parameters::default()));

type Edit = fn(&mut Circuit);

/// Another circuit, and the errors that it ends in: run, run and claimed, claimed.
struct Lie {
    name: &'static str,
    edit: Edit,
    errors: [Expected<VerifyError>; 3],
}

/// A [`Lie`]: its name, the change, and the errors as patterns.
macro_rules! lie {
    ($name:literal, $edit:expr, $run:pat, $both:pat, $claim:pat) => {
        $crate::block::Lie {
            name: $name,
            edit: $edit,
            errors: [
                $crate::liar::refused!(mlc_verifier::inference::VerifyError, $run),
                $crate::liar::refused!(mlc_verifier::inference::VerifyError, $both),
                $crate::liar::refused!(mlc_verifier::inference::VerifyError, $claim),
            ],
        }
    };
}
use lie;

/// A way of telling a lie.
type Way = fn(&mut Liar<'_>, Edit);

/// Tells every lie in its three ways.
fn refuses(world: &World, lies: &[Lie]) {
    let mut failures = Vec::new();
    for Lie { name, edit, errors } in lies {
        let ways: [(&str, Way); 3] = [
            ("run", run),
            ("run and claimed", |l, edit| {
                edit(&mut l.circuit);
                l.execute();
            }),
            ("claimed", |l, edit| edit(&mut l.circuit)),
        ];
        for ((way, tell), error) in ways.into_iter().zip(errors) {
            let mut liar = Liar::new(world);
            tell(&mut liar, *edit);
            error.judge(&format!("{name}, {way}"), liar.outcome(&mut Honest), &mut failures);
        }
    }
    all_refused(&failures);
}

/// Executes another circuit, to claim the agreed one of it.
fn run(l: &mut Liar<'_>, edit: Edit) {
    run_by(l, edit);
}

/// [`run`] by a change that knows of values.
fn run_by(l: &mut Liar<'_>, edit: impl FnOnce(&mut Circuit)) {
    let agreed = l.circuit.clone();
    edit(&mut l.circuit);
    l.execute();
    l.circuit = agreed;
}

fn equation<'c>(c: &'c mut Circuit, name: &str) -> &'c mut Equation {
    let found = c.entries[0].equations.iter_mut().find(|q| q.name == name);
    found.unwrap_or_else(|| panic!("no equation {name}"))
}

fn reads(o: &mut Operand) -> &mut Vec<Read> {
    match o {
        Operand::Reads(reads) => reads,
        other => panic!("{other:?}"),
    }
}

/// The first factor of an equation's first product.
fn first<'c>(c: &'c mut Circuit, name: &str) -> &'c mut Vec<Read> {
    reads(&mut equation(c, name).products[0].a)
}

/// The second one.
fn second<'c>(c: &'c mut Circuit, name: &str) -> &'c mut Vec<Read> {
    reads(&mut equation(c, name).products[0].b)
}

/// Reads `by` indices further along an axis of the tensor.
fn shift(access: &mut Access, axis: usize, by: i32) {
    match &mut access.axes[axis] {
        AxisMap::Affine { offset, .. } => *offset += by,
        other => panic!("{other:?}"),
    }
}

/// The values looked up at a requantised tensor.
fn source(c: &Circuit, name: &str) -> Source {
    let name = format!("{name}.t");
    let s = c.entries[0].segments.iter().position(|s| s.name == name);
    Source::Lookup {
        site: SiteRef::Segment(s.unwrap_or_else(|| panic!("no segment {name}")) as u16),
        column: 0,
    }
}

/// What one step of an equation's index is worth.
fn bucket(c: &mut Circuit, name: &str) -> i32 {
    match &equation(c, name).left {
        Left::Cells(cells) => cells.last().unwrap().0 as i32,
        other => panic!("{other:?}"),
    }
}

/// Adds to the right side of an equation at one place.
fn bump(c: &mut Circuit, name: &str, at: &[u32], by: i32) {
    // A constant that ends at the place: what is read behind it is 0.
    let axes: Vec<u32> = at.iter().map(|i| i + 1).collect();
    let mut values = vec![0; axes.iter().product::<u32>() as usize];
    *values.last_mut().unwrap() = by;
    c.constants.push(Constant {
        name: "off".into(),
        axes,
        values,
    });
    let source = Source::Constant(c.constants.len() as u16 - 1);
    equation(c, name).reads.push(Reads {
        reduce: Vec::new(),
        read: Read {
            coefficient: 1,
            source,
            access: Access::identity(at.len()),
        },
    });
}

/// Goes on from an index that is off by `steps` at one place.
fn off(l: &mut Liar<'_>, name: &str, at: &[u32], steps: i32) {
    run_by(l, |c| {
        let by = steps * bucket(c, name);
        bump(c, name, at, by);
    });
}

/// The same, with the remainder at which the equation holds.
fn balanced(l: &mut Liar<'_>, name: &str, at: &[u32], steps: i32) {
    off(l, name, at, steps);
    let unit = bucket(&mut l.circuit, name);
    let r = l.world.segment(&format!("{name}.r0"));
    let lens = l.world.instance().lens(&l.circuit.entries[0].segments[r].axes);
    let cell = at.iter().zip(&lens).fold(0, |cell, (&i, n)| cell * n + i as usize);
    l.execution.segments[r][cell] -= steps * unit;
}

/// The table of a tensor, and the row that its first cell looks up.
fn entry(l: &Liar<'_>, name: &str) -> (usize, usize) {
    let t = l.world.segment(&format!("{name}.t"));
    let table = l.circuit.entries[0].segments[t].table.unwrap();
    (usize::from(table), l.execution.segments[t][0] as usize)
}

/// Goes on from another value at a tensor's first cell than its table has.
fn another_value(l: &mut Liar<'_>, name: &str) {
    let (table, row) = entry(l, name);
    run_by(l, |c| c.tables[table].columns[0][row] += 1);
}

/// The same, with a table that has the value.
fn another_table(l: &mut Liar<'_>, name: &str) {
    let (table, row) = entry(l, name);
    l.circuit.tables[table].columns[0][row] += 1;
    l.execute();
}
