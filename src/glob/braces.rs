//! Braces of a pattern: alternatives, as glob(3) of glibc expands them with `GLOB_BRACE`.

use std::prelude::v1::*;

/// The most patterns that braces may stand for.
const MAX_PATTERNS: usize = 4096;
/// The deepest nesting of braces.
const MAX_NESTING: usize = 16;

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

/// The text before a pair of braces, those between its commas, and the text behind.
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
