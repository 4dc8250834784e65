//! One file of repart.d, as types: a partition that should exist.
//!
//! Source: repart.d(5) of systemd 257, with `AddValidateFS=` and `Format=empty` of 258. What only an image builder needs
//! (`SplitName=`, `Compression=`, `CompressionLevel=`) is no field: it is read over with a warning.

use core::fmt;
use std::prelude::v1::*;

use uuid::Uuid;

use super::RepartError;
use crate::{
    disk::types::{self, Role},
    mkfs::btrfs,
};

/// A definition file as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Source {
    /// Its name, `50-root.conf`: the order of definitions.
    pub name: String,
    /// Where it lies, for people and for systemd-repart's output.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its drop-ins (`50-root.conf.d/*.conf`) by name: path and text. Read after it, in order; the last assignment counts.
    pub drop_ins: Vec<(String, String)>,
}

/// Whether a partition is encrypted, and what opens it.
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

    /// What a definition calls so.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(name, _)| *name == word).map(|(_, format)| *format)
    }

    /// The word for it in a definition.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, format)| *format == self).map_or("", |(word, _)| word)
    }

    /// Whether a system can start on it.
    pub fn holds_a_root(self) -> bool {
        matches!(self, Self::Ext4 | Self::Btrfs | Self::Xfs | Self::F2fs)
    }

    /// Whether it can never be written to, so that space beyond its content would be lost.
    pub fn is_read_only(self) -> bool {
        matches!(self, Self::Squashfs | Self::Erofs)
    }
}

/// Where a new partition's content comes from, block by block.
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
    /// What is protected.
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
    /// Where, an absolute path in the new file system.
    pub path: String,
    /// What it says.
    pub target: String,
}

/// A btrfs subvolume to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subvolume {
    /// Where, an absolute path in the new file system.
    pub path: String,
    /// Whether it is read-only once it is filled.
    pub read_only: bool,
}

/// Where fstab would mount the partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountPoint {
    /// An absolute path.
    pub path: String,
    /// Mount options; empty for the default.
    pub options: String,
}

/// How crypttab would open the partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncryptedVolume {
    /// The name of the mapping.
    pub name: String,
    /// The key file; empty for none.
    pub key_file: String,
    /// Options; empty for none.
    pub options: String,
}

/// Where a definition says something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The key.
    pub key: String,
    /// The file, which may be a drop-in.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// A partition that should exist. Paths are absolute and simplified, specifiers are expanded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    /// The name of the file that says so.
    pub file: String,
    /// Where that file lies.
    pub path: String,
    /// Where its drop-ins lie.
    pub drop_ins: Vec<String>,
    /// Which line says what; the last one counts.
    pub places: Vec<Place>,
    /// `Type=`.
    pub type_guid: Uuid,
    /// `Label=`; None for the default, systemd's identifier of the type.
    pub label: Option<String>,
    /// `UUID=`; None for one that follows from the seed, nil for `null`.
    pub uuid: Option<Uuid>,
    /// `Priority=`: above 0 the partition may be left out when not all fit, the largest number first.
    pub priority: i32,
    /// `Weight=`: its share of free space.
    pub weight: u32,
    /// `PaddingWeight=`: the share of the free space behind it.
    pub padding_weight: u32,
    /// `SizeMinBytes=`: bytes, a multiple of 4096.
    pub size_min: Option<u64>,
    /// `SizeMaxBytes=`: bytes, a multiple of 4096.
    pub size_max: Option<u64>,
    /// `PaddingMinBytes=`: bytes, a multiple of 4096.
    pub padding_min: Option<u64>,
    /// `PaddingMaxBytes=`: bytes, a multiple of 4096.
    pub padding_max: Option<u64>,
    /// `CopyBlocks=`.
    pub copy_blocks: Option<CopyBlocks>,
    /// How many bytes `CopyBlocks=` copies. Not in the file: who opened the source sets it before planning.
    pub copy_size: Option<u64>,
    /// `Format=`, or what follows from the type and from what is to be put into the partition.
    pub format: Option<Format>,
    /// `CopyFiles=`.
    pub copy_files: Vec<CopyFiles>,
    /// `ExcludeFiles=`: paths of the source; with a slash at the end the directory stays and its content goes.
    pub exclude_files: Vec<String>,
    /// `ExcludeFilesTarget=`: the same for paths of the new file system.
    pub exclude_files_target: Vec<String>,
    /// `MakeDirectories=`.
    pub make_directories: Vec<String>,
    /// `MakeSymlinks=`.
    pub make_symlinks: Vec<Symlink>,
    /// `Subvolumes=`.
    pub subvolumes: Vec<Subvolume>,
    /// `DefaultSubvolume=`: one of the subvolumes.
    pub default_subvolume: Option<String>,
    /// `Encrypt=`.
    pub encrypt: Encrypt,
    /// `Verity=`.
    pub verity: Verity,
    /// `VerityMatchKey=`: what the partitions of one dm-verity image have in common.
    pub verity_match_key: Option<String>,
    /// `VerityDataBlockSizeBytes=`: 512 to 4096.
    pub verity_data_block_size: Option<u32>,
    /// `VerityHashBlockSizeBytes=`: 512 to 4096.
    pub verity_hash_block_size: Option<u32>,
    /// Whether `Minimize=` asks for a partition no larger than its content.
    pub minimize: bool,
    /// `FactoryReset=`: the partition goes when a factory reset is asked for.
    pub factory_reset: bool,
    /// `Flags=`: attribute bits.
    pub flags: u64,
    /// `NoAuto=`.
    pub no_auto: Option<bool>,
    /// `ReadOnly=`; yes for dm-verity partitions that say nothing.
    pub read_only: Option<bool>,
    /// `GrowFileSystem=`; yes for types that know the bit, are not read-only and say nothing.
    pub grow_file_system: Option<bool>,
    /// `MountPoint=`.
    pub mount_points: Vec<MountPoint>,
    /// `EncryptedVolume=`.
    pub encrypted_volume: Option<EncryptedVolume>,
    /// `SupplementFor=`: the name (without `.conf`) of the definition that this one is merged into where that fits.
    pub supplement_for: Option<String>,
    /// `AddValidateFS=`.
    pub add_validate_fs: bool,
}

impl Definition {
    /// Whether it asks for a root of this architecture.
    pub fn is_root(&self) -> bool {
        types::role(self.type_guid) == Some(Role::Root)
    }

    /// A definition that says nothing but its type.
    pub fn of_type(type_guid: Uuid) -> Self {
        Self {
            file: String::new(),
            path: String::new(),
            drop_ins: Vec::new(),
            places: Vec::new(),
            type_guid,
            label: None,
            uuid: None,
            priority: 0,
            weight: DEFAULT_WEIGHT,
            padding_weight: 0,
            size_min: None,
            size_max: None,
            padding_min: None,
            padding_max: None,
            copy_blocks: None,
            copy_size: None,
            format: None,
            copy_files: Vec::new(),
            exclude_files: Vec::new(),
            exclude_files_target: Vec::new(),
            make_directories: Vec::new(),
            make_symlinks: Vec::new(),
            subvolumes: Vec::new(),
            default_subvolume: None,
            encrypt: Encrypt::Off,
            verity: Verity::Off,
            verity_match_key: None,
            verity_data_block_size: None,
            verity_hash_block_size: None,
            minimize: false,
            factory_reset: false,
            flags: 0,
            no_auto: None,
            read_only: None,
            grow_file_system: None,
            mount_points: Vec::new(),
            encrypted_volume: None,
            supplement_for: None,
            add_validate_fs: true,
        }
    }

    /// Whether files, directories or links are to be put into the new file system.
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

    /// This definition with a supplement merged into it, as repart.d(5) says under `SupplementFor=`.
    pub(super) fn merged_with(&self, supplement: &Self) -> Self {
        let mut merged = self.clone();
        merged.weight = supplement.weight;
        merged.padding_weight = supplement.padding_weight;
        merged.size_min = self.size_min.max(supplement.size_min);
        merged.padding_min = self.padding_min.max(supplement.padding_min);
        let least = |one: Option<u64>, other: Option<u64>| [one, other].into_iter().flatten().min();
        merged.size_max = least(self.size_max, supplement.size_max);
        merged.padding_max = least(self.padding_max, supplement.padding_max);
        merged.copy_files.extend_from_slice(&supplement.copy_files);
        merged.exclude_files.extend_from_slice(&supplement.exclude_files);
        merged.exclude_files_target.extend_from_slice(&supplement.exclude_files_target);
        merged.make_directories.extend_from_slice(&supplement.make_directories);
        merged.subvolumes.extend_from_slice(&supplement.subvolumes);
        merged
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
    /// What it says.
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
    /// What was read over.
    pub warnings: Vec<Warning>,
}
