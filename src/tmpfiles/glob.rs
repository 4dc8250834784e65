//! Patterns: braces, and what a name must look like (glob(3) with `GLOB_BRACE`, fnmatch(3) with `FNM_PERIOD`, as glibc does them
//! in the C locale: bytes are characters).

use std::prelude::v1::*;

/// The most patterns that braces may stand for.
const MAX_PATTERNS: usize = 4096;
/// How deep braces may be nested.
const MAX_NESTING: usize = 16;

/// Whether a path has characters of a pattern: systemd's `string_is_glob`.
pub fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| b"*?[".contains(byte))
}

/// All patterns that the braces of one stand for. Braces that are not closed stand for themselves; of too many
/// patterns the first ones are given.
pub fn braces(pattern: &[u8]) -> Vec<Vec<u8>> {
    let mut patterns = Vec::new();
    expand(pattern, 0, &mut patterns);
    patterns
}

fn expand(pattern: &[u8], nesting: usize, patterns: &mut Vec<Vec<u8>>) {
    if patterns.len() >= MAX_PATTERNS {
        return;
    }
    let Some((before, alternatives, behind)) =
        (nesting < MAX_NESTING).then(|| first_brace(pattern)).flatten()
    else {
        patterns.push(pattern.to_vec());
        return;
    };
    for alternative in alternatives {
        expand(&[before, alternative, behind].concat(), nesting + 1, patterns);
    }
}

/// What is before a pair of braces, what is between its commas, and what is behind.
type Brace<'p> = (&'p [u8], Vec<&'p [u8]>, &'p [u8]);

/// The first pair of braces.
fn first_brace(pattern: &[u8]) -> Option<Brace<'_>> {
    let mut open = None;
    let (mut depth, mut start) = (0usize, 0);
    let mut alternatives = Vec::new();
    let mut bytes = pattern.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (byte, open) {
            (b'\\', _) => {
                bytes.next();
            }
            // `{}` stands for itself, as with find(1).
            (b'{', None) if pattern.get(at + 1) != Some(&b'}') => {
                open = Some(at);
                start = at + 1;
            }
            (b'{', Some(_)) => depth += 1,
            (b'}', Some(open)) if depth == 0 => {
                alternatives.push(pattern.get(start..at)?);
                return Some((pattern.get(..open)?, alternatives, pattern.get(at + 1..)?));
            }
            (b'}', Some(_)) => depth -= 1,
            (b',', Some(_)) if depth == 0 => {
                alternatives.push(pattern.get(start..at)?);
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// Whether a component of a pattern has to be matched against names; one that has not is a name with backslashes in it.
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

/// Whether a path matches a pattern, component by component (`FNM_PATHNAME | FNM_PERIOD`).
pub fn path_matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut patterns, mut names) = (pattern.split(|&byte| byte == b'/'), path.split(|&byte| byte == b'/'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if matches(pattern, name) => {}
            _ => return false,
        }
    }
}

/// Whether a name matches a component. A leading period is matched by a period alone.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && !matches!(pattern, [b'.', ..] | [b'\\', b'.', ..]) {
        return false;
    }
    // Where to go on when the text behind a star does not match: the pattern behind the star, and what it swallows less.
    let mut retry: Option<(&[u8], &[u8])> = None;
    let (mut pattern, mut text) = (pattern, name);
    loop {
        let matched = match pattern.split_first() {
            Some((b'*', behind)) => {
                retry = Some((behind, text));
                pattern = behind;
                continue;
            }
            None if text.is_empty() => return true,
            None => None,
            Some(_) => text.split_first().and_then(|(byte, text)| Some((one(pattern, *byte)?, text))),
        };
        match (matched, retry) {
            (Some((rest, behind)), _) => (pattern, text) = (rest, behind),
            (None, Some((behind, [_, shorter @ ..]))) => {
                retry = Some((behind, shorter));
                (pattern, text) = (behind, shorter);
            }
            (None, _) => return false,
        }
    }
}

/// Matches one byte against the head of a pattern that is no star, and returns the rest of the pattern.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', class @ ..] => match bracket(class, byte) {
            Some((true, rest)) => Some(rest),
            Some((false, _)) => None,
            None => (byte == b'[').then_some(class),
        },
        [b'\\', escaped, rest @ ..] => (*escaped == byte).then_some(rest),
        [b'\\'] => None,
        [literal, rest @ ..] => (*literal == byte).then_some(rest),
        [] => None,
    }
}

/// Whether a byte is in a bracket expression, and what is behind it; None when the expression has no end.
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
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        assert!(path_matches(b"/a/*/c", b"/a/b/c") && !path_matches(b"/a/*", b"/a/b/c"));
        assert!(!path_matches(b"/*/x", b"/.h/x"));
    }

    /// As glob(3) of glibc with `GLOB_BRACE` expands.
    #[test]
    fn braces_expand() {
        for (pattern, expected) in [
            ("/a", vec!["/a"]),
            ("/{a,b}/c", vec!["/a/c", "/b/c"]),
            ("{a,b{1,2}}{x,}", vec!["ax", "a", "b1x", "b1", "b2x", "b2"]),
            ("{}", vec!["{}"]),
            ("{a", vec!["{a"]),
            ("a}", vec!["a}"]),
            ("\\{a,b}", vec!["\\{a,b}"]),
            ("{a}", vec!["a"]),
        ] {
            let patterns: Vec<String> = braces(pattern.as_bytes())
                .into_iter()
                .map(|pattern| String::from_utf8(pattern).unwrap())
                .collect();
            assert_eq!(patterns, expected, "{pattern}");
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
                matches(&pattern, name.as_bytes());
            }
            braces(&bytes);
            let escaped: Vec<u8> = name.bytes().flat_map(|byte| [b'\\', byte]).collect();
            prop_assert!(matches(&escaped, name.as_bytes()));
        }
    }
}
