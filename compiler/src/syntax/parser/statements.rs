//! Bodies and statements.

use super::{Parsed, Parser, Reported};
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::ast::*;
use crate::syntax::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn body(&mut self) -> Parsed<Body> {
        self.deeper(|p| {
            let start = p.at;
            let open = p.expect(TokenKind::LBrace)?;
            let (mut statements, mut result) = (Vec::new(), None);
            while !matches!(p.peek(), TokenKind::RBrace | TokenKind::Eof) && !p.starts_item() {
                let from = p.at;
                let mut names = Vec::new();
                match p.statement(&mut names, &mut result) {
                    Ok(Some(statement)) => statements.push(statement),
                    Ok(None) => {}
                    Err(Reported) => {
                        p.recover(from);
                        let span = p.span_from(from);
                        let kind = StatementKind::Error(names);
                        statements.push(Statement {
                            annotations: Vec::new(),
                            kind,
                            span,
                        });
                        if p.peek() == TokenKind::RBrace && result.is_none() {
                            // The mistake may have been in the value itself: say nothing of a missing value.
                            result = Some(Box::new(Expr {
                                kind: ExprKind::Error,
                                span,
                                height: 1,
                            }));
                        }
                    }
                }
            }
            p.close_or_go_on(open);
            Ok(Body {
                statements,
                result,
                span: p.span_from(start),
            })
        })
    }

    /// One statement, or (`None`) the value of the body.
    fn statement(&mut self, names: &mut Vec<Ident>, result: &mut Option<Box<Expr>>) -> Parsed<Option<Statement>> {
        self.docs();
        let annotations = self.annotations()?;
        let start = self.at;
        if let Some(value) = result.take() {
            // A value stood before: it was not the last thing of the body.
            let keep = matches!(value.kind, ExprKind::Error);
            let diagnostic = Diagnostic::error(Code::E0101, value.span, "this value is not used")
                .label("a value can only end a body")
                .help("give it a name with `let`, or remove it");
            if !keep {
                self.report(diagnostic);
            }
        }
        let kind = match self.peek() {
            TokenKind::KwLet => {
                // Names first, so that a mistake in the value does not make them unknown.
                let from = self.at;
                self.bump();
                let parsed = self.pattern();
                self.at = from;
                match parsed {
                    Ok((list, _)) => names.extend(list),
                    Err(Reported) => {
                        self.bump();
                        return Err(Reported);
                    }
                }
                StatementKind::Let(self.let_binding()?)
            }
            TokenKind::KwWeight => {
                self.note_name(names);
                StatementKind::Weight(self.weight()?)
            }
            TokenKind::KwState => {
                self.note_name(names);
                StatementKind::State(self.state()?)
            }
            TokenKind::KwWhere => {
                self.bump();
                StatementKind::Where(self.constraints()?)
            }
            TokenKind::KwRepeat => StatementKind::Repeat(self.repeat()?),
            TokenKind::KwConfig | TokenKind::KwEntry | TokenKind::KwDim => {
                self.note_name(names);
                let word = self.slice(self.here()).to_string();
                let diagnostic = Diagnostic::error(
                    Code::E0102,
                    self.here(),
                    format!("`{word}` belongs to a model, not to a body"),
                )
                .label("not a statement")
                .help("move it into `model Name { … }`, outside of its entries");
                self.bump();
                return Err(self.report(diagnostic));
            }
            _ => {
                let value = self.expr()?;
                self.end_of_line()?;
                *result = Some(Box::new(value));
                return Ok(None);
            }
        };
        self.end_of_line()?;
        Ok(Some(Statement {
            annotations,
            kind,
            span: self.span_from(start),
        }))
    }

    fn note_name(&self, names: &mut Vec<Ident>) {
        if let Some(t) = self.tokens.get(self.at + 1).filter(|t| t.kind == TokenKind::Ident) {
            let span = crate::syntax::Span::new(self.file, t.start, t.end);
            names.push(Ident {
                text: self.slice(span).to_string(),
                span,
            });
        }
    }

    /// Nothing else may follow on the line.
    pub(super) fn end_of_line(&mut self) -> Parsed<()> {
        if self.tok().fresh_line || matches!(self.peek(), TokenKind::RBrace | TokenKind::Eof) {
            return Ok(());
        }
        Err(self.unexpected(Code::E0101, "the end of the line"))
    }

    fn pattern(&mut self) -> Parsed<(Vec<Ident>, bool)> {
        if self.peek() != TokenKind::LParen {
            return Ok((vec![self.ident("a name, or names in parentheses")?], false));
        }
        let open = self.bump();
        let mut names = Vec::new();
        while self.peek() != TokenKind::RParen {
            names.push(self.ident("a name")?);
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        self.close(TokenKind::RParen, open)?;
        Ok((names, true))
    }

    pub(super) fn let_binding(&mut self) -> Parsed<Let> {
        self.bump();
        let (names, tuple) = self.pattern()?;
        let ty = if self.eat(TokenKind::Colon) {
            Some(self.ty()?)
        } else {
            None
        };
        self.expect(TokenKind::Eq)?;
        Ok(Let {
            names,
            tuple,
            ty,
            value: self.expr()?,
        })
    }

    pub(super) fn weight(&mut self) -> Parsed<Weight> {
        self.bump();
        let name = self.ident("the name of the weight")?;
        self.expect(TokenKind::Colon)?;
        let visibility = self.visibility();
        let ty = self.ty()?;
        self.expect_word("from")?;
        Ok(Weight {
            name,
            visibility,
            ty,
            source: self.expr()?,
        })
    }

    pub(super) fn state(&mut self) -> Parsed<State> {
        self.bump();
        let name = self.ident("the name of the state")?;
        self.expect(TokenKind::Colon)?;
        let ty = self.ty()?;
        let grows = if self.eat_word("grows") {
            Some(self.expr()?)
        } else {
            None
        };
        let source = if self.eat_word("from") {
            Some(self.expr()?)
        } else {
            None
        };
        Ok(State {
            name,
            ty,
            grows,
            source,
        })
    }

    fn repeat(&mut self) -> Parsed<Repeat> {
        self.bump();
        let index = self.ident("the name of the index")?;
        self.expect_word("in")?;
        let start = self.expr()?;
        self.expect(TokenKind::DotDot)?;
        let end = self.expr()?;
        self.expect_word("carrying")?;
        let (carried, _) = self.pattern()?;
        Ok(Repeat {
            index,
            start,
            end,
            carried,
            body: self.body()?,
        })
    }
}
