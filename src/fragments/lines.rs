//! The lines of a file, and a message about one of them.

use std::prelude::v1::*;

use core::fmt;

/// Something about one line of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineError {
    /// The file, as its reader called it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The fault, and its object.
    pub message: String,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// The lines of a file. As systemd reads them (`read_line_full`), a line feed, a carriage return and a NUL each end one, and so
/// do several different ones together.
pub fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    const ENDS: [u8; 3] = [b'\n', b'\r', 0];
    let mut rest = content;
    core::iter::from_fn(move || {
        let ends = rest.iter().position(|byte| ENDS.contains(byte));
        let (line, behind) = rest.split_at(ends.unwrap_or(rest.len()));
        let together = (1..=ENDS.len())
            .take_while(|&length| {
                let end = behind.get(..length).unwrap_or_default();
                end.len() == length && ENDS.iter().filter(|byte| end.contains(byte)).count() == length
            })
            .count();
        let is_last = rest.is_empty();
        rest = behind.get(together..).unwrap_or_default();
        (!is_last).then_some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_systemd_ends_them() {
        let split: Vec<&[u8]> = lines(b"a\r\nb\n\nc\0d\n\r\0\ne").collect();
        assert_eq!(split, [&b"a"[..], b"b", b"", b"c", b"d", b"", b"e"]);
        assert_eq!(lines(b"").count(), 0);
        assert_eq!(lines(b"a\n").count(), 1);
    }
}
