//! One inode made like another: bytes with their holes, owner, mode, attributes, times.

use std::{
    ffi::CStr,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, Gid, Mode, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags},
    io::{Errno, pread, pwrite, retry_on_intr},
};

use super::{
    PopulateError,
    chase::Tree,
    error::{Failed, Side},
};
use crate::tree::open::entry_by_proc;

/// Files are copied in pieces of this size.
const CHUNK: usize = 128 << 10;
/// The kernel's limit for a list of attribute names and for a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 64 << 10;
/// f_type of a FAT, which knows neither owners nor attributes (linux/magic.h).
const FAT: i64 = 0x4d44;

fn source(step: &'static str) -> impl Fn(Errno) -> Failed {
    move |errno| Failed { step, side: Side::Source, errno }
}

fn target(step: &'static str) -> impl Fn(Errno) -> Failed {
    move |errno| Failed { step, side: Side::Target, errno }
}

/// Whether the file system knows owners.
pub(super) fn has_owners(directory: BorrowedFd<'_>) -> Result<bool, Failed> {
    Ok(fs::fstatfs(directory).map_err(target("look at"))?.f_type as i64 != FAT)
}

/// Copies the bytes from where there are some; the rest are holes again. Returns how many.
pub(super) fn bytes(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> Result<u64, Failed> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
    let (mut at, mut copied) = (0, 0);
    while at < size {
        let start = match fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            // A file system without holes.
            Err(Errno::INVAL) => at,
            Err(errno) => return Err(source("look for data in")(errno)),
        };
        let end = match fs::seek(from, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(Errno::INVAL) => size,
            Err(errno) => return Err(source("look for holes in")(errno)),
        };
        at = start;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let space = buffer.get_mut(..want).unwrap_or_default();
            let read = retry_on_intr(|| pread(from, &mut *space, at)).map_err(source("read"))?;
            if read == 0 {
                // It became shorter under our hands: no copy of it is one.
                return Err(source("read all of")(Errno::IO));
            }
            let mut rest = buffer.get(..read).unwrap_or_default();
            while !rest.is_empty() {
                let written = retry_on_intr(|| pwrite(to, rest, at)).map_err(target("write"))?;
                rest = rest.get(written..).unwrap_or_default();
                at += written as u64;
            }
            copied += read as u64;
        }
    }
    fs::ftruncate(to, size).map_err(target("set the length of"))?;
    Ok(copied)
}

/// Owner, mode, attributes, times of an open file or directory, in the order in which they do not undo each other.
pub(super) fn finish(from: &OwnedFd, to: &OwnedFd, stat: &Stat, owners: bool) -> Result<(), Failed> {
    if owners {
        fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
            .map_err(target("set the owner of"))?;
    }
    fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(target("set the mode of"))?;
    let mut value = vec![0; XATTR_MAX];
    let names = match fs::flistxattr(from, &mut value) {
        Ok(length) => value.get(..length).unwrap_or_default().to_vec(),
        Err(Errno::NOTSUP) => Vec::new(),
        Err(errno) => return Err(source("list the attributes of")(errno)),
    };
    for name in c_strings(&names) {
        let length = fs::fgetxattr(from, name, &mut value).map_err(source("read an attribute of"))?;
        let value = value.get(..length).unwrap_or_default();
        match fs::fsetxattr(to, name, value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(errno) => return Err(target("set an attribute of")(errno)),
        }
    }
    fs::futimens(to, &times(stat)).map_err(target("set the times of"))
}

/// Owner, attributes and times of what cannot be opened: a link, a node. Attributes go by the path of an open directory
/// in /proc, the one way to reach them without following a link.
pub(super) fn finish_by_name(
    from: &OwnedFd,
    to: &OwnedFd,
    name: &CStr,
    stat: &Stat,
    owners: bool,
) -> Result<(), Failed> {
    if owners {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(target("set the owner of"))?;
    }
    let (from_path, to_path) = (entry_by_proc(from, name.to_bytes()), entry_by_proc(to, name.to_bytes()));
    let mut value = vec![0; XATTR_MAX];
    let names = match fs::llistxattr(&from_path, &mut value) {
        Ok(length) => value.get(..length).unwrap_or_default().to_vec(),
        // No attributes, or no /proc to reach them.
        Err(Errno::NOTSUP | Errno::NOENT) => Vec::new(),
        Err(errno) => return Err(source("list the attributes of")(errno)),
    };
    for attribute in c_strings(&names) {
        let length =
            fs::lgetxattr(&from_path, attribute, &mut value).map_err(source("read an attribute of"))?;
        let value = value.get(..length).unwrap_or_default();
        match fs::lsetxattr(&to_path, attribute, value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(errno) => return Err(target("set an attribute of")(errno)),
        }
    }
    fs::utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW).map_err(target("set the times of"))
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
    let owners = owner && has_owners(to.as_fd()).map_err(|failed| failed.at(source_path, target_path))?;
    finish(from, to, &stat, owners).map_err(|failed| failed.at(source_path, target_path))
}

/// Access and modification time, as in the source.
pub(super) fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

/// The texts of a list in which a NUL ends each.
fn c_strings(list: &[u8]) -> impl Iterator<Item = &CStr> {
    list.split_inclusive(|&byte| byte == 0).filter_map(|text| CStr::from_bytes_with_nul(text).ok())
}
