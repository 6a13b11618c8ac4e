//! Where a space stands between two tokens of one line.

use crate::syntax::lexer::TokenKind::{self, *};

/// Whether `-` after this token is a sign rather than a difference.
pub(super) fn makes_sign(before: Option<TokenKind>) -> bool {
    !matches!(
        before,
        Some(Ident | Int | Real | Str | KwTrue | KwFalse | KwNone | RParen | RBracket | RBrace | Question | Eof)
    )
}

/// Whether a line that ends with this token goes on in the next.
pub(super) fn goes_on_after(kind: TokenKind) -> bool {
    is_operator(kind) || matches!(kind, Eq | Arrow | FatArrow | KwNot | KwWhere | Colon | Comma)
}

/// Whether a line that begins with this token continues the one before.
pub(super) fn continues(kind: TokenKind) -> bool {
    is_operator(kind) || matches!(kind, Eq | Arrow | FatArrow | KwElse | Dot)
}

fn is_operator(kind: TokenKind) -> bool {
    matches!(
        kind,
        Plus | Minus | Star | Slash | Percent | EqEq | NotEq | Lt | Le | Gt | Ge | KwAnd | KwOr | DotDot
    )
}

/// Whether a space stands between two neighbours. `text` is the first one's; `sign` says that it is a sign.
pub(super) fn space(before: TokenKind, text: &str, sign: bool, after: TokenKind) -> bool {
    if sign || matches!(before, LParen | LBracket | Dot | DotDot | At | Eof) {
        return false;
    }
    match after {
        Comma | RParen | RBracket | Question | Colon | Dot | DotDot => before == Comma,
        LParen | LBracket => {
            let postfix = matches!(before, Ident | KwTable | RParen | RBracket | RBrace | Str);
            !postfix || matches!(text, "carrying" | "from")
        }
        _ => true,
    }
}
