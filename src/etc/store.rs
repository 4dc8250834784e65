//! The files that hermetic-init keeps on the root, in `/var/lib/hermetic-init`: the machine id, the manifest of /etc
//! and the journal of its update.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{self, AtFlags, Mode},
    io::Errno,
};

use super::{
    EtcError, atomic,
    manifest::{HEAD, Head, Journal, MAX_SIZE, Manifest, Text},
};
use crate::{
    durable::Durable,
    tree::{
        open,
        read::{self, Limit, ReadError},
        watch::Watch,
    },
};

/// The directory, as seen from the root.
pub const DIRECTORY: &str = "var/lib/hermetic-init";
/// The manifest, for messages; its name is the last part.
const MANIFEST: &str = "/var/lib/hermetic-init/etc.manifest";
/// The journal, likewise.
const JOURNAL: &str = "/var/lib/hermetic-init/etc.journal";
/// Only root may read /etc/shadow, and so its digest.
const MODE: u32 = 0o600;

/// Opens the directory; None when it is missing, or not a directory.
pub(super) fn find(root: BorrowedFd<'_>) -> Result<Option<OwnedFd>, EtcError> {
    match open::below(root, DIRECTORY) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(errno) => Err(EtcError::call("open directory", format_args!("/{DIRECTORY}"))(errno)),
    }
}

/// Opens the directory, and makes it when it is missing.
pub(super) fn make(root: BorrowedFd<'_>) -> Result<OwnedFd, EtcError> {
    if let Some(directory) = find(root)? {
        return Ok(directory);
    }
    let mut at = rustix::io::fcntl_dupfd_cloexec(root, 0).map_err(EtcError::call("open", "/"))?;
    for name in DIRECTORY.split('/') {
        match fs::mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => {
                return Err(EtcError::call("create directory of", format_args!("/{DIRECTORY}"))(errno));
            }
        }
        at = open::directory(at.as_fd(), name)
            .map_err(EtcError::call("open directory of", format_args!("/{DIRECTORY}")))?;
    }
    Ok(at)
}

/// The records that an earlier boot kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// The manifest; None when there is no valid one.
    pub manifest: Option<Manifest>,
    /// The journal of an update that was interrupted, empty when there was none.
    pub journal: Journal,
    /// The faults of files that are ignored; one sentence each.
    pub problems: Vec<String>,
}

/// The /usr that this root's /etc follows, by the first lines of the manifest alone. None: unknown, or an update was
/// interrupted.
///
/// # Errors
/// The error of the file system.
pub fn followed(root: BorrowedFd<'_>) -> Result<Option<Head>, EtcError> {
    let Some(directory) = find(root)? else { return Ok(None) };
    match fs::statat(&directory, name(JOURNAL), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        Ok(_) => return Ok(None),
        Err(errno) => return Err(EtcError::call("look at", JOURNAL)(errno)),
    }
    let head = read(directory.as_fd(), MANIFEST, HEAD)?;
    Ok(head.and_then(|text| Head::parse(&text)))
}

/// Reads manifest and journal whole. A damaged one is ignored: then the factory's old entries are unknown, and no entry
/// of the root counts as unchanged.
///
/// # Errors
/// The error of the file system.
pub fn kept(root: BorrowedFd<'_>) -> Result<Kept, EtcError> {
    let mut kept = Kept::default();
    let Some(directory) = find(root)? else { return Ok(kept) };
    if let Some(text) = read(directory.as_fd(), MANIFEST, MAX_SIZE)? {
        match Manifest::parse(&text) {
            Ok(manifest) => kept.manifest = Some(manifest),
            Err(error) => kept.problems.push(format!("{MANIFEST} counts for nothing: {error}")),
        }
    }
    if let Some(text) = read(directory.as_fd(), JOURNAL, MAX_SIZE)? {
        match Journal::parse(&text) {
            Ok(journal) => kept.journal = journal,
            Err(error) => kept.problems.push(format!("{JOURNAL} counts for nothing: {error}")),
        }
    }
    Ok(kept)
}

/// Keeps a journal before the first change that it records.
pub(super) fn begin(
    directory: BorrowedFd<'_>,
    journal: &Journal,
    durable: Durable,
    watch: &dyn Watch,
) -> Result<(), EtcError> {
    atomic::write(directory, JOURNAL, &journal.text(), MODE, durable, watch)
}

/// Keeps a manifest, which ends an update: all its entries must be on the disk already.
///
/// # Errors
/// The error of the file system.
pub fn commit(
    root: BorrowedFd<'_>,
    manifest: &Text,
    durable: Durable,
    watch: &dyn Watch,
) -> Result<(), EtcError> {
    let directory = make(root)?;
    // This also flushes the entries of the manifest.
    atomic::write(directory.as_fd(), MANIFEST, manifest, MODE, durable, watch)?;
    if durable == Durable::Here {
        atomic::flush(directory.as_fd(), watch)?;
    }
    match fs::statat(&directory, name(JOURNAL), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        _ => watch
            .before("remove", JOURNAL.as_bytes())
            .and_then(|()| fs::unlinkat(&directory, name(JOURNAL), AtFlags::empty()))
            .map_err(EtcError::call("remove", JOURNAL)),
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Reads up to `most` bytes of a regular file; None when it does not exist.
fn read(directory: BorrowedFd<'_>, path: &str, most: usize) -> Result<Option<Vec<u8>>, EtcError> {
    let file = match open::file(directory, name(path)) {
        // A link is not a manifest.
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        file => file.map_err(EtcError::call("open", path))?,
    };
    match read::start(file, Limit::bytes(most)) {
        Ok(content) => Ok(Some(content)),
        Err(ReadError::NotAFile) => Ok(None),
        Err(error) => Err(EtcError::call("read", path)(error.errno())),
    }
}
