//! Layout: greedy, from the outermost bracket inwards.
//!
//! At an opening bracket the group is set flat if it holds no comment and no body that must break, and if it fits with
//! the text that follows up to the next bracket or line end. Otherwise it breaks, and the same question is put for what
//! is inside.

use super::WIDTH;
use super::spacing::{continues, goes_on_after, makes_sign, space};
use super::tree::{Node, NodeKind, bracket, closing};
use crate::syntax::lexer::TokenKind;

/// The formatted text of a file.
pub(super) fn layout(nodes: &[Node]) -> String {
    let mut w = Writer {
        out: String::new(),
        column: 0,
        before: None,
    };
    w.lines(&refs(nodes), 0);
    let text = w.out.trim_end();
    if text.is_empty() {
        String::new()
    } else {
        format!("{text}\n")
    }
}

/// The token before the one to be written.
#[derive(Clone)]
struct Before {
    kind: TokenKind,
    text: String,
    sign: bool,
}

struct Writer {
    out: String,
    column: usize,
    /// `None` at the start of a line or list.
    before: Option<Before>,
}

impl Writer {
    fn newline(&mut self, indent: usize) {
        self.out.push('\n');
        self.out.push_str(&" ".repeat(indent * 4));
        self.column = indent * 4;
        self.before = None;
    }

    fn write(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn token(&mut self, kind: TokenKind, text: &str) {
        if let Some(b) = &self.before
            && (kind.is_comment() || space(b.kind, &b.text, b.sign, kind))
        {
            self.write(" ");
        }
        self.write(text);
        let sign = kind == TokenKind::Minus && makes_sign(self.before.as_ref().map(|b| b.kind));
        self.before = Some(Before {
            kind,
            text: text.to_string(),
            sign,
        });
    }

    /// A sequence whose line breaks are the author's: a file or a body.
    fn lines(&mut self, nodes: &[&Node], indent: usize) {
        let mut line_indent = indent;
        for (i, node) in nodes.iter().enumerate() {
            let previous = i.checked_sub(1).map(|p| nodes[p]);
            if let Some(previous) = previous {
                let kind = node.first();
                let joins = kind == TokenKind::KwElse && previous.last() == TokenKind::RBrace
                    || kind == TokenKind::LBrace && !previous.is_comment();
                let breaks = if previous.is_comment() {
                    node.breaks.max(1)
                } else {
                    node.breaks
                };
                if breaks > 0 && !joins {
                    let continued = nodes[..i].iter().rev().find(|n| !n.is_comment()).map(|n| n.last());
                    let deeper = continues(kind) || continued.is_some_and(goes_on_after);
                    // A comma at the end of a line separates match arms; it continues only a `where`.
                    let arm = continued == Some(TokenKind::Comma) && !in_where(&nodes[..i]);
                    line_indent = if deeper && !arm { indent + 1 } else { indent };
                    if breaks > 1 {
                        self.out.push('\n');
                    }
                    self.newline(line_indent);
                    if kind == TokenKind::Minus {
                        // A line that begins with `-` continues a difference: it is no sign.
                        self.before = Some(Before {
                            kind: TokenKind::Eof,
                            text: String::new(),
                            sign: false,
                        });
                    }
                }
            }
            self.node(nodes, i, line_indent, false);
        }
    }

    /// The node at `i` of `nodes`; `flat` inside a group that is set on one line.
    fn node(&mut self, nodes: &[&Node], i: usize, indent: usize, flat: bool) {
        let (open, children, breaks_at_end) = match &nodes[i].kind {
            NodeKind::Leaf(kind, text) => return self.token(*kind, text),
            NodeKind::Group {
                open,
                children,
                breaks_at_end,
            } => (*open, refs(children), *breaks_at_end),
        };
        let list = open != TokenKind::LBrace || self.before.as_ref().is_some_and(|b| b.kind == TokenKind::Dot);
        let call = self.before.as_ref().is_some_and(|b| {
            matches!(
                b.kind,
                TokenKind::Ident | TokenKind::RParen | TokenKind::RBracket | TokenKind::Str | TokenKind::Arrow
            ) && (b.kind == TokenKind::Arrow || !space(b.kind, &b.text, b.sign, open))
        });
        if flat || self.fits(nodes, i) {
            return self.flat(open, &children, list);
        }
        self.token(open, bracket(open));
        if list {
            let comma = open != TokenKind::LParen || call;
            self.list(&children, indent + 1, comma);
        } else {
            self.broken_body(&children, indent + 1, breaks_at_end);
        }
        self.newline(indent);
        self.write(bracket(closing(open)));
        self.before = Some(Before {
            kind: closing(open),
            text: String::new(),
            sign: false,
        });
    }

    fn flat(&mut self, open: TokenKind, children: &[&Node], list: bool) {
        self.token(open, bracket(open));
        let end = if list {
            without_trailing_comma(open, children)
        } else {
            children.len()
        };
        if !list {
            self.before = None;
            if end > 0 {
                self.write(" ");
            }
        } else if open == TokenKind::LBrace {
            self.before = None;
        }
        for i in 0..end {
            self.node(&children[..end], i, 0, true);
        }
        if !list && end > 0 {
            self.write(" ");
        }
        self.write(bracket(closing(open)));
        self.before = Some(Before {
            kind: closing(open),
            text: String::new(),
            sign: false,
        });
    }

    /// One element to a line, comments kept beside or above their element.
    fn list(&mut self, children: &[&Node], indent: usize, trailing_comma: bool) {
        let elements = elements(children);
        let several = elements.len() > 1 || trailing_comma || children.last().is_some_and(|n| comma(n));
        for (n, element) in elements.iter().enumerate() {
            for (i, node) in element.nodes.iter().enumerate() {
                let own_line = i == 0 || node.is_comment() && node.breaks > 0;
                let after_comment = i > 0 && element.nodes[i - 1].is_comment();
                if own_line || after_comment {
                    self.newline(indent);
                }
                self.node(&element.nodes, i, indent, false);
            }
            if several && (n + 1 < elements.len() || !element.only_comments()) {
                if element.only_comments() {
                    self.newline(indent);
                }
                self.write(",");
            }
            for comment in &element.after {
                if comment.breaks > 0 {
                    self.newline(indent);
                }
                self.node(&[*comment], 0, indent, false);
            }
        }
    }

    fn broken_body(&mut self, children: &[&Node], indent: usize, breaks_at_end: usize) {
        // A comment on the line of the opening brace stays there.
        let mut start = 0;
        if let Some(first) = children.first()
            && first.is_comment()
            && first.breaks == 0
        {
            self.node(children, 0, indent, false);
            start = 1;
        }
        let rest = &children[start..];
        if rest.is_empty() {
            return;
        }
        self.newline(indent);
        let one_line = breaks_at_end == 0 && rest.iter().all(|n| n.breaks == 0);
        if !one_line {
            return self.lines(rest, indent);
        }
        // A body written on one line that does not fit: match arms go to lines of their own.
        for i in 0..rest.len() {
            if i > 0 && (comma(rest[i - 1]) || rest[i - 1].is_comment()) {
                self.newline(indent);
            }
            self.node(rest, i, indent, false);
        }
    }

    /// Whether the group at `i` can be set flat here.
    fn fits(&self, nodes: &[&Node], i: usize) -> bool {
        let NodeKind::Group {
            open,
            children,
            breaks_at_end,
        } = &nodes[i].kind
        else {
            return true;
        };
        let list = *open != TokenKind::LBrace || self.before.as_ref().is_some_and(|b| b.kind == TokenKind::Dot);
        if !list && (*breaks_at_end > 0 || children.iter().any(|n| n.breaks > 0)) || !can_be_flat(&refs(children)) {
            return false;
        }
        let mut trial = Writer {
            out: String::new(),
            column: self.column,
            before: self.before.clone(),
        };
        trial.flat(*open, &refs(children), list);
        for next in &nodes[i + 1..] {
            if next.breaks > 0 || next.is_comment() {
                break;
            }
            match &next.kind {
                NodeKind::Leaf(kind, text) => trial.token(*kind, text),
                // A shape or an index reads badly when broken, so it has to fit as well.
                NodeKind::Group {
                    open: open @ TokenKind::LBracket,
                    children,
                    ..
                } => {
                    trial.flat(*open, &refs(children), true);
                }
                NodeKind::Group { open, .. } => {
                    trial.token(*open, bracket(*open));
                    break;
                }
            }
        }
        trial.column <= WIDTH
    }
}

fn comma(node: &Node) -> bool {
    node.first() == TokenKind::Comma
}

/// Whether the last unbracketed words before here are those of a `where`.
fn in_where(before: &[&Node]) -> bool {
    for (i, node) in before.iter().enumerate().rev() {
        match node.first() {
            TokenKind::KwWhere => return true,
            TokenKind::FatArrow => return false,
            _ if node.breaks > 0 && i > 0 && !goes_on_after(before[i - 1].last()) => return false,
            _ => {}
        }
    }
    false
}

/// Neither a comment nor a body with line breaks is anywhere inside.
fn can_be_flat(children: &[&Node]) -> bool {
    children.iter().all(|n| match &n.kind {
        NodeKind::Leaf(kind, _) => !kind.is_comment(),
        NodeKind::Group {
            open: TokenKind::LBrace,
            children,
            breaks_at_end,
        } => *breaks_at_end == 0 && children.iter().all(|c| c.breaks == 0) && can_be_flat(&refs(children)),
        NodeKind::Group { children, .. } => can_be_flat(&refs(children)),
    })
}

/// The number of children without a trailing comma; `(a,)` keeps its own, which makes it a tuple.
fn without_trailing_comma(open: TokenKind, children: &[&Node]) -> usize {
    let commas = children.iter().filter(|n| comma(n)).count();
    match children.last() {
        Some(last) if comma(last) && (commas > 1 || open != TokenKind::LParen) => children.len() - 1,
        _ => children.len(),
    }
}

/// One element of a list, with the comments that follow its comma on the same line.
struct ListElement<'a> {
    nodes: Vec<&'a Node>,
    after: Vec<&'a Node>,
}

impl ListElement<'_> {
    fn only_comments(&self) -> bool {
        self.nodes.iter().all(|n| n.is_comment())
    }
}

fn refs(nodes: &[Node]) -> Vec<&Node> {
    nodes.iter().collect()
}

/// Splits a list at its commas.
fn elements<'a>(children: &[&'a Node]) -> Vec<ListElement<'a>> {
    let mut list: Vec<ListElement<'a>> = Vec::new();
    let mut current = ListElement {
        nodes: Vec::new(),
        after: Vec::new(),
    };
    let mut after_comma = false;
    for node in children {
        if comma(node) {
            // Comments that stand before the comma are set after it.
            while current.nodes.len() > 1 && current.nodes.last().is_some_and(|n| n.is_comment()) {
                current.after.extend(current.nodes.pop());
            }
            current.after.reverse();
            list.push(std::mem::replace(
                &mut current,
                ListElement {
                    nodes: Vec::new(),
                    after: Vec::new(),
                },
            ));
            after_comma = true;
        } else if let (true, true, 0, Some(last)) = (after_comma, node.is_comment(), node.breaks, list.last_mut()) {
            last.after.push(node);
        } else {
            current.nodes.push(node);
            after_comma = false;
        }
    }
    if current.only_comments() {
        // Comments below the last element.
        match list.last_mut() {
            Some(last) => last.after.append(&mut current.nodes),
            None if !current.nodes.is_empty() => list.push(current),
            None => {}
        }
    } else {
        while current.nodes.len() > 1 && current.nodes.last().is_some_and(|n| n.is_comment()) {
            current.after.extend(current.nodes.pop());
        }
        current.after.reverse();
        list.push(current);
    }
    list
}
