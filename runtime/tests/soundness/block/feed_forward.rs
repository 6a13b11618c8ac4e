//! The gated feed-forward: the activation's table, and what is multiplied with what.

use mlc_circuit::{Circuit, Operand};
use mlc_verifier::commitment::OpeningError::Evaluation;
use mlc_verifier::inference::VerifyError::{Lookup, Numerator, Opening, Products, Tables};
use mlc_verifier::logup::LogUpError::NonZeroSum;

use super::{
    LAYER, Lie, RMS, another_table, another_value, balanced, bump, equation, first, lie, off, refuses, run, second,
    shift, source,
};
use crate::liar::row;
use crate::world::World;

/// The activation's table.
fn activation(c: &mut Circuit) -> &mut Vec<i32> {
    let table = c.tables.iter_mut().find(|t| t.name == "gate");
    &mut table.unwrap().columns[0]
}

const ANY: &[Lie] = &[
    lie!(
        "a rectifier for the activation",
        |c| activation(c).iter_mut().for_each(|v| *v = (*v).max(0)),
        Products,
        Tables,
        Products
    ),
    lie!(
        "a gate that is always open",
        |c| activation(c).iter_mut().for_each(|v| *v = 31),
        Products,
        Tables,
        Products
    ),
    lie!(
        "the gate of the next feature",
        |c| shift(&mut first(c, "gated")[0].access, 2, 1),
        Products,
        Numerator,
        Products
    ),
    lie!(
        "the gate of the next place",
        |c| shift(&mut first(c, "gated")[0].access, 1, 1),
        Products,
        Numerator,
        Products
    ),
    lie!(
        "what the block before lets through",
        |c| shift(&mut second(c, "gated")[0].access, 0, -1),
        Products,
        Numerator,
        Products
    ),
    lie!(
        "the gate for what it lets through",
        |c| second(c, "gated")[0].source = source(c, "gate"),
        Products,
        Numerator,
        Products
    ),
    lie!(
        "a feed-forward without gate",
        |c| first(c, "down")[0].source = source(c, "up"),
        Products,
        Numerator,
        Products
    ),
    lie!(
        "the gate by the other projection's weights",
        |c| {
            let up = equation(c, "up").products[0].b.clone();
            equation(c, "gate").products[0].b = up;
        },
        Products,
        Opening(Evaluation { level: 0 }),
        Products
    ),
    lie!(
        "the gate's projection of rows before the norm",
        |c| first(c, "gate")[0].source = source(c, "attention norm"),
        Products,
        Numerator,
        Products
    ),
];

fn witness(world: &'static World) {
    world.refuses(&[
        row!(
            "another activation than the table's",
            |l| another_value(l, "gate"),
            Products
        ),
        row!("a table with another activation", |l| another_table(l, "gate"), Tables),
        row!("a gate one step higher", |l| off(l, "gate", &[1, 2, 4], 1), Products),
        row!(
            "that, with a negative remainder",
            |l| balanced(l, "gate", &[1, 2, 4], 1),
            Lookup(NonZeroSum)
        ),
        row!(
            "no gate",
            |l| run(l, |c| equation(c, "gated").products[0].a = Operand::One),
            Products
        ),
        row!(
            "a gated value more by one",
            |l| run(l, |c| bump(c, "gated", &[0, 1, 3], 1)),
            Products
        ),
        row!(
            "a gated value one step lower, with a remainder too large",
            |l| balanced(l, "gated", &[0, 1, 3], -1),
            Lookup(NonZeroSum)
        ),
    ]);
}

#[test]
fn lies_about_a_silu_gate_are_refused() {
    refuses(&RMS, ANY);
    witness(&RMS);
}

#[test]
fn lies_about_a_gelu_gate_are_refused() {
    refuses(&LAYER, ANY);
    witness(&LAYER);
}
