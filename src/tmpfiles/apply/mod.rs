//! Carrying items out, on descriptors of the root.
//!
//! A failure is logged at once, in systemd's words, and the next item is carried out all the same.

mod copy;
mod directory;
mod file;
mod find;
mod node;
mod permissions;
mod properties;
mod remove;
mod walk;

use rustix::{fs::Mode, io::Errno, process::umask};

use super::{Definitions, Item, Kind, Log, Operation, Request, path::show};
use crate::{
    durable::Durable,
    level::Level,
    strerror::strerror,
    tree::{Tree, watch::Watch},
};

/// The way in which an entry came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Creation {
    /// We made it.
    New,
    /// It existed.
    Existing,
}

/// An item could not be carried out; the reason has been logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Failed(Errno);

type Done = Result<(), Failed>;

/// The end of a message about a failure that does not count: the line has `-`.
const IGNORING: &str = ", ignoring";

/// Carries items out.
pub struct Applier<'a> {
    tree: Tree<'a>,
    definitions: &'a Definitions,
    is_dry_run: bool,
    durable: Durable,
    watch: &'a dyn Watch,
    log: &'a mut dyn Log,
    /// The kernel's protection of hard links (`fs.protected_hardlinks`), once it was read.
    protects_hardlinks: Option<bool>,
}

impl<'a> Applier<'a> {
    /// Carries out items of `definitions` in a root. In a dry run it only logs the actions.
    pub fn new(
        tree: Tree<'a>,
        definitions: &'a Definitions,
        request: &Request<'a>,
        log: &'a mut dyn Log,
    ) -> Self {
        let Request { is_dry_run, durable, watch, .. } = *request;
        Self { tree, definitions, is_dry_run, durable, watch, log, protects_hardlinks: None }
    }

    /// Carries out all items. Returns how many failed.
    pub fn all(&mut self, operation: Operation) -> usize {
        // Modes are given when things are made; nothing may take bits away.
        let mask = umask(Mode::empty());
        let items = self.definitions.order(operation);
        let failed = items.into_iter().filter(|item| self.one(operation, item).is_err()).count();
        umask(mask);
        failed
    }

    fn one(&mut self, operation: Operation, item: &Item) -> Done {
        let done = match operation {
            Operation::Create => self.create(item),
            Operation::Remove => self.remove(item),
        };
        match done {
            Err(Failed(Errno::REMOTE)) => {
                self.log.say(Level::Notice, format!("Skipping {}", show(&item.path)));
                Ok(())
            }
            // Only the creation of an entry may fail.
            Err(_) if operation == Operation::Create && item.allow_failure => Ok(()),
            done => done,
        }
    }

    fn create(&mut self, item: &Item) -> Done {
        match item.kind {
            Kind::Spare | Kind::SpareDirectory | Kind::Remove | Kind::RemoveTrees => Ok(()),
            Kind::File if !item.append_or_force => self.file(item),
            Kind::File | Kind::TruncatedFile => self.truncated_file(item),
            Kind::Write => self.each(item, Self::write),
            Kind::Copy => self.copy(item),
            Kind::Directory
            | Kind::EmptiedDirectory
            | Kind::Subvolume
            | Kind::SubvolumeInheritQuota
            | Kind::SubvolumeNewQuota => self.directory(item),
            Kind::ExistingDirectory => self.each(item, Self::existing_directory),
            Kind::Fifo | Kind::Symlink | Kind::CharacterDevice | Kind::BlockDevice => self.node(item),
            Kind::Adjust | Kind::AdjustMode => self.each_open(item, Self::adjust, false),
            Kind::AdjustTree => self.each_open(item, Self::adjust, true),
            Kind::Xattr => self.each_open(item, Self::xattrs, false),
            Kind::Xattrs => self.each_open(item, Self::xattrs, true),
            Kind::Acl => self.each_open(item, Self::acls, false),
            Kind::Acls => self.each_open(item, Self::acls, true),
            Kind::Attribute => self.each_open(item, Self::attributes, false),
            Kind::Attributes => self.each_open(item, Self::attributes, true),
        }
    }

    /// Logs an action that is done, or would be: `words` are the two verbs for it.
    fn act(&mut self, words: [&str; 2], what: std::fmt::Arguments<'_>) {
        let [would, doing] = words;
        match self.is_dry_run {
            true => self.log.say(Level::Info, format!("{would} {what}")),
            false => self.log.say(Level::Debug, format!("{doing} {what}")),
        }
    }

    fn debug(&mut self, message: String) {
        self.log.say(Level::Debug, message);
    }

    /// Logs the reason of a failure. An automounter's directory is skipped without a message.
    fn fail(&mut self, what: std::fmt::Arguments<'_>, errno: Errno) -> Failed {
        self.fail_at(Level::Error, what, errno)
    }

    fn fail_at(&mut self, level: Level, what: std::fmt::Arguments<'_>, errno: Errno) -> Failed {
        if errno != Errno::REMOTE {
            self.log.say(level, format!("{what}: {}", strerror(&errno.into())));
        }
        Failed(errno)
    }
}
