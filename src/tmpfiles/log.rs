//! The messages while lines are read and carried out: systemd's words, with its levels.

use std::prelude::v1::*;

use crate::level::Level;

/// The one who listens.
pub trait Log {
    /// Takes one message, without a newline.
    fn say(&mut self, level: Level, message: String);
}

/// Keeps everything up to a level.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The least important level that is kept.
    pub level: Level,
    /// The messages.
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
