//! The requested content, as values.

use crate::repart::{CopyFiles, Definition, Symlink};

/// The content that a definition puts into its file system. Paths are absolute and simplified.
#[derive(Clone, Copy, Default, Debug)]
pub struct Content<'a> {
    /// `CopyFiles=`.
    pub copy_files: &'a [CopyFiles],
    /// `ExcludeFiles=`: paths of the source; with a slash at the end the directory comes and its content does not.
    pub exclude_files: &'a [String],
    /// `ExcludeFilesTarget=`: the same for paths of the new file system.
    pub exclude_files_target: &'a [String],
    /// `MakeDirectories=`.
    pub make_directories: &'a [String],
    /// `MakeSymlinks=`.
    pub make_symlinks: &'a [Symlink],
    /// For a root: the mount points of the other partitions of the plan
    /// ([`mount_points`](crate::disk::types::mount_points)). Entries there of a source for `/` are not copied. None for
    /// any other partition.
    pub root_of: Option<&'a [&'a str]>,
    /// The time of what is made on the way and of what it is made in, in seconds since 1970; None leaves the time of the
    /// making.
    pub epoch: Option<u64>,
}

impl<'a> Content<'a> {
    /// The content that a definition puts into its file system. `mounted` are the mount points of the partitions of the
    /// plan.
    #[must_use]
    pub fn of(definition: &'a Definition, mounted: &'a [&'a str]) -> Self {
        Self {
            copy_files: &definition.copy_files,
            exclude_files: &definition.exclude_files,
            exclude_files_target: &definition.exclude_files_target,
            make_directories: &definition.make_directories,
            make_symlinks: &definition.make_symlinks,
            root_of: definition.is_root().then_some(mounted),
            epoch: None,
        }
    }
}

impl Content<'_> {
    /// True when there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.copy_files.is_empty() && self.make_directories.is_empty() && self.make_symlinks.is_empty()
    }
}

/// The result.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Regular files copied, hard links not counted.
    pub files: u64,
    /// Bytes in them, holes not counted.
    pub bytes: u64,
    /// Directories made by copying.
    pub directories: u64,
    /// Symbolic links copied.
    pub symlinks: u64,
    /// FIFOs, sockets and device nodes copied.
    pub specials: u64,
    /// Further names of a file that was copied.
    pub hard_links: u64,
    /// Directories that stayed where a file was to go.
    pub kept: u64,
    /// The paths that the new file system cannot hold: links and nodes on FAT.
    pub skipped: Vec<String>,
    /// Sources that are not there.
    pub missing: Vec<String>,
}
