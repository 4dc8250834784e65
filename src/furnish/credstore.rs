//! The credentials that /usr brings along: `/usr/lib/credstore` (systemd.exec(5), `ImportCredential=`). The services of systemd that
//! add users and make files take a credential from there when the machine was not given one of that name; image builders put the
//! root password there. What is in `/usr/lib/credstore.encrypted` is theirs alone: only the real system has the keys.

use std::{cell::OnceCell, os::fd::BorrowedFd};

use rustix::io::Errno;

use crate::{
    config::credentials::{self, MAX_SIZE},
    printable,
    secret::Secret,
    strerror::strerror,
    sysusers::Credentials,
    tree::{
        open,
        read::{self, Limit},
        remove::names,
    },
};

/// The store, as seen from /usr.
const STORE: &str = "lib/credstore";
/// The store of the encrypted ones.
const ENCRYPTED: &str = "lib/credstore.encrypted";

/// The credentials of the machine, and behind them those of /usr, which are read when one is first asked for that the machine lacks.
pub(super) struct Store<'a> {
    given: &'a dyn Credentials,
    usr: BorrowedFd<'a>,
    of_usr: OnceCell<OfUsr>,
}

/// The credentials of /usr, the files there that are none, and the names of the encrypted ones.
#[derive(Default)]
struct OfUsr {
    credentials: credentials::Credentials,
    unread: Vec<String>,
    encrypted: Vec<String>,
}

impl<'a> Store<'a> {
    pub(super) fn of(given: &'a dyn Credentials, usr: BorrowedFd<'a>) -> Self {
        Self { given, usr, of_usr: OnceCell::new() }
    }

    /// The files that were passed over so far, one sentence each, without secrets.
    pub(super) fn problems(&self) -> impl Iterator<Item = &String> {
        self.of_usr
            .get()
            .into_iter()
            .flat_map(|found| found.unread.iter().chain(found.credentials.problems()))
    }

    /// The encrypted ones that are left to the real system, as one sentence.
    pub(super) fn left(&self) -> Option<String> {
        let names = &self.of_usr.get()?.encrypted;
        let said = || format!("/usr/{ENCRYPTED}: left to the real system: {}", names.join(", "));
        (!names.is_empty()).then(said)
    }
}

impl Credentials for Store<'_> {
    fn get(&self, name: &str) -> Option<&[u8]> {
        let of_usr = || self.of_usr.get_or_init(|| OfUsr::read(self.usr)).credentials.get(name);
        self.given.get(name).or_else(|| of_usr().map(Secret::expose))
    }
}

impl OfUsr {
    /// Reads all that can be read. One that cannot be read counts as missing, as for systemd.
    fn read(usr: BorrowedFd<'_>) -> Self {
        let mut found = Self::default();
        for place in [STORE, ENCRYPTED] {
            let listed = open::below(usr, place).and_then(|store| Ok((names(&store)?, store)));
            let (names, store) = match listed {
                Ok(listed) => listed,
                Err(Errno::NOENT) => continue,
                Err(errno) => {
                    found.unread.push(format!("/usr/{place} cannot be read: {}", strerror(&errno.into())));
                    continue;
                }
            };
            for name in names {
                let text = String::from_utf8_lossy(&name);
                if place == ENCRYPTED {
                    found.encrypted.push(printable::line(&text));
                    continue;
                }
                match read::named(&store, name.as_slice(), Limit::bytes(MAX_SIZE)) {
                    Ok(content) => found.credentials.add(&text, Secret::new(content)),
                    Err(error) => {
                        found.unread.push(format!("/usr/{STORE}: '{text}' is passed over: {error}"))
                    }
                }
            }
        }
        found
    }
}
