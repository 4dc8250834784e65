//! The reason why a step on a root failed.

use core::fmt;

use rustix::io::Errno;

/// The tree in which a step failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The root, which is written.
    Root,
    /// The image's factory, which is read.
    Factory,
}

/// A step on a root that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EtcError {
    /// A system call failed.
    Call {
        /// The attempt, as a verb with its object's kind: `create directory`.
        step: &'static str,
        /// In which tree.
        side: Side,
        /// On which path, as seen from the root.
        path: String,
        /// The answer.
        errno: Errno,
    },
    /// Something that must be a directory of the root is something else, so nothing is written there.
    NotADirectory {
        /// The path, as seen from the root.
        path: String,
    },
    /// A file of the factory became shorter while it was copied.
    Truncated {
        /// The path, as seen from the factory.
        path: String,
    },
    /// There is no room for the new files of an update beside the old ones.
    Full {
        /// So many bytes are needed.
        needed: u64,
        /// So many are free.
        free: u64,
    },
    /// Directories are nested deeper than any sane tree.
    TooDeep {
        /// In which tree.
        side: Side,
        /// The first directory that was not entered.
        path: String,
    },
}

impl EtcError {
    /// The path, as seen from its side.
    pub fn path(&self) -> &str {
        match self {
            Self::Call { path, .. }
            | Self::NotADirectory { path }
            | Self::Truncated { path }
            | Self::TooDeep { path, .. } => path,
            Self::Full { .. } => "/etc",
        }
    }

    /// Returns true when the fault is the image's, which no other root would help.
    pub(super) fn is_of_factory(&self) -> bool {
        matches!(
            self,
            Self::Call { side: Side::Factory, .. }
                | Self::TooDeep { side: Side::Factory, .. }
                | Self::Truncated { .. }
        )
    }

    /// Returns true when there is no more room.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Call { errno: Errno::NOSPC | Errno::DQUOT, .. })
    }

    /// The error of reading the factory.
    pub(super) fn factory(step: &'static str, path: impl fmt::Display) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Call { step, side: Side::Factory, path: path.to_string(), errno }
    }

    /// The error of one system call on the root, ready for `map_err`.
    pub(crate) fn call(step: &'static str, path: impl fmt::Display) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Call { step, side: Side::Root, path: path.to_string(), errno }
    }
}

impl fmt::Display for EtcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { step, side: Side::Root, path, errno } => {
                write!(f, "cannot {step} {path} of the root: {errno}: {}", advice(*errno))
            }
            Self::Call { step, side: Side::Factory, path, errno } => {
                write!(f, "cannot {step} {path} of the image's factory: {errno}: check the image")
            }
            Self::NotADirectory { path } => write!(
                f,
                "{path} of the root is not a directory; nothing was written through it: remove it or reset the root"
            ),
            Self::Truncated { path } => {
                write!(f, "{path} of the image's factory ended early while it was copied: check the image")
            }
            Self::Full { needed, free } => write!(
                f,
                "the root partition is full: {needed} bytes are needed and {free} are free: remove files from it"
            ),
            Self::TooDeep { side: Side::Factory, path } => {
                write!(f, "{path} of the image's factory is nested too deep: check the image")
            }
            Self::TooDeep { side: Side::Root, path } => {
                write!(f, "{path} of the root is nested too deep: remove it or reset the root")
            }
        }
    }
}

/// The thing to do about a root that answers so.
fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::NOSPC | Errno::DQUOT => "the root partition is full or too small",
        Errno::PERM => "an attribute forbids it, take it away (chattr -i -a)",
        Errno::LOOP | Errno::NOTDIR | Errno::ISDIR => "something else has this name, remove it",
        _ => "check the disk, or reset the root",
    }
}

impl core::error::Error for EtcError {}
