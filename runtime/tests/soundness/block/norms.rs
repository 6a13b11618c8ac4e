//! Norms: the exact sum of squares, the inverse root of each row, the mean, the second pass.

use mlc_verifier::inference::VerifyError::{Lookup, Numerator, Products, Tables};
use mlc_verifier::logup::LogUpError::NonZeroSum;

use super::{
    LAYER, RMS, another_table, another_value, balanced, bump, equation, first, lie, off, refuses, run, second, shift,
    source,
};
use crate::liar::row;

#[test]
fn sums_that_are_not_of_the_rows_squares_are_refused() {
    refuses(
        &RMS,
        &[
            lie!(
                "squares of the next row",
                |c| {
                    for factor in [first, second] {
                        let reads = factor(c, "attention norm.squares");
                        shift(&mut reads[0].access, 0, 1);
                        shift(&mut reads[1].access, 1, 1);
                        shift(&mut reads[2].access, 1, 1);
                    }
                },
                Products,
                Numerator,
                Products
            ),
            lie!(
                "a column left out",
                |c| {
                    for factor in [first, second] {
                        let reads = factor(c, "attention norm.squares");
                        shift(&mut reads[0].access, 1, 1);
                        shift(&mut reads[1].access, 2, 1);
                        shift(&mut reads[2].access, 2, 1);
                    }
                },
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the embedding counted twice in one factor",
                |c| second(c, "attention norm.squares")[0].coefficient = 2,
                Products,
                Numerator,
                Products
            ),
            lie!(
                "a part of the stream left out of both factors",
                |c| {
                    for factor in [first, second] {
                        factor(c, "attention norm.squares").pop();
                    }
                },
                Products,
                Numerator,
                Products
            ),
            lie!(
                "squares of something else: the last block's embedding",
                |c| {
                    let other = source(c, "embed");
                    for factor in [first, second] {
                        factor(c, "final norm.squares")[0].source = other;
                    }
                },
                Products,
                Numerator,
                Products
            ),
            lie!(
                "twice the sum",
                |c| equation(c, "final norm.squares").products[0].coefficient = 2,
                Products,
                Products,
                Products
            ),
        ],
    );
    RMS.refuses(&[
        row!(
            "a sum of one row more by one",
            |l| run(l, |c| bump(c, "attention norm.squares", &[1, 2], 1)),
            Products
        ),
        row!(
            "a row's sum one bucket higher",
            |l| off(l, "attention norm.squares", &[0, 1], 1),
            Products
        ),
        row!(
            "the same in the last norm",
            |l| off(l, "final norm.squares", &[2], 1),
            Products
        ),
        row!(
            "a bucket higher, with a negative remainder",
            |l| balanced(l, "attention norm.squares", &[0, 1], 1),
            Lookup(NonZeroSum)
        ),
        row!(
            "a bucket lower, with a remainder beyond the bucket",
            |l| balanced(l, "attention norm.squares", &[2, 0], -1),
            Lookup(NonZeroSum)
        ),
    ]);
}

#[test]
fn roots_of_something_else_are_refused() {
    refuses(
        &RMS,
        &[
            lie!(
                "the root of the next row",
                |c| shift(&mut second(c, "attention norm")[0].access, 1, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the root of the block before",
                |c| shift(&mut second(c, "attention norm")[0].access, 0, -1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the root of the other norm",
                |c| second(c, "feed-forward norm")[0].source = source(c, "attention norm.squares"),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the root of the last norm's next row",
                |c| shift(&mut second(c, "final norm")[0].access, 0, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "rows of another block under the root",
                |c| shift(&mut first(c, "feed-forward norm")[3].access, 0, -1),
                Products,
                Numerator,
                Products
            ),
        ],
    );
    RMS.refuses(&[
        row!(
            "another root than the table's",
            |l| another_value(l, "attention norm.squares"),
            Products
        ),
        row!(
            "a table with another root",
            |l| another_table(l, "attention norm.squares"),
            Tables
        ),
        row!(
            "a normalised value one step higher",
            |l| off(l, "attention norm", &[1, 0, 3], 1),
            Products
        ),
        row!(
            "that, with a negative remainder",
            |l| balanced(l, "attention norm", &[1, 0, 3], 1),
            Lookup(NonZeroSum)
        ),
    ]);
}

#[test]
fn means_that_are_not_those_of_the_rows_are_refused() {
    const PARTS: [&str; 2] = ["attention norm.squares", "attention norm"];
    refuses(
        &LAYER,
        &[
            lie!(
                "the mean left out",
                |c| {
                    for name in PARTS {
                        first(c, name).pop();
                    }
                    second(c, PARTS[0]).pop();
                },
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the mean left out of one factor of the squares",
                |c| drop(second(c, PARTS[0]).pop()),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the mean left out of the rows, but not of their squares",
                |c| drop(first(c, PARTS[1]).pop()),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the mean of the next row",
                |c| {
                    for name in PARTS {
                        shift(&mut first(c, name).last_mut().unwrap().access, 1, 1);
                    }
                    shift(&mut second(c, PARTS[0]).last_mut().unwrap().access, 1, 1);
                },
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the mean added",
                |c| {
                    for name in PARTS {
                        first(c, name).last_mut().unwrap().coefficient = 1;
                    }
                    second(c, PARTS[0]).last_mut().unwrap().coefficient = 1;
                },
                Products,
                Numerator,
                Products
            ),
            lie!(
                "a mean without the first column",
                |c| shift(&mut equation(c, "attention norm.mean").reads[0].read.access, 1, 1),
                Tables,
                Numerator,
                Numerator
            ),
            lie!(
                "a mean of less than the stream",
                |c| drop(equation(c, "attention norm.mean").reads.pop()),
                Tables,
                Numerator,
                Numerator
            ),
            lie!(
                "a mean that counts a part twice",
                |c| equation(c, "attention norm.mean").reads[1].read.coefficient = 2,
                Tables,
                Numerator,
                Numerator
            ),
        ],
    );
    LAYER.refuses(&[
        row!(
            "a sum of one row more by one",
            |l| run(l, |c| bump(c, "attention norm.mean", &[1, 2], 1)),
            Tables
        ),
        row!(
            "a mean one step higher",
            |l| off(l, "attention norm.mean", &[0, 3], 1),
            Tables
        ),
        row!(
            "that, with a negative remainder",
            |l| balanced(l, "attention norm.mean", &[0, 3], 1),
            Lookup(NonZeroSum)
        ),
        row!(
            "another mean than the table's",
            |l| another_value(l, "attention norm.mean"),
            Products
        ),
        row!(
            "a table with another mean",
            |l| another_table(l, "attention norm.mean"),
            Tables
        ),
        row!(
            "centred squares one bucket higher",
            |l| off(l, "attention norm.squares", &[1, 1], 1),
            Products
        ),
        row!(
            "that, with a negative remainder",
            |l| balanced(l, "attention norm.squares", &[1, 1], 1),
            Lookup(NonZeroSum)
        ),
    ]);
}

#[test]
fn lies_about_the_second_pass_are_refused() {
    refuses(
        &LAYER,
        &[
            lie!(
                "the first pass's root in the second",
                |c| second(c, "feed-forward norm")[0].source = source(c, "feed-forward norm.first.squares"),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "eps of the next row",
                |c| shift(&mut equation(c, "feed-forward norm.squares").reads[0].read.access, 1, 1),
                Products,
                Numerator,
                Products
            ),
            lie!(
                "eps counted twice",
                |c| equation(c, "feed-forward norm.squares").reads[0].read.coefficient = 2,
                Products,
                Numerator,
                Products
            ),
            lie!(
                "the first pass's squares again",
                |c| {
                    let clamped = source(c, "feed-forward norm.clamped");
                    for factor in [first, second] {
                        factor(c, "feed-forward norm.squares")[0].source = clamped;
                    }
                },
                Products,
                Numerator,
                Products
            ),
            lie!(
                "rows that are not clamped in one factor",
                |c| {
                    let rows = first(c, "feed-forward norm.first").clone();
                    *second(c, "feed-forward norm.first.squares") = rows;
                },
                Products,
                Numerator,
                Products
            ),
        ],
    );
    LAYER.refuses(&[
        row!(
            "eps left out",
            |l| run(l, |c| equation(c, "feed-forward norm.squares").reads.clear()),
            Products
        ),
        row!(
            "the first pass's squares one bucket higher",
            |l| off(l, "feed-forward norm.first.squares", &[0, 2], 1),
            Products
        ),
        row!(
            "a value between the passes one step lower",
            |l| off(l, "feed-forward norm.first", &[1, 3, 9], -1),
            Products
        ),
        row!(
            "the second pass's squares one bucket higher, with a negative remainder",
            |l| balanced(l, "feed-forward norm.squares", &[1, 0], 1),
            Lookup(NonZeroSum)
        ),
        row!(
            "another clamped value",
            |l| off(l, "feed-forward norm.clamped", &[0, 0, 0], 1),
            Tables
        ),
    ]);
}
