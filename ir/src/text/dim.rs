//! Affine forms as text: `2*batch+tokens-1`.

use crate::shape::Dim;

/// Reads an affine form; blanks are allowed around terms. `None` where the text is none.
pub(crate) fn parse_dim(text: &str) -> Option<Dim> {
    let mut rest = text.trim();
    let mut sum = Dim::default();
    let mut sign = 1;
    if let Some(after) = rest.strip_prefix('-') {
        (sign, rest) = (-1, after);
    }
    loop {
        let end = rest.find(['+', '-']).unwrap_or(rest.len());
        sum = sum.plus(&parse_term(rest[..end].trim(), sign)?);
        let mut chars = rest[end..].chars();
        sign = match chars.next() {
            None => return Some(sum),
            Some('-') => -1,
            Some(_) => 1,
        };
        rest = chars.as_str();
    }
}

fn parse_term(term: &str, sign: i64) -> Option<Dim> {
    let number = |s: &str| {
        let digits = s.trim();
        // The sign goes first so that `i64::MIN` has a spelling.
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| {
            format!("{}{digits}", if sign < 0 { "-" } else { "" })
                .parse::<i64>()
                .ok()
        })?
    };
    if let Some((factor, name)) = term.split_once('*') {
        return Some(Dim::runtime(dim_name(name.trim())?).times(number(factor)?));
    }
    match dim_name(term) {
        Some(name) => Some(Dim::runtime(name).times(sign)),
        None => number(term).map(Dim::fixed),
    }
}

/// The name itself where it can name a run-time dimension or a repeat index: an identifier that is no float.
pub(crate) fn dim_name(name: &str) -> Option<&str> {
    let mut bytes = name.bytes();
    let head = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    (head && !matches!(name, "nan" | "inf") && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_texts_come_back() {
        for text in [
            "0",
            "-7",
            "batch",
            "2*batch+tokens-1",
            "-batch+3",
            "-3*a-b",
            "-9223372036854775808",
        ] {
            assert_eq!(parse_dim(text).map(|d| d.to_string()).as_deref(), Some(text));
        }
        assert_eq!(
            parse_dim(" 1 + batch ").map(|d| d.to_string()).as_deref(),
            Some("batch+1")
        );
    }

    #[test]
    fn other_texts_do_not() {
        for text in ["", "+", "2*", "*b", "a*b", "2a", "a b", "--1", "9223372036854775808"] {
            assert_eq!(parse_dim(text), None, "{text}");
        }
    }
}
