//! The columns of a line, as systemd splits them: quotes group, a backslash makes the next character an ordinary one or
//! begins an escape.
//!
//! sysusers.d(5) speaks of C-style escapes; what systemd-sysusers 257 does is less: it asks its word splitter
//! (`extract_first_word`) for unquoting only, so that `\n` is the letter n. systemd-tmpfiles asks for escapes as well.

use std::prelude::v1::*;

use super::escape;

/// The separators of columns.
const WHITESPACE: &[u8] = b" \t\n\r";

/// Room for nearly every word, in bytes.
const USUAL: usize = 32;

/// The meaning of a backslash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backslash {
    /// The next byte stands for itself.
    Quotes,
    /// It begins an escape of C; an invalid one is an error.
    Escapes,
}

/// The reason why a line could not be split: a quote was not closed, the line ended with a backslash, or a backslash
/// begins an invalid escape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unbalanced;

/// [`split_bytes`] of a text whose backslashes quote.
///
/// # Errors
/// A quote without its end, or a backslash with nothing behind it, within the words that were taken.
pub fn split(line: &str, limit: usize) -> Result<(Vec<String>, &str), Unbalanced> {
    let (words, rest) = split_bytes(line.as_bytes(), limit, Backslash::Quotes)?;
    // Words begin and end at ASCII, so they are whole characters.
    let words = words.into_iter().map(|word| String::from_utf8(word).map_err(|_| Unbalanced));
    Ok((words.collect::<Result<_, _>>()?, core::str::from_utf8(rest).map_err(|_| Unbalanced)?))
}

/// Takes up to `limit` words off the line. Returns them and the rest of the line; a quoted empty word is a word.
///
/// # Errors
/// A quote without its end, or a backslash without a valid escape, within the words that were taken.
pub fn split_bytes(
    line: &[u8],
    limit: usize,
    backslash: Backslash,
) -> Result<(Vec<Vec<u8>>, &[u8]), Unbalanced> {
    let mut words = Vec::new();
    let mut rest = behind_space(line);
    while words.len() < limit && !rest.is_empty() {
        let (word, behind) = first(rest, backslash)?;
        words.push(word);
        rest = behind_space(behind);
    }
    Ok((words, rest))
}

fn behind_space(line: &[u8]) -> &[u8] {
    let space = line.iter().take_while(|byte| WHITESPACE.contains(byte)).count();
    line.get(space..).unwrap_or_default()
}

/// Takes the first word off a line that does not begin with white space.
fn first(line: &[u8], backslash: Backslash) -> Result<(Vec<u8>, &[u8]), Unbalanced> {
    let mut word = Vec::with_capacity(USUAL);
    let mut quote = None;
    let mut rest = line;
    while let Some((&byte, behind)) = rest.split_first() {
        let mut taken = 0;
        match (quote, byte) {
            (_, b'\\') => {
                taken = match backslash {
                    Backslash::Escapes => escape::one(behind, &mut word).ok_or(Unbalanced)?,
                    Backslash::Quotes => {
                        word.push(*behind.first().ok_or(Unbalanced)?);
                        1
                    }
                }
            }
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => word.push(byte),
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, _) if WHITESPACE.contains(&byte) => return Ok((word, rest)),
            (None, _) => word.push(byte),
        }
        rest = behind.get(taken..).unwrap_or_default();
    }
    match quote {
        Some(_) => Err(Unbalanced),
        None => Ok((word, rest)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_as_the_tool_takes_them() {
        for (line, words, rest) in [
            ("u a - \"ge \\\"q\\\" \\t\"", vec!["u", "a", "-", "ge \"q\" t"], ""),
            ("  u\ta  ", vec!["u", "a"], ""),
            ("u ''  x", vec!["u", "", "x"], ""),
            ("u a'b c'd", vec!["u", "ab cd"], ""),
            ("u a\\ b", vec!["u", "a b"], ""),
            ("a b c d e f  ", vec!["a", "b", "c", "d"], "e f  "),
        ] {
            assert_eq!(
                split(line, 4),
                Ok((words.into_iter().map(str::to_owned).collect(), rest)),
                "{line:?}"
            );
        }
        for line in ["u 'a", "u \"a", "u a\\", "u 'x\\'y"] {
            assert_eq!(split(line, 4), Err(Unbalanced), "{line:?}");
        }
    }

    #[test]
    fn escapes_only_where_they_are_asked_for() {
        let line = br#"f "/a\x20b\n" '\xff'c"#;
        let (words, _) = split_bytes(line, 3, Backslash::Escapes).unwrap();
        assert_eq!(words, [&b"f"[..], b"/a b\n", b"\xffc"]);
        let (words, _) = split_bytes(line, 3, Backslash::Quotes).unwrap();
        assert_eq!(words, [&b"f"[..], b"/ax20bn", b"xffc"]);
        assert_eq!(split_bytes(br"a \q", 2, Backslash::Escapes), Err(Unbalanced));
    }

    proptest! {
        #[test]
        fn any_line_splits_or_not(line: String, bytes: Vec<u8>) {
            if let Ok((words, _)) = split(&line, 6) {
                prop_assert!(words.len() <= 6);
            }
            if let Ok((words, _)) = split_bytes(&bytes, 6, Backslash::Escapes) {
                prop_assert!(words.len() <= 6);
            }
        }

        #[test]
        fn quoted_words_come_back(words in prop::collection::vec("[^'\\\\]{0,8}", 1..6)) {
            let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            let line = quoted.join(" ");
            prop_assert_eq!(split(&line, 6), Ok((words, "")));
        }
    }
}
