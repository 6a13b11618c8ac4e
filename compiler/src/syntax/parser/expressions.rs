//! Expressions, by precedence climbing: `or`, `and`, `not`, comparisons, `+ -`, `* / %`, unary `-`, then calls, indices
//! and fields. Comparisons do not chain.

use super::{Parsed, Parser};
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;
use crate::syntax::ast::*;
use crate::syntax::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Parsed<Expr> {
        self.deeper(|p| p.binary(0))
    }

    /// A node over children of the given heights, unless it grows too high.
    fn node(&mut self, kind: ExprKind, start: usize, below: u32) -> Parsed<Expr> {
        let span = self.span_from(start);
        if below >= MAX_HEIGHT {
            return Err(self.too_deep(span));
        }
        Ok(Expr {
            kind,
            span,
            height: below + 1,
        })
    }

    fn binary(&mut self, least: u8) -> Parsed<Expr> {
        let start = self.at;
        let mut left = self.unary()?;
        let mut compared = false;
        while let Some((op, level)) = binary_op(self.peek()) {
            if level < least {
                break;
            }
            if level == COMPARISON && compared {
                let diagnostic = Diagnostic::error(Code::E0105, self.here(), "comparisons do not chain")
                    .label("second comparison")
                    .also(left.span, "first comparison")
                    .help("join two comparisons with `and`");
                return Err(self.report(diagnostic));
            }
            compared |= level == COMPARISON;
            self.bump();
            let right = self.deeper(|p| p.binary(level + 1))?;
            let below = left.height.max(right.height);
            left = self.node(ExprKind::Binary(op, Box::new(left), Box::new(right)), start, below)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let start = self.at;
        let (op, level) = match self.peek() {
            TokenKind::Minus => (UnaryOp::Neg, UNARY),
            TokenKind::KwNot => (UnaryOp::Not, COMPARISON),
            _ => return self.postfix(),
        };
        self.bump();
        let operand = self.deeper(|p| p.binary(level))?;
        let below = operand.height;
        self.node(ExprKind::Unary(op, Box::new(operand)), start, below)
    }

    fn postfix(&mut self) -> Parsed<Expr> {
        let start = self.at;
        let mut base = self.primary()?;
        loop {
            let below = base.height;
            let (kind, below) = match self.peek() {
                TokenKind::LParen if !self.tok().fresh_line => {
                    let args = self.arguments()?;
                    let below = args.iter().map(|a| a.value.height).fold(below, u32::max);
                    (ExprKind::Call(Box::new(base), args), below)
                }
                TokenKind::LBracket if !self.tok().fresh_line => {
                    let items = self.index_items()?;
                    let below = items.iter().map(index_height).fold(below, u32::max);
                    (ExprKind::Index(Box::new(base), items), below)
                }
                TokenKind::Dot => {
                    self.bump();
                    let field = self.ident("a name after `.`")?;
                    (ExprKind::Field(Box::new(base), field), below)
                }
                _ => return Ok(base),
            };
            base = self.node(kind, start, below)?;
        }
    }

    /// `(a, key = b)`
    pub(super) fn arguments(&mut self) -> Parsed<Vec<Arg>> {
        let open = self.expect(TokenKind::LParen)?;
        let mut args = Vec::new();
        while self.peek() != TokenKind::RParen {
            args.push(self.argument()?);
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        self.close(TokenKind::RParen, open)?;
        Ok(args)
    }

    fn argument(&mut self) -> Parsed<Arg> {
        let mut name = None;
        if self.peek() == TokenKind::Ident && self.peek_at(1) == TokenKind::Eq {
            name = Some(self.ident("the name of an argument")?);
            self.bump();
        }
        Ok(Arg {
            name,
            value: self.expr()?,
        })
    }

    fn index_items(&mut self) -> Parsed<Vec<IndexItem>> {
        let open = self.expect(TokenKind::LBracket)?;
        let mut items = Vec::new();
        while self.peek() != TokenKind::RBracket {
            let start = self.at;
            let ends = |p: &Self| matches!(p.peek(), TokenKind::Comma | TokenKind::RBracket);
            let item = if self.eat(TokenKind::Colon) {
                IndexItem::Full(self.before())
            } else if self.eat(TokenKind::DotDot) {
                if ends(self) {
                    IndexItem::Rest(self.before())
                } else {
                    let end = self.expr()?;
                    IndexItem::Range(None, Some(end), self.span_from(start))
                }
            } else {
                let first = self.expr()?;
                if self.eat(TokenKind::DotDot) {
                    let end = if ends(self) { None } else { Some(self.expr()?) };
                    IndexItem::Range(Some(first), end, self.span_from(start))
                } else {
                    IndexItem::At(first)
                }
            };
            items.push(item);
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        self.close(TokenKind::RBracket, open)?;
        Ok(items)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let start = self.at;
        let span = self.here();
        let (kind, below) = match self.peek() {
            TokenKind::Int => {
                self.bump();
                let digits = self.slice(span).replace('_', "");
                let Ok(value) = digits.parse() else {
                    let diagnostic =
                        Diagnostic::error(Code::E0003, span, "this integer does not fit in 63 bits").label("too large");
                    return Err(self.report(diagnostic));
                };
                (ExprKind::Int(value), 0)
            }
            TokenKind::Real => {
                self.bump();
                let value = self.slice(span).replace('_', "").parse().unwrap_or(f64::INFINITY);
                if !f64::is_finite(value) {
                    let diagnostic =
                        Diagnostic::error(Code::E0003, span, "this number is too large").label("beyond any f64");
                    return Err(self.report(diagnostic));
                }
                (ExprKind::Real(value), 0)
            }
            TokenKind::Str => {
                self.bump();
                let pieces = self.string(span)?;
                let below = pieces
                    .iter()
                    .map(|p| if let StrPiece::Hole(e) = p { e.height } else { 0 })
                    .max();
                (ExprKind::Str(pieces), below.unwrap_or(0))
            }
            TokenKind::KwTrue | TokenKind::KwFalse => {
                self.bump();
                (ExprKind::Bool(self.slice(span) == "true"), 0)
            }
            TokenKind::KwNone => {
                self.bump();
                (ExprKind::None, 0)
            }
            TokenKind::Ident => {
                self.bump();
                (ExprKind::Name(self.slice(span).to_string()), 0)
            }
            TokenKind::LParen => return self.parenthesised(),
            TokenKind::LBracket => {
                let items = self.deeper(|p| p.shape())?;
                let height = |i: &ShapeItem| if let ShapeItem::Dim(e) = i { e.height } else { 0 };
                let below = items.iter().map(height).max().unwrap_or(0);
                (ExprKind::List(items), below)
            }
            TokenKind::KwIf => return self.deeper(|p| p.if_expr()),
            TokenKind::KwMatch => return self.deeper(|p| p.match_expr()),
            _ => return Err(self.unexpected(Code::E0103, "an expression")),
        };
        self.node(kind, start, below)
    }

    fn parenthesised(&mut self) -> Parsed<Expr> {
        let start = self.at;
        let open = self.bump();
        let first = if self.peek() == TokenKind::RParen {
            None
        } else {
            Some(self.argument()?)
        };
        let mut args = match first {
            Some(Arg { name: None, value }) if self.peek() == TokenKind::RParen => {
                self.bump();
                return Ok(Expr {
                    span: self.span_from(start),
                    ..value
                });
            }
            Some(arg) => vec![arg],
            None => Vec::new(),
        };
        while self.eat(TokenKind::Comma) && self.peek() != TokenKind::RParen {
            args.push(self.argument()?);
        }
        self.close(TokenKind::RParen, open)?;
        let below = args.iter().map(|a| a.value.height).max().unwrap_or(0);
        self.node(ExprKind::Tuple(args), start, below)
    }

    fn if_expr(&mut self) -> Parsed<Expr> {
        let start = self.at;
        self.bump();
        let condition = self.expr()?;
        let then = self.body()?;
        let mut otherwise = None;
        if self.eat(TokenKind::KwElse) {
            otherwise = Some(if self.peek() == TokenKind::KwIf {
                let nested = self.deeper(|p| p.if_expr())?;
                Body {
                    statements: Vec::new(),
                    span: nested.span,
                    result: Some(Box::new(nested)),
                }
            } else {
                self.body()?
            });
        }
        let below = condition
            .height
            .max(body_height(&then))
            .max(otherwise.as_ref().map_or(0, body_height));
        self.node(ExprKind::If(Box::new(condition), then, otherwise), start, below)
    }

    fn match_expr(&mut self) -> Parsed<Expr> {
        let start = self.at;
        self.bump();
        let subject = self.expr()?;
        let open = self.expect(TokenKind::LBrace)?;
        let mut arms = Vec::new();
        while self.peek() != TokenKind::RBrace {
            let from = self.at;
            let mut patterns = Vec::new();
            if !self.eat_word("_") {
                loop {
                    patterns.push(self.deeper(|p| p.unary())?);
                    if !self.eat(TokenKind::KwOr) {
                        break;
                    }
                }
            }
            self.expect(TokenKind::FatArrow)?;
            let value = if self.peek() == TokenKind::LBrace {
                let body = self.body()?;
                let (span, height) = (body.span, body_height(&body));
                let always = Expr {
                    kind: ExprKind::Bool(true),
                    span,
                    height: 1,
                };
                // A braced arm is a body; an `if true` keeps the tree small and regular.
                Expr {
                    kind: ExprKind::If(Box::new(always), body, None),
                    span,
                    height: height + 1,
                }
            } else {
                self.expr()?
            };
            arms.push(Arm {
                patterns,
                value,
                span: self.span_from(from),
            });
            if !self.eat(TokenKind::Comma) && !self.tok().fresh_line {
                break;
            }
        }
        self.close(TokenKind::RBrace, open)?;
        let heights = arms
            .iter()
            .flat_map(|a| a.patterns.iter().chain([&a.value]))
            .map(|e| e.height);
        let below = heights.fold(subject.height, u32::max);
        self.node(ExprKind::Match(Box::new(subject), arms), start, below)
    }

    /// The pieces of a string literal, with its escapes resolved and the holes parsed.
    fn string(&mut self, span: Span) -> Parsed<Vec<StrPiece>> {
        let (from, to) = (span.start as usize + 1, span.end as usize - 1);
        let bytes = self.text.as_bytes();
        let (mut pieces, mut text) = (Vec::new(), String::new());
        let mut at = from;
        while at < to {
            match bytes[at] {
                b'\\' => {
                    let c = self.text[at + 1..to].chars().next().unwrap_or('\\');
                    match c {
                        'n' => text.push('\n'),
                        't' => text.push('\t'),
                        '"' | '\\' | '{' | '}' => text.push(c),
                        _ => return Err(self.bad_string(at, 1 + c.len_utf8(), "this escape is unknown", ESCAPES)),
                    }
                    at += 1 + c.len_utf8();
                }
                b'{' => {
                    let Some(length) = self.text[at..to].find('}') else {
                        return Err(self.bad_string(at, 1, "this `{` is never closed", BRACES));
                    };
                    if !text.is_empty() {
                        pieces.push(StrPiece::Text(std::mem::take(&mut text)));
                    }
                    pieces.push(StrPiece::Hole(self.hole(at + 1, at + length)?));
                    at += length + 1;
                }
                b'}' => return Err(self.bad_string(at, 1, "this `}` closes nothing", BRACES)),
                _ => {
                    let c = self.text[at..to].chars().next().unwrap_or(' ');
                    text.push(c);
                    at += c.len_utf8();
                }
            }
        }
        if !text.is_empty() || pieces.is_empty() {
            pieces.push(StrPiece::Text(text));
        }
        Ok(pieces)
    }

    fn hole(&mut self, from: usize, to: usize) -> Parsed<Expr> {
        if self.text[from..to].trim().is_empty() {
            return Err(self.bad_string(from - 1, 2, "this hole is empty", BRACES));
        }
        let mut inner = Parser::new(self.file, self.text, from, to, self.depth);
        let parsed = inner.expr();
        let parsed = parsed.and_then(|e| match inner.peek() {
            TokenKind::Eof => Ok(e),
            _ => Err(inner.unexpected(Code::E0101, "`}`")),
        });
        self.diagnostics.append(&mut inner.diagnostics);
        parsed
    }

    fn bad_string(&mut self, at: usize, len: usize, message: &str, help: &str) -> super::Reported {
        let span = Span::new(self.file, at as u32, (at + len) as u32);
        self.report(
            Diagnostic::error(Code::E0004, span, message)
                .label("in this string")
                .help(help),
        )
    }
}

const ESCAPES: &str = "known escapes are \\n \\t \\\" \\\\ \\{ \\}";
const BRACES: &str = "`{name}` puts a value into a string; write `\\{` for a brace";
const COMPARISON: u8 = 3;
const UNARY: u8 = 6;

fn binary_op(kind: TokenKind) -> Option<(BinaryOp, u8)> {
    Some(match kind {
        TokenKind::KwOr => (BinaryOp::Or, 0),
        TokenKind::KwAnd => (BinaryOp::And, 1),
        TokenKind::EqEq => (BinaryOp::Eq, COMPARISON),
        TokenKind::NotEq => (BinaryOp::Ne, COMPARISON),
        TokenKind::Lt => (BinaryOp::Lt, COMPARISON),
        TokenKind::Le => (BinaryOp::Le, COMPARISON),
        TokenKind::Gt => (BinaryOp::Gt, COMPARISON),
        TokenKind::Ge => (BinaryOp::Ge, COMPARISON),
        TokenKind::Plus => (BinaryOp::Add, 4),
        TokenKind::Minus => (BinaryOp::Sub, 4),
        TokenKind::Star => (BinaryOp::Mul, 5),
        TokenKind::Slash => (BinaryOp::Div, 5),
        TokenKind::Percent => (BinaryOp::Rem, 5),
        _ => return None,
    })
}

fn index_height(item: &IndexItem) -> u32 {
    match item {
        IndexItem::Full(_) | IndexItem::Rest(_) => 0,
        IndexItem::At(e) => e.height,
        IndexItem::Range(a, b, _) => a.iter().chain(b).map(|e| e.height).max().unwrap_or(0),
    }
}

/// The height of the highest expression in a body; nesting of bodies is bounded by the parser's depth.
fn body_height(body: &Body) -> u32 {
    let mut height = body.result.as_ref().map_or(0, |e| e.height);
    for statement in &body.statements {
        height = height.max(match &statement.kind {
            StatementKind::Let(l) => l.value.height,
            StatementKind::Weight(w) => w.source.height,
            StatementKind::State(s) => s.source.as_ref().map_or(0, |e| e.height),
            StatementKind::Where(list) => list.iter().map(|e| e.height).max().unwrap_or(0),
            StatementKind::Repeat(r) => body_height(&r.body),
            StatementKind::Error(_) => 0,
        });
    }
    height
}
