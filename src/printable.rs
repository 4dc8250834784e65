//! Text of strangers as a person may see it: labels of partitions and volumes, names of files, what a header says. A terminal
//! would obey an escape sequence in it, and a second line would pass for one of ours.

use core::fmt::Write as _;
use std::prelude::v1::*;

/// The text on one line: characters that are no visible ones are written as Rust writes them (`\u{1b}`), a line's end as ` | `.
pub fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => line.push_str(" | "),
            '"' | '\'' | '\\' => line.push(character),
            // Writing to a string does not fail.
            _ => drop(write!(line, "{}", character.escape_debug())),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_nothing_to_obey() {
        for (text, shown) in [
            ("usr_1.2 \"é\" '\\'", "usr_1.2 \"é\" '\\'"),
            ("a\nb", "a | b"),
            ("\u{1b}]0;x\u{7}\r\u{9b}2J", "\\u{1b}]0;x\\u{7}\\r\\u{9b}2J"),
            ("\u{202e}live\u{200b}\0", "\\u{202e}live\\u{200b}\\0"),
        ] {
            assert_eq!(line(text), shown);
        }
    }
}
