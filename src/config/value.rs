//! The kinds of values that an option takes: read from the command line, and printed for the reference.

use core::time::Duration;
use std::prelude::v1::*;

use super::cmdline::Word;
use super::error::ConfigError;
use crate::level::Level;
use crate::tpm::PcrMask;

/// A kind of value.
pub(super) trait Value: Sized {
    /// The words that may stand behind the `=`, or one in capitals that stands for all of them.
    const WORDS: &'static [&'static str];

    /// The value of this text.
    ///
    /// # Errors
    /// The reason why it is invalid, and what to write instead.
    fn parse(text: &str) -> Result<Self, String>;

    /// The text of this value.
    fn print(&self) -> String;
}

/// A value that other words of the command line also give: ours counts first, then theirs, then the default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Or<T> {
    /// The value of our own word; None without the word.
    pub said: Option<T>,
    /// The value without any of the words.
    pub default: T,
    /// The other words, as the reference names them before the default.
    others: &'static str,
}

impl<T> Or<T> {
    pub fn after(others: &'static str, default: T) -> Self {
        Self { said: None, default, others }
    }
}

/// A field of the options: a value, or one that other words also give.
pub(super) trait Field: Sized {
    /// As [`Value::WORDS`].
    const VALUES: &'static [&'static str];

    /// The field by its word. An invalid word counts as missing, and `refusal` says why unless it says something already.
    fn decide(self, word: Option<&Word>, refusal: &mut Option<ConfigError>) -> Self;

    /// The default, as the reference prints it.
    fn print_default(&self) -> String;
}

impl<T: Value> Field for T {
    const VALUES: &'static [&'static str] = T::WORDS;

    fn decide(self, word: Option<&Word>, refusal: &mut Option<ConfigError>) -> Self {
        parse(word, refusal).unwrap_or(self)
    }

    fn print_default(&self) -> String {
        self.print()
    }
}

impl<T: Value> Field for Or<T> {
    const VALUES: &'static [&'static str] = T::WORDS;

    fn decide(self, word: Option<&Word>, refusal: &mut Option<ConfigError>) -> Self {
        Self { said: parse(word, refusal), ..self }
    }

    fn print_default(&self) -> String {
        format!("{} {}", self.others, self.default.print())
    }
}

impl<T: Value> Field for Option<T> {
    const VALUES: &'static [&'static str] = T::WORDS;

    fn decide(self, word: Option<&Word>, refusal: &mut Option<ConfigError>) -> Self {
        parse(word, refusal).or(self)
    }

    fn print_default(&self) -> String {
        self.as_ref().map_or_else(|| "none".into(), T::print)
    }
}

fn parse<T: Value>(word: Option<&Word>, refusal: &mut Option<ConfigError>) -> Option<T> {
    let word = word?;
    match T::parse(word.value.as_deref().unwrap_or_default()) {
        Ok(value) => Some(value),
        Err(why) => {
            refusal.get_or_insert_with(|| ConfigError::value(word, why));
            None
        }
    }
}

/// An absolute path of a file.
impl Value for String {
    const WORDS: &'static [&'static str] = &["PATH"];

    fn parse(text: &str) -> Result<Self, String> {
        match text.starts_with('/') && !text.ends_with('/') {
            true => Ok(text.into()),
            false => Err("is no absolute path of a file".into()),
        }
    }

    fn print(&self) -> String {
        self.clone()
    }
}

impl Value for Duration {
    const WORDS: &'static [&'static str] = &["SECONDS"];

    fn parse(text: &str) -> Result<Self, String> {
        text.parse::<u32>()
            .map(|seconds| Self::from_secs(seconds.into()))
            .map_err(|_| "is no number of seconds".into())
    }

    fn print(&self) -> String {
        self.as_secs().to_string()
    }
}

impl Value for u32 {
    const WORDS: &'static [&'static str] = &["NUMBER"];

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is no number".into())
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Value for PcrMask {
    const WORDS: &'static [&'static str] = &["NUMBER[+NUMBER...]"];

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
            .ok_or_else(|| "is not a list of PCRs; write numbers from 0 to 23, as 7 or 7+11".into())
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

/// The least urgent lines that are shown.
impl Value for Level {
    const WORDS: &'static [&'static str] = &["err", "info", "debug"];

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "err" => Ok(Self::Warning),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            _ => Err(none_of(Self::WORDS)),
        }
    }

    fn print(&self) -> String {
        String::from(match self {
            Self::Debug => "debug",
            Self::Info => "info",
            _ => "err",
        })
    }
}

pub(super) fn none_of(words: &[&str]) -> String {
    format!("is not known; write {}", words.join(", "))
}

/// Declares an enum whose variants are the words of a value.
macro_rules! choice {
    ($(#[$doc:meta])+ pub enum $name:ident { $($(#[$of:meta])+ $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[$of])+ $variant,)+ }

        impl $name {
            /// The word for it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The one of this name.
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl $crate::config::value::Value for $name {
            const WORDS: &'static [&'static str] = &[$($word),+];

            fn parse(text: &str) -> Result<Self, String> {
                Self::parse(text).ok_or_else(|| $crate::config::value::none_of(Self::WORDS))
            }

            fn print(&self) -> String {
                self.name().into()
            }
        }
    };
}
pub(super) use choice;
