//! The errors of the initramfs builder.

use std::{fmt, io, path::PathBuf};

use super::{cpio::TooLarge, tree::TreeError};
use crate::modules;

/// The error that stopped the builder. Nothing was written.
#[derive(Debug)]
pub enum Error {
    /// A file or directory that the command line names cannot be read.
    Read {
        /// The purpose of the file.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// A file that the command line names cannot be used for its purpose.
    Unusable {
        /// The purpose of the file.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// The fault, and the remedy.
        why: String,
    },
    /// The directory has no modules of that kernel.
    NoKernel {
        /// The directory that was searched.
        dir: PathBuf,
        /// Which kernel, if one was named.
        release: Option<String>,
        /// Which kernels have modules there.
        there: Vec<String>,
    },
    /// `--kernel-version` and the kernel image name different kernels.
    Mismatch {
        /// The image.
        path: PathBuf,
        /// The release of the image.
        holds: String,
        /// The release that was named.
        named: String,
    },
    /// A module that the user named does not exist.
    NoSuchModule {
        /// Its name.
        name: String,
        /// The kernel.
        release: String,
    },
    /// The modules of the kernel cannot be used.
    Modules(modules::Error),
    /// A file cannot be placed in the initramfs.
    Place {
        /// Which file.
        what: String,
        /// The reason.
        error: TreeError,
    },
    /// The archive cannot hold a file.
    TooLarge(TooLarge),
    /// The compressor failed.
    Compress(io::Error),
    /// The result cannot be written.
    Write {
        /// The path of the result.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { what, path, error } => {
                write!(f, "read {what} {}: {error}: check that it is there and readable", path.display())
            }
            Self::Unusable { what, path, why } => write!(f, "{what} {}: {why}", path.display()),
            Self::NoKernel { dir, release: Some(release), there } => write!(
                f,
                "kernel version {release} does not match: {} has modules of {}: install its modules or name another by \
                 --kernel-version",
                dir.display(),
                list(there)
            ),
            Self::NoKernel { dir, release: None, there } => write!(
                f,
                "which kernel: {} has modules of {}: name one by --kernel-version or --kernel",
                dir.display(),
                list(there)
            ),
            Self::Mismatch { path, holds, named } => write!(
                f,
                "kernel version does not match: {} holds {holds}, --kernel-version says {named}: name the kernel that \
                 will boot",
                path.display()
            ),
            Self::NoSuchModule { name, release } => write!(
                f,
                "--add-module {name}: kernel {release} has no such module, neither as a file nor built in: check the \
                 name or install the package that holds it"
            ),
            Self::Modules(error) => error.fmt(f),
            Self::Place { what, error } => write!(f, "put {what} into the initramfs: {error}"),
            Self::TooLarge(error) => write!(f, "make the archive: {error}"),
            Self::Compress(error) => write!(f, "compress the archive: {error}: try --compress none"),
            Self::Write { path, error } => {
                write!(f, "write {}: {error}: check that its directory is there and has room", path.display())
            }
        }
    }
}

fn list(releases: &[String]) -> String {
    if releases.is_empty() { "no kernel".to_owned() } else { releases.join(", ") }
}

impl core::error::Error for Error {}

impl From<modules::Error> for Error {
    fn from(error: modules::Error) -> Self {
        Self::Modules(error)
    }
}
