//! The words of definitions, as types. They read themselves in [`super::value`].
//!
//! Source: repart.d(5) of systemd 262.

use std::prelude::v1::*;

use crate::{file_system::FileSystem, mkfs::btrfs::SubvolumeFlags};

/// The encryption of a partition, and the keys that open it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Encrypt {
    /// It is not.
    #[default]
    Off,
    /// LUKS2, opened by the key file.
    KeyFile,
    /// LUKS2, opened by the machine's TPM.
    Tpm2,
    /// LUKS2, opened by either.
    KeyFileTpm2,
}

impl Encrypt {
    /// The word for it in a definition.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::KeyFile => "key-file",
            Self::Tpm2 => "tpm2",
            Self::KeyFileTpm2 => "key-file+tpm2",
        }
    }

    /// True when the machine's TPM is to open it.
    pub fn asks_for_tpm(self) -> bool {
        matches!(self, Self::Tpm2 | Self::KeyFileTpm2)
    }
}

/// The content that a new partition is formatted with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A file system, or swap space.
    FileSystem(FileSystem),
    /// Nothing: the label `_empty` and the bit no-auto mark a slot that an update will fill.
    Empty,
}

/// The label of an empty slot.
pub(super) const SLOT: &str = "_empty";

impl Format {
    const EMPTY: &'static str = "empty";

    /// The format that a definition calls so.
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            Self::EMPTY => Some(Self::Empty),
            word => FileSystem::defined(word).map(Self::FileSystem),
        }
    }

    /// The word for it in a definition.
    pub fn word(self) -> &'static str {
        self.file_system().map_or(Self::EMPTY, FileSystem::name)
    }

    /// The file system, or swap space.
    pub fn file_system(self) -> Option<FileSystem> {
        match self {
            Self::FileSystem(system) => Some(system),
            Self::Empty => None,
        }
    }
}

/// The source of a new partition's content, block by block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CopyBlocks {
    /// The partition that is mounted where this one belongs.
    Auto,
    /// A file, a block device, or a directory that stands for the device below it.
    Path(String),
}

/// The part that a partition has in a dm-verity image.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verity {
    /// None.
    #[default]
    Off,
    /// The protected partition.
    Data,
    /// The tree of hashes.
    Hash,
    /// The signature of the root hash.
    Signature,
}

impl Verity {
    /// The word for it in a definition.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Data => "data",
            Self::Hash => "hash",
            Self::Signature => "signature",
        }
    }
}

/// A tree or file to be copied in, `SOURCE:TARGET`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyFiles {
    /// An absolute path below the source tree.
    pub source: String,
    /// An absolute path in the new file system.
    pub target: String,
    /// The protection of files by fs-verity is copied too.
    pub fs_verity: bool,
}

/// A symbolic link to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Symlink {
    /// Its place, an absolute path in the new file system.
    pub path: String,
    /// Its target, with its specifiers expanded.
    pub target: String,
}

/// A btrfs subvolume to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subvolume {
    /// Its place, an absolute path in the new file system.
    pub path: String,
    /// Its flags, once it is filled.
    pub flags: SubvolumeFlags,
}

/// The place where fstab would mount the partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountPoint {
    /// An absolute path.
    pub path: String,
    /// Mount options; empty for the default.
    pub options: String,
}

/// The volume as which crypttab would open the partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncryptedVolume {
    /// The name of the mapping.
    pub name: String,
    /// The key file; empty for none.
    pub key_file: String,
    /// Options; empty for none.
    pub options: String,
    /// The volume key is written down beside it, so that no other is taken.
    pub fixes_key: bool,
}

/// The line where a definition says something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The file, which may be a drop-in.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}
