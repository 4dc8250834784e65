//! The columns of a line, as systemd splits them: quotes group, a backslash makes the next character an ordinary one.
//!
//! sysusers.d(5) speaks of C-style escapes; what systemd-sysusers 257 does is less: it asks its word splitter
//! (`extract_first_word`) for unquoting only, so that `\n` is the letter n.

use std::prelude::v1::*;

/// What separates columns.
const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Why a line could not be split: a quote was not closed, or the line ended with a backslash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unbalanced;

/// Takes up to `limit` words off the line. Returns them and what is left of the line; a quoted empty word is a word.
///
/// # Errors
/// A quote without its end, or a backslash with nothing behind it, within the words that were taken.
pub fn split(line: &str, limit: usize) -> Result<(Vec<String>, &str), Unbalanced> {
    let mut words = Vec::new();
    let mut rest = line.trim_start_matches(WHITESPACE);
    while words.len() < limit && !rest.is_empty() {
        let (word, behind) = first(rest)?;
        words.push(word);
        rest = behind.trim_start_matches(WHITESPACE);
    }
    Ok((words, rest))
}

/// Takes the first word off a line that does not begin with white space.
fn first(line: &str) -> Result<(String, &str), Unbalanced> {
    let mut word = String::new();
    let mut quote = None;
    let mut characters = line.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (_, '\\') => word.push(characters.next().ok_or(Unbalanced)?.1),
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => word.push(character),
            (None, '"' | '\'') => quote = Some(character),
            (None, _) if WHITESPACE.contains(&character) => {
                return Ok((word, line.get(at..).unwrap_or_default()));
            }
            (None, _) => word.push(character),
        }
    }
    match quote {
        Some(_) => Err(Unbalanced),
        None => Ok((word, "")),
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

    proptest! {
        #[test]
        fn any_line_splits_or_not(line: String) {
            if let Ok((words, _)) = split(&line, 6) {
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
