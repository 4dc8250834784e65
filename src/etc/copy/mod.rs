//! Files copied whole from the factory, with few system calls: one by one, or a tree at once.
//!
//! This runs in the boot, mostly over some hundred small files, and a system call costs more than the bytes: a small
//! file takes nine (open, stat, list attributes, read, close; create, write, times, close), a directory eight. Modes
//! are given at creation, owners are set only where they differ from those of the process. A directory that was made
//! here a moment ago is not opened: its entries are named by their path from the last one that existed before. Such a
//! path leads only through directories that were made here, so it has no link that could lead elsewhere.
//!
//! A link's extended attributes stay behind, as in systemd's copies: nothing but labels and `trusted.*` can be on one,
//! and the only way to ask is through /proc, which costs as much as the link.

mod file;
mod node;
mod report;

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, RawDir, Stat},
    io::Errno,
};

use super::{
    EtcError,
    entry::{Digest, Entry, Kind},
    error::Side,
    label::digest,
    manifest::{DATABASES, Lines},
    rules::{Rules, Strategy},
    scan::entry,
};
use crate::{
    map::Map,
    sysusers::database,
    tree::{
        attributes::Attributes,
        flags,
        inode::{self, Inode},
        open,
        xattr::Xattrs,
    },
};

pub use report::Report;

/// Files are copied in pieces of this size; nearly all of a factory fit into one.
const CHUNK: usize = 128 << 10;
/// Directories are read in pieces of this size.
const ENTRIES: usize = 4 << 10;
/// The depth to which directories may be nested; every level holds up to two descriptors.
const MAX_DEPTH: usize = 64;
/// Beyond this many bytes of path a directory is opened, also one of our own making: the kernel takes 4095.
const LONG: usize = 2048;
/// Set-user-id, set-group-id, sticky.
const SPECIAL_BITS: u32 = 0o7000;

/// The source and the target of one file.
#[derive(Clone, Copy)]
pub(super) struct Route<'a> {
    /// The directory in the factory.
    pub(super) source: BorrowedFd<'a>,
    /// The name there.
    pub(super) name: &'a CStr,
    /// The directory in the root.
    pub(super) target: BorrowedFd<'a>,
    /// The name there, or the path through directories that were made by this copy.
    pub(super) new_name: &'a CStr,
    /// True when the directory in the root has the set-group-id bit, and so gives its group, and the bit, to its new
    /// entries.
    pub(super) inherits: bool,
}

impl<'a> Route<'a> {
    /// The entry that was just made at its end.
    fn made(self) -> Inode<'a> {
        Inode::Named(self.target, self.new_name.to_bytes())
    }
}

/// A copy under way.
pub(super) struct Copier<'a> {
    rules: &'a Rules,
    place: &'a str,
    target: BorrowedFd<'a>,
    buffer: Vec<u8>,
    /// The buffers that directories were read into; as many as were ever open at once.
    spaces: Vec<Vec<u8>>,
    xattrs: Vec<u8>,
    /// The first copy of a source file that has several names: its path from the target, and the digest of its content.
    linked: Map<(CString, Digest)>,
    /// The owner that new files get by themselves.
    owner: (u32, u32),
    /// The bits that creation takes away.
    umask: u32,
    /// The path of the directory we are in, with a slash behind it, for messages and hard links.
    path: Vec<u8>,
    /// True when all new files lie directly in the target.
    flat: bool,
    copied: Copied,
}

/// The result of a copy.
pub(super) struct Copied {
    /// The counts.
    pub(super) report: Report,
    /// The factory's entries that are tracked.
    pub(super) lines: Lines,
    /// The user databases that are tracked.
    pub(super) databases: Vec<(&'static str, database::Kind)>,
}

/// The directory that is being filled.
#[derive(Clone, Copy)]
struct Level<'fd> {
    /// The last one on the way there that is open.
    at: BorrowedFd<'fd>,
    /// The number of bytes of the path, a slash at the end included, that lead to that one.
    base: usize,
    /// As [`Route::inherits`].
    inherits: bool,
    /// The number of directories above.
    depth: usize,
}

impl<'a> Copier<'a> {
    /// A copy into the directory `target`, by these rules; links into the factory go to `place`.
    pub(super) fn new(target: BorrowedFd<'a>, rules: &'a Rules, place: &'a str) -> Self {
        Self {
            rules,
            place,
            target,
            buffer: vec![0; CHUNK],
            spaces: Vec::new(),
            xattrs: Vec::new(),
            linked: Map::new(),
            owner: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            umask: open::umask(),
            path: Vec::new(),
            flat: false,
            copied: Copied { report: Report::default(), lines: Lines::new(), databases: Vec::new() },
        }
    }

    /// Copies the content of `source` into the target, and returns the tracked entries. The target directory itself,
    /// which exists, keeps its mode.
    pub(super) fn tree(mut self, source: &OwnedFd) -> Result<Copied, EtcError> {
        let inherits = self.inherits(self.target)?;
        self.directory(source, Level { at: self.target, base: 0, inherits, depth: 0 })?;
        Ok(self.copied)
    }

    /// Copies one file directly into the target, or makes an empty directory like the source's. Nothing may have the new
    /// name. `above` is the directory in the factory, for messages.
    pub(super) fn one(&mut self, route: Route<'_>, kind: &Kind, above: &[u8]) -> Result<(), EtcError> {
        self.flat = true;
        self.path = if above.is_empty() { Vec::new() } else { [above, b"/"].concat() };
        match kind {
            Kind::Directory => {
                let from = self.open(route, flags::DIRECTORY)?;
                let stat = fs::fstat(&from).map_err(|errno| self.unread("look at", route.name, errno))?;
                if !self.make_directory(route, &stat)? {
                    return Err(self.failed("create directory", route.name, Errno::EXIST));
                }
                self.finish_directory(&from, &stat, route)?;
            }
            Kind::File(_) => self.file(route, false)?,
            Kind::Link(target) => self.link(route, target, false)?,
            _ => self.special(route, false)?,
        }
        Ok(())
    }

    fn inherits(&self, target: impl AsFd) -> Result<bool, EtcError> {
        let stat = fs::fstat(target).map_err(|errno| self.failed("look at", c"", errno))?;
        Ok(stat.st_mode & 0o2000 != 0)
    }

    /// Copies the entries of one directory.
    fn directory(&mut self, source: &OwnedFd, level: Level<'_>) -> Result<(), EtcError> {
        if level.depth >= MAX_DEPTH {
            return Err(EtcError::TooDeep { side: Side::Factory, path: self.here(c"") });
        }
        // A new one for each directory would be a new mapping for each.
        let mut space = self.spaces.pop().unwrap_or_else(|| Vec::with_capacity(ENTRIES));
        let mut entries = RawDir::new(source, space.spare_capacity_mut());
        let mut path = self.path.clone();
        let above = path.len();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| self.unread("read directory", c"", errno))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            path.truncate(above);
            path.extend_from_slice(name.to_bytes_with_nul());
            let way = path.get(level.base..).and_then(|way| CStr::from_bytes_with_nul(way).ok());
            let route = Route {
                source: source.as_fd(),
                name,
                target: level.at,
                // There is one: the base is a part of the path, and NUL stands nowhere but at its end.
                new_name: way.unwrap_or(name),
                inherits: level.inherits,
            };
            let bare = path.strip_suffix(b"\0").unwrap_or(&path);
            let track = match self.rules.of_factory(bare) {
                Strategy::None => continue,
                Strategy::Symlink => {
                    self.link(route, &[self.place.as_bytes(), bare].join(&b'/'), true)?;
                    continue;
                }
                Strategy::Copy => false,
                Strategy::Track => true,
            };
            match self.kind(route, entry.file_type())? {
                FileType::Directory => self.subdirectory(route, level, track)?,
                FileType::RegularFile => self.file(route, track)?,
                FileType::Symlink => {
                    let leads_to = fs::readlinkat(source, name, Vec::new())
                        .map_err(|errno| self.unread("read link", name, errno))?;
                    self.link(route, leads_to.as_bytes(), track)?;
                }
                _ => self.special(route, track)?,
            }
        }
        self.spaces.push(space);
        Ok(())
    }

    fn kind(&self, route: Route<'_>, kind: FileType) -> Result<FileType, EtcError> {
        match kind {
            // Not every file system has the kind of a file in its directories.
            FileType::Unknown => Ok(FileType::from_raw_mode(self.stat(route)?.st_mode)),
            kind => Ok(kind),
        }
    }

    fn subdirectory(&mut self, route: Route<'_>, level: Level<'_>, track: bool) -> Result<(), EtcError> {
        let from = self.open(route, flags::DIRECTORY)?;
        let stat = fs::fstat(&from).map_err(|errno| self.unread("look at", route.name, errno))?;
        let made = self.make_directory(route, &stat)?;
        let above = self.path.len();
        let opened = match made && above < LONG {
            true => None,
            false => match self.open_there(route) {
                // A file or a link of the root at this place stays, and nothing is written through it.
                Err(Errno::NOTDIR | Errno::LOOP) if !made => {
                    self.copied.report.kept += 1;
                    return Ok(());
                }
                opened => Some(opened.map_err(|errno| self.failed("open", route.name, errno))?),
            },
        };
        match made {
            true => self.copied.report.directories += 1,
            false => self.copied.report.kept += 1,
        }
        self.path.extend_from_slice(route.name.to_bytes());
        self.path.push(b'/');
        let depth = level.depth + 1;
        let below = match &opened {
            // A new directory has, until it is finished, the attributes that its parent gave it.
            Some(to) => {
                let inherits = if made { route.inherits } else { self.inherits(to)? };
                Level { at: to.as_fd(), base: self.path.len(), inherits, depth }
            }
            None => Level { depth, ..level },
        };
        self.directory(&from, below)?;
        self.path.truncate(above);
        let attributes = match made {
            // Only now: attributes can carry default ACLs, the mode a set-group-id bit, and entries move the time.
            true => self.finish_directory(&from, &stat, route)?,
            false => self.read_xattrs(Inode::open(&from), route)?,
        };
        if track {
            self.remember(route, entry(Kind::Directory, &stat, digest(&attributes)));
        }
        Ok(())
    }

    /// Makes a directory. False: something has the name.
    fn make_directory(&self, route: Route<'_>, stat: &Stat) -> Result<bool, EtcError> {
        match fs::mkdirat(route.target, route.new_name, Mode::from_raw_mode(stat.st_mode & 0o777)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(self.failed("create directory", route.name, errno)),
        }
    }

    fn open_there(&self, route: Route<'_>) -> Result<OwnedFd, Errno> {
        open::directory(route.target, route.new_name)
    }

    /// Gives a directory that was made owner, attributes, mode and times.
    fn finish_directory(
        &mut self,
        from: &OwnedFd,
        stat: &Stat,
        route: Route<'_>,
    ) -> Result<Xattrs, EtcError> {
        let xattrs = self.read_xattrs(Inode::open(from), route)?;
        // Attributes are set by a descriptor: nothing here may need /proc.
        let opened = match xattrs.is_empty() {
            true => None,
            false => Some(self.open_there(route).map_err(|errno| self.failed("open", route.name, errno))?),
        };
        let to = opened.as_ref().map_or(route.made(), Inode::open);
        let attributes = Attributes { xattrs: Some(&xattrs), ..self.attributes(stat, route.inherits) };
        self.give(to, &attributes, route)?;
        Ok(xattrs)
    }

    /// Owner, mode and times that the copy of an inode does not get by itself.
    fn attributes(&self, stat: &Stat, inherits: bool) -> Attributes<'static> {
        let mode = stat.st_mode & 0o7777;
        let gets_bit = inherits && FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        Attributes {
            owner: self.chown_is_due(stat, inherits).then_some((stat.st_uid, stat.st_gid)),
            mode: (mode & (SPECIAL_BITS | self.umask) != 0 || gets_bit).then_some(mode),
            times: Some(inode::times_unread(stat)),
            ..Attributes::default()
        }
    }

    fn give(&self, to: Inode<'_>, attributes: &Attributes<'_>, route: Route<'_>) -> Result<(), EtcError> {
        attributes.give(to).map_err(|failed| self.failed(failed.step, route.name, failed.errno))
    }

    fn chown_is_due(&self, stat: &Stat, inherits: bool) -> bool {
        inherits || (stat.st_uid, stat.st_gid) != self.owner
    }

    fn read_xattrs(&mut self, from: Inode<'_>, route: Route<'_>) -> Result<Xattrs, EtcError> {
        Xattrs::all(from, &mut self.xattrs)
            .map_err(|errno| self.unread("read the attributes of", route.name, errno))
    }

    /// Records the factory's entry.
    fn remember(&mut self, route: Route<'_>, given: Entry) {
        let name = route.name.to_bytes();
        self.copied.lines.entry([&self.path, name], &given);
        if self.path.is_empty() {
            let databases = DATABASES.into_iter().filter(|(file, _)| file.as_bytes() == name);
            self.copied.databases.extend(databases);
        }
    }

    fn open(&self, route: Route<'_>, flags: OFlags) -> Result<OwnedFd, EtcError> {
        fs::openat(route.source, route.name, flags, Mode::empty())
            .map_err(|errno| self.unread("open", route.name, errno))
    }

    fn stat(&self, route: Route<'_>) -> Result<Stat, EtcError> {
        fs::statat(route.source, route.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| self.unread("look at", route.name, errno))
    }

    /// The path of `name` as messages say it.
    fn here(&self, name: &CStr) -> String {
        format!("/etc/{}{}", String::from_utf8_lossy(&self.path), name.to_string_lossy())
    }

    fn failed(&self, step: &'static str, name: &CStr, errno: Errno) -> EtcError {
        EtcError::Call { step, side: Side::Root, path: self.here(name), errno }
    }

    fn unread(&self, step: &'static str, name: &CStr, errno: Errno) -> EtcError {
        EtcError::Call { step, side: Side::Factory, path: self.here(name), errno }
    }
}
