//! Looking up paths in a root whose /usr is mounted elsewhere.
//!
//! In the initramfs the new root's own /usr is an empty directory, and the verified one is a mount of its own. [`Tree`]
//! joins both: it resolves a path as a process would that had the root as `/` with /usr mounted on it. Symbolic links
//! are followed here, component by component, so that `..` and absolute targets stay inside.

use std::{
    ffi::CString,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{self, FileType, Stat},
    io::Errno,
};

use super::{flags, open};

/// As many links as the kernel follows in one lookup (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// As many components as a path of `PATH_MAX` bytes can have.
const MAX_COMPONENTS: usize = 2048;

/// A root and its /usr.
#[derive(Clone, Copy)]
pub struct Tree<'fd> {
    /// The directory that is `/`.
    pub root: BorrowedFd<'fd>,
    /// The directory that is `/usr`; the descriptor of the root when /usr is the root's own.
    pub usr: BorrowedFd<'fd>,
}

/// The two ways to treat a link at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    /// It is followed, and its target is found.
    Followed,
    /// The link itself is found.
    Kept,
}

/// Watches a lookup, and may end it.
pub trait Guide {
    /// A step from an inode to its entry or its target; `to` is open with O_PATH.
    ///
    /// # Errors
    /// The lookup ends with this error.
    fn step(&mut self, from: &Stat, to: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno>;

    /// `name` is missing in this directory, which the path itself names, not a link on the way. When this returns Ok, the guide has
    /// made it, and it is looked up once more.
    ///
    /// # Errors
    /// The lookup ends with this error.
    fn missing(&mut self, _directory: BorrowedFd<'_>, _name: &[u8]) -> Result<(), Errno> {
        Err(Errno::NOENT)
    }
}

/// A lookup without an observer.
impl Guide for () {
    fn step(&mut self, _: &Stat, _: BorrowedFd<'_>, _: &Stat) -> Result<(), Errno> {
        Ok(())
    }
}

impl<'fd> Tree<'fd> {
    /// A root whose /usr is its own, or is missing.
    pub fn whole(root: BorrowedFd<'fd>) -> Self {
        Self { root, usr: root }
    }

    /// Returns the path without links, `.` and `..`, as it is inside the tree. A component that does not exist stays as it is written.
    ///
    /// # Errors
    /// As [`Tree::open_path`], but for `NOENT`.
    pub fn resolve(&self, path: &str) -> Result<String, Errno> {
        let mut resolved: Vec<u8> = Vec::new();
        let mut pending = components(path.as_bytes());
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                resolved.truncate(resolved.iter().rposition(|byte| *byte == b'/').unwrap_or_default());
                continue;
            }
            let next = [resolved.as_slice(), b"/", &name].concat();
            let target = match self.walk(&next, Last::Kept, &mut ()) {
                Ok((link, stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    fs::readlinkat(&link, "", Vec::new())?
                }
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => {
                    resolved = next;
                    continue;
                }
                Err(errno) => return Err(errno),
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            if target.as_bytes().first() == Some(&b'/') {
                resolved.clear();
            }
            pending.extend(components(target.as_bytes()));
        }
        String::from_utf8(resolved).map_err(|_| Errno::ILSEQ)
    }

    /// Returns true when /usr is not the root's own directory.
    fn has_usr_elsewhere(&self) -> bool {
        self.root.as_raw_fd() != self.usr.as_raw_fd()
    }

    /// Opens `path` with O_PATH, all links followed inside the tree.
    ///
    /// # Errors
    /// `NOENT` when the path does not exist, `LOOP` after 40 links, `NOTDIR` when a component is not a directory.
    pub fn open_path(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.walk(path.as_bytes(), Last::Followed, &mut ()).map(|(found, _)| found)
    }

    /// Opens `path` with O_PATH, links on the way followed inside the tree, step by step before the eyes of `guide`.
    ///
    /// # Errors
    /// As [`Tree::open_path`], and the guide's.
    pub fn walk(&self, path: &[u8], last: Last, guide: &mut dyn Guide) -> Result<(OwnedFd, Stat), Errno> {
        let root = fs::fstat(self.root)?;
        // The directories from the root down to where we stand; empty means the root itself.
        let mut stack: Vec<(OwnedFd, Stat)> = Vec::new();
        let mut pending: Vec<Vec<u8>> = components(path);
        let (mut links, mut steps) = (0, 0);
        // The number of pending names that come from links.
        let mut of_links = 0usize;
        while let Some(name) = pending.pop() {
            steps += 1;
            if steps > MAX_COMPONENTS {
                return Err(Errno::NAMETOOLONG);
            }
            let is_of_link = of_links > 0;
            of_links = of_links.saturating_sub(1);
            if name == b".." {
                let left = stack.pop();
                if let Some((_, from)) = left {
                    let (to, stat) = stack.last().map_or((self.root, &root), |(fd, stat)| (fd.as_fd(), stat));
                    guide.step(&from, to, stat)?;
                }
                continue;
            }
            let (here, from) = stack.last().map_or((self.root, &root), |(fd, stat)| (fd.as_fd(), stat));
            let next = if stack.is_empty() && name == b"usr" && self.has_usr_elsewhere() {
                rustix::io::fcntl_dupfd_cloexec(self.usr, 0)?
            } else {
                let open = || open::path(here, name.as_slice());
                match open() {
                    Err(Errno::NOENT) if !is_of_link => {
                        guide.missing(here, &name)?;
                        open()?
                    }
                    next => next?,
                }
            };
            let stat = fs::fstat(&next)?;
            guide.step(from, next.as_fd(), &stat)?;
            let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
            if !is_link || (last == Last::Kept && pending.is_empty()) {
                stack.push((next, stat));
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            let target: CString = fs::readlinkat(&next, "", Vec::new())?;
            if target.as_bytes().first() == Some(&b'/') {
                stack.clear();
                guide.step(&stat, self.root, &root)?;
            }
            let names = components(target.as_bytes());
            of_links += names.len();
            pending.extend(names);
        }
        match stack.pop() {
            Some(found) => Ok(found),
            None => Ok((rustix::io::fcntl_dupfd_cloexec(self.root, 0)?, root)),
        }
    }

    /// Opens the directory at `path` for reading, all links followed inside the tree.
    ///
    /// # Errors
    /// As [`Tree::open_read`].
    pub fn open_directory(&self, path: &str) -> Result<OwnedFd, Errno> {
        let (at, below) = match path.strip_prefix("/usr/") {
            Some(below) if self.has_usr_elsewhere() => (self.usr, below),
            _ => (self.root, path.trim_start_matches('/')),
        };
        // Mostly there is no link on the way, and one call is enough.
        match open::below(at, below) {
            Err(errno) if errno != Errno::NOENT || below.is_empty() => self.open_read(path),
            opened => opened,
        }
    }

    /// The attributes of `path`, all links followed inside the tree.
    ///
    /// # Errors
    /// As [`Tree::open_path`].
    pub fn stat(&self, path: &str) -> Result<Stat, Errno> {
        fs::fstat(self.open_path(path)?)
    }

    /// Opens the regular file or directory at `path` for reading, all links followed inside the tree.
    ///
    /// # Errors
    /// As [`Tree::open_path`]; `INVAL` for anything else (opening a FIFO would wait, a device may do anything).
    pub fn open_read(&self, path: &str) -> Result<OwnedFd, Errno> {
        let (parent, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
        let found = self.open_path(path)?;
        match FileType::from_raw_mode(fs::fstat(&found)?.st_mode) {
            FileType::Directory => open::directory(&found, "."),
            FileType::RegularFile => {
                // An O_PATH descriptor cannot be read from and /proc may not be mounted: open by name in the parent,
                // and take it only if it is the same file.
                let direct = self.open_path(parent).and_then(|directory| open::file(directory, name));
                match direct {
                    Ok(file) if same(&file, &found)? => Ok(file),
                    _ => open::again(&found, flags::FILE),
                }
            }
            _ => Err(Errno::INVAL),
        }
    }
}

/// Checks that two descriptors are of the same file.
fn same(one: &OwnedFd, other: &OwnedFd) -> Result<bool, Errno> {
    let (one, other) = (fs::fstat(one)?, fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// The components of a path, last first, without `.` and empty ones.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::symlink, path::PathBuf};

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let top = std::env::temp_dir().join(format!("hermetic-lookup-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&top);
        std::fs::create_dir_all(top.join("root/etc")).unwrap();
        std::fs::create_dir_all(top.join("root/usr/lib")).unwrap();
        std::fs::create_dir_all(top.join("usr/lib")).unwrap();
        for (path, content) in [
            ("outside", "outside"),
            ("root/etc/file", "file"),
            ("root/usr/lib/x", "own"),
            ("usr/lib/x", "mounted"),
        ] {
            std::fs::write(top.join(path), content).unwrap();
        }
        top
    }

    fn read(tree: &Tree<'_>, path: &str) -> Result<String, Errno> {
        let file = tree.open_read(path)?;
        Ok(std::io::read_to_string(File::from(file)).unwrap())
    }

    fn open(path: PathBuf) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    #[test]
    fn no_link_and_no_dots_lead_out_of_the_tree() {
        let top = scratch("out");
        let etc = top.join("root/etc");
        symlink("/etc/file", etc.join("absolute")).unwrap();
        symlink("../../../../etc/file", etc.join("up")).unwrap();
        symlink("../../outside", etc.join("out")).unwrap();
        symlink("loop", etc.join("loop")).unwrap();
        symlink(&top, etc.join("host")).unwrap();
        let root = open(top.join("root"));
        let tree = Tree::whole(root.as_fd());
        for path in ["/etc/file", "etc//./file", "/../etc/file", "/etc/absolute", "/etc/up", "/etc/../etc/up"]
        {
            assert_eq!(read(&tree, path).as_deref(), Ok("file"), "{path}");
        }
        for (path, errno) in [
            ("/etc/out", Errno::NOENT),
            ("/etc/host/outside", Errno::NOENT),
            ("/etc/loop", Errno::LOOP),
            ("/etc/file/below", Errno::NOTDIR),
            ("/missing", Errno::NOENT),
        ] {
            assert_eq!(read(&tree, path), Err(errno), "{path}");
        }
        assert_eq!(tree.resolve("/etc/up").as_deref(), Ok("/etc/file"));
        assert_eq!(tree.resolve("/etc/out").as_deref(), Ok("/outside"));
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn the_mounted_usr_takes_the_place_of_the_roots_own() {
        let top = scratch("usr");
        symlink("usr/lib", top.join("root/lib")).unwrap();
        let (root, usr) = (open(top.join("root")), open(top.join("usr")));
        let whole = Tree::whole(root.as_fd());
        let joined = Tree { root: root.as_fd(), usr: usr.as_fd() };
        for path in ["/usr/lib/x", "/lib/x", "/etc/../usr/lib/x"] {
            assert_eq!(read(&whole, path).as_deref(), Ok("own"), "{path}");
            assert_eq!(read(&joined, path).as_deref(), Ok("mounted"), "{path}");
        }
        assert!(joined.open_directory("/usr/lib").is_ok() && joined.open_directory("/lib").is_ok());
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn a_fifo_is_neither_opened_nor_waited_for() {
        let top = scratch("fifo");
        let root = open(top.join("root"));
        fs::mknodat(&root, "fifo", FileType::Fifo, fs::Mode::RWXU, 0).unwrap();
        let tree = Tree::whole(root.as_fd());
        assert_eq!(read(&tree, "/fifo"), Err(Errno::INVAL));
        assert!(tree.stat("/fifo").is_ok());
        std::fs::remove_dir_all(top).unwrap();
    }

    /// Makes what is missing, and remembers the names.
    struct Maker(Vec<String>);

    impl Guide for Maker {
        fn step(&mut self, _: &Stat, _: BorrowedFd<'_>, _: &Stat) -> Result<(), Errno> {
            Ok(())
        }

        fn missing(&mut self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
            self.0.push(String::from_utf8_lossy(name).into_owned());
            fs::mkdirat(directory, name, fs::Mode::RWXU)
        }
    }

    #[test]
    fn a_guide_makes_what_the_path_names_and_not_what_a_link_leads_to() {
        let top = scratch("guide");
        symlink("nowhere", top.join("root/link")).unwrap();
        let root = open(top.join("root"));
        let tree = Tree::whole(root.as_fd());
        let mut maker = Maker(Vec::new());
        tree.walk(b"/var/lib", Last::Followed, &mut maker).unwrap();
        assert_eq!(tree.walk(b"/link", Last::Followed, &mut maker).unwrap_err(), Errno::NOENT);
        assert_eq!(maker.0, ["var", "lib"]);
        assert!(top.join("root/var/lib").is_dir());
        std::fs::remove_dir_all(top).unwrap();
    }
}
