//! The errors of populating a new file system.

use core::fmt;

use rustix::io::Errno;

use crate::tree::attributes::{Failed, Side};

/// A step of populating that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PopulateError {
    /// A system call failed.
    Call {
        /// The step, as a verb.
        step: &'static str,
        /// In which tree.
        side: Side,
        /// On which path, as seen from the tree.
        path: String,
        /// The error number.
        errno: Errno,
    },
    /// A file was to be copied onto a directory.
    FileOverDirectory {
        /// The file.
        from: String,
        /// The directory.
        to: String,
    },
    /// Something that cannot be copied by itself was named: a device, a FIFO.
    NeitherFileNorDirectory {
        /// The path.
        path: String,
    },
    /// Directories are nested deeper than any sane tree.
    TooDeep {
        /// The first directory that was not entered.
        path: String,
    },
}

impl fmt::Display for PopulateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { step, side: Side::Target, path, errno: errno @ Errno::NOSPC } => write!(
                f,
                "cannot {step} {path} of the new file system: {errno}: make the partition larger (SizeMinBytes=)"
            ),
            Self::Call { step, side: Side::Target, path, errno } => {
                write!(
                    f,
                    "cannot {step} {path} of the new file system: {errno}: check CopyFiles= and the links in its way"
                )
            }
            Self::Call { step, side: Side::Source, path, errno } => {
                write!(f, "cannot {step} {path} of the image: {errno}: check CopyFiles= and the image")
            }
            Self::FileOverDirectory { from, to } => {
                write!(
                    f,
                    "CopyFiles={from}:{to} copies a file to a directory: name the file in the target as well"
                )
            }
            Self::NeitherFileNorDirectory { path } => {
                write!(f, "CopyFiles={path} is neither a file nor a directory: name its directory")
            }
            Self::TooDeep { path } => {
                write!(f, "{path} of the image is nested too deep: check the image")
            }
        }
    }
}

impl core::error::Error for PopulateError {}

impl PopulateError {
    /// The error of a step that failed on one of two inodes, which have these paths.
    pub(super) fn at(Failed { step, side, errno }: Failed, source: &str, target: &str) -> Self {
        let path = match side {
            Side::Source => source,
            Side::Target => target,
        };
        Self::Call { step, side, path: path.to_owned(), errno }
    }
}
