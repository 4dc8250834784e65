//! Paths inside of a tree. The kernel follows links and `..` as a process would that had the tree for its root.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::{
    fs::{self, AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, openat2},
    io::Errno,
};

use super::{DIRECTORY, PopulateError};
use crate::tree::attributes::Side;

/// A tree and its part in the copy.
#[derive(Clone, Copy)]
pub(super) struct Tree<'fd> {
    root: BorrowedFd<'fd>,
    side: Side,
    /// The time of what is made here.
    time: Option<i64>,
}

impl<'fd> Tree<'fd> {
    /// The new file system.
    pub fn target(root: BorrowedFd<'fd>) -> Self {
        Self { root, side: Side::Target, time: None }
    }

    /// The source of a copy.
    pub fn source(root: BorrowedFd<'fd>) -> Self {
        Self { root, side: Side::Source, time: None }
    }

    /// The same, where everything is made at this time.
    pub fn at(self, epoch: Option<u64>) -> Self {
        Self { time: epoch.map(|seconds| seconds.try_into().unwrap_or(i64::MAX)), ..self }
    }

    fn times(&self) -> Option<Timestamps> {
        let time = Timespec { tv_sec: self.time?, tv_nsec: 0 };
        Some(Timestamps { last_access: time, last_modification: time })
    }

    /// Gives a directory in which something was made the time of that.
    pub fn date(&self, directory: &OwnedFd, path: &str) -> Result<(), PopulateError> {
        self.times().map_or(Ok(()), |times| {
            fs::futimens(directory, &times).map_err(self.failed("set the times of", path))
        })
    }

    /// Makes a link in a directory that must be there.
    pub fn make_link(&self, leads_to: &str, path: &str) -> Result<(), PopulateError> {
        let (parent, name) = self.parent(path)?;
        fs::symlinkat(leads_to, &parent, name).map_err(self.failed("create link", path))?;
        if let Some(times) = self.times() {
            fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(self.failed("set the times of", path))?;
        }
        self.date(&parent, path)
    }

    /// Opens `path`, links followed inside of the tree.
    pub fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        // openat2 takes no empty path; below RESOLVE_IN_ROOT a slash at the start is the tree's own.
        let path = if path.is_empty() { "/" } else { path };
        loop {
            match openat2(self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT) {
                // A rename elsewhere in the machine, while `..` was followed: the kernel asks us to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return opened,
            }
        }
    }

    /// Makes a directory with all that leads to it, and opens it. An existing one stays as it is.
    pub fn make_directories(&self, path: &str) -> Result<OwnedFd, PopulateError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut here = self.open("/", flags).map_err(self.failed("open", "/"))?;
        let mut so_far = String::new();
        for name in names(path) {
            so_far.push('/');
            so_far.push_str(name);
            here = match self.open(&so_far, flags) {
                Err(Errno::NOENT) => {
                    self.make_one(&here, name, &so_far)?;
                    let made = self.open(&so_far, flags).map_err(self.failed("open", &so_far))?;
                    fs::fchmod(&made, Mode::from_raw_mode(DIRECTORY))
                        .map_err(self.failed("set the mode of", &so_far))?;
                    self.date(&made, &so_far)?;
                    self.date(&here, &so_far)?;
                    made
                }
                there => there.map_err(self.failed("open directory", &so_far))?,
            };
        }
        Ok(here)
    }

    /// Makes one directory.
    pub fn make_one(&self, parent: &OwnedFd, name: &str, path: &str) -> Result<(), PopulateError> {
        fs::mkdirat(parent, name, Mode::from_raw_mode(DIRECTORY))
            .map_err(self.failed("create directory", path))
    }

    /// The directory in which `path` is, which must be there, and its name in it.
    pub fn parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), PopulateError> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self
            .open(above, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(self.failed("open directory", if above.is_empty() { "/" } else { above }))?;
        Ok((parent, name))
    }

    /// The error of one system call on this tree, ready for `map_err`.
    pub fn failed(&self, step: &'static str, path: &str) -> impl FnOnce(Errno) -> PopulateError + use<> {
        let (side, path) = (self.side, path.to_owned());
        move |errno| PopulateError::Call { step, side, path, errno }
    }
}

/// The components of a path.
pub(super) fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".")
}

/// Returns the rest of a `path` that is `above` or lies below it, without a slash at its start; None for any other
/// path.
pub(super) fn below<'p>(path: &'p str, above: &str) -> Option<&'p str> {
    let mut rest = path.trim_start_matches('/');
    for name in names(above) {
        rest = rest.strip_prefix(name)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        rest = rest.trim_start_matches('/');
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_by_components() {
        for (path, above, expected) in [
            ("/a/b/c", "/a/b", Some("c")),
            ("/a/b", "/a/b/", Some("")),
            ("/a/b/", "/a", Some("b/")),
            ("/a/bc", "/a/b", None),
            ("/a", "/", Some("a")),
            ("/", "/", Some("")),
            ("/a", "/a/b", None),
        ] {
            assert_eq!(below(path, above), expected, "{path} below {above}");
        }
    }
}
