//! The lines that count, and the messages about them.

use std::env;

use hermetic_init::{
    config::credentials::Credentials,
    fragments::search::SearchError,
    level::Level,
    strerror::strerror,
    tmpfiles::{Definitions, Log as _, line::Context},
};

use super::{Stderr, machine};
use crate::mirror::{
    machine::label,
    root::Root,
    source::{self, Piece},
};

/// The source of definitions.
pub(super) struct Source<'a> {
    pub files: source::Source<'a>,
    pub credentials: &'a Credentials,
}

/// The search path: that of the system, or of the user's session (systemd: `user_config_paths`).
pub(super) fn directories(is_user: bool) -> Vec<String> {
    if !is_user {
        return source::system("tmpfiles.d");
    }
    let home = machine::home();
    let in_home = |variable: &str, below: &str| {
        machine::directory(variable).or_else(|| home.as_ref().map(|home| format!("{home}/{below}")))
    };
    let list = |variable: &str, default: &str| {
        let list =
            env::var(variable).ok().filter(|list| !list.is_empty()).unwrap_or_else(|| default.to_owned());
        list.split(':').filter(|path| path.starts_with('/')).map(str::to_owned).collect::<Vec<_>>()
    };
    let mut directories: Vec<String> = in_home("XDG_CONFIG_HOME", ".config").into_iter().collect();
    directories.extend(list("XDG_CONFIG_DIRS", "/etc/xdg"));
    directories.extend(machine::directory("XDG_RUNTIME_DIR"));
    directories.extend(in_home("XDG_DATA_HOME", ".local/share"));
    directories.extend(list("XDG_DATA_DIRS", "/usr/local/share:/usr/share"));
    directories.into_iter().map(|directory| format!("{directory}/user-tmpfiles.d")).collect()
}

/// The message about a directory of the search path that cannot be read.
pub(super) fn failure(root: &Root, error: SearchError) -> String {
    format!("Failed to enumerate config files: {}: {}", root.label(&error.path), error.errno)
}

impl Source<'_> {
    /// Reads all lines that count. A file of the search path that cannot be read is passed over, one of the command
    /// line is an error.
    ///
    /// # Errors
    /// The reason why nothing is done; empty if a message has said it.
    pub fn read(
        &self,
        definitions: &mut Definitions,
        context: &Context<'_>,
        log: &mut Stderr,
    ) -> Result<(), String> {
        let root = self.files.root;
        for piece in self.files.pieces().map_err(|error| failure(root, error))? {
            let Piece::File(found) = piece else {
                self.words(definitions, context, log)?;
                continue;
            };
            let label = root.label(&found.path);
            match found.read(&root.tree()) {
                Ok(Some(content)) => definitions.parse(&label, &content, context, log),
                Ok(None) => {}
                Err(errno) => {
                    let reason = strerror(&errno.into());
                    log.say(Level::Error, format!("Failed to read '{label}': {reason}"));
                }
            }
        }
        if let Some(extra) = self.credentials.get("tmpfiles.extra") {
            definitions.parse(&label("tmpfiles.extra"), extra.expose(), context, log);
        }
        Ok(())
    }

    fn words(
        &self,
        definitions: &mut Definitions,
        context: &Context<'_>,
        log: &mut Stderr,
    ) -> Result<(), String> {
        for word in self.files.words {
            let (label, content) = self.files.named(word)?;
            definitions.parse(&label, &content, context, log);
            if !definitions.failed.is_empty() {
                return Err(String::new());
            }
        }
        Ok(())
    }
}
