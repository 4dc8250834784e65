//! Files copied whole from the factory, with few system calls: one by one, or a tree at once.
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

use super::{
    EtcError,
    atomic::write_all,
    entry::{Digest, Digester, Kind, Snapshot},
    error::Side,
    factory::Report,
    rules::{Rules, Strategy},
    scan::entry,
    xattr::{self, Xattrs},
};

/// Files are copied in pieces of this size; nearly all of a factory fit into one.
const CHUNK: usize = 128 << 10;
/// Directories are read in pieces of this size.
const ENTRIES: usize = 16 << 10;
/// How deep directories may be nested; every level holds two descriptors.
const MAX_DEPTH: usize = 64;
/// Set-user-id, set-group-id, sticky.
const SPECIAL_BITS: u32 = 0o7000;

/// Where one file comes from and goes to.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    /// The directory in the factory.
    pub(super) source: BorrowedFd<'a>,
    /// The name there.
    pub(super) name: &'a CStr,
    /// The directory in the root.
    pub(super) target: BorrowedFd<'a>,
    /// The name there.
    pub(super) new_name: &'a CStr,
    /// Whether the directory in the root has the set-group-id bit, and so gives its group, and the bit, to what is made in it.
    pub(super) inherits: bool,
}

/// A copy under way.
pub(super) struct Copier<'a> {
    rules: &'a Rules,
    place: &'a str,
    target: BorrowedFd<'a>,
    buffer: Vec<u8>,
    xattrs: Vec<u8>,
    /// Where a source file that has several names was written first: its path from the target, and what is in it.
    linked: BTreeMap<(u64, u64), (CString, Digest)>,
    /// The owner that new files get by themselves.
    owner: (u32, u32),
    /// The bits that creation takes away.
    umask: u32,
    /// The path of the directory we are in, with a slash behind it, for messages and hard links.
    path: Vec<u8>,
    /// Whether all new files lie directly in the target.
    flat: bool,
    report: Report,
    tree: Snapshot,
}

impl<'a> Copier<'a> {
    /// A copy into the directory `target`, by these rules; links into the factory go to `place`.
    pub(super) fn new(target: BorrowedFd<'a>, rules: &'a Rules, place: &'a str) -> Self {
        // There is no way to ask for the umask alone.
        let umask = rustix::process::umask(Mode::empty());
        rustix::process::umask(umask);
        Self {
            rules,
            place,
            target,
            buffer: vec![0; CHUNK],
            xattrs: vec![0; xattr::MAX],
            linked: BTreeMap::new(),
            owner: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            umask: umask.as_raw_mode(),
            path: Vec::new(),
            flat: false,
            report: Report::default(),
            tree: Snapshot::new(),
        }
    }

    /// Copies what is in `source` into the target, and tells what the factory gave of what is tracked. The target
    /// directory itself, which exists, keeps its mode.
    pub(super) fn tree(mut self, source: &OwnedFd) -> Result<(Report, Snapshot), EtcError> {
        let inherits = self.inherits(self.target)?;
        self.directory(source, self.target, inherits, 0)?;
        Ok((self.report, self.tree))
    }

    /// Copies one file directly into the target, or makes an empty directory like the source's. Nothing may have the new
    /// name. `above` is the directory in the factory, for messages.
    pub(super) fn one(&mut self, route: Route<'_>, kind: &Kind, above: &[u8]) -> Result<(), EtcError> {
        self.flat = true;
        self.path = if above.is_empty() { Vec::new() } else { [above, b"/"].concat() };
        match kind {
            Kind::Directory => {
                let from = self.open(route, OFlags::DIRECTORY)?;
                let stat = fs::fstat(&from).map_err(self.unread("look at", route.name))?;
                self.make_directory(route, &stat)?;
                let to = self.open_made(route)?;
                self.finish_directory(&from, &to, &stat, route)?;
            }
            Kind::File(_) => self.file(route, None)?,
            Kind::Link(target) => self.link(route, target, None)?,
            _ => self.special(route)?,
        }
        Ok(())
    }

    fn inherits(&self, target: impl AsFd) -> Result<bool, EtcError> {
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
            return Err(EtcError::TooDeep { side: Side::Factory, path: self.here(c"") });
        }
        let mut space = vec![MaybeUninit::uninit(); ENTRIES];
        let mut entries = RawDir::new(source, &mut space);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(self.unread("read directory", c""))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let path = [&self.path, name.to_bytes()].concat();
            let route = Route { source: source.as_fd(), name, target, new_name: name, inherits };
            let track = match self.rules.strategy(&path) {
                Strategy::None => continue,
                Strategy::Symlink => {
                    let leads_to = [self.place.as_bytes(), &path].join(&b'/');
                    self.link(route, &leads_to, Some(path))?;
                    continue;
                }
                Strategy::Copy => None,
                Strategy::Track => Some(path),
            };
            match self.kind(route, entry.file_type())? {
                FileType::Directory => self.subdirectory(route, depth, track)?,
                FileType::RegularFile => self.file(route, track)?,
                FileType::Symlink => {
                    let leads_to = fs::readlinkat(source, name, Vec::new())
                        .map_err(self.unread("read link", name))?
                        .into_bytes();
                    self.link(route, &leads_to, track)?;
                }
                _ => {
                    self.special(route)?;
                    if let Some(path) = track {
                        let stat = self.stat(route)?;
                        let kind = special_kind(&stat);
                        self.tree.insert(path, super::scan::entry(kind, &stat, None));
                    }
                }
            }
        }
        Ok(())
    }

    fn kind(&self, route: Route<'_>, kind: FileType) -> Result<FileType, EtcError> {
        match kind {
            // Not every file system tells the kind in its directories.
            FileType::Unknown => Ok(FileType::from_raw_mode(self.stat(route)?.st_mode)),
            kind => Ok(kind),
        }
    }

    fn subdirectory(
        &mut self,
        route: Route<'_>,
        depth: usize,
        track: Option<Vec<u8>>,
    ) -> Result<(), EtcError> {
        let from = self.open(route, OFlags::DIRECTORY)?;
        let stat = fs::fstat(&from).map_err(self.unread("look at", route.name))?;
        let made = self.make_directory(route, &stat)?;
        let to = match self.open_made(route) {
            // Whoever put a file or a link there keeps it, and nothing is written through it.
            Err(EtcError::Call { errno: Errno::NOTDIR | Errno::LOOP, .. }) if !made => {
                self.report.kept += 1;
                return Ok(());
            }
            opened => opened?,
        };
        match made {
            true => self.report.directories += 1,
            false => self.report.kept += 1,
        }
        let above = self.path.len();
        self.path.extend_from_slice(route.name.to_bytes());
        self.path.push(b'/');
        // What was made has, until it is finished, what its parent gave it.
        let passes_on = if made { route.inherits } else { self.inherits(&to)? };
        self.directory(&from, to.as_fd(), passes_on, depth + 1)?;
        self.path.truncate(above);
        let attributes = match made {
            // Only now: attributes can carry default ACLs, the mode a set-group-id bit, and entries move the time.
            true => self.finish_directory(&from, &to, &stat, route)?,
            false => self.read_xattrs(&from, route)?,
        };
        if let Some(path) = track {
            self.tree.insert(path, entry(Kind::Directory, &stat, attributes.digest()));
        }
        Ok(())
    }

    /// Makes a directory. False: something has the name.
    fn make_directory(&self, route: Route<'_>, stat: &Stat) -> Result<bool, EtcError> {
        match fs::mkdirat(route.target, route.new_name, Mode::from_raw_mode(stat.st_mode & 0o777)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(self.failed("create directory", route.name)(errno)),
        }
    }

    fn open_made(&self, route: Route<'_>) -> Result<OwnedFd, EtcError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(route.target, route.new_name, flags, Mode::empty())
            .map_err(self.failed("open", route.name))
    }

    fn finish_directory(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        stat: &Stat,
        route: Route<'_>,
    ) -> Result<Xattrs, EtcError> {
        let attributes = self.finish(from, to, stat, route)?;
        let mode = stat.st_mode & 0o7777;
        if mode & (SPECIAL_BITS | self.umask) != 0 || route.inherits {
            fs::fchmod(to, Mode::from_raw_mode(mode)).map_err(self.failed("set the mode of", route.name))?;
        }
        fs::futimens(to, &times(stat)).map_err(self.failed("set the times of", route.name))?;
        Ok(attributes)
    }

    fn file(&mut self, route: Route<'_>, track: Option<Vec<u8>>) -> Result<(), EtcError> {
        let name = route.name;
        let from = self.open(route, OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = fs::fstat(&from).map_err(self.unread("look at", name))?;
        let (digest, attributes) = self.copy_file(route, &from, &stat)?;
        if let Some(path) = track {
            self.tree.insert(path, entry(Kind::File(digest), &stat, attributes.digest()));
        }
        Ok(())
    }

    fn copy_file(
        &mut self,
        route: Route<'_>,
        from: &OwnedFd,
        stat: &Stat,
    ) -> Result<(Digest, Xattrs), EtcError> {
        let name = route.name;
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some((first, digest)) = self.linked.get(&key)
        {
            let digest = *digest;
            match fs::linkat(self.target, first.as_c_str(), route.target, route.new_name, AtFlags::empty()) {
                Ok(()) => self.report.hard_links += 1,
                Err(Errno::EXIST) => self.report.kept += 1,
                Err(errno) => return Err(self.failed("link", name)(errno)),
            }
            return Ok((digest, self.read_xattrs(from, route)?));
        }
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = stat.st_mode & 0o7777;
        let to = match fs::openat(route.target, route.new_name, create, Mode::from_raw_mode(mode & 0o777)) {
            Ok(to) => to,
            Err(Errno::EXIST) => {
                self.report.kept += 1;
                return Ok((self.content(from, None, stat, name)?, self.read_xattrs(from, route)?));
            }
            Err(errno) => return Err(self.failed("create", name)(errno)),
        };
        let digest = self.content(from, Some(&to), stat, name)?;
        let attributes = self.finish(from, &to, stat, route)?;
        if mode & (SPECIAL_BITS | self.umask) != 0 {
            // After the owner, whose change takes set-user-id away.
            fs::fchmod(&to, Mode::from_raw_mode(mode)).map_err(self.failed("set the mode of", name))?;
        }
        fs::futimens(&to, &times(stat)).map_err(self.failed("set the times of", name))?;
        self.report.files += 1;
        if stat.st_nlink > 1 {
            let path = if self.flat { b"" } else { self.path.as_slice() };
            let path = [path, route.new_name.to_bytes()].concat();
            // Neither part holds a NUL: both were names in a directory.
            self.linked.insert(key, (CString::new(path).unwrap_or_default(), digest));
        }
        Ok((digest, attributes))
    }

    /// Reads the bytes of a file and writes them into the other, if there is one: one read and one write for nearly all.
    fn content(
        &mut self,
        from: &OwnedFd,
        to: Option<&OwnedFd>,
        stat: &Stat,
        name: &CStr,
    ) -> Result<Digest, EtcError> {
        let mut digester = Digester::default();
        let mut left = u64::try_from(stat.st_size).unwrap_or(0);
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let space = self.buffer.get_mut(..want).unwrap_or_default();
            let read = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut *space))
                .map_err(self.unread("read", name))?;
            if read == 0 {
                return Err(EtcError::Truncated { path: self.here(name) });
            }
            let piece = self.buffer.get(..read).unwrap_or_default();
            digester.update(piece);
            left = left.saturating_sub(read as u64);
            if let Some(to) = to {
                write_all(to.as_fd(), piece).map_err(self.failed("write", name))?;
                self.report.bytes += read as u64;
            }
        }
        Ok(digester.finish())
    }

    /// Owner and extended attributes of a file or a directory that was made.
    fn finish(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        stat: &Stat,
        route: Route<'_>,
    ) -> Result<Xattrs, EtcError> {
        if self.chown_is_due(stat, route) {
            fs::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
                .map_err(self.failed("set the owner of", route.name))?;
        }
        let attributes = self.read_xattrs(from, route)?;
        for (attribute, value) in attributes.iter() {
            fs::fsetxattr(to, attribute, value, XattrFlags::empty())
                .map_err(self.failed("set an attribute of", route.name))?;
        }
        Ok(attributes)
    }

    fn read_xattrs(&mut self, from: &OwnedFd, route: Route<'_>) -> Result<Xattrs, EtcError> {
        Xattrs::read(from, &mut self.xattrs).map_err(self.unread("read the attributes of", route.name))
    }

    /// Makes a link, with the owner and the time of what the factory has under its name.
    fn link(&mut self, route: Route<'_>, leads_to: &[u8], track: Option<Vec<u8>>) -> Result<(), EtcError> {
        let stat = self.stat(route)?;
        let is_ours = FileType::from_raw_mode(stat.st_mode) != FileType::Symlink;
        match fs::symlinkat(leads_to, route.target, route.new_name) {
            Ok(()) if is_ours => self.report.symlinks += 1,
            Ok(()) => {
                self.report.symlinks += 1;
                self.finish_by_name(route, &stat)?;
            }
            Err(Errno::EXIST) => self.report.kept += 1,
            Err(errno) => return Err(self.failed("create link", route.name)(errno)),
        }
        if let Some(path) = track {
            let mut link = entry(Kind::Link(leads_to.to_vec()), &stat, None);
            if is_ours {
                (link.uid, link.gid) = (0, 0);
            }
            self.tree.insert(path, link);
        }
        Ok(())
    }

    fn special(&mut self, route: Route<'_>) -> Result<(), EtcError> {
        let stat = self.stat(route)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        let kind = FileType::from_raw_mode(stat.st_mode);
        match fs::mknodat(route.target, route.new_name, kind, mode, stat.st_rdev) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                self.report.kept += 1;
                return Ok(());
            }
            Err(errno) => return Err(self.failed("create special file", route.name)(errno)),
        }
        self.report.specials += 1;
        self.finish_by_name(route, &stat)?;
        // Made by us a moment ago and no link, so nothing is followed.
        fs::chmodat(route.target, route.new_name, mode, AtFlags::empty())
            .map_err(self.failed("set the mode of", route.name))
    }

    /// Owner, attributes and times of what cannot be opened. Attributes go by the path of an open directory in /proc, the
    /// one way to reach them without following a link; without /proc there are none.
    fn finish_by_name(&mut self, route: Route<'_>, stat: &Stat) -> Result<(), EtcError> {
        let Route { name, target, new_name, .. } = route;
        if self.chown_is_due(stat, route) {
            let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            fs::chownat(target, new_name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(self.failed("set the owner of", name))?;
        }
        let from = by_proc(route.source, name);
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
            fs::lsetxattr(by_proc(target, new_name), attribute, value, XattrFlags::empty())
                .map_err(self.failed("set an attribute of", name))?;
        }
        fs::utimensat(target, new_name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.failed("set the times of", name))
    }

    fn chown_is_due(&self, stat: &Stat, route: Route<'_>) -> bool {
        route.inherits || (stat.st_uid, stat.st_gid) != self.owner
    }

    fn open(&self, route: Route<'_>, flags: OFlags) -> Result<OwnedFd, EtcError> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(route.source, route.name, flags, Mode::empty()).map_err(self.unread("open", route.name))
    }

    fn stat(&self, route: Route<'_>) -> Result<Stat, EtcError> {
        fs::statat(route.source, route.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.unread("look at", route.name))
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

fn special_kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => Kind::Character(stat.st_rdev),
        FileType::BlockDevice => Kind::Block(stat.st_rdev),
        FileType::Socket => Kind::Socket,
        _ => Kind::Fifo,
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
