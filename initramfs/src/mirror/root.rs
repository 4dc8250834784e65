//! `--root=`: the tree that a mirror works on.

use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use hermetic_init::{
    strerror::strerror,
    tree::{Tree, open},
};

/// The root that is worked on.
pub struct Root {
    /// As messages name it; empty for the machine's own.
    pub path: String,
    directory: OwnedFd,
}

impl Root {
    /// Opens the root that was named, or the machine's own; as the originals, `make` makes it with all that is above
    /// it.
    ///
    /// # Errors
    /// One line that names the step that failed.
    pub fn open(named: Option<&Path>, make: bool) -> Result<Self, String> {
        let path = match named.filter(|path| !path.as_os_str().is_empty()) {
            None => PathBuf::new(),
            Some(path) => absolute(path)?,
        };
        let place = if path.as_os_str().is_empty() { Path::new("/") } else { &path };
        let made = if make { fs::create_dir_all(place) } else { Ok(()) };
        made.and_then(|()| open::root(place).map_err(io::Error::from))
            .map(|directory| Self { path: path.to_string_lossy().into_owned(), directory })
            .map_err(|error| format!("Failed to open {}: {}", place.display(), strerror(&error)))
    }

    /// It as a tree.
    pub fn tree(&self) -> Tree<'_> {
        Tree::whole(self.directory.as_fd())
    }

    /// Returns true when the root was named on the command line.
    pub fn is_named(&self) -> bool {
        !self.path.is_empty()
    }

    /// Returns true when the root is that of the running machine.
    pub fn is_own(&self) -> bool {
        self.path.is_empty() || self.path == "/"
    }

    /// A path of the root as messages name it.
    pub fn label(&self, path: &str) -> String {
        if self.is_own() { path.to_owned() } else { format!("{}{path}", self.path) }
    }
}

/// The path from /, without doubled slashes and dots.
///
/// # Errors
/// One line that names the fault.
pub fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| {
        format!("Failed to parse path \"{}\" and make it absolute: {}", path.display(), strerror(&error))
    })
}
