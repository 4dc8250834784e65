//! The reasons why nothing is partitioned.

use core::fmt;
use std::{borrow::Cow, prelude::v1::*};

use crate::{mkfs::MkfsError, units::Bytes};

/// The reason why definitions are refused or cannot be carried out. Nothing was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RepartError {
    /// A file says something that is not understood or cannot be done.
    Refused {
        /// The file's name.
        file: String,
        /// The line, from 1; 0 for the file as a whole.
        line: u32,
        /// The text.
        what: String,
        /// The advice.
        advice: Cow<'static, str>,
    },
    /// A directory or a file cannot be read.
    Unreadable {
        /// Its path.
        path: String,
        /// The error of the kernel.
        reason: String,
    },
    /// No gap is large enough.
    NoSpace {
        /// The definition's file.
        file: String,
        /// The least size that its partition needs.
        needed: Bytes,
        /// The largest gap that is left for it.
        largest: Bytes,
    },
    /// Every entry of the partition table is used.
    TableFull {
        /// The file of the definition that finds none.
        file: String,
        /// The number of entries.
        entries: u32,
    },
    /// After all that is asked for a boot would find no root.
    NoRoot,
    /// The empty file system cannot be made in its partition.
    FileSystem {
        /// The definition's file.
        file: String,
        /// The reason.
        error: MkfsError,
    },
    /// The image policy allows no such root.
    Forbidden {
        /// The definition's file.
        file: String,
        /// The kind of root, in the policy's word.
        word: &'static str,
    },
    /// The kernel lacks a feature, and the initramfs has no module for it.
    Lacking {
        /// The refusal.
        refused: Box<RepartError>,
        /// The module.
        module: &'static str,
    },
    /// There is no TPM to seal a key to.
    NoTpm {
        /// The definition's file.
        file: String,
        /// The word of `Encrypt=`.
        encrypt: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// An existing partition is less protected than a definition says.
    Unprotected {
        /// Its content.
        found: &'static str,
        /// The definition's file.
        file: String,
    },
    /// The partition table cannot be changed so.
    Table(String),
}

impl RepartError {
    /// True when the disk lacks room or entries, and nothing is wrong with the definitions.
    pub fn is_lack(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::TableFull { .. })
    }
}

impl fmt::Display for RepartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { file, line: 0, what, advice } => write!(f, "{file}: {what}; {advice}"),
            Self::Refused { file, line, what, advice } => write!(f, "{file}:{line}: {what}; {advice}"),
            Self::Unreadable { path, reason } => {
                write!(f, "{path} cannot be read: {reason}; write the image again")
            }
            Self::NoSpace { file, needed, largest } => write!(
                f,
                "{file}: the partition needs {needed} and the largest free area of the disk has {largest}; use a larger disk or a smaller SizeMinBytes="
            ),
            Self::TableFull { file, entries } => write!(
                f,
                "{file}: the partition needs an entry and all {entries} of the partition table are used; remove a partition"
            ),
            Self::FileSystem { file, error } => write!(f, "{file}: {error}"),
            Self::Forbidden { file, word } => write!(
                f,
                "{file}: systemd.image_policy= does not allow root to be {word}, so it may not be made; change one of them"
            ),
            Self::Lacking { refused, module } => write!(f, "{refused} {module}"),
            Self::NoTpm { file, encrypt, why } => write!(
                f,
                "{file}: Encrypt={encrypt}, but {why}; hermetic.no-tpm=recovery or key-file makes it all the same"
            ),
            Self::Unprotected { found, file } => write!(
                f,
                "{found}, but /usr's repart.d says it is encrypted ({file}): this disk was tampered with, or it is older than that \
                 line and wants hermetic.root-policy=existing"
            ),
            Self::Table(error) => f.write_str(error),
            Self::NoRoot => f.write_str(
                "after all that repart.d asks for there would still be no root: define one with Type=root, without NoAuto=yes and \
                 without a Label= that begins with _, PRT# or PND#, or that systemd.image_filter= hides",
            ),
        }
    }
}

impl core::error::Error for RepartError {}
