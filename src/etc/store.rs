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
        Tree, open,
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

/// Opens the directory; None when it is missing, or not a directory. /var may be a link: it is followed inside the root.
pub(super) fn find(root: BorrowedFd<'_>) -> Result<Option<OwnedFd>, EtcError> {
    match directory(root, DIRECTORY) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(errno) => Err(EtcError::call("open directory", format_args!("/{DIRECTORY}"))(errno)),
    }
}

/// Opens a directory by its path in the root, whose links are followed inside it.
pub(super) fn directory(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    match open::below(root, path) {
        // Mostly there is no link on the way, and one call is enough.
        Err(Errno::LOOP | Errno::NOTDIR) => open::directory(Tree::whole(root).open_path(path)?, "."),
        opened => opened,
    }
}

/// Opens the directory, and makes it when it is missing.
pub(super) fn make(root: BorrowedFd<'_>) -> Result<OwnedFd, EtcError> {
    if let Some(directory) = find(root)? {
        return Ok(directory);
    }
    let mut at = rustix::io::fcntl_dupfd_cloexec(root, 0).map_err(EtcError::call("open", "/"))?;
    let mut path = String::new();
    for name in DIRECTORY.split('/') {
        match fs::mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => {
                return Err(EtcError::call("create directory of", format_args!("/{DIRECTORY}"))(errno));
            }
        }
        path.push_str(name);
        at = directory(root, &path)
            .map_err(EtcError::call("open directory of", format_args!("/{DIRECTORY}")))?;
        path.push('/');
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

/// The /usr that this root's /etc followed last, also when an update was interrupted or a path could not follow.
///
/// # Errors
/// The error of the file system.
pub fn last(root: BorrowedFd<'_>) -> Result<Option<Head>, EtcError> {
    let Some(directory) = find(root)? else { return Ok(None) };
    Ok(read(directory.as_fd(), MANIFEST, HEAD)?.and_then(|text| Head::parse(&text)))
}

/// Keeps a journal before the first change that it records.
pub(super) fn begin(
    directory: BorrowedFd<'_>,
    journal: &Text,
    durable: Durable,
    watch: &dyn Watch,
) -> Result<(), EtcError> {
    write(directory, JOURNAL, journal, durable, watch).map(drop)
}

/// Keeps a manifest, which ends an update: all its entries must be on the disk already. `left` has the paths that could
/// not follow: as long as there are any, the root does not count as following this /usr. A boot on which nothing
/// could be changed writes nothing.
///
/// # Errors
/// The error of the file system.
pub fn commit(
    root: BorrowedFd<'_>,
    manifest: &Text,
    left: Option<&Journal>,
    durable: Durable,
    watch: &dyn Watch,
) -> Result<(), EtcError> {
    let directory = make(root)?;
    // This also flushes the entries of the manifest.
    let is_new = write(directory.as_fd(), MANIFEST, manifest, durable, watch)?;
    let ends = left.is_none()
        && open::exists(&directory, name(JOURNAL)).map_err(EtcError::call("look at", JOURNAL))?;
    if durable == Durable::Here && (is_new || ends) {
        atomic::flush(directory.as_fd(), watch)?;
    }
    match left {
        Some(left) => begin(directory.as_fd(), &left.text(), durable, watch),
        None if ends => end(directory.as_fd(), watch),
        None => Ok(()),
    }
}

/// Removes a journal that nothing needs any more.
fn end(directory: BorrowedFd<'_>, watch: &dyn Watch) -> Result<(), EtcError> {
    watch
        .before("remove", JOURNAL.as_bytes())
        .and_then(|()| fs::unlinkat(directory, name(JOURNAL), AtFlags::empty()))
        .map_err(EtcError::call("remove", JOURNAL))
}

/// Removes the journal of an update that changed nothing.
pub(super) fn forget(root: BorrowedFd<'_>, watch: &dyn Watch) -> Result<(), EtcError> {
    find(root)?.map_or(Ok(()), |directory| end(directory.as_fd(), watch))
}

/// Writes one of our files, unless it is there and the same. Returns true when it was written.
fn write(
    directory: BorrowedFd<'_>,
    path: &'static str,
    text: &[u8],
    durable: Durable,
    watch: &dyn Watch,
) -> Result<bool, EtcError> {
    if read(directory, path, MAX_SIZE).is_ok_and(|there| there.as_deref() == Some(text)) {
        return Ok(false);
    }
    atomic::write(directory, path, text, MODE, durable, watch).map(|()| true)
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
