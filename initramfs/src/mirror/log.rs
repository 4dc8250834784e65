//! Messages as systemd's tools write them on a terminal or into a pipe: the bare line on stderr, if its level is
//! wanted.
//!
//! `SYSTEMD_LOG_LEVEL` chooses the least level, by name or number (syslog(3)); without a valid one it is `info`.

use std::{fmt, io::Write as _};

pub use hermetic_init::level::Level;

/// The stream that messages go to.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// The largest number that is written.
    limit: u8,
    /// True when readers are taken to have more letters than ASCII.
    utf8: bool,
}

impl Log {
    /// As the environment wants it.
    pub fn from_environment() -> Self {
        let wanted = std::env::var("SYSTEMD_LOG_LEVEL").unwrap_or_default();
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        Self { limit: limit(&wanted).unwrap_or(Level::Info as u8), utf8: is_utf8(locale.as_deref()) }
    }

    /// True when messages of this level are written.
    pub fn wants(self, level: Level) -> bool {
        level as u8 <= self.limit
    }

    /// Writes one message, unless its level is not wanted.
    pub fn say(self, level: Level, message: impl fmt::Display) {
        if self.wants(level) {
            let mut text = message.to_string();
            if !self.utf8 {
                text = text.replace('…', "...");
            }
            // There is nowhere to complain that stderr is closed.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// As [`Log::say`], for an error.
    pub fn error(self, message: impl fmt::Display) {
        self.say(Level::Error, message);
    }
}

/// Returns true when a locale has more letters than ASCII. As systemd decides it: all have but those that are asked for
/// by these names.
fn is_utf8(locale: Option<&str>) -> bool {
    !matches!(locale, Some("C" | "POSIX"))
}

/// The level that a word of systemd's stands for; all levels have a number, the eighth is `null`: nothing.
fn limit(word: &str) -> Option<u8> {
    const NAMES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    match NAMES.iter().position(|name| *name == word) {
        Some(number) => u8::try_from(number).ok(),
        None if word == "null" => Some(0),
        None => word.parse().ok().filter(|number| *number < 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_by_name_and_number() {
        let cases = [
            ("debug", Some(7)),
            ("err", Some(3)),
            ("4", Some(4)),
            ("8", None),
            ("", None),
            ("null", Some(0)),
        ];
        for (word, number) in cases {
            assert_eq!(limit(word), number, "{word}");
        }
    }
}
