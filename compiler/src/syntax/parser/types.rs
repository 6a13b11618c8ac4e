//! Types, parameters and result fields.

use super::{Parsed, Parser};
use crate::diagnostics::{Code, did_you_mean};
use crate::syntax::ast::*;
use crate::syntax::lexer::TokenKind;

const KINDS: [&str; 8] = ["dim", "int", "real", "bool", "string", "table", "index", "mask"];

impl Parser<'_> {
    /// `name: type = default, …` up to the closing parenthesis, which is left.
    pub(super) fn params(&mut self) -> Parsed<Vec<Param>> {
        let mut params = Vec::new();
        while self.peek() != TokenKind::RParen {
            self.docs();
            let annotations = self.annotations()?;
            let name = self.ident("the name of a parameter")?;
            self.expect(TokenKind::Colon)?;
            let visibility = self.visibility();
            let ty = self.ty()?;
            let default = if self.eat(TokenKind::Eq) {
                Some(self.expr()?)
            } else {
                None
            };
            params.push(Param {
                annotations,
                name,
                visibility,
                ty,
                default,
            });
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        Ok(params)
    }

    /// `(name: type, …)`
    pub(super) fn fields(&mut self) -> Parsed<Vec<Field>> {
        let open = self.expect(TokenKind::LParen)?;
        let mut fields = Vec::new();
        while self.peek() != TokenKind::RParen {
            self.docs();
            let annotations = self.annotations()?;
            let name = self.ident("the name of an output")?;
            self.expect(TokenKind::Colon)?;
            let visibility = self.visibility();
            fields.push(Field {
                annotations,
                name,
                visibility,
                ty: self.ty()?,
            });
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        self.close(TokenKind::RParen, open)?;
        Ok(fields)
    }

    pub(super) fn visibility(&mut self) -> Option<Visibility> {
        let visibility = match self.peek() {
            TokenKind::KwPublic => Visibility::Public,
            TokenKind::KwPrivate => Visibility::Private,
            TokenKind::KwCommitted => Visibility::Committed,
            _ => return None,
        };
        self.bump();
        Some(visibility)
    }

    pub(super) fn ty(&mut self) -> Parsed<Type> {
        let start = self.at;
        let word = self.slice(self.here()).to_string();
        let known =
            matches!(self.peek(), TokenKind::Ident | TokenKind::KwDim | TokenKind::KwTable) && KINDS.contains(&&*word);
        if !known {
            let reported = self.unexpected(Code::E0101, "a type");
            let near = did_you_mean(&word, KINDS).map(|k| format!("did you mean `{k}`?"));
            let list = "types are dim, int, real, bool, string, table, real[…], index(n)[…], mask[…]".to_string();
            if let Some(d) = self.diagnostics.last_mut().filter(|d| d.code == Code::E0101) {
                d.help = Some(near.unwrap_or(list));
            }
            return Err(reported);
        }
        self.bump();
        let element = match word.as_str() {
            "index" => {
                let open = self.expect(TokenKind::LParen)?;
                let bound = self.expr()?;
                self.close(TokenKind::RParen, open)?;
                Some(Element::Index(bound))
            }
            "mask" => Some(Element::Mask),
            "real" if self.peek() == TokenKind::LBracket => Some(Element::Real),
            _ => None,
        };
        let kind = if let Some(element) = element {
            if self.peek() != TokenKind::LBracket {
                return Err(self.unexpected(Code::E0101, "`[` and the shape"));
            }
            TypeKind::Tensor {
                element,
                shape: self.shape()?,
            }
        } else {
            match word.as_str() {
                "dim" => TypeKind::Dim,
                "int" => TypeKind::Int,
                "real" => TypeKind::Real,
                "bool" => TypeKind::Bool,
                "string" => TypeKind::String,
                _ => TypeKind::Table,
            }
        };
        let optional = self.eat(TokenKind::Question);
        Ok(Type {
            kind,
            optional,
            span: self.span_from(start),
        })
    }

    /// `[batch, ..lead, 2 * d]`
    pub(super) fn shape(&mut self) -> Parsed<Vec<ShapeItem>> {
        let open = self.expect(TokenKind::LBracket)?;
        let mut shape = Vec::new();
        while self.peek() != TokenKind::RBracket {
            if self.eat(TokenKind::DotDot) {
                shape.push(ShapeItem::Rest(self.ident("the name of a run of dimensions")?));
            } else {
                shape.push(ShapeItem::Dim(self.expr()?));
            }
            if !self.eat(TokenKind::Comma) {
                break;
            }
        }
        self.close(TokenKind::RBracket, open)?;
        Ok(shape)
    }
}
