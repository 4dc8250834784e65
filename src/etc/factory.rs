//! The factory's /etc: the /etc that an image was built with, and the complete copy of it.
//!
//! The source is `/usr/share/factory/etc`, and where that does not exist, `/usr/etc`. A copy overwrites nothing that
//! exists in the target, file by file. A power cut in the middle of a file leaves it cut short and existing: the copy
//! is for a root that is adopted only when all of it is flushed (the first boot's transaction), or for one that a power
//! cut removes. Every other root is [`super::follow`]'s.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::{
    fs::{self, AtFlags, Mode},
    io::Errno,
};

use super::{
    EtcError, Side,
    copy::{Copied, Copier},
    manifest::{DATABASES, Head, Lines, Text},
    rules::{CONF, RuleError, Rules},
    scan::scan,
    users::{self, Contents},
};
use crate::tree::{
    open,
    read::{self, Limit, ReadError},
};

pub use super::copy::Report;

/// The places of the /etc that an image was built with, as seen from its /usr; the first that exists is taken.
const SOURCES: [&str; 2] = ["share/factory/etc", "etc"];
/// The largest etc.conf and the largest user database that are read.
const MAX_SIZE: Limit = Limit::mebibytes(64);

/// An image's factory tree.
pub struct Factory {
    /// The tree.
    pub(super) tree: OwnedFd,
    /// The path, as seen from /usr.
    pub(super) source: &'static str,
}

impl Factory {
    /// Finds it; None when the image has none. A link on the way counts as missing: the tree must be part of the image
    /// itself.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn find(usr: BorrowedFd<'_>) -> Result<Option<Self>, EtcError> {
        for source in SOURCES {
            match open::below(usr, source) {
                Ok(tree) => return Ok(Some(Self { tree, source })),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {}
                Err(errno) => return Err(EtcError::factory("open", source)(errno)),
            }
        }
        Ok(None)
    }

    /// The path in the running system.
    pub(super) fn place(&self) -> String {
        format!("/usr/{}", self.source)
    }

    /// The contents of its user databases.
    pub(super) fn users(&self) -> Result<Contents, EtcError> {
        contents(self.tree.as_fd()).map_err(EtcError::factory("read the user databases of", "/etc"))
    }
}

/// The contents of the user databases in a directory; one that is missing or not a regular file is left out.
pub(super) fn contents(etc: BorrowedFd<'_>) -> Result<Contents, Errno> {
    let mut contents = Contents::new();
    for (name, _) in DATABASES {
        if let Some(content) = read(etc, name)? {
            contents.insert(name, content);
        }
    }
    Ok(contents)
}

/// The rules of an image: its exceptions from the strategy, and the lines of etc.conf that say nothing.
///
/// # Errors
/// An etc.conf that cannot be read.
pub fn rules(usr: BorrowedFd<'_>, head: &Head) -> Result<(Rules, Vec<RuleError>), EtcError> {
    let mut rules = Rules::new(head.strategy);
    let conf = read(usr, CONF).map_err(EtcError::factory("read", CONF))?;
    let errors = conf.map(|conf| rules.read(&conf)).unwrap_or_default();
    Ok((rules, errors))
}

/// Reads a regular file, links not followed; None when it is missing.
fn read(at: BorrowedFd<'_>, path: &str) -> Result<Option<Vec<u8>>, Errno> {
    match read::named(at, path, MAX_SIZE) {
        Ok(content) => Ok(Some(content)),
        Err(ReadError::NotAFile | ReadError::Call(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => Ok(None),
        Err(error) => Err(error.errno()),
    }
}

/// Copies the image's factory tree to `/etc` of the root: modes, owners, times, extended attributes, links as they are.
/// Makes /etc when it is missing. Returns the counts and the manifest of the copy.
///
/// # Errors
/// `/etc` that is not a directory, and the first entry that could not be copied whole; entries before it stay.
pub fn copy(
    root: BorrowedFd<'_>,
    usr: BorrowedFd<'_>,
    head: &Head,
    rules: &Rules,
) -> Result<(Report, Text), EtcError> {
    let Some(factory) = Factory::find(usr)? else { return Ok((Report::default(), head.text(Lines::new()))) };
    let target = etc(root)?;
    let place = factory.place();
    let Copied { mut report, mut lines, databases } =
        Copier::new(target.as_fd(), rules, &place).tree(&factory.tree)?;
    report.source = Some(factory.source.to_owned());
    let contents = factory.users()?;
    for (file, kind) in databases {
        if let Some(content) = contents.get(file.as_bytes()) {
            users::digests(file, kind, content).iter().for_each(|(key, digest)| lines.user(key, digest));
        }
    }
    // For the next /usr a path that stays free is one that was given and removed: it does not come back.
    if rules.leaves_some_free() {
        let wanted = |path: &[u8]| rules.is_free(path);
        // The copy has read the directory to its end.
        let again = open::below(usr, factory.source).map_err(EtcError::factory("open", factory.source))?;
        for (path, entry) in scan(again.as_fd(), Side::Factory, &wanted)?.iter() {
            if wanted(path) {
                lines.entry([b"", path], entry);
            }
        }
    }
    Ok((report, head.text(lines)))
}

/// Opens /etc of the root, and makes it when it is missing.
pub(super) fn etc(root: BorrowedFd<'_>) -> Result<OwnedFd, EtcError> {
    match fs::mkdirat(root, "etc", Mode::from_raw_mode(0o755)) {
        Ok(()) => fs::chmodat(root, "etc", Mode::from_raw_mode(0o755), AtFlags::empty())
            .map_err(EtcError::call("set the mode of", "/etc"))?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(EtcError::call("create directory", "/etc")(errno)),
    }
    open::directory(root, "etc").map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => EtcError::NotADirectory { path: "/etc".to_owned() },
        errno => EtcError::call("open", "/etc")(errno),
    })
}
