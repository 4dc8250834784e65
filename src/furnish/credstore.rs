//! The credentials that /usr brings along: `/usr/lib/credstore` (systemd.exec(5), `ImportCredential=`). The services of systemd that
//! add users and make files take a credential from there when the machine was not given one of that name; image builders put the
//! root password there.

use std::{cell::OnceCell, os::fd::BorrowedFd};

use crate::{
    config::credentials::{self, MAX_SIZE},
    secret::Secret,
    sysusers::Credentials,
    tree::{
        open,
        read::{self, Limit},
        remove::names,
    },
};

/// The credentials of the machine, and behind them those of /usr, which are read when one is first asked for that the machine lacks.
pub(super) struct Store<'a> {
    given: &'a dyn Credentials,
    usr: BorrowedFd<'a>,
    read: OnceCell<credentials::Credentials>,
}

impl<'a> Store<'a> {
    pub(super) fn of(given: &'a dyn Credentials, usr: BorrowedFd<'a>) -> Self {
        Self { given, usr, read: OnceCell::new() }
    }
}

impl Credentials for Store<'_> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.given.get(name).or_else(|| self.read.get_or_init(|| all(self.usr)).get(name).map(Secret::expose))
    }
}

/// Reads all that can be read. As for systemd, one that cannot be read is one that is not there.
fn all(usr: BorrowedFd<'_>) -> credentials::Credentials {
    let mut all = credentials::Credentials::new();
    let Ok(store) = open::below(usr, "lib/credstore") else { return all };
    for name in names(&store).unwrap_or_default() {
        let content = read::named(&store, name.as_slice(), Limit::bytes(MAX_SIZE));
        if let (Ok(name), Ok(content)) = (core::str::from_utf8(&name), content) {
            all.add(name, Secret::new(content));
        }
    }
    all
}
