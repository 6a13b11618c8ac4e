//! Tokens grouped by brackets, with comments and line breaks attached: what the layout walks.

use crate::syntax::lexer::{TokenKind, lex};

/// A token, a comment, or a bracketed group.
pub(super) struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Line breaks in the source before it: 0, 1, or 2 for one or more blank lines.
    pub breaks: usize,
}

/// What a [`Node`] is.
pub(super) enum NodeKind {
    /// A token that is no bracket, or a comment.
    Leaf(TokenKind, String),
    /// Brackets and what is between them.
    Group {
        /// The opening bracket.
        open: TokenKind,
        /// Between the brackets.
        children: Vec<Node>,
        /// Line breaks before the closing bracket.
        breaks_at_end: usize,
    },
}

impl Node {
    /// The token kind that stands first.
    pub(super) fn first(&self) -> TokenKind {
        match &self.kind {
            NodeKind::Leaf(kind, _) => *kind,
            NodeKind::Group { open, .. } => *open,
        }
    }

    /// The token kind that stands last.
    pub(super) fn last(&self) -> TokenKind {
        match &self.kind {
            NodeKind::Leaf(kind, _) => *kind,
            NodeKind::Group { open, .. } => closing(*open),
        }
    }

    /// Whether this is a comment of any kind.
    pub(super) fn is_comment(&self) -> bool {
        self.first().is_comment()
    }
}

/// The bracket that closes `open`.
pub(super) fn closing(open: TokenKind) -> TokenKind {
    match open {
        TokenKind::LParen => TokenKind::RParen,
        TokenKind::LBracket => TokenKind::RBracket,
        _ => TokenKind::RBrace,
    }
}

/// The text of a bracket.
pub(super) fn bracket(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::LParen => "(",
        TokenKind::RParen => ")",
        TokenKind::LBracket => "[",
        TokenKind::RBracket => "]",
        TokenKind::LBrace => "{",
        _ => "}",
    }
}

/// The nodes of a source whose brackets match (it has been parsed). Depth is the parser's, so it is bounded.
pub(super) fn build(text: &str) -> Vec<Node> {
    let mut stack: Vec<(TokenKind, usize, Vec<Node>)> = vec![(TokenKind::Eof, 0, Vec::new())];
    let mut breaks = 0;
    for token in lex(text) {
        let kind = token.kind;
        match kind {
            TokenKind::Space => continue,
            TokenKind::Newline => {
                breaks = (breaks + 1).min(2);
                continue;
            }
            TokenKind::LParen | TokenKind::LBracket | TokenKind::LBrace => stack.push((kind, breaks, Vec::new())),
            TokenKind::RParen | TokenKind::RBracket | TokenKind::RBrace if stack.len() > 1 => {
                if let Some((open, before, children)) = stack.pop() {
                    let kind = NodeKind::Group {
                        open,
                        children,
                        breaks_at_end: breaks,
                    };
                    push(&mut stack, Node { kind, breaks: before });
                }
            }
            _ => {
                let leaf = NodeKind::Leaf(kind, token.text(text).trim_end().to_string());
                push(&mut stack, Node { kind: leaf, breaks });
            }
        }
        breaks = 0;
    }
    stack.into_iter().next().map(|(_, _, nodes)| nodes).unwrap_or_default()
}

fn push(stack: &mut [(TokenKind, usize, Vec<Node>)], node: Node) {
    if let Some((_, _, children)) = stack.last_mut() {
        children.push(node);
    }
}
