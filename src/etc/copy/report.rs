//! The account of a copy.

/// The entries that a copy made and left alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// The tree that was copied, as seen from /usr; None when the image has no factory.
    pub source: Option<String>,
    /// Directories made.
    pub directories: u64,
    /// Regular files written, hard links not counted.
    pub files: u64,
    /// Symbolic links made.
    pub symlinks: u64,
    /// Further names of files that were written under their first.
    pub hard_links: u64,
    /// FIFOs, sockets and device nodes made.
    pub specials: u64,
    /// Entries that existed and were left alone. Entries below an existing link or file do not count.
    pub kept: u64,
    /// Bytes written into regular files.
    pub bytes: u64,
}
