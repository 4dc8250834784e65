//! The errors of a plan that cannot be made.

use core::fmt;
use std::prelude::v1::*;

use super::{btrfs, ext4};
use crate::units::Bytes;

/// The reason that a file system cannot be made. Nothing was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MkfsError {
    /// ext4 does not fit.
    Ext4(ext4::Ext4Error),
    /// btrfs does not fit, or has subvolumes that cannot be.
    Btrfs(btrfs::BtrfsError),
    /// No room for anything beside the structures.
    TooSmall {
        /// The format.
        format: &'static str,
        /// The size that was requested.
        size: Bytes,
        /// The least that works.
        minimum: Bytes,
    },
    /// More than the format can count.
    TooLarge {
        /// The format.
        format: &'static str,
        /// The size that was requested.
        size: Bytes,
    },
    /// A program makes it, and there is no way to run one.
    Program {
        /// The format.
        format: &'static str,
        /// The program.
        program: &'static str,
    },
    /// Only who builds an image makes it.
    NotMade {
        /// The format.
        format: &'static str,
    },
    /// A sector of the device that the format does not know.
    Sector {
        /// The format.
        format: &'static str,
        /// Bytes.
        sector_size: u32,
    },
}

impl fmt::Display for MkfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ext4(error) => error.fmt(f),
            Self::Btrfs(error) => error.fmt(f),
            Self::TooSmall { format, size, minimum } => write!(
                f,
                "{format}: {size} is too small, at least {minimum} are needed; make the partition larger"
            ),
            Self::TooLarge { format, size } => {
                write!(f, "{format}: {size} is too large for the format; make the partition smaller")
            }
            Self::Program { format, program } => {
                write!(f, "{format}: {program} makes it and cannot be run here; choose another file system")
            }
            Self::NotMade { format } => {
                write!(f, "{format}: it is not made here; choose another file system")
            }
            Self::Sector { format, sector_size } => write!(
                f,
                "{format}: sectors of {sector_size} bytes are not known to the format; use a disk with 512 or 4096"
            ),
        }
    }
}

impl core::error::Error for MkfsError {}
