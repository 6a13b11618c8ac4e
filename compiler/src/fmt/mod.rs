//! The formatter: one style for every `.mlc` file.
//!
//! It lays out tokens, not trees, so that nothing of the source can get lost: every token and every comment is printed
//! in its order, and only white space and trailing commas change ([`format()`] checks that before it answers). The style:
//!
//! - four spaces for each level, lines of at most [`WIDTH`] columns where that can be done;
//! - line breaks between statements stay, at most one blank line; so do breaks before or after an operator;
//! - a bracketed list stands on one line where it fits, else one element to a line with a trailing comma;
//! - a body in braces stays on one line where the author put it there and it fits.
//!
//! Formatting twice is formatting once.

mod layout;
mod spacing;
mod tree;

use crate::diagnostics::Diagnostic;
use crate::syntax::lexer::{TokenKind, lex};
use crate::syntax::{FileId, parse};

/// The columns that the formatter tries to stay within.
pub const WIDTH: usize = 100;

/// The formatted text of a source, or the diagnostics of a source that does not parse (spans are in file `file`).
pub fn format(file: FileId, text: &str) -> Result<String, Vec<Diagnostic>> {
    let (_, diagnostics) = parse(file, text);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    let formatted = layout::layout(&tree::build(text));
    // The same tokens must come out. Should layout ever break this, the source as it stands is the right answer.
    Ok(if essence(&formatted) == essence(text) {
        formatted
    } else {
        text.to_string()
    })
}

/// What formatting must not change: every token and comment in order, but for white space and commas.
fn essence(text: &str) -> Vec<&str> {
    let skip = |k: TokenKind| matches!(k, TokenKind::Space | TokenKind::Newline | TokenKind::Comma);
    let tokens = lex(text).into_iter().filter(|t| !skip(t.kind));
    tokens.map(|t| t.text(text).trim_end()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(text: &str) -> String {
        let once = format(FileId(0), text).unwrap();
        assert_eq!(format(FileId(0), &once).unwrap(), once, "not idempotent");
        once
    }

    #[test]
    fn spaces_and_indentation() {
        let source = "//! Doc\nimport  std.activation . { relu ,gelu  as g}\n\n\n\nmodel M{ // why\n config h :dim=32\n\
            entry main( x:public real[ batch,2*h ] )->( y : real[batch , -1+h] ){\nlet y=x[ : ,0 .. -1 ]\n\n\n  -y }\n}";
        insta::assert_snapshot!(formatted(source), @"
        //! Doc
        import std.activation.{relu, gelu as g}

        model M { // why
            config h: dim = 32
            entry main(x: public real[batch, 2 * h]) -> (y: real[batch, -1 + h]) {
                let y = x[:, 0..-1]

                    - y
            }
        }
        ");
    }

    #[test]
    fn long_lists_break_and_comments_stay() {
        let source = "fn f(first: real[a, b], second: real[a, b], third: real[a, b], fourth: real[a, b]) -> real[a] = first\n\
            fn g(a: dim, // the first\n  // of b\n b: dim) -> dim { if a > b { a } else { b } // end\n}\n// last";
        insta::assert_snapshot!(formatted(source), @"
        fn f(
            first: real[a, b],
            second: real[a, b],
            third: real[a, b],
            fourth: real[a, b],
        ) -> real[a] = first
        fn g(
            a: dim, // the first
            // of b
            b: dim,
        ) -> dim {
            if a > b { a } else { b } // end
        }
        // last
        ");
    }
}
