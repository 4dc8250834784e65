//! One tree copied into another. Directories are merged and keep their attributes; a file, link or node takes the place
//! of one that is there, but never of a directory.

use std::{
    ffi::{CStr, CString},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, RawDir, Stat},
    io::Errno,
};

use super::{CopyFiles, PopulateError, Report, chase::Tree, deny::Denied, file};
use crate::{
    map::Map,
    tree::{
        attributes::{Failed, Side},
        hole,
        inode::{self, Inode},
        open,
    },
};

/// Directories are read in pieces of this size.
const ENTRIES: usize = 16 << 10;
/// The depth to which directories may be nested; every level holds two descriptors.
const MAX_DEPTH: usize = 256;

/// A copy under way.
pub(super) struct Copier<'a> {
    /// The directory where the copy begins in the new file system.
    start: BorrowedFd<'a>,
    copy: &'a CopyFiles,
    denied: &'a Denied,
    report: &'a mut Report,
    /// The first copy of a source file with several names, as a path from `start`.
    linked: Map<CString>,
    /// True when the new file system has owners.
    owners: bool,
    /// The directory we are in, from `start`, with a slash at its end.
    path: Vec<u8>,
}

impl<'a> Copier<'a> {
    /// A copy into the open directory `start`.
    pub fn new(
        start: BorrowedFd<'a>,
        copy: &'a CopyFiles,
        denied: &'a Denied,
        report: &'a mut Report,
    ) -> Result<Self, PopulateError> {
        let owners = file::has_owners(start)
            .map_err(|failed| PopulateError::at(failed, &copy.source, &copy.target))?;
        let (linked, path) = (Map::new(), Vec::new());
        Ok(Self { start, copy, denied, report, linked, owners, path })
    }

    /// Copies the content of `from` into `to`, the start.
    pub fn tree(&mut self, from: &OwnedFd, to: &OwnedFd) -> Result<(), PopulateError> {
        let stat = fs::fstat(from).map_err(self.unread("look at", c""))?;
        if self.denied.whole(&stat) || self.denied.content(&stat) {
            return Ok(());
        }
        let before = fs::fstat(to).map_err(self.failed("look at", c""))?;
        self.directory(from, to, 0)?;
        fs::futimens(to, &inode::times(&before)).map_err(self.failed("set the times of", c""))
    }

    /// Copies one open file to a name in the start, where nothing may be yet. Its owner is ours, as in systemd.
    pub fn one(&mut self, from: &OwnedFd, stat: &Stat, name: &str) -> Result<(), PopulateError> {
        let to = open::new(self.start, name, 0o700).map_err(|errno| PopulateError::Call {
            step: "create",
            side: Side::Target,
            path: self.copy.target.clone(),
            errno,
        })?;
        let copied = hole::copy(from, &to, stat)
            .and_then(|copied| {
                file::finish(Inode::open(from), Inode::open(&to), stat, false).map(|()| copied)
            })
            .map_err(|failed| PopulateError::at(failed, &self.copy.source, &self.copy.target))?;
        self.report.bytes += copied;
        self.report.files += 1;
        Ok(())
    }

    /// Copies the entries of one directory into another.
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), PopulateError> {
        if depth >= MAX_DEPTH {
            return Err(PopulateError::TooDeep { path: self.said(&self.copy.source, c"") });
        }
        let mut space = vec![MaybeUninit::uninit(); ENTRIES];
        let mut entries = RawDir::new(from, &mut space);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(self.unread("read directory", c""))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat =
                fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(self.unread("look at", name))?;
            if self.denied.whole(&stat) {
                continue;
            }
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => self.subdirectory(from, to, name, &stat, depth)?,
                FileType::RegularFile => self.file(from, to, name, &stat)?,
                FileType::Symlink => {
                    let leads_to =
                        fs::readlinkat(from, name, Vec::new()).map_err(self.unread("read link", name))?;
                    let make = || fs::symlinkat(leads_to.as_c_str(), to, name);
                    if self.put(make, to, "create link", name)?.is_some() {
                        self.report.symlinks += 1;
                        self.finish_by_name(from, to, name, &stat)?;
                    }
                }
                kind => {
                    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                    let make = || fs::mknodat(to, name, kind, mode, stat.st_rdev);
                    if self.put(make, to, "create special file", name)?.is_some() {
                        self.report.specials += 1;
                        self.finish_by_name(from, to, name, &stat)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn subdirectory(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        stat: &Stat,
        depth: usize,
    ) -> Result<(), PopulateError> {
        let inside = open::directory(from, name).map_err(self.unread("open", name))?;
        let (there, made) = match open::directory(to, name) {
            Ok(there) => (there, false),
            Err(Errno::NOENT) => {
                self.make(to, name)?;
                (open::directory(to, name).map_err(self.failed("open", name))?, true)
            }
            // Also a file or a link, through which nothing is written.
            Err(errno) => return Err(self.failed("open directory", name)(errno)),
        };
        let before = fs::fstat(&there).map_err(self.failed("look at", name))?;
        if !self.denied.content(stat) {
            let above = self.path.len();
            self.path.extend_from_slice(name.to_bytes());
            self.path.push(b'/');
            self.directory(&inside, &there, depth + 1)?;
            self.path.truncate(above);
        }
        if made {
            self.report.directories += 1;
            file::finish(Inode::open(&inside), Inode::open(&there), stat, self.owners).map_err(self.at(name))
        } else {
            fs::futimens(&there, &inode::times(&before)).map_err(self.failed("set the times of", name))
        }
    }

    /// Makes a directory, or the subvolume that is to be there.
    fn make(&self, parent: &OwnedFd, name: &CStr) -> Result<(), PopulateError> {
        let path = self.said(&self.copy.target, name);
        match name.to_str() {
            Ok(text) => Tree::target(self.start).make_one(parent, text, &path),
            // No definition can name it, so it is not a subvolume.
            Err(_) => fs::mkdirat(parent, name, Mode::RWXU).map_err(self.failed("create directory", name)),
        }
    }

    fn file(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CStr, stat: &Stat) -> Result<(), PopulateError> {
        if stat.st_nlink > 1
            && let Some(first) = self.linked.get(&inode::name(stat)).cloned()
        {
            let start = self.start;
            let make = || match fs::linkat(start, first.as_c_str(), to, name, AtFlags::empty()) {
                // A file system without hard links, or a file with too many: a copy does as well.
                Err(Errno::PERM | Errno::MLINK | Errno::NOTSUP) => Ok(false),
                made => made.map(|()| true),
            };
            match self.put(make, to, "link", name)? {
                Some(false) => {}
                Some(true) => {
                    self.report.hard_links += 1;
                    return Ok(());
                }
                None => return Ok(()),
            }
        }
        let content = open::file(from, name).map_err(self.unread("open", name))?;
        let make = || open::new(to, name, 0o600);
        let Some(copy) = self.put(make, to, "create", name)? else { return Ok(()) };
        let copied = hole::copy(&content, &copy, stat).map_err(self.at(name))?;
        file::finish(Inode::open(&content), Inode::open(&copy), stat, self.owners).map_err(self.at(name))?;
        self.report.bytes += copied;
        self.report.files += 1;
        if stat.st_nlink > 1 {
            let mut path = self.path.clone();
            path.extend_from_slice(name.to_bytes());
            // Neither part holds a NUL: both were names in a directory.
            self.linked.insert(inode::name(stat), CString::new(path).unwrap_or_default());
        }
        Ok(())
    }

    /// Makes something under a name, in place of an existing entry. None when a directory is there, which stays, or
    /// when the file system does not support it.
    fn put<T>(
        &mut self,
        make: impl Fn() -> Result<T, Errno>,
        parent: &OwnedFd,
        step: &'static str,
        name: &CStr,
    ) -> Result<Option<T>, PopulateError> {
        let made = match make() {
            Err(Errno::EXIST) => match fs::unlinkat(parent, name, AtFlags::empty()) {
                Ok(()) => make(),
                Err(_) => {
                    self.report.kept += 1;
                    return Ok(None);
                }
            },
            made => made,
        };
        match made {
            Ok(made) => Ok(Some(made)),
            Err(Errno::PERM | Errno::NOTSUP) if !self.owners => {
                self.report.skipped.push(self.said(&self.copy.target, name));
                Ok(None)
            }
            Err(errno) => Err(self.failed(step, name)(errno)),
        }
    }

    fn finish_by_name(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        stat: &Stat,
    ) -> Result<(), PopulateError> {
        let named = |directory| Inode::Named(AsFd::as_fd(directory), name.to_bytes());
        file::finish(named(from), named(to), stat, self.owners).map_err(self.at(name))
    }

    /// The path of `name` below one of the two ends of the copy.
    fn said(&self, end: &str, name: &CStr) -> String {
        let path = format!("{}{}", String::from_utf8_lossy(&self.path), name.to_string_lossy());
        format!("{}/{path}", end.trim_end_matches('/'))
    }

    fn at(&self, name: &CStr) -> impl FnOnce(Failed) -> PopulateError + use<> {
        let (source, target) = (self.said(&self.copy.source, name), self.said(&self.copy.target, name));
        move |failed| PopulateError::at(failed, &source, &target)
    }

    fn failed(&self, step: &'static str, name: &CStr) -> impl FnOnce(Errno) -> PopulateError + use<> {
        let path = self.said(&self.copy.target, name);
        move |errno| PopulateError::Call { step, side: Side::Target, path, errno }
    }

    fn unread(&self, step: &'static str, name: &CStr) -> impl FnOnce(Errno) -> PopulateError + use<> {
        let path = self.said(&self.copy.source, name);
        move |errno| PopulateError::Call { step, side: Side::Source, path, errno }
    }
}
