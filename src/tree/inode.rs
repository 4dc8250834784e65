//! One inode, open or by its name in an open directory, and the calls that change its attributes.

use std::{
    ffi::CStr,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{self, AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use super::open;

/// The name of an inode in a map: its device and its number.
pub fn name(stat: &Stat) -> [u8; 16] {
    (u128::from(stat.st_dev) << 64 | u128::from(stat.st_ino)).to_be_bytes()
}

/// An inode. A link is never followed.
#[derive(Clone, Copy)]
pub enum Inode<'a> {
    /// A file or a directory that is open, not with `O_PATH`.
    Open(BorrowedFd<'a>),
    /// The entry of this name in an open directory: a link, a FIFO, a device, a directory that need not be opened. Its
    /// extended attributes are reached by /proc alone; without it there are none.
    Named(BorrowedFd<'a>, &'a [u8]),
}

impl<'a> Inode<'a> {
    /// An inode that is open.
    pub fn open(file: &'a impl AsFd) -> Self {
        Self::Open(file.as_fd())
    }

    /// Sets the owner and the group.
    ///
    /// # Errors
    /// Those of `fchownat`.
    pub fn set_owner(self, (uid, gid): (u32, u32)) -> Result<(), Errno> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        match self {
            Self::Open(file) => fs::fchown(file, uid, gid),
            Self::Named(at, name) => fs::chownat(at, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Sets the mode. By its name only an entry that was just made may get one: fchmodat(2) follows a link.
    ///
    /// # Errors
    /// Those of `fchmodat`.
    pub fn set_mode(self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(file) => fs::fchmod(file, mode),
            Self::Named(at, name) => fs::chmodat(at, name, mode, AtFlags::empty()),
        }
    }

    /// Sets the time of the last access and that of the last change.
    ///
    /// # Errors
    /// Those of `utimensat`.
    pub fn set_times(self, times: &Timestamps) -> Result<(), Errno> {
        match self {
            Self::Open(file) => fs::futimens(file, times),
            Self::Named(at, name) => fs::utimensat(at, name, times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Sets one extended attribute.
    ///
    /// # Errors
    /// Those of `lsetxattr`; `NOTSUP` on a file system without attributes.
    pub fn set_xattr(self, name: &CStr, value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(file) => fs::fsetxattr(file, name, value, XattrFlags::empty()),
            Self::Named(at, entry) => {
                fs::lsetxattr(open::entry_by_proc(at, entry), name, value, XattrFlags::empty())
            }
        }
    }

    /// Reads one extended attribute; returns its length.
    pub(super) fn xattr(self, name: &CStr, space: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => fs::fgetxattr(file, name, space),
            Self::Named(at, entry) => fs::lgetxattr(open::entry_by_proc(at, entry), name, space),
        }
    }

    /// Lists the names of the extended attributes, each with its NUL; returns the list's length. Into no space it says the length alone.
    pub(super) fn xattrs(self, space: &mut [u8]) -> Result<usize, Errno> {
        match (self, space.is_empty()) {
            (Self::Open(file), false) => fs::flistxattr(file, space),
            (Self::Named(at, entry), false) => fs::llistxattr(open::entry_by_proc(at, entry), space),
            // Into an empty buffer rustix says 0 bytes, whatever the length is.
            (Self::Open(file), true) => fs::flistxattr_query(file),
            (Self::Named(at, entry), true) => fs::llistxattr_query(open::entry_by_proc(at, entry)),
        }
    }
}

/// The times of the last access and of the last change, for another inode.
pub fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: modified(stat),
    }
}

/// The time of the last change twice: a copy has not been accessed yet.
pub fn times_unread(stat: &Stat) -> Timestamps {
    Timestamps { last_access: modified(stat), last_modification: modified(stat) }
}

fn modified(stat: &Stat) -> Timespec {
    Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ }
}
