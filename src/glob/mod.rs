//! Patterns of a shell: braces, and the form of a text (glob(3) with `GLOB_BRACE`, fnmatch(3), as glibc does them in
//! the C locale: bytes are characters).

use std::prelude::v1::*;

mod braces;

pub use braces::braces;

/// True when a path has characters of a pattern: systemd's `string_is_glob`.
pub fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| b"*?[".contains(byte))
}

/// True when a component of a pattern has to be matched against names; one without magic is a name with backslashes in it.
pub fn has_magic(component: &[u8]) -> bool {
    let mut bytes = component.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' => return true,
            b'[' if component.get(at..).is_some_and(|rest| rest.contains(&b']')) => return true,
            _ => {}
        }
    }
    false
}

/// A component without magic as the name that it stands for.
pub fn name(component: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(component.len());
    let mut bytes = component.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => plain.push(*bytes.next().unwrap_or(&b'\\')),
            byte => plain.push(byte),
        }
    }
    plain
}

/// The reach of wildcards, and the other characters that have a meaning in a pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flags {
    /// Wildcards match no slash (`FNM_PATHNAME`).
    pub pathname: bool,
    /// A leading period is matched by a period alone (`FNM_PERIOD`).
    pub period: bool,
    /// Brackets and backslashes stand for themselves, which fnmatch(3) cannot do.
    pub plain: bool,
}

impl Flags {
    /// fnmatch(3) without flags: aliases of modules (modprobe.d(5)).
    pub const NONE: Self = Self { pathname: false, period: false, plain: false };
    /// One component of a path, as glob(3) matches it with the names of a directory.
    pub const COMPONENT: Self = Self { period: true, ..Self::NONE };
    /// A whole path in which only `*` and `?` have a meaning.
    pub const PLAIN_PATH: Self = Self { pathname: true, period: false, plain: true };
}

/// Checks a path against a pattern, component by component (`FNM_PATHNAME | FNM_PERIOD`).
pub fn path_matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut patterns, mut names) = (pattern.split(|&byte| byte == b'/'), path.split(|&byte| byte == b'/'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if matches(pattern, name, Flags::COMPONENT) => {}
            _ => return false,
        }
    }
}

/// Checks a text against a pattern. A star takes the shortest text that lets the rest match, so that only the last star is ever tried
/// again: the time is that of the product of both lengths.
pub fn matches(pattern: &[u8], text: &[u8], flags: Flags) -> bool {
    if flags.period && text.first() == Some(&b'.') && !matches!(pattern, [b'.', ..] | [b'\\', b'.', ..]) {
        return false;
    }
    // The pattern behind the last star, and the text from which that is tried next when it does not match.
    let mut retry: Option<(&[u8], &[u8])> = None;
    let (mut pattern, mut text) = (pattern, text);
    loop {
        let matched = match pattern.split_first() {
            Some((b'*', behind)) => {
                retry = Some((behind, text));
                pattern = behind;
                continue;
            }
            None if text.is_empty() => return true,
            None => None,
            Some(_) => text.split_first().and_then(|(byte, text)| Some((one(pattern, *byte, flags)?, text))),
        };
        match (matched, retry) {
            (Some((rest, behind)), _) => (pattern, text) = (rest, behind),
            // The star takes one byte more, unless that is the end of the name.
            (None, Some((behind, [swallowed, shorter @ ..]))) if !(flags.pathname && *swallowed == b'/') => {
                retry = Some((behind, shorter));
                (pattern, text) = (behind, shorter);
            }
            (None, _) => return false,
        }
    }
}

/// Matches one byte against the head of a pattern that is not a star, and returns the rest of the pattern.
fn one(pattern: &[u8], byte: u8, flags: Flags) -> Option<&[u8]> {
    let is_wild = !(flags.pathname && byte == b'/');
    match pattern {
        [b'?', rest @ ..] => is_wild.then_some(rest),
        [b'[', class @ ..] if !flags.plain => match bracket(class, byte) {
            Some((is_in, rest)) => (is_in && is_wild).then_some(rest),
            None => (byte == b'[').then_some(class),
        },
        [b'\\', rest @ ..] if !flags.plain => {
            let (escaped, rest) = rest.split_first()?;
            (*escaped == byte).then_some(rest)
        }
        [literal, rest @ ..] => (*literal == byte).then_some(rest),
        [] => None,
    }
}

/// Tells if a byte is in a bracket expression, and returns the text behind it; None when the expression has no end.
fn bracket(class: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match class {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (mut is_in, mut is_first) = (false, true);
    loop {
        if let [b']', behind @ ..] = rest
            && !is_first
        {
            return Some((is_in != negated, behind));
        }
        is_first = false;
        if let [b'[', b':', named @ ..] = rest
            && let Some(end) = named.windows(2).position(|pair| pair == b":]")
        {
            is_in |= is_of_class(named.get(..end)?, byte)?;
            rest = named.get(end + 2..)?;
            continue;
        }
        let (low, behind) = literal(rest)?;
        rest = behind;
        if let [b'-', next, ..] = rest
            && *next != b']'
        {
            let (high, behind) = literal(rest.get(1..)?)?;
            is_in |= (low..=high).contains(&byte);
            rest = behind;
        } else {
            is_in |= low == byte;
        }
    }
}

/// One byte of a bracket expression, which a backslash may precede.
fn literal(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [b'\\', byte, rest @ ..] | [byte, rest @ ..] => Some((*byte, rest)),
        [] => None,
    }
}

fn is_of_class(class: &[u8], byte: u8) -> Option<bool> {
    Some(match class {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => byte == b' ' || byte == b'\t',
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte.is_ascii_graphic() || byte == b' ',
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace() || byte == 11,
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Flags; 3] = [Flags::NONE, Flags::COMPONENT, Flags::PLAIN_PATH];

    /// As fnmatch(3) of glibc says.
    #[test]
    fn names_that_match() {
        for (pattern, name, expected) in [
            ("*", "abc", true),
            ("*", ".abc", false),
            (".*", ".abc", true),
            ("?b*", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]]x", "]x", true),
            ("[a-]", "-", true),
            ("[[:digit:]]*", "7z", true),
            ("[[:alpha:]_]", "_", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", false),
            ("", "", true),
            ("*.conf", "x.conf", true),
            ("**x", "x", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes(), Flags::COMPONENT),
                expected,
                "{pattern} {name}"
            );
        }
        assert!(path_matches(b"/a/*/c", b"/a/b/c") && !path_matches(b"/a/*", b"/a/b/c"));
        assert!(!path_matches(b"/*/x", b"/.h/x"));
    }

    /// As fnmatch(3) of glibc says.
    #[test]
    fn aliases_that_match() {
        for (pattern, text, expected) in [
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4", true),
            ("virtio:d00000002v*", "virtio:d00000003v00001AF4", false),
            ("pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", true),
            ("pci:v*d*sv*sd*bc01sc08i02*", "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc06i01", false),
            ("a[0-3]b", "a2b", true),
            ("a[0-3]b", "a4b", false),
            ("a[!0-3]b", "a4b", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*c", "a/.c", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*a*b", "xxayyab", true),
            ("a[", "a[", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes(), Flags::NONE),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn paths_that_match() {
        for (pattern, path, expected) in [
            ("*", "a", true),
            ("*", ".a", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbx", false),
            ("a*", "a", true),
            ("a", "ab", false),
            ("[a]*", "[a]b", true),
            ("[a]", "a", false),
            ("\\*", "\\b", true),
        ] {
            let matched = matches(pattern.as_bytes(), path.as_bytes(), Flags::PLAIN_PATH);
            assert_eq!(matched, expected, "{pattern} {path}");
        }
    }

    #[test]
    fn magic() {
        for (component, magic, plain) in
            [("a", false, "a"), ("a*", true, ""), ("\\*", false, "*"), ("[a", false, "[a"), ("[a]", true, "")]
        {
            assert_eq!(has_magic(component.as_bytes()), magic, "{component}");
            assert!(magic || name(component.as_bytes()) == plain.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[a*?\\[\\]!{},\\\\-]{0,24}", name in "[a-c\\[\\]]{0,24}", bytes: Vec<u8>) {
            for pattern in braces(pattern.as_bytes()) {
                for flags in ALL {
                    matches(&pattern, name.as_bytes(), flags);
                }
            }
            braces(&bytes);
            let escaped: Vec<u8> = name.bytes().flat_map(|byte| [b'\\', byte]).collect();
            prop_assert!(matches(&escaped, name.as_bytes(), Flags::COMPONENT));
        }

        #[test]
        fn a_text_matches_itself_and_a_star(path in "[a-c/]{1,12}", at in 0usize..12) {
            let at = at.min(path.len());
            let pattern = format!("{}*{}", &path[..at], &path[at..]);
            for flags in ALL {
                prop_assert!(matches(path.as_bytes(), path.as_bytes(), flags));
                prop_assert!(matches(pattern.as_bytes(), path.as_bytes(), flags), "{}", pattern);
            }
        }

        #[test]
        fn a_pattern_without_wildcards_matches_itself_alone(text in "[a-z:0-9]{0,20}", other in "[a-z:0-9]{0,20}") {
            for flags in ALL {
                prop_assert!(matches(text.as_bytes(), text.as_bytes(), flags));
                prop_assert_eq!(matches(text.as_bytes(), other.as_bytes(), flags), text == other);
            }
        }

        #[test]
        fn no_pattern_panics(pattern: Vec<u8>, text: Vec<u8>) {
            for flags in ALL {
                matches(&pattern, &text, flags);
            }
        }
    }
}
