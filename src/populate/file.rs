//! One inode made like another: owner, mode, attributes, times.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, Stat};

use super::{PopulateError, chase::Tree};
use crate::tree::{
    attributes::{Attributes, Failed},
    inode::{self, Inode},
    xattr::Xattrs,
};

/// f_type of a FAT, which knows neither owners nor attributes (linux/magic.h).
const FAT: i64 = 0x4d44;

/// Tells if the file system knows owners.
pub(super) fn has_owners(directory: BorrowedFd<'_>) -> Result<bool, Failed> {
    Ok(fs::fstatfs(directory).map_err(Failed::target("look at"))?.f_type as i64 != FAT)
}

/// Makes an inode like the one that `stat` tells of, with or without its owner. A link has no mode.
pub(super) fn finish(from: Inode<'_>, to: Inode<'_>, stat: &Stat, owners: bool) -> Result<(), Failed> {
    let xattrs = Xattrs::all(from, &mut Vec::new()).map_err(Failed::source("read the attributes of"))?;
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    let attributes = Attributes {
        owner: owners.then_some((stat.st_uid, stat.st_gid)),
        xattrs: Some(&xattrs),
        mode: (!is_link).then_some(stat.st_mode & 0o7777),
        times: Some(inode::times(stat)),
        may_lack_xattrs: true,
    };
    attributes.give(to)
}

/// Makes an open directory like another one, with or without its owner.
pub(super) fn likeness(
    from: &OwnedFd,
    to: &OwnedFd,
    owner: bool,
    source_tree: &Tree<'_>,
    source_path: &str,
    target_path: &str,
) -> Result<(), PopulateError> {
    let stat = fs::fstat(from).map_err(source_tree.failed("look at", source_path))?;
    let at = |failed| PopulateError::at(failed, source_path, target_path);
    let owners = owner && has_owners(to.as_fd()).map_err(at)?;
    finish(Inode::open(from), Inode::open(to), &stat, owners).map_err(at)
}
