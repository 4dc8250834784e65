//! The lines that count, and the messages about them.

use std::os::unix::ffi::OsStrExt as _;

use hermetic_init::{
    config::credentials::Credentials,
    sysusers::{Definitions, Facts, apply::read_found},
};

use super::failure;
use crate::mirror::{
    machine,
    source::{self, Piece},
};

/// The name in messages of a word that is a line itself.
const ARGUMENT: &str = "(argument)";

/// The source of definitions.
pub(super) struct Source<'a> {
    pub files: source::Source<'a>,
    pub facts: &'a Facts,
    /// The words are lines.
    pub inline: bool,
    pub credentials: &'a Credentials,
}

impl Source<'_> {
    /// Reads all that counts. A wrong line of the search path is passed over, a wrong word of the command line is an
    /// error.
    ///
    /// # Errors
    /// The reason why nothing is to be done; empty if a message of the definitions says it.
    pub fn read(&self, definitions: &mut Definitions) -> Result<(), String> {
        let root = self.files.root;
        for piece in self.files.pieces().map_err(|error| failure(root, error.into()))? {
            match piece {
                Piece::Words => self.words(definitions)?,
                Piece::File(found) => {
                    let label = root.label(&found.path);
                    read_found(&root.tree(), definitions, &found, &label, self.facts);
                }
            }
        }
        if let Some(extra) = self.credentials.get("sysusers.extra") {
            definitions.parse(&machine::label("sysusers.extra"), extra.expose(), self.facts);
        }
        Ok(())
    }

    fn words(&self, definitions: &mut Definitions) -> Result<(), String> {
        for (number, word) in self.files.words.iter().enumerate() {
            let right = match self.inline {
                true => definitions.parse_line(ARGUMENT, number + 1, word.as_bytes(), self.facts),
                false => {
                    let (label, content) = self.files.named(word)?;
                    definitions.parse(&label, &content, self.facts)
                }
            };
            if !right {
                return Err(String::new());
            }
        }
        Ok(())
    }
}
