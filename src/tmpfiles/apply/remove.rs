//! Removing: `r`, `R`, the contents of `D`, and the entries in the way of `+` and `=`.

use std::{
    fs::read_to_string,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, FileType, FlockOperation, Stat},
    io::Errno,
};

use super::{
    super::path::{self, join, show},
    Applier, Done, Failed, Item, Kind, Level,
    find::gather,
    walk::Parent,
};
use crate::map::Names;
use crate::tree::{
    Last, inode, open,
    remove::{is_mount_point, names},
};

/// The depth to which a tree is descended into.
const MAX_DEPTH: usize = 256;
/// The sticky bit, which keeps a file from being removed.
const STICKY: u32 = 0o1000;
/// The files that a file system keeps for itself at its root.
const OF_THE_FILE_SYSTEM: [&[u8]; 3] = [b".journal", b"aquota.user", b"aquota.group"];

impl Applier<'_> {
    /// Carries out a removing line.
    pub(super) fn remove(&mut self, item: &Item) -> Done {
        match item.kind {
            Kind::Remove => self.each(item, Self::remove_one),
            Kind::RemoveTrees => self.each(item, Self::remove_tree),
            Kind::EmptiedDirectory => self.remove_below(&item.path, false),
            _ => Ok(()),
        }
    }

    /// A file, or an empty directory.
    fn remove_one(&mut self, _: &Item, path: &[u8]) -> Done {
        self.act(["Would remove", "Removing"], format_args!("\"{}\".", show(path)));
        self.unlink(path)
    }

    fn remove_tree(&mut self, _: &Item, path: &[u8]) -> Done {
        self.remove_below(path, true)
    }

    fn unlink(&mut self, path: &[u8]) -> Done {
        if self.is_dry_run {
            return Ok(());
        }
        let removed = path::split(path).ok_or(Errno::BUSY).and_then(|(holder, name)| {
            let (holder, _) = self.open(holder, Last::Followed)?;
            match fs::unlinkat(&holder, name, AtFlags::empty()) {
                Err(Errno::ISDIR) => fs::unlinkat(&holder, name, AtFlags::REMOVEDIR),
                removed => removed,
            }
        });
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOLINK) => Err(Failed(Errno::NOLINK)),
            Err(errno) => Err(self.fail(format_args!("rm {}", show(path)), errno)),
        }
    }

    /// Removes the entries of a directory, and the directory itself on request. Paths of other lines stay.
    fn remove_below(&mut self, path: &[u8], with_it: bool) -> Done {
        let shown = show(path);
        // The way there must be safe; the owner of the entry itself does not matter, for it is not followed.
        let opened = match path::split(path) {
            None => self.open(path, Last::Kept),
            Some((holder, name)) => {
                self.open(holder, Last::Followed).and_then(|(fd, stat)| Parent { fd, stat, name }.open())
            }
        };
        let (fd, stat) = match opened {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(Errno::NOLINK) => return Err(Failed(Errno::NOLINK)),
            Err(errno) => return Err(self.fail(format_args!("Failed to open directory {shown}"), errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {}
            _ if with_it => {
                self.act(["Would remove", "Removing"], format_args!("file \"{shown}\"."));
                return self.unlink(path);
            }
            _ => return Ok(()),
        }
        let is_mounted = is_mount_point(fd.as_fd(), b"");
        self.clean(&fd, path, is_mounted, MAX_DEPTH)?;
        if !with_it {
            return Ok(());
        }
        self.act(["Would remove", "Removing"], format_args!("directory \"{shown}\"."));
        if self.is_dry_run {
            return Ok(());
        }
        let removed = path::split(path).ok_or(Errno::BUSY).and_then(|(holder, name)| {
            let (holder, _) = self.open(holder, Last::Followed)?;
            fs::unlinkat(&holder, name, AtFlags::REMOVEDIR)
        });
        match removed {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
            Err(errno) => Err(self.fail(format_args!("Failed to remove {shown}"), errno)),
        }
    }

    /// Removes the entries of a directory (systemd's `dir_cleanup` without an age), except paths of other lines, mount
    /// points, locked and sticky files, devices and sockets in use.
    fn clean(&mut self, directory: &OwnedFd, path: &[u8], is_mounted: bool, depth: usize) -> Done {
        let entries = names(directory)
            .map_err(|errno| self.fail(format_args!("Failed to open directory {}", show(path)), errno))?;
        let mut done = Ok(());
        for name in entries {
            let below = join(path, &name);
            let shown = show(&below);
            let Ok(stat) = fs::statat(directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if is_mount_point(directory.as_fd(), &name) {
                self.debug(format!("Ignoring \"{shown}\": different mount points."));
            } else if self.definitions.names(&below) {
                self.debug(format!("Ignoring \"{shown}\": a separate entry exists."));
            } else if self.definitions.matches(&below) {
                self.debug(format!("Ignoring \"{shown}\": a separate glob exists."));
            } else if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                if is_mounted && name == b"lost+found" && stat.st_uid == 0 {
                    self.debug(format!("Ignoring directory \"{shown}\"."));
                } else if depth == 0 {
                    self.log.say(Level::Warning, format!("Reached max depth on \"{shown}\"."));
                } else {
                    gather(&mut done, self.clean_directory(directory, &below, &name, &stat, depth));
                }
            } else {
                self.clean_file(directory, &below, &name, &stat, is_mounted);
            }
        }
        done
    }

    fn clean_directory(
        &mut self,
        holder: &OwnedFd,
        path: &[u8],
        name: &[u8],
        stat: &Stat,
        depth: usize,
    ) -> Done {
        let shown = show(path);
        let directory = match open::directory(holder, name) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => {
                let what = format_args!("Opening directory \"{shown}\" failed, ignoring");
                return Err(self.fail_at(Level::Warning, what, errno));
            }
        };
        if !self.is_dry_run && fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).is_err() {
            self.debug(format!("Couldn't acquire shared BSD lock on directory \"{shown}\", skipping."));
            return Ok(());
        }
        let mut done = self.clean(&directory, path, false, depth - 1);
        self.act(["Would remove", "Removing"], format_args!("directory \"{shown}\""));
        if self.is_dry_run {
            return done;
        }
        match fs::unlinkat(holder, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            // An entry stays; then the directory must not look as if it had been used now.
            Err(Errno::NOTEMPTY) => {
                if let Err(errno) = fs::futimens(&directory, &inode::times(stat)) {
                    let what = format_args!("Failed to revert timestamps of '{shown}', ignoring");
                    self.fail_at(Level::Warning, what, errno);
                }
            }
            Err(errno) => {
                let what = format_args!("Failed to remove directory \"{shown}\", ignoring");
                gather(&mut done, Err(self.fail_at(Level::Warning, what, errno)));
            }
        }
        done
    }

    fn clean_file(&mut self, holder: &OwnedFd, path: &[u8], name: &[u8], stat: &Stat, is_mounted: bool) {
        let shown = show(path);
        let reason = match FileType::from_raw_mode(stat.st_mode) {
            _ if stat.st_mode & STICKY != 0 => "sticky bit set",
            FileType::RegularFile if is_mounted && stat.st_uid == 0 && OF_THE_FILE_SYSTEM.contains(&name) => {
                "of the file system"
            }
            FileType::Socket if sockets_in_use().contains_key(path) => "live socket",
            FileType::CharacterDevice | FileType::BlockDevice => "a device",
            _ => "",
        };
        if !reason.is_empty() {
            return self.debug(format!("Skipping \"{shown}\": {reason}."));
        }
        // Held until the file is gone. A file that cannot be opened cannot be locked by another program either.
        let file = (!self.is_dry_run).then(|| open::file(holder, name).ok()).flatten();
        if let Some(file) = &file
            && fs::flock(file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::AGAIN)
        {
            return self.debug(format!("Couldn't acquire shared BSD lock on file \"{shown}\", skipping."));
        }
        self.act(["Would remove", "Removing"], format_args!("\"{shown}\""));
        if self.is_dry_run {
            return;
        }
        match fs::unlinkat(holder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                self.fail_at(Level::Warning, format_args!("Failed to remove \"{shown}\", ignoring"), errno);
            }
        }
    }
}

/// The paths of bound sockets. They are read again for each socket: there are few.
fn sockets_in_use() -> Names {
    let table = read_to_string("/proc/net/unix").unwrap_or_default();
    // Num RefCount Protocol Flags Type St Inode Path
    let paths = table.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().nth(7));
    paths.filter(|path| path.starts_with('/')).map(|path| (path, ())).collect()
}
