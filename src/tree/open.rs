//! Opening what lies in a directory, by names that lead through no link.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::{
    fs::{self, AtFlags, Mode, OFlags, ResolveFlags},
    io::Errno,
};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory by its path from another one. Neither a link on the way nor one at the end is followed.
///
/// # Errors
/// `LOOP` or `NOTDIR` when something on the way is not a directory.
pub fn below(at: BorrowedFd<'_>, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    fs::openat2(at, path, DIRECTORY, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// Opens a directory by its name in another one, never through a link.
///
/// # Errors
/// `LOOP` or `NOTDIR` when it is not a directory.
pub fn directory(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    fs::openat(at, name, DIRECTORY, Mode::empty())
}

/// Checks that `name` exists in a directory, as whatever; links are not followed.
///
/// # Errors
/// `NOTDIR`, and those of `fstatat`, but for `NOENT`.
pub fn exists(at: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    match fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
