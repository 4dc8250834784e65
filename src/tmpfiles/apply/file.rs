//! Files: `f`, `f+`, `F`, `w`.

use std::{
    fs::File,
    io::Write as _,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    fs::{self, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{super::path::show, Applier, Creation, Done, Failed, Item, Level, walk::Parent};
use crate::tree::{Last, flags, open};

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

impl Applier<'_> {
    /// `f`: makes a file and writes the argument; one that exists gets mode and owner only.
    pub(super) fn file(&mut self, item: &Item) -> Done {
        let shown = show(&item.path);
        if self.is_dry_run {
            self.log.say(Level::Info, format!("Would create file {shown}"));
            return Ok(());
        }
        let parent = self.parent(item, Some(FileType::RegularFile))?;
        match open_for_writing(&parent, OFlags::CREATE | OFlags::EXCL, item.creation_mode) {
            Ok(mut file) => {
                self.write_argument(item, &mut file, &shown)?;
                self.finish(item, file, &shown, Creation::New)
            }
            Err(Errno::EXIST) => {
                // Also on a read-only file system: nothing may have to be changed.
                let (fd, stat) = parent
                    .open()
                    .map_err(|errno| self.fail(format_args!("Failed to reopen file {shown}"), errno))?;
                self.require_regular(&stat, &shown)?;
                self.set_permissions(item, &fd, &stat, &shown, Creation::Existing)
            }
            Err(errno) => Err(self.fail(format_args!("Failed to create file {shown}"), errno)),
        }
    }

    /// `f+` and `F`: makes a file, or empties the one that exists, and writes the argument.
    pub(super) fn truncated_file(&mut self, item: &Item) -> Done {
        let shown = show(&item.path);
        let parent = self.parent(item, Some(FileType::RegularFile))?;
        if self.is_dry_run {
            self.log.say(Level::Info, format!("Would truncate {shown}"));
            return Ok(());
        }
        let existing = open_for_writing(&parent, OFlags::empty(), 0);
        let (opened, creation) = match existing {
            Err(Errno::NOENT) => {
                (open_for_writing(&parent, OFlags::CREATE, item.creation_mode), Creation::New)
            }
            opened => (opened, Creation::Existing),
        };
        let mut file = match opened {
            Ok(file) => file,
            Err(Errno::ROFS) => return self.unwritable(item, &parent, &shown),
            Err(errno) => return Err(self.fail(format_args!("Failed to open/create file {shown}"), errno)),
        };
        let stat = self.stat(file.as_fd(), &shown)?;
        self.require_regular(&stat, &shown)?;
        if stat.st_size > 0 {
            fs::ftruncate(&file, 0)
                .map_err(|errno| self.fail(format_args!("Failed to truncate file {shown}"), errno))?;
        }
        self.write_argument(item, &mut file, &shown)?;
        self.finish(item, file, &shown, creation)
    }

    /// A file on a read-only file system: all is well if it is empty, shall be, and has the right mode and owner.
    fn unwritable(&mut self, item: &Item, parent: &Parent<'_>, shown: &str) -> Done {
        let (fd, stat) = match parent.open() {
            Ok(found) => found,
            Err(Errno::NOENT) => {
                let message = format!("Cannot create file {shown} on a read-only file system.");
                self.log.say(Level::Error, message);
                return Err(Failed(Errno::ROFS));
            }
            Err(errno) => return Err(self.fail(format_args!("Failed to reopen file {shown}"), errno)),
        };
        self.require_regular(&stat, shown)?;
        if stat.st_size > 0 {
            return Err(self.fail(format_args!("Failed to truncate file {shown}"), Errno::ROFS));
        }
        if item.argument.as_ref().is_some_and(|argument| !argument.is_empty()) {
            return Err(self.fail(format_args!("Failed to write file \"{shown}\""), Errno::ROFS));
        }
        self.set_permissions(item, &fd, &stat, shown, Creation::Existing)
    }

    /// `w`: writes over the beginning of an existing file, or behind its end; follows links, and writes to any kind of
    /// file.
    pub(super) fn write(&mut self, item: &Item, path: &[u8]) -> Done {
        let shown = show(path);
        let (fd, stat) = match self.open(path, Last::Followed) {
            Ok(found) => found,
            Err(Errno::NOLINK) => return Err(Failed(Errno::NOLINK)),
            Err(errno) => return self.unwritten(item, &shown, errno),
        };
        self.act(["Would write", "Writing"], format_args!("to \"{shown}\""));
        if !self.is_dry_run {
            let append = if item.append_or_force { OFlags::APPEND } else { OFlags::empty() };
            match open::again(&fd, flags::WRITTEN | append) {
                Ok(file) => self.write_argument(item, &mut File::from(file), &shown)?,
                Err(errno) => return self.unwritten(item, &shown, errno),
            }
        }
        self.set_permissions(item, &fd, &stat, &shown, Creation::Existing)
    }

    fn unwritten(&mut self, item: &Item, shown: &str, errno: Errno) -> Done {
        match errno {
            Errno::NOENT => {
                self.debug(format!("Not writing missing file \"{shown}\"."));
                Ok(())
            }
            errno if item.allow_failure => Err(self.fail_at(
                Level::Debug,
                format_args!("Failed to open file \"{shown}\", ignoring"),
                errno,
            )),
            errno => Err(self.fail(format_args!("Failed to open file \"{shown}\""), errno)),
        }
    }

    fn write_argument(&mut self, item: &Item, file: &mut File, shown: &str) -> Done {
        let argument = item.argument.as_deref().unwrap_or_default();
        file.write_all(argument).map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
            self.fail(format_args!("Failed to write file \"{shown}\""), errno)
        })
    }

    fn finish(&mut self, item: &Item, file: File, shown: &str, creation: Creation) -> Done {
        let stat = self.stat(file.as_fd(), shown)?;
        self.set_permissions(item, &OwnedFd::from(file), &stat, shown, creation)
    }

    fn stat(&mut self, fd: std::os::fd::BorrowedFd<'_>, shown: &str) -> Result<Stat, Failed> {
        fs::fstat(fd).map_err(|errno| self.fail(format_args!("stat({shown}) failed"), errno))
    }

    fn require_regular(&mut self, stat: &Stat, shown: &str) -> Done {
        if is_regular(stat) {
            return Ok(());
        }
        self.log.say(Level::Error, format!("{shown} exists and is not a regular file."));
        Err(Failed(Errno::EXIST))
    }
}

fn open_for_writing(parent: &Parent<'_>, flags: OFlags, mode: u32) -> Result<File, Errno> {
    fs::openat(&parent.fd, parent.name, flags::WRITTEN | flags, Mode::from_raw_mode(mode)).map(File::from)
}
