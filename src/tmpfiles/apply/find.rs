//! Finds the paths of the root that match a pattern, and the entries below a path.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{self, FileType, Stat},
    io::Errno,
};

use super::{
    super::path::{components, is_normalized, join, show},
    Applier, Done, Failed, Item, Level,
};
use crate::{
    glob::{self, Flags},
    tree::{Last, open, remove::names},
};

/// The depth to which a tree is descended into.
const MAX_DEPTH: usize = 256;
/// The most paths that one pattern may match.
const MAX_MATCHES: usize = 1 << 20;

/// An action on an open file: item, O_PATH descriptor, its stat(2), its path for messages.
type Action<'a> = fn(&mut Applier<'a>, &Item, &OwnedFd, &Stat, &str) -> Done;

/// Errors that mean that a pattern does not match there.
fn is_no_match(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS)
}

/// Keeps the first failure.
pub(super) fn gather(done: &mut Done, next: Done) {
    if done.is_ok() {
        *done = next;
    }
}

impl<'a> Applier<'a> {
    /// Does something with every path that the item's pattern matches.
    pub(super) fn each(&mut self, item: &Item, action: fn(&mut Self, &Item, &[u8]) -> Done) -> Done {
        let mut done = Ok(());
        for path in self.find(&item.path) {
            match self.tree.walk(&path, Last::Kept, &mut ()) {
                Ok(_) => gather(&mut done, action(self, item, &path)),
                Err(errno) if is_no_match(errno) => {}
                Err(errno) => {
                    gather(&mut done, Err(self.fail(format_args!("Failed to glob '{}'", show(&path)), errno)))
                }
            }
        }
        done
    }

    /// Does something with everything that the item's pattern matches, opened, and if asked with all that lies below it.
    pub(super) fn each_open(&mut self, item: &Item, action: Action<'a>, recurses: bool) -> Done {
        let mut done = Ok(());
        for path in self.find(&item.path) {
            match self.open(&path, Last::Kept) {
                Ok((fd, stat)) if recurses => {
                    gather(&mut done, self.tree(item, &fd, &stat, &path, action, MAX_DEPTH));
                }
                Ok(_) if !is_normalized(&path) => {
                    self.log.say(Level::Error, format!("Failed to open invalid path '{}'.", show(&path)));
                    gather(&mut done, Err(Failed(Errno::INVAL)));
                }
                Ok((fd, stat)) => gather(&mut done, action(self, item, &fd, &stat, &show(&path))),
                Err(errno) if is_no_match(errno) => {}
                // The observer of the way has logged it.
                Err(Errno::NOLINK) => gather(&mut done, Err(Failed(Errno::NOLINK))),
                Err(errno) => {
                    gather(
                        &mut done,
                        Err(self.fail(format_args!("Failed to open path {}", show(&path)), errno)),
                    );
                }
            }
        }
        done
    }

    fn tree(
        &mut self,
        item: &Item,
        fd: &OwnedFd,
        stat: &Stat,
        path: &[u8],
        action: Action<'a>,
        depth: usize,
    ) -> Done {
        let mut done = action(self, item, fd, stat, &show(path));
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return done;
        }
        if depth == 0 {
            return Err(self.fail(format_args!("Failed to open '{}'", show(path)), Errno::NAMETOOLONG));
        }
        let names = match names(fd) {
            Ok(names) => names,
            Err(errno) => {
                gather(
                    &mut done,
                    Err(self.fail(format_args!("Failed to opendir() '{}'", show(path)), errno)),
                );
                return done;
            }
        };
        for name in names {
            let path = join(path, &name);
            let opened = open::path(fd, name.as_slice());
            match opened.and_then(|child| Ok((fs::fstat(&child)?, child))) {
                Ok((stat, child)) => {
                    gather(&mut done, self.tree(item, &child, &stat, &path, action, depth - 1))
                }
                Err(Errno::NOENT) => {}
                Err(errno) => {
                    gather(
                        &mut done,
                        Err(self.fail(format_args!("Failed to open file '{}'", show(&path)), errno)),
                    );
                }
            }
        }
        done
    }

    /// The paths that a pattern may match, as glob(3) finds them: names are matched in directories that are not links
    /// themselves. The last name may not exist.
    fn find(&self, pattern: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for pattern in glob::braces(pattern) {
            let mut paths = vec![b"/".to_vec()];
            for component in components(&pattern) {
                if !glob::has_magic(component) {
                    let name = glob::name(component);
                    paths = paths.into_iter().map(|path| join(&path, &name)).collect();
                    continue;
                }
                let mut deeper = Vec::new();
                for path in paths {
                    let entries = self.tree.walk(&path, Last::Kept, &mut ()).and_then(|(fd, _)| names(&fd));
                    // A directory that cannot be read matches nothing.
                    let entries = entries.unwrap_or_default();
                    let matching =
                        entries.into_iter().filter(|name| glob::matches(component, name, Flags::COMPONENT));
                    deeper.extend(matching.map(|name| join(&path, &name)));
                    deeper.truncate(MAX_MATCHES);
                }
                paths = deeper;
            }
            found.extend(paths);
            found.truncate(MAX_MATCHES);
        }
        found
    }
}
