//! /etc from the factory: the complete copy of what the image carries.
//!
//! The source is `/usr/share/factory/etc`, and where that does not exist, `/usr/etc`. What exists in the target is never
//! overwritten, file by file, so a second run changes nothing. A power cut in the middle of a file would leave it cut
//! short and existing: the copy belongs into a transaction (the first boot's, where the root is adopted only when all is
//! flushed), or the caller removes what it began.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::{
    fs::{self, AtFlags, Mode},
    io::Errno,
};

use super::{EtcError, Side, copy::Copier, tree::open_directory};

/// Where an image keeps the /etc it was built with, as seen from its /usr; the first that exists is taken.
const SOURCES: [&[&str]; 2] = [&["share", "factory", "etc"], &["etc"]];

/// What a copy did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// The tree that was copied, as seen from /usr; None when the image has none.
    pub source: Option<String>,
    /// Directories made.
    pub directories: u64,
    /// Regular files written, hard links not counted.
    pub files: u64,
    /// Symbolic links made.
    pub symlinks: u64,
    /// Further names of files that were written under their first.
    pub hard_links: u64,
    /// FIFOs, sockets and device nodes made.
    pub specials: u64,
    /// Entries that existed and were left alone. What is below an existing link or file does not count.
    pub kept: u64,
    /// Bytes written into regular files.
    pub bytes: u64,
}

/// Copies the image's factory tree to `/etc` of the root: modes, owners, times, extended attributes, links as they are. Makes
/// /etc when it is missing.
///
/// # Errors
/// `/etc` that is no directory, and the first entry that could not be copied whole; what came before it stays.
pub fn populate(root: BorrowedFd<'_>, usr: BorrowedFd<'_>) -> Result<Report, EtcError> {
    let Some((source, name)) = source(usr)? else { return Ok(Report::default()) };
    match fs::mkdirat(root, "etc", Mode::from_raw_mode(0o755)) {
        Ok(()) => fs::chmodat(root, "etc", Mode::from_raw_mode(0o755), AtFlags::empty())
            .map_err(EtcError::call("set the mode of", "/etc"))?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(EtcError::call("create directory", "/etc")(errno)),
    }
    let target = open_directory(root, "etc").map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => EtcError::NotADirectory { path: "/etc".to_owned() },
        errno => EtcError::call("open", "/etc")(errno),
    })?;
    let mut report = Copier::new(&target)?.tree(&source)?;
    report.source = Some(name);
    Ok(report)
}

/// Opens the image's factory tree. A link on the way is as good as none: the tree must be part of the image itself.
fn source(usr: BorrowedFd<'_>) -> Result<Option<(OwnedFd, String)>, EtcError> {
    'sources: for path in SOURCES {
        let mut at: Option<OwnedFd> = None;
        for name in path {
            match open_directory(at.as_ref().map_or(usr, std::os::fd::AsFd::as_fd), name) {
                Ok(directory) => at = Some(directory),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue 'sources,
                Err(errno) => {
                    let path = path.join("/");
                    return Err(EtcError::Call { step: "open", side: Side::Factory, path, errno });
                }
            }
        }
        if let Some(directory) = at {
            return Ok(Some((directory, path.join("/"))));
        }
    }
    Ok(None)
}
