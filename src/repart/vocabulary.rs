//! The words of definitions, as types. They read themselves in [`super::value`].
//!
//! Source: repart.d(5) of systemd 257, with `Format=empty` of 258.

use std::prelude::v1::*;

/// The encryption of a partition, and what opens it.
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

/// The file system that a new partition gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// ext4.
    Ext4,
    /// btrfs.
    Btrfs,
    /// FAT with 32 bits.
    Vfat,
    /// XFS.
    Xfs,
    /// F2FS.
    F2fs,
    /// A read-only squashfs.
    Squashfs,
    /// A read-only EROFS.
    Erofs,
    /// Swap space.
    Swap,
    /// None: the label `_empty` and the bit no-auto mark a slot that an update will fill.
    Empty,
}

impl Format {
    const WORDS: [(&'static str, Self); 9] = [
        ("ext4", Self::Ext4),
        ("btrfs", Self::Btrfs),
        ("vfat", Self::Vfat),
        ("xfs", Self::Xfs),
        ("f2fs", Self::F2fs),
        ("squashfs", Self::Squashfs),
        ("erofs", Self::Erofs),
        ("swap", Self::Swap),
        ("empty", Self::Empty),
    ];

    /// The format of this name.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(name, _)| *name == word).map(|(_, format)| *format)
    }

    /// The word for it in a definition.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, format)| *format == self).map_or("", |(word, _)| word)
    }

    /// True when a system can start on it.
    pub fn holds_a_root(self) -> bool {
        matches!(self, Self::Ext4 | Self::Btrfs | Self::Xfs | Self::F2fs)
    }

    /// True when it can never be written to, so that space beyond its content would be lost.
    pub fn is_read_only(self) -> bool {
        matches!(self, Self::Squashfs | Self::Erofs)
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
}

/// A symbolic link to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Symlink {
    /// Its place, an absolute path in the new file system.
    pub path: String,
    /// Its target, as it is written.
    pub target: String,
}

/// A btrfs subvolume to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subvolume {
    /// Its place, an absolute path in the new file system.
    pub path: String,
    /// It is read-only once it is filled.
    pub read_only: bool,
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
