//! Ways through the root: never from a directory of a user to a file of another one, never into an automounter's
//! directory (systemd's src/basic/chase.c with `CHASE_SAFE` and `CHASE_NO_AUTOFS`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    super::path::{self, show},
    Applier, Done, Failed, IGNORING, Item, Level,
};
use crate::tree::{Guide, Last, flags, open::by_proc, remove};

/// autofs (linux/magic.h).
const AUTOFS: u64 = 0x0187;
/// The mode of parents that are made on the way.
const PARENT_MODE: u32 = 0o755;

/// Returns true when a step leads from a directory of a user other than root to one of yet another user, who may not
/// want it.
fn is_unsafe(from: &Stat, to: &Stat) -> bool {
    from.st_uid != 0 && from.st_uid != to.st_uid
}

/// Watches the steps of a lookup.
#[derive(Default)]
struct Careful {
    /// Missing directories are made.
    makes: bool,
    /// The first step that was refused: where it led to, and the two owners.
    refused: Option<(String, u32, u32)>,
}

impl Guide for Careful {
    fn step(&mut self, from: &Stat, to: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
        if is_unsafe(from, stat) {
            let place = fs::readlink(by_proc(to), Vec::new());
            let place = place.map_or_else(|_| "n/a".to_owned(), |place| place.to_string_lossy().into_owned());
            self.refused = Some((place, from.st_uid, stat.st_uid));
            return Err(Errno::NOLINK);
        }
        refuse_automounter(from, to, stat)
    }

    fn missing(&mut self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        match self.makes {
            true => fs::mkdirat(directory, name, Mode::from_raw_mode(PARENT_MODE)),
            false => Err(Errno::NOENT),
        }
    }
}

/// `REMOTE` if a step leads onto a mount of autofs: looking into it would mount something.
fn refuse_automounter(from: &Stat, to: BorrowedFd<'_>, stat: &Stat) -> Result<(), Errno> {
    if from.st_dev != stat.st_dev && fs::fstatfs(to).is_ok_and(|fs| fs.f_type as u64 == AUTOFS) {
        return Err(Errno::REMOTE);
    }
    Ok(())
}

/// A directory of the root, and the entry to be made in it.
pub(super) struct Parent<'i> {
    pub(super) fd: OwnedFd,
    pub(super) stat: Stat,
    pub(super) name: &'i [u8],
}

impl Parent<'_> {
    /// Opens the entry of the name with O_PATH, of any kind.
    pub(super) fn open(&self) -> Result<(OwnedFd, Stat), Errno> {
        self.open_with(OFlags::empty())
    }

    /// Opens the directory that lies under the name.
    pub(super) fn open_directory(&self) -> Result<(OwnedFd, Stat), Errno> {
        self.open_with(OFlags::DIRECTORY)
    }

    fn open_with(&self, flags: OFlags) -> Result<(OwnedFd, Stat), Errno> {
        let fd = fs::openat(&self.fd, self.name, flags::PATH | flags, Mode::empty())?;
        let stat = fs::fstat(&fd)?;
        refuse_automounter(&self.stat, fd.as_fd(), &stat)?;
        Ok((fd, stat))
    }
}

impl Applier<'_> {
    /// Opens a path with O_PATH; logs an unsafe way to it, if that matters.
    pub(super) fn open(&mut self, path: &[u8], last: Last) -> Result<(OwnedFd, Stat), Errno> {
        self.look_up(path, last, false, Level::Warning)
    }

    fn look_up(
        &mut self,
        path: &[u8],
        last: Last,
        makes: bool,
        level: Level,
    ) -> Result<(OwnedFd, Stat), Errno> {
        let mut guide = Careful { makes, refused: None };
        let found = self.tree.walk(path, last, &mut guide);
        if let Some((place, from, to)) = guide.refused {
            let path = show(path);
            let message = format!(
                "Detected unsafe path transition (owned by {from}) → {place} (owned by {to}) during canonicalization of {path}."
            );
            self.log.say(level, message);
        }
        found
    }

    /// Opens the directory in which the item's path lies, and makes missing directories on the way. `kind` is the kind
    /// of the entry itself, for `=`.
    pub(super) fn parent<'i>(
        &mut self,
        item: &'i Item,
        kind: Option<FileType>,
    ) -> Result<Parent<'i>, Failed> {
        let shown = show(&item.path);
        let (level, ignoring) = match item.allow_failure {
            true => (Level::Info, IGNORING),
            false => (Level::Error, ""),
        };
        let Some((directory, name)) = path::split(&item.path) else {
            let errno = if item.path == b"/" { Errno::ADDRNOTAVAIL } else { Errno::INVAL };
            return Err(self.fail(format_args!("Failed to extract filename from path '{shown}'"), errno));
        };
        if !path::is_normalized(directory) {
            let message = format!("Failed to open parent of '{shown}': path not normalized{ignoring}.");
            self.log.say(level, message);
            return Err(Failed(Errno::INVAL));
        }
        if item.try_replace {
            self.replace_parents(directory)?;
        }
        let warning = if item.allow_failure { Level::Debug } else { Level::Warning };
        let (fd, stat) = match self.look_up(directory, Last::Followed, !self.is_dry_run, warning) {
            Ok(found) => found,
            // Said by the guide.
            Err(Errno::NOLINK) => return Err(Failed(Errno::NOLINK)),
            Err(errno) => {
                let directory = show(directory);
                return Err(self.fail_at(
                    level,
                    format_args!("Failed to open path '{directory}'{ignoring}"),
                    errno,
                ));
            }
        };
        let parent = Parent { fd, stat, name };
        if let Some(kind) = kind.filter(|_| item.try_replace) {
            self.remove_if_wrong(&parent, kind, &shown)?;
        }
        Ok(parent)
    }

    /// Replaces every entry on the way to a path that is not a directory, from the root down, and links that do not
    /// lead to one.
    fn replace_parents(&mut self, directory: &[u8]) -> Done {
        let mut above: Vec<&[u8]> = path::ancestors(directory).collect();
        above.insert(0, directory);
        for path in above.into_iter().rev() {
            let Some((holder, name)) = path::split(path) else { continue };
            let is_directory = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            match self.open(path, Last::Followed) {
                Ok((_, stat)) if is_directory(&stat) => continue,
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(self.fail(format_args!("Failed to stat \"{}\"", show(path)), errno)),
            }
            let (fd, stat) = self
                .open(holder, Last::Followed)
                .map_err(|errno| self.fail(format_args!("Failed to open \"{}\"", show(holder)), errno))?;
            // There is nothing below a file that is not a directory.
            return self.remove_if_wrong(&Parent { fd, stat, name }, FileType::Directory, &show(path));
        }
        Ok(())
    }

    /// Removes an entry of another kind than the line asks for, with its content; not a mount point.
    fn remove_if_wrong(&mut self, parent: &Parent<'_>, kind: FileType, shown: &str) -> Done {
        let stat = match fs::statat(&parent.fd, parent.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(self.fail(format_args!("Failed to stat \"{shown}\""), errno)),
        };
        if FileType::from_raw_mode(stat.st_mode) == kind {
            return Ok(());
        }
        let wrong = stat.st_mode & 0o170_000;
        self.log.say(Level::Notice, format!("Wrong file type 0o{wrong:o}; rm -rf \"{shown}\""));
        if remove::is_mount_point(parent.fd.as_fd(), parent.name) {
            let message = format!("Not removing  \"{shown}\" because it is a mount point.");
            self.log.say(Level::Error, message);
            return Err(Failed(Errno::BUSY));
        }
        self.act(["Would remove", "Removing"], format_args!("{shown}"));
        if self.is_dry_run {
            return Ok(());
        }
        remove::tree(parent.fd.as_fd(), parent.name)
            .map_err(|errno| self.fail(format_args!("Failed to remove \"{shown}\""), errno))
    }
}
