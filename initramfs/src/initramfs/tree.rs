//! The content of an initramfs as a value: paths with their kind and mode. Owners are always 0:0 and times 0, so that
//! the same input gives the same bytes.

use std::{collections::BTreeMap, fmt};

/// The permissions of directories that are made on the way.
const DIRECTORY: u32 = 0o755;

/// The kinds of entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file and its content.
    File(Vec<u8>),
    /// A symbolic link and its target.
    Symlink(String),
    /// A character device.
    CharDevice {
        /// The driver.
        major: u32,
        /// The device among those of the driver.
        minor: u32,
    },
}

/// A file of any kind, without its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The permission bits, 0 to 0o7777.
    pub mode: u32,
    /// The kind.
    pub kind: Kind,
}

/// Files by path. The paths are relative, without `.` and `..`; a directory stands before its entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree(BTreeMap<String, Entry>);

/// The reason why a file cannot be added to a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TreeError {
    /// The path is relative, or has an empty component, `.` or `..`.
    Path(String),
    /// Something else stands there already.
    Taken(String),
    /// A component before the last is not a directory.
    NoDirectory(String),
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => {
                write!(f, "`{path}` is no place in it: give an absolute path without `.` and `..`")
            }
            Self::Taken(path) => write!(f, "/{path} is there already: choose another place"),
            Self::NoDirectory(path) => write!(f, "/{path} is no directory: choose another place"),
        }
    }
}

impl Tree {
    /// Adds `entry` at the absolute `path`, and the directories above it that are missing. An existing directory is not
    /// a conflict; it keeps its mode.
    ///
    /// # Errors
    /// When the path is not usable, or another entry has it.
    pub fn add(&mut self, path: &str, entry: Entry) -> Result<(), TreeError> {
        let bad = || TreeError::Path(path.to_owned());
        let inside = path.strip_prefix('/').ok_or_else(bad)?;
        if inside.contains('\0') || inside.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(bad());
        }
        for (at, _) in inside.match_indices('/') {
            let parent = inside.get(..at).unwrap_or_default();
            match self.0.get(parent) {
                None => {
                    self.0.insert(parent.to_owned(), Entry { mode: DIRECTORY, kind: Kind::Directory });
                }
                Some(Entry { kind: Kind::Directory, .. }) => {}
                Some(_) => return Err(TreeError::NoDirectory(parent.to_owned())),
            }
        }
        match (self.0.get(inside).map(|entry| &entry.kind), &entry.kind) {
            (None, _) => {
                self.0.insert(inside.to_owned(), entry);
                Ok(())
            }
            (Some(Kind::Directory), Kind::Directory) => Ok(()),
            (Some(_), _) => Err(TreeError::Taken(inside.to_owned())),
        }
    }

    /// Adds a regular file.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) -> Result<(), TreeError> {
        self.add(path, Entry { mode, kind: Kind::File(content) })
    }

    /// Adds an empty directory that everybody may enter.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn directory(&mut self, path: &str) -> Result<(), TreeError> {
        self.add(path, Entry { mode: DIRECTORY, kind: Kind::Directory })
    }

    /// All entries, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_above_a_file_are_made_and_stand_before_it() {
        let mut tree = Tree::default();
        tree.file("/a/b-c", 0o644, vec![]).unwrap();
        tree.file("/a/b/c", 0o600, vec![1]).unwrap();
        tree.directory("/a").unwrap();
        let paths: Vec<_> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "a/b", "a/b-c", "a/b/c"]);
    }

    #[test]
    fn places_that_are_none_are_refused() {
        let mut tree = Tree::default();
        tree.file("/a", 0o644, vec![]).unwrap();
        for (path, error) in [
            ("b", TreeError::Path("b".into())),
            ("/", TreeError::Path("/".into())),
            ("//b", TreeError::Path("//b".into())),
            ("/b/", TreeError::Path("/b/".into())),
            ("/b/../c", TreeError::Path("/b/../c".into())),
            ("/./c", TreeError::Path("/./c".into())),
            ("/a", TreeError::Taken("a".into())),
            ("/a/b", TreeError::NoDirectory("a".into())),
        ] {
            assert_eq!(tree.file(path, 0o644, vec![]), Err(error));
        }
    }
}
