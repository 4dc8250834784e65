//! What is said while lines are read and carried out: systemd's words, with its levels.

use std::prelude::v1::*;

/// How much a message matters; the levels of syslog(3) that are used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Something was not done.
    Error,
    /// Something is not as it was meant.
    Warning,
    /// Normal, but worth knowing.
    Notice,
    /// What is done; what would be done, in a dry run.
    Info,
    /// Why something was passed over.
    Debug,
}

/// Who listens.
pub trait Log {
    /// Takes one message, without a newline.
    fn say(&mut self, level: Level, message: String);
}

/// Keeps everything up to a level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The least important level that is kept.
    pub level: Level,
    /// What was said.
    pub messages: Vec<(Level, String)>,
}

impl Kept {
    /// Listens to messages of this level and of more important ones.
    pub fn up_to(level: Level) -> Self {
        Self { level, messages: Vec::new() }
    }
}

impl Log for Kept {
    fn say(&mut self, level: Level, message: String) {
        if level <= self.level {
            self.messages.push((level, message));
        }
    }
}
