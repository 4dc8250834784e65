//! The faults of a configuration, each in one line: the word, the reason, what to do.

use core::fmt;
use std::prelude::v1::*;

use super::cmdline::Word;

/// A configuration that cannot be carried out. It ends the boot before anything was touched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// A word whose name begins with `hermetic.` and that is not an option.
    Unknown {
        /// The word as it was written.
        word: String,
    },
    /// A value that cannot be understood.
    Value {
        /// The word as it was written.
        word: String,
        /// The reason, and what to write instead.
        why: String,
    },
    /// Something that is understood and that we cannot do.
    Unsupported {
        /// The word as it was written.
        word: String,
        /// The thing that is missing, and what to do instead.
        why: String,
    },
    /// Two words that cannot hold together, or one that needs another.
    Conflict {
        /// The word as it was written.
        word: String,
        /// The word that it does not go with, and what to do.
        why: String,
    },
}

impl ConfigError {
    pub(super) fn unknown(word: &Word) -> Self {
        Self::Unknown { word: word.to_string() }
    }

    pub(super) fn value(word: &Word, why: impl fmt::Display) -> Self {
        Self::Value { word: word.to_string(), why: why.to_string() }
    }

    pub(super) fn unsupported(word: &Word, why: impl fmt::Display) -> Self {
        Self::Unsupported { word: word.to_string(), why: why.to_string() }
    }

    pub(super) fn conflict(word: &Word, why: impl fmt::Display) -> Self {
        Self::Conflict { word: word.to_string(), why: why.to_string() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { word } => {
                write!(f, "command line: {word} is no option of hermetic-init; correct it or leave it out")
            }
            Self::Value { word, why } => write!(f, "command line: {word}: {why}"),
            Self::Unsupported { word, why } => write!(f, "command line: {word} is not supported yet: {why}"),
            Self::Conflict { word, why } => write!(f, "command line: {word}: {why}"),
        }
    }
}

impl core::error::Error for ConfigError {}

/// A word that was left out of account, and the reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The word as it was written.
    pub word: String,
    /// The reason.
    pub why: String,
}

impl Warning {
    pub(super) fn new(word: &Word, why: &str) -> Self {
        Self { word: word.to_string(), why: why.to_string() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command line: {}: {}", self.word, self.why)
    }
}
