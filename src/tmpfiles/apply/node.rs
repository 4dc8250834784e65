//! Entries that are made by one call and replaced as a whole: `L`, `p`, `c`, `b`.

use std::os::fd::BorrowedFd;

use rustix::{
    fs::{self, AtFlags, FileType, Mode, Stat},
    io::Errno,
};

use super::{
    super::path::{join, show},
    Applier, Creation, Done, Failed, Item, Kind, Level,
    walk::Parent,
};
use crate::tree::{Last, remove, replace, watch::Watch};

impl Item {
    /// The kind of file that the line makes.
    fn file_type(&self) -> FileType {
        match self.kind {
            Kind::Symlink => FileType::Symlink,
            Kind::Fifo => FileType::Fifo,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => FileType::CharacterDevice,
        }
    }

    /// The word for it in messages.
    fn noun(&self) -> &'static str {
        match self.kind {
            Kind::Symlink => "symlink",
            Kind::Fifo => "FIFO",
            _ => "device node",
        }
    }

    fn target(&self) -> &[u8] {
        self.argument.as_deref().unwrap_or_default()
    }

    /// Makes it under a name that must be free.
    fn make(&self, directory: BorrowedFd<'_>, name: &[u8], watch: &dyn Watch) -> Result<(), Errno> {
        watch.before("create", &self.path)?;
        match self.kind {
            Kind::Symlink => fs::symlinkat(self.target(), directory, name),
            _ => {
                let (major, minor) = self.device;
                let mode = Mode::from_raw_mode(self.creation_mode);
                fs::mknodat(directory, name, self.file_type(), mode, fs::makedev(major, minor))
            }
        }
    }

    /// Puts it in the place of an existing entry, atomically if that is not a directory.
    fn replace(&self, parent: &Parent<'_>, watch: &dyn Watch) -> Result<(), Errno> {
        let hidden = replace::hidden(parent.name);
        let directory = std::os::fd::AsFd::as_fd(&parent.fd);
        watch.before("remove", &hidden)?;
        remove::file(directory, &hidden)?;
        self.make(directory, &hidden, watch)?;
        watch.before("rename", &self.path)?;
        match replace::place(directory, &hidden, parent.name) {
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
                fs::unlinkat(directory, hidden.as_slice(), AtFlags::empty())?;
                remove::tree(directory, parent.name)?;
                self.make(directory, parent.name, watch)
            }
            renamed => renamed,
        }
    }
}

impl Applier<'_> {
    /// Makes a link, a FIFO or a device. An existing entry stays, unless the line has `+`.
    pub(super) fn node(&mut self, item: &Item) -> Done {
        let (shown, noun) = (show(&item.path), item.noun());
        if item.ignore_if_target_missing && !self.target_exists(item)? {
            return Ok(());
        }
        if self.is_dry_run {
            let target = match item.kind {
                Kind::Symlink => format!(" -> {}", show(item.target())),
                _ => String::new(),
            };
            self.log.say(Level::Info, format!("Would create {} {shown}{target}", noun.to_ascii_lowercase()));
            return Ok(());
        }
        let parent = self.parent(item, Some(item.file_type()))?;
        let made = item.make(std::os::fd::AsFd::as_fd(&parent.fd), parent.name, self.watch);
        let mut creation = if made.is_ok() { Creation::New } else { Creation::Existing };
        let (mut fd, mut stat) = match (parent.open(), made) {
            (Ok(found), _) => found,
            (Err(Errno::REMOTE), _) => return Err(Failed(Errno::REMOTE)),
            (Err(errno), Ok(())) => {
                return Err(self.fail(format_args!("Failed to open {noun} '{shown}' we just created"), errno));
            }
            (Err(_), Err(errno)) => return self.not_made(item, errno),
        };
        if !is_right(item, &fd, &stat) {
            if !item.append_or_force {
                let (level, message) = match item.kind {
                    Kind::Symlink => (
                        Level::Debug,
                        format!("\"{shown}\" is not a symlink or does not point to the correct path."),
                    ),
                    _ => (Level::Warning, format!("\"{shown}\" already exists and is not a {noun}.")),
                };
                self.log.say(level, message);
                return Ok(());
            }
            if let Err(errno) = item.replace(&parent, self.watch) {
                return self.not_made(item, errno);
            }
            (fd, stat) = parent.open().map_err(|errno| {
                self.fail(format_args!("Failed to open {noun} '{shown}' we just created"), errno)
            })?;
            if FileType::from_raw_mode(stat.st_mode) != item.file_type() {
                self.log.say(Level::Error, format!("{noun} we just created is none, refusing: {shown}"));
                return Err(Failed(Errno::BADF));
            }
            creation = Creation::New;
        }
        self.set_permissions(item, &fd, &stat, &shown, creation)
    }

    /// A process that may make no devices, as in a container, needs none.
    fn not_made(&mut self, item: &Item, errno: Errno) -> Done {
        let shown = show(&item.path);
        if item.kind.is_device() && matches!(errno, Errno::PERM | Errno::ACCESS) {
            self.debug(format!("We lack permissions; skipping creation of device node '{shown}'."));
            return Ok(());
        }
        Err(self.fail(format_args!("Failed to create {} '{shown}'", item.noun()), errno))
    }

    /// `L?`: returns true when the target of the link exists.
    fn target_exists(&mut self, item: &Item) -> Result<bool, Failed> {
        let target = item.target();
        match self.open(&join(b"/", target), Last::Kept) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => {
                let target = show(target);
                self.log.say(
                    Level::Info,
                    format!("Symlink source path '{target}' does not exist, skipping line."),
                );
                Ok(false)
            }
            Err(errno) => {
                let target = show(target);
                Err(self
                    .fail(format_args!("Failed to check if symlink source path '{target}' exists"), errno))
            }
        }
    }
}

/// Returns true when the existing entry equals the one that the line would make. Of devices only the kind counts, as in
/// systemd.
fn is_right(item: &Item, fd: &std::os::fd::OwnedFd, stat: &Stat) -> bool {
    if FileType::from_raw_mode(stat.st_mode) != item.file_type() {
        return false;
    }
    item.kind != Kind::Symlink
        || fs::readlinkat(fd, "", Vec::new()).is_ok_and(|target| target.as_bytes() == item.target())
}
