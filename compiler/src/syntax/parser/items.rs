//! Items of a file and members of a model.

use super::{Parsed, Parser, Reported};
use crate::diagnostics::{Code, Diagnostic};
use crate::syntax::Span;
use crate::syntax::ast::*;
use crate::syntax::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn module(&mut self) -> Module {
        let mut module = Module::default();
        while self.peek() == TokenKind::ModuleDoc {
            let span = self.bump();
            module.docs.push(comment_text(self.slice(span), "//!"));
        }
        while self.peek() != TokenKind::Eof {
            let start = self.at;
            match self.item() {
                Ok(item) => module.items.push(item),
                Err(Reported) => {
                    // An item's own name still counts as declared, so that its uses are not reported too.
                    let name = self.name_after_keyword(start);
                    if self.at == start {
                        self.skip_group();
                    }
                    while self.peek() != TokenKind::Eof && !self.starts_item_or_let() {
                        self.skip_group();
                    }
                    let span = self.span_from(start);
                    module.items.push(Item {
                        docs: Vec::new(),
                        annotations: Vec::new(),
                        kind: ItemKind::Error(name),
                        span,
                    });
                }
            }
        }
        module
    }

    fn starts_item_or_let(&self) -> bool {
        self.starts_item()
            || self.tok().fresh_line
                && (matches!(self.peek(), TokenKind::KwLet | TokenKind::Doc | TokenKind::At) && self.column_is_first())
    }

    fn column_is_first(&self) -> bool {
        let start = self.tok().start as usize;
        start == 0 || self.text.as_bytes().get(start - 1) == Some(&b'\n')
    }

    fn name_after_keyword(&self, from: usize) -> Option<Ident> {
        let mut i = from;
        while matches!(self.tokens.get(i)?.kind, TokenKind::Doc) {
            i += 1;
        }
        let (keyword, name) = (self.tokens.get(i)?, self.tokens.get(i + 1)?);
        let declares = matches!(
            keyword.kind,
            TokenKind::KwModel
                | TokenKind::KwBlock
                | TokenKind::KwFn
                | TokenKind::KwTable
                | TokenKind::KwLet
                | TokenKind::KwConfig
                | TokenKind::KwDim
                | TokenKind::KwWeight
                | TokenKind::KwState
                | TokenKind::KwEntry
        );
        if !declares || name.kind != TokenKind::Ident {
            return None;
        }
        let span = Span::new(self.file, name.start, name.end);
        Some(Ident {
            text: self.slice(span).to_string(),
            span,
        })
    }

    pub(super) fn span_from(&self, start: usize) -> Span {
        let first = self.tokens[start.min(self.tokens.len() - 1)];
        let end = self.before().end.max(first.end);
        Span::new(self.file, first.start, end)
    }

    pub(super) fn docs(&mut self) -> Vec<String> {
        let mut docs = Vec::new();
        while matches!(self.peek(), TokenKind::Doc | TokenKind::ModuleDoc) {
            let span = self.bump();
            let text = self.slice(span);
            docs.push(comment_text(text, &text[..3]));
        }
        docs
    }

    pub(super) fn annotations(&mut self) -> Parsed<Vec<Annotation>> {
        let mut list = Vec::new();
        while self.peek() == TokenKind::At {
            let start = self.at;
            self.bump();
            let name = self.ident("the name of an annotation")?;
            let mut args = Vec::new();
            if self.peek() == TokenKind::LParen && !self.tok().fresh_line {
                args = self.arguments()?;
            }
            list.push(Annotation {
                name,
                args,
                span: self.span_from(start),
            });
        }
        Ok(list)
    }

    fn item(&mut self) -> Parsed<Item> {
        let docs = self.docs();
        let annotations = self.annotations()?;
        let start = self.at;
        let kind = match self.peek() {
            TokenKind::KwImport => ItemKind::Import(self.import()?),
            TokenKind::KwModel => ItemKind::Model(self.model()?),
            TokenKind::KwBlock | TokenKind::KwFn => ItemKind::Callable(self.callable()?),
            TokenKind::KwTable => ItemKind::Table(self.table()?),
            TokenKind::KwLet => ItemKind::Let(self.let_binding()?),
            TokenKind::KwConfig | TokenKind::KwEntry | TokenKind::KwWeight | TokenKind::KwState | TokenKind::KwDim => {
                let word = self.slice(self.here()).to_string();
                let diagnostic =
                    Diagnostic::error(Code::E0102, self.here(), format!("`{word}` belongs inside a `model`"))
                        .label("not a declaration of a file")
                        .help("move it into `model Name { … }`");
                return Err(self.report(diagnostic));
            }
            _ => {
                let wanted = "`import`, `model`, `block`, `fn`, `table` or `let`";
                return Err(self.unexpected(Code::E0102, wanted));
            }
        };
        Ok(Item {
            docs,
            annotations,
            kind,
            span: self.span_from(start),
        })
    }

    fn import(&mut self) -> Parsed<Import> {
        self.bump();
        let mut path = vec![self.ident("a module name")?];
        let mut names = None;
        while self.eat(TokenKind::Dot) {
            if self.peek() == TokenKind::LBrace {
                let open = self.bump();
                let mut list = Vec::new();
                while self.peek() != TokenKind::RBrace {
                    let name = self.ident("a name to import")?;
                    let alias = if self.eat_word("as") {
                        Some(self.ident("a new name")?)
                    } else {
                        None
                    };
                    list.push(ImportName { name, alias });
                    if !self.eat(TokenKind::Comma) {
                        break;
                    }
                }
                self.close(TokenKind::RBrace, open)?;
                names = Some(list);
                break;
            }
            path.push(self.ident("a module name or `{`")?);
        }
        Ok(Import { path, names })
    }

    fn table(&mut self) -> Parsed<Table> {
        self.bump();
        let name = self.ident("the name of the table")?;
        let open = self.expect(TokenKind::LParen)?;
        let variable = self.ident("the variable of the formula")?;
        let params = if self.eat(TokenKind::Comma) {
            self.params()?
        } else {
            Vec::new()
        };
        self.close(TokenKind::RParen, open)?;
        self.expect(TokenKind::Eq)?;
        let formula = self.expr()?;
        Ok(Table {
            name,
            variable,
            params,
            formula,
        })
    }

    fn callable(&mut self) -> Parsed<Callable> {
        let is_block = self.peek() == TokenKind::KwBlock;
        self.bump();
        let name = self.ident(if is_block {
            "the name of the block"
        } else {
            "the name of the function"
        })?;
        let mut generics = Vec::new();
        if self.peek() == TokenKind::LBracket {
            let open = self.bump();
            while self.peek() != TokenKind::RBracket {
                let rest = self.eat(TokenKind::DotDot);
                generics.push(Generic {
                    rest,
                    name: self.ident("the name of a dimension")?,
                });
                if !self.eat(TokenKind::Comma) {
                    break;
                }
            }
            self.close(TokenKind::RBracket, open)?;
        }
        let open = self.expect(TokenKind::LParen)?;
        let params = self.params()?;
        self.close(TokenKind::RParen, open)?;
        self.expect(TokenKind::Arrow)?;
        let result = if self.peek() == TokenKind::LParen {
            ResultType::Many(self.fields()?)
        } else {
            ResultType::One(self.ty()?)
        };
        let mut constraints = Vec::new();
        if self.eat(TokenKind::KwWhere) {
            constraints = self.constraints()?;
        }
        let body = if self.eat(TokenKind::Eq) {
            let value = self.expr()?;
            Body {
                statements: Vec::new(),
                span: value.span,
                result: Some(Box::new(value)),
            }
        } else {
            self.body()?
        };
        Ok(Callable {
            is_block,
            name,
            generics,
            params,
            result,
            constraints,
            body,
        })
    }

    /// `a % b == 0, c > 0`
    pub(super) fn constraints(&mut self) -> Parsed<Vec<Expr>> {
        let mut list = vec![self.expr()?];
        while self.eat(TokenKind::Comma) {
            list.push(self.expr()?);
        }
        Ok(list)
    }

    fn model(&mut self) -> Parsed<Model> {
        self.bump();
        let name = self.ident("the name of the model")?;
        let open = self.expect(TokenKind::LBrace)?;
        let mut members = Vec::new();
        while !matches!(self.peek(), TokenKind::RBrace | TokenKind::Eof) && !self.starts_item() {
            let start = self.at;
            match self.member() {
                Ok(member) => members.push(member),
                Err(Reported) => {
                    let name = self.name_after_keyword(start);
                    self.recover(start);
                    let (docs, annotations) = (Vec::new(), Vec::new());
                    let span = self.span_from(start);
                    members.push(Member {
                        docs,
                        annotations,
                        kind: MemberKind::Error(name),
                        span,
                    });
                }
            }
        }
        self.close_or_go_on(open);
        Ok(Model { name, members })
    }

    /// Takes the closing brace; where it is missing, reports that and goes on as if it were there. Of a file that ends too
    /// early only the innermost bracket is reported.
    pub(super) fn close_or_go_on(&mut self, open: Span) {
        let here = self.here();
        let said = |d: &Diagnostic| d.primary.span == here || d.secondary.iter().any(|l| l.span == here);
        if self.peek() == TokenKind::RBrace {
            self.bump();
        } else if self.peek() != TokenKind::Eof || !self.diagnostics.iter().any(said) {
            let diagnostic = Diagnostic::error(Code::E0104, open, "this `{` is never closed")
                .label("opened here")
                .also(self.here(), "`}` is missing before this")
                .help("add `}`");
            self.report(diagnostic);
        }
    }

    fn member(&mut self) -> Parsed<Member> {
        let docs = self.docs();
        let annotations = self.annotations()?;
        let start = self.at;
        let kind = match self.peek() {
            TokenKind::KwConfig => MemberKind::Config(self.config()?),
            TokenKind::KwDim => {
                self.bump();
                let name = self.ident("the name of the dimension")?;
                self.expect(TokenKind::Colon)?;
                self.expect_word("runtime")?;
                let min = if self.eat_word("min") { Some(self.expr()?) } else { None };
                self.expect_word("max")?;
                let max = self.expr()?;
                let before = if self.eat_word("before") {
                    Some(self.ident("the dimension of what a run appends to states")?)
                } else {
                    None
                };
                MemberKind::Dim(DimDecl { min, name, max, before })
            }
            TokenKind::KwLet => MemberKind::Let(self.let_binding()?),
            TokenKind::KwWeight => MemberKind::Weight(self.weight()?),
            TokenKind::KwState => MemberKind::State(self.state()?),
            TokenKind::KwWhere => {
                self.bump();
                MemberKind::Where(self.constraints()?)
            }
            TokenKind::KwEntry => {
                self.bump();
                let name = self.ident("the name of the entry")?;
                let open = self.expect(TokenKind::LParen)?;
                let params = self.params()?;
                self.close(TokenKind::RParen, open)?;
                self.expect(TokenKind::Arrow)?;
                let results = self.fields()?;
                MemberKind::Entry(Entry {
                    name,
                    params,
                    results,
                    body: self.body()?,
                })
            }
            _ => {
                let wanted = "`config`, `dim`, `let`, `weight`, `state`, `where` or `entry`";
                return Err(self.unexpected(Code::E0102, wanted));
            }
        };
        self.end_of_line()?;
        Ok(Member {
            docs,
            annotations,
            kind,
            span: self.span_from(start),
        })
    }

    fn config(&mut self) -> Parsed<ConfigDecl> {
        self.bump();
        let name = self.ident("the name of the config value")?;
        self.expect(TokenKind::Colon)?;
        let ty = self.ty()?;
        let key = if self.eat_word("from") {
            Some(self.expr()?)
        } else {
            None
        };
        let default = if self.eat(TokenKind::Eq) {
            Some(self.expr()?)
        } else {
            None
        };
        Ok(ConfigDecl { name, ty, key, default })
    }
}

fn comment_text(text: &str, mark: &str) -> String {
    text.strip_prefix(mark)
        .unwrap_or(text)
        .trim_end()
        .strip_prefix(' ')
        .unwrap_or(text[3..].trim_end())
        .to_string()
}
