//! The values of definition files, piece by piece: fields between colons, C escapes, paths, booleans.

use std::prelude::v1::*;

use crate::fragments::escape;

/// The longest path that Linux takes, without its terminator.
pub(super) const PATH_MAX: usize = 4095;

/// Splits at colons, as often as there are; a backslash begins a C escape. With `quotes`, a field may stand in quotes.
/// None when an escape or a quote is not complete, or when escapes make invalid UTF-8.
pub(super) fn colons(text: &str, quotes: bool) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let (mut fields, mut field, mut quote) = (Vec::new(), Vec::new(), None);
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match (quote, byte) {
            (_, b'\\') => rest = behind.get(escape::one(behind, &mut field)?..)?,
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => field.push(*byte),
            (None, b'"' | b'\'') if quotes => quote = Some(byte),
            (None, b':') => fields.push(core::mem::take(&mut field)),
            (None, _) => field.push(*byte),
        }
    }
    fields.push(field);
    let fields: Result<Vec<String>, _> = fields.into_iter().map(String::from_utf8).collect();
    fields.ok().filter(|_| quote.is_none())
}

/// An absolute path without doubled slashes and `.` in it; None for one that is not absolute, too long, or climbs with
/// `..`. A slash at its end is kept when it has a meaning there.
pub(super) fn path(text: &str, keep_trailing_slash: bool) -> Option<String> {
    if !text.starts_with('/') || text.len() > PATH_MAX || text.contains('\0') {
        return None;
    }
    let mut simple = String::with_capacity(text.len());
    for component in text.split('/').filter(|component| !component.is_empty() && *component != ".") {
        if component == ".." || component.len() > 255 {
            return None;
        }
        simple.push('/');
        simple.push_str(component);
    }
    if simple.is_empty() || (keep_trailing_slash && text.ends_with('/')) {
        simple.push('/');
    }
    Some(simple)
}

/// A boolean in any of systemd's spellings.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// A number in decimal, or in hexadecimal, octal or binary behind `0x`, `0o` (or a plain 0) and `0b`.
pub(super) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..)?, 16),
        [b'0', b'o' | b'O', ..] => (text.get(2..)?, 8),
        [b'0', b'b' | b'B', ..] => (text.get(2..)?, 2),
        [b'0', _, ..] => (text.get(1..)?, 8),
        _ => (text, 10),
    };
    u64::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with(['+', '-']))
}

/// A name that a file can have.
pub(super) fn is_file_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 255 && text != "." && text != ".." && !text.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_split_and_escapes_taken() {
        let split = |text: &str| colons(text, false).map(|fields| fields.join("|"));
        for (text, fields) in [
            ("/a", "/a"),
            ("/a:/b", "/a|/b"),
            ("/a:", "/a|"),
            ("/a::c", "/a||c"),
            (r"/a\x3ab:/\u00e9\t\\\s\'\101", "/a:b|/é\t\\ 'A"),
        ] {
            assert_eq!(split(text).as_deref(), Some(fields), "{text}");
        }
        assert_eq!(colons("", false), Some(vec![]));
        for text in [r"\:", r"a\", r"\xg1", r"\x00", r"\ud800", r"\xff", r"\8"] {
            assert_eq!(split(text), None, "{text}");
        }
        assert_eq!(colons("\"a:b\":c", true), Some(vec!["a:b".into(), "c".into()]));
        assert_eq!(colons("\"a:b", true), None);
    }

    #[test]
    fn paths_are_absolute_and_simple() {
        for (text, keep, simple) in [
            ("/", false, Some("/")),
            ("//a/./b//", false, Some("/a/b")),
            ("/a/", true, Some("/a/")),
            ("/a", true, Some("/a")),
            ("a", false, None),
            ("", false, None),
            ("/a/../b", false, None),
        ] {
            assert_eq!(path(text, keep).as_deref(), simple, "{text}");
        }
    }

    #[test]
    fn numbers_have_their_bases() {
        for (text, value) in [("0", 0), ("12", 12), ("0x10", 16), ("010", 8), ("0o17", 15), ("0b101", 5)] {
            assert_eq!(number(text), Some(value), "{text}");
        }
        for text in ["", "-1", "+1", "0x", "0x+1", "1k", "99999999999999999999"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn splitting_is_total(text in "([:\\\\\"'xu0-9]|\\PC){0,60}", quotes: bool) {
            let _total = colons(&text, quotes);
        }
    }
}
