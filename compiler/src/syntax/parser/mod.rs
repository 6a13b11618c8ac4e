//! Recursive-descent parser with recovery.
//!
//! Each rule gives its node or [`Reported`]: the mistake has been reported, the caller passes it on. Statements, members
//! and items catch it, skip to the next of their kind (over balanced brackets), and leave an `Error` node that still
//! declares the names seen so far. So one mistake gives one diagnostic and hides nothing behind it.
//!
//! Line breaks matter in two places only: a statement begins on a line of its own, and `(` or `[` continues an expression
//! only on the same line. Recursion is bounded by [`MAX_DEPTH`] and by the height that every expression carries.

mod expressions;
mod items;
mod statements;
mod types;

use super::ast::{Ident, Module};
use super::lexer::{TokenKind, lex};
use super::{FileId, Span};
use crate::diagnostics::{Code, Diagnostic};

/// The greatest depth of nested brackets, bodies and operators that the parser follows.
const MAX_DEPTH: u32 = 72;

/// A mistake was found and its diagnostic is in the list.
#[derive(Clone, Copy, Debug)]
struct Reported;

type Parsed<T> = Result<T, Reported>;

/// Parses a file. The module is always usable; where `diagnostics` has errors, parts of it are `Error` nodes.
pub fn parse(file: FileId, text: &str) -> (Module, Vec<Diagnostic>) {
    let mut parser = Parser::new(file, text, 0, text.len(), 0);
    let module = parser.module();
    (module, parser.diagnostics)
}

#[derive(Clone, Copy)]
struct Tok {
    kind: TokenKind,
    start: u32,
    end: u32,
    /// Whether a line break stands between this token and the one before.
    fresh_line: bool,
}

struct Parser<'a> {
    file: FileId,
    text: &'a str,
    tokens: Vec<Tok>,
    at: usize,
    depth: u32,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Parser<'a> {
    /// A parser of `text[start..end]` whose spans count from the start of `text`.
    fn new(file: FileId, text: &'a str, start: usize, end: usize, depth: u32) -> Self {
        let mut tokens = Vec::new();
        let mut fresh_line = true;
        for token in lex(&text[start..end]) {
            match token.kind {
                TokenKind::Newline => fresh_line = true,
                TokenKind::Space | TokenKind::Comment => {}
                kind => {
                    let (a, b) = (token.start + start as u32, token.end + start as u32);
                    tokens.push(Tok {
                        kind,
                        start: a,
                        end: b,
                        fresh_line,
                    });
                    fresh_line = false;
                }
            }
        }
        tokens.push(Tok {
            kind: TokenKind::Eof,
            start: end as u32,
            end: end as u32,
            fresh_line: true,
        });
        Parser {
            file,
            text,
            tokens,
            at: 0,
            depth,
            diagnostics: Vec::new(),
        }
    }

    fn tok(&self) -> Tok {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek(&self) -> TokenKind {
        self.tok().kind
    }

    fn peek_at(&self, ahead: usize) -> TokenKind {
        self.tokens.get(self.at + ahead).map_or(TokenKind::Eof, |t| t.kind)
    }

    /// The span of the current token.
    fn here(&self) -> Span {
        let t = self.tok();
        Span::new(self.file, t.start, t.end)
    }

    /// The span of the token before the current one.
    fn before(&self) -> Span {
        let t = self.tokens[self.at.saturating_sub(1).min(self.tokens.len() - 1)];
        Span::new(self.file, t.start, t.end)
    }

    fn slice(&self, span: Span) -> &'a str {
        &self.text[span.start as usize..span.end as usize]
    }

    fn bump(&mut self) -> Span {
        let span = self.here();
        if self.peek() != TokenKind::Eof {
            self.at += 1;
        }
        span
    }

    fn eat(&mut self, kind: TokenKind) -> bool {
        let found = self.peek() == kind;
        if found {
            self.bump();
        }
        found
    }

    /// Whether the current token is the name `word`, one of the words that are keywords in one place only.
    fn at_word(&self, word: &str) -> bool {
        self.peek() == TokenKind::Ident && self.slice(self.here()) == word
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.bump();
        }
        found
    }

    fn report(&mut self, diagnostic: Diagnostic) -> Reported {
        self.diagnostics.push(diagnostic);
        Reported
    }

    /// Reports that `wanted` should stand here. A token that is itself malformed has its own code.
    fn unexpected(&mut self, code: Code, wanted: &str) -> Reported {
        let (kind, span) = (self.peek(), self.here());
        let found = match kind {
            TokenKind::Ident => format!("`{}`", self.slice(span)),
            _ => kind.describe().to_string(),
        };
        let diagnostic = match kind {
            TokenKind::Error => Diagnostic::error(
                Code::E0001,
                span,
                format!(
                    "`{}` has no meaning in mlc",
                    self.slice(span).chars().take(12).collect::<String>()
                ),
            )
            .label("not part of the language")
            .maybe_help(
                self.slice(span)
                    .starts_with('#')
                    .then(|| "comments begin with `//`".into()),
            ),
            TokenKind::UnterminatedString => Diagnostic::error(Code::E0002, span, "this string has no closing quote")
                .label("the string begins here")
                .help("close it with `\"` on the same line"),
            TokenKind::BadNumber => self.bad_number(span),
            // Something is missing at the end of a line: say so there, not at what follows.
            _ if self.tok().fresh_line && self.at > 0 && code != Code::E0102 => {
                Diagnostic::error(code, self.before(), format!("expected {wanted}, found {found}"))
                    .label(format!("expected {wanted} after this"))
            }
            _ => Diagnostic::error(code, span, format!("expected {wanted}, found {found}"))
                .label(format!("expected {wanted}")),
        };
        self.report(diagnostic)
    }

    fn bad_number(&self, span: Span) -> Diagnostic {
        Diagnostic::error(Code::E0003, span, format!("`{}` is not a number", self.slice(span)))
            .label("digits run into letters")
            .help("names begin with a letter; write `2 * x` for a product")
    }

    fn expect(&mut self, kind: TokenKind) -> Parsed<Span> {
        if self.peek() == kind {
            return Ok(self.bump());
        }
        Err(self.unexpected(Code::E0101, kind.describe()))
    }

    fn expect_word(&mut self, word: &str) -> Parsed<Span> {
        if self.at_word(word) {
            return Ok(self.bump());
        }
        Err(self.unexpected(Code::E0101, &format!("`{word}`")))
    }

    /// The closing bracket of the one at `open`.
    fn close(&mut self, kind: TokenKind, open: Span) -> Parsed<Span> {
        if self.peek() == kind {
            return Ok(self.bump());
        }
        if matches!(
            self.peek(),
            TokenKind::Error | TokenKind::UnterminatedString | TokenKind::BadNumber
        ) {
            return Err(self.unexpected(Code::E0101, kind.describe()));
        }
        let at_end = self.peek() == TokenKind::Eof || self.tok().fresh_line && !self.closes_later(kind);
        let found = self.peek().describe();
        let diagnostic = if at_end {
            Diagnostic::error(
                Code::E0104,
                open,
                format!("this `{}` is never closed", self.slice(open)),
            )
            .label("opened here")
            .also(self.here(), format!("{} is missing before this", kind.describe()))
            .help(format!("add {}", kind.describe()))
        } else {
            let wanted = if kind == TokenKind::RBrace { "" } else { "`,` or " };
            Diagnostic::error(
                Code::E0101,
                self.here(),
                format!("expected {wanted}{}, found {found}", kind.describe()),
            )
            .label(format!("expected {wanted}{}", kind.describe()))
            .also(open, "to close this")
        };
        Err(self.report(diagnostic))
    }

    /// Whether the bracket `kind` follows before anything that can only stand outside of it.
    fn closes_later(&self, kind: TokenKind) -> bool {
        let mut open = 0usize;
        for t in self.tokens[self.at..].iter().take(4096) {
            match t.kind {
                TokenKind::LParen | TokenKind::LBracket | TokenKind::LBrace => open += 1,
                k if open == 0 && k == kind => return true,
                TokenKind::RParen | TokenKind::RBracket | TokenKind::RBrace if open == 0 => return false,
                TokenKind::RParen | TokenKind::RBracket | TokenKind::RBrace => open -= 1,
                TokenKind::KwLet | TokenKind::KwWeight | TokenKind::KwRepeat | TokenKind::KwEntry if open == 0 => {
                    return false;
                }
                _ => {}
            }
        }
        false
    }

    fn ident(&mut self, what: &str) -> Parsed<Ident> {
        if self.peek() == TokenKind::Ident {
            let span = self.bump();
            return Ok(Ident {
                text: self.slice(span).to_string(),
                span,
            });
        }
        let keyword = self.slice(self.here()).starts_with(|c: char| c.is_ascii_alphabetic());
        let reported = self.unexpected(Code::E0101, what);
        if keyword && self.peek() != TokenKind::BadNumber {
            let word = self.slice(self.here()).to_string();
            if let Some(last) = self.diagnostics.last_mut() {
                last.help = Some(format!("`{word}` is a word of the language; choose another name"));
            }
        }
        Err(reported)
    }

    /// Runs `rule` one level deeper, or reports that the source nests too deeply.
    fn deeper<T>(&mut self, rule: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(self.too_deep(self.here()));
        }
        self.depth += 1;
        let result = rule(self);
        self.depth -= 1;
        result
    }

    fn too_deep(&mut self, span: Span) -> Reported {
        self.report(
            Diagnostic::error(Code::E0006, span, "this is nested too deeply")
                .label(format!(
                    "deeper than {MAX_DEPTH} levels, or too many operators in one expression"
                ))
                .help("name parts of it with `let`"),
        )
    }

    /// Whether the current token begins a declaration or statement.
    fn starts_anything(&self) -> bool {
        use TokenKind::*;
        matches!(
            self.peek(),
            KwImport
                | KwModel
                | KwBlock
                | KwFn
                | KwTable
                | KwConfig
                | KwDim
                | KwWeight
                | KwState
                | KwEntry
                | KwLet
                | KwRepeat
                | KwWhere
                | Doc
                | At
        )
    }

    /// Whether the current token can only begin an item of a file.
    fn starts_item(&self) -> bool {
        use TokenKind::*;
        self.tok().fresh_line && matches!(self.peek(), KwImport | KwModel | KwBlock | KwFn)
            || self.tok().fresh_line && self.peek() == KwTable && self.peek_at(1) == Ident
    }

    /// Skips to where the next statement or member can begin: a keyword on a fresh line, the closing brace of this
    /// body, an item of the file, or the end. Balanced brackets are skipped whole.
    fn recover(&mut self, progress_from: usize) {
        if self.at == progress_from && !matches!(self.peek(), TokenKind::RBrace | TokenKind::Eof) && !self.starts_item()
        {
            self.skip_group();
        }
        loop {
            let fresh = self.tok().fresh_line;
            match self.peek() {
                TokenKind::Eof | TokenKind::RBrace => return,
                _ if fresh && self.starts_anything() => return,
                _ => self.skip_group(),
            }
        }
    }

    /// Skips one token, or a whole bracketed group; a group ends early where an item of the file begins.
    fn skip_group(&mut self) {
        let mut open = 0usize;
        loop {
            match self.peek() {
                TokenKind::Eof => return,
                TokenKind::LParen | TokenKind::LBracket | TokenKind::LBrace => open += 1,
                TokenKind::RParen | TokenKind::RBracket | TokenKind::RBrace => open = open.saturating_sub(1),
                _ if open > 0 && self.tok().fresh_line && self.starts_anything() && !self.inside_braces(open) => return,
                _ => {}
            }
            self.bump();
            if open == 0 || self.starts_item() {
                return;
            }
        }
    }

    /// Whether the innermost bracket open before the current token, within the last `open` ones, is a brace.
    fn inside_braces(&self, open: usize) -> bool {
        let mut closed = 0usize;
        for t in self.tokens[..self.at].iter().rev().take(4096) {
            match t.kind {
                TokenKind::RParen | TokenKind::RBracket | TokenKind::RBrace => closed += 1,
                TokenKind::LParen | TokenKind::LBracket | TokenKind::LBrace if closed > 0 => closed -= 1,
                TokenKind::LBrace => return true,
                TokenKind::LParen | TokenKind::LBracket => return false,
                _ => {}
            }
        }
        open == 0
    }
}
