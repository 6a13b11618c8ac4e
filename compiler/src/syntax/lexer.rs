//! Lossless lexer: the tokens of a file, laid end to end, are the file.
//!
//! White space, newlines and comments are tokens like any other ([`TokenKind::is_trivia`]), so that the formatter and
//! editors lose nothing. The lexer cannot fail: bytes that begin no token become [`TokenKind::Error`], one token for each
//! unbroken run of them, and a string without its closing quote becomes [`TokenKind::UnterminatedString`].

use logos::Logos;

/// What a token is.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the variants are named after what they match
pub enum TokenKind {
    #[regex(r"[ \t\r\u{feff}]+")]
    Space,
    #[token("\n")]
    Newline,
    #[regex(r"//[^\n]*", priority = 3, allow_greedy = true)]
    Comment,
    #[regex(r"///[^\n]*", priority = 5, allow_greedy = true)]
    Doc,
    #[regex(r"//![^\n]*", priority = 5, allow_greedy = true)]
    ModuleDoc,

    #[regex(r"[A-Za-z_][A-Za-z0-9_]*", priority = 2)]
    Ident,
    #[regex(r"[0-9][0-9_]*", priority = 6)]
    Int,
    #[regex(r"[0-9][0-9_]*\.[0-9][0-9_]*([eE][+-]?[0-9]+)?", priority = 8)]
    #[regex(r"[0-9][0-9_]*[eE][+-]?[0-9]+", priority = 8)]
    Real,
    #[regex(r"[0-9][0-9_]*[A-Za-z][A-Za-z0-9_]*", priority = 4)]
    BadNumber,
    #[regex(r#""([^"\\\n]|\\[^\n])*""#, priority = 10)]
    Str,
    #[regex(r#""([^"\\\n]|\\[^\n])*\\?"#, priority = 1)]
    UnterminatedString,

    #[token("import")]
    KwImport,
    #[token("model")]
    KwModel,
    #[token("block")]
    KwBlock,
    #[token("fn")]
    KwFn,
    #[token("table")]
    KwTable,
    #[token("config")]
    KwConfig,
    #[token("dim")]
    KwDim,
    #[token("weight")]
    KwWeight,
    #[token("state")]
    KwState,
    #[token("entry")]
    KwEntry,
    #[token("let")]
    KwLet,
    #[token("repeat")]
    KwRepeat,
    #[token("where")]
    KwWhere,
    #[token("if")]
    KwIf,
    #[token("else")]
    KwElse,
    #[token("match")]
    KwMatch,
    #[token("and")]
    KwAnd,
    #[token("or")]
    KwOr,
    #[token("not")]
    KwNot,
    #[token("true")]
    KwTrue,
    #[token("false")]
    KwFalse,
    #[token("none")]
    KwNone,
    #[token("public")]
    KwPublic,
    #[token("private")]
    KwPrivate,
    #[token("committed")]
    KwCommitted,

    #[token("(")]
    LParen,
    #[token(")")]
    RParen,
    #[token("[")]
    LBracket,
    #[token("]")]
    RBracket,
    #[token("{")]
    LBrace,
    #[token("}")]
    RBrace,
    #[token(",")]
    Comma,
    #[token(":")]
    Colon,
    #[token("..")]
    DotDot,
    #[token(".")]
    Dot,
    #[token("->")]
    Arrow,
    #[token("=>")]
    FatArrow,
    #[token("==")]
    EqEq,
    #[token("!=")]
    NotEq,
    #[token("<=")]
    Le,
    #[token(">=")]
    Ge,
    #[token("<")]
    Lt,
    #[token(">")]
    Gt,
    #[token("=")]
    Eq,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("%")]
    Percent,
    #[token("?")]
    Question,
    #[token("@")]
    At,

    /// Bytes that begin no token.
    Error,
    /// The end of the file; made by the parser, never by [`lex`].
    Eof,
}

impl TokenKind {
    /// White space and plain comments: what the parser skips. Doc comments are not trivia.
    pub fn is_trivia(self) -> bool {
        matches!(self, TokenKind::Space | TokenKind::Newline | TokenKind::Comment)
    }

    /// Any kind of comment.
    pub fn is_comment(self) -> bool {
        matches!(self, TokenKind::Comment | TokenKind::Doc | TokenKind::ModuleDoc)
    }

    /// How a message names this token.
    pub fn describe(self) -> &'static str {
        use TokenKind::*;
        match self {
            Space => "white space",
            Newline => "a line break",
            Comment => "a comment",
            Doc => "a doc comment",
            ModuleDoc => "a module doc comment",
            Ident => "a name",
            Int => "an integer",
            Real => "a real number",
            BadNumber => "a malformed number",
            Str => "a string",
            UnterminatedString => "an unterminated string",
            KwImport => "`import`",
            KwModel => "`model`",
            KwBlock => "`block`",
            KwFn => "`fn`",
            KwTable => "`table`",
            KwConfig => "`config`",
            KwDim => "`dim`",
            KwWeight => "`weight`",
            KwState => "`state`",
            KwEntry => "`entry`",
            KwLet => "`let`",
            KwRepeat => "`repeat`",
            KwWhere => "`where`",
            KwIf => "`if`",
            KwElse => "`else`",
            KwMatch => "`match`",
            KwAnd => "`and`",
            KwOr => "`or`",
            KwNot => "`not`",
            KwTrue => "`true`",
            KwFalse => "`false`",
            KwNone => "`none`",
            KwPublic => "`public`",
            KwPrivate => "`private`",
            KwCommitted => "`committed`",
            LParen => "`(`",
            RParen => "`)`",
            LBracket => "`[`",
            RBracket => "`]`",
            LBrace => "`{`",
            RBrace => "`}`",
            Comma => "`,`",
            Colon => "`:`",
            DotDot => "`..`",
            Dot => "`.`",
            Arrow => "`->`",
            FatArrow => "`=>`",
            EqEq => "`==`",
            NotEq => "`!=`",
            Le => "`<=`",
            Ge => "`>=`",
            Lt => "`<`",
            Gt => "`>`",
            Eq => "`=`",
            Plus => "`+`",
            Minus => "`-`",
            Star => "`*`",
            Slash => "`/`",
            Percent => "`%`",
            Question => "`?`",
            At => "`@`",
            Error => "an unknown character",
            Eof => "the end of the file",
        }
    }
}

/// One token: its kind and its byte range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Token {
    /// The token's text in the file it was lexed from.
    pub fn text(self, source: &str) -> &str {
        source.get(self.start as usize..self.end as usize).unwrap_or("")
    }
}

/// All tokens of `text`, trivia included; concatenated, their texts are `text`.
pub fn lex(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (result, range) in TokenKind::lexer(text).spanned() {
        let (kind, start, end) = (result.unwrap_or(TokenKind::Error), range.start as u32, range.end as u32);
        match tokens.last_mut() {
            Some(last) if kind == TokenKind::Error && last.kind == TokenKind::Error => last.end = end,
            _ => tokens.push(Token { kind, start, end }),
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        lex(text)
            .into_iter()
            .map(|t| t.kind)
            .filter(|k| *k != TokenKind::Space)
            .collect()
    }

    #[test]
    fn numbers_ranges_and_comments() {
        use TokenKind::*;
        assert_eq!(kinds("0..4 1.5e-3 1e6 12ab"), [Int, DotDot, Int, Real, Real, BadNumber]);
        assert_eq!(kinds("// a\n/// b\n//! c"), [Comment, Newline, Doc, Newline, ModuleDoc]);
        assert_eq!(kinds("\"a{l}\" \"open"), [Str, UnterminatedString]);
        assert_eq!(kinds("$$é x"), [Error, Ident]);
        assert_eq!(kinds("import imports -> =>"), [KwImport, Ident, Arrow, FatArrow]);
    }

    proptest! {
        #[test]
        fn tokens_laid_end_to_end_are_the_file(text in "(?s).{0,200}") {
            let mut at = 0;
            for token in lex(&text) {
                prop_assert_eq!(token.start, at);
                prop_assert!(token.end > token.start);
                at = token.end;
            }
            prop_assert_eq!(at as usize, text.len());
        }
    }
}
