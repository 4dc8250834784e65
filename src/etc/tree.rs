//! Looking up paths in a root whose /usr is mounted elsewhere.
//!
//! In the initramfs the new root's own /usr is an empty directory, and the verified one is a mount of its own. [`Tree`]
//! joins both: it resolves a path as a process would that had the root as `/` with /usr mounted on it. Symbolic links
//! are followed by us, component by component, so that `..` and absolute targets stay inside.

use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

/// As many links as the kernel follows in one lookup (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// As many components as a path of `PATH_MAX` bytes can have.
const MAX_COMPONENTS: usize = 2048;

/// A root and its /usr.
#[derive(Clone, Copy)]
pub struct Tree<'fd> {
    /// The directory that is `/`.
    pub root: BorrowedFd<'fd>,
    /// The directory that is `/usr`.
    pub usr: BorrowedFd<'fd>,
}

impl Tree<'_> {
    /// Opens `path` with O_PATH, all links followed inside the tree.
    ///
    /// # Errors
    /// `NOENT` when nothing is there, `LOOP` after 40 links, `NOTDIR` when a component is no directory.
    pub fn open_path(&self, path: &str) -> Result<OwnedFd, Errno> {
        // The directories from the root down to where we stand; empty means the root itself.
        let mut stack: Vec<OwnedFd> = Vec::new();
        let mut pending: Vec<String> = components(path.as_bytes())?;
        let (mut links, mut steps) = (0, 0);
        while let Some(name) = pending.pop() {
            steps += 1;
            if steps > MAX_COMPONENTS {
                return Err(Errno::NAMETOOLONG);
            }
            if name == ".." {
                stack.pop();
                continue;
            }
            if stack.is_empty() && name == "usr" {
                stack.push(rustix::io::fcntl_dupfd_cloexec(self.usr, 0)?);
                continue;
            }
            let here = stack.last().map_or(self.root, AsFd::as_fd);
            let next = fs::openat(
                here,
                name.as_str(),
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            if FileType::from_raw_mode(fs::fstat(&next)?.st_mode) != FileType::Symlink {
                stack.push(next);
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            let target: CString = fs::readlinkat(&next, "", Vec::new())?;
            if target.as_bytes().first() == Some(&b'/') {
                stack.clear();
            }
            pending.extend(components(target.as_bytes())?);
        }
        match stack.pop() {
            Some(found) => Ok(found),
            None => rustix::io::fcntl_dupfd_cloexec(self.root, 0),
        }
    }

    /// What lies at `path`, all links followed inside the tree.
    ///
    /// # Errors
    /// As [`Tree::open_path`].
    pub fn stat(&self, path: &str) -> Result<Stat, Errno> {
        fs::fstat(self.open_path(path)?)
    }

    /// Opens the regular file or directory at `path` for reading, all links followed inside the tree.
    ///
    /// # Errors
    /// As [`Tree::open_path`]; `INVAL` for what is neither (a FIFO would block, a device would do who knows what).
    pub fn open_read(&self, path: &str) -> Result<OwnedFd, Errno> {
        let (parent, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let found = self.open_path(path)?;
        match FileType::from_raw_mode(fs::fstat(&found)?.st_mode) {
            FileType::Directory => fs::openat(&found, ".", flags | OFlags::DIRECTORY, Mode::empty()),
            FileType::RegularFile => {
                // An O_PATH descriptor cannot be read from and /proc may not be mounted: open by name in the parent,
                // and take it only if it is what was found.
                let direct =
                    self.open_path(parent).and_then(|dir| fs::openat(dir, name, flags, Mode::empty()));
                match direct {
                    Ok(file) if same(&file, &found)? => Ok(file),
                    _ => {
                        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
                        fs::open(link, flags - OFlags::NOFOLLOW, Mode::empty())
                    }
                }
            }
            _ => Err(Errno::INVAL),
        }
    }
}

/// Whether two descriptors are of the same file.
fn same(one: &OwnedFd, other: &OwnedFd) -> Result<bool, Errno> {
    let (one, other) = (fs::fstat(one)?, fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// The components of a path, last first, without `.` and empty ones.
fn components(path: &[u8]) -> Result<Vec<String>, Errno> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .rev()
        .map(|name| core::str::from_utf8(name).map(str::to_owned).map_err(|_| Errno::ILSEQ))
        .collect()
}

/// Opens a directory of the root by one name, never through a link.
///
/// # Errors
/// `LOOP` or `NOTDIR` when it is no directory.
pub(crate) fn open_directory(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    fs::openat(
        at,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Whether `name` exists in a directory, as whatever; links are not followed.
pub(crate) fn exists(at: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    match fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
