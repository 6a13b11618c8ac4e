//! Attention: which key head a query reads, scores, the sum of exponentials, and its reciprocal after the product with
//! the values.

use mlc_circuit::{Access, Operand};
use mlc_verifier::inference::VerifyError::{Lookup, Numerator, Products, Tables};
use mlc_verifier::logup::LogUpError::NonZeroSum;

use super::{
    LAYER, RMS, another_table, another_value, balanced, bump, equation, first, lie, off, refuses, run, second, shift,
    source,
};
use crate::liar::row;

#[test]
fn heads_that_read_another_head_are_refused() {
    refuses(
        &RMS,
        &[
            lie!(
                "keys of the next key head",
                |c| shift(&mut second(c, "scores")[0].access, 1, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "values of the next key head",
                |c| shift(&mut second(c, "mix")[0].access, 1, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "queries of the group's next head",
                |c| shift(&mut first(c, "scores")[0].access, 2, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "weights of the group's next head",
                |c| shift(&mut first(c, "mix")[0].access, 2, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                // Two key heads of two queries: head (k, g) with the keys of g instead of k.
                "keys shared by every other head instead of by neighbours",
                |c| {
                    let product = &mut equation(c, "scores").products[0];
                    product.shared = vec![0, 2];
                    super::reads(&mut product.b)[0].access = Access::axes(&[0, 2, 4, 5]);
                },
                Products,
                Products,
                Products
            ),
            lie!(
                "values shared by every other head instead of by neighbours",
                |c| {
                    let product = &mut equation(c, "mix").products[0];
                    product.shared = vec![0, 2];
                    super::reads(&mut product.b)[0].access = Access::axes(&[0, 2, 5, 4]);
                },
                Products,
                Products,
                Products
            ),
            lie!(
                "keys of the block before",
                |c| shift(&mut second(c, "scores")[0].access, 0, -1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "keys of the next place",
                |c| shift(&mut second(c, "scores")[0].access, 2, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "values of the next place",
                |c| shift(&mut second(c, "mix")[0].access, 2, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "keys instead of values",
                |c| second(c, "mix")[0].source = source(c, "keys"),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "outputs of the group's next head",
                |c| shift(&mut first(c, "o")[0].access, 2, 1),
                Products,
                Numerator,
                Products
            ),
        ],
    );
    // Three key heads of two queries, where nothing is a power of two.
    refuses(
        &LAYER,
        &[
            lie!(
                "keys of the next key head",
                |c| shift(&mut second(c, "scores")[0].access, 1, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "values of the key head before",
                |c| shift(&mut second(c, "mix")[0].access, 1, -1),
                Products,
                Numerator,
                Products
            ),
        ],
    );
}

#[test]
fn scores_and_mixtures_that_their_products_do_not_give_are_refused() {
    RMS.refuses(&[
        row!(
            "a score more by one",
            |l| run(l, |c| bump(c, "scores", &[1, 0, 1, 2, 1], 1)),
            Products
        ),
        row!(
            "a score one step higher",
            |l| off(l, "scores", &[0, 1, 1, 2, 0], 1),
            Products
        ),
        row!(
            "that, with a negative remainder",
            |l| balanced(l, "scores", &[0, 1, 1, 2, 0], 1),
            Lookup(NonZeroSum)
        ),
        row!(
            "a query one step higher",
            |l| off(l, "q", &[0, 1, 0, 2, 4], 1),
            Products
        ),
        row!(
            "a key one step higher, with a negative remainder",
            |l| balanced(l, "k", &[2, 0, 1, 3], 1),
            Lookup(NonZeroSum)
        ),
        row!(
            "a value one step lower, with a remainder too large",
            |l| balanced(l, "v", &[1, 1, 2, 4], -1),
            Lookup(NonZeroSum)
        ),
        row!(
            "a mixture one step higher",
            |l| off(l, "mix", &[2, 1, 1, 0, 0], 1),
            Products
        ),
        row!(
            "that, with a negative remainder",
            |l| balanced(l, "mix", &[2, 1, 1, 0, 0], 1),
            Lookup(NonZeroSum)
        ),
    ]);
}

#[test]
fn reciprocals_of_something_else_are_refused() {
    refuses(
        &RMS,
        &[
            lie!(
                "the reciprocal of the next query",
                |c| shift(&mut second(c, "heads")[0].access, 3, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the reciprocal of the group's next head",
                |c| shift(&mut second(c, "heads")[0].access, 2, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the reciprocal of the next key head",
                |c| shift(&mut second(c, "heads")[0].access, 1, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the reciprocal of the block before",
                |c| shift(&mut second(c, "heads")[0].access, 0, -1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "a sum without the first key",
                |c| shift(&mut equation(c, "reciprocals").reads[0].read.access, 4, 1),
                Tables,
                Numerator,
                Numerator
            ),
            lie!(
                "the sum of the group's next head",
                |c| shift(&mut equation(c, "reciprocals").reads[0].read.access, 2, 1),
                Tables,
                Numerator,
                Numerator
            ),
            lie!(
                "twice the sum",
                |c| equation(c, "reciprocals").reads[0].read.coefficient = 2,
                Tables,
                Numerator,
                Numerator
            ),
        ],
    );
    RMS.refuses(&[
        row!(
            "a sum more by one",
            |l| run(l, |c| bump(c, "reciprocals", &[2, 0, 1, 1], 1)),
            Tables
        ),
        row!(
            "a sum one step higher",
            |l| off(l, "reciprocals", &[0, 1, 0, 2], 1),
            Tables
        ),
        row!(
            "that, with a negative remainder",
            |l| balanced(l, "reciprocals", &[0, 1, 0, 2], 1),
            Lookup(NonZeroSum)
        ),
        row!(
            "another reciprocal than the table's",
            |l| another_value(l, "reciprocals"),
            Products
        ),
        row!(
            "a table with another reciprocal",
            |l| another_table(l, "reciprocals"),
            Tables
        ),
        row!(
            "rows that are not normalised",
            |l| run(l, |c| equation(c, "heads").products[0].b = Operand::One),
            Products
        ),
        row!(
            "a normalised value one step higher, with a negative remainder",
            |l| balanced(l, "heads", &[1, 0, 1, 2, 3], 1),
            Lookup(NonZeroSum)
        ),
    ]);
}
