//! Strings and names.

use std::fmt::Write as _;

/// `text` in quotes, with escapes.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The text of quoted characters, without the quotes. `None` where an escape is no character.
pub(super) fn unquote(chars: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = chars.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match rest.next()? {
            'n' => '\n',
            't' => '\t',
            'u' => {
                let (digits, after) = rest.as_str().strip_prefix('{')?.split_once('}')?;
                rest = after.chars();
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            c => c,
        });
    }
    Some(out)
}

/// `name` with its sigil, bare where it can be.
pub(super) fn sigil(sigil: char, name: &str) -> String {
    let mut bytes = name.bytes();
    let head = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if head && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.') {
        format!("{sigil}{name}")
    } else {
        format!("{sigil}{}", quote(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_come_back() {
        for text in ["", "plain", "a\"b\\c\n\t\u{1}é", "{l}"] {
            let quoted = quote(text);
            assert_eq!(unquote(&quoted[1..quoted.len() - 1]).as_deref(), Some(text));
        }
        assert_eq!(unquote("\\u{d800}"), None);
    }

    #[test]
    fn names_are_bare_where_they_can_be() {
        assert_eq!(sigil('%', "conv1.out"), "%conv1.out");
        assert_eq!(sigil('@', "/conv/1"), "@\"/conv/1\"");
    }
}
