//! The rotation of queries and keys: cosines, the two cross terms, the distance in a pair, the part that does not turn.

use mlc_circuit::{AxisMap, Circuit, Product, Read};
use mlc_verifier::inference::VerifyError::{Lookup, Numerator, Products};
use mlc_verifier::logup::LogUpError::NonZeroSum;

use super::{LAYER, Lie, RMS, balanced, bump, equation, first, lie, off, reads, refuses, run, second, shift, source};
use crate::liar::row;
use crate::world::World;

/// The products of a rotation: with the cosines, with the negated sines (partner behind), with the sines (partner before).
fn parts<'c>(c: &'c mut Circuit, name: &str) -> &'c mut Vec<Product> {
    &mut equation(c, name).products
}

/// What turns, in one of the products.
fn partner(p: &mut Product) -> &mut Read {
    &mut reads(&mut p.a)[0]
}

/// The angles of one of the products.
fn angles(p: &mut Product) -> &mut Read {
    &mut reads(&mut p.b)[0]
}

/// Where in the row the partner is.
fn distance(p: &mut Product) -> &mut i32 {
    match partner(p).access.axes.last_mut() {
        Some(AxisMap::Affine { offset, .. }) => offset,
        other => panic!("{other:?}"),
    }
}

/// Lies about any rotation.
const ANY: &[Lie] = &[
    lie!(
        "a cross term of the other sign",
        |c| parts(c, "queries")[1].coefficient = -1,
        Products,
        Products,
        Products
    ),
    lie!(
        "a turn in the other direction",
        |c| {
            parts(c, "keys")[1].coefficient = -1;
            parts(c, "keys")[2].coefficient = -1;
        },
        Products,
        Products,
        Products
    ),
    lie!(
        "no first cross term",
        |c| c.constants[1].values.fill(0),
        Products,
        Products,
        Products
    ),
    lie!(
        "no second cross term",
        |c| c.constants[2].values.fill(0),
        Products,
        Products,
        Products
    ),
    lie!(
        "a cross term by the angles of the next place",
        |c| shift(&mut angles(&mut parts(c, "queries")[2]).access, 0, 1),
        Products,
        Products,
        Products
    ),
    lie!(
        "keys turned as at the next place",
        |c| {
            for p in parts(c, "keys") {
                shift(&mut angles(p).access, 0, 1);
            }
        },
        Products,
        Products,
        Products
    ),
    lie!(
        "sines in place of cosines",
        |c| {
            let sines = angles(&mut parts(c, "queries")[2]).source;
            angles(&mut parts(c, "queries")[0]).source = sines;
        },
        Products,
        Products,
        Products
    ),
    lie!(
        "one cosine",
        |c| {
            let row = c.constants[0].axes[1] as usize;
            c.constants[0].values[row + 1] += 1;
        },
        Products,
        Products,
        Products
    ),
    lie!(
        "the partner on the other side",
        |c| *distance(&mut parts(c, "queries")[1]) *= -1,
        Products,
        Numerator,
        Products
    ),
    lie!(
        "partners at the distance of the other layout",
        |c| {
            for name in ["queries", "keys"] {
                for p in &mut parts(c, name)[1..] {
                    let d = distance(p);
                    *d = d.signum() * (3 - d.abs());
                }
            }
        },
        Products,
        Numerator,
        Products
    ),
    lie!(
        "the coordinate itself for its partner",
        |c| *distance(&mut parts(c, "keys")[2]) = 0,
        Products,
        Numerator,
        Products
    ),
    lie!(
        "the partner of the next place",
        |c| shift(&mut partner(&mut parts(c, "queries")[1]).access, 3, 1),
        Products,
        Numerator,
        Products
    ),
    lie!(
        "the partner of the next key head",
        |c| shift(&mut partner(&mut parts(c, "keys")[2]).access, 1, 1),
        Products,
        Numerator,
        Products
    ),
    lie!(
        "scores of queries that are not turned",
        |c| first(c, "scores")[0].source = source(c, "q"),
        Products,
        Numerator,
        Products
    ),
    lie!(
        "scores of keys that are not turned",
        |c| second(c, "scores")[0].source = source(c, "k"),
        Products,
        Numerator,
        Products
    ),
];

/// Lies about the witness of any rotation.
fn witness(world: &'static World) {
    world.refuses(&[
        row!(
            "a cross term left out",
            |l| run(l, |c| drop(parts(c, "queries").remove(1))),
            Products
        ),
        row!(
            "both cross terms left out",
            |l| run(l, |c| parts(c, "keys").truncate(1)),
            Products
        ),
        row!(
            "the cosines' term left out",
            |l| run(l, |c| drop(parts(c, "queries").remove(0))),
            Products
        ),
        row!(
            "a turned query more by one",
            |l| run(l, |c| bump(c, "queries", &[1, 1, 0, 2, 3], 1)),
            Products
        ),
        row!(
            "a turned key one step higher",
            |l| off(l, "keys", &[0, 1, 1, 2], 1),
            Products
        ),
        row!(
            "that, with a negative remainder",
            |l| balanced(l, "keys", &[0, 1, 1, 2], 1),
            Lookup(NonZeroSum)
        ),
    ]);
}

#[test]
fn lies_about_a_rotation_in_halves_are_refused() {
    refuses(&RMS, ANY);
    refuses(
        &RMS,
        &[lie!(
            // Coordinate 4 of 5 has no pair.
            "a coordinate turned that does not turn",
            |c| c.constants[0].values.iter_mut().skip(4).step_by(5).for_each(|v| *v = 0),
            Products,
            Products,
            Products
        )],
    );
    witness(&RMS);
}

#[test]
fn lies_about_a_rotation_of_neighbours_are_refused() {
    refuses(&LAYER, ANY);
    witness(&LAYER);
}
