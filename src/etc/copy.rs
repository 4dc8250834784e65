//! One tree copied into another, whole and with few system calls.
//!
//! This runs in the boot, mostly over some hundred small files, and under emulation a system call costs more than the
//! bytes: a small file takes nine (open, stat, list attributes, read, close; create, write, times, close). Modes are given at
//! creation, owners are set only where they are not ours already.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use super::{EtcError, error::Side, factory::Report};

/// Files are copied in pieces of this size; nearly all of a factory fit into one.
const CHUNK: usize = 128 << 10;
/// Directories are read in pieces of this size.
const ENTRIES: usize = 16 << 10;
/// How deep directories may be nested; every level holds two descriptors.
const MAX_DEPTH: usize = 64;
/// The kernel's limit for a list of attribute names and for a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 64 << 10;
/// Set-user-id, set-group-id, sticky.
const SPECIAL_BITS: u32 = 0o7000;

/// A copy under way.
pub(super) struct Copier<'fd> {
    target: &'fd OwnedFd,
    buffer: Vec<u8>,
    xattrs: Vec<u8>,
    /// Where a source file that has several names was written first: its path from the target.
    linked: BTreeMap<(u64, u64), CString>,
    /// The owner that new files get by themselves.
    owner: (u32, u32),
    /// The bits that creation takes away.
    umask: u32,
    /// The path of the directory we are in, from the root, for messages and hard links.
    path: Vec<u8>,
    report: Report,
}

impl<'fd> Copier<'fd> {
    /// A copy into `target`, which is a directory.
    pub(super) fn new(target: &'fd OwnedFd) -> Result<Self, EtcError> {
        // There is no way to ask for the umask alone.
        let umask = rustix::process::umask(Mode::empty());
        rustix::process::umask(umask);
        Ok(Self {
            target,
            buffer: vec![0; CHUNK],
            xattrs: vec![0; XATTR_MAX],
            linked: BTreeMap::new(),
            owner: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            umask: umask.as_raw_mode(),
            path: Vec::new(),
            report: Report::default(),
        })
    }

    /// Copies what is in `source` into the target. The target directory itself, which exists, keeps its mode.
    pub(super) fn tree(mut self, source: &OwnedFd) -> Result<Report, EtcError> {
        let target = self.target;
        let inherits = self.inherits(target)?;
        self.directory(source, target.as_fd(), inherits, 0)?;
        Ok(self.report)
    }

    /// Whether a directory has the set-group-id bit, and so gives its group, and the bit, to what is made in it.
    fn inherits(&self, target: &OwnedFd) -> Result<bool, EtcError> {
        Ok(fs::fstat(target).map_err(self.failed("look at", c""))?.st_mode & 0o2000 != 0)
    }

    /// Copies the entries of one directory into one that passes its group on if it `inherits`.
    fn directory(
        &mut self,
        source: &OwnedFd,
        target: BorrowedFd<'_>,
        inherits: bool,
        depth: usize,
    ) -> Result<(), EtcError> {
        if depth >= MAX_DEPTH {
            return Err(EtcError::TooDeep { path: self.here(c"") });
        }
        let mut space = vec![MaybeUninit::uninit(); ENTRIES];
        let mut entries = RawDir::new(source, &mut space);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(self.unread("read directory", c""))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => FileType::from_raw_mode(self.stat(source, name)?.st_mode),
                kind => kind,
            };
            match kind {
                FileType::Directory => self.subdirectory(source, target, name, inherits, depth)?,
                FileType::RegularFile => self.file(source, target, name, inherits)?,
                FileType::Symlink => self.symlink(source, target, name, inherits)?,
                kind => self.special(source, target, name, kind, inherits)?,
            }
        }
        Ok(())
    }

    fn subdirectory(
        &mut self,
        source: &OwnedFd,
        target: BorrowedFd<'_>,
        name: &CStr,
        inherits: bool,
        depth: usize,
    ) -> Result<(), EtcError> {
        let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = fs::openat(source, name, open, Mode::empty()).map_err(self.unread("open", name))?;
        let stat = fs::fstat(&from).map_err(self.unread("look at", name))?;
        let made = match fs::mkdirat(target, name, Mode::from_raw_mode(stat.st_mode & 0o777)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(self.failed("create directory", name)(errno)),
        };
        let to = match fs::openat(target, name, open, Mode::empty()) {
            // Whoever put a file or a link there keeps it, and nothing is written through it.
            Err(Errno::NOTDIR | Errno::LOOP) if !made => {
                self.report.kept += 1;
                return Ok(());
            }
            opened => opened.map_err(self.failed("open", name))?,
        };
        match made {
            true => self.report.directories += 1,
            false => self.report.kept += 1,
        }
        let above = self.path.len();
        self.path.extend_from_slice(name.to_bytes());
        self.path.push(b'/');
        // What was made has, until it is finished, what its parent gave it.
        let passes_on = if made { inherits } else { self.inherits(&to)? };
        self.directory(&from, to.as_fd(), passes_on, depth + 1)?;
        self.path.truncate(above);
        if made {
            // Only now: attributes can carry default ACLs, the mode a set-group-id bit, and entries move the time.
            self.finish(&from, &to, &stat, name, inherits)?;
            let mode = stat.st_mode & 0o7777;
            if mode & (SPECIAL_BITS | self.umask) != 0 || inherits {
                fs::fchmod(&to, Mode::from_raw_mode(mode)).map_err(self.failed("set the mode of", name))?;
            }
            fs::futimens(&to, &times(&stat)).map_err(self.failed("set the times of", name))?;
        }
        Ok(())
    }

    fn file(
        &mut self,
        source: &OwnedFd,
        target: BorrowedFd<'_>,
        name: &CStr,
        inherits: bool,
    ) -> Result<(), EtcError> {
        let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let from = fs::openat(source, name, open, Mode::empty()).map_err(self.unread("open", name))?;
        let stat = fs::fstat(&from).map_err(self.unread("look at", name))?;
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(first) = self.linked.get(&key)
        {
            match fs::linkat(self.target, first.as_c_str(), target, name, AtFlags::empty()) {
                Ok(()) => self.report.hard_links += 1,
                Err(Errno::EXIST) => self.report.kept += 1,
                Err(errno) => return Err(self.failed("link", name)(errno)),
            }
            return Ok(());
        }
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = stat.st_mode & 0o7777;
        let to = match fs::openat(target, name, create, Mode::from_raw_mode(mode & 0o777)) {
            Ok(to) => to,
            Err(Errno::EXIST) => {
                self.report.kept += 1;
                return Ok(());
            }
            Err(errno) => return Err(self.failed("create", name)(errno)),
        };
        self.content(&from, &to, &stat, name)?;
        self.finish(&from, &to, &stat, name, inherits)?;
        if mode & (SPECIAL_BITS | self.umask) != 0 {
            // After the owner, whose change takes set-user-id away.
            fs::fchmod(&to, Mode::from_raw_mode(mode)).map_err(self.failed("set the mode of", name))?;
        }
        fs::futimens(&to, &times(&stat)).map_err(self.failed("set the times of", name))?;
        self.report.files += 1;
        if stat.st_nlink > 1 {
            let mut path = self.path.clone();
            path.extend_from_slice(name.to_bytes());
            // Neither part holds a NUL: both were names in a directory.
            self.linked.insert(key, CString::new(path).unwrap_or_default());
        }
        Ok(())
    }

    /// Copies the bytes of a file: one read and one write for nearly all of them.
    fn content(&mut self, from: &OwnedFd, to: &OwnedFd, stat: &Stat, name: &CStr) -> Result<(), EtcError> {
        let mut left = u64::try_from(stat.st_size).unwrap_or(0);
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let space = self.buffer.get_mut(..want).unwrap_or_default();
            let read = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut *space))
                .map_err(self.unread("read", name))?;
            if read == 0 {
                return Err(EtcError::Truncated { path: self.here(name) });
            }
            let mut rest = self.buffer.get(..read).unwrap_or_default();
            while !rest.is_empty() {
                let written = rustix::io::retry_on_intr(|| rustix::io::write(to, rest))
                    .map_err(self.failed("write", name))?;
                rest = rest.get(written..).unwrap_or_default();
            }
            left = left.saturating_sub(read as u64);
            self.report.bytes += read as u64;
        }
        Ok(())
    }

    /// Owner and extended attributes of a file or a directory that was made.
    fn finish(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        stat: &Stat,
        name: &CStr,
        inherits: bool,
    ) -> Result<(), EtcError> {
        if self.chown_is_due(stat, inherits) {
            fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
                .map_err(self.failed("set the owner of", name))?;
        }
        let length = match fs::flistxattr(from, &mut self.xattrs) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(()),
            Ok(length) => length,
            Err(errno) => return Err(self.unread("list the attributes of", name)(errno)),
        };
        let names = self.xattrs.get(..length).unwrap_or_default().to_vec();
        for attribute in names.split_inclusive(|&byte| byte == 0) {
            let Ok(attribute) = CStr::from_bytes_with_nul(attribute) else { continue };
            let length = fs::fgetxattr(from, attribute, &mut self.xattrs)
                .map_err(self.unread("read an attribute of", name))?;
            let value = self.xattrs.get(..length).unwrap_or_default();
            fs::fsetxattr(to, attribute, value, XattrFlags::empty())
                .map_err(self.failed("set an attribute of", name))?;
        }
        Ok(())
    }

    fn symlink(
        &mut self,
        source: &OwnedFd,
        target: BorrowedFd<'_>,
        name: &CStr,
        inherits: bool,
    ) -> Result<(), EtcError> {
        let leads_to = fs::readlinkat(source, name, Vec::new()).map_err(self.unread("read link", name))?;
        match fs::symlinkat(leads_to.as_c_str(), target, name) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                self.report.kept += 1;
                return Ok(());
            }
            Err(errno) => return Err(self.failed("create link", name)(errno)),
        }
        let stat = self.stat(source, name)?;
        self.report.symlinks += 1;
        self.finish_by_name(source, target, name, &stat, inherits)
    }

    fn special(
        &mut self,
        source: &OwnedFd,
        target: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        inherits: bool,
    ) -> Result<(), EtcError> {
        let stat = self.stat(source, name)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        match fs::mknodat(target, name, kind, mode, stat.st_rdev) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                self.report.kept += 1;
                return Ok(());
            }
            Err(errno) => return Err(self.failed("create special file", name)(errno)),
        }
        self.report.specials += 1;
        self.finish_by_name(source, target, name, &stat, inherits)?;
        // Made by us a moment ago and no link, so nothing is followed.
        fs::chmodat(target, name, mode, AtFlags::empty()).map_err(self.failed("set the mode of", name))
    }

    /// Owner, attributes and times of what cannot be opened. Attributes go by the path of an open directory in /proc, the
    /// one way to reach them without following a link; without /proc there are none.
    fn finish_by_name(
        &mut self,
        source: &OwnedFd,
        target: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
        inherits: bool,
    ) -> Result<(), EtcError> {
        if self.chown_is_due(stat, inherits) {
            let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            fs::chownat(target, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(self.failed("set the owner of", name))?;
        }
        let from = by_proc(source.as_fd(), name);
        let length = match fs::llistxattr(&from, &mut self.xattrs) {
            Err(Errno::NOTSUP | Errno::NOENT) => 0,
            length => length.map_err(self.unread("list the attributes of", name))?,
        };
        let names = self.xattrs.get(..length).unwrap_or_default().to_vec();
        for attribute in names.split_inclusive(|&byte| byte == 0) {
            let Ok(attribute) = CStr::from_bytes_with_nul(attribute) else { continue };
            let length = fs::lgetxattr(&from, attribute, &mut self.xattrs)
                .map_err(self.unread("read an attribute of", name))?;
            let value = self.xattrs.get(..length).unwrap_or_default();
            fs::lsetxattr(by_proc(target, name), attribute, value, XattrFlags::empty())
                .map_err(self.failed("set an attribute of", name))?;
        }
        fs::utimensat(target, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.failed("set the times of", name))
    }

    fn chown_is_due(&self, stat: &Stat, inherits: bool) -> bool {
        inherits || (stat.st_uid, stat.st_gid) != self.owner
    }

    fn stat(&self, source: &OwnedFd, name: &CStr) -> Result<Stat, EtcError> {
        fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW).map_err(self.unread("look at", name))
    }

    /// The path of `name` as messages say it.
    fn here(&self, name: &CStr) -> String {
        format!("/etc/{}{}", String::from_utf8_lossy(&self.path), name.to_string_lossy())
    }

    fn failed(&self, step: &'static str, name: &CStr) -> impl FnOnce(Errno) -> EtcError + use<> {
        let path = self.here(name);
        move |errno| EtcError::Call { step, side: Side::Root, path, errno }
    }

    fn unread(&self, step: &'static str, name: &CStr) -> impl FnOnce(Errno) -> EtcError + use<> {
        let path = self.here(name);
        move |errno| EtcError::Call { step, side: Side::Factory, path, errno }
    }
}

/// Access and modification time, both the source's modification time: the copy has not been accessed.
fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Timestamps { last_access: time, last_modification: time }
}

/// The path of an entry of an open directory in /proc.
fn by_proc(directory: BorrowedFd<'_>, name: &CStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    path
}
