//! The errors of making a file system.

use std::{fmt, io, path::PathBuf};

use hermetic_init::{file_system::FileSystem, mkfs::MkfsError, units::Bytes};
use rustix::io::Errno;

use crate::{clock::InvalidEpoch, populate};

/// The error that stopped the command. Nothing was written, unless a write itself failed.
#[derive(Debug)]
pub enum Error {
    /// A format that is not made here.
    Format(String),
    /// An option of btrfs for another format.
    OnlyBtrfs {
        /// The option.
        option: &'static str,
        /// The format.
        system: FileSystem,
    },
    /// Flags of a subvolume that are not known.
    Flags(String),
    /// A file that is not there, and no size to make it with.
    NoSize(PathBuf),
    /// Neither a file nor a block device.
    Kind(PathBuf),
    /// More than the device has.
    Beyond {
        /// The device.
        path: PathBuf,
        /// The size that was requested.
        size: Bytes,
        /// The size of the device.
        whole: Bytes,
    },
    /// Something is there already.
    Occupied {
        /// The path.
        path: PathBuf,
        /// The content, as blkid calls it.
        found: String,
    },
    /// A step on the target failed.
    Target {
        /// The step that was tried, as a verb.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// The format does not fit the target.
    Mkfs(MkfsError),
    /// Files were to be copied into a format that has none.
    NoFiles(FileSystem),
    /// The files did not go in.
    Populate(populate::Error),
    /// The kernel gave no random bytes.
    Random(Errno),
    /// The fixed time is none.
    Epoch(InvalidEpoch),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format(name) => {
                let known = FileSystem::written().map(FileSystem::name).collect::<Vec<_>>().join(", ");
                write!(f, "`{name}` is not made here; choose one of {known}")
            }
            Self::OnlyBtrfs { option, system } => {
                write!(f, "{system} knows no {option}; leave it out or make a btrfs")
            }
            Self::Flags(flags) => {
                write!(f, "`{flags}` is no flag of a subvolume; say :ro, :nodatacow, or nothing")
            }
            Self::NoSize(path) => write!(f, "{} is not there; make it with --size", path.display()),
            Self::Kind(path) => {
                write!(f, "{} is neither a file nor a block device; name one", path.display())
            }
            Self::Beyond { path, size, whole } => write!(
                f,
                "{} has {whole}, less than --size asks for ({size}); leave --size out to take all of it",
                path.display()
            ),
            Self::Occupied { path, found } => {
                write!(f, "{} holds {found} already; --force writes over it", path.display())
            }
            Self::Target { step, path, error } => write!(f, "cannot {step} {}: {error}", path.display()),
            Self::Mkfs(error) => error.fmt(f),
            Self::NoFiles(system) => write!(f, "{system} holds no files; leave --root out"),
            Self::Populate(error) => error.fmt(f),
            Self::Epoch(error) => error.fmt(f),
            Self::Random(errno) => write!(f, "no random bytes from the kernel: {errno}"),
        }
    }
}

impl std::error::Error for Error {}
