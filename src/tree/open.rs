//! Opens entries of a directory, by names that lead through no link.

use std::{
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{self, AtFlags, Mode, OFlags, ResolveFlags},
    io::Errno,
    path::Arg,
};

use super::flags;

/// Opens the directory of a tree by a path of this process, through links.
///
/// # Errors
/// Those of `open`.
pub fn root(path: &Path) -> Result<OwnedFd, Errno> {
    fs::open(path, flags::DIRECTORY - OFlags::NOFOLLOW, Mode::empty())
}

/// Opens a directory by its path from another one. Neither a link on the way nor one at the end is followed.
///
/// # Errors
/// `LOOP` or `NOTDIR` when something on the way is not a directory.
pub fn below(at: BorrowedFd<'_>, path: impl Arg) -> Result<OwnedFd, Errno> {
    inside(at, path, flags::DIRECTORY)
}

/// Opens a path from a directory with these flags. A link on the way is not followed.
///
/// # Errors
/// `LOOP` or `NOTDIR` when something on the way is not a directory.
pub fn inside(at: BorrowedFd<'_>, path: impl Arg, flags: OFlags) -> Result<OwnedFd, Errno> {
    fs::openat2(at, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// Opens a directory by its name in another one, never through a link. The name `.` opens for reading a directory that
/// is open as a path.
///
/// # Errors
/// `LOOP` or `NOTDIR` when it is not a directory.
pub fn directory(at: impl AsFd, name: impl Arg) -> Result<OwnedFd, Errno> {
    fs::openat(at, name, flags::DIRECTORY, Mode::empty())
}

/// Opens a file of a directory for reading, never through a link. A FIFO is not waited for.
///
/// # Errors
/// Those of `openat`; `LOOP` for a link.
pub fn file(at: impl AsFd, name: impl Arg) -> Result<OwnedFd, Errno> {
    fs::openat(at, name, flags::FILE, Mode::empty())
}

/// Opens the inode of this name in a directory, of any kind, with `O_PATH`.
///
/// # Errors
/// Those of `openat`.
pub fn path(at: impl AsFd, name: impl Arg) -> Result<OwnedFd, Errno> {
    fs::openat(at, name, flags::PATH, Mode::empty())
}

/// Makes a file for writing. The umask takes its part of the mode.
///
/// # Errors
/// `EXIST` when something has the name, and those of `openat`.
pub fn new(at: impl AsFd, name: impl Arg, mode: u32) -> Result<OwnedFd, Errno> {
    fs::openat(at, name, flags::NEW, Mode::from_raw_mode(mode))
}

/// The bits that creation takes away from a mode.
pub fn umask() -> u32 {
    // It can only be read by setting it.
    let umask = rustix::process::umask(Mode::empty());
    rustix::process::umask(umask);
    umask.as_raw_mode()
}

/// Opens again, with other flags, an inode that is open as a path, by /proc.
///
/// # Errors
/// Those of `open`.
pub fn again(fd: impl AsFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    fs::open(by_proc(fd), (flags | OFlags::CLOEXEC) - OFlags::NOFOLLOW, Mode::empty())
}

/// The path of a descriptor in /proc: the way to do with an `O_PATH` descriptor what only a path can do.
pub fn by_proc(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// The path in /proc of a name in an open directory: no part of it but the last can be a link of the tree.
pub fn entry_by_proc(directory: impl AsFd, name: &[u8]) -> Vec<u8> {
    [by_proc(directory).as_bytes(), b"/", name].concat()
}

/// Checks that `name` exists in a directory, as any kind of file; links are not followed.
///
/// # Errors
/// Those of `fstatat`, but for `NOENT`.
pub fn exists(at: impl AsFd, name: impl Arg) -> Result<bool, Errno> {
    match fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
