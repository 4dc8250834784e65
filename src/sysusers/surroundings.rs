//! The machine's part in the new lines: owners of files, shells, credentials, the date.

use std::prelude::v1::*;

use super::{
    allocate::{NameService, Owner},
    definition::Shell,
    message::Message,
    password::{Salt, hash},
};
use crate::{config::credentials, level::Level, map::Map, secret::Secret};

/// The shell of a user who may not log in, at the path of Debian, Fedora and systemd's default.
const NOLOGIN: &str = "/usr/sbin/nologin";

/// A source of passwords and shells: the names and contents of system credentials (systemd.system-credentials(7)).
pub trait Credentials {
    /// The credential of this name.
    fn get(&self, name: &str) -> Option<&[u8]>;
}

impl Credentials for credentials::Credentials {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(Secret::expose)
    }
}

/// No credentials at all.
impl Credentials for () {
    fn get(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

/// The machine's part in the new lines.
pub struct Surroundings<'a> {
    /// Owners of the definitions' paths, as far as these exist.
    pub owners: Map<Owner>,
    /// True when the root has /bin/bash, which is then root's shell; /bin/sh otherwise.
    pub has_bash: bool,
    /// Days since 1970, for shadow's date of the last password change.
    pub today: u32,
    /// `passwd.hashed-password.NAME`, `passwd.plaintext-password.NAME`, `passwd.shell.NAME`.
    pub credentials: &'a dyn Credentials,
    /// Random bytes for the hash of a password in clear; None when the kernel has none.
    pub salt: &'a dyn Fn() -> Option<Salt>,
    /// Another source of users and groups.
    pub service: &'a dyn NameService,
}

impl<'a> Surroundings<'a> {
    /// The login shell for this choice.
    pub fn shell<'s>(&self, shell: &'s Shell) -> &'s str {
        match (shell, self.has_bash) {
            (Shell::Path(path), _) => path,
            (Shell::OfRoot, true) => "/bin/bash",
            (Shell::OfRoot, false) => "/bin/sh",
            (Shell::Nologin, _) => NOLOGIN,
        }
    }

    /// The password field of shadow that a credential asks for, hashed if it is given in clear.
    pub(super) fn password(&self, user: &str, messages: &mut Vec<Message>) -> Option<Secret> {
        let hashed = format!("passwd.hashed-password.{user}");
        if self.credentials.get(&hashed).is_some() {
            return self.credential(&hashed, messages).map(|field| Secret::new(field.to_vec()));
        }
        let name = format!("passwd.plaintext-password.{user}");
        let clear = self.credentials.get(&name)?;
        // crypt(3) takes a C string.
        let clear = clear.split(|byte| *byte == 0).next().unwrap_or_default();
        let field = (self.salt)().and_then(|salt| hash(clear, &salt));
        if field.is_none() {
            let text = format!("Failed to hash credential {name}, '{user}' gets no password.");
            messages.push(Message::new(Level::Error, text));
        }
        field
    }

    /// A credential that can be a field of a database. One that cannot is reported and ignored.
    pub(super) fn credential(&self, name: &str, messages: &mut Vec<Message>) -> Option<&'a [u8]> {
        let value = self.credentials.get(name)?;
        let fits = |byte: &u8| !byte.is_ascii_control() && *byte != b':';
        if value.iter().all(fits) && core::str::from_utf8(value).is_ok() {
            return Some(value);
        }
        let text =
            format!("Credential {name} holds a colon, a newline or another control character, ignoring.");
        messages.push(Message::new(Level::Error, text));
        None
    }
}
