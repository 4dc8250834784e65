//! One file of repart.d, as types: a partition that should exist. Its fields are those of [`super::keys`].
//!
//! Source: repart.d(5) of systemd 257, with `AddValidateFS=` and `Format=empty` of 258. What only an image builder needs
//! (`SplitName=`, `Compression=`, `CompressionLevel=`) is no field: it is read over with a warning.

use core::fmt;
use std::prelude::v1::*;

use super::{Definition, RepartError};
use crate::{
    disk::types::{self, Role},
    mkfs::btrfs,
};

/// A definition file as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Source {
    /// Its name, `50-root.conf`: the order of definitions.
    pub name: String,
    /// Its path, for people and for systemd-repart's output.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its drop-ins (`50-root.conf.d/*.conf`) by name: path and text. Read after it, in order; the last assignment counts.
    pub drop_ins: Vec<(String, String)>,
}

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

impl Definition {
    /// True when it asks for a root of this architecture.
    pub fn is_root(&self) -> bool {
        types::role(self.type_guid) == Some(Role::Root)
    }

    /// True when files, directories or links are to be put into the new file system.
    pub fn populates(&self) -> bool {
        !self.copy_files.is_empty() || !self.make_directories.is_empty() || !self.make_symlinks.is_empty()
    }

    /// The subvolumes as mkfs is to make them. What is filled afterwards is made writable, and read-only in the end:
    /// [`Definition::read_only_subvolumes`].
    pub fn new_subvolumes(&self, is_filled: bool) -> Vec<btrfs::Subvolume<'_>> {
        self.subvolumes
            .iter()
            .map(|volume| btrfs::Subvolume { path: &volume.path, read_only: volume.read_only && !is_filled })
            .collect()
    }

    /// The paths of the subvolumes that are read-only in the end.
    pub fn read_only_subvolumes(&self) -> impl Iterator<Item = &str> {
        self.subvolumes.iter().filter(|volume| volume.read_only).map(|volume| volume.path.as_str())
    }

    /// The refusal of what `key` says, with the file and the line where it stands.
    pub fn refuse(&self, key: &str, what: impl Into<String>, advice: &'static str) -> RepartError {
        let place = self.places.iter().rev().find(|place| place.key == key);
        RepartError::Refused {
            file: place.map_or_else(|| self.file.clone(), |place| place.file.clone()),
            line: place.map_or(0, |place| place.line),
            what: what.into(),
            advice,
        }
    }
}

/// The weight of a partition that says nothing, and of one that nobody defined.
pub(super) const DEFAULT_WEIGHT: u32 = 1000;

/// Something that was read over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// The text that is read over.
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {} is ignored", self.file, self.what),
            line => write!(f, "{}:{line}: {} is ignored", self.file, self.what),
        }
    }
}

/// All definitions of an image, in the order of their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Definitions {
    /// The definitions.
    pub list: Vec<Definition>,
    /// The things that were read over.
    pub warnings: Vec<Warning>,
}
