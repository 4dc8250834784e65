//! The attempts at a volume: the budget that they are paid from, and what became of each, for the one line of a failure.

use std::fmt;

use super::budget::budget;
use crate::luks::Budget;

/// The most bytes that the attempts take in a line: with the names around them it stays below 1,000 characters, and no longer
/// line fits into the kernel's log.
const MOST: usize = 850;

/// The attempts so far.
pub struct Attempts {
    /// The budget of those to come: one for all that are made with nobody there, and one for each typed answer.
    pub budget: Budget,
    /// The number of secrets so far that were tried on keyslots.
    pub reached: u32,
    notes: Vec<String>,
}

impl Attempts {
    /// No attempt so far.
    pub fn new() -> Self {
        Self { budget: budget(), reached: 0, notes: Vec::new() }
    }

    /// Notes that something was tried in vain, and why.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The number of notes.
    pub fn count(&self) -> usize {
        self.notes.len()
    }

    /// Forgets the notes but the first `count`.
    pub fn forget_after(&mut self, count: usize) {
        self.notes.truncate(count);
    }
}

impl fmt::Display for Attempts {
    /// The first few; the others are counted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = MOST;
        for (index, note) in self.notes.iter().enumerate() {
            if index > 0 && note.len() > left {
                return write!(f, "; {} more in the log", self.notes.len() - index);
            }
            f.write_str(if index > 0 { "; " } else { "" })?;
            f.write_str(note.get(..note.floor_char_boundary(left)).unwrap_or_default())?;
            left = left.saturating_sub(note.len() + 2);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(notes: impl IntoIterator<Item = String>) -> String {
        let mut attempts = Attempts::new();
        notes.into_iter().for_each(|note| attempts.note(note));
        attempts.to_string()
    }

    #[test]
    fn the_line_names_the_first_few_and_counts_the_rest() {
        assert_eq!(shown([]), "");
        assert_eq!(shown(["a: no".into(), "b: no".into()]), "a: no; b: no");
        let many = shown((0..50).map(|number| format!("token {number:02}: {}", "x".repeat(90))));
        assert!(many.starts_with("token 00: x") && many.ends_with("x; 42 more in the log"), "{many}");
        // A character of two bytes may stand at the end.
        let long = shown([format!("x{}", "é".repeat(2000)), "another".into()]);
        assert!(long.ends_with("é; 1 more in the log"), "{long}");
        assert!(many.len() < 900 && long.len() < 900);
    }
}
