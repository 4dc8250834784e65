//! Reading a tree into a [`Snapshot`].

use std::{
    collections::VecDeque,
    ffi::{CStr, CString},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, FileType, RawDir, Stat},
    io::Errno,
};

use super::{
    EtcError, STAGED, Side,
    entry::{Digest, Digester, Entry, Kind, Snapshot},
    label::digest,
};
use crate::tree::{inode::Inode, open, xattr::Xattrs};

/// Files are read in pieces of this size.
const CHUNK: usize = 128 << 10;
/// Directories are read in pieces of this size.
const ENTRIES: usize = 16 << 10;
/// The depth to which directories may be nested.
const MAX_DEPTH: usize = 64;

/// Reads the tree below `top`, which messages call `side`. The content of a file is read when `wanted` says so;
/// otherwise the digest is [`Digest::UNREAD`]. Links are not followed.
///
/// # Errors
/// The first entry that cannot be read, and directories nested too deep.
pub fn scan(top: BorrowedFd<'_>, side: Side, wanted: &dyn Fn(&[u8]) -> bool) -> Result<Snapshot, EtcError> {
    let mut scanner = Scanner {
        side,
        wanted,
        buffer: vec![0; CHUNK],
        xattrs: Vec::new(),
        path: Vec::new(),
        tree: Snapshot::new(),
    };
    scanner.directory(top, 0)?;
    Ok(scanner.tree)
}

struct Scanner<'a> {
    side: Side,
    wanted: &'a dyn Fn(&[u8]) -> bool,
    buffer: Vec<u8>,
    xattrs: Vec<u8>,
    /// The current path.
    path: Vec<u8>,
    tree: Snapshot,
}

impl Scanner<'_> {
    fn directory(&mut self, directory: BorrowedFd<'_>, depth: usize) -> Result<(), EtcError> {
        if depth >= MAX_DEPTH && self.side == Side::Root {
            // No factory has anything there.
            return Ok(());
        }
        if depth >= MAX_DEPTH {
            return Err(EtcError::TooDeep { side: self.side, path: self.here() });
        }
        let mut names = VecDeque::new();
        let mut space = vec![MaybeUninit::uninit(); ENTRIES];
        let mut entries = RawDir::new(directory, &mut space);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(self.failed("read directory"))?;
            let name = entry.file_name();
            if name != c"." && name != c".." && !(depth == 0 && name.to_bytes() == STAGED.as_bytes()) {
                names.push_back((name.to_owned(), entry.file_type()));
            }
        }
        let above = self.path.len();
        for (name, kind) in names {
            if above > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            self.entry(directory, &name, kind, depth)?;
            self.path.truncate(above);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        kind: FileType,
        depth: usize,
    ) -> Result<(), EtcError> {
        match kind {
            FileType::Directory | FileType::RegularFile => self.open(directory, name, depth),
            _ => {
                let stat =
                    fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(self.failed("look at"))?;
                let kind = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory | FileType::RegularFile => return self.open(directory, name, depth),
                    FileType::Symlink => {
                        let target: CString =
                            fs::readlinkat(directory, name, Vec::new()).map_err(self.failed("read link"))?;
                        Kind::Link(target.into_bytes())
                    }
                    FileType::Socket => Kind::Socket,
                    FileType::CharacterDevice => Kind::Character(stat.st_rdev),
                    FileType::BlockDevice => Kind::Block(stat.st_rdev),
                    _ => Kind::Fifo,
                };
                self.insert(kind, &stat, None);
                Ok(())
            }
        }
    }

    /// Looks into a regular file or a directory.
    fn open(&mut self, directory: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), EtcError> {
        let file = open::file(directory, name).map_err(self.failed("open"))?;
        let stat = fs::fstat(&file).map_err(self.failed("look at"))?;
        let xattrs = Xattrs::all(Inode::open(&file), &mut self.xattrs)
            .map_err(self.failed("read the attributes of"))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            self.insert(Kind::Directory, &stat, digest(&xattrs));
            return self.directory(file.as_fd(), depth + 1);
        }
        let content = match (self.wanted)(&self.path) {
            true => match self.content(&file, &stat) {
                // A file of the root that cannot be read is not the factory's, and stays.
                Err(_) if self.side == Side::Root => Digest::UNREAD,
                content => content?,
            },
            false => Digest::UNREAD,
        };
        self.insert(Kind::File(content), &stat, digest(&xattrs));
        Ok(())
    }

    fn content(&mut self, file: &OwnedFd, stat: &Stat) -> Result<Digest, EtcError> {
        let mut digester = Digester::default();
        let mut left = u64::try_from(stat.st_size).unwrap_or(0);
        while left > 0 {
            let read = rustix::io::retry_on_intr(|| rustix::io::read(file, &mut *self.buffer))
                .map_err(self.failed("read"))?;
            if read == 0 {
                break;
            }
            digester.update(self.buffer.get(..read).unwrap_or_default());
            left = left.saturating_sub(read as u64);
        }
        Ok(digester.finish())
    }

    fn insert(&mut self, kind: Kind, stat: &Stat, xattrs: Option<Digest>) {
        self.tree.insert(self.path.clone(), entry(kind, stat, xattrs));
    }

    fn here(&self) -> String {
        format!("/etc/{}", String::from_utf8_lossy(&self.path))
    }

    fn failed(&self, step: &'static str) -> impl FnOnce(Errno) -> EtcError + use<> {
        let (side, path) = (self.side, self.here());
        move |errno| EtcError::Call { step, side, path, errno }
    }
}

/// An entry of this kind, with what `stat` says.
pub(super) fn entry(kind: Kind, stat: &Stat, xattrs: Option<Digest>) -> Entry {
    let mode = if matches!(kind, Kind::Link(_)) { 0o777 } else { stat.st_mode & 0o7777 };
    Entry { kind, mode, uid: stat.st_uid, gid: stat.st_gid, xattrs }
}
