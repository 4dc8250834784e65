//! The words of a command line: options with a value, options without, nothing that is not understood.

use anyhow::{Context, Result, bail};

/// Words that are taken away as they are understood.
#[derive(Debug)]
pub struct Arguments {
    words: Vec<String>,
}

impl Arguments {
    /// These words, without the program and the subcommand. `--option=value` is `--option value`.
    pub fn new(words: impl IntoIterator<Item = String>) -> Self {
        let mut split = Vec::new();
        for word in words {
            match word.split_once('=') {
                Some((option, value)) if option.starts_with("--") => {
                    split.extend([option.to_owned(), value.to_owned()]);
                }
                _ => split.push(word),
            }
        }
        Self { words: split }
    }

    /// Returns true when this option is given.
    pub fn flag(&mut self, option: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != option);
        self.words.len() != before
    }

    /// All values of an option.
    ///
    /// # Errors
    /// The option stands last, without a value.
    pub fn values(&mut self, option: &str) -> Result<Vec<String>> {
        let mut values = Vec::new();
        while let Some(place) = self.words.iter().position(|word| word == option) {
            self.words.remove(place);
            if place >= self.words.len() {
                bail!("{option} needs a value");
            }
            values.push(self.words.remove(place));
        }
        Ok(values)
    }

    /// The last value of an option.
    ///
    /// # Errors
    /// As [`Arguments::values`].
    pub fn value(&mut self, option: &str) -> Result<Option<String>> {
        Ok(self.values(option)?.pop())
    }

    /// The last value of an option that is a number.
    ///
    /// # Errors
    /// It is not a number.
    pub fn number(&mut self, option: &str) -> Result<Option<u64>> {
        let value = self.value(option)?;
        value.map(|text| text.parse().with_context(|| format!("{option} {text}: not a number"))).transpose()
    }

    /// The next word that is not an option.
    pub fn word(&mut self) -> Option<String> {
        let place = self.words.iter().position(|word| !word.starts_with('-'))?;
        Some(self.words.remove(place))
    }

    /// Reports the words that were not understood.
    ///
    /// # Errors
    /// Words are left.
    pub fn end(self) -> Result<()> {
        if !self.words.is_empty() {
            bail!("not understood: {}", self.words.join(" "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments::new(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_taken_away() {
        let mut words = arguments("--disk a --icount --disk=b word");
        assert_eq!(words.values("--disk").unwrap(), ["a", "b"]);
        assert!(words.flag("--icount") && !words.flag("--icount"));
        assert_eq!(words.word().as_deref(), Some("word"));
        words.end().unwrap();
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert_eq!(arguments("--what").end().unwrap_err().to_string(), "not understood: --what");
        assert!(arguments("--disk").values("--disk").is_err());
        assert!(arguments("--timeout x").number("--timeout").is_err());
    }
}
