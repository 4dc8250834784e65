//! Finds the files of a kind of fragments that count, and reads them.

use std::{os::fd::OwnedFd, rc::Rc};

use rustix::{
    fs::{self, FileType, RawDir},
    io::Errno,
};

use crate::{
    map::Map,
    tree::{
        Tree, open,
        read::{self, Limit, ReadError},
    },
};

/// The directories of fragments, the strongest first: a file hides those of its name in the directories after it.
pub const DIRECTORIES: [&str; 4] = ["/etc", "/run", "/usr/local/lib", "/usr/lib"];
/// The largest file that is read.
const MAX_SIZE: Limit = Limit::mebibytes(4);
/// Directories are read in pieces of this size.
const ENTRIES: usize = 4 << 10;
/// The most files that are read.
const MAX_FILES: usize = 4096;

/// A directory that could not be searched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SearchError {
    /// The step.
    pub step: &'static str,
    /// On which directory, as seen from the root.
    pub path: String,
    /// The error number.
    pub errno: Errno,
}

/// A file that counts.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its path, as seen from the root.
    pub path: String,
    /// Its directory, where it was found by searching.
    directory: Option<Rc<OwnedFd>>,
    name: String,
}

/// Finds every `*.conf` below directories of this name (`sysusers.d`), in the order of their names.
///
/// # Errors
/// A directory that exists and cannot be read.
pub fn find(tree: &Tree<'_>, kind: &str) -> Result<Vec<Found>, SearchError> {
    find_ending(tree, &directories(kind), ".conf")
}

/// Finds every `*.crt` below directories of this name (`verity.d`), in the order of their names.
///
/// # Errors
/// A directory that exists and cannot be read.
pub fn find_certificates(tree: &Tree<'_>, kind: &str) -> Result<Vec<Found>, SearchError> {
    find_ending(tree, &directories(kind), ".crt")
}

fn directories(kind: &str) -> Vec<String> {
    DIRECTORIES.iter().map(|directory| format!("{directory}/{kind}")).collect()
}

/// [`find`] in the directories that are named, the strongest first.
///
/// # Errors
/// A directory that exists and cannot be read.
pub fn find_in(tree: &Tree<'_>, directories: &[String]) -> Result<Vec<Found>, SearchError> {
    find_ending(tree, directories, ".conf")
}

fn find_ending(tree: &Tree<'_>, directories: &[String], ending: &str) -> Result<Vec<Found>, SearchError> {
    let mut files = Map::new();
    let mut space: Vec<u8> = Vec::with_capacity(ENTRIES);
    for path in directories {
        let failed = |step| move |errno| SearchError { step, path: path.clone(), errno };
        let directory = match tree.open_directory(path) {
            Ok(directory) => Rc::new(directory),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => continue,
            Err(errno) => return Err(failed("open")(errno)),
        };
        let mut entries = RawDir::new(&*directory, space.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed("read"))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.ends_with(ending) && files.len() < MAX_FILES {
                files.insert_new(
                    name,
                    Found {
                        path: format!("{path}/{name}"),
                        directory: Some(Rc::clone(&directory)),
                        name: name.to_owned(),
                    },
                );
            }
        }
    }
    Ok(files.into_values())
}

impl Found {
    /// A file that was not searched for; it may not exist.
    pub fn at(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or_default();
        Self { path: path.to_owned(), directory: None, name: name.to_owned() }
    }

    /// The content. None for an empty file, a link to a file that the root does not have (as /dev/null), or a link to
    /// an existing /dev/null: these hide a file of the same name.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    pub fn read(&self, tree: &Tree<'_>) -> Result<Option<Vec<u8>>, Errno> {
        let is_device = |stat: fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        match self.content(tree) {
            Ok(content) => Ok(Some(content)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::INVAL) if tree.stat(&self.path).is_ok_and(is_device) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The content of a regular file: mostly it lies in its directory, a link is followed inside the tree.
    fn content(&self, tree: &Tree<'_>) -> Result<Vec<u8>, Errno> {
        let here = self.directory.as_ref().map(|directory| open::file(&**directory, &*self.name));
        let file = match here {
            None | Some(Err(Errno::LOOP)) => tree.open_read(&self.path)?,
            Some(file) => file?,
        };
        read::whole(file, MAX_SIZE).map_err(ReadError::errno)
    }
}
