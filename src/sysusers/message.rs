//! The messages on the way, in systemd-sysusers' own words, so that people find them.

use std::prelude::v1::*;

use core::fmt;

use crate::{fragments::facts::ExpandError, level::Level};

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Its weight.
    pub level: Level,
    /// The file and the line (from 1) that it is about, if it is about one.
    pub place: Option<(String, usize)>,
    /// The text.
    pub text: String,
}

impl Message {
    /// A message about no line.
    pub fn new(level: Level, text: impl Into<String>) -> Self {
        Self { level, place: None, text: text.into() }
    }

    /// Returns true when it is an error about a line.
    pub fn is_bad_line(&self) -> bool {
        self.level == Level::Error && self.place.is_some()
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, line)) = &self.place {
            write!(f, "{file}:{line}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// The sentences of the C library that end systemd's messages (`%m`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// EINVAL
    Invalid,
    /// ERANGE
    Range,
    /// ENXIO: a number that is reserved.
    Reserved,
    /// EBADSLT: an unknown specifier.
    UnknownSpecifier,
    /// EUNATCH: a specifier that has no value here.
    NoValue,
    /// ENAMETOOLONG
    TooLong,
}

impl From<ExpandError> for Reason {
    fn from(error: ExpandError) -> Self {
        match error {
            ExpandError::Unknown(_) => Self::UnknownSpecifier,
            ExpandError::Unavailable(_) => Self::NoValue,
            ExpandError::TooLong(_) => Self::TooLong,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "Invalid argument",
            Self::Range => "Numerical result out of range",
            Self::Reserved => "No such device or address",
            Self::UnknownSpecifier => "Invalid slot",
            Self::NoValue => "Protocol driver not attached",
            Self::TooLong => "File name too long",
        })
    }
}
